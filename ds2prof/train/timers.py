"""Phase timers: how long each phase of the step takes, the device waited for at both of its ends.

Without them the host only hands work out, and its clock says nothing about the device. With them every phase begins
and ends with a synchronization, so its time is its own; in exchange host and device no longer overlap, so the sum is
more than the time of a step without timers, and throughput is not to be taken from such a run. That is why they are an
option, and why nothing here is called without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ds2prof.train.device import Device
from ds2prof.train.observers import PhaseTime
from ds2prof.units import format_ns_short


@dataclass
class _Sums:
    """What is known of one phase."""

    total_ns: int = 0
    count: int = 0
    min_ns: int = 0
    max_ns: int = 0

    def add(self, dur_ns: int) -> None:
        """One more time."""
        self.min_ns = dur_ns if self.count == 0 else min(self.min_ns, dur_ns)
        self.max_ns = max(self.max_ns, dur_ns)
        self.total_ns += dur_ns
        self.count += 1


class PhaseTimers:
    """Times phases of one rank.

    Args:
        device: What is waited for.
        clock_ns: A monotonic clock.
    """

    def __init__(self, device: Device, *, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._device = device
        self._clock_ns = clock_ns
        self._sums: dict[str, _Sums] = {}

    @contextmanager
    def timed(self, phase: str, inside: AbstractContextManager[None]) -> Iterator[None]:
        """A context that is ``inside``, timed; what an error ends is not counted."""
        self._device.synchronize()
        started_ns = self._clock_ns()
        with inside:
            yield
            # Within the range that a profiler sees: the wait belongs to the phase that it is for.
            self._device.synchronize()
        self._sums.setdefault(phase, _Sums()).add(self._clock_ns() - started_ns)

    def take(self, rank: int) -> list[PhaseTime]:
        """What was timed since the last time, in the order in which phases first came; it starts again from nothing."""
        sums, self._sums = self._sums, {}
        return [
            PhaseTime(
                rank=rank,
                phase=phase,
                total_ns=each.total_ns,
                count=each.count,
                min_ns=each.min_ns,
                max_ns=each.max_ns,
            )
            for phase, each in sums.items()
        ]


def timer_lines(times: Sequence[PhaseTime]) -> list[str]:
    """The times as a table, a line for each phase of each rank."""
    if not times:
        return []
    lines = [f"{'rank':>4}  {'phase':<12}{'total':>12}{'count':>8}{'min':>12}{'max':>12}{'mean':>12}"]
    for each in times:
        durations = (each.min_ns, each.max_ns, each.total_ns / each.count)
        columns = "".join(f"{format_ns_short(dur_ns):>12}" for dur_ns in durations)
        total = format_ns_short(each.total_ns)
        lines.append(f"{each.rank:>4}  {each.phase:<12}{total:>12}{each.count:>8}{columns}")
    return lines
