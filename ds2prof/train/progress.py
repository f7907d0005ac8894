"""A line that says how far a run is, rewritten in place on a terminal and added now and then in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

from ds2prof.units import NS_PER_S

_TERMINAL_PERIOD_NS: Final = NS_PER_S // 5
_PIPE_PERIOD_NS: Final = 10 * NS_PER_S


class Progress:
    """Says how many iterations are done. The host counts them as it hands them out; the device may be behind.

    Args:
        stream: Where to say it.
        iterations: How many there will be.
        clock_ns: A monotonic clock.
    """

    def __init__(self, stream: TextIO, iterations: int, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._stream = stream
        self._iterations = iterations
        self._clock_ns = clock_ns
        self._in_place = stream.isatty()
        self._period_ns = _TERMINAL_PERIOD_NS if self._in_place else _PIPE_PERIOD_NS
        self._said_ns: int | None = None

    def step(self, iteration: int) -> None:
        """Iteration ``iteration`` is handed out; says so if the last word was some time ago."""
        now_ns = self._clock_ns()
        if self._said_ns is None or now_ns - self._said_ns >= self._period_ns:
            self._said_ns = now_ns
            self._say(f"iteration {iteration + 1} of {self._iterations}")

    def done(self) -> None:
        """Leaves the line behind."""
        if self._in_place and self._said_ns is not None:
            self._say("")

    def _say(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}" if self._in_place else f"{text}\n")
        self._stream.flush()
