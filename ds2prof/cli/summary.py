"""``ds2prof summary``: the first screen of a measurement."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ds2prof.cli.options import COLOR, FILE, OUTPUT, emitted, paint_of
from ds2prof.cli.pages import Page
from ds2prof.errors import Ds2profError, MissingDataError, ReadError
from ds2prof.measurements import refuse_input

if TYPE_CHECKING:
    from ds2prof.analysis.ranks import Lane
    from ds2prof.analysis.summary import Summary
    from ds2prof.parsers.sources import Progress
    from ds2prof.report.paint import Paint
    from ds2prof.tables import Meta, Profile

FORMATS: Final = ("table", "json", "markdown")
_ALL_SHOWN: Final = 2
"""So many profiles get a screen each; of more there is a table, a line each."""


@dataclass(frozen=True)
class Part:
    """One profile, summed up; ``path`` is what was typed for it."""

    path: str
    meta: Meta
    summary: Summary
    warnings: tuple[str, ...]
    devices: Sequence[str]
    lanes: Sequence[Lane] = field(default=())


@click.command(cls=Page)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to write it."
)
@OUTPUT
@COLOR
def command(files: tuple[str, ...], form: str, output: Path | None, color: str) -> None:
    """Say at a glance how busy the device was, what costs most, and what to ask next.

    The first screen of a measurement: the busy share of the window, the three largest losses with what they cost, what
    the busy time was filled with, the pipes where counters or samples tell them, the commands to type next, and below
    them what the file cannot tell and what qualifies the numbers.

    A FILE is whatever 'ds2prof parse' reads: a timeline, counters, readings of a sampler, a log of a run or of memory;
    its format is found from its bytes. Of more than two profiles each gets a line of a table; of several ranks of one
    run it says who waited for whom. To lay counters on a timeline, see 'ds2prof join'.

    \b
    ds2prof summary measurements/torch_bs4.json.gz
    ds2prof summary measurements/nsight_bs32.csv --format json
    ds2prof summary measurements/torch_bs4_rank*.json.gz
    ds2prof summary measurements --format markdown -o summary.md

    Exit codes: 0 done, 1 a file is at fault, 2 wrong usage.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is linear algebra; a thread each would wait
    from ds2prof.cli.parse import failed, progress_over

    failures: list[Ds2profError] = []
    parts: list[Part] = []
    with progress_over(files) as progress:
        for file in files:
            parts += _parts(file, progress, failures)
    if not parts:
        failed(failures)
    refuse_input(output, [*files, *(part.meta.file for part in parts)])
    emitted(_WRITERS[form](parts, paint_of(color, to_file=output is not None), output is not None), output)
    if failures:  # the others were answered; each of these still counts
        failed(failures)


def _parts(file: str, progress: Progress | None, failures: list[Ds2profError]) -> list[Part]:
    from ds2prof.analysis import ranks, summary
    from ds2prof.parsers import read_all

    parts: list[Part] = []
    tables = tuple(dict.fromkeys((*summary.TABLES, *ranks.TABLES)))
    try:
        for profile in read_all(file, tables=tables, progress=progress, refused=failures.append):
            parts.append(_part(file, profile))
    except (ReadError, MissingDataError) as error:
        failures.append(error)
    return parts


def _part(file: str, profile: Profile) -> Part:
    from ds2prof.analysis import ranks, summary
    from ds2prof.cli.answering import devices_of

    found = summary.summary(profile)
    lanes = ranks.lanes_of(profile) if found.kind == summary.TIMELINE else []
    path = profile.meta.file if Path(file).is_dir() else file
    return Part(path, profile.meta, found, profile.warnings, devices_of(profile), lanes)


def _as_table(parts: Sequence[Part], paint: Paint, to_file: bool) -> str:
    from ds2prof.cli.parse import width_for
    from ds2prof.report.summary_several import overview
    from ds2prof.report.summary_text import summary_text

    width = width_for(to_file=to_file)
    screens = [
        summary_text(
            part.meta,
            part.summary,
            path=part.path,
            width=width,
            devices=part.devices,
            warnings=part.warnings,
            paint=paint,
        )
        for part in parts
    ]
    if len(parts) == 1:
        return screens[0]
    first = [
        overview([(part.meta, part.summary) for part in parts], width=width, paint=paint),
        *_run(parts, width, paint),
    ]
    return "\n\n\n".join([*first, *(screens if len(parts) <= _ALL_SHOWN else [])])


def _run(parts: Sequence[Part], width: int, paint: Paint) -> list[str]:
    """The run that the profiles are the ranks of, if they are of several ranks."""
    from ds2prof.analysis import ranks
    from ds2prof.report.summary_several import run_text

    found = [part.meta.rank for part in parts if part.lanes]
    if len(found) < 2 or None in found or len(set(found)) < len(found):
        return []
    run = ranks.run_of([lane for part in parts for lane in part.lanes])
    paths = list(dict.fromkeys(part.path for part in parts if part.lanes))
    return [run_text(ranks.answer(run, "rank"), ranks.run_totals(run), paths=paths, width=width, paint=paint)]


def _as_json(parts: Sequence[Part], paint: Paint, to_file: bool) -> str:
    from ds2prof.report.documents import as_json
    from ds2prof.report.summary_documents import summary_document

    made = [summary_document(part.meta, part.summary, path=part.path, warnings=part.warnings) for part in parts]
    return as_json(made, many=len(made) > 1)


def _as_markdown(parts: Sequence[Part], paint: Paint, to_file: bool) -> str:
    from ds2prof.report.summary_documents import summary_markdown

    return "\n\n".join(
        summary_markdown(part.meta, part.summary, path=part.path, warnings=part.warnings) for part in parts
    )


_WRITERS: Final[dict[str, Any]] = {"table": _as_table, "json": _as_json, "markdown": _as_markdown}
