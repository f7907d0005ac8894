"""``ds2prof export``: a measurement in the form that another tool reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import click

from ds2prof.cli.answering import RUN_KEYS
from ds2prof.cli.options import FILE
from ds2prof.cli.pages import Page
from ds2prof.cli.parse import BY as PARSE_BY
from ds2prof.errors import ExistsError, MissingDataError, ReadError, UsageError
from ds2prof.measurements import refuse_input, written_whole
from ds2prof.report.exports import FORMS, Form
from ds2prof.schemas import SCHEMAS

if TYPE_CHECKING:
    from ds2prof.report.exports.sheets import Sheet
    from ds2prof.report.exports.trace import TraceOptions
    from ds2prof.tables import Profile

BY: Final = tuple(key for key in PARSE_BY if key not in RUN_KEYS)
_MANY: Final = ("core", "ledger", "phase", "class", "name")
DEFAULTS: Final = {
    "openmetrics": _MANY,
    "markdown": _MANY,
    "xlsx": (*_MANY, "layer", "iteration", "stream", "copy", "api"),
}
"""Form -> the keys that it has without ``--by``, of which a file has some; of all others, what ``parse`` shows."""
_STANDARD_OUTPUT: Final = "-"
_NS_PER_US: Final = 1_000
_HZ_PER_MHZ: Final = 1e6
_PATH: Final = click.Path(path_type=Path)


@click.command(cls=Page)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option("--to", "form_name", type=click.Choice(tuple(FORMS)), required=True, help="The form.")
@click.option("-o", "--output", metavar="PATH", help="Where to write; '-' is standard output [text forms: there].")
@click.option("--by", "keys", type=click.Choice(BY), multiple=True, help="A table by this key; may be repeated.")
@click.option(
    "--table", "tables", type=click.Choice(tuple(SCHEMAS)), multiple=True, help="A table of the file as it was read."
)
@click.option("--top", type=click.IntRange(min=1), help="The first N rows of each table alone [markdown: 20].")
@click.option("--counters", type=_PATH, help="Of a trace: put the counters of this replayed capture on its launches.")
@click.option("--sm-clock-mhz", type=click.FloatRange(min=1, max=10_000), help="With --counters: the timeline's clock.")
@click.option("--clocks", type=_PATH, help="With --counters: a sampler's file of the same time, for the clock.")
@click.option("--counter-step-us", type=click.IntRange(min=1), help="Of a trace: the step of the busy share.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(
    files: tuple[str, ...],
    form_name: str,
    output: str | None,
    keys: tuple[str, ...],
    tables: tuple[str, ...],
    top: int | None,
    counters: Path | None,
    sm_clock_mhz: float | None,
    clocks: Path | None,
    counter_step_us: int | None,
    force: bool,
) -> None:
    """Write what FILEs hold in the form of another tool.

    perfetto and chrome are one form, a trace for ui.perfetto.dev and chrome://tracing (gzip where PATH ends in
    .gz): kernels, copies, calls, operators, ranges, arrows from launches, why each device was idle, and counter
    tracks of the busy share, of pipes (--counters) and of sampled readings. ds2prof reads it back. All others hold
    tables: answers (--by, as of parse) and the file's own (--table). csv and parquet hold one table; for several
    give a folder, PATH/.

    \b
    ds2prof export torch_bs4.json.gz --to perfetto -o trace.json.gz
    ds2prof export nsys_bs32.sqlite --to perfetto --counters nsight_bs32.csv --sm-clock-mhz 1410 -o trace.json.gz
    ds2prof export torch_bs4.json.gz --to parquet --table kernels -o kernels.parquet
    ds2prof export torch_bs4.json.gz --to csv --by phase --by name -o tables/
    ds2prof export torch_bs4.json.gz --to markdown >> "$GITHUB_STEP_SUMMARY"
    ds2prof export run_bs4.jsonl --to openmetrics -o run.prom

    Exit codes: 0 done, 1 the file is at fault or lacks what was asked for, 2 wrong usage.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is linear algebra; a thread each would wait
    form = FORMS[form_name]
    target = (
        None if output in (None, _STANDARD_OUTPUT) else _Target(Path(str(output)), force, str(output).endswith("/"))
    )
    if target is None and form.kind == "file":
        raise UsageError(f"--to {form_name}: is no text; needs -o PATH")
    if target is not None and form.kind == "file" and target.path.suffix == ".gz":
        raise UsageError(f"--to {form_name}: is packed by itself; name it without .gz, not {target.path}")
    refuse_input(None if target is None else target.path, [*files, *(str(path) for path in (counters, clocks) if path)])
    if form.kind == "trace":
        if keys or tables or top:
            raise UsageError(f"--to {form_name}: holds all that has a time; drop --by, --table and --top")
        given = _Counters(counters, sm_clock_mhz, clocks)
        with _text_output(target) as out:
            _write_trace(files, out, given, counter_step_us)
        return
    if counters or sm_clock_mhz or clocks or counter_step_us:
        raise UsageError(f"--to {form_name}: has no counter tracks; drop the options of traces")
    sheets = _sheets(files, keys or None, tables, form_name=form_name, top=top)
    _write_tables(sheets, form_name, target, top=top)
    _qualify(sheets, form_name)


class _Counters:
    """Where the pipes of a trace come from."""

    def __init__(self, path: Path | None, sm_clock_mhz: float | None, clocks: Path | None) -> None:
        if path is None and (sm_clock_mhz is not None or clocks is not None):
            raise UsageError("--sm-clock-mhz and --clocks: are for --counters; add it, or drop them")
        if sm_clock_mhz is not None and clocks is not None:
            raise UsageError("--sm-clock-mhz and --clocks: both tell the SM clock; drop one of them")
        self.path = path
        self.sm_clock_hz = None if sm_clock_mhz is None else sm_clock_mhz * _HZ_PER_MHZ
        self.clocks = clocks


def _write_trace(files: Sequence[str], out: IO[str], given: _Counters, step_us: int | None) -> None:
    from ds2prof.report.exports.trace import TABLES, untimed, write_trace

    if len(files) != 1:
        raise UsageError(f"a trace is of one file, not of {len(files)}; export each")
    profile = _one(files[0], TABLES)
    options = _trace_options(profile, given, step_us)
    write_trace(profile, out, options)
    lacking = [f"{count:,} rows of {name} have no time and are not in the trace" for name, count in untimed(profile)]
    _say([f"warning: {line}" for line in (*profile.warnings, *lacking)])


def _trace_options(profile: Profile, given: _Counters, step_us: int | None) -> TraceOptions:
    from ds2prof.analysis.join.sides import TABLES
    from ds2prof.report.exports.trace import TraceOptions
    from ds2prof.report.exports.trace_pipes import joined_pipes, own_pipes

    step_ns = None if step_us is None else step_us * _NS_PER_US
    if given.path is None:
        return TraceOptions(step_ns, own_pipes(profile))
    sampler = None if given.clocks is None else _one(str(given.clocks), ("samples", "ranges"))
    pipes, notes = joined_pipes(profile, _one(str(given.path), TABLES), sm_clock_hz=given.sm_clock_hz, sampler=sampler)
    _say([f"note: {note}" for note in notes])
    return TraceOptions(step_ns, pipes, {"counters_file": str(given.path), "join": list(notes)})


def _one(path: str, tables: Sequence[str]) -> Profile:
    """The one profile in a file."""
    from ds2prof.parsers import read_all

    found = list(read_all(path, tables=tables))
    if len(found) != 1:
        raise ReadError(f"{path}: {len(found)} profiles in it; a trace is of one: name a single file")
    return found[0]


def _sheets(
    files: Sequence[str], keys: Sequence[str] | None, tables: Sequence[str], *, form_name: str, top: int | None
) -> list[Sheet]:
    """The tables of all profiles behind the files, profile by profile."""
    from ds2prof.analysis import questions
    from ds2prof.parsers import read_all

    wanted = keys if keys is not None else () if tables else DEFAULTS.get(form_name)
    needed = [name for key in wanted or (None,) for name in questions.tables_for(key)]
    sheets: list[Sheet] = []
    for file in files:
        for profile in read_all(file, tables=tuple(dict.fromkeys([*needed, *tables]))):
            sheets += _of_profile(profile, wanted, tables, must=keys is not None, top=top, form_name=form_name)
    return sheets


def _of_profile(
    profile: Profile,
    keys: Sequence[str] | None,
    tables: Sequence[str],
    *,
    must: bool,
    top: int | None,
    form_name: str,
) -> list[Sheet]:
    from ds2prof.analysis import questions
    from ds2prof.report.exports.sheets import of_answer, of_table

    answers = []
    for key in keys or ():
        try:
            answers += questions.answers(profile, key)
        except MissingDataError:
            if must:
                raise
    if not answers and not tables:
        answers = questions.answers(profile, None, screens=not FORMS[form_name].one_table)
    timed = next((key for key in ("ledger", "iteration", "phase") if key in (keys or ())), None)
    totals = questions.totals_of(profile, timed)
    told = {"meta": profile.meta, "warnings": profile.warnings}
    sheets = [
        of_answer(each if top is None else each.head(top), totals=totals, **cast("Any", told)) for each in answers
    ]
    return sheets + [of_table(profile.table(name), top=top, **cast("Any", told)) for name in tables]


@dataclass(frozen=True)
class _Target:
    """Where to write: the path, whether what is there is replaced, and whether it was given as a folder's."""

    path: Path
    force: bool
    is_folder: bool = False


def _write_tables(sheets: Sequence[Sheet], form_name: str, target: _Target | None, *, top: int | None) -> None:
    form = FORMS[form_name]
    by_name: dict[str, list[Sheet]] = {}
    for sheet in sheets:
        by_name.setdefault(sheet.name, []).append(sheet)
    more = {"top": top} if form_name == "markdown" else {}
    if target is not None and form.one_table and (target.is_folder or target.path.is_dir()):
        targets = [(replace(target, path=target.path / f"{name}.{form.extension}"), name) for name in by_name]
        for each, _ in targets:
            _refuse_existing(each)
        for each, name in targets:
            _write(form, by_name[name], each, more=more)
        return
    if form.one_table and len(by_name) > 1:
        raise UsageError(
            f"--to {form_name}: holds one table, and {len(by_name)} are asked for ({', '.join(by_name)}); "
            "name a folder, -o FOLDER/, or one of them"
        )
    _write(form, sheets, target, more=more)


def _write(form: Form, sheets: Sequence[Sheet], target: _Target | None, *, more: dict[str, Any]) -> None:
    from importlib import import_module

    function = getattr(import_module(f"ds2prof.report.exports.{form.module}"), form.function)
    if form.kind == "text":
        with _text_output(target) as out:
            function(sheets, out, **more)
        return
    assert target is not None
    _refuse_existing(target)
    with written_whole(target.path) as partial:
        function(sheets, partial)


def _refuse_existing(target: _Target) -> None:
    if target.path.is_file() and not target.force:
        raise ExistsError(f"{target.path}: exists already; give another name, or --force to replace it")


@contextmanager
def _text_output(target: _Target | None) -> Iterator[IO[str]]:
    """Standard output, or a file that is there whole in the end or not at all; packed where its name says so."""
    if target is None:
        yield cast("IO[str]", _Terminal()) if sys.stdout.isatty() else sys.stdout
        return
    _refuse_existing(target)
    with written_whole(target.path) as partial:
        if target.path.suffix == ".gz":
            with _packed(partial) as out:
                yield out
            return
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
            yield out


@contextmanager
def _packed(path: Path) -> Iterator[IO[str]]:
    """A gzip file without name and time in it: the same trace makes the same bytes."""
    import gzip
    import io

    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", errors="backslashreplace", newline="") as out,
    ):
        yield out


class _Terminal:
    """Standard output on a terminal: what names of the file could steer it with is taken out."""

    def write(self, text: str) -> int:
        """Write the text, cleaned line by line."""
        from ds2prof.report.text import cleaned

        return sys.stdout.write("\n".join(cleaned(line) for line in text.split("\n")))

    def writelines(self, lines: Sequence[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)


def _qualify(sheets: Sequence[Sheet], form_name: str) -> None:
    """Say on standard error what the output itself has no place for."""
    if form_name in ("json", "markdown", "xlsx"):
        return
    lines = dict.fromkeys(f"warning: {line}" for sheet in sheets for line in sheet.warnings)
    _say([*lines, *dict.fromkeys(f"note: {note}" for sheet in sheets for note in sheet.notes)])


def _say(lines: Sequence[str]) -> None:
    from ds2prof.report.text import cleaned

    for line in lines:
        click.echo(f"ds2prof: {cleaned(line)}", err=True)
