"""Which launch of the counters file is which launch of the timeline.

*Matched* is a launch of a captured stretch whose own counters were read. *Extrapolated* is one outside of the captured
stretches whose key was captured. What is neither is *unmatched*.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.join.alignment import aligned
from ds2prof.analysis.join.places import Place, places
from ds2prof.analysis.join.sides import Side
from ds2prof.tables import BoolArray, IntArray

_SAME_STREAMS: Final = 0.95
_MOST_CELLS: Final = 1 << 25
_SUMMED: Final = "the counters are sums over the calls of a kernel: no launch is matched, all are extrapolated"
_ROUNDS: Final = 4
_REACH: Final = 64
"""Launches that streams may have reordered are looked for this far from where they belong."""


Found = tuple[IntArray, IntArray]
"""(positions on the timeline, positions in the counters file) of pairs."""


@dataclass(frozen=True)
class Matches:
    """What was found for the launches of one device, in launch order on both sides.

    Attributes:
        timeline, counters: the two sides.
        counter_of: for each launch of the timeline, the position of its own counters; -1 for none.
        captured: whether it lies in a captured stretch.
        counters_captured: the same for each launch of the counters file.
        occurrence, occurrences: which launch of its key this is within its stretch, and of how many.
        counter_occurrence, counter_occurrences: the same for the counters file.
        notes: how it was done.
    """

    timeline: Side
    counters: Side
    counter_of: IntArray
    captured: BoolArray
    counters_captured: BoolArray
    occurrence: IntArray
    occurrences: IntArray
    counter_occurrence: IntArray
    counter_occurrences: IntArray
    notes: tuple[str, ...]


def matches(timeline: Side, counters: Side, *, summed: bool = False) -> Matches:
    """The pairs of all captured stretches; none where the counters are sums over the calls of a kernel."""
    found, notes = ([], (_SUMMED,)) if summed else places(timeline, counters)
    counter_of = np.full(len(timeline.rows), -1, dtype=np.int64)
    captured, theirs_captured = (np.zeros(len(side.rows), dtype=np.bool_) for side in (counters, timeline))
    for place in found:
        theirs, own = pairs(timeline.of(place.timeline), counters.of(place.counters))
        counter_of[place.timeline[theirs]] = place.counters[own]
        theirs_captured[place.timeline if place.exact else _between(place, theirs)] = True
        captured[place.counters] = True
    return Matches(
        timeline,
        counters,
        counter_of,
        theirs_captured,
        captured,
        *occurrences(timeline.iterations, timeline.keys),
        *occurrences(counters.iterations, counters.keys),
        notes,
    )


def _between(place: Place, matched: IntArray) -> IntArray:
    """The positions from the first to the last matched launch of a place whose edges are not known."""
    if not len(matched):
        return place.timeline[:0]
    return place.timeline[int(matched.min()) : int(matched.max()) + 1]


def occurrences(stretches: IntArray, keys: IntArray) -> Found:
    """(for each launch, how many of its key came before it in its stretch; how many there are in it)."""
    order = np.lexsort((keys, stretches))
    sorted_keys, sorted_stretches = keys[order], stretches[order]
    opens = np.ones(len(order), dtype=np.bool_)
    opens[1:] = (sorted_keys[1:] != sorted_keys[:-1]) | (sorted_stretches[1:] != sorted_stretches[:-1])
    starts = np.flatnonzero(opens)
    group = np.cumsum(opens) - 1
    nth, many = np.empty(len(order), dtype=np.int64), np.empty(len(order), dtype=np.int64)
    nth[order] = np.arange(len(order)) - starts[group] if len(order) else 0
    many[order] = np.diff(np.append(starts, len(order)))[group] if len(order) else 0
    return nth, many


def pairs(timeline: Side, counters: Side) -> Found:
    """(positions in the timeline's stretch, positions in the counters'): each launch with its own counters.

    The order of launches tells which is which (:mod:`.alignment`). Where both files have several streams, and the
    streams of one can be told from those of the other, each stream is aligned on its own, for the order between streams
    is chance. Where they cannot, launches left over are paired with those of their key that are nearest.
    """
    if np.array_equal(timeline.keys, counters.keys) and bool((timeline.keys >= 0).all()):
        everything = np.arange(len(timeline.keys))
        return everything, everything
    streams = [np.unique(side.streams) for side in (timeline, counters)]
    several = max(len(found) for found in streams) > 1
    by_stream = _same_streams(timeline, counters, streams) if min(len(found) for found in streams) > 1 else None
    if by_stream is not None:
        return _together([_aligned_at(timeline, counters, theirs, own) for theirs, own in by_stream])
    found = aligned(timeline.keys, counters.keys)
    return _with_nearest(timeline.keys, counters.keys, found) if several else found


def _aligned_at(timeline: Side, counters: Side, theirs: IntArray, own: IntArray) -> Found:
    left, right = aligned(timeline.keys[theirs], counters.keys[own])
    return theirs[left], own[right]


def _together(parts: Sequence[Found]) -> Found:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _same_streams(timeline: Side, counters: Side, streams: Sequence[IntArray]) -> list[Found] | None:
    """The launches of streams that are the same in both files; None where the streams do not correspond.

    Two streams are the same that have most keys in common (of equal ones, those of one number), taken from the largest
    agreement down. They correspond if nearly all launches that the files have in common stay together.
    """
    known = len(np.unique(np.concatenate((timeline.keys, counters.keys))))
    if len(streams[0]) * len(streams[1]) * known > _MOST_CELLS:
        return None
    tables = _stream_counts(timeline, counters, streams)
    common = np.minimum(tables[0][:, None, :], tables[1][None, :, :]).sum(axis=2)
    most = int(np.minimum(tables[0].sum(axis=0), tables[1].sum(axis=0)).sum())
    same_number = streams[0][:, None] == streams[1][None, :]
    chosen: list[tuple[int, int]] = []
    kept = 0
    for flat in np.lexsort((~same_number.ravel(), -common.ravel())).tolist():
        left, right = divmod(flat, len(streams[1]))
        if common[left, right] and all(left != taken[0] and right != taken[1] for taken in chosen):
            chosen.append((left, right))
            kept += int(common[left, right])
    if not chosen or kept < _SAME_STREAMS * most:
        return None
    sides = [(side.streams, found) for side, found in zip((timeline, counters), streams, strict=True)]
    return [
        (np.flatnonzero(sides[0][0] == sides[0][1][left]), np.flatnonzero(sides[1][0] == sides[1][1][right]))
        for left, right in chosen
    ]


def _stream_counts(timeline: Side, counters: Side, streams: Sequence[IntArray]) -> list[IntArray]:
    """For each side, how often each key occurs on each stream."""
    known = np.unique(np.concatenate((timeline.keys, counters.keys)))
    found = []
    for side, own in zip((timeline, counters), streams, strict=True):
        flat = np.searchsorted(own, side.streams) * len(known) + np.searchsorted(known, side.keys)
        counts = np.bincount(flat[side.keys >= 0], minlength=len(own) * len(known))
        found.append(counts.reshape(len(own), len(known)))
    return found


def _with_nearest(left: IntArray, right: IntArray, found: Found) -> Found:
    """The pairs, and with them those among what is left over: in order first, then each with the nearest of its key."""
    for _ in range(_ROUNDS):
        rest, expected = _left_over(left, right, found)
        again = aligned(left[rest[0]], right[rest[1]])
        near = np.abs(rest[1][again[1]] - expected[again[0]]) <= _REACH
        if not near.any():
            break
        found = _together([found, (rest[0][again[0]][near], rest[1][again[1]][near])])
    return _nearest(left, right, found)


def _left_over(left: IntArray, right: IntArray, found: Found) -> tuple[Found, FloatArray]:
    """(the positions that have no pair, where on the right those of the left would be)."""
    lefts, rights = (np.setdiff1d(np.arange(len(side)), own) for side, own in zip((left, right), found, strict=True))
    order = np.argsort(found[0])
    expected = np.interp(lefts, found[0][order], found[1][order]) if len(order) else lefts.astype(np.float64)
    return (lefts, rights), expected


def _nearest(left: IntArray, right: IntArray, found: Found) -> Found:
    """The pairs, and with them each that is left over with the nearest of its key within reach."""
    rest, expected = _left_over(left, right, found)
    others: dict[int, list[int]] = {}
    for position in rest[1][right[rest[1]] >= 0].tolist():
        others.setdefault(int(right[position]), []).append(position)
    more: list[tuple[int, int]] = []
    for position, about in zip(rest[0].tolist(), expected.tolist(), strict=True):
        of_key = others.get(int(left[position]), [])
        place = bisect(of_key, about)
        around = range(max(place - 1, 0), min(place + 1, len(of_key)))
        nearest = min(around, key=lambda at: abs(of_key[at] - about), default=None)
        if nearest is not None and abs(of_key[nearest] - about) <= _REACH:
            more.append((position, of_key.pop(nearest)))
    added = np.array(more, dtype=np.int64).reshape(-1, 2)
    return _together([found, (added[:, 0], added[:, 1])])
