"""The report: one page that stands by itself, from any number of profiles.

:func:`page` makes it; nothing of the page is fetched from elsewhere, and the same profiles give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from typing import Any, Final

from ds2prof import __version__
from ds2prof.analysis import ranks
from ds2prof.analysis import summary as summaries
from ds2prof.analysis.join.sides import TABLES as JOIN_TABLES
from ds2prof.analysis.summary import TIMELINE, Summary, summary
from ds2prof.analysis.uncertainty import iterations
from ds2prof.errors import Ds2profError
from ds2prof.report.html import together, verdicts
from ds2prof.report.html.cells import named, text_of
from ds2prof.report.html.measurement import sections
from ds2prof.report.html.model import Measurement, Page, Section
from ds2prof.report.html.rendering import rendered, template
from ds2prof.report.html.together import Told
from ds2prof.tables import Profile

TABLES: Final = tuple(
    dict.fromkeys(
        (*summaries.TABLES, *iterations.TABLES, *JOIN_TABLES, *ranks.TABLES, "samples", "memory", "modules", "devices")
    )
)
"""The tables that a report reads."""
MOST_DETAILED: Final = 12
"""Files that get sections of their own; further ones stand in the tables of all of them."""


def page(
    profiles: Sequence[Profile],
    *,
    title: str | None = None,
    sm_clock_hz: float | None = None,
    failures: Sequence[str] = (),
) -> str:
    """The report of these profiles as one HTML document.

    Args:
        profiles: any number and kind, one at least: timelines, counters, run logs, samplers' files, memory captures.
        title: the heading; made from the files' names where none is given.
        sm_clock_hz: of the timeline, for a join with counters.
        failures: what could not be read, a line each, to be said on the page.

    Raises:
        Ds2profError: jinja2 is not installed.
    """
    template()  # what is not installed is said before the work, not after it
    return rendered(content(profiles, title=title, sm_clock_hz=sm_clock_hz, failures=failures))


def content(
    profiles: Sequence[Profile],
    *,
    title: str | None = None,
    sm_clock_hz: float | None = None,
    failures: Sequence[str] = (),
) -> Page:
    """What the page says, before it is HTML."""
    told = _told(profiles)
    joined, unjoined = together.joined_of(told, sm_clock_hz=sm_clock_hz)
    shared: list[Section | None] = [together.overview(told, "files")]
    shared += [
        together.join_section(timeline, counted, found, f"join{place}", label=_label(timeline, len(joined)))
        for place, (timeline, counted, found) in enumerate(joined)
    ]
    shared += [together.sweep(told, joined, "sweep"), together.rank_section(told, "ranks")]
    verdict = verdicts.verdict(told, joined)
    warnings = [*failures, *unjoined, *_warnings(told)]
    if len(told) > MOST_DETAILED:
        warnings.append(
            f"{len(told)} files: the first {MOST_DETAILED} have sections of their own; for the others run "
            "ds2prof report on each"
        )
    return Page(
        title=named(title or _title(told), limit=160),
        subtitle=_subtitle(told),
        verdict=verdict,
        together=[section for section in shared if section is not None],
        measurements=[_measurement(each, place) for place, each in enumerate(told[:MOST_DETAILED])],
        warnings=[named(line, limit=600) for line in warnings],
        version=__version__,
        data=_data(told),
    )


def _label(timeline: Told, count: int) -> str:
    """What tells a join from others on the page."""
    return "" if count == 1 else f": batch {together.batch_size(timeline.profile)}"


def _told(profiles: Sequence[Profile]) -> list[Told]:
    names = short_names([profile.meta.file for profile in profiles])
    return [Told(profile, summary(profile), name) for profile, name in zip(profiles, names, strict=True)]


def short_names(files: Sequence[str]) -> list[str]:
    """The files' names without the folders that they share: a page that is sent on need not tell where they lay."""
    if len(files) == 1 or len(set(files)) < len(files):
        return [named(file.rsplit("/", 1)[-1], limit=120) for file in files]
    shared = commonprefix(list(files))  # noqa: RUF071 - members of archives are no paths; cut to a folder below
    start = shared.rfind("/") + 1
    return [named(file[start:], limit=120) for file in files]


def _title(told: Sequence[Told]) -> str:
    return told[0].name if len(told) == 1 else f"{told[0].name} and {len(told) - 1} more"


def _subtitle(told: Sequence[Told]) -> str:
    tools = dict.fromkeys(
        " ".join(filter(None, (each.profile.meta.tool, each.profile.meta.tool_version))) for each in told
    )
    devices = dict.fromkeys(
        name for each in told for name in each.profile.table("devices")["name"].tolist() if name is not None
    )
    return named(" \N{MIDDLE DOT} ".join([*tools, *devices]), limit=300)


def _warnings(told: Sequence[Told]) -> list[str]:
    lines = [
        (each.name, line.removeprefix(f"{each.profile.meta.file}: ")) for each in told for line in each.profile.warnings
    ]
    return [f"{name}: {line}" if len(told) > 1 else line for name, line in lines]


def _measurement(each: Told, place: int) -> Measurement:
    ident = f"m{place}"
    try:
        made = sections(each.profile, each.found, ident=ident)
    except Ds2profError as error:
        made = [Section(f"{ident}-facts", "Run facts", missing=named(str(error), limit=600))]
    return Measurement(ident, each.name, _line(each.found), made)


def _line(found: Summary) -> str:
    """One line that stands for a file."""
    totals = found.totals
    if found.kind == TIMELINE:
        return (
            f"timeline, GPU busy {text_of('gpu_compute_utilization', totals['gpu_compute_utilization'])} of the window"
        )
    if totals.get("samples_per_s") is not None:
        return f"run log, {text_of('samples_per_s', totals['samples_per_s'])} samples/s"
    return {"host": "host operators", "readings": "sampled readings", "log": "run log"}.get(found.kind, found.kind)


def _data(told: Sequence[Told]) -> dict[str, Any]:
    """The totals for machines, as in the JSON document."""
    return {
        "schema": "ds2prof-report/1",
        "files": [
            {
                "name": each.name,
                "tool": each.profile.meta.tool,
                "kind": each.found.kind,
                "totals": dict(each.found.totals),
            }
            for each in told
        ],
    }
