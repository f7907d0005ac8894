"""A program run to its end in a session of its own: its output passed on, signals forwarded, nothing left behind.

Profilers start agents, and training starts workers. All of them carry a cookie in their environment, so that those
that outlive the program are found (in /proc) and ended, whatever session or parent they have moved to.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, BinaryIO, Final

from ds2prof.config import ENV_CAPTURE
from ds2prof.errors import CaptureError

_PROC: Final = Path("/proc")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S: Final = 0.1
_CHUNK_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Patience:
    """How long is waited before the next harder means, in seconds."""

    after_signal_s: float = 20.0
    """A profiler that is told to stop may still write what it has."""
    after_term_s: float = 5.0
    after_end_s: float = 3.0
    """What the program started and did not wait for may take this long to end by itself."""


PATIENCE: Final = Patience()


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    exit_code: int
    """As a shell gives it: 128 + N for a program that signal N ended."""
    signum: int | None
    """The signal that we were sent meanwhile and passed on."""
    leftovers: tuple[str, ...]
    """The processes that were still there afterwards and were ended, as ``name (pid)``."""
    dur_ns: int


@dataclass
class _Stop:
    """What we were told by signals, and how far the program has been pressed to stop."""

    process: subprocess.Popen[bytes] | None = None
    signum: int | None = None
    pressed: int = 0
    """0 not at all, 1 the signal passed on, 2 SIGTERM, 3 SIGKILL."""
    at_s: float = field(default=0.0)

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        """The handler: the first signal is passed on as it is, each further one presses harder."""
        self.signum = self.signum or signum
        self.press()

    def press(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.pressed = min(self.pressed + 1, 3)
        self.at_s = time.monotonic()
        means = (self.signum or signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)[self.pressed - 1]
        _signal_group(self.process.pid, means)

    def press_when_late(self, patience: Patience) -> None:
        limit_s = patience.after_signal_s if self.pressed == 1 else patience.after_term_s
        if self.signum is not None and (not self.pressed or time.monotonic() - self.at_s > limit_s):
            self.press()


def run(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    log: BinaryIO,
    stdout: BinaryIO,
    stderr: BinaryIO,
    patience: Patience = PATIENCE,
) -> Finished:
    """How ``command`` ended, after its output went to ``stdout`` and ``stderr`` and all of it to ``log``.

    SIGINT, SIGTERM and SIGHUP that reach us are passed on to everything it started; a second one, or no end in time,
    ends it by SIGTERM, then SIGKILL.

    Raises:
        CaptureError: it cannot be started.
    """
    cookie = f"{os.getpid()}-{secrets.token_hex(8)}"
    started_ns = time.monotonic_ns()
    stop = _Stop()
    with handling(stop.receive):
        try:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={**environ, ENV_CAPTURE: cookie},
            )
        except OSError as error:
            raise CaptureError(f"{command[0]}: cannot be started: {error.strerror}") from None
        stop.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout as out, process.stderr as err:
            _pass_on({out: Sink(stdout, log), err: Sink(stderr, log)}, stop, patience)
            exit_code = process.wait()
            dur_ns = time.monotonic_ns() - started_ns
            leftovers = _end_leftovers(process.pid, cookie, patience)
    return Finished(exit_code if exit_code >= 0 else 128 - exit_code, stop.signum, leftovers, dur_ns)


class Sink:
    """Where output goes: a terminal or pipe, and the log. One that cannot take it any more does not stop the run."""

    def __init__(self, *streams: BinaryIO) -> None:
        self._streams = list(streams)

    def write(self, chunk: bytes) -> None:
        """Nothing; every stream that still can has the chunk."""
        for stream in tuple(self._streams):
            try:
                stream.write(chunk)
                stream.flush()
            except (OSError, ValueError):
                self._streams.remove(stream)


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP go to ``handler`` from here on; the former handlers come back at the end.

    A SIGHUP that is ignored stays so: that is what nohup is for. Outside the main thread Python lets no one set
    handlers, and nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    former = {signum: signal.signal(signum, handler) for signum in _SIGNALS if signum != signal.SIGHUP or not ignored}
    try:
        yield
    finally:
        for signum, previous in former.items():
            signal.signal(signum, previous)


def _pass_on(pipes: Mapping[IO[bytes], Sink], stop: _Stop, patience: Patience) -> None:
    """Nothing, once the program has ended and what it wrote until then has been passed on.

    The ends of the pipes are no sign of that: whatever it left behind may hold them open, and write on.
    """
    assert stop.process is not None
    with selectors.DefaultSelector() as selector:
        for pipe, sink in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, sink)
        while stop.process.poll() is None:
            if not _read_once(selector, timeout_s=_POLL_S):
                with suppress(subprocess.TimeoutExpired):
                    stop.process.wait(0 if selector.get_map() else _POLL_S)
            stop.press_when_late(patience)
        deadline_s = time.monotonic() + patience.after_end_s
        while _read_once(selector, timeout_s=0) and time.monotonic() < deadline_s:
            pass


def _read_once(selector: selectors.BaseSelector, *, timeout_s: float) -> bool:
    """Whether there was anything to read; it has gone to its sink."""
    events = selector.select(timeout_s) if selector.get_map() else []
    for key, _ in events:
        chunk = os.read(key.fd, _CHUNK_BYTES)
        if chunk:
            key.data.write(chunk)
        else:
            selector.unregister(key.fileobj)
    return bool(events)


def _end_leftovers(session: int, cookie: str, patience: Patience) -> tuple[str, ...]:
    """The processes of this capture that did not end by themselves, ended now."""
    if not _PROC.joinpath("self", "environ").exists():
        _signal_group(session, signal.SIGTERM)
        return ()
    if not _gone_within(session, cookie, patience.after_end_s):
        named = tuple(f"{_process_name(pid)} ({pid})" for pid in _belonging(session, cookie))
        for means in (signal.SIGTERM, signal.SIGKILL):
            for pid in _belonging(session, cookie):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, means)
            if _gone_within(session, cookie, patience.after_term_s):
                break
        return named
    return ()


def _gone_within(session: int, cookie: str, limit_s: float) -> bool:
    deadline_s = time.monotonic() + limit_s
    while _belonging(session, cookie):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S / 4)
    return True


def _belonging(session: int, cookie: str) -> list[int]:
    """The living processes of that session, or with that cookie in the environment they were started with."""
    mark = f"{ENV_CAPTURE}={cookie}".encode()
    return [
        int(folder.name)
        for folder in _PROC.iterdir()
        if folder.name.isdigit() and _belongs(folder, session=session, mark=mark)
    ]


def _belongs(folder: Path, *, session: int, mark: bytes) -> bool:
    try:
        # "pid (name) state ppid pgrp session ...", where the name may hold anything
        fields = folder.joinpath("stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return False
        return int(fields[3]) == session or mark in folder.joinpath("environ").read_bytes().split(b"\0")
    except (OSError, IndexError, ValueError):
        return False


def _process_name(pid: int) -> str:
    try:
        return _PROC.joinpath(str(pid), "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "process"


def _signal_group(group: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)
