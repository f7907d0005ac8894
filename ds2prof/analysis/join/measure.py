"""Utilization of groups of launches, with the bounds that what is not known leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import FloatArray, shares_ns
from ds2prof.analysis.join.joined import Joined
from ds2prof.analysis.join.work import EXTRAPOLATED, MATCHED, Work
from ds2prof.analysis.windows import TimeWindow, ends_ns
from ds2prof.tables import BoolArray, IntArray


@dataclass(frozen=True)
class Measured:
    """One pipe over groups of launches; an entry for each group, NaN where unknown.

    Attributes:
        utilization: work / (SM clock x time), over the launches whose work is known.
        low, high: the same over all launches, if those of unknown work did nothing, or as much as the pipe can.
        launches: how many launches have known work.
    """

    utilization: FloatArray
    low: FloatArray
    high: FloatArray
    launches: IntArray


class Groups:
    """Launches in groups, with the time of each group: a group's launches share its time, whatever others do then.

    Args:
        joined: the join.
        codes: the group of each row of the timeline's kernels; -1 for none.
        count: how many groups there are.
        window: what launches are clipped to; all of their time without.
    """

    def __init__(self, joined: Joined, codes: IntArray, count: int, window: TimeWindow | None = None) -> None:
        self._joined, self.count = joined, count
        kernels = joined.timeline.table("kernels")
        starts, ends = kernels.ints("start_ns"), ends_ns(kernels)
        length = ends - starts
        inside = codes >= 0
        if window is not None:
            inside &= (ends >= window.start_ns) & (starts <= window.stop_ns)
            inside &= (length == 0) | ((ends > window.start_ns) & (starts < window.stop_ns))
            starts, ends = np.maximum(starts, window.start_ns), np.minimum(ends, window.stop_ns)
        self.rows = np.flatnonzero(inside)
        self.codes = codes[self.rows]
        starts, ends, length = starts[self.rows], ends[self.rows], length[self.rows]
        self._part = np.divide(ends - starts, length, out=np.ones(len(length)), where=length > 0)
        self._hz = _clocks(joined)[:, self.rows]
        lanes, _ = combined([self.codes, kernels.ints("device", null=-1)[self.rows]])
        self._starts, self._ends = _apart(starts, ends, lanes)
        self.shares_ns = shares_ns(self._starts, self._ends)
        self._unknown_ns: dict[bytes, FloatArray] = {}

    def total(self, values: FloatArray) -> FloatArray:
        """Sum of an entry for each of ``rows`` by group."""
        return np.bincount(self.codes, weights=values, minlength=self.count).astype(np.float64)

    def busy_ns(self, chosen: BoolArray | None = None) -> FloatArray:
        """The time of each group, or that part of it that falls to the chosen of ``rows``."""
        return self.total(self.shares_ns if chosen is None else np.where(chosen, self.shares_ns, 0.0))

    def measured(self, pipe: str, *, extrapolated: bool) -> Measured:
        """The utilization of a pipe; with ``extrapolated``, launches outside of what was captured count as known.

        The upper bound is of the time in which a launch of unknown work ran, beside others or not, at 100 %.
        """
        work, state = self._joined.work[pipe], self._joined.state[self.rows]
        value, low, high = (side[self.rows] * self._part for side in _sides(work))
        known = (state == MATCHED) | ((state == EXTRAPOLATED) if extrapolated else False)
        known &= ~np.isnan(value)
        clock, slow, fast = self._hz
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = _sum(self, known, value) / self.total(np.where(known, self.shares_ns * clock, 0.0))
            least = _sum(self, known, low) / self.total(self.shares_ns * fast)
            unknown = self.total(self._unknown(~known) * slow)
            most = (_sum(self, known, high) + unknown) / self.total(self.shares_ns * slow)
        most = np.minimum(most, 1.0)
        number = np.bincount(self.codes[known], minlength=self.count)
        return Measured(np.clip(mean, np.nan_to_num(least), np.nan_to_num(most, nan=np.inf)), least, most, number)

    def _unknown(self, unknown: BoolArray) -> FloatArray:
        """The share of each row in the time in which any of the unknown ran."""
        key = np.packbits(unknown).tobytes()
        if key not in self._unknown_ns:
            found = np.zeros(len(self.rows))
            found[unknown] = shares_ns(self._starts[unknown], self._ends[unknown])
            self._unknown_ns[key] = found
        return self._unknown_ns[key]


def _sides(work: Work) -> tuple[FloatArray, FloatArray, FloatArray]:
    return work.value, work.low, work.high


def _sum(groups: Groups, known: BoolArray, cycles: FloatArray) -> FloatArray:
    """The known work of each group, in cycles times nanoseconds a second, as the clocks times shares are."""
    return groups.total(np.where(known, cycles, 0.0)) * 1e9


def _clocks(joined: Joined) -> FloatArray:
    """(clock, slowest, fastest) of each row of the timeline's kernels, Hz; NaN where unknown."""
    kernels = joined.timeline.table("kernels")
    found = np.full((3, len(kernels)), np.nan)
    present, devices = kernels["device"].present, kernels.ints("device")
    for each in joined.devices:
        rows = ~present if each.device is None else present & (devices == each.device)
        for side, hz in enumerate((each.clock.hz, each.clock.low_hz, each.clock.high_hz)):
            found[side, rows] = np.nan if hz is None else hz
    return found


def _apart(starts: IntArray, ends: IntArray, lanes: IntArray) -> tuple[IntArray, IntArray]:
    """The intervals moved so that those of different lanes never overlap: one behind the other, as they are."""
    if not len(starts):
        return starts, ends
    count = int(lanes.max()) + 1
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(first, lanes, starts)
    np.maximum.at(last, lanes, ends)
    offset = np.concatenate(([0], np.cumsum(last - first + 1)[:-1])) - first
    return starts + offset[lanes], ends + offset[lanes]
