"""A command and a profiler in, a measurement out: whole and with its sidecar, or not at all and with a log.

What is known of a profiler stands in ``profilers/NAME.yaml`` (:mod:`ds2prof.capture.launchers`), its command line is
built by ``profilers/NAME.sh`` from what :mod:`ds2prof.capture.told` tells it, the program runs in a session of its own
(:mod:`ds2prof.capture.processes`), and :mod:`ds2prof.capture.delivery` looks for what was written. Exit code 0 does not
mean data: every profiler here can end well without having written any, so the file decides.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ds2prof.capture.delivery import (
    keep_what_explains,
    log_of,
    put_in_place,
    refuse_replacing,
    whole_or_nothing,
    written,
)
from ds2prof.capture.injection import work_in
from ds2prof.capture.job import NOTHING_MORE, Asked, Job, Plan
from ds2prof.capture.launchers import Launcher, find_tool, tool_version
from ds2prof.capture.outcome import Outcome, messages_in, tail
from ds2prof.capture.processes import PATIENCE, SIGNALS, Finished, Patience, Writable, handling, held_back, run
from ds2prof.capture.provenance import facts_before, is_training, option
from ds2prof.capture.told import command_of, counted, notes, script_of, settings_in, told
from ds2prof.capture.watching import Watcher, expected_launches
from ds2prof.capture.wholeness import is_full
from ds2prof.capture.withholding import quiet
from ds2prof.config import ENV_STATUS
from ds2prof.doctor.checks import refusal, warnings_for
from ds2prof.errors import CaptureError, Ds2profError, ExistsError, UsageError
from ds2prof.machine import Machine, clocks

ENV_COUNT_OPS: Final = "DS2PROF_COUNT_OPS"
"""Tells our training script to count operators in the window, where times are not real anyway."""
_NOTHING_WRITTEN: Final = "; no measurement was written"


class InterruptedCaptureError(CaptureError):
    """A signal ended the capture. The exit code is a shell's: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, message: str, *, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.exit_code = 128 + signum


@dataclass(frozen=True)
class Captured:
    """What a capture left: one measurement, or one for each process."""

    paths: tuple[Path, ...]
    dur_ns: int
    leftovers: tuple[str, ...]
    """Processes that the profiler or the program left running and that were ended."""
    notes: tuple[str, ...] = ()
    """What else the user should know of it, a line each."""


@dataclass(frozen=True)
class Echo:
    """Where the program's output is passed on to, and what is told how far the capture is."""

    stdout: Writable
    stderr: Writable
    progress: Callable[[Callable[[], str]], None] | None = None
    """Called every now and then with what makes a line that says how far it is."""


def plan(
    launcher: Launcher, program: Sequence[str], *, output: Path, tag: str | None = None, asked: Asked = NOTHING_MORE
) -> Plan:
    """The capture of ``program``; our training script is told to open its window for this profiler.

    Raises:
        UsageError: the program's options contradict the profiler, the file's name does not suit it, or it cannot do
            what is asked.
    """
    extensions = (launcher.extension, *launcher.also)
    if not output.name.endswith(tuple(f".{each}" for each in extensions)):
        named = " or ".join(f".{each}" for each in extensions)
        raise UsageError(f"{output}: {launcher.name} writes {named} files; give a name that ends so")
    _require_possible(launcher, asked)
    kind = asked.opening.kind if asked.opening else None
    if is_training(program) and kind == "all" and not launcher.tools:  # they are part of it, or follow its marks
        raise UsageError("--window all: the training script has a window of iterations; give START:STOP")
    if kind == "api" and not launcher.tools and not is_training(program):
        raise UsageError(f"--window api: {launcher.name} cannot see the program's calls; give START:STOP or all")
    if not is_training(program):
        return Plan(launcher, tuple(program), output, tag, asked)
    return Plan(launcher, (*program, *_training_options(launcher, program, asked)), output, tag, asked)


def command_line(planned: Plan, *, machine: Machine, environ: Mapping[str, str] = os.environ) -> str:
    """The command of a capture on one line, to be read or pasted, with the final name of what it writes.

    A profiler that is not here goes by its plain name.
    """
    return command_of(Job(planned, find_tool(planned.launcher, environ), machine, environ), planned.output)


def refused(planned: Plan, *, machine: Machine, environ: Mapping[str, str] = os.environ) -> str | None:
    """Why a capture cannot work on this machine and what to do, in one line; None where nothing speaks against it."""
    return refusal(planned.launcher, machine, **_case(planned, environ))


def notes_for(planned: Plan, *, machine: Machine, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What the user should know of a capture that is not refused before it starts, a line each."""
    doubts = warnings_for(planned.launcher, machine, **_case(planned, environ))
    return (*doubts, *notes(Job(planned, find_tool(planned.launcher, environ), machine, environ)))


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
    refuse_replacing(planned, force=force)
    job = Job(planned, find_tool(planned.launcher, environ), machine, environ)
    against = refused(planned, machine=machine, environ=environ)
    if against is not None:
        raise CaptureError(against)
    if planned.launcher.needs_gpu and not job.on_gpu:
        raise CaptureError(f"{planned.launcher.name}: the program is told to stay on the CPU; leave out --device cpu")
    if shutil.which(planned.program[0], path=environ.get("PATH")) is None:
        raise CaptureError(f"{planned.program[0]}: no such program")
    with handling(_interrupt(planned)), whole_or_nothing(job):
        facts = _facts_before(job)
        finished = _run(job, echo, patience)
        facts["dur_ns"] = finished.dur_ns
        facts["clocks"]["after"] = clocks() if machine.gpus else None
        facts.update(work_in(job.status))
        outcome = _outcome(job, finished)
        try:
            _require_success(outcome, finished)
            found = written(job, outcome)
            with held_back() as waiting:
                paths = put_in_place(job, found, {**facts, "exit_code": finished.exit_code}, force=force)
        except (CaptureError, ExistsError) as error:
            full = _full_disk(job)
            with held_back() as waiting:
                keep_what_explains(job, outcome, None if finished.signum else facts)
            raise _explained(error, (finished.signum, *waiting), log_of(planned.output), full=full) from None
    if waiting:
        raise InterruptedCaptureError(f"{planned.output}: is whole; {_name(waiting[0])} came then", signum=waiting[0])
    return Captured(paths, finished.dur_ns, finished.leftovers, outcome.notes())


def _case(planned: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
    """What checks are told of a capture besides its profiler and the machine."""
    return {
        "tool": find_tool(planned.launcher, environ),
        "folder": planned.output.parent,
        "environ": environ,
        "program": planned.program,
    }


def _require_possible(launcher: Launcher, asked: Asked) -> None:
    """Nothing, if this profiler can do what is asked.

    Raises:
        UsageError: it cannot.
    """
    opening = asked.opening
    if opening is not None and opening.kind == "nvtx" and not launcher.opens_by_nvtx:
        raise UsageError(f"--window {opening}: {launcher.name} cannot be opened by an NVTX range; give START:STOP")
    if opening is not None and opening.kind == "api" and launcher.injects:
        raise UsageError(f"--window api: {launcher.name} records in the program itself; give START:STOP or all")
    if launcher.values:
        _require_allowed(launcher, asked.options)
    if asked.options and launcher.injects:
        raise UsageError(f"{asked.options[0]}: {launcher.name} has no command line of its own that this could go to")
    if asked.detail and launcher.injects != "trace":
        raise UsageError("--detail: is for the torch profiler alone")
    if asked.want != ("core",) and not launcher.replays:
        raise UsageError("--want: is for nsight alone, which collects counters")


def _require_allowed(launcher: Launcher, words: Sequence[str]) -> None:
    """Nothing, if the words are options of the launcher with values that they may have.

    Raises:
        UsageError: they are not.
    """
    rest = iter(words)
    for word in rest:
        name, joined, value = word.partition("=")
        if name not in launcher.passes:
            raise UsageError(f"{word}: {launcher.name} has {', '.join(launcher.passes)} alone")
        value = value if joined else next(rest, "")
        allowed = launcher.values.get(name)
        if allowed is not None and not re.fullmatch(allowed.fits, value, re.ASCII):
            raise UsageError(f"{name} {value}: give {allowed.says}")


def _training_options(launcher: Launcher, program: Sequence[str], asked: Asked) -> tuple[str, ...]:
    """What our training script is given besides what the command says.

    Raises:
        UsageError: the command contradicts it.
    """
    given = option(program, "--profiler")
    if given not in (None, launcher.training[-1]):
        raise UsageError(f"--profiler {given}: contradicts {launcher.name}, which needs {' '.join(launcher.training)}")
    if option(program, "--output") is not None:
        raise UsageError("--output: the measurement is named before the command, by -o")
    steps = asked.opening.steps if asked.opening else None
    return (
        *(launcher.training if given is None else ()),
        *(("--detail",) if asked.detail and "--detail" not in program else ()),
        *(("--profile-start", str(steps.start), "--profile-stop", str(steps.stop)) if steps else ()),
    )


def _interrupt(planned: Plan) -> Callable[[int, FrameType | None], None]:
    """The handler of signals before and after the program runs."""

    def handler(signum: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:  # what is being cleaned up is not to be interrupted again
            signal.signal(each, signal.SIG_IGN)
        message = f"{planned.launcher.name}: {_name(signum)} ended it early; no measurement was written"
        raise InterruptedCaptureError(message, signum=signum)

    return handler


def _facts_before(job: Job) -> dict[str, Any]:
    launcher, planned = job.planned.launcher, job.planned
    line = command_of(job, planned.output)
    facts = facts_before(
        planned.program,
        tool=Path(job.tool).name if job.tool else launcher.name,
        tool_version=tool_version(launcher, job.tool) if job.tool else None,
        command=line,
        tag=planned.tag,
        machine=job.machine,
        environ=job.environ,
    )
    window = job.window if job.opening is None or job.opening.kind != "all" else None
    settings = settings_in(line, launcher, program=planned.program)
    opening = None if job.opening is None else str(job.opening)
    facts["window"] = None if window is None else asdict(window)
    facts["settings"] = {**settings, "window": opening, "replays": launcher.replays}
    return {**facts, "counters": counted(job)} if launcher.replays else facts


def _run(job: Job, echo: Echo, patience: Patience) -> Finished:
    """How the profiler ended. Python's output is asked for unbuffered, or progress would be seen late."""
    environ = {**told(job, job.partial), ENV_STATUS: str(job.status.absolute()), "PYTHONUNBUFFERED": "1"}
    if job.planned.launcher.replays:
        environ[ENV_COUNT_OPS] = "1"  # the program's iterations say nothing while each launch is replayed
    with (
        script_of(job.planned.launcher) as script,
        job.log.open("w+b", buffering=0) as log,
        quiet(echo.stdout, echo.stderr, _watched(job, echo), patterns=job.planned.launcher.withheld) as passed,
    ):
        return run(
            ["bash", str(script), *job.planned.program],
            environ=environ,
            log=log,
            stdout=passed.stdout,
            stderr=passed.stderr,
            patience=patience,
            tick=passed.tick,
            own=_own_processes(job.planned.launcher),
        )


def _watched(job: Job, echo: Echo) -> Callable[[], None] | None:
    """What looks at the capture now and then and tells how far it is."""
    if echo.progress is None:
        return None
    show, launcher = echo.progress, job.planned.launcher
    messages = (job.partial if job.planned.extension == launcher.extension else job.log) if launcher.replays else None
    watcher = Watcher(
        launcher.name, job.status, messages=messages, expected=expected_launches(job.planned.asked.options)
    )

    def tick() -> None:
        watcher.look()
        show(watcher.line)

    return tick


def _own_processes(launcher: Launcher) -> tuple[str, ...]:
    """The names of the profiler's own processes; none where it is part of the program."""
    importer = (launcher.importer.tool,) if launcher.importer else ()
    return (*launcher.tools, *launcher.helpers, *importer) if launcher.tools else ()


def _full_disk(job: Job) -> Path | None:
    """The folder on a disk that is full, of those that a capture writes to."""
    folders = (job.planned.output.parent, Path(job.environ.get("TMPDIR") or "/tmp"))  # noqa: S108 - the tools' own
    return next((folder for folder in folders if is_full(folder)), None)


def _outcome(job: Job, finished: Finished) -> Outcome:
    launcher = job.planned.launcher
    messages = messages_in(job.partial) if launcher.holds and job.planned.extension == launcher.extension else ""
    return Outcome(launcher, finished.exit_code, tail(job.log), messages, finished.stalled)


def _require_success(outcome: Outcome, finished: Finished) -> None:
    """Nothing, if the program and the profiler ended well and by themselves."""
    if finished.signum is not None:
        raise CaptureError(f"{outcome.launcher.name}: {_name(finished.signum)} ended it early")
    failure = outcome.failure()
    if failure is not None:
        raise CaptureError(f"{outcome.launcher.name}: {failure}")


def _explained(error: Ds2profError, signums: Sequence[int | None], log: Path, *, full: Path | None) -> CaptureError:
    """The error with the place of the log; one that carries its exit code where a signal was the reason."""
    what = str(error).removesuffix(_NOTHING_WRITTEN) + (f"; the disk that holds {full} is full" if full else "")
    where = f"the output is in {log}" if log.exists() else "the output could not be kept"
    signum = next((each for each in (getattr(error, "signum", None), *signums) if each is not None), None)
    message = f"{what}{_NOTHING_WRITTEN}, {where}"
    return CaptureError(message) if signum is None else InterruptedCaptureError(message, signum=signum)


def _name(signum: int) -> str:
    return signal.Signals(signum).name
