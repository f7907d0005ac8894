"""``ds2prof plot``: figures of measurements, as files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from ds2prof.cli.options import FILE
from ds2prof.cli.pages import Page
from ds2prof.errors import Ds2profError, ExistsError, MissingDataError, ReadError

if TYPE_CHECKING:
    from ds2prof.report.style import Theme
    from ds2prof.tables import Profile

NAMES: Final = (
    *("kernel-times", "class-times", "kernel-utilization", "core-utilization"),
    *("ledger", "ledger-by-phase", "ledger-by-iteration", "phase-times", "layer-times"),
    *("roofline", "gains", "timeline", "iterations", "core-by-batch", "throughput-by-batch"),
)
"""The figures, as the package that draws them has them: it is not loaded for ``--help``."""
FORMS: Final = ("png", "svg", "pdf")
Form = Literal["png", "svg", "pdf"]


@dataclass(frozen=True)
class Task:
    """One figure to draw: which, of what, and into which files."""

    figure: str
    profiles: Sequence[Profile]
    label: str
    targets: Sequence[Path]


@dataclass
class Outcome:
    """What came of the tasks: the files, and for each measurement what could not be drawn and why."""

    written: list[Path] = field(default_factory=list)
    lacking: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


@click.command(cls=Page)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("figures"),
    show_default=True,
    metavar="FOLDER",
    help="Where to put them; it is made where it is not there.",
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    type=click.Choice(NAMES),
    metavar="NAME",
    help="Draw this figure; may be given several times [all that the files tell].",
)
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(FORMS),
    default=("png",),
    show_default=True,
    help="As what to write them; may be given several times.",
)
@click.option("--dark", is_flag=True, help="Draw on a dark ground.")
@click.option("--force", is_flag=True, help="Replace figures that are there already.")
def command(
    files: tuple[str, ...], output: Path, figures: tuple[str, ...], forms: tuple[Form, ...], dark: bool, force: bool
) -> None:
    """Draw figures of what FILEs hold, and print the names of the files written.

    A FILE is whatever 'ds2prof parse' reads; its format is found from its bytes. Without --figure everything is drawn
    that a file tells; what it cannot tell is one line on standard error, and with --figure that line says why. Figures
    over batch sizes take all FILEs together. A figure's file is named after the figure and the measurement.

    \b
    Figures:
    kernel-times         the longest kernels by exclusive time, coloured by class
    class-times          time by class of kernels
    kernel-utilization   the busiest pipe's utilization by the longest kernels (needs counters)
    core-utilization     each pipe's utilization while kernels ran (needs counters)
    ledger               where the window went: compute, exposed communication and copies, idle by cause
    ledger-by-phase      the same by phase; ledger-by-iteration, by iteration
    phase-times          kernel time by phase; layer-times, by layer
    roofline             kernels by intensity and rate beneath the roofs (needs shapes or counters)
    gains                what there is to gain, by kernel (needs shapes or counters)
    timeline             iterations, phases and streams over the window
    iterations           the time of each iteration, and their mean with its interval
    core-by-batch        each pipe's utilization by batch size
    throughput-by-batch  samples/s by batch size, with the curve of saturation that fits them and its knee

    The same figure has the same bytes each time, and what it shows stands in the file in words. 'ds2prof.plots' draws
    them in Python.

    \b
    ds2prof plot measurements/torch_bs4.json.gz -o figures
    ds2prof plot measurements/nsight_bs32.csv -o figures --figure kernel-utilization --format svg
    ds2prof plot measurements/run_bs*.jsonl -o figures --figure throughput-by-batch --format pdf --dark

    Exit codes: 0 something was drawn, 1 nothing was or a file is at fault, 2 wrong usage.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is linear algebra; a thread each would wait
    from ds2prof.cli.parse import failed

    theme: Theme = "dark" if dark else "light"
    failures: list[Ds2profError] = []
    profiles = _profiles(files, figures or NAMES, failures)
    if not profiles:
        failed(failures)
    tasks = list(_tasks(profiles, figures, output, tuple(dict.fromkeys(forms))))
    if not force:
        _refuse_existing(tasks)
    outcome = Outcome()
    for task in tasks:
        _draw(task, outcome, theme=theme)
    for path in outcome.written:
        click.echo(path)
    _say(outcome, asked=bool(figures))
    if failures:  # the others were drawn; each of these still counts
        failed(failures)
    if not outcome.written:
        raise MissingDataError("nothing was drawn; ds2prof parse tells what the files hold")


def _profiles(files: Sequence[str], figures: Sequence[str], failures: list[Ds2profError]) -> list[Profile]:
    """All profiles behind the paths, with the tables that the figures are drawn from; one bad file costs no other."""
    from ds2prof.cli.parse import progress_over
    from ds2prof.parsers import read_all
    from ds2prof.report.figures import FIGURES

    tables = tuple(dict.fromkeys(table for name in figures for table in FIGURES[name].tables))
    found: list[Profile] = []
    with progress_over(files) as progress:
        for file in files:
            try:
                found += read_all(file, tables=tables, progress=progress, refused=failures.append)
            except ReadError as error:
                failures.append(error)
    return found


def _tasks(profiles: Sequence[Profile], figures: Sequence[str], folder: Path, forms: Sequence[Form]) -> Iterator[Task]:
    """The figures to draw, each with names for its files that no other has."""
    from ds2prof.report.figures import FIGURES
    from ds2prof.report.figures.saving import file_name

    taken: set[str] = set()

    def targets(figure: str, measurement: str | None) -> list[Path]:
        number, suffix = 1, ""
        while (name := file_name(figure, measurement, forms[0], suffix=suffix)) in taken:
            number += 1
            suffix = f"_{number}"
        taken.add(name)
        return [folder / file_name(figure, measurement, form, suffix=suffix) for form in forms]

    for figure in dict.fromkeys(figures or NAMES):
        if FIGURES[figure].of_all is not None:
            if figures or len(profiles) > 1:
                yield Task(figure, profiles, "all files together", targets(figure, None))
            continue
        for profile in profiles:
            yield Task(figure, [profile], profile.meta.file, targets(figure, profile.meta.file))


def _refuse_existing(tasks: Sequence[Task]) -> None:
    for task in tasks:
        for target in task.targets:
            if target.exists():
                raise ExistsError(
                    f"{target}: exists already; give another folder (-o FOLDER), or --force to replace it"
                )


def _draw(task: Task, outcome: Outcome, *, theme: Theme) -> None:
    """Draw one figure and write it; why it cannot be drawn is kept for the end."""
    from ds2prof.report.figures import draw
    from ds2prof.report.figures.saving import save

    try:
        figure: Any = draw(task.figure, task.profiles, theme=theme)
    except (MissingDataError, ReadError) as error:
        outcome.lacking.setdefault(task.label, []).append((task.figure, str(error)))
        return
    outcome.written += [save(figure, target, theme=theme) for target in task.targets]


def _say(outcome: Outcome, *, asked: bool) -> None:
    """A line for each measurement that some figure could not be drawn of; for each figure, where it was asked for."""
    from ds2prof.report.text import cleaned

    for label, lacking in outcome.lacking.items():
        if asked:
            lines = [f"{figure}: {why}" for figure, why in lacking]
        else:
            names = ", ".join(figure for figure, _ in lacking)
            lines = [f"{label}: not drawn: {names} (--figure NAME says why)"]
        for line in lines:
            click.echo(f"ds2prof: {cleaned(line)}", err=True)
