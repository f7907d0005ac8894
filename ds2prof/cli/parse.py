"""``ds2prof parse``: profiler files in, one table out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from ds2prof.cli.answering import (
    RUN_KEYS,
    Part,
    Question,
    Result,
    each_file,
    lengths_beside,
    part_of,
    parts_on,
    with_clocks,
)
from ds2prof.cli.options import COLOR, FILE, OUTPUT, emitted, paint_of
from ds2prof.cli.pages import Page
from ds2prof.errors import Ds2profError, UsageError
from ds2prof.measurements import refuse_input, written_whole

if TYPE_CHECKING:
    from ds2prof.analysis.answers import Answer
    from ds2prof.parsers.sources import Progress
    from ds2prof.report.paint import Paint

BY: Final = (
    "core",
    "name",
    "kernel",
    "launch",
    "class",
    "phase",
    "layer",
    "iteration",
    "stream",
    "device",
    "copy",
    "api",
    "range",
    "metric",
    "memory",
    "throughput",
    "fp32",
    "annotation",
    "roofline",
    "gain",
    "ledger",
    "wait",
    *RUN_KEYS,
    *("occupancy", "latency", "queue", "bandwidth", "wave", "allocation", "path", "energy", "bound"),
)
PER_OF: Final = {
    "ledger": ("iteration", "phase"),
    "roofline": ("name", "class", "layer", "phase"),
    "gain": ("name", "class", "layer", "phase"),
    "allocation": ("moment",),
}
FORMATS: Final = ("table", "tbd", "csv", "json", "parquet")
DEFAULT_TOP: Final = 20
_PROGRESS_BYTES: Final = 32 << 20
_FILE_COLUMNS, _MIN_COLUMNS = 200, 60


@click.command(cls=Page)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option(
    "--by",
    type=click.Choice(BY),
    metavar="KEY",
    help="What a row is (see Keys). Default: core, then name, where there are counters; else name.",
)
@click.option(
    "--per",
    type=click.Choice(list(dict.fromkeys(word for words in PER_OF.values() for word in words))),
    help="With --by ledger: a ledger for each iteration or phase. With roofline, gain: rows by name, class, layer, "
    "phase. With allocation: what was held over time.",
)
@click.option("--top", type=click.IntRange(min=1), help=f"The first N rows alone [table: {DEFAULT_TOP}; else all].")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to write it."
)
@OUTPUT
@click.option(
    "--dask", metavar="WHERE", help="Read the files on Dask: 'local', or a scheduler such as tcp://host:8786."
)
@click.option("--workers", type=click.IntRange(min=1), help="With --dask local: how many processes [a processor each].")
@COLOR
def command(
    files: tuple[str, ...],
    by: str | None,
    per: str | None,
    top: int | None,
    form: str,
    output: Path | None,
    dask: str | None,
    workers: int | None,
    color: str,
) -> None:
    """Print what FILEs hold: core utilization, kernels, phases, iterations, copies, calls, sampled readings, memory.

    A FILE is what nvprof, Nsight Compute, Nsight Systems, PyTorch's profiler, rocprofv3, nvidia-smi or DCGM wrote, or a
    run log; its format is found from its bytes. A folder means all measurements in it, '-' standard input; gzip and
    tar archives of ranks are read as they are. --by rank, collective and straggler take all FILEs for the ranks of one
    run.

    \b
    ds2prof parse measurements/nsight_bs32.csv
    ds2prof parse measurements/nsight_bs32.csv --format tbd
    ds2prof parse measurements/torch_bs4.json.gz --by phase
    ds2prof parse torch_bs4.json.gz --by ledger --per phase
    ds2prof parse torch_bs4.json.gz --by gain --per layer
    ds2prof parse report.sqlite profile.nvvp --by class --format json
    ds2prof parse trace.json.gz --by launch --format parquet -o launches.parquet
    ds2prof parse measurements/torch_bs4_rank*.json.gz --by straggler --dask local

    Exit codes: 0 done, 1 the file is at fault or lacks what was asked for, 2 wrong usage.
    """
    # Nothing here is linear algebra. NumPy would start a thread per processor for it, which a small file waits for, and
    # a process with threads cannot be forked to share the reading of a large one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if form == "parquet" and output is None:
        raise UsageError("--format parquet: needs -o FILE")
    if form == "tbd" and by not in (None, "core"):
        raise UsageError(f"--format tbd: prints the four lines of core utilization; drop --by {by}")
    if per is not None and per not in PER_OF.get(by or "", ()):
        keys = " or ".join(f"--by {key}" for key, words in PER_OF.items() if per in words)
        raise UsageError(f"--per {per}: groups the rows of some answers alone; add {keys}")
    if workers is not None and dask is None:
        raise UsageError("--workers: how many processes Dask starts; add --dask local")
    question = Question(by, form, per, lengths_beside(files, by))
    parts = _parts(files, question, dask=dask, workers=workers)
    results = [result for part in parts for result in part.results]
    failures = [failure for part in parts for failure in part.failures]
    _warn(warning for part in parts for warning in part.warnings)
    if not results:
        failed(failures)
    if question.is_of_run:
        results = [_of_run(results, str(by))]
    results = with_clocks(results)
    refuse_input(output, [*files, *(result.meta.file for result in results)])
    if form == "parquet":
        _write_parquet(results, output, top=top)
    else:
        paint = paint_of(color, to_file=output is not None)
        emitted(_WRITERS[form](results, top=top, to_file=output is not None, paint=paint), output)
    _qualify(results, form=form)
    if failures:  # the others were answered; each of these still counts
        failed(failures)


def _of_run(results: Sequence[Result], by: str) -> Result:
    """The one answer of all files together, the ranks of one run."""
    from dataclasses import replace

    from ds2prof.analysis import ranks

    run = ranks.run_of([lane for result in results for lane in result.lanes])
    first = results[0].meta
    formats = {result.meta.format for result in results}
    meta = replace(
        first,
        file=first.file if len(results) == 1 else f"{first.file} and {len(results) - 1} more",
        tool=", ".join(dict.fromkeys(result.meta.tool for result in results)),
        format=first.format if len(formats) == 1 else "several",
        rank=None,
        run=None,
        facts={"files": [result.meta.file for result in results]},
    )
    warnings = tuple(dict.fromkeys(warning for result in results for warning in result.warnings))
    return Result(meta, warnings, (), [ranks.answer(run, by)], ranks.run_totals(run))


def _warn(warnings: Iterable[str]) -> None:
    from ds2prof.report.text import cleaned

    for warning in warnings:
        click.echo(f"ds2prof: {cleaned(f'warning: {warning}')}", err=True)


def failed(failures: Sequence[Ds2profError]) -> NoReturn:
    """A line for each failure; the last is raised."""
    from ds2prof.report.text import cleaned

    for failure in failures[:-1]:
        click.echo(f"ds2prof: {cleaned(str(failure))}", err=True)
    raise failures[-1]


def _qualify(results: Sequence[Result], *, form: str) -> None:
    """Say on standard error what the output itself has no place for: warnings, and notes to bare numbers."""
    from ds2prof.report.text import cleaned

    for result in results:
        lines = [f"warning: {line}" for line in result.warnings if form != "json"]
        if form in ("tbd", "csv", "parquet"):
            lines += [f"note: {note}" for answer in result.answers for note in answer.notes]
        for line in lines:
            click.echo("\n".join(_folded_there(f"ds2prof: {cleaned(line)}")), err=True)


def _folded_there(line: str) -> list[str]:
    """A line for standard error: on a terminal broken between words, for machines whole."""
    if not sys.stderr.isatty():
        return [line]
    from ds2prof.report.headings import folded

    return folded([line], width_for(to_file=False))


def _parts(files: Sequence[str], question: Question, *, dask: str | None, workers: int | None) -> list[Part]:
    """What each file gave: one bad file does not cost the others."""
    if dask is not None:
        files = each_file(files)
        with _counting(len(files)) as done:
            return parts_on(files, question, where=dask, workers=workers, done=done)
    with progress_over(files) as progress:
        return [part_of(file, question=question, progress=progress) for file in files]


@contextmanager
def _counting(count: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over files on a terminal; else nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=count, label="reading", file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def progress_over(files: Sequence[str]) -> Iterator[Progress | None]:
    """A progress bar over the files' bytes on a terminal, for what takes long enough to be looked at; else nothing."""
    total = sum(_size_bytes(Path(file)) for file in files if file != "-")
    if total < _PROGRESS_BYTES or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label="reading", file=sys.stderr) as bar:
        yield bar.update


def _size_bytes(path: Path) -> int:
    """The size of a regular file, 0 for all else: what cannot be read is reported by its reader."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _as_table(results: Sequence[Result], *, top: int | None, to_file: bool, paint: Paint) -> str:
    from ds2prof.report.screen import screen

    width = width_for(to_file=to_file)
    return "\n\n".join(
        screen(
            result.meta,
            result.answers,
            totals=result.totals,
            top=top or DEFAULT_TOP,
            width=width,
            devices=result.devices,
            paint=paint,
        )
        for result in results
    )


def width_for(*, to_file: bool) -> int:
    """How many columns a table may take."""
    return _FILE_COLUMNS if to_file else max(terminal_columns(), _MIN_COLUMNS)


def terminal_columns() -> int:
    """The width of the terminal, 120 where there is none; ``shutil``, which tells it too, brings every compressor."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 120 if sys.__stdout__ is not None else 120
    except (OSError, ValueError):
        return 120


def _as_tbd(results: Sequence[Result], *, top: int | None, to_file: bool, paint: Paint) -> str:
    from ds2prof.report.text import tbd

    return "\n".join(tbd(result.tbd_lines) for result in results)


def _as_csv(results: Sequence[Result], *, top: int | None, to_file: bool, paint: Paint) -> str:
    from ds2prof.report.documents import as_csv
    from ds2prof.report.text import cleaned

    made = as_csv([(result.meta, answer) for result in results for answer in _cut(result, top)])
    if to_file or not sys.stdout.isatty():
        return made
    return "\n".join(cleaned(line) for line in made.split("\n"))


def _as_json(results: Sequence[Result], *, top: int | None, to_file: bool, paint: Paint) -> str:
    from ds2prof.report.documents import as_json, document

    documents = [
        document(answer, meta=result.meta, totals=result.totals, warnings=result.warnings)
        for result in results
        for answer in _cut(result, top)
    ]
    return as_json(documents, many=len(documents) > 1)


def _write_parquet(results: Sequence[Result], output: Path | None, *, top: int | None) -> None:
    from ds2prof.report.documents import write_parquet

    assert output is not None
    with written_whole(output) as partial:
        write_parquet([(result.meta, answer) for result in results for answer in _cut(result, top)], partial)


def _cut(result: Result, top: int | None) -> list[Answer]:
    return [answer if top is None else answer.head(top) for answer in result.answers]


_WRITERS: Final = {"table": _as_table, "tbd": _as_tbd, "csv": _as_csv, "json": _as_json}
