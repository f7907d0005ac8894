"""Work in child processes on the machine's other processors, where the process can be forked safely.

A task gives bytes. A child that fails or is killed gives none, and says nothing: whoever forked it does the work itself
and meets the error there. No child outlives the block it was forked for.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MAX_PROCESSES: Final = 8

_THREADS: Final = Path("/proc/self/task")


def processors() -> int:
    """How many processes may share the work, this one included; 1 where it is not safe to fork.

    A process with threads is not forked: one of them could hold a lock, which no one would release in the child.
    """
    if sys.platform != "linux":
        return 1
    try:
        threads = len(os.listdir(_THREADS))  # noqa: PTH208  names alone
    except OSError:
        return 1
    return min(len(os.sched_getaffinity(0)), MAX_PROCESSES) if threads == 1 else 1


class Child:
    """A child process at its task.

    Args:
        task: what it does.
    """

    def __init__(self, task: Callable[[], bytes]) -> None:
        self._output, written = os.pipe()
        try:
            self._process = os.fork()
        except OSError:
            os.close(self._output)
            os.close(written)
            raise
        if self._process == 0:
            _work(task, written)
        os.close(written)
        self._is_over = False

    def result(self) -> bytes:
        """What the task gave, once it is done; nothing if it failed."""
        with open(self._output, "rb", closefd=False) as stream:
            found = stream.read()
        _, status = os.waitpid(self._process, 0)
        self._is_over = True
        return found if status == 0 else b""

    def end(self) -> None:
        """Stop it, if it still runs."""
        os.close(self._output)
        if not self._is_over:
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)


def _work(task: Callable[[], bytes], written: int) -> None:
    """Do the task and leave, whatever happens: what the parent has open or registered is none of the child's."""
    status = 1
    try:
        with open(written, "wb") as stream:
            stream.write(task())
        status = 0
    finally:
        os._exit(status)


@contextmanager
def children(tasks: Sequence[Callable[[], bytes]]) -> Iterator[list[Child]]:
    """A child at each of the tasks, or at the first few where the machine allows no more; none is left behind."""
    started: list[Child] = []
    try:
        for task in tasks:
            try:
                started.append(Child(task))
            except OSError:
                break
        yield started
    finally:
        for child in started:
            child.end()
