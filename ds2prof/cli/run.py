"""``ds2prof run``: a command under a profiler."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from ds2prof.config import ENV_MEASUREMENTS
from ds2prof.errors import UsageError
from ds2prof.launch import Captured, Echo, Plan, capture, command_line, plan
from ds2prof.launchers import LAUNCHERS, Launcher, choose, launcher
from ds2prof.machine import Machine, find_machine
from ds2prof.measurements import measurement_name
from ds2prof.provenance import is_training, option
from ds2prof.units import NS_PER_S, format_bytes


@click.command("run")
@click.argument("profiler", type=click.Choice(["auto", *LAUNCHERS]))
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The measurement to write.")
@click.option("--tag", help="Part of the measurement's name, where -o does not give it.")
@click.option("--force", is_flag=True, help="Replace a measurement that is there.")
@click.option("--dry-run", is_flag=True, help="Print the profiler's exact command and run nothing.")
def command(
    profiler: str, program: tuple[str, ...], output: Path | None, tag: str | None, *, force: bool, dry_run: bool
) -> None:
    """Run a COMMAND under a profiler and keep what it saw, with a sidecar that says how it came to be.

    \b
    ds2prof run nsys -o measurements/mine.nsys-rep -- python train.py
    ds2prof run nsight --dry-run -- python train_profiling.py --preset tbd --batch-size 32
    ds2prof run torch -- python train_profiling.py --preset tiny --batch-size 4

    nsight, nsys and nvprof record between the program's calls of cudaProfilerStart and cudaProfilerStop.
    train_profiling.py makes them around its window; without -o its measurement is named by its batch size.
    """
    machine = find_machine()
    chosen = chosen_launcher(profiler, machine, next_command="ds2prof run nsight -- COMMAND")
    planned = plan(chosen, program, output=output or default_output(chosen, program, tag=tag), tag=tag)
    if dry_run:
        click.echo(command_line(planned, machine=machine))
        return
    streams = Echo(sys.stdout.buffer, sys.stderr.buffer)
    tell(planned, capture(planned, machine=machine, echo=streams, force=force))


def chosen_launcher(name: str, machine: Machine, *, next_command: str) -> Launcher:
    """The launcher of that name; for ``auto`` the best that works here, and why is said."""
    if name != "auto":
        return launcher(name)
    from ds2prof.parsers import PARSERS

    choice = choose(machine, readable=PARSERS)
    click.echo(f"auto: {choice.name}: {choice.reason}", err=True)
    if choice.counters:
        click.echo(f"auto: hardware counters can be read here too; next, try: {next_command}", err=True)
    return launcher(choice.name)


def default_output(chosen: Launcher, program: tuple[str, ...], *, tag: str | None) -> Path:
    """Where the measurement of our training script goes when nobody says.

    Raises:
        UsageError: the command does not say the batch size that stands in the name.
    """
    batch_size = option(program, "--batch-size") if is_training(program) else None
    if batch_size is None or not batch_size.isdigit():
        raise UsageError(f"-o FILE.{chosen.extension} is needed: the command names no --batch-size to name the file by")
    timestamp_s = int(time.time()) if chosen.stamped else None
    name = measurement_name(chosen.name, int(batch_size), extension=chosen.extension, tag=tag, timestamp_s=timestamp_s)
    return measurements_folder(Path("measurements")) / name


def measurements_folder(default: Path) -> Path:
    """The folder that measurements go to."""
    return Path(os.environ.get(ENV_MEASUREMENTS) or default)


def tell(planned: Plan, captured: Captured) -> None:
    """Says on standard error what a capture left."""
    for path in captured.paths:
        took_s = captured.dur_ns / NS_PER_S
        click.echo(f"{path}: {format_bytes(path.stat().st_size)}, captured in {took_s:.1f} s", err=True)
    if captured.leftovers:
        names = ", ".join(captured.leftovers)
        click.echo(f"{planned.launcher.name}: ended what was left running afterwards: {names}", err=True)
