"""Intervals in equal parts of a stretch of time, one for a pixel: millions of kernels draw like hundreds."""

from __future__ import annotations

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.tables import IntArray


def edges_ns(lo_ns: int, hi_ns: int, count: int) -> IntArray:
    """``count`` + 1 whole nanoseconds that divide [lo, hi) evenly; no part is empty, so there may be fewer."""
    parts = max(min(count, hi_ns - lo_ns), 1)
    return lo_ns + np.arange(parts + 1, dtype=np.int64) * (hi_ns - lo_ns) // parts


def covered_ns(start_ns: IntArray, end_ns: IntArray, groups: IntArray, count: int, edges: IntArray) -> FloatArray:
    """For each group (row) and part (column) the time that the group's intervals take of it, ns.

    Intervals are cut at the first and the last edge; those of one group that overlap count each. One pass over the
    intervals and one over groups x parts, whatever the intervals' lengths.

    Args:
        start_ns: when each interval begins.
        end_ns: when it ends.
        groups: its group, 0 .. ``count`` - 1.
        count: how many groups.
        edges: the parts' edges, rising.
    """
    parts = len(edges) - 1
    starts = np.clip(start_ns, edges[0], edges[-1])
    ends = np.maximum(np.clip(end_ns, edges[0], edges[-1]), starts)
    some = ends > starts
    if not some.all():
        starts, ends, groups = starts[some], ends[some], groups[some]
    first = np.searchsorted(edges, starts, side="right") - 1
    last = np.searchsorted(edges, ends, side="left") - 1
    base = groups * (parts + 1)
    size = count * (parts + 1)
    inside = first == last
    begins = np.where(inside, ends - starts, edges[first + 1] - starts).astype(np.float64)
    total = np.bincount(base + first, weights=begins, minlength=size)
    if not inside.all():
        across = ~inside
        base, first, last = base[across], first[across], last[across]
        total += np.bincount(base + last, weights=(ends[across] - edges[last]).astype(np.float64), minlength=size)
        opened = np.bincount(base + first + 1, minlength=size) - np.bincount(base + last, minlength=size)
        whole = np.cumsum(opened.reshape(count, parts + 1), axis=1)[:, :parts] * np.diff(edges)
        return np.asarray(total.reshape(count, parts + 1)[:, :parts] + whole, dtype=np.float64)
    return np.asarray(total.reshape(count, parts + 1)[:, :parts], dtype=np.float64)
