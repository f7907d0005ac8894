"""A program run for a limited time, its output in a file, and at its end nothing left of it or of what it started.

The profilers here start programs in sessions of their own. All of them carry a cookie in their environment, by which
those that outlive the program are found (in /proc) and ended.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Final

ENV_CAMPAIGN: Final = "DS2PROF_CAMPAIGN"
"""Set in every process of a step, to a value of its own."""

_PROC: Final = Path("/proc")
_POLL_S: Final = 0.05
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MEANS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True)
class Grace:
    """How long each means of stopping a program is given before the next harder one, in seconds."""

    after_int_s: float = 15.0
    """A profiler that is told to stop passes it on and clears up."""
    after_term_s: float = 4.0
    after_end_s: float = 2.0
    """What a program did not wait for may take this long to end by itself."""


GRACE: Final = Grace()


@dataclass
class Told:
    """The signal that the campaign was sent; None so far."""

    signum: int | None = None
    times: int = 0
    """How many signals there were: each further one presses what runs harder."""

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        """The handler of signals: the first one is the reason."""
        self.signum = self.signum or signum
        self.times += 1


@contextmanager
def listening() -> Iterator[Told]:
    """What the campaign is told by signals from here on; they do not end it, their reader does.

    A SIGHUP that is ignored stays so: that is what nohup is for.
    """
    told = Told()
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    heard = [signum for signum in _SIGNALS if signum != signal.SIGHUP or not ignored]
    former = {signum: signal.signal(signum, told.receive) for signum in heard}
    try:
        yield told
    finally:
        for signum, previous in former.items():
            signal.signal(signum, previous)


@dataclass(frozen=True)
class Limits:
    """What a program may use."""

    time_s: float
    """From here on it is told to stop."""
    end_s: float
    """By then it must be gone, on the monotonic clock."""
    printed_bytes: int = 64 << 20
    grace: Grace = GRACE


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    exit_code: int | None
    """As a shell gives it: 128 + N for a program that signal N ended. None: it could not be started."""
    stopped: str | None
    """Why it was stopped from here; None where it ended by itself."""
    dur_ns: int
    leftovers: tuple[str, ...] = ()
    """What was still running afterwards and was ended, as ``name (pid)``."""


@dataclass
class _Running:
    """A program, and how far it has been pressed to stop."""

    process: subprocess.Popen[bytes]
    cookie: str
    limits: Limits
    started_s: float
    stopped: str | None = None
    pressed: int = 0
    pressed_s: float = field(default=0.0)

    def press(self, why: str, *, told: Told) -> None:
        """The next harder means, where the last one has had its time or someone is impatient."""
        now_s = time.monotonic()
        if self.pressed and now_s < self.pressed_s + self._patience_s(now_s) and told.times <= self.pressed:
            return
        means = _MEANS[min(self.pressed, len(_MEANS) - 1)]
        self.stopped = self.stopped or why
        self.pressed, self.pressed_s = self.pressed + 1, now_s
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, means)
        if means != signal.SIGINT:  # ds2prof passes an interrupt on by itself; what is harder reaches all
            signal_all(self.cookie, means)

    def _patience_s(self, now_s: float) -> float:
        """How long the last means is waited for: what it may take, and no longer than the campaign lasts."""
        grace = self.limits.grace
        usual_s = grace.after_int_s if self.pressed == 1 else grace.after_term_s
        left_s = max(self.limits.end_s - now_s, 0.0)
        return min(usual_s, left_s / (2.0 if self.pressed == 1 else 1.0))


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    log: BinaryIO,
    stdout: BinaryIO | None,
    limits: Limits,
    told: Told,
) -> Ended:
    """How ``command`` ended. All it prints goes to ``log``, its standard output to ``stdout`` where that is given."""
    cookie = f"{os.getpid()}-{secrets.token_hex(8)}"
    started_s, started_ns = time.monotonic(), time.monotonic_ns()
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environ, ENV_CAMPAIGN: cookie},
            stdin=subprocess.DEVNULL,
            stdout=stdout or log,
            stderr=log,
            start_new_session=True,
        )
    except OSError as error:
        log.write(f"{command[0]}: cannot be started: {error.strerror}\n".encode())
        return Ended(None, None, time.monotonic_ns() - started_ns)
    running = _Running(process, cookie, limits, started_s)
    _wait(running, told, lambda: sum(_size_bytes(stream) for stream in (log, stdout) if stream))
    dur_ns = time.monotonic_ns() - started_ns
    leftovers = _end_leftovers(running)
    code = process.returncode
    return Ended(code if code >= 0 else 128 - code, running.stopped, dur_ns, leftovers)


def _wait(running: _Running, told: Told, printed_bytes: Callable[[], int]) -> None:
    """Returns when the program has ended, by itself or because it was pressed to."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(_POLL_S)
            return
        why = _reason_to_stop(running, told, printed_bytes())
        if why is not None:
            running.press(why, told=told)


def _reason_to_stop(running: _Running, told: Told, printed_bytes: int) -> str | None:
    limits = running.limits
    if running.stopped is not None:
        return running.stopped
    if told.signum is not None:
        return f"{signal.Signals(told.signum).name} ended the campaign"
    if time.monotonic() - running.started_s > limits.time_s:
        return f"stopped after {limits.time_s:.0f} s, all the time it had"
    if printed_bytes > limits.printed_bytes:
        return f"stopped: it printed more than {limits.printed_bytes >> 20} MiB"
    return None


def _size_bytes(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _end_leftovers(running: _Running) -> tuple[str, ...]:
    """The processes of a program that has ended that are still there, ended now."""
    grace, cookie = running.limits.grace, running.cookie
    if _gone_within(cookie, 0.0 if running.stopped else grace.after_end_s):
        return ()
    named = tuple(f"{_name(pid)} ({pid})" for pid in carriers(cookie))
    for means in (signal.SIGTERM, signal.SIGKILL):
        signal_all(cookie, means)
        if _gone_within(cookie, min(grace.after_term_s, max(running.limits.end_s - time.monotonic(), 0.5))):
            break
    return named


def _gone_within(cookie: str, limit_s: float) -> bool:
    deadline_s = time.monotonic() + limit_s
    while carriers(cookie):
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def signal_all(cookie: str, signum: int) -> None:
    """Sends a signal to every process with that cookie."""
    for pid in carriers(cookie):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def carriers(cookie: str) -> list[int]:
    """The living processes with that cookie in the environment they were started with."""
    mark = f"{ENV_CAMPAIGN}={cookie}".encode()
    if not _PROC.is_dir():
        return []
    return [int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit() and _carries(folder, mark)]


def _carries(folder: Path, mark: bytes) -> bool:
    try:
        state = folder.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0]
        return state not in (b"Z", b"X") and mark in folder.joinpath("environ").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return False


def _name(pid: int) -> str:
    try:
        return _PROC.joinpath(str(pid), "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "process"
