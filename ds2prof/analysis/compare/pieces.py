"""Kernels cut where steps meet: how much exclusive time of which kernel fell into which step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ds2prof.analysis.intervals import FloatArray, merged, shares_ns
from ds2prof.analysis.totals import rows_of
from ds2prof.analysis.windows import ends_ns
from ds2prof.tables import BoolArray, IntArray, Profile


@dataclass(frozen=True, eq=False)
class Pieces:
    """Parts of rows, as arrays of equal length.

    Attributes:
        row: whose part.
        unit: place of the unit that it ran in.
        share_ns: exclusive time: where rows ran together each instant is shared out.
        is_first: whether the row began in it.
    """

    row: IntArray
    unit: IntArray
    share_ns: FloatArray
    is_first: BoolArray

    @classmethod
    def whole(cls, dur_ns: IntArray) -> Pieces:
        """Every row in one unit, with its whole duration."""
        count = len(dur_ns)
        zeros = np.zeros(count, dtype=np.int64)
        return cls(np.arange(count), zeros, dur_ns.astype(np.float64), np.ones(count, dtype=np.bool_))

    @classmethod
    def joined(cls, parts: Sequence[Pieces]) -> Pieces:
        """The pieces of several devices."""
        if len(parts) == 1:
            return parts[0]
        names = ("row", "unit", "share_ns", "is_first")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def pieces_of(profile: Profile, device: int | None, times_ns: IntArray, units: IntArray) -> Pieces:
    """The pieces of one device's kernels between the times; the k-th stretch is of unit ``units[k]``, -1 of none.

    The shares of a stretch sum to the length of the union of the kernels in it.
    """
    kernels = profile.table("kernels")
    rows = np.flatnonzero(rows_of(kernels, device))
    starts, ends = kernels.ints("start_ns")[rows], ends_ns(kernels)[rows]
    touching = (starts < times_ns[-1]) & ((ends > times_ns[0]) | (starts >= times_ns[0]))
    rows, starts, ends = rows[touching], starts[touching], ends[touching]
    last = len(units) - 1
    first = np.clip(np.searchsorted(times_ns, starts, side="right") - 1, 0, last)
    final = np.maximum(np.clip(np.searchsorted(times_ns, ends, side="left") - 1, 0, last), first)
    counts = final - first + 1
    of = np.repeat(np.arange(len(rows)), counts)
    stretch = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) + first[of]
    shares = shares_ns(starts, ends)[of]
    is_cut = (starts < times_ns[0]) | (ends > times_ns[-1]) | (counts > 1)
    cut = np.flatnonzero(is_cut[of])
    if len(cut):  # few are: only what runs beside them is walked through
        begins = np.maximum(starts[of[cut]], times_ns[stretch[cut]])
        stops = np.maximum(np.minimum(ends[of[cut]], times_ns[stretch[cut] + 1]), begins)
        beside = _beside(starts, ends, is_cut)
        reached = _reached(starts[beside], ends[beside], np.concatenate((begins, stops)))
        shares[cut] = reached[len(cut) :] - reached[: len(cut)]
    kept = units[stretch] >= 0
    is_first = (stretch == first[of]) & (starts[of] >= times_ns[0])
    return Pieces(rows[of][kept], units[stretch][kept], shares[kept], is_first[kept])


def _beside(starts: IntArray, ends: IntArray, chosen: BoolArray) -> IntArray:
    """The rows that run at an instant at which a chosen one does, those among them."""
    begins, stops = merged(starts[chosen], ends[chosen])
    before = np.searchsorted(begins, ends, side="left")
    return np.flatnonzero((np.searchsorted(stops, starts, side="right") < before) | chosen)


def _reached(starts: IntArray, ends: IntArray, times: IntArray) -> FloatArray:
    """The time that one row alone would have had up to each time: each instant over how many ran then."""
    if not len(starts):
        return np.zeros(len(times))
    edges = np.concatenate((starts, ends))
    order = np.argsort(edges, kind="stable")  # two runs that are in order already, or nearly: merged, not sorted
    step = np.where(order < len(starts), 1, -1)
    edges = edges[order]
    last = np.flatnonzero(np.append(edges[1:] > edges[:-1], True))
    running = np.cumsum(step)[last]
    edges = edges[last]
    rate = np.divide(1.0, running, out=np.zeros(len(running)), where=running > 0)
    reached = np.concatenate(([0.0], np.cumsum(np.diff(edges) * rate[:-1])))
    place = np.maximum(np.searchsorted(edges, times, side="right") - 1, 0)
    return np.asarray(reached[place] + (times - edges[place]) * rate[place], dtype=np.float64)
