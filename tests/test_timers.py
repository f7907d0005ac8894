"""Phase timers: what they count, when they wait, and that nothing waits without them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

pytest.importorskip("torch", reason="the package torch is a tool that these tests need")

from ds2prof.train.timers import PhaseTimers, timer_lines
from tests.train_support import RecordingDevice


class Clock:
    """A clock that shows what it is told to, one value for each look."""

    def __init__(self, *shown_ns: int) -> None:
        self._shown_ns = iter(shown_ns)

    def __call__(self) -> int:
        return next(self._shown_ns)


def times(*durations_ns: int):
    """The times of one phase that took so long each time."""
    shown = [moment for number, dur_ns in enumerate(durations_ns) for moment in (1000 * number, 1000 * number + dur_ns)]
    timers = PhaseTimers(RecordingDevice([]), clock_ns=Clock(*shown))
    for _ in durations_ns:
        with timers.timed("forward", nullcontext()):
            pass
    return timers


def test_total_count_least_and_most_are_of_the_durations():
    (found,) = times(30, 10, 20).take(rank=3)
    assert (found.rank, found.phase) == (3, "forward")
    assert (found.total_ns, found.count, found.min_ns, found.max_ns) == (60, 3, 10, 30)


def test_the_device_is_waited_for_before_the_clock_is_read_at_both_ends():
    events: list[str] = []
    timers = PhaseTimers(RecordingDevice(events), clock_ns=lambda: events.append("clock") or len(events))
    with timers.timed("loss", nullcontext()):
        events.append("work")
    assert events == ["fence", "clock", "work", "fence", "clock"]


def test_taking_the_times_starts_again_from_nothing():
    timers = times(5)
    assert len(timers.take(rank=0)) == 1
    assert timers.take(rank=0) == []


def test_a_phase_that_an_error_ends_is_not_counted():
    timers = PhaseTimers(RecordingDevice([]), clock_ns=Clock(0, 1))
    with pytest.raises(StopIteration), timers.timed("data", nullcontext()):
        raise StopIteration
    assert timers.take(rank=0) == []


def test_the_table_has_a_line_for_each_phase_of_each_rank():
    lines = timer_lines([*times(1_500_000, 500_000).take(rank=0), *times(2_000_000).take(rank=1)])
    assert lines[0].split() == ["rank", "phase", "total", "count", "min", "max", "mean"]
    assert lines[1].split() == ["0", "forward", "2.000", "ms", "2", "500.0", "us", "1.500", "ms", "1.000", "ms"]
    assert lines[2].split()[:2] == ["1", "forward"]
    assert timer_lines([]) == []
