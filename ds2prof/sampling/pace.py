"""When things are read: at a period, or less often where reading itself would take too much of a core."""

from __future__ import annotations

import time
from typing import Final

MAX_SHARE: Final = 0.01
"""The part of one core that each reader may take."""
_WEIGHT: Final = 0.25
"""How much the newest cost counts in the mean of costs."""


class Pace:
    """The moments at which something is due, on the monotonic clock.

    Moments are multiples of the period after the first one, so that a late reading does not shift those behind it.

    Args:
        period_ns: the shortest time between two readings.
        share: the part of one core that reading may take; the time between two readings grows until it is kept.
    """

    def __init__(self, period_ns: int, *, share: float = MAX_SHARE) -> None:
        self.period_ns = period_ns
        self._share = share
        self._cost_ns = 0.0
        self.due_ns: int = 0
        """When it is due next: at once, to begin with."""

    @property
    def interval_ns(self) -> int:
        """The time between two readings as it is now: a whole number of periods."""
        periods = -(-self._cost_ns // (self._share * self.period_ns))
        return self.period_ns * max(1, int(periods))

    def is_due(self, now_ns: int) -> bool:
        """Whether it is time."""
        return now_ns >= self.due_ns

    def done(self, now_ns: int, *, cost_ns: int) -> None:
        """Takes note that it was read at ``now_ns`` and what that cost; moments that were missed are left out.

        What the first reading costs does not count: it is the first for all caches as well.
        """
        if self.due_ns:
            self._cost_ns += _WEIGHT * (cost_ns - self._cost_ns)
        begin_ns = self.due_ns or now_ns
        missed = max(0, now_ns - begin_ns) // self.interval_ns
        self.due_ns = begin_ns + (missed + 1) * self.interval_ns


def thread_ns() -> int:
    """The processor time of this thread so far."""
    return time.thread_time_ns()
