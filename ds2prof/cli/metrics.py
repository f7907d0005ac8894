"""``ds2prof metrics``: which hardware counters to ask Nsight Compute for on a chip."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import click

from ds2prof.capture.metric_passes import passes_of
from ds2prof.capture.metric_plans import MetricPlan, chips_here, listed_for, plan_for
from ds2prof.cli.pages import Page, PageGroup
from ds2prof.devices import CAPABILITY_CHIPS, chip_named
from ds2prof.errors import CaptureError, ExistsError, UsageError
from ds2prof.metrics.quantities import BLURBS, WANTS
from ds2prof.metrics.table import CHIPS
from ds2prof.report.metric_text import pipe_rows, plan_document, plan_text, table_text

_NAMES = {"names": ",", "lines": "\n"}
_SECTION = "PertSustainedElapsed.section"


@click.group("metrics", cls=PageGroup)
def command() -> None:
    """Say which hardware counters a chip has, and plan what to collect.

    \b
    ds2prof metrics plan --chip GH100 --want flop --want memory
    ncu --metrics "$(ds2prof metrics plan)" --csv --page raw python train.py
    ds2prof metrics table --chip AD102
    ds2prof metrics section -o PertSustainedElapsed.section
    """


_WANTS = "\n".join(f"    {want:<11} {text}" for want, text in BLURBS.items())


@command.command(
    "plan",
    cls=Page,
    help=f"""Print the metrics to collect, for ncu's --metrics; what each one means goes to standard error.

    \b
    ncu --metrics "$(ds2prof metrics plan --want core --want memory)" ...
    ds2prof metrics plan --chip GB202 --want flop --format lines

    Without --chip and --cc: for the GPU of this machine. Only metrics that exist on the chip are named; what is wanted
    and is not there is said, and how many passes the set takes: each launch is replayed so many times.

    \b
    What can be wanted (default: core), besides the time, the cycles and the clock, which are always there:
{_WANTS}
    """,
)
@click.option("--chip", help='A chip (GH100) or a product that is made of one (H200, "RTX 4090").')
@click.option("--cc", help="A compute capability (9.0): names that all of its chips have.")
@click.option("--want", multiple=True, type=click.Choice(list(WANTS)), metavar="WANT", help="May be repeated.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["names", "lines", "json"]),
    default="names",
    show_default=True,
    help="names: one line with commas, as --metrics takes them; lines: one a line; json: all there is to say.",
)
@click.option("--tool", help="The ncu whose list of metrics the plan is cut to.  [default: the one on the PATH]")
@click.option("--uncut", is_flag=True, help="Leave what an installed ncu does not list: the plan is for another.")
def plan_command(
    chip: str | None, cc: str | None, want: tuple[str, ...], form: str, tool: str | None, *, uncut: bool
) -> None:
    """The command; its help stands above."""
    if uncut and tool:
        raise UsageError("--uncut: contradicts --tool, which is there to cut the plan")
    chips = _chips(chip, cc)
    planned, cut_by = _cut(plan_for(chips, want or ("core",)), None if uncut else _tool(tool))
    counts = passes_of(planned.names, planned.chips or CHIPS)
    click.echo(plan_text(planned, counts, tool=cut_by, width=_width()), err=True)
    if form == "json":
        click.echo(json.dumps(plan_document(planned, counts), indent=2))
    else:
        click.echo(_NAMES[form].join(planned.names))


@command.command("table", cls=Page)
@click.option("--chip", help="Of this chip alone.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def table_command(chip: str | None, form: str) -> None:
    """Print the canonical pipes and the metrics that stand for them, chip by chip."""
    chips = CHIPS if chip is None else _named(chip)
    if form == "table":
        click.echo(table_text(chips, width=_width()))
        return
    rows = list(pipe_rows(chips))
    if form == "json":
        click.echo(json.dumps({"schema": "ds2prof-pipes/1", "rows": rows}, indent=2))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    click.echo(text.getvalue(), nl=False)


@command.command("section", cls=Page)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def section_command(output: Path | None, *, force: bool) -> None:
    """Print the section file PertSustainedElapsed, for ncu's --section-folder.

    \b
    ds2prof metrics section -o sections/PertSustainedElapsed.section
    ncu --section-folder sections --section PertSustainedElapsed ...
    """
    text = files("ds2prof.profilers").joinpath("sections").joinpath(_SECTION).read_text(encoding="utf-8")
    if output is None:
        click.echo(text, nl=False)
        return
    if output.exists() and not force:
        raise ExistsError(f"{output}: is there already; --force replaces it")
    output.write_text(text, encoding="utf-8")
    click.echo(f"{output}: ncu --section-folder {output.parent} --section PertSustainedElapsed", err=True)


def _chips(chip: str | None, cc: str | None) -> Sequence[str]:
    """The chips that were named, else those that this machine's GPUs can be; none where those are not known."""
    if chip is not None and cc is not None:
        raise UsageError("--chip, --cc: one of them is enough")
    if chip is not None:
        return _named(chip)
    if cc is not None:
        if cc not in CAPABILITY_CHIPS:
            raise UsageError(f"--cc {cc}: no compute capability whose chips are known: {', '.join(CAPABILITY_CHIPS)}")
        return CAPABILITY_CHIPS[cc]
    from ds2prof.machine import find_machine

    machine = find_machine()
    if not machine.gpus:
        raise CaptureError("no NVIDIA GPU is visible here; name a chip: --chip GH100, --cc 9.0")
    return tuple(chips_here(machine))


def _named(chip: str) -> tuple[str, ...]:
    """The chip of that name, or of the product with that name."""
    found = chip.upper() if chip.upper() in CHIPS else chip_named(chip)
    if found is None:
        raise UsageError(f"--chip {chip}: no chip or product that is known; there are {' '.join(CHIPS)}")
    return (found,)


def _tool(named: str | None) -> str | None:
    """The Nsight Compute to ask: the named one, else the one that a capture would take.

    Raises:
        CaptureError: there is none of that name.
    """
    if named is None:
        from ds2prof.capture.launchers import find_tool, launcher  # who names a tool or a chip alone needs no YAML

        return find_tool(launcher("nsight"))
    found = shutil.which(named)
    if found is None:
        raise CaptureError(f"{named}: no such program; --tool names an ncu")
    return found


def _cut(plan: MetricPlan, tool: str | None) -> tuple[MetricPlan, str | None]:
    """The plan cut to what a tool lists, and the tool; why it was not cut is said."""
    if tool is None:
        return plan, None
    listed = listed_for(tool, plan.chips)
    if listed is None:
        where = " or ".join(plan.chips) or "the GPU of this machine"
        click.echo(f"{tool}: lists no metrics for {where}, so the plan is not cut to it", err=True)
        return plan, None
    return plan.cut_to(listed), tool


def _width() -> int:
    return max(60, min(120, shutil.get_terminal_size((80, 24)).columns)) if sys.stderr.isatty() else 80
