"""A device's window, what ran in it as merged sets, and the gaps between with what ended each.

All sets are pairs of arrays (starts, ends): disjoint half-open intervals in order, integer ns, cut at the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis import attribution, windows
from ds2prof.analysis.intervals import clipped, merged
from ds2prof.analysis.totals import by_device, rows_of
from ds2prof.analysis.windows import TimeWindow, ends_ns
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class
from ds2prof.tables import BoolArray, IntArray, Profile, Table

TABLES: Final = ("kernels", "copies", "api", "ops", "ranges", "overhead", "spans")
NEVER: Final = np.iinfo(np.int64).max
Intervals = tuple[IntArray, IntArray]
"""(starts, ends), disjoint and in order."""


@dataclass(frozen=True)
class BusySets:
    """What one device did in its window; overlaps within a set count once.

    Attributes:
        window: the window of this device.
        compute: kernels that are no communication; graphs whose contents the tool hid among them.
        communication: kernels of collectives.
        copies: copies and sets.
        busy: all three together, and the moments of operations too short for the clock as empty intervals in gaps.
    """

    window: TimeWindow
    compute: Intervals
    communication: Intervals
    copies: Intervals
    busy: Intervals


@dataclass(frozen=True)
class Operations:
    """Kernels and copies of one device that touch its window, kernels first.

    Attributes:
        start_ns, end_ns: cut at the window.
        row: row of ``kernels``, or ``len(kernels)`` + row of ``copies``.
    """

    start_ns: IntArray
    end_ns: IntArray
    row: IntArray


@dataclass(frozen=True)
class Gaps:
    """Stretches in which nothing ran, in order, each with the operation that ended it.

    Attributes:
        start_ns, end_ns: the stretch; never empty.
        row: the operation, numbered as in :class:`Operations`.
        launch: row of ``api`` that launched it, -1 where none is recorded.
    """

    start_ns: IntArray
    end_ns: IntArray
    row: IntArray
    launch: IntArray

    def __len__(self) -> int:
        return len(self.start_ns)

    def take(self, rows: IntArray) -> Gaps:
        """The chosen gaps."""
        return Gaps(self.start_ns[rows], self.end_ns[rows], self.row[rows], self.launch[rows])


def worked_devices(profile: Profile) -> list[int | None]:
    """The devices that did any work; None among them for rows that name none."""
    return [device for device, _ in by_device(profile.table("kernels"), profile.table("copies"))]


def busy_sets(profile: Profile, device: int | None) -> BusySets:
    """The sets X, N and C of one device in its window.

    Raises:
        MissingDataError: the profile has no window, or its operations have no times.
    """
    return profile.derived(f"busy sets of device {device}", lambda: _busy_sets(profile, device))


def check_times(profile: Profile) -> None:
    """Nothing, where the profile can be accounted for in time.

    Raises:
        MissingDataError: a run without a GPU, a replayed capture, sums, or no device work at all.
    """
    profile.require(*TABLES)
    kernels, copies = profile.table("kernels"), profile.table("copies")
    why = None
    if profile.meta.times == "replay":
        why = "launches were replayed, so that nothing is known of idle time; capture a timeline (ds2prof run nsys)"
    elif profile.meta.domain == "cpu":
        why = "a run without a GPU has no device to account for; try --by phase or --by name"
    elif not len(kernels) and not len(copies):
        why = "no device work in this file; was the window open while work was launched?"
    elif profile.meta.times is None or not (_has_times(kernels).all() and _has_times(copies).any() | (not len(copies))):
        why = "a summary without the time of each launch; give the timeline that it was made from"
    elif windows.time_window(profile) is None:
        why = "no window: no operation takes any time"
    if why is not None:
        raise MissingDataError(f"{profile.meta.file}: {why}")


def device_window(profile: Profile, device: int | None) -> TimeWindow:
    """The window of one device: the profile's, or from its own first to last operation where that is all there is.

    Raises:
        MissingDataError: see :func:`check_times`.
    """
    check_times(profile)
    window = windows.time_window(profile)
    assert window is not None
    if window.source != windows.OPERATIONS:
        return window
    kernels, copies = (table.take(rows_of(table, device)) for table in _work(profile))
    return windows.from_operations(kernels, copies) or TimeWindow(window.start_ns, window.start_ns, window.source)


def is_communication(kernels: Table) -> BoolArray:
    """Mask of the kernels that move data between devices."""
    of_category = [kernel_class(text) == "communication" for text in kernels["name"].categories or ()]
    found: BoolArray = np.array([*of_category, False], dtype=np.bool_)[kernels["name"].values]
    return found


def operations(profile: Profile, device: int | None) -> Operations:
    """Kernels and copies of one device that touch its window: that take time in it, or none but begin in it."""
    window = device_window(profile, device)
    parts = []
    offset = 0
    for table in _work(profile):
        rows = rows_of(table, device) & _has_times(table)
        parts.append(_touching(table, rows, window, offset))
        offset += len(table)
    return Operations(*(np.concatenate(side) for side in zip(*parts, strict=True)))


def _touching(table: Table, rows: BoolArray, window: TimeWindow, offset: int) -> tuple[IntArray, IntArray, IntArray]:
    starts, ends = table.ints("start_ns"), ends_ns(table)
    inside = rows & (starts < window.stop_ns) & ((ends > window.start_ns) | (starts >= window.start_ns))
    if not inside.all():
        kept = np.flatnonzero(inside)
        starts, ends = starts[kept], ends[kept]
    else:
        kept = np.arange(len(starts))
    return *clipped(starts, ends, lo_ns=window.start_ns, hi_ns=window.stop_ns), kept + offset


def with_moments(busy: Intervals, start_ns: IntArray, end_ns: IntArray) -> Intervals:
    """The merged set, with each moment within a gap at which an operation of no measurable length ran as [t, t).

    Such an operation ended a wait like any other; in a trace of whole microseconds every short kernel is one.
    """
    empty = start_ns == end_ns
    if not empty.any():
        return busy
    moments = np.unique(start_ns[empty])
    starts, ends = busy
    before = np.searchsorted(starts, moments, side="right") - 1
    after_all = np.append(starts, NEVER)[before + 1]
    free = (moments > np.append(ends, -NEVER)[before]) & (moments < after_all)
    moments = moments[free]
    places = np.searchsorted(starts, moments)
    return np.insert(starts, places, moments), np.insert(ends, places, moments)


def covered_ns(intervals: Intervals, times_ns: IntArray) -> IntArray:
    """For each time, how much of the set lies before it."""
    starts, ends = intervals
    if not len(starts):
        return np.zeros(len(times_ns), dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(ends - starts)))
    row = np.searchsorted(starts, times_ns, side="right")
    last = np.maximum(row - 1, 0)
    return np.where(row > 0, before[row] - np.maximum(ends[last] - times_ns, 0), 0)


def is_open(intervals: Intervals, times_ns: IntArray) -> BoolArray:
    """For each time, whether the set holds it."""
    starts, ends = intervals
    if not len(starts):
        return np.zeros(len(times_ns), dtype=np.bool_)
    row = np.searchsorted(starts, times_ns, side="right") - 1
    return np.asarray((row >= 0) & (ends[np.maximum(row, 0)] > times_ns))


def union(*sets: Intervals) -> Intervals:
    """The union of sets."""
    filled = [intervals for intervals in sets if len(intervals[0])]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return merged(*(np.concatenate(side) for side in zip(*filled, strict=True)))


def length_ns(intervals: Intervals) -> int:
    """Length of a set."""
    return int((intervals[1] - intervals[0]).sum())


def gaps_of(profile: Profile, found: Operations, busy: Intervals) -> Gaps:
    """The gaps between the intervals of a set that those operations make up.

    The operation that ends a gap is the first to start; of several that start at once the one whose launch call began
    first, then kernels before copies, in the order of their rows; unlinked ones come last.
    """
    starts, ends = busy[1][:-1], busy[0][1:]
    free = ends > starts
    starts, ends = starts[free], ends[free]
    if not len(ends):
        nothing = np.zeros(0, dtype=np.int64)
        return Gaps(nothing, nothing, nothing, nothing)
    gap = np.searchsorted(ends, found.start_ns)
    at = np.flatnonzero(np.append(ends, NEVER)[gap] == found.start_ns)
    gap, rows = gap[at], found.row[at]
    launch = launch_of(profile, rows)
    begun = np.where(launch >= 0, profile.table("api").ints("start_ns")[launch] if launch.max() >= 0 else 0, NEVER)
    order = np.lexsort((rows, begun, gap))
    gap = gap[order]
    first = order[np.concatenate(([True], gap[1:] > gap[:-1]))]
    assert len(first) == len(ends)
    return Gaps(starts, ends, rows[first], launch[first])


def launch_of(profile: Profile, rows: IntArray) -> IntArray:
    """The row of ``api`` that launched each operation (numbered as in :class:`Operations`), -1 where none is known.

    A call without a start is as good as none.
    """
    found = both_tables(attribution.launches(profile, "kernels"), attribution.launches(profile, "copies"), rows)
    api = profile.table("api")
    if not len(api):
        return found
    timed = (api["start_ns"].present & api["dur_ns"].present)[found]
    return np.where((found >= 0) & timed, found, -1)


def both_tables(of_kernels: IntArray, of_copies: IntArray, rows: IntArray) -> IntArray:
    """What stands for each operation, numbered as in :class:`Operations`, in the arrays of the two tables."""
    count = len(of_kernels)
    is_copy = rows >= count
    found = np.empty(len(rows), dtype=np.int64)
    found[~is_copy] = of_kernels[rows[~is_copy]]
    found[is_copy] = of_copies[rows[is_copy] - count]
    return found


def _busy_sets(profile: Profile, device: int | None) -> BusySets:
    window = device_window(profile, device)
    found = operations(profile, device)
    kernels = profile.table("kernels")
    communication = np.zeros(len(found.row), dtype=np.bool_)
    is_kernel = found.row < len(kernels)
    communication[is_kernel] = is_communication(kernels)[found.row[is_kernel]]
    compute, exchange, copies = (
        merged(found.start_ns[chosen], found.end_ns[chosen])
        for chosen in (is_kernel & ~communication, communication, ~is_kernel)
    )
    busy = with_moments(union(compute, exchange, copies), found.start_ns, found.end_ns)
    return BusySets(window, compute, exchange, copies, busy)


def _work(profile: Profile) -> tuple[Table, Table]:
    return profile.table("kernels"), profile.table("copies")


def _has_times(table: Table) -> BoolArray:
    return table["start_ns"].present & table["dur_ns"].present
