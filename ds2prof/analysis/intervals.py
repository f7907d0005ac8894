"""Arithmetic on sets of half-open intervals [start, end) in integer nanoseconds, vectorized.

Unions count an overlap once. Shares give each interval its part of the union: where c intervals are open at once each
gets 1/c of that time, so that the shares of all of them sum to the union.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.tables import IntArray

FloatArray = npt.NDArray[np.float64]
_PART_ROWS: Final = 1 << 17
_ROUNDS: Final = 48


def merged(start_ns: IntArray, end_ns: IntArray) -> tuple[IntArray, IntArray]:
    """The union as disjoint intervals in order; intervals that touch become one, empty ones vanish."""
    kept = end_ns > start_ns
    if not kept.all():
        start_ns, end_ns = start_ns[kept], end_ns[kept]
    if bool((start_ns[1:] < start_ns[:-1]).any()):
        order = np.argsort(start_ns, kind="stable")
        start_ns, end_ns = start_ns[order], end_ns[order]
    if not len(start_ns):
        return start_ns, end_ns
    reach = np.maximum.accumulate(end_ns)
    opens = np.concatenate(([True], start_ns[1:] > reach[:-1]))
    closes = np.concatenate((opens[1:], [True]))
    return start_ns[opens], reach[closes]


def union_ns(start_ns: IntArray, end_ns: IntArray) -> int:
    """Length of the union."""
    starts, ends = merged(start_ns, end_ns)
    return int((ends - starts).sum())


def clipped(start_ns: IntArray, end_ns: IntArray, *, lo_ns: int, hi_ns: int) -> tuple[IntArray, IntArray]:
    """The intervals cut at the edges of [lo, hi); those outside become empty."""
    starts = np.clip(start_ns, lo_ns, hi_ns)
    return starts, np.maximum(np.clip(end_ns, lo_ns, hi_ns), starts)


def _edges(start_ns: IntArray, end_ns: IntArray) -> IntArray:
    """Every start and end once, in order."""
    # np.unique hashes, which takes several times as long as merging what is mostly in order already.
    times = np.sort(np.concatenate((start_ns, end_ns)), kind="stable")
    return np.concatenate((times[:1], times[1:][times[1:] > times[:-1]]))


def shares_ns(start_ns: IntArray, end_ns: IntArray) -> FloatArray:
    """Each interval's share of the union, float ns: the integral of 1/c(t) over it, c(t) being how many are open."""
    if bool((start_ns[1:] < start_ns[:-1]).any()):
        order = np.argsort(start_ns, kind="stable")
        unsorted = np.empty(len(order))
        unsorted[order] = shares_ns(start_ns[order], end_ns[order])
        return unsorted
    edges = _cuts(start_ns, end_ns)
    parts = [_shares_of(start_ns[lo:hi], end_ns[lo:hi]) for lo, hi in pairwise(edges)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _cuts(start_ns: IntArray, end_ns: IntArray) -> list[int]:
    """Rows at which intervals in order of their starts can be taken apart: nothing before is open there any more.

    Parts that the processor's cache holds take half the time.
    """
    if not len(start_ns):
        return []
    reach = np.maximum.accumulate(end_ns)
    free = np.flatnonzero(start_ns[1:] >= reach[:-1]) + 1
    wanted = np.arange(_PART_ROWS, len(start_ns), _PART_ROWS)
    found = np.searchsorted(free, wanted)
    return [0, *np.unique(free[found[found < len(free)]]).tolist(), len(start_ns)]


def _shares_of(start_ns: IntArray, end_ns: IntArray) -> FloatArray:
    """:func:`shares_ns` of intervals in order of their starts; what overlaps nothing is its own share."""
    count = len(start_ns)
    alone = np.ones(count, dtype=np.bool_)
    alone[1:] = start_ns[1:] >= np.maximum.accumulate(end_ns)[:-1]
    alone[:-1] &= alone[1:] | (end_ns[:-1] <= start_ns[1:])
    found = (end_ns - start_ns).astype(np.float64)
    if not alone.all():
        crowded = np.flatnonzero(~alone)
        found[crowded] = _shared(start_ns[crowded], end_ns[crowded])
    return found


def _shared(start_ns: IntArray, end_ns: IntArray) -> FloatArray:
    count = len(start_ns)
    times = np.concatenate((start_ns, end_ns))
    order = np.argsort(times, kind="stable")
    count_open = np.cumsum(np.where(order < count, np.int32(1), np.int32(-1)), dtype=np.int32)[:-1]
    lengths = np.diff(times[order])
    parts = np.divide(lengths, count_open, out=np.zeros(len(lengths)), where=count_open > 0)
    reached = np.zeros(2 * count)
    reached[order[1:]] = np.cumsum(parts)
    return np.asarray(reached[count:] - reached[:count], dtype=np.float64)


def _reached(times_ns: IntArray, start_ns: IntArray, end_ns: IntArray) -> FloatArray:
    """At each time, the integral of 1/c from the first time on; ``times_ns`` holds every start and end."""
    if not len(times_ns):
        return np.zeros(0)
    change = np.bincount(np.searchsorted(times_ns, start_ns), minlength=len(times_ns))
    change -= np.bincount(np.searchsorted(times_ns, end_ns), minlength=len(times_ns))
    count_open = np.cumsum(change)[:-1]
    lengths = np.diff(times_ns)
    parts = np.divide(lengths, count_open, out=np.zeros(len(lengths)), where=count_open > 0)
    return np.concatenate(([0.0], np.cumsum(parts)))


def self_shares_ns(start_ns: IntArray, end_ns: IntArray, lanes: IntArray) -> FloatArray:
    """Each interval's share of the union where intervals nest, float ns.

    Each instant belongs to the innermost interval of its lane (thread), divided evenly among the lanes busy then.
    """
    shares = np.zeros(len(start_ns))
    lane_rows = [np.flatnonzero(lanes == lane) for lane in np.unique(lanes).tolist()]
    unions = [merged(start_ns[rows], end_ns[rows]) for rows in lane_rows]
    if not unions:
        return shares
    times = _edges(start_ns, end_ns)
    reached = _reached(times, *(np.concatenate(side) for side in zip(*unions, strict=True)))
    for rows in lane_rows:
        starts, ends = start_ns[rows], end_ns[rows]
        edges = _edges(starts, ends)
        owner = innermost(starts, ends, edges[:-1])
        gained = np.diff(reached[np.searchsorted(times, edges)])
        shares[rows] = np.bincount(owner[owner >= 0], weights=gained[owner >= 0], minlength=len(rows))
    return shares


def rounded_to_sum(parts: FloatArray, total: int) -> IntArray:
    """The parts as integers that sum to ``total`` exactly (largest remainders are rounded up first).

    A part of nothing is the last to be touched, so that it stays nothing.
    """
    floors = np.floor(parts).astype(np.int64)
    missing = total - int(floors.sum())
    if missing and len(floors):
        able = parts > 0 if missing > 0 else floors > 0
        order = np.lexsort((floors - parts if missing > 0 else parts - floors, ~able))
        each, rest = divmod(abs(missing), len(floors))
        change = np.full(len(floors), each, dtype=np.int64)
        change[order[:rest]] += 1
        floors += change if missing > 0 else -change
    return floors


def parents(start_ns: IntArray, end_ns: IntArray) -> IntArray:
    """For intervals of one thread, the row of the innermost other interval that contains each; -1 for none.

    Of two equal intervals the earlier row is the parent. Intervals that overlap without nesting are siblings.
    """
    order = np.lexsort((-end_ns, start_ns))
    ends = end_ns[order]
    place = _last_reaching(ends, np.maximum(ends, start_ns[order] + 1))
    found = np.full(len(start_ns), -1, dtype=np.int64)
    found[order] = np.where(place >= 0, order[place], -1)
    return found


def _last_reaching(ends: IntArray, wanted: IntArray) -> IntArray:
    """For each place, the last one before it whose end reaches what is wanted there; -1 for none.

    ``wanted`` exceeds all starts so far and is no less than the end. Each place looks at the one before it, then on
    from what that one has reached by then: siblings take the logarithm of their number. What such steps do not find
    soon (a steep nesting just passed) a stack does.
    """
    found = np.arange(-1, len(ends) - 1)
    open_places = np.flatnonzero(found >= 0)
    for _ in range(_ROUNDS):
        before = found[open_places]
        short = ends[before] < wanted[open_places]
        open_places, before = open_places[short], before[short]
        if not len(open_places):
            return found
        # What lies between ``before`` and the place that it has reached falls short of what is wanted there: here too.
        found[open_places] = found[before]
        open_places = open_places[found[open_places] >= 0]
    return _last_reaching_by_stack(ends, wanted)


def _last_reaching_by_stack(ends: IntArray, wanted: IntArray) -> IntArray:
    found = np.full(len(ends), -1, dtype=np.int64)
    stack: list[tuple[int, int]] = []
    for place, (end, least) in enumerate(zip(ends.tolist(), wanted.tolist(), strict=True)):
        while stack and stack[-1][0] < least:
            stack.pop()
        if stack:
            found[place] = stack[-1][1]
        stack.append((end, place))
    return found


def innermost(start_ns: IntArray, end_ns: IntArray, times_ns: IntArray) -> IntArray:
    """For each time, the row of the interval that is open then and began last; -1 where none is open.

    Work is intervals times the depth of nesting, and a search for each time; times in order are not searched.
    """
    if len(times_ns) <= 2 * len(start_ns):
        return _innermost_by_search(start_ns, end_ns, times_ns)
    edges = _edges(start_ns, end_ns)
    states = np.concatenate(([-1], _innermost_by_search(start_ns, end_ns, edges)))  # from each edge to the next
    if bool((times_ns[1:] < times_ns[:-1]).any()):
        return np.asarray(states[np.searchsorted(edges, times_ns, side="right")])
    first = np.searchsorted(times_ns, edges)
    return np.repeat(states, np.diff(first, prepend=0, append=len(times_ns)))


def _innermost_by_search(start_ns: IntArray, end_ns: IntArray, times_ns: IntArray) -> IntArray:
    """:func:`innermost`, from each time's last start outwards; work is (intervals + times) times the depth."""
    found = np.full(len(times_ns), -1, dtype=np.int64)
    if not len(start_ns):
        return found
    parent = parents(start_ns, end_ns)
    order = np.lexsort((-end_ns, start_ns))
    position = np.searchsorted(start_ns[order], times_ns, side="right") - 1
    candidate = np.where(position >= 0, order[position], -1)
    pending = np.flatnonzero(candidate >= 0)
    while len(pending):
        rows = candidate[pending]
        is_open = end_ns[rows] > times_ns[pending]
        found[pending[is_open]] = rows[is_open]
        pending = pending[~is_open]
        candidate[pending] = parent[candidate[pending]]
        pending = pending[candidate[pending] >= 0]
    return found
