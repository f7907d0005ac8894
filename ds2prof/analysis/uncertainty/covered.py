"""How much of the time before a moment a set of intervals covers."""

from __future__ import annotations

import numpy as np

from ds2prof.analysis.intervals import merged
from ds2prof.tables import IntArray


def covered_before(start_ns: IntArray, end_ns: IntArray, times_ns: IntArray) -> IntArray:
    """Length of the part of the union of [start, end) that lies before each time, ns."""
    starts, ends = merged(start_ns, end_ns)
    if not len(starts):
        return np.zeros(len(times_ns), dtype=np.int64)
    whole = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(ends - starts)))
    begun = np.searchsorted(starts, times_ns, side="right")
    last = np.maximum(begun - 1, 0)
    inside = np.clip(times_ns, starts[last], ends[last]) - starts[last]
    found: IntArray = np.where(begun > 0, whole[last] + inside, 0)
    return found
