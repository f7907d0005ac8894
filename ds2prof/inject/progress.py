"""How much of a window has been handed out, for profilers that replay: counted in operators, told in the status file.

A profiler that replays each launch makes a window of one second last for minutes, in which the program completes no
iteration that it could tell of. What it does get through are operators. They are counted in the iteration before the
window, and again in the window, in lines ``ops <pid> <done> <total>`` (:mod:`.status` has the form). Iterations of
unequal length make the total an estimate.

Counting takes some microseconds an operator on the host, in all threads of autograd: it is not for profilers whose
times are real. Nor is it for a program that compiles (:mod:`.following`): nothing is counted there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from . import following, status

_LINES_APART_S = 0.5


class OperatorProgress:
    """Counts the operators of one iteration, then those of the window.

    Args:
        path: The status file.
        iterations: How many the window holds.
        clock_s: A monotonic clock.
    """

    def __init__(self, path: str | None, iterations: int, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._iterations = iterations
        self._clock_s = clock_s
        self._mode: _Counting | None = None
        self._total = 0
        self._told_s = 0.0

    def rehearse(self) -> None:
        """Begins to count, where the iteration before the window begins; not where that would undo a compilation."""
        if self._mode is None and not following.compiles():
            self._mode = _Counting(self._counted)
            self._mode.__enter__()  # type: ignore[no-untyped-call, unused-ignore]

    def open(self) -> None:
        """The window begins: what was counted so far is what an iteration has."""
        if self._mode is not None:
            self._total, self._mode.count = self._mode.count * self._iterations, 0
            self._tell()

    def close(self) -> None:
        """The window is over; nothing is counted any more."""
        if self._mode is not None:
            self._tell()
            self.stop()

    def stop(self) -> None:
        """Nothing is counted any more, unless the program has put a dispatch mode of its own on top."""
        if self._mode is not None and following.innermost_mode() is self._mode:
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call, unused-ignore]
            self._mode = None

    def _counted(self) -> None:
        if self._total and self._clock_s() - self._told_s >= _LINES_APART_S:
            self._tell()

    def _tell(self) -> None:
        assert self._mode is not None
        self._told_s = self._clock_s()
        if self._total:
            status.tell(self._path, "ops", self._mode.count, self._total)


class _Counting(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
    """Lets every operator through and counts it; autograd hands the mode on to its own threads."""

    def __init__(self, counted: Callable[[], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.count = 0
        self._counted = counted

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What the operator gives."""
        self.count += 1
        self._counted()
        return func(*args, **(kwargs or {}))
