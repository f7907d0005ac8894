"""The runs that a calibration rests on: the same training without a profiler and with each, in turn, several times.

Each repeat runs the baseline and every mode once, in an order that moves on by one from repeat to repeat, so that what
drifts (clocks, temperature, neighbours on the machine) does not fall on one of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

from ds2prof.calibration import Counts, Series, Timed, identity_of
from ds2prof.capture.job import Asked
from ds2prof.capture.launchers import launcher
from ds2prof.capture.opening import Opening
from ds2prof.capture.outcome import last_words, tail
from ds2prof.capture.processes import PATIENCE, Patience, handling, run
from ds2prof.capture.provenance import is_training
from ds2prof.config import ENV_PROFILE_START, ENV_PROFILE_STOP, Window
from ds2prof.errors import CaptureError, UsageError
from ds2prof.launch import Echo, InterruptedCaptureError, capture, plan
from ds2prof.machine import Machine
from ds2prof.measurements import LOG_SUFFIX, read_sidecar

WARM_UP: Final = 10
"""Iterations before the timed ones: libraries load, memory is pooled, algorithms are chosen."""
_LOG_BYTES: Final = 1 << 26
_WINDOW_VARIABLES: Final = (ENV_PROFILE_START, ENV_PROFILE_STOP)
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Mode:
    """A way to capture whose cost is of interest."""

    name: str
    launcher: str
    detail: bool = False
    whole: bool = False
    """Whether it looks at the whole run, without a window."""


MODES: Final = (
    Mode("torch", "torch"),
    Mode("torch-detail", "torch", detail=True),
    Mode("nsys", "nsys"),
    Mode("nvprof", "nvprof"),
    Mode("memory", "memory"),
    Mode("smi", "smi", whole=True),
    Mode("nsight", "nsight"),
)
"""All modes, in the order in which they are shown."""


@dataclass(frozen=True)
class Done:
    """One run that ended well."""

    timed: Timed
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The sidecar of what was captured; without a profiler, the first line of the run log."""
    captured: Path | None = None
    """The measurement; it is there until the next run."""


@dataclass(frozen=True)
class Measured:
    """All runs of a calibration."""

    baseline: Series
    modes: tuple[Series, ...]
    facts: Mapping[str, Any]
    """What the program said of itself, run without a profiler: preset, batch size, precision, device."""


class Run(Protocol):
    """Whatever can run the program once, under a mode or, for None, without any profiler."""

    def __call__(self, mode: Mode | None) -> Done:
        """What that run took.

        Raises:
            CaptureError: it did not end well.
            InterruptedCaptureError: a signal ended it.
        """


@dataclass
class ProgramRuns:
    """Runs of a program, each in ``folder``, which holds nothing else.

    Our training script logs its iterations itself. Any other Python program with PyTorch has its optimizer steps timed
    by what is loaded into it, without a profiler too.

    Attributes:
        program: The command; our training script's with its window, without ``--profiler`` and ``--output``.
        window: The timed iterations.
        folder: Where runs write; it is emptied before each.
        kept: The stem of what explains a failed run; the mode's name and ``.log`` come behind it.
        machine: This machine.
        environ: The environment of the runs.
        patience: How long a run that is told to stop may take to.
    """

    program: tuple[str, ...]
    window: Window
    folder: Path
    kept: Path
    machine: Machine
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    patience: Patience = PATIENCE

    def __call__(self, mode: Mode | None) -> Done:
        """What one more run took."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        # The window of an environment would go before that of the command.
        environ = {name: value for name, value in self.environ.items() if name not in _WINDOW_VARIABLES}
        if not is_training(self.program):
            environ |= timing_environment(self.environ, run_log=self.folder / "run.{process}.jsonl")
        try:
            with Path(os.devnull).open("wb") as nowhere:
                echo = Echo(nowhere, nowhere)
                return self._bare(environ, echo) if mode is None else self._captured(mode, environ, echo)
        except InterruptedCaptureError:
            raise
        except CaptureError as error:
            raise self._with_log(error, "none" if mode is None else mode.name) from None

    def _bare(self, environ: Mapping[str, str], echo: Echo) -> Done:
        """A run without a profiler."""
        log, command = self.folder / f"run{LOG_SUFFIX}", self.program
        if is_training(command):
            command = (*command, "--profiler", "none", "--output", str(self._run_log))
        else:
            environ = {**environ, ENV_PROFILE_START: str(self.window.start), ENV_PROFILE_STOP: str(self.window.stop)}
        with log.open("wb") as everything:
            ended = run(
                command,
                environ=environ,
                log=everything,
                stdout=echo.stdout,
                stderr=echo.stderr,
                patience=self.patience,
            )
        if ended.signum is not None:
            raise InterruptedCaptureError("ended early", signum=ended.signum)
        if ended.exit_code:
            said = last_words(tail(log))
            words = f" ({said})" if said else ""
            raise CaptureError(f"without a profiler, the program ended with exit code {ended.exit_code}{words}")
        header, _ = run_log_in(self._written())
        return Done(timed(self._written(), self.window, run_ns=ended.dur_ns), header)

    def _captured(self, mode: Mode, environ: Mapping[str, str], echo: Echo) -> Done:
        """A run under a profiler."""
        chosen, program, opening = launcher(mode.launcher), self.program, None
        if is_training(program):
            program = (*program, "--run-log", str(self._run_log))
        elif not mode.whole:
            opening = Opening("steps", steps=self.window)
        output = self.folder / f"{mode.name}.{chosen.extension}"
        planned = plan(chosen, program, output=output, asked=Asked(opening=opening, detail=mode.detail))
        captured = capture(planned, machine=self.machine, echo=echo, environ=environ, patience=self.patience)
        first = captured.paths[0]
        taken = timed(self._written(), self.window, run_ns=captured.dur_ns)
        return Done(taken, read_sidecar(first) or {}, first)

    @property
    def _run_log(self) -> Path:
        return self.folder / "run.jsonl"

    def _written(self) -> Path:
        """The run log of the last run.

        Raises:
            CaptureError: several processes trained.
        """
        logs = sorted(self.folder.glob("run*.jsonl"))
        if len(logs) > 1:
            raise CaptureError(f"{len(logs)} processes took optimizer steps; a program that trains in one can be timed")
        if not logs and not is_training(self.program):
            raise CaptureError("no optimizer step was timed; only Python programs that use PyTorch's optimizers can be")
        return logs[0] if logs else self._run_log

    def _with_log(self, error: CaptureError, name: str) -> CaptureError:
        """The error, with what was printed kept beside the calibration where there is something."""
        kept = self.kept.with_name(f"{self.kept.name}_{name}{LOG_SUFFIX}")
        for log in self.folder.glob(f"*{LOG_SUFFIX}"):
            with suppress(OSError):
                if not log.stat().st_size:  # nothing was printed
                    continue
                shutil.copyfile(log, kept)
                if str(log) in str(error):
                    return CaptureError(str(error).replace(str(log), str(kept)))
                return CaptureError(f"{error}; the output is in {kept}")
        return error


def timing_environment(environ: Mapping[str, str], *, run_log: Path) -> dict[str, str]:
    """The variables that have the optimizer steps of a Python program timed."""
    site = Path(__file__).resolve().parents[1] / "inject" / "site"
    path = os.pathsep.join([str(site), *filter(None, [environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "DS2PROF_INJECT_RUN_LOG": str(run_log.absolute())}


def training_command(command: Sequence[str], *, window: Window) -> tuple[str, ...]:
    """The command with that window, if it is our training script's; others are not told."""
    return (
        tuple(command)
        if not is_training(command)
        else (*command, "--profile-start", str(window.start), "--profile-stop", str(window.stop))
    )


def timed(path: Path, window: Window, *, run_ns: int) -> Timed:
    """What the iterations of ``window`` took, from the run log.

    Raises:
        CaptureError: it is not there, or does not hold all of them.
    """
    header, walls_ns = run_log_in(path)
    inside = {each: walls_ns[each] for each in range(window.start, window.stop) if walls_ns.get(each, 0) > 0}
    if len(inside) < window.stop - window.start:
        raise CaptureError(
            f"the run has no times of the iterations {window.start} to {window.stop - 1}; it has to take {window.stop}"
            f", or --warmup and --iterations have to be less"
        )
    starting = [header.get(name) for name in ("prepare_ns", "start_ns")]
    known = [one for one in starting if isinstance(one, int)]
    stop_ns = header.get("stop_ns")
    return Timed(
        inside,
        run_ns,
        start_ns=sum(known) if len(known) == len(starting) else None,
        stop_ns=stop_ns if isinstance(stop_ns, int) else None,
    )


def run_log_in(path: Path) -> tuple[dict[str, Any], dict[int, int]]:
    """(header, iteration -> wall_ns) of a run log of ours.

    Raises:
        CaptureError: it is not there, or is none.
    """
    try:
        if path.stat().st_size > _LOG_BYTES:
            raise CaptureError(f"{path.name}: too large for a run log")
        header, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        return {**header}, {row["iteration"]: row["wall_ns"] for row in rows if "iteration" in row}
    except (OSError, ValueError, TypeError, KeyError):
        raise CaptureError("the run wrote no log of its iterations") from None


def measured(
    modes: Sequence[Mode],
    run_once: Run,
    *,
    repeats: int,
    describe: Callable[[Done], Mapping[str, Any]],
    before: Callable[[Mode | None, int], None],
) -> Measured:
    """What was measured: a mode that fails once has no runs, and the reason why.

    Args:
        modes: What to measure.
        run_once: Runs the program.
        repeats: How often each is run.
        describe: The identity of a capture.
        before: Told of each run before it starts, with its repeat.

    Raises:
        CaptureError: a run without a profiler failed.
        InterruptedCaptureError: a signal ended a run.
    """
    runs: dict[Mode | None, list[Done]] = {None: [], **{mode: [] for mode in modes}}
    reasons: dict[Mode, str] = {}
    for repeat in range(repeats):
        for mode in rotated((None, *modes), repeat):
            if mode in reasons:
                continue
            before(mode, repeat)
            try:
                runs[mode].append(run_once(mode))
            except InterruptedCaptureError:
                raise
            except (CaptureError, UsageError) as error:
                if mode is None:
                    raise
                reasons[mode], runs[mode] = str(error).removeprefix(f"{mode.launcher}: "), []
    series = [
        Series(
            mode.name,
            tuple(done.timed for done in runs[mode]),
            describe(runs[mode][0]) if runs[mode] else None,
            reasons.get(mode),
        )
        for mode in modes
    ]
    return Measured(Series("none", tuple(done.timed for done in runs[None])), tuple(series), runs[None][0].facts)


def rotated(items: Sequence[_Item], by: int) -> tuple[_Item, ...]:
    """The items, beginning with the one at ``by``."""
    at = by % len(items)
    return (*items[at:], *items[:at])


def counted(run_once: Run, count: Callable[[Path], Counts]) -> Counts:
    """How many operators and launches each iteration has, from a trace; the run also warms the machine up.

    Raises:
        InterruptedCaptureError: a signal ended it.
    """
    try:
        done = run_once(MODES[0])
    except InterruptedCaptureError:
        raise
    except (CaptureError, UsageError) as error:
        run_once(None)
        return Counts(reason=f"operators and launches were not counted: {error}")
    assert done.captured is not None, "a capture has a file"
    return count(done.captured)


def description(machine: Machine, program: Sequence[str]) -> Callable[[Done], Mapping[str, Any]]:
    """What tells the identity of a capture of ``program`` here."""
    return lambda done: identity_of(machine, program, done.facts)


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A folder inside ``folder`` to run in, gone at the end however that comes.

    Raises:
        CaptureError: it cannot be made.
        InterruptedCaptureError: a signal came.
    """

    def handler(signum: int, _frame: FrameType | None) -> None:
        raise InterruptedCaptureError("", signum=signum)

    inside: Path | None = None
    with handling(handler):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            inside = Path(tempfile.mkdtemp(prefix=".calibration-", dir=folder))
            yield inside
        except InterruptedCaptureError as error:
            signum = error.exit_code - 128
            name = signal.Signals(signum).name
            raise InterruptedCaptureError(f"{name} ended it early; nothing was written", signum=signum) from None
        except OSError as error:
            raise CaptureError(f"{error.filename or folder}: cannot be written to: {error.strerror}") from None
        finally:
            if inside is not None:
                shutil.rmtree(inside, ignore_errors=True)
