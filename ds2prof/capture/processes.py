"""A program run to its end in a session of its own: its output passed on, signals forwarded, nothing left behind.

Profilers start agents, and training starts workers. All of them carry a cookie in their environment, so that those
that outlive the program are found (in /proc) and ended, whatever session or parent they have moved to
(:mod:`ds2prof.capture.leftovers`). Where ds2prof itself is killed, a guard ends them.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, BinaryIO, Final, Protocol, TextIO

from ds2prof.capture import leftovers
from ds2prof.capture.boundedlog import BoundedLog
from ds2prof.capture.leftovers import Family
from ds2prof.config import ENV_CAPTURE
from ds2prof.errors import CaptureError

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a capture."""
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
    after_program_s: float = 600.0
    """A profiler may write nothing for this long once the program has ended."""


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
    stalled: bool = False
    """Whether the profiler did not end after the program had, and was ended."""


@dataclass
class _Stop:
    """What we were told by signals, and how far the program has been pressed to stop."""

    process: subprocess.Popen[bytes] | None = None
    signum: int | None = None
    stalled: bool = False
    pressed: int = 0
    """0 not at all, 1 the signal passed on, 2 SIGTERM, 3 SIGKILL."""
    at_s: float = field(default=0.0)
    received: int = 0

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        """The handler: the first signal is passed on as it is, each further one presses harder."""
        self.signum = self.signum or signum
        self.received += 1
        self.press()

    def is_urgent(self) -> bool:
        """Whether we were told for the third time: then nothing is waited for."""
        return self.received >= 3

    def press(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.pressed = min(self.pressed + 1, 3)
        self.at_s = time.monotonic()
        means = (self.signum or signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)[self.pressed - 1]
        _signal_group(self.process.pid, means)

    def press_when_late(self, patience: Patience) -> None:
        limit_s = patience.after_signal_s if self.pressed == 1 else patience.after_term_s
        wanted = self.signum is not None or self.stalled
        if wanted and (not self.pressed or time.monotonic() - self.at_s > limit_s):
            self.press()


class _Stall:
    """Whether the profiler goes on though the program has ended, and does nothing.

    Args:
        family: The processes of the capture.
        own: Names of the profiler's own processes.
        limit_s: How long it may write nothing.
    """

    def __init__(self, family: Family, own: Collection[str], limit_s: float) -> None:
        self._family = family
        self._own = own
        self._limit_s = limit_s
        self._looked_s = self._since_s = time.monotonic()
        self._written_bytes: dict[int, int] = {}

    def is_over(self) -> bool:
        """Whether the limit has been reached; looks every now and then only, since /proc is long."""
        now_s = time.monotonic()
        if not self._own or now_s - self._looked_s < min(5.0, self._limit_s / 10):
            return False
        self._looked_s = now_s
        pids = leftovers.living(self._family)
        written_bytes = {pid: leftovers.written_bytes(pid) for pid in pids}
        if written_bytes != self._written_bytes or not all(leftovers.is_called(pid, self._own) for pid in pids):
            self._since_s = now_s
        self._written_bytes = written_bytes
        return now_s - self._since_s > self._limit_s


def run(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    log: BinaryIO,
    stdout: Writable,
    stderr: Writable,
    patience: Patience = PATIENCE,
    tick: Callable[[], None] | None = None,
    own: Collection[str] = (),
) -> Finished:
    """How ``command`` ended, after its output went to ``stdout`` and ``stderr`` and to ``log``, which is kept bounded.

    SIGINT, SIGTERM and SIGHUP that reach us are passed on to everything it started; a second one, or no end in time,
    ends it by SIGTERM, then SIGKILL. If we are killed, a guard does so.

    Args:
        command: The program and its arguments.
        environ: Its environment.
        log: The file that its output is kept in; one that can be read too is cut in the middle when it grows large.
        stdout: Where its standard output goes besides.
        stderr: Where its standard error goes besides.
        patience: How long is waited for what.
        tick: Called every tenth of a second or so.
        own: The names of the profiler's own processes. Where only such are left and none writes anything for long,
            they are ended.

    Raises:
        CaptureError: it cannot be started.
    """
    cookie = f"{os.getpid()}-{secrets.token_hex(8)}"
    mark = f"{ENV_CAPTURE}={cookie}"
    started_ns = time.monotonic_ns()
    stop = _Stop()
    kept = BoundedLog(log)
    with handling(stop.receive), _guarded(mark) as tell_guard:
        process = _started(command, {**environ, ENV_CAPTURE: cookie})
        tell_guard(process.pid)
        stop.process = process
        family = Family(mark, process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout as out, process.stderr as err:
            pipes = {out: Sink(stdout, kept), err: Sink(stderr, kept)}
            stall = _Stall(family, own, patience.after_program_s)
            _pass_on(pipes, stop, patience, every=_each(tick, stop, stall))
            exit_code = process.wait()
            dur_ns = time.monotonic_ns() - started_ns
            left = _end_leftovers(family, patience, hurried=stop.is_urgent)
    return Finished(exit_code if exit_code >= 0 else 128 - exit_code, stop.signum, left, dur_ns, stop.stalled)


def _started(command: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env=environ
        )
    except OSError as error:
        raise CaptureError(f"{command[0]}: cannot be started: {error.strerror}") from None


def _each(tick: Callable[[], None] | None, stop: _Stop, stall: _Stall) -> Callable[[], None]:
    """What is done at each look at the program."""

    def every() -> None:
        if not stop.stalled and stop.signum is None and stall.is_over():
            stop.stalled = True
        if tick is not None:
            tick()

    return every


@contextmanager
def _guarded(mark: str) -> Iterator[Callable[[int], None]]:
    """A guard that ends the processes with that mark if we do not get to the end; it is told their session.

    It is a process in a session of its own, which no signal to ours reaches, at the other end of a pipe that closes
    when we are gone. Where it cannot be started, the capture goes on without.
    """
    read_fd, write_fd = os.pipe()
    guard = None
    try:
        with suppress(OSError):
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", leftovers.__file__, mark, str(read_fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(read_fd,),
            )
    finally:
        os.close(read_fd)
    try:
        yield lambda session: _write(write_fd, b"%d\n" % session)
    finally:
        _write(write_fd, leftovers.DONE)
        os.close(write_fd)
        if guard is not None:
            guard.wait()


def _write(fd: int, text: bytes) -> None:
    with suppress(OSError):  # nobody reads: there is no guard
        os.write(fd, text)


class Writable(Protocol):
    """What output can be written to."""

    def write(self, chunk: bytes, /) -> object:
        """Takes all of it."""

    def flush(self) -> None:
        """Lets nothing wait."""


class Sink:
    """Where output goes: a terminal or pipe, and the log. One that cannot take it any more does not stop the run."""

    def __init__(self, *streams: Writable) -> None:
        self._streams = list(streams)

    def write(self, chunk: bytes) -> None:
        """Nothing; every stream that still can has the chunk."""
        for stream in tuple(self._streams):
            try:
                stream.write(chunk)
                stream.flush()
            except (OSError, ValueError):
                self._streams.remove(stream)
                _discard_rest(stream)


def standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Our standard output and error as bytes; what goes to one that is closed is lost."""
    return _bytes_of(sys.stdout, os.O_WRONLY), _bytes_of(sys.stderr, os.O_WRONLY)


def _bytes_of(stream: TextIO | None, mode: int) -> BinaryIO:
    if stream is not None and not stream.closed:
        return stream.buffer
    return open(os.open(os.devnull, mode), "wb")  # noqa: PTH123 - open for as long as we live


def _discard_rest(stream: Writable) -> None:
    """What a pipe without a reader still holds goes nowhere; Python would try it again when it ends, and complain."""
    with suppress(OSError, ValueError, AttributeError):
        fd = stream.fileno()  # type: ignore[attr-defined]
        if fd in (1, 2):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, fd)
            os.close(nowhere)


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
    former = {signum: signal.signal(signum, handler) for signum in SIGNALS if signum != signal.SIGHUP or not ignored}
    try:
        yield
    finally:
        for signum, previous in former.items():
            signal.signal(signum, previous)


@contextmanager
def held_back() -> Iterator[list[int]]:
    """The signals that came meanwhile, which had no effect: for what must not be left half done."""
    waiting: list[int] = []
    with handling(lambda signum, _frame: waiting.append(signum)):
        yield waiting


def _pass_on(pipes: Mapping[IO[bytes], Sink], stop: _Stop, patience: Patience, *, every: Callable[[], None]) -> None:
    """Nothing, once the program has ended and what it wrote until then has been passed on.

    The ends of the pipes are no sign of that: whatever it left behind may hold them open, and write on.
    """
    assert stop.process is not None
    next_s = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for pipe, sink in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, sink)
        while stop.process.poll() is None:
            if not _read_once(selector, timeout_s=_POLL_S):
                with suppress(subprocess.TimeoutExpired):
                    stop.process.wait(0 if selector.get_map() else _POLL_S)
            stop.press_when_late(patience)
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + _POLL_S
                every()
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


def _end_leftovers(family: Family, patience: Patience, *, hurried: Callable[[], bool]) -> tuple[str, ...]:
    """The processes of this capture that did not end by themselves, ended now."""
    if leftovers.is_visible():
        return leftovers.end(
            family, after_end_s=patience.after_end_s, after_term_s=patience.after_term_s, hurried=hurried
        )
    assert family.session is not None
    _signal_group(family.session, signal.SIGTERM)
    return ()


def _signal_group(group: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)
