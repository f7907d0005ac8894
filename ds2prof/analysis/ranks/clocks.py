"""The ranks' clocks, aligned by the collectives that they left together.

Nobody can leave an all-reduce before everybody has come, and all leave it within the transfer's own jitter. Its ends,
each on its rank's clock, are therefore one moment: they differ by what the clocks differ, and by that jitter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.ranks.communication import NONE
from ds2prof.tables import BoolArray, IntArray

MIN_COLLECTIVES: Final = 3
"""With fewer there is no spread to tell an error from, and none is given."""
SPREAD_QUANTILE: Final = 0.95
_ROUNDS: Final = 8
_UNKNOWN: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class Clocks:
    """How far each lane's clock is ahead of its reference, and how well that is known.

    Attributes:
        offset_ns: to be subtracted from the lane's times.
        spread_ns: within this, 95 % of the lane's ends lie at the common end; ``NONE`` where too few were matched.
        matches: how many ends there are to tell from.
        reference: the lane that the offset is from: itself for one that shares no collective with another.
    """

    offset_ns: IntArray
    spread_ns: IntArray
    matches: IntArray
    reference: IntArray

    def error_ns(self, one: IntArray, other: IntArray) -> IntArray:
        """Error of the difference between times of two lanes; ``NONE`` where it is not known. 0 within one lane."""
        known = (self.spread_ns[one] >= 0) & (self.spread_ns[other] >= 0)
        known &= self.reference[one] == self.reference[other]
        error = np.where(known, self.spread_ns[one] + self.spread_ns[other], NONE)
        return np.where(one == other, 0, error)


def aligned(lane: IntArray, collective: IntArray, end_ns: IntArray, *, resolution_ns: IntArray) -> Clocks:
    """The clocks of the lanes, by ends of collectives that all leave together.

    Offsets and common ends are found in turns, each as the median of what the other says of it: ``end = common end +
    offset``. The error is stated as the spread of what is left over, not as the error of a median, since what biases
    all ends of a rank alike (its place in the ring) does not average out. At least the clock's own step. Blind spot: a
    clock that runs fast or slow through the window widens the spread; it is not corrected.

    Args:
        lane: of each end.
        collective: number of the collective that each end is of.
        end_ns: on its lane's clock.
        resolution_ns: the step of each lane's clock.
    """
    count = len(resolution_ns)
    matches = np.bincount(lane, minlength=count)
    offset = np.full(count, _UNKNOWN)
    reference = np.arange(count)
    while bool((pending := (offset == _UNKNOWN) & (matches > 0)).any()):
        first = int(np.argmax(np.where(pending, matches, -1)))
        offset[first] = 0
        _spread_out(first, offset, reference, (lane, collective, end_ns))
    offset[offset == _UNKNOWN] = 0
    _settle(offset, reference, (lane, collective, end_ns))
    common = medians(collective, end_ns - offset[lane])
    left = np.abs(end_ns - offset[lane] - common[collective])
    spread = np.maximum(quantiles(lane, left, count, SPREAD_QUANTILE), resolution_ns)
    return Clocks(offset, np.where(matches >= MIN_COLLECTIVES, spread, NONE), matches, reference)


Ends = tuple[IntArray, IntArray, IntArray]
"""(lane, collective, end_ns)"""


def _spread_out(first: int, offset: IntArray, reference: IntArray, ends: Ends) -> None:
    """Give an offset to each lane that is joined to ``first`` by collectives, through others if need be."""
    lane, collective, end_ns = ends
    while True:
        mine = (offset[lane] != _UNKNOWN) & (reference[lane] == first)
        has_end = np.zeros(int(collective.max()) + 1, dtype=np.bool_)
        has_end[collective[mine]] = True
        new = (offset[lane] == _UNKNOWN) & has_end[collective]
        if not new.any():
            return
        common = medians(collective[mine], end_ns[mine] - offset[lane[mine]])
        reached = np.unique(lane[new])
        offset[reached] = medians(lane[new], end_ns[new] - common[collective[new]])[reached]
        reference[reached] = first


def _settle(offset: IntArray, reference: IntArray, ends: Ends) -> None:
    """Turn by turn, until nothing changes by more than a nanosecond, the rounding of a median."""
    lane, collective, end_ns = ends
    if not len(lane):
        return
    known = np.unique(lane)
    for _ in range(_ROUNDS):
        before = offset.copy()
        common = medians(collective, end_ns - offset[lane])
        offset[known] = medians(lane, end_ns - common[collective])[known]
        offset -= offset[reference]
        if int(np.abs(offset - before).max()) <= 1:
            return


def medians(codes: IntArray, values: IntArray) -> IntArray:
    """The median of each code's values, the middle of two rounded down; 0 for a code that has none."""
    count = int(codes.max(initial=-1)) + 1
    ordered, first, size = _grouped(codes, values, count)
    found = np.zeros(count, dtype=np.int64)
    some = size > 0
    low = ordered[first[some] + (size[some] - 1) // 2]
    high = ordered[first[some] + size[some] // 2]
    found[some] = low + (high - low) // 2
    return found


def quantiles(codes: IntArray, values: IntArray, count: int, share: float) -> IntArray:
    """The least value of each code that ``share`` of its values do not exceed; 0 for a code that has none."""
    ordered, first, size = _grouped(codes, values, count)
    found = np.zeros(count, dtype=np.int64)
    some = size > 0
    place = np.ceil(share * size[some]).astype(np.int64) - 1
    found[some] = ordered[first[some] + place]
    return found


def _grouped(codes: IntArray, values: IntArray, count: int) -> tuple[IntArray, IntArray, IntArray]:
    """(values by code and size, where each code's begin, how many there are)."""
    ordered = values[np.lexsort((values, codes))]
    size = np.bincount(codes, minlength=count)
    return ordered, np.cumsum(size) - size, size


def seen(clocks: Clocks, lane: IntArray) -> BoolArray:
    """Mask of the rows whose lane has a clock of known error."""
    return np.asarray(clocks.spread_ns[lane] >= 0, dtype=np.bool_)
