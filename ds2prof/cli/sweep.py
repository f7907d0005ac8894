"""``ds2prof sweep``: many measurements, a row for each batch size, precision, or whatever their sidecars state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ds2prof.cli.options import FILE, OUTPUT, emitted
from ds2prof.cli.pages import Page
from ds2prof.errors import MissingDataError, ReadError
from ds2prof.measurements import refuse_input

if TYPE_CHECKING:
    from ds2prof.analysis.answers import Answer
    from ds2prof.analysis.sweep import Measurement, Sweep
    from ds2prof.tables import Meta

FORMATS: Final = ("table", "csv", "json", "markdown")


@click.command(cls=Page)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option(
    "--over",
    default="batch_size",
    show_default=True,
    metavar="KEY",
    help="What is swept: batch_size, precision, or any key of the sidecars (window.start, versions.torch).",
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to write it."
)
@OUTPUT
def command(files: tuple[str, ...], over: str, form: str, output: Path | None) -> None:
    """Say how throughput, step time, utilization and memory change with the batch, the precision or another key.

    FILEs are measurements of any kind, or folders of them. Those with the same value of the key are one point, which
    has from each what it tells: run logs the throughput (no profiler), timelines the busy share, Nsight Compute the
    pipes, memory captures the peak, samplers power and memory in use. A sweep over the batch also has the curve that
    the throughput follows, how far it can rise, and its knee.

    \b
    ds2prof sweep measurements/
    ds2prof sweep measurements/run_bs*.jsonl measurements/nsight_bs*.csv
    ds2prof sweep measurements/ --over precision
    ds2prof sweep measurements/ --over versions.torch --format markdown

    Exit codes: 0 done, 1 a file is at fault or none states the key, 2 wrong usage.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is linear algebra; a thread each would wait
    from ds2prof.analysis import sweep as sweeps

    found, left_out, failures = _measured(files, over)
    if not found:
        if failures:
            raise failures[0]
        raise MissingDataError(_none_states(over, left_out))
    refuse_input(output, [*files, *(one.meta.file for one in found)])
    made = sweeps.sweep(found, over)
    warnings = [str(failure) for failure in failures]
    warnings += [f"{meta.file}: states no {over}; left out" for meta in left_out]
    emitted(_written(made, warnings, form, output), output)
    if form != "json":
        _say([f"warning: {line}" for line in warnings])
    if form == "csv":
        _say([f"note: {note}" for note in sweeps.answer(made).notes])
    if failures:
        raise failures[0]


def _measured(files: Sequence[str], over: str) -> tuple[list[Measurement], list[Meta], list[ReadError]]:
    """(what is kept of each measurement, those that do not state the key, those that cannot be read).

    A profile is let go before the next is read: memory is that of the largest.
    """
    from ds2prof.analysis import sweep as sweeps
    from ds2prof.parsers import read_all

    found: list[Measurement] = []
    left_out: list[Meta] = []
    failures: list[ReadError] = []
    seen: set[tuple[str, int | None]] = set()  # a file that is named twice is no repeat
    for file in files:
        try:
            for profile in read_all(file, tables=sweeps.TABLES, refused=failures.append):
                own = (os.path.realpath(profile.meta.file), profile.meta.rank)
                if own in seen:
                    continue
                seen.add(own)
                one = sweeps.measured(profile, over)
                if one is None:
                    left_out.append(profile.meta)
                else:
                    found.append(one)
        except ReadError as error:
            failures.append(error)
    return found, left_out, failures


def _none_states(over: str, metas: Sequence[Meta]) -> str:
    """One line: that no measurement states the key, and what they do state."""
    from ds2prof.analysis.sweep import stated_keys

    keys = stated_keys(metas)
    shown = ", ".join(keys[:8]) or "none: is the sidecar (FILE.meta.json) beside each?"
    return f"none of {len(metas)} measurements states {over!r}; keys of theirs that vary: {shown}"


def _written(made: Sweep, warnings: Sequence[str], form: str, output: Path | None) -> str:
    from ds2prof.analysis import sweep as sweeps

    answer, meta = sweeps.answer(made), _meta(made)
    if form == "table":
        return _as_table(made, answer, output)
    if form == "csv":
        from ds2prof.report.documents import as_csv

        return as_csv([(meta, answer)])
    if form == "json":
        from ds2prof.report.documents import as_json, document

        return as_json([document(answer, meta=meta, totals=sweeps.totals(made), warnings=warnings)], many=False)
    from ds2prof.report.sweep_text import sweep_markdown

    return sweep_markdown(answer, title=_title(made))


def _as_table(made: Sweep, answer: Answer, output: Path | None) -> str:
    from ds2prof.cli.parse import terminal_columns
    from ds2prof.report.sweep_text import sweep_text

    width = 200 if output is not None else max(terminal_columns(), 60)
    return sweep_text(answer, title=_title(made), width=width)


def _title(made: Sweep) -> str:
    count, points = sum(map(len, made.points.values())), len(made.points)
    named = f"{count} measurement{'' if count == 1 else 's'}, {points} point{'' if points == 1 else 's'}"
    return f"Sweep over {made.over}: {named}"


def _meta(made: Sweep) -> Meta:
    """One source for all files together."""
    from dataclasses import replace

    each = [one for some in made.points.values() for one in some]
    first, formats = each[0].meta, {one.meta.format for one in each}
    return replace(
        first,
        file=first.file if len(each) == 1 else f"{first.file} and {len(each) - 1} more",
        tool=", ".join(dict.fromkeys(one.meta.tool for one in each)),
        format=first.format if len(formats) == 1 else "several",
        rank=None,
        run=None,
        facts={"files": [one.meta.file for one in each]},
    )


def _say(lines: Sequence[str]) -> None:
    from ds2prof.report.text import cleaned

    for line in lines:
        click.echo(f"ds2prof: {cleaned(line)}", err=True)
