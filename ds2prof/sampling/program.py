"""The program beside which is sampled: started, signals passed on, and waited for."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG: Final = 1
NOT_FOUND: Final = 127
NOT_RUNNABLE: Final = 126


@dataclass(frozen=True)
class Ended:
    """How the program ended, and what it and those of its children that it waited for took."""

    exit_code: int
    """As a shell gives it: 128 + N where signal N ended it."""
    cpu_s: float
    max_resident_kib: int
    """Of its largest process."""


def tie_to_parent(signum: int) -> Callable[[], None]:
    """What a child calls before it becomes another program, so that it gets the signal when its parent dies."""
    try:
        control: Any = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return lambda: None
    parent = os.getpid()

    def tie() -> None:
        control(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signum)

    return tie


class Program:
    """A program with everything as it would be without us, except for its parent and what ``environ`` says.

    Where we are in front of a terminal, it shares our process group: Ctrl-C reaches it from there. Elsewhere it has a
    group of its own, so that a signal to our group reaches it once, through us.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, environ: Mapping[str, str]) -> None:
        self._shares_group = _in_front_of_terminal()
        tie = tie_to_parent(signal.SIGTERM)

        def prepare() -> None:
            tie()
            if not self._shares_group:
                os.setpgid(0, 0)

        sys.stdout.flush()
        self._process = subprocess.Popen(command, env=dict(environ), preexec_fn=prepare)
        self._ended: Ended | None = None

    @property
    def id(self) -> int:
        """Its process id."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Whether it has; what the kernel knows of it can still be read until :meth:`end`."""
        return os.waitid(os.P_PID, self.id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> Ended:
        """How it ended, which is waited for."""
        if self._ended is None:
            _, status, usage = os.wait4(self.id, 0)
            code = os.waitstatus_to_exitcode(status)
            self._process.returncode = code  # so that subprocess does not wait for it again
            cpu_s = usage.ru_utime + usage.ru_stime
            self._ended = Ended(code if code >= 0 else 128 - code, cpu_s, usage.ru_maxrss)
        return self._ended

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        """The handler of signals: passes them on."""
        if self._ended is not None or (self._shares_group and signum in (signal.SIGINT, signal.SIGQUIT)):
            return
        with suppress(ProcessLookupError, PermissionError):
            if self._shares_group:
                os.kill(self.id, signum)
            else:
                os.killpg(self.id, signum)


def _in_front_of_terminal() -> bool:
    with suppress(OSError, ValueError):
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    return False


@contextmanager
def signals(receive: Callable[[int, FrameType | None], None]) -> Iterator[int]:
    """A file that becomes readable on each signal, the end of a child among them; signals to pass on go to ``receive``.

    What is ignored stays so: that is what nohup is for.
    """
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    former: dict[int, Any] = {signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None)}
    for signum in _FORWARDED:
        if signal.getsignal(signum) != signal.SIG_IGN:
            former[signum] = signal.signal(signum, receive)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
