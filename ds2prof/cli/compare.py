"""``ds2prof compare``: two sides of measurements in, what changed out, and an exit code that a pipeline can obey."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ds2prof.cli.options import FILE, OUTPUT, emitted
from ds2prof.cli.pages import Page
from ds2prof.errors import MissingDataError, ReadError, UsageError
from ds2prof.measurements import refuse_input

if TYPE_CHECKING:
    from ds2prof.analysis.compare import Comparison, Part

BY: Final = ("ledger", "phase", "class", "layer", "name", "kernel")
FORMATS: Final = ("table", "json", "markdown", "csv")
DEFAULT_TOP: Final = 15
GATE_FAILED: Final = 3


@click.command(cls=Page)
@click.argument("paths", nargs=-1, metavar="[BASE NEW]", type=FILE)
@click.option(
    "--base", "base_paths", multiple=True, type=FILE, metavar="FILE", help="A measurement of the base; once for each."
)
@click.option(
    "--new", "new_paths", multiple=True, type=FILE, metavar="FILE", help="A measurement of the new; once for each."
)
@click.option(
    "--by", type=click.Choice(BY), help="What a row is [ledger, phase and name, as far as they are there; else name]."
)
@click.option("--gate", "gates", multiple=True, metavar="LIMIT", help='A limit: "step_ns<=+2%", "busy>=-1pt".')
@click.option("--strict", is_flag=True, help="A limit of which nothing can be known counts as broken.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Compare the runs of this batch size alone.")
@click.option("--top", type=click.IntRange(min=1), help=f"The first N rows alone [table, markdown: {DEFAULT_TOP}].")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to write it."
)
@OUTPUT
def command(
    paths: tuple[str, ...],
    base_paths: tuple[str, ...],
    new_paths: tuple[str, ...],
    by: str | None,
    gates: tuple[str, ...],
    strict: bool,
    batch_size: int | None,
    top: int | None,
    form: str,
    output: Path | None,
) -> None:
    """Say what changed between BASE and NEW, how sure that is, and whether limits were kept.

    BASE and NEW are each a file, a folder, an archive of ranks, or a pattern in quotes ('base/torch_*.json.gz'), of
    timelines, captures of counters or memory, or run logs. Files of one run's ranks are one run; all others are
    repetitions, from which the noise is told: give several runs of each side, for one run knows no more than its own
    iterations. --base and --new name files one by one.

    A gate names a field of the totals or step_ns and a limit: "step_ns<=+2%" (relative), "busy>=-1pt" (points of a
    ratio), "step_ns<=250ms" (the new value itself). It is broken where the change is beyond the limit by more than
    noise explains: one-sided 5 %, all gates together.

    \b
    ds2prof compare torch_bs4_before.json.gz torch_bs4_after.json.gz
    ds2prof compare baseline/ candidate/ --gate "step_ns<=+2%" --gate "busy>=-1pt"
    ds2prof compare 'main/run_*.jsonl' 'branch/run_*.jsonl' --gate "samples_per_s>=-2%" --strict
    ds2prof compare --base a.json.gz --base b.json.gz --new c.json.gz --by phase
    ds2prof compare baseline/ candidate/ --format markdown -o comparison.md

    Exit codes: 0 done, and no limit is broken beyond the noise, or it cannot be known; 1 a file is at fault or lacks
    what was asked for; 2 wrong usage; 3 a limit is broken, with --strict also where that cannot be known.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is linear algebra; a thread each would wait
    from ds2prof.analysis.compare import comparison, gate_of

    limits = [gate_of(text) for text in gates]
    sides = _sides(paths, base_paths, new_paths)
    parts = [_parts(side) for side in sides]
    refuse_input(output, [part.meta.file for side in parts for part in side])
    keys: Any = [by] if by else (None if form in ("table", "markdown") else "default")
    found = comparison(*parts, by=_keys(parts, keys), gates=limits, batch_size=batch_size)
    is_broken = found.is_broken(strict=strict)
    try:
        emitted(_written(found, form=form, top=top, width=_width(output)), output)
    except BrokenPipeError:
        if not is_broken:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` is no reason to pass a gate
    _qualify(found, form=form)
    if is_broken:
        _say_broken(found, strict=strict)
        sys.exit(GATE_FAILED)


def _keys(parts: Sequence[Sequence[Part]], keys: Any) -> Any:
    """The keys asked for; for documents of one table names, else whatever all files can be taken apart by."""
    if keys != "default":
        return keys
    every = [part.by for side in parts for part in side if part.kind != "samples"]
    return [key for key in ("name", "class", "ledger") if every and all(key in by for by in every)][:1]


def _sides(
    paths: Sequence[str], base_paths: Sequence[str], new_paths: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """The paths of each side."""
    if not paths and base_paths and new_paths:
        return base_paths, new_paths
    if len(paths) == 2 and not base_paths and not new_paths:
        return paths[:1], paths[1:]
    if base_paths or new_paths:
        raise UsageError("--base and --new: give each once or more, and no BASE NEW besides")
    if len(paths) > 2:
        raise UsageError(
            f"{len(paths)} paths: BASE and NEW are two; put a pattern in quotes, or name files with --base and --new"
        )
    raise UsageError("BASE and NEW: name a file, a folder or a pattern in quotes for each")


def _parts(paths: Sequence[str]) -> list[Part]:
    """What the files of a side contribute; each is read and let go before the next."""
    from ds2prof.analysis.compare import part_of, tables
    from ds2prof.parsers import read_all

    found: dict[str, Part] = {}
    for path in _each(paths):
        for profile in read_all(path, tables=tables()):
            name = os.path.realpath(profile.meta.file)  # a file that is named twice is one run, and no repetition
            if name not in found:
                found[name] = part_of(profile)
    return list(found.values())


def _each(paths: Sequence[str]) -> list[str]:
    """The paths, patterns replaced by what they match, each once.

    Raises:
        ReadError: a pattern matches nothing.
    """
    from glob import glob, has_magic

    from ds2prof.parsers.sources import natural_key

    found: dict[str, None] = {}
    for path in paths:
        if not has_magic(path) or Path(path).exists():
            found[path] = None
            continue
        matching = sorted((each for each in glob(path) if _is_measurement(each)), key=natural_key)  # noqa: PTH207
        if not matching:
            raise ReadError(f"{path}: no measurement matches this pattern")
        found.update(dict.fromkeys(matching))
    return list(found)


def _is_measurement(path: str) -> bool:
    from ds2prof.measurements import is_measurement

    return Path(path).is_dir() or is_measurement(Path(path))


def _written(found: Comparison, *, form: str, top: int | None, width: int) -> str:
    if form == "csv":
        from ds2prof.report.documents import as_csv

        if not found.tables:
            raise MissingDataError(f"{found.base[0].name}: nothing to take apart in a row each; use --format json")
        answer = found.tables[0].answer
        return as_csv([(found.new[0].parts[0].meta, answer if top is None else answer.head(top))])
    if form == "json":
        from ds2prof.report.compare_document import compare_document
        from ds2prof.report.documents import as_json

        return as_json([compare_document(found, top=top)], many=False)
    if form == "markdown":
        from ds2prof.report.compare_markdown import compare_markdown

        return compare_markdown(found, top=top or DEFAULT_TOP)
    from ds2prof.report.compare_text import compare_text

    return compare_text(found, top=top or DEFAULT_TOP, width=width)


def _width(output: Path | None) -> int:
    from ds2prof.cli.parse import terminal_columns

    return 200 if output is not None else max(terminal_columns(), 60)


def _qualify(found: Comparison, *, form: str) -> None:
    """Say on standard error what the output itself has no place for."""
    from ds2prof.report.text import cleaned

    for line in found.warnings if form in ("table", "csv") else ():
        click.echo(f"ds2prof: warning: {cleaned(line)}", err=True)


def _say_broken(found: Comparison, *, strict: bool) -> None:
    """Say which limits made the exit code, a line each."""
    from ds2prof.report.text import cleaned

    words = {"broken": "broken", "unknown": "cannot be known (--strict)"}
    for one in found.outcomes:
        if one.status == "broken" or (strict and one.status == "unknown"):
            why = f": {one.why}" if one.why else ""
            click.echo(cleaned(f"ds2prof: gate {one.gate.text}: {words[one.status]}{why}"), err=True)
