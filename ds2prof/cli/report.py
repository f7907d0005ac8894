"""``ds2prof report``: profiler files in, one HTML page out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ds2prof.cli.options import FILE
from ds2prof.cli.pages import Page
from ds2prof.errors import Ds2profError, ExistsError, ReadError, UsageError
from ds2prof.measurements import SIDECAR_SUFFIX, refuse_input, written_whole

if TYPE_CHECKING:
    from ds2prof.tables import Profile

_HZ_PER_MHZ: Final = 1e6
_PAGE: Final = b"<!doctype html>"


@click.command(cls=Page)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="PAGE", help="The page to write, .html."
)
@click.option("--title", metavar="TEXT", help="The page's heading [the files' names].")
@click.option(
    "--sm-clock-mhz",
    type=click.FloatRange(min=1, max=10_000),
    help="The SM clock while the timeline was taken, where counters are joined to it [sampled, else assumed].",
)
@click.option("--force", is_flag=True, help="Replace a page that is there.")
def command(files: tuple[str, ...], output: Path, title: str | None, sm_clock_mhz: float | None, force: bool) -> None:
    """Make one page of FILEs: where the time went, how much of the chip was used, and what to look at next.

    The page stands by itself: it needs no network, opens in any browser, reads without JavaScript, prints, and can be
    sent on. A FILE is anything that ds2prof parse reads; several are put together: a timeline with the counters of the
    same run is joined, files of several batch sizes make a sweep, the ranks of a run are compared.

    \b
    ds2prof report measurements/torch_bs4.json.gz -o report.html
    ds2prof report measurements/nsys_bs32.sqlite measurements/nsight_bs32.csv --sm-clock-mhz 1410 -o report.html
    ds2prof report measurements/ -o report.html --title "DeepSpeech2 on A100"
    ds2prof report torch_bs4_rank*.json.gz -o ranks.html

    Exit codes: 0 done, 1 a file is at fault, the page is there already or cannot be written, 2 wrong usage.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is linear algebra; a thread each would wait
    refuse_input(output, files)
    _refuse_other(output)
    if output.exists() and not output.is_dir() and not force:
        raise ExistsError(f"{output}: is there already; give another name, or --force to replace it")
    from ds2prof.report import html

    failures: list[Ds2profError] = []
    profiles = _profiles(_measurements(files), html.TABLES, failures)
    if not profiles:
        raise failures[0] if failures else ReadError(f"{files[0]}: no profile in it")
    hz = None if sm_clock_mhz is None else sm_clock_mhz * _HZ_PER_MHZ
    lines = [f"not read: {_without_folder(str(error))}" for error in failures]
    made = html.page(profiles, title=title, sm_clock_hz=hz, failures=lines)
    with written_whole(output) as partial:
        partial.write_text(made, encoding="utf-8", errors="replace")
    _say(f"{output}: {len(made.encode('utf-8', 'replace')) / 1e6:.2f} MB of {_files(len(profiles))}")
    if failures:  # the page tells of them; each counts all the same
        raise failures[-1]


def _without_folder(line: str) -> str:
    """An error with the file's name alone: a page that is sent on need not tell where files lay."""
    file, colon, rest = line.partition(": ")
    return f"{file.rsplit('/', 1)[-1]}{colon}{rest}"


def _measurements(files: Sequence[str]) -> list[str]:
    """The files without the sidecars of others among them, which a shell's ``*`` brings along."""
    return [
        file for file in files if not (file.endswith(SIDECAR_SUFFIX) and file.removesuffix(SIDECAR_SUFFIX) in files)
    ]


def _files(count: int) -> str:
    return f"{count} profile{'' if count == 1 else 's'}"


def _refuse_other(output: Path) -> None:
    """Nothing, where no file or a page is there: ``--force`` is for older pages alone.

    Raises:
        UsageError: it is something else than a page.
    """
    if not output.is_file():
        return
    with output.open("rb") as there:
        if there.read(len(_PAGE)).lower() not in (_PAGE, b""):
            raise UsageError(f"-o {output}: is there and is no page; give another name")


def _profiles(files: Sequence[str], tables: Sequence[str], failures: list[Ds2profError]) -> list[Profile]:
    """The profiles of all files; one bad file does not cost the others."""
    from ds2prof.parsers import read_all

    found: list[Profile] = []
    for file in files:
        try:
            for profile in read_all(file, tables=tuple(tables), refused=failures.append):
                profile.require(*tables)
                found.append(profile)
        except ReadError as error:
            failures.append(error)
    return found


def _say(line: str) -> None:
    from ds2prof.report.text import cleaned

    click.echo(f"ds2prof: {cleaned(line)}", err=True)
