"""Which stretch of the timeline was captured: where the launches of the counters file have their counterparts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.join.sides import Side
from ds2prof.tables import IntArray

_GRAM: Final = 4
_RARE: Final = 8
"""Runs of four keys that occur more often in the counters file say nothing of the place."""
_EQUAL: Final = 1e-9
_NOWHERE: Final = "no iteration of the timeline has a launch that the counters file has: all is extrapolated"
_WHOLE: Final = 1.25
"""A timeline with no more launches than this, in shares of the counters file's, was captured as a whole."""


@dataclass(frozen=True)
class Place:
    """A stretch that both files hold: positions of launches on both sides, and whether its edges are known.

    ``exact`` is False where the stretch was found by its keys alone in a timeline without iterations: what lies outside
    of the first and last pair was not captured.
    """

    timeline: IntArray
    counters: IntArray
    exact: bool


def places(timeline: Side, counters: Side) -> tuple[list[Place], tuple[str, ...]]:
    """(the captured stretches, notes on how they were found).

    By the iterations' names where both files tell them; nothing was captured then of a timeline that has none of those.
    Where the counters file does not tell, it is the run of iterations whose keys agree best with its own; where the
    timeline does not, the stretch in which most of its short runs of keys occur.
    """
    if not len(timeline.rows) or not len(counters.rows):
        return [], ()
    if timeline.names and counters.names:
        return _by_name(timeline, counters)
    if timeline.names:
        return _best_iterations(timeline, counters)
    return _best_stretch(timeline, counters)


def _by_name(timeline: Side, counters: Side) -> tuple[list[Place], tuple[str, ...]]:
    place_of = {name: place for place, name in enumerate(timeline.names)}
    found = [
        Place(np.flatnonzero(timeline.iterations == place_of[name]), np.flatnonzero(counters.iterations == own), True)
        for own, name in enumerate(counters.names)
        if name in place_of
    ]
    if found:
        return found, ()
    told = [", ".join(names[:3]) + (", ..." if len(names) > 3 else "") for names in (counters.names, timeline.names)]
    return [], (f"no iteration is in both files (counters of {told[0]}; timeline of {told[1]}): all is extrapolated",)


def _best_iterations(timeline: Side, counters: Side) -> tuple[list[Place], tuple[str, ...]]:
    """The consecutive iterations whose keys agree best with those of the counters file, as many as fit it.

    Among those that agree equally well, the ones whose times are most in proportion to the cycles: the length of a
    sequence changes the time of an RNN and not its key.
    """
    counts = _counts(timeline, counters, None)
    wanted, others = counts[-1], counts[:-1]
    typical = float(np.median(others.sum(axis=1)))
    number = len(counters.rows) / typical if typical else 1.0
    sizes = [many for many in {max(int(number), 1), max(int(np.ceil(number)), 1)} if many <= len(others)]
    agreeing = {many: _agreement(others, wanted, many) for many in sorted(sizes) or [len(others)]}
    many = max(agreeing, key=lambda size: (agreeing[size].max(), -size))
    if not agreeing[many].max():
        return [], (_NOWHERE,)
    equal = np.flatnonzero(agreeing[many] >= agreeing[many].max() - _EQUAL)
    apart = _apart_in_time(timeline, counters, many)[equal]
    start = int(equal[apart.argmin()])
    alike = int((apart <= apart.min() + _EQUAL).sum())
    inside = (timeline.iterations >= start) & (timeline.iterations < start + many)
    names = timeline.names[start : start + many]
    what = f"iteration {names[0]}" if many == 1 else f"iterations {names[0]} to {names[-1]}"
    note = f"the counters file does not tell its iteration: matched to {what} of the timeline, whose launches fit best"
    if len(equal) > 1:
        note += f" ({len(equal)} have the same launches; {'the first is taken' if alike > 1 else 'by their times'})"
    return [Place(np.flatnonzero(inside), np.arange(len(counters.rows)), True)], (note,)


def _apart_in_time(timeline: Side, counters: Side, many: int) -> FloatArray:
    """For each run of ``many`` iterations, how far its times are from being in proportion to the cycles.

    The mean over the keys, by their cycles, of how far the logarithm of time over cycles of one launch is from that
    mean itself: another clock and launches that are missing change nothing in it, other work does.
    """
    weights = (np.nan_to_num(timeline.lengths), np.nan_to_num(counters.lengths))
    lengths, counts = (_counts(timeline, counters, side)[:, :-1] for side in (weights, None))
    own = np.divide(lengths[-1], counts[-1], out=np.zeros(len(lengths[-1])), where=counts[-1] > 0)
    runs, launches = _runs(lengths[:-1], many), _runs(counts[:-1], many)
    each = np.divide(runs, launches, out=np.zeros_like(runs), where=launches > 0)
    known = (each > 0) & (own > 0)
    ratio = np.log(np.where(known, each, 1.0) / np.where(known, own, 1.0))
    weight = np.where(known, lengths[-1], 0.0)
    whole = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    apart = np.abs(ratio - (ratio * weight).sum(axis=1, keepdims=True) / whole)
    return np.asarray((apart * weight).sum(axis=1) / whole[:, 0], dtype=np.float64)


def _counts(timeline: Side, counters: Side, weights: tuple[FloatArray, FloatArray] | None) -> FloatArray:
    """How often each key of the counters file occurs in each iteration of the timeline, and in that file (last row).

    The last column counts the launches with other keys. With ``weights``, their sums in place of the counts.
    """
    known, own = np.unique(counters.keys, return_inverse=True)
    place = np.minimum(np.searchsorted(known, timeline.keys), len(known) - 1)
    columns = np.where(known[place] == timeline.keys, place, len(known))
    inside = timeline.iterations < len(timeline.names)
    width = len(known) + 1
    flat = timeline.iterations[inside] * width + columns[inside]
    theirs, ours = (None, None) if weights is None else (weights[0][inside], weights[1])
    counts = np.bincount(flat, weights=theirs, minlength=len(timeline.names) * width).reshape(-1, width)
    return np.vstack((counts, np.bincount(own, weights=ours, minlength=width))).astype(np.float64)


def _runs(counts: FloatArray, many: int) -> FloatArray:
    """The sums over each ``many`` rows that follow each other."""
    reached = np.vstack((np.zeros((1, counts.shape[1])), counts.cumsum(axis=0)))
    return np.asarray(reached[many:] - reached[:-many], dtype=np.float64)


def _agreement(counts: FloatArray, wanted: FloatArray, many: int) -> FloatArray:
    """For each run of ``many`` iterations: twice the launches in common over the launches of both (Dice's measure)."""
    runs = _runs(counts, many)
    common = np.minimum(runs[:, :-1], wanted[:-1]).sum(axis=1)
    return np.asarray(2 * common / np.maximum(runs.sum(axis=1) + wanted.sum(), 1), dtype=np.float64)


def _best_stretch(timeline: Side, counters: Side) -> tuple[list[Place], tuple[str, ...]]:
    """The stretch of a timeline without iterations that the counters file is of."""
    whole, own = np.arange(len(timeline.rows)), np.arange(len(counters.rows))
    if len(whole) <= _WHOLE * len(own) + 2 * _GRAM:
        return [Place(whole, own, True)], ()
    spare = max(4 * _GRAM, len(own) // 16)
    start = _offset(timeline.keys, counters.keys, spare)
    inside = whole[max(start - spare, 0) : start + len(own) + spare]
    note = (
        f"the timeline has no iterations: the counters' {len(own):,} launches were found among its {len(whole):,} by "
        "their order alone"
    )
    return [Place(inside, own, False)], (note,)


def _offset(timeline: IntArray, counters: IntArray, spare: int) -> int:
    """How many launches of the timeline come before the stretch: most runs of four keys agree on it."""
    if min(len(timeline), len(counters)) < _GRAM:
        return 0
    codes = _grams(timeline, counters)
    theirs, own = codes[: len(timeline) - _GRAM + 1], codes[len(timeline) - _GRAM + 1 :]
    order = np.argsort(own, kind="stable")
    first = np.searchsorted(own[order], theirs, side="left")
    count = np.searchsorted(own[order], theirs, side="right") - first
    rare = [np.flatnonzero((count > nth) & (count <= _RARE)) for nth in range(_RARE)]
    votes = [at - order[first[at] + nth] for nth, at in enumerate(rare) if len(at)]
    if not votes:
        return 0
    offsets = np.sort(np.concatenate(votes))
    reach = np.searchsorted(offsets, offsets + spare, side="right") - np.arange(len(offsets))
    best = int(reach.argmax())
    return max(int(np.median(offsets[best : best + reach[best]])), 0)


def _grams(timeline: IntArray, counters: IntArray) -> IntArray:
    """The codes of all runs of four keys, those of the counters last."""
    parts = [
        np.concatenate(
            (timeline[nth : len(timeline) - _GRAM + 1 + nth], counters[nth : len(counters) - _GRAM + 1 + nth])
        )
        for nth in range(_GRAM)
    ]
    codes = parts[0]
    for part in parts[1:]:
        _, codes = np.unique(codes * (int(part.max()) + 2) + part + 1, return_inverse=True)
    return np.asarray(codes, dtype=np.int64)
