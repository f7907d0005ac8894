"""The lanes of several profiles put together: collectives matched, clocks aligned, waits worked out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ds2prof.analysis.ranks.clocks import Clocks, aligned
from ds2prof.analysis.ranks.communication import NONE, SYMMETRIC
from ds2prof.analysis.ranks.lanes import Lane
from ds2prof.analysis.ranks.matching import Events, matched
from ds2prof.tables import BoolArray, IntArray

_LATEST: Final = np.iinfo(np.int64).min
_EARLIEST: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Collectives:
    """The matched collectives, as arrays of equal length.

    Attributes:
        row: a row of the events that is of it.
        ranks: how many of the lanes took part.
        transfer_ns: the shortest duration: that of whoever came last, who waited for nobody.
        longest_ns: the longest.
        first_start_ns: on the aligned clock.
        last: lane of the last to come, on the aligned clock.
        skew_ns: from the first to come to the last, on the aligned clock.
        error_ns: of the skew; ``NONE`` where not known.
        lead_ns: how much later the last came than the one before it.
        lead_error_ns: of that; ``NONE`` where not known.
        is_symmetric: nobody leaves it before everybody has come.
        is_whole: all of its ranks are here, as far as can be told, and none of them twice.
    """

    row: IntArray
    ranks: IntArray
    transfer_ns: IntArray
    longest_ns: IntArray
    first_start_ns: IntArray
    last: IntArray
    skew_ns: IntArray
    error_ns: IntArray
    lead_ns: IntArray
    lead_error_ns: IntArray
    is_symmetric: BoolArray
    is_whole: BoolArray

    def __len__(self) -> int:
        return len(self.row)

    @property
    def last_is_known(self) -> BoolArray:
        """Mask of those whose last comer can be named: all ranks are here, and its lead is beyond the error."""
        known = self.is_symmetric & self.is_whole & (self.lead_error_ns >= 0)
        return np.asarray(known & (self.lead_ns > self.lead_error_ns), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Waits:
    """Who waited for whom: one row a collective and rank that waited longer than the alignment's error.

    Attributes:
        waiting, straggler: lanes: who waited, and who came last.
        collective: in which.
        wait_ns: from the one's start to the other's, on the aligned clock.
        error_ns: of that.
        below: how many waits were no longer than their error, and name nobody.
    """

    waiting: IntArray
    straggler: IntArray
    collective: IntArray
    wait_ns: IntArray
    error_ns: IntArray
    below: int


class Run:
    """Lanes of one run, in order of their ranks.

    Attributes:
        lanes: the lanes.
        labels: what stands for each: its rank; its place from 0 where a rank is unknown or comes twice.
        by_place: whether the labels are places.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        ranks = [lane.rank for lane in lanes]
        self.by_place = None in ranks or max(Counter(ranks).values(), default=0) > 1
        self.lanes = list(lanes) if self.by_place else sorted(lanes, key=lambda lane: lane.rank or 0)
        self.labels = [place if self.by_place else lane.rank or 0 for place, lane in enumerate(self.lanes)]

    @cached_property
    def events(self) -> Events:
        """The communication kernels of all lanes, matched."""
        return matched([lane.communication for lane in self.lanes])

    @cached_property
    def clocks(self) -> Clocks:
        """The lanes' clocks, aligned."""
        found = self.events
        rows = np.flatnonzero((found.collective >= 0) & found.has_kind(SYMMETRIC))
        resolution_ns = np.array([lane.resolution_ns for lane in self.lanes], dtype=np.int64)
        return aligned(found.lane[rows], found.collective[rows], found.end_ns[rows], resolution_ns=resolution_ns)

    @cached_property
    def starts_ns(self) -> IntArray:
        """When each communication kernel began, on the aligned clock."""
        return np.asarray(self.events.start_ns - self.clocks.offset_ns[self.events.lane], dtype=np.int64)

    @cached_property
    def collectives(self) -> Collectives:
        """The matched collectives."""
        return _collectives(self.events, self.starts_ns, self.clocks, world_size=self._world_size, rank=self._ranks)

    @property
    def _ranks(self) -> IntArray:
        """A number for each lane's rank: the same for lanes of one rank, another for each whose rank is unknown."""
        known = [lane.rank for lane in self.lanes]
        return np.array(
            [place if rank is None else known.index(rank) for place, rank in enumerate(known)], dtype=np.int64
        )

    @property
    def _world_size(self) -> int | None:
        return max((lane.world_size for lane in self.lanes if lane.world_size is not None), default=None)

    @cached_property
    def waits(self) -> Waits:
        """Who waited for whom in which collective: from the start of the one to the start of the last to come."""
        found, each = self.events, self.collectives
        number = found.collective
        rows = np.flatnonzero((number >= 0) & (each.is_symmetric & each.is_whole)[number]) if len(each) else number[:0]
        number = number[rows]
        waiting, last = found.lane[rows], each.last[number]
        wait_ns = (each.first_start_ns + each.skew_ns)[number] - self.starts_ns[rows]
        error_ns = self.clocks.error_ns(waiting, last)
        named = (waiting != last) & (error_ns >= 0) & (wait_ns > error_ns)
        below = int(((waiting != last) & ~named).sum())
        return Waits(waiting[named], last[named], number[named], wait_ns[named], error_ns[named], below)

    @cached_property
    def can_be_named(self) -> BoolArray:
        """Mask of the lanes whose waits can be told: with a clock of known error, in a whole symmetric collective."""
        found, each = self.events, self.collectives
        rows = np.flatnonzero(found.collective >= 0)
        rows = rows[(each.is_symmetric & each.is_whole)[found.collective[rows]]]
        takes_part = np.bincount(found.lane[rows], minlength=len(self.lanes)) > 0
        return np.asarray(takes_part & (self.clocks.spread_ns >= 0), dtype=np.bool_)


def run_of(lanes: Sequence[Lane]) -> Run:
    """The lanes as one run."""
    return Run(lanes)


def _collectives(
    found: Events, starts_ns: IntArray, clocks: Clocks, *, world_size: int | None, rank: IntArray
) -> Collectives:
    rows = np.flatnonzero(found.collective >= 0)
    count = found.collectives
    number, starts, lane = found.collective[rows], starts_ns[rows], found.lane[rows]
    order = np.lexsort((starts, number))
    ranks = np.bincount(number, minlength=count)
    stop = np.cumsum(ranks)
    first, last, second = order[stop - ranks], order[stop - 1], order[stop - 2]
    durations = (found.end_ns - found.start_ns)[rows]
    transfer_ns, longest_ns = np.full(count, _EARLIEST), np.full(count, _LATEST)
    np.minimum.at(transfer_ns, number, durations)
    np.maximum.at(longest_ns, number, durations)
    distinct = np.bincount(np.unique(number * max(len(rank), 1) + rank[lane]) // max(len(rank), 1), minlength=count)
    size = np.full(count, NONE, dtype=np.int64)
    np.maximum.at(size, number, found.group_size[rows])
    size = np.where(size < 0, NONE if world_size is None else world_size, size)
    return Collectives(
        row=rows[first],
        ranks=ranks,
        transfer_ns=transfer_ns,
        longest_ns=longest_ns,
        first_start_ns=starts[first],
        last=lane[last],
        skew_ns=starts[last] - starts[first],
        error_ns=clocks.error_ns(lane[first], lane[last]),
        lead_ns=starts[last] - starts[second],
        lead_error_ns=clocks.error_ns(lane[second], lane[last]),
        is_symmetric=found.has_kind(SYMMETRIC)[rows[first]],
        is_whole=(distinct >= size) & (distinct == ranks),
    )
