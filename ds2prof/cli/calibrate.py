"""``ds2prof calibrate``: what each way to capture costs on this machine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import click

import ds2prof
from ds2prof.calibration import (
    UNDER_REPLAY,
    Counts,
    Series,
    document,
    program_name,
    read_calibration,
    write_calibration,
)
from ds2prof.calibration.counts import counted_plainly
from ds2prof.calibration.runs import (
    MODES,
    WARM_UP,
    Measured,
    Mode,
    ProgramRuns,
    counted,
    description,
    measured,
    training_command,
    workplace,
)
from ds2prof.capture.launchers import find_tool, launcher
from ds2prof.capture.provenance import TRAINING_SCRIPT, is_training, package_version
from ds2prof.cli.pages import Page
from ds2prof.config import DEFAULTS_CPU, DEFAULTS_GPU, ENV_MEASUREMENTS, Window
from ds2prof.doctor.checks import refusal
from ds2prof.errors import CaptureError, Ds2profError, ExistsError, UsageError
from ds2prof.machine import Machine, find_machine
from ds2prof.measurements import CALIBRATION_NAME, commit_of

ROOT: Final = Path(ds2prof.__file__).parent.parent
DEFAULT_REPEATS: Final = 6
DEFAULT_ITERATIONS: Final = 20
_DECIDED_HERE: Final = (
    *("--profiler", "--profile-start", "--profile-stop", "--window", "--iterations", "--warmup", "--keep-going"),
    *("--output", "--run-log", "--tag", "--force", "--detail"),
)
_NAMES: Final = ", ".join(mode.name for mode in MODES)


@dataclass(frozen=True)
class Request:
    """What is to be calibrated, decided.

    Attributes:
        modes: The modes to run.
        skipped: Modes that are not run, each with the reason.
        program: The training command with its window.
        window: The timed iterations.
        repeats: How often each is run.
        output: Where the calibration goes.
    """

    modes: tuple[Mode, ...]
    skipped: tuple[Series, ...]
    program: tuple[str, ...]
    window: Window
    repeats: int
    output: Path


@click.command("calibrate", cls=Page)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[MODE]... [-- COMMAND...]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Utterances in a step.  [default: 4]")
@click.option("--preset", help="Workload.  [default: tbd with a GPU, tiny without]")
@click.option("--repeats", type=click.IntRange(min=1), default=DEFAULT_REPEATS, show_default=True, help="Runs of each.")
@click.option(
    "--iterations", type=click.IntRange(min=1), default=DEFAULT_ITERATIONS, show_default=True, help="Timed in each run."
)
@click.option(
    "--warmup", type=click.IntRange(min=1), default=WARM_UP, show_default=True, help="Iterations before them."
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The calibration to write.")
@click.option("--force", is_flag=True, help="Replace a calibration that is there.")
@click.option("--show", is_flag=True, help="Print the calibration that is there and run nothing.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(
    words: tuple[str, ...],
    batch_size: int | None,
    preset: str | None,
    repeats: int,
    iterations: int,
    warmup: int,
    output: Path | None,
    form: str,
    *,
    force: bool,
    show: bool,
) -> None:
    """Measure what each MODE of capture costs, and keep it for the captures that follow.

    \b
    ds2prof calibrate                                   every mode that works here
    ds2prof calibrate torch nsys --batch-size 8
    ds2prof calibrate torch -- python train_profiling.py --preset tiny --batch-size 4 --precision bf16
    ds2prof calibrate torch nsys --iterations 10 -- python any_script.py
    ds2prof calibrate --show --format json

    The program is run without a profiler and with each, in turn, and iterations are compared with themselves; it has
    to take --warmup and --iterations of them. Of a program other than train_profiling.py the optimizer steps are timed.
    The result goes to measurements/calibration.json; captures of the same workload into that folder then carry it as
    calibrated_overhead_ns. Modes: torch, torch-detail (torch --detail), nsys, nvprof, memory, smi.
    """
    target = output or Path(os.environ.get(ENV_MEASUREMENTS) or "measurements") / CALIBRATION_NAME
    if show:
        _print(read_calibration(target), form)
        return
    if target.exists() and not force:
        raise ExistsError(f"{target}: exists already; --force replaces it, --show prints it, -o names another")
    machine = usable(find_machine())
    modes, program = split(words)
    window = Window(warmup, warmup + iterations)
    program = timed_program(program, machine, batch_size=batch_size, preset=preset, window=window)
    chosen, skipped = possible(modes, machine, program=program, folder=target.parent)
    calibration = calibrated(Request(chosen, skipped, program, window, repeats, target), machine)
    write_calibration(target, calibration)
    _print(calibration, form)
    click.echo(f"wrote {target}", err=True)


def usable(machine: Machine) -> Machine:
    """The machine without its GPUs where this Python's PyTorch is built for the CPU."""
    return replace(machine, gpus=()) if (package_version("torch") or "").endswith("+cpu") else machine


def split(words: Sequence[str]) -> tuple[tuple[Mode, ...], tuple[str, ...]]:
    """(the modes that the words begin with, the command behind them); no modes where none is named.

    Raises:
        UsageError: what stands behind the modes is no command that can be calibrated.
    """
    by_name = {mode.name: mode for mode in MODES}
    count = next((at for at, word in enumerate(words) if word not in by_name), len(words))
    program = tuple(words[count:])
    if program and shutil.which(program[0]) is None:
        raise UsageError(f"{program[0]}: is neither a mode ({_NAMES}) nor a program that is here")
    return tuple(dict.fromkeys(by_name[word] for word in words[:count])), program


def possible(
    modes: Sequence[Mode], machine: Machine, *, program: Sequence[str], folder: Path
) -> tuple[tuple[Mode, ...], tuple[Series, ...]]:
    """(the modes to run, those that cannot be and why); all that there are where none is named.

    Raises:
        CaptureError: none is left.
    """
    chosen, skipped = [], []
    for mode in modes or MODES:
        declared = launcher(mode.launcher)
        against: str | None = UNDER_REPLAY
        if not declared.replays:
            against = refusal(declared, machine, tool=find_tool(declared), folder=folder, program=program)
        if against is None:
            chosen.append(mode)
        else:
            skipped.append(Series(mode.name, reason=against.removeprefix(f"{mode.launcher}: ")))
    if not chosen:
        reasons = "; ".join(f"{each.mode}: {each.reason}" for each in skipped)
        raise CaptureError(f"nothing to measure: {reasons}")
    return tuple(chosen), tuple(skipped)


def timed_program(
    program: Sequence[str], machine: Machine, *, batch_size: int | None, preset: str | None, window: Window
) -> tuple[str, ...]:
    """The training command with its window; the default one where none is given.

    Raises:
        UsageError: the command and the options contradict each other, or there is no training script.
    """
    for name, value in (("--batch-size", batch_size), ("--preset", preset)):
        if program and value is not None:
            raise UsageError(f"{name}: stands behind -- where a command is given")
    for word in program if is_training(program) else ():
        if word.partition("=")[0] in _DECIDED_HERE:
            raise UsageError(f"{word}: is decided by ds2prof calibrate; leave it out of the command")
    if not program:
        defaults = DEFAULTS_GPU if machine.gpus else DEFAULTS_CPU
        script = ROOT / TRAINING_SCRIPT
        if not script.is_file():
            raise UsageError(
                f"calibrate: {TRAINING_SCRIPT} is not beside ds2prof; name it: -- python {TRAINING_SCRIPT}"
            )
        program = (sys.executable, str(script), "--preset", preset or defaults.preset)
        program = (*program, "--batch-size", str(batch_size or defaults.batch_sizes[0]))
    return training_command(program, window=window)


def calibrated(asked: Request, machine: Machine) -> dict[str, Any]:
    """The calibration, measured now."""
    started, started_ns = datetime.now(timezone.utc), time.monotonic_ns()
    progress = Progress(1 + asked.repeats * (1 + len(asked.modes)), asked.repeats)
    folder = asked.output.parent
    with workplace(folder) as inside:
        runs = ProgramRuns(asked.program, asked.window, inside, asked.output.with_suffix(""), machine)
        progress.step("counts operators and warms up")
        counts = counted(runs, counts_in)
        found = measured(
            asked.modes,
            runs,
            repeats=asked.repeats,
            describe=description(machine, asked.program),
            before=lambda mode, repeat: progress.step(mode.name if mode else "no profiler", repeat),
        )
    progress.done()
    facts = {
        "started_utc": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "dur_ns": time.monotonic_ns() - started_ns,
        "commit": commit_of(ROOT),
        **_workload(asked, found, machine),
    }
    order = [mode.name for mode in MODES]
    series = sorted((*found.modes, *asked.skipped), key=lambda each: order.index(each.mode))
    return document(series, baseline=found.baseline, counts=counts, facts=facts)


def _workload(asked: Request, found: Measured, machine: Machine) -> dict[str, Any]:
    """What was run and on what."""
    names = ("preset", "batch_size", "precision", "device", "device_name", "seed")
    return {
        "program": program_name(asked.program),
        "command": shlex.join(asked.program),
        **{name: found.facts.get(name) for name in names},
        "window": {"start": asked.window.start, "stop": asked.window.stop},
        "machine": {
            "devices": machine.devices(),
            "driver": machine.driver,
            "cuda_driver": machine.cuda,
            "cpu": machine.cpu,
            "cpu_threads": os.cpu_count(),
        },
        "versions": {"ds2prof": ds2prof.__version__, "torch": found.facts.get("torch_version")},
    }


def counts_in(trace: Path) -> Counts:
    """How many operators and launches each iteration of a trace has."""
    try:
        import msgspec  # noqa: F401 - what the parser of traces needs; told by its name, not by the parser's failure
    except ModuleNotFoundError:
        return counted_plainly(trace)
    from ds2prof.analysis import iteration_counts
    from ds2prof.parsers import read

    try:
        profile = read(trace, tables=iteration_counts.TABLES)
    except Ds2profError as error:
        return Counts(reason=f"operators and launches were not counted: {error}")
    operators, launches = iteration_counts.operators(profile), iteration_counts.launches(profile)
    missing = [what for what, found in (("operators", operators), ("launches", launches)) if found is None]
    return Counts(operators, launches, f"the trace has no {' and no '.join(missing)}" if missing else None)


@dataclass
class Progress:
    """A line on standard error for each run: rewritten in place on a terminal."""

    runs: int
    repeats: int
    begun: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def step(self, what: str, repeat: int | None = None) -> None:
        """A run begins."""
        self.begun += 1
        done = self.begun - 1
        left_s = (time.monotonic() - self.started_s) / done * (self.runs - done) if done else None
        where = "" if repeat is None else f"repeat {repeat + 1} of {self.repeats}: "
        left = "" if left_s is None else f", about {_duration(left_s)} left"
        self._say(f"[{self.begun}/{self.runs}] {where}{what}{left}")

    def done(self) -> None:
        """Leaves the line behind."""
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)

    def _say(self, text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        else:
            click.echo(text, err=True)


def _duration(left_s: float) -> str:
    return f"{left_s:.0f} s" if left_s < 90 else f"{left_s / 60:.0f} min"


def _print(calibration: dict[str, Any], form: str) -> None:
    if form == "json":
        click.echo(json.dumps(calibration, indent=1))
        return
    from ds2prof.report.overhead import overhead

    click.echo(overhead(calibration))
