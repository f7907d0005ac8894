"""A command and a profiler in, a measurement out: whole and with its sidecar, or not at all and with a log.

The command line is built by ``profilers/NAME.sh``, what is known of the profiler stands in ``profilers/NAME.yaml``
(:mod:`ds2prof.launchers`), the program runs in a session of its own (:mod:`ds2prof.processes`). Exit code 0 does not
mean data: every profiler here can end well without having written any, so the file decides.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from ds2prof.counters import core_metrics
from ds2prof.devices import chips_of
from ds2prof.errors import CaptureError, UsageError
from ds2prof.launchers import Launcher, find_importer, find_tool, refusal, tool_version
from ds2prof.machine import Machine, clocks
from ds2prof.measurements import LOG_SUFFIX, read_sidecar, refuse_existing, temporary_path, write_sidecar
from ds2prof.outcome import Outcome, holds_data, messages_in, tail
from ds2prof.processes import PATIENCE, Finished, Patience, handling, run
from ds2prof.provenance import TRAINING_SCRIPT, facts_before, is_training, merged, option


class InterruptedCaptureError(CaptureError):
    """A signal ended the capture. The exit code is a shell's: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, message: str, *, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


@dataclass(frozen=True)
class Plan:
    """What is to be captured: ``program`` under ``launcher`` into ``output``."""

    launcher: Launcher
    program: tuple[str, ...]
    output: Path
    tag: str | None = None


@dataclass(frozen=True)
class Captured:
    """What a capture left: one measurement, or one for each process."""

    paths: tuple[Path, ...]
    dur_ns: int
    leftovers: tuple[str, ...]
    """Processes that the profiler or the program left running and that were ended."""


@dataclass(frozen=True)
class Echo:
    """Where the program's output is passed on to."""

    stdout: BinaryIO
    stderr: BinaryIO


@dataclass(frozen=True)
class _Job:
    """A plan in the course of being carried out: with what, and the names that are used until all is whole."""

    planned: Plan
    tool: str | None
    machine: Machine
    environ: Mapping[str, str]

    @property
    def partial(self) -> Path:
        return temporary_path(self.planned.output)

    @property
    def log(self) -> Path:
        return self.partial.with_name(self.partial.name + LOG_SUFFIX)

    @property
    def stem(self) -> str:
        """What the names of all files of this job begin with; tools add extensions of their own."""
        return self.partial.name.removesuffix(f".{self.planned.launcher.extension}")


def plan(launcher: Launcher, program: Sequence[str], *, output: Path, tag: str | None = None) -> Plan:
    """The capture of ``program``; our training script is told to open its window for this profiler.

    Raises:
        UsageError: the program's options contradict the profiler, or the file's name does not suit it.
        CaptureError: this profiler cannot look at this program.
    """
    if not output.name.endswith(f".{launcher.extension}"):
        raise UsageError(f"{output}: {launcher.name} writes .{launcher.extension} files; give a name that ends so")
    if not is_training(program):
        if launcher.training_only:
            raise CaptureError(
                f"{launcher.name}: {TRAINING_SCRIPT} runs this profiler itself, and the command names another program; "
                f"nsys and nsight take any"
            )
        return Plan(launcher, tuple(program), output, tag)
    asked = option(program, "--profiler")
    if asked not in (None, launcher.training[-1]):
        raise UsageError(f"--profiler {asked}: contradicts {launcher.name}, which needs {' '.join(launcher.training)}")
    if option(program, "--output") is not None:
        raise UsageError("--output: the measurement is named before the command, by -o")
    return Plan(launcher, (*program, *(launcher.training if asked is None else ())), output, tag)


def command_line(planned: Plan, *, machine: Machine, environ: Mapping[str, str] = os.environ) -> str:
    """The command of a capture on one line, to be read or pasted, with the final name of what it writes.

    A profiler that is not here goes by its plain name.
    """
    job = _Job(planned, find_tool(planned.launcher, environ), machine, environ)
    # In a locale that knows all letters, for bash writes those it does not know as numbers.
    said = {**_told(job, planned.output), "DS2PROF_DRY_RUN": "1", "LC_ALL": "C.UTF-8"}
    with _script(planned.launcher) as script:
        done = subprocess.run(["bash", script, *planned.program], env=said, capture_output=True, check=False)
    line = os.fsdecode(done.stdout).strip()
    assert line, f"{script} built no command: {done.stderr!r}"
    return line if "$'" in line else shlex.join(shlex.split(line))


def capture(
    planned: Plan,
    *,
    machine: Machine,
    echo: Echo,
    force: bool = False,
    environ: Mapping[str, str] = os.environ,
    patience: Patience = PATIENCE,
) -> Captured:
    """What was captured, while the program's output was passed on.

    Raises:
        ExistsError: the measurement is there already.
        CaptureError: this profiler does not work here, or it did not deliver. Then the output is kept as ``NAME.log``
            beside the measurement's place, and a sidecar with the program's exit code.
        InterruptedCaptureError: a signal ended it.
    """
    refuse_existing(planned.output, force=force)
    job = _Job(planned, find_tool(planned.launcher, environ), machine, environ)
    against = refusal(planned.launcher, machine, tool=job.tool)
    if against is not None:
        raise CaptureError(against)
    if shutil.which(planned.program[0], path=environ.get("PATH")) is None:
        raise CaptureError(f"{planned.program[0]}: no such program")
    with handling(_interrupt(planned)), _whole_or_nothing(job):
        facts = _facts_before(job)
        finished = _run(job, echo, patience)
        facts["dur_ns"] = finished.dur_ns
        facts["clocks"]["after"] = clocks() if machine.gpus else None
        outcome = _outcome(job, finished)
        try:
            _require_success(outcome, finished)
            written = _written(job, outcome)
        except CaptureError as error:
            _keep_what_explains(job, outcome, None if finished.signum else facts)
            raise _explained(error, finished, _log_of(planned.output)) from None
        paths = _put_in_place(job, written, {**facts, "exit_code": finished.exit_code})
    return Captured(paths, finished.dur_ns, finished.leftovers)


def _interrupt(planned: Plan) -> Callable[[int, FrameType | None], None]:
    """The handler of signals before and after the program runs."""

    def handler(signum: int, _frame: FrameType | None) -> None:
        message = f"{planned.launcher.name}: {signal.Signals(signum).name} ended it early; no measurement was written"
        raise InterruptedCaptureError(message, signum=signum)

    return handler


def _facts_before(job: _Job) -> dict[str, Any]:
    launcher = job.planned.launcher
    return facts_before(
        job.planned.program,
        tool=Path(job.tool).name if job.tool else launcher.name,
        tool_version=tool_version(launcher, job.tool) if job.tool else None,
        command=command_line(job.planned, machine=job.machine, environ=job.environ),
        tag=job.planned.tag,
        machine=job.machine,
        environ=job.environ,
    )


def _run(job: _Job, echo: Echo, patience: Patience) -> Finished:
    """How the profiler ended. Python's output is asked for unbuffered, or progress would be seen late."""
    told = {**_told(job, job.partial), "PYTHONUNBUFFERED": "1"}
    with _script(job.planned.launcher) as script, job.log.open("wb") as log:
        return run(
            ["bash", str(script), *job.planned.program],
            environ=told,
            log=log,
            stdout=echo.stdout,
            stderr=echo.stderr,
            patience=patience,
        )


def _told(job: _Job, output: Path) -> dict[str, str]:
    """The environment of ``profilers/NAME.sh``: its head says what each variable is."""
    launcher = job.planned.launcher
    chips = _chips(job.machine)
    told = {name: value for name, value in job.environ.items() if name != "DS2PROF_DRY_RUN"}
    if launcher.tools:
        told["DS2PROF_TOOL"] = job.tool or launcher.tools[0]
    if launcher.window == "counters":
        told["DS2PROF_METRICS"] = ",".join(core_metrics(chips or None))
    return {**told, "DS2PROF_OUTPUT": str(output)}


def _chips(machine: Machine) -> frozenset[str]:
    """The chips that the GPUs here can be; none where one of them is unknown, so that only safe metrics are asked."""
    of_each = [chips_of(gpu.compute_capability, gpu.name) for gpu in machine.gpus]
    return frozenset(chip for chips in of_each for chip in chips) if all(of_each) else frozenset()


def _script(launcher: Launcher) -> AbstractContextManager[Path]:
    return as_file(files("ds2prof.profilers").joinpath(f"{launcher.name}.sh"))


@contextmanager
def _whole_or_nothing(job: _Job) -> Iterator[None]:
    """A folder to write to; whatever is left under the job's temporary names goes at the end."""
    folder = job.planned.output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        job.log.touch()
    except OSError as error:
        raise CaptureError(f"{folder}: cannot be written to: {error.strerror}") from None
    try:
        yield
    finally:
        for path in folder.glob(f"*{escape(job.stem)}*"):  # what the program derived from the name as well
            with suppress(OSError):
                path.unlink()


def _outcome(job: _Job, finished: Finished) -> Outcome:
    launcher = job.planned.launcher
    messages = messages_in(job.partial) if launcher.holds else ""
    return Outcome(launcher, finished.exit_code, tail(job.log), messages)


def _require_success(outcome: Outcome, finished: Finished) -> None:
    """Nothing, if the program and the profiler ended well and by themselves."""
    if finished.signum is not None:
        raise CaptureError(f"{outcome.launcher.name}: {signal.Signals(finished.signum).name} ended it early")
    failure = outcome.failure()
    if failure is not None:
        raise CaptureError(f"{outcome.launcher.name}: {failure}")


def _explained(error: CaptureError, finished: Finished, log: Path) -> CaptureError:
    """The error with the place of the log; one that carries its exit code where a signal was the reason."""
    message = f"{error}; no measurement was written, the output is in {log}"
    return (
        CaptureError(message) if finished.signum is None else InterruptedCaptureError(message, signum=finished.signum)
    )


def _written(job: _Job, outcome: Outcome) -> dict[Path, Path]:
    """Final name -> file that holds data.

    Raises:
        CaptureError: there is none.
    """
    launcher, output = job.planned.launcher, job.planned.output
    if launcher.importer is not None:
        _import(job, launcher.importer.left)
    if launcher.one_file_per_process:
        found = [path for path in sorted(output.parent.glob(f"{escape(job.stem)}.*")) if path != job.log]
    else:
        found = [job.partial]
    whole = [path for path in found if holds_data(path, launcher.holds)]
    if not whole:
        raise CaptureError(f"{launcher.name}: {outcome.emptiness()}")
    if len(whole) == 1:
        return {output: whole[0]}
    return {_named_by_process(output, path.name.removeprefix(f"{job.stem}.")): path for path in whole}


def _named_by_process(output: Path, ending: str) -> Path:
    """``profile_1_bs4_p77.nvvp`` for the process 77 of ``profile_1_bs4.nvvp``."""
    process, _, extension = ending.partition(".")
    return output.with_name(f"{output.name.removesuffix(f'.{extension}')}_p{process}.{extension}")


def _import(job: _Job, left: str) -> None:
    """Nothing; a report was made of what the profiler left where its own importer could not be found by it.

    Raises:
        CaptureError: there is no importer, or it fails. What was left is kept under the measurement's name.
    """
    launcher, output = job.planned.launcher, job.planned.output
    assert launcher.importer is not None
    raw = job.partial.with_name(job.stem + left)
    if job.partial.exists() or not raw.exists():
        return
    importer = find_importer(launcher.importer, job.tool or "", job.environ)
    if importer is not None:
        done = subprocess.run([importer, "-i", raw, "-o", job.partial], capture_output=True, check=False)
        if done.returncode == 0 and job.partial.exists():
            return
    kept = output.with_name(output.name.removesuffix(f".{launcher.extension}") + left)
    raw.replace(kept)
    why = "failed" if importer else "is not on this machine"
    raise CaptureError(
        f"{kept}: is what {launcher.name} left, and its importer {why}; on a machine with the same version: "
        f"{launcher.importer.tool} -i {shlex.quote(kept.name)} -o {shlex.quote(output.name)}"
    )


def _put_in_place(job: _Job, written: Mapping[Path, Path], facts: Mapping[str, Any]) -> tuple[Path, ...]:
    """The measurements under their final names, sidecars first: a measurement is never without one."""
    complete = merged(facts, read_sidecar(job.partial))
    for path, partial in written.items():
        sidecar = write_sidecar(path, complete)
        try:
            partial.replace(path)
        except OSError as error:
            sidecar.unlink(missing_ok=True)
            raise CaptureError(f"{path}: cannot be put in place: {error.strerror}") from None
    _log_of(job.planned.output).unlink(missing_ok=True)
    return tuple(written)


def _keep_what_explains(job: _Job, outcome: Outcome, facts: Mapping[str, Any] | None) -> None:
    """The log with the profiler's own messages, and the sidecar unless it would replace that of a measurement."""
    output = job.planned.output
    with suppress(OSError, CaptureError):  # the disk may be full, which is then the reason for all this
        with job.log.open("a", encoding="utf-8") as log:
            log.write(outcome.messages)
        job.log.replace(_log_of(output))
        if facts is not None and outcome.exit_code and not output.exists():
            write_sidecar(output, {**facts, "exit_code": outcome.program_code})


def _log_of(output: Path) -> Path:
    return output.with_name(output.name + LOG_SUFFIX)
