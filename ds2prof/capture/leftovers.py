"""The processes of a capture, found in /proc and ended; alone as a program, the guard of a capture.

Every process of a capture carries a mark in the environment it was started with, whatever session or parent it has
moved to. Run as a program (``python leftovers.py MARK FILE_DESCRIPTOR``, the standard library alone), this
module is the guard: it waits on a pipe for ds2prof's death, and ends the capture's processes where ds2prof was killed
and could not do so itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
DONE: Final = b"."
"""What the guard is told before ds2prof ends by itself."""
_LOOK_S: Final = 0.025
_STARTING_S: Final = 1.0
_GUARD_TERM_S: Final = 3.0
_COMM_CHARACTERS: Final = 15
"""Linux keeps this much of the name of a process."""


class Family(NamedTuple):
    """What tells the processes of a capture from others."""

    mark: str
    """``NAME=value`` in their environment."""
    session: int | None = None
    """The session that the first of them leads."""


def living(family: Family) -> list[int]:
    """The processes of the capture that have not ended, by id."""
    mark = family.mark.encode()
    return [
        int(folder.name)
        for folder in PROC.iterdir()
        if folder.name.isdigit() and _belongs(folder, session=family.session, mark=mark)
    ]


def all_gone(family: Family) -> bool:
    """Whether no process of the capture is left, by two looks: one that is just starting a program shows nothing.

    In the middle of ``exec`` a process has no environment to be seen, and its child may belong to no session of ours.
    """
    for look in range(2):
        if look:
            time.sleep(_LOOK_S)
        if living(family) or any(_is_starting(folder) for folder in PROC.iterdir() if folder.name.isdigit()):
            return False
    return True


def is_visible() -> bool:
    """Whether this system shows processes in /proc."""
    return PROC.joinpath("self", "environ").exists()


def end(
    family: Family, *, after_end_s: float, after_term_s: float, hurried: Callable[[], bool] = lambda: False
) -> tuple[str, ...]:
    """The processes that did not end by themselves within ``after_end_s``, as ``name (pid)``; they are ended now.

    Args:
        family: What to end.
        after_end_s: How long they may take to end by themselves.
        after_term_s: How long they may take after SIGTERM, before SIGKILL.
        hurried: Whether they are to be killed without any more ado.
    """
    if _gone_within(family, after_end_s, hurried):
        return ()
    named: dict[int, str] = {}
    for means in (signal.SIGTERM, signal.SIGKILL):
        impatient = hurried if means == signal.SIGTERM else lambda: False
        if _end_by(means, family, limit_s=after_term_s, named=named, hurried=impatient):
            break
    return tuple(f"{name} ({pid})" for pid, name in named.items())


def name_of(pid: int) -> str:
    """The name of a process as Linux keeps it, 15 characters at most."""
    try:
        return PROC.joinpath(str(pid), "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "process"


def is_called(pid: int, names: Collection[str]) -> bool:
    """Whether a process runs a program, or a script, of one of these names."""
    try:
        words = PROC.joinpath(str(pid), "cmdline").read_bytes().split(b"\0")[:2]
    except OSError:
        return True  # it has just ended
    called = {os.fsdecode(word).rpartition("/")[2] for word in words}
    return name_of(pid) in {name[:_COMM_CHARACTERS] for name in names} or not called.isdisjoint(names)


def written_bytes(pid: int) -> int:
    """What a process has written so far, to files, pipes and all else; 0 where that is not to be seen."""
    try:
        lines = PROC.joinpath(str(pid), "io").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    told = dict(line.split(": ", 1) for line in lines if ": " in line)
    return sum(int(told[name]) for name in ("wchar", "write_bytes") if told.get(name, "").isdigit())


def _end_by(
    means: signal.Signals, family: Family, *, limit_s: float, named: dict[int, str], hurried: Callable[[], bool]
) -> bool:
    """Whether all are gone within the limit; each gets the signal once, those too that are started meanwhile."""
    told: set[int] = set()
    deadline_s = time.monotonic() + limit_s
    while not all_gone(family):
        if time.monotonic() > deadline_s or hurried():
            return False
        pids = living(family)
        for pid in set(pids) - told:
            named.setdefault(pid, name_of(pid))
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, means)
        told.update(pids)
        time.sleep(_LOOK_S)
    return True


def _gone_within(family: Family, limit_s: float, hurried: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not all_gone(family):
        if time.monotonic() > deadline_s or hurried():
            return not living(family)
        time.sleep(_LOOK_S)
    return True


def _is_starting(folder: Path) -> bool:
    """Whether a process is so young that its environment, of which there is none, may be on its way."""
    try:
        if folder.joinpath("environ").read_bytes():
            return False
        fields = folder.joinpath("stat").read_bytes().rpartition(b")")[2].split()
        up_s = float(PROC.joinpath("uptime").read_text(encoding="ascii").split()[0])
        age_s = up_s - int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return fields[0] not in (b"Z", b"X") and age_s < _STARTING_S
    except (OSError, IndexError, ValueError):
        return False


def _belongs(folder: Path, *, session: int | None, mark: bytes) -> bool:
    try:
        # "pid (name) state ppid pgrp session ...", where the name may hold anything
        fields = folder.joinpath("stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return False
        return int(fields[3]) == session or mark in folder.joinpath("environ").read_bytes().split(b"\0")
    except (OSError, IndexError, ValueError):
        return False


def guard(mark: str, read_fd: int) -> int:
    """The guard's exit code, once the other end of the pipe is closed.

    Through the pipe come the session's number on a line, and :data:`DONE` where nothing is left to do.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # whoever ends ds2prof politely is not to end this first
    told = b""
    while chunk := os.read(read_fd, 64):
        told += chunk
    if not told.endswith(DONE):
        session = told.strip()
        family = Family(mark, int(session) if session.isdigit() else None)
        end(family, after_end_s=0.0, after_term_s=_GUARD_TERM_S)
    return 0


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1], int(sys.argv[2])))
