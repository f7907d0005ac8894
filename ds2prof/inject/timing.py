"""How long each optimizer step took, beside whatever else is done in the process: what that costs is told from it.

``DS2PROF_INJECT_RUN_LOG`` names the file, ``{process}`` in it as for recordings. It holds a line of JSON for each step,
as the run log of ds2prof's own training does: ``{"iteration": 3, "wall_ns": 81230411}``. A step's time reaches from the
end of the step before to its own; the first has none. The device is waited for at both ends of the window. To open the
window is no step's time, and neither is to close it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from . import gpu, outputs
from .windows import Window

_SCHEMA = "ds2prof-run/1"


class Nothing:
    """What is done in a process whose steps are timed and not recorded."""

    def start(self) -> None:
        """Nothing."""

    def made(self, optimizer: object) -> None:
        """Nothing."""

    def before(self, step: int, optimizer: object) -> None:
        """Nothing."""

    def step(self, step: int, optimizer: object) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def give_way(self) -> None:
        """Nothing."""

    def abandon(self) -> None:
        """Nothing."""

    def forked(self) -> bool:
        """Always: a child's steps are its own."""
        return True


class TimedSteps:
    """Another mode, with a look at the clock when a step is complete.

    Args:
        mode: What else is done.
        path: The file to write, with ``{process}`` in it.
        window: The steps recorded; None where none are asked for.
        profiler: The mode's name; None where nothing is recorded.
        clock_ns: A monotonic clock.
    """

    def __init__(
        self,
        mode: Any,
        path: str,
        *,
        window: Window | None,
        profiler: str | None,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._mode = mode
        self._path = path
        self._window = window
        self._header = {"schema": _SCHEMA, "profiler": profiler}
        self._clock_ns = clock_ns
        self._since_ns: int | None = None
        self._walls_ns: dict[int, int] = {}

    def start(self) -> None:
        """Torch has been imported."""
        self._mode.start()

    def made(self, optimizer: object) -> None:
        """An optimizer has been made."""
        self._mode.made(optimizer)

    def before(self, step: int, optimizer: object) -> None:
        """A step is about to be taken."""
        self._mode.before(step, optimizer)

    def step(self, step: int, optimizer: object) -> None:
        """Step ``step`` is complete. What is done now counts to the next one, unless it opens the window."""
        opens = self._window is not None and step + 1 == self._window.start
        if opens or (self._window is not None and step + 1 == self._window.stop):
            gpu.synchronize()
        now_ns = self._clock_ns()
        if self._since_ns is not None:
            self._walls_ns[step] = now_ns - self._since_ns
        self._since_ns = now_ns
        self._mode.step(step, optimizer)
        if opens:
            self._since_ns = self._clock_ns()

    def stop(self) -> None:
        """The process ends: the times are written, whole."""
        try:
            self._mode.stop()
        finally:
            if self._walls_ns:
                self._write()

    def give_way(self) -> None:
        """The program starts torch.profiler itself."""
        self._mode.give_way()

    def abandon(self) -> None:
        """Nothing is written."""
        self._mode.abandon()

    def forked(self) -> bool:
        """Whether the child is followed on; its steps are its own."""
        self._since_ns, self._walls_ns = None, {}
        return bool(self._mode.forked())

    def _write(self) -> None:
        rows = [{"iteration": step, "wall_ns": wall_ns} for step, wall_ns in self._walls_ns.items()]
        path = outputs.final_path(self._path)
        partial = outputs.temporary_path(path, "partial")
        try:
            with open(partial, "w", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in (self._header, *rows))
            os.replace(partial, path)
        finally:
            outputs.remove(partial)
