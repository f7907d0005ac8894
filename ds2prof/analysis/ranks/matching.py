"""Which communication kernels of different ranks are the same collective.

By (process group, number in the group) where the source tells the number. Else by (process group, kind, size where all
ranks have the same, iteration, order among those): ranks call a group's collectives in one order, but their windows
need not begin together. Where two ranks count differently under one such key, the order says nothing, and none of
them is matched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ds2prof.analysis.groups import combined
from ds2prof.analysis.ranks.communication import NONE, PAIRWISE, SAME_SIZE, Communication
from ds2prof.tables import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class Events:
    """The communication kernels of all lanes, with what they are matched by: arrays of equal length.

    Attributes:
        lane: place of the lane.
        start_ns, end_ns: on that lane's clock.
        kind, group, iteration: codes into ``kinds``, ``groups``, ``iterations``, common to all lanes.
        collective: number of the collective, in order of its first row; ``NONE`` where it matched no other rank's.
        order: which of its key it is, where it was matched by order; ``NONE`` where by its sequence number.
    """

    lane: IntArray
    start_ns: IntArray
    end_ns: IntArray
    kind: IntArray
    group: IntArray
    iteration: IntArray
    sequence: IntArray
    in_bytes: IntArray
    group_size: IntArray
    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    iterations: tuple[str, ...]
    collective: IntArray
    order: IntArray

    def __len__(self) -> int:
        return len(self.lane)

    @property
    def collectives(self) -> int:
        """How many collectives were matched."""
        return int(self.collective.max(initial=NONE)) + 1

    def has_kind(self, kinds: frozenset[str]) -> BoolArray:
        """Mask of the rows of these kinds."""
        return np.array([*(kind in kinds for kind in self.kinds), False], dtype=np.bool_)[self.kind]


def matched(lanes: Sequence[Communication]) -> Events:
    """The communication kernels of all lanes, matched."""
    lane = np.repeat(np.arange(len(lanes)), [len(each) for each in lanes])
    kinds, kind = _merged([(each.kinds, each.kind) for each in lanes])
    groups, group = _merged([(each.groups, each.group) for each in lanes])
    iterations, iteration = _merged([(each.iterations, each.iteration) for each in lanes])
    start_ns, end_ns, sequence, in_bytes, group_size = (
        _joined([getattr(each, name) for each in lanes])
        for name in ("start_ns", "end_ns", "sequence", "in_bytes", "group_size")
    )
    same_size = np.array([*(text in SAME_SIZE for text in kinds), False], dtype=np.bool_)[kind]
    pairwise = np.array([*(text in PAIRWISE for text in kinds), False], dtype=np.bool_)[kind]
    numbered = sequence >= 0
    size = np.where(same_size & ~numbered, in_bytes, NONE)
    base, _ = combined([group, kind, sequence, size, np.where(numbered, NONE, iteration)])
    order = _order(lane, base)
    candidates = ~pairwise & (group_size != 1) & (numbered | _evenly_counted(lane, base))
    collective = _numbered(base, order, candidates)
    return Events(
        *(lane, start_ns, end_ns, kind, group, iteration, sequence, in_bytes, group_size),
        *(kinds, groups, iterations, collective, np.where(numbered, NONE, order)),
    )


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _merged(coded: Sequence[tuple[Sequence[str], IntArray]]) -> tuple[tuple[str, ...], IntArray]:
    """(distinct texts of all lanes, code of each row); an unknown stays ``NONE``."""
    code_of: dict[str, int] = {}
    parts = []
    for texts, codes in coded:
        new = np.array([*(code_of.setdefault(text, len(code_of)) for text in texts), NONE], dtype=np.int64)
        parts.append(new[codes])
    return tuple(code_of), _joined(parts)


def _order(lane: IntArray, base: IntArray) -> IntArray:
    """For each row, how many of its lane with its key come before it; a lane's rows are in order of their starts."""
    keys, _ = combined([lane, base])
    by_key = np.argsort(keys, kind="stable")
    ordered = keys[by_key]
    first = np.searchsorted(ordered, ordered)
    order = np.zeros(len(keys), dtype=np.int64)
    order[by_key] = np.arange(len(keys)) - first
    return order


def _evenly_counted(lane: IntArray, base: IntArray) -> BoolArray:
    """Mask of the rows whose key every lane that has it at all has equally often."""
    keys, rows = combined([lane, base])
    if not len(lane):
        return np.zeros(0, dtype=np.bool_)
    rows = np.unique(keys, return_index=True)[1]
    counts = np.bincount(keys)
    owner = base[rows]
    low = np.full(int(base.max()) + 1, np.iinfo(np.int64).max)
    high = np.zeros(len(low), dtype=np.int64)
    np.minimum.at(low, owner, counts)
    np.maximum.at(high, owner, counts)
    return np.asarray((low == high)[base], dtype=np.bool_)


def _numbered(base: IntArray, order: IntArray, candidates: BoolArray) -> IntArray:
    """The number of each row's collective, in order of first rows; ``NONE`` where no other lane has it."""
    numbers = np.full(len(base), NONE, dtype=np.int64)
    rows = np.flatnonzero(candidates)
    keys, _ = combined([base[rows], order[rows]]) if len(rows) else (rows, rows)
    shared = np.bincount(keys)[keys] > 1 if len(rows) else np.zeros(0, dtype=np.bool_)
    _, first, codes = np.unique(keys[shared], return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first, kind="stable")] = np.arange(len(first))
    numbers[rows[shared]] = place[codes]
    return numbers
