"""The mode ``signal``: tells a profiler outside where the window is, by cudaProfilerStart and by NVTX ranges.

The ranges are ``window:START-STOP`` around the window and ``iteration:N`` in it, start/end ranges of the domain
``ds2prof``, made with the package nvtx where the process has it. Without it a build of torch for CUDA makes them with
its own NVTX, in the default domain, ``ds2prof:`` before their names; a build without CUDA has none to make them with.
"""

from __future__ import annotations

from typing import Any

import torch

from . import following, gpu, windows
from .hooks import Hooks
from .nvtx_ranges import nvtx_ranges
from .status import say, tell_window
from .windows import Window


class Signals:
    """Opens and closes the window of a profiler that this process runs under.

    Args:
        window: The steps asked for; None takes the default window of steps.
        whole: Whether the profiler records the whole run, so that ranges are all there is to do.
        count: Whether to count the operators of the window, for the progress of a profiler that replays.
        status: The status file, if there is one.
        hooks: How to be called again.
    """

    def __init__(self, *, window: Window | None, whole: bool, count: bool, status: str | None, hooks: Hooks) -> None:
        self._asked = self._window = window
        self._whole = whole
        self._status = status
        self._ranges = nvtx_ranges()
        self._count = count
        self._progress: Any = None
        self._hooks = hooks
        self._steps = 0
        self._is_open = False
        self._signalled = False
        self._open_window: Any = None
        self._open_iteration: Any = None
        self._over = False

    def start(self) -> None:
        """Opens a window that begins with the run: at once, or when the program starts CUDA where a GPU is here."""
        if not self._whole and (self._window is None or self._window.start > 0):
            return
        if gpu.may_be_used() and not gpu.is_used():
            self._hooks.on_cuda(self._open_early)
        else:
            self._open_early()

    def _open_early(self) -> None:
        if self._steps == 0 and not self._is_open:
            self._open()

    def made(self, optimizer: object) -> None:
        """Nothing: ranges are for the steps of the window."""

    def before(self, step: int, optimizer: object) -> None:
        """Nothing: a step is recorded as it comes."""

    def step(self, step: int, optimizer: object) -> None:
        """Step ``step`` is complete."""
        self._steps = step + 1
        if self._over:
            return
        if self._progress is not None and following.compiles():
            self._progress.stop()  # where that could not be done when the program compiled
        window = self._window = self._window or (None if self._whole else windows.default(torch))
        if window is not None and self._steps >= window.stop:
            self._close()
        elif self._is_open:
            self._end_iteration()
            self._begin_iteration()
        elif window is None or self._steps >= window.start:
            self._open()
        elif self._count and self._steps == window.start - 1:
            self._rehearse(window)

    def _rehearse(self, window: Window) -> None:
        """The step before the window shows how many operators one has."""
        from .progress import OperatorProgress  # needs a torch that not every program has

        self._progress = OperatorProgress(self._status, window.stop - window.start)
        following.on_compile(self._progress.stop)
        self._progress.rehearse()

    def _open(self) -> None:
        if self._progress is not None:
            self._progress.open()
        gpu.synchronize()
        if gpu.is_used() and not self._whole:
            torch.cuda.profiler.start()
            self._signalled = True
        self._is_open = True
        if self._window is not None:
            self._open_window = self._start_range(f"window:{self._window}")
        self._begin_iteration()
        tell_window(self._status, "open", self._steps)

    def _close(self) -> None:
        self._over = True
        if self._progress is not None:
            following.no_more(self._progress.stop)
            self._progress.close()
        if not self._is_open:
            return
        self._is_open = False
        self._end_iteration()
        gpu.synchronize()
        if self._open_window is not None:
            self._end_range(self._open_window)
        if self._signalled:
            torch.cuda.profiler.stop()
        tell_window(self._status, "closed", self._steps)

    def _begin_iteration(self) -> None:
        self._open_iteration = self._start_range(f"iteration:{self._steps}")

    def _end_iteration(self) -> None:
        if self._open_iteration is not None:
            self._end_range(self._open_iteration)
            self._open_iteration = None

    def _start_range(self, message: str) -> Any:
        return None if self._ranges is None else self._ranges.start(message)

    def _end_range(self, opened: Any) -> None:
        if self._ranges is not None:
            self._ranges.end(opened)

    def stop(self) -> None:
        """The program ends: a window that is open is closed."""
        was_open = self._is_open
        if not was_open and not self._over and self._steps and self._window is not None:
            say(self._status, f"window {self._window}: not reached, the program took {self._steps} optimizer steps")
        self._close()
        if was_open and self._window is not None and not self._whole:
            steps = (self._window.start, self._steps) if self._steps > self._window.start else None
            say(self._status, windows.cut_short(self._window, steps, self._steps))

    def give_way(self) -> None:
        """Nothing: the program's own use of torch.profiler is not in the way."""

    def abandon(self) -> None:
        """The window is closed, for the profiler outside."""
        self._close()

    def forked(self) -> bool:
        """Where no window is open: that of the parent is the parent's to close."""
        self._steps, self._window, self._over = 0, self._asked, False
        return not self._is_open
