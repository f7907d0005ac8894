"""The window W that utilization divides by, and where it was taken from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import clipped, union_ns
from ds2prof.tables import BoolArray, IntArray, Profile, Table

TABLES: Final = ("ranges", "api", "spans", "kernels", "copies")
OPERATIONS: Final = "device operations"
SESSION: Final = "session"
"""A span of this name is no statement of the tool's: it reaches from its first record of any kind to the last."""
CUDA_OVERHEADS: Final = ("Driver Compiler", "Runtime Triggered Module Loading", "Lazy Function Loading")
"""Overheads that are CUDA's own: they would be there without a profiler."""
_START: Final = re.compile(r"(?:cuda|cu|hip)ProfilerStart")
_STOP: Final = re.compile(r"(?:cuda|cu|hip)ProfilerStop")


@dataclass(frozen=True)
class TimeWindow:
    """A stretch of the profile's clock, with the source that it was taken from.

    ``source`` is, in falling order of trust: ``capture range`` or ``step ranges`` (host start of the first to host end
    of the last complete one), ``profiler calls`` (return of cudaProfilerStart to the call of cudaProfilerStop),
    ``profiler span`` (what the tool says it watched), ``session`` (first to last record of any kind, where the tool
    does not say), ``device operations`` (first start to last end).
    """

    start_ns: int
    stop_ns: int
    source: str

    @property
    def length_ns(self) -> int:
        """Length of the window."""
        return self.stop_ns - self.start_ns


def time_window(profile: Profile) -> TimeWindow | None:
    """The most trustworthy window that the profile holds; None where launches were replayed or nothing has a time."""
    return profile.derived("time window", lambda: _time_window(profile))


def _time_window(profile: Profile) -> TimeWindow | None:
    profile.require(*TABLES)
    if profile.meta.times != "real":
        return None
    for source in (_from_ranges, _from_calls, _from_span, _from_operations):  # later ones are not read in vain
        found = source(profile)
        if found is not None and found.length_ns > 0:
            return found
    return None


def ends_ns(table: Table) -> IntArray:
    """End times of a table's rows, ns; the start itself where the duration is null."""
    return table.ints("start_ns") + table.ints("dur_ns")


def text_mask(table: Table, column: str, *texts: str) -> BoolArray:
    """Mask of the rows whose text is one of ``texts``."""
    found = table[column]
    is_one = np.array([*(text in texts for text in found.categories or ()), False])  # a null is the last one's code, -1
    return np.asarray(is_one[found.values], dtype=np.bool_)


def timed(table: Table) -> Table:
    """The rows that have both a start and a duration."""
    present = table["start_ns"].present & table["dur_ns"].present
    return table if present.all() else table.take(present)


def _covering(table: Table, source: str) -> TimeWindow | None:
    table = timed(table)
    if not len(table):
        return None
    return TimeWindow(int(table.ints("start_ns").min()), int(ends_ns(table).max()), source)


def _from_ranges(profile: Profile) -> TimeWindow | None:
    ranges = profile.table("ranges")
    for kind, source in (("window", "capture range"), ("iteration", "step ranges")):
        found = _covering(ranges.take(text_mask(ranges, "kind", kind)), source)
        if found is not None:
            return found
    return None


def _from_calls(profile: Profile) -> TimeWindow | None:
    api = profile.table("api")
    categories = api["name"].categories or ()
    starting = [name for name in categories if _START.match(name)]
    stopping = [name for name in categories if _STOP.match(name)]
    if not starting or not stopping:
        return None
    starts = timed(api.take(text_mask(api, "name", *starting)))
    stops = timed(api.take(text_mask(api, "name", *stopping)))
    if not len(starts) or not len(stops):
        return None
    return TimeWindow(int(ends_ns(starts).min()), int(stops.ints("start_ns").max()), "profiler calls")


def _from_span(profile: Profile) -> TimeWindow | None:
    spans = profile.table("spans")
    is_session = bool(len(spans)) and bool(text_mask(spans, "name", SESSION).all())
    return _covering(spans, SESSION if is_session else "profiler span")


def session_less_overhead_ns(profile: Profile, window: TimeWindow | None) -> int | None:
    """Length of a session less what the profiler itself took of it: the divisor of TBD's recipe for nvprof's timelines.

    Formula: length(session) - length(union of the profiler's overhead, CUDA's own left out). Blind spot: kernels that
    ran during the overhead still count as busy, and start-up that is nobody's overhead stays in. None for windows from
    other sources, which do without.
    """
    if window is None or window.source != SESSION:
        return None
    overhead = timed(profile.table("overhead"))
    overhead = overhead.take(~text_mask(overhead, "name", *CUDA_OVERHEADS))
    if not len(overhead):
        return None
    inside = clipped(overhead.ints("start_ns"), ends_ns(overhead), lo_ns=window.start_ns, hi_ns=window.stop_ns)
    return window.length_ns - union_ns(*inside)


def _from_operations(profile: Profile) -> TimeWindow | None:
    return from_operations(profile.table("kernels"), profile.table("copies"))


def from_operations(kernels: Table, copies: Table) -> TimeWindow | None:
    """From the first start to the last end of the device's own operations: the last resort, for each device its own."""
    windows = [window for table in (kernels, copies) if (window := _covering(table, OPERATIONS)) is not None]
    if not windows:
        return None
    return TimeWindow(min(w.start_ns for w in windows), max(w.stop_ns for w in windows), OPERATIONS)
