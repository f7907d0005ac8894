"""How long a capture takes to prepare, to start and to stop: the part of its cost that lies outside of the window."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ds2prof.train.capture import Capture


class TimedCapture(Capture):
    """Another capture, with a look at the clock before and after each of its steps.

    Args:
        capture: What does the work.
        clock_ns: A monotonic clock.
    """

    def __init__(self, capture: Capture, *, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._capture = capture
        self._clock_ns = clock_ns
        self._took_ns: dict[str, int] = {}

    def prepare(self) -> None:
        """What takes long and can be done early."""
        self._timed("prepare", self._capture.prepare)

    def start(self) -> None:
        """Opens the window."""
        self._timed("start", self._capture.start)

    def stop(self) -> None:
        """Closes the window and keeps what was recorded."""
        self._timed("stop", self._capture.stop)

    def said(self) -> Mapping[str, Any]:
        """What the other says."""
        return self._capture.said()

    def costs_ns(self) -> dict[str, int | None]:
        """``prepare_ns``, ``start_ns`` and ``stop_ns``; None where nothing is captured, or it did not come so far."""
        real = type(self._capture) is not Capture
        return {f"{step}_ns": self._took_ns.get(step) if real else None for step in ("prepare", "start", "stop")}

    def _timed(self, step: str, do: Callable[[], None]) -> None:
        started_ns = self._clock_ns()
        do()
        self._took_ns[step] = self._clock_ns() - started_ns
