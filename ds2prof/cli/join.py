"""``ds2prof join``: counters of a replayed capture put on the launches of a timeline."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ds2prof.cli.options import FILE, OUTPUT, emitted
from ds2prof.cli.pages import Page
from ds2prof.errors import ReadError, UsageError
from ds2prof.measurements import refuse_input

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ds2prof.analysis.answers import Answer
    from ds2prof.analysis.join import Joined
    from ds2prof.tables import Profile

BY: Final = ("core", "iteration", "phase", "layer", "name", "class")
FORMATS: Final = ("table", "csv", "json")
DEFAULT_TOP: Final = 20
_HZ_PER_MHZ: Final = 1e6
_FILE: Final = click.Path(path_type=Path)


@click.command(cls=Page)
@click.argument("timeline", metavar="TIMELINE", type=FILE)
@click.argument("counters", metavar="COUNTERS", type=FILE)
@click.option(
    "--sm-clock-mhz",
    type=click.FloatRange(min=1, max=10_000),
    help="The SM clock while TIMELINE was taken [sampled where a file tells, else assumed from base to boost].",
)
@click.option("--clocks", type=_FILE, help="What a sampler wrote beside TIMELINE, for its SM clock (ds2prof run smi).")
@click.option("--by", type=click.Choice(BY), default="core", show_default=True, help="What a row is.")
@click.option("--top", type=click.IntRange(min=1), help=f"The first N rows alone [table: {DEFAULT_TOP}; else all].")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to write it."
)
@OUTPUT
def command(
    timeline: str,
    counters: str,
    sm_clock_mhz: float | None,
    clocks: Path | None,
    by: str,
    top: int | None,
    form: str,
    output: Path | None,
) -> None:
    """Put the hardware counters of COUNTERS on the launches of TIMELINE, and say how much of the chip was used when.

    Nsight Compute repeats each launch to read its counters, so its times are not those of the run; Nsight Systems,
    PyTorch's profiler and nvprof have the real times and no counters. Launches are matched by name, grid, block, shared
    memory and order. A launch's work (cycles x share of peak) is the same in both; over the timeline's own clock and
    times it gives utilization in the real run. What did not match is listed, and widens the bounds.

    \b
    ds2prof join measurements/nsys_bs32.nsys-rep measurements/nsight_bs32.csv --sm-clock-mhz 1410
    ds2prof join torch_bs32.json.gz nsight_bs32.csv --clocks smi_bs32.csv --by phase
    ds2prof join torch_bs32.json.gz nsight_bs32.csv --format json

    Exit codes: 0 done, 1 a file is at fault or lacks what was asked for, 2 wrong usage.
    """
    if sm_clock_mhz is not None and clocks is not None:
        raise UsageError("--sm-clock-mhz and --clocks: both tell the SM clock; drop one of them")
    refuse_input(output, [str(path) for path in (timeline, counters, clocks) if path])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is linear algebra; a thread each would wait
    from ds2prof.analysis.join import join, table, unmatched

    files = [_read(path) for path in (timeline, counters)]
    sampler = None if clocks is None else _read(str(clocks), tables=("samples", "ranges"))
    hz = None if sm_clock_mhz is None else sm_clock_mhz * _HZ_PER_MHZ
    joined = join(files[0], files[1], sm_clock_hz=hz, sampler=sampler)
    answers = [table(joined, by), unmatched(joined)]
    emitted(_written(joined, answers, form=form, top=top, width=_width(output)), output)
    _qualify(joined, answers[0], form=form)


def _read(path: str, *, tables: tuple[str, ...] | None = None) -> Profile:
    """The one profile in a file."""
    from ds2prof.analysis.join.sides import TABLES
    from ds2prof.parsers import read_all

    found = list(read_all(path, tables=tables or TABLES))
    if len(found) != 1:
        raise ReadError(f"{path}: {len(found)} profiles in it; the join takes one on each side: name a single file")
    return found[0]


def _written(joined: Joined, answers: list[Answer], *, form: str, top: int | None, width: int) -> str:
    from ds2prof.analysis.join import totals

    if form == "csv":
        from ds2prof.report.documents import as_csv

        return as_csv([(joined.timeline.meta, answers[0] if top is None else answers[0].head(top))])
    found = totals(joined)
    if form == "json":
        return _as_json(joined, answers, found, top)
    from ds2prof.report.join_text import join_text

    sides = joined.timeline.meta, joined.counters.meta
    return join_text(*sides, answers=answers, totals=found, top=top or DEFAULT_TOP, width=width)


def _as_json(joined: Joined, answers: list[Answer], totals: Mapping[str, Any], top: int | None) -> str:
    """One object as of ``parse``: the timeline is its source; the counters' source and what did not match beside it."""
    from dataclasses import asdict

    from ds2prof.report.documents import as_json, document

    sides = joined.timeline, joined.counters
    warnings = [f"{side.meta.file}: {line}" for side in sides for line in side.warnings]
    shown = answers[0] if top is None else answers[0].head(top)
    found = document(shown, meta=joined.timeline.meta, totals=totals, warnings=warnings)
    found["counters_source"] = asdict(joined.counters.meta)
    found["unmatched"] = answers[1].rows()
    return as_json([found], many=False)


def _width(output: Path | None) -> int:
    from ds2prof.cli.parse import terminal_columns

    return 200 if output is not None else max(terminal_columns(), 60)


def _qualify(joined: Joined, answer: Answer, *, form: str) -> None:
    """Say on standard error what the output itself has no place for."""
    from ds2prof.report.text import cleaned

    lines = []
    if form != "json":
        lines = [
            f"warning: {side.meta.file}: {line}"
            for side in (joined.timeline, joined.counters)
            for line in side.warnings
        ]
    if form == "csv":
        lines += [f"note: {note}" for note in answer.notes]
    for line in lines:
        click.echo(f"ds2prof: {cleaned(line)}", err=True)
    sys.stderr.flush()
