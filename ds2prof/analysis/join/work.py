"""The work of each launch of the timeline, in cycles of a pipe: its own counters', or those of launches like it.

Work is cycles x share of peak. It is what a launch does, and stays what it is when the launch is repeated at another
clock or with cold caches: both factors change then, their product does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.join.matching import Matches
from ds2prof.tables import BoolArray, IntArray

UNMATCHED, MATCHED, EXTRAPOLATED, DOUBTFUL = range(4)
"""What is known of a launch; doubtful is one whose key was captured but which took another time."""
StateArray = npt.NDArray[np.int8]
_SAME_TIME: Final = 1.25
_SLACK_NS: Final = 2_000
_REPLAYED_TIME: Final = 2.0
_REPLAY_SLACK_NS: Final = 5_000


@dataclass(frozen=True)
class Work:
    """The work of each launch on one pipe; NaN where unknown. ``low`` and ``high`` are between which it lies."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def states(found: Matches, like: Like, dur_ns: IntArray, cycles: FloatArray, clock_hz: float | None) -> StateArray:
    """What is known of each launch of the timeline, in launch order.

    Outside of the captured stretches a launch is extrapolated if its key was captured and its time agrees: with that of
    the matched launch in its place (or the range of those of its key) within a quarter, 2 us aside. Where no launch of
    its key is matched, the captured cycles at the timeline's clock stand in, within a factor of two, 5 us aside. Other
    times mean other work: a cuDNN RNN keeps one grid for every sequence length.
    """
    state = np.full(len(found.counter_of), UNMATCHED, dtype=np.int8)
    state[found.counter_of >= 0] = MATCHED
    outside = ~found.captured & (found.counter_of < 0) & like.any_of_key & (found.timeline.keys >= 0)
    low, high, known = _times(found, like, dur_ns)
    fits = (dur_ns >= low / _SAME_TIME - _SLACK_NS) & (dur_ns <= high * _SAME_TIME + _SLACK_NS)
    if clock_hz is not None:
        scale = 1e9 / clock_hz
        least, most = (like.of_key(side) * scale for side in (_least(like, cycles), _most(like, cycles)))
        about = (dur_ns >= least / _REPLAYED_TIME - _REPLAY_SLACK_NS) & (
            dur_ns <= most * _REPLAYED_TIME + _REPLAY_SLACK_NS
        )
        fits = np.where(known, fits, about | np.isnan(least))
    else:
        fits = fits | ~known
    state[outside] = np.where(fits[outside], EXTRAPOLATED, DOUBTFUL)
    return state


@dataclass(frozen=True)
class Like:
    """The launches of both files by what makes them alike.

    Attributes:
        keys, own_keys: the key of each launch of the timeline and of the counters, as codes from 0 on.
        spots, own_spots: the same of key, occurrence and number of occurrences; a launch of the timeline whose spot is
            not among those of the counters has the last code.
        count, spot_count: how many codes there are.
        any_of_key: whether any launch of the counters has the key.
    """

    keys: IntArray
    own_keys: IntArray
    spots: IntArray
    own_spots: IntArray
    count: int
    spot_count: int
    any_of_key: BoolArray

    def of_key(self, values: FloatArray) -> FloatArray:
        """For each launch of the timeline, the value of its key."""
        return values[self.keys]


def alike(found: Matches) -> Like:
    """Which launches are alike."""
    keys, own_keys = found.timeline.keys + 1, found.counters.keys + 1
    count = int(max(keys.max(initial=0), own_keys.max(initial=0))) + 1
    captured = np.zeros(count, dtype=np.bool_)
    captured[own_keys] = True
    radix = int(found.counter_occurrences.max(initial=0)) + 1
    own = _spot(own_keys, found.counter_occurrences, found.counter_occurrence, radix)
    known, own_spots = np.unique(own, return_inverse=True)
    fitting = found.occurrences < radix
    wanted = np.where(fitting, _spot(keys, found.occurrences, found.occurrence, radix), -1)
    place = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
    spots = np.where(known[place] == wanted, place, len(known)) if len(known) else np.zeros_like(keys)
    return Like(keys, own_keys, spots, own_spots, count, len(known) + 1, captured[keys])


def _spot(keys: IntArray, occurrences: IntArray, occurrence: IntArray, radix: int) -> IntArray:
    return (keys * radix + occurrences) * radix + occurrence


def _least(like: Like, values: FloatArray) -> FloatArray:
    return _extreme(np.fmin, like.own_keys, values, like.count)


def _most(like: Like, values: FloatArray) -> FloatArray:
    return _extreme(np.fmax, like.own_keys, values, like.count)


def _extreme(of: np.ufunc, codes: IntArray, values: FloatArray, count: int) -> FloatArray:
    """The least or greatest value of each code; NaN for one without any."""
    found = np.full(count, np.nan)
    of.at(found, codes, values)
    return found


def _mean(codes: IntArray, values: FloatArray, count: int) -> FloatArray:
    """The mean value of each code; NaN for one without any."""
    known = ~np.isnan(values)
    total = np.bincount(codes[known], weights=values[known], minlength=count)
    number = np.bincount(codes[known], minlength=count)
    mean: FloatArray = np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
    return mean


def _times(found: Matches, like: Like, dur_ns: IntArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """(least and greatest time that a launch like each took where it was matched, whether there is one)."""
    at = np.flatnonzero(found.counter_of >= 0)
    taken = dur_ns[at].astype(np.float64)
    sides = []
    for of in (np.fmin, np.fmax):
        in_place = _extreme(of, like.spots[at], taken, like.spot_count)[like.spots]
        of_key = _extreme(of, like.keys[at], taken, like.count)[like.keys]
        sides.append(np.where(np.isnan(in_place), of_key, in_place))
    return sides[0], sides[1], ~np.isnan(sides[0])


def work_of(found: Matches, like: Like, state: StateArray, captured: FloatArray) -> Work:
    """The work of each launch of the timeline on one pipe, whose captured work is given in the counters' order.

    A matched launch has its own; where launches of its key are left over on either side, which of them it is may be
    mistaken, and it lies between the least and the most of its key. An extrapolated launch has that of the launch in
    its place among as many of its key, else the mean of its key; it lies between the least and the most of its key.
    """
    value = np.full(len(state), np.nan)
    matched = state == MATCHED
    value[matched] = captured[found.counter_of[matched]]
    low, high = value.copy(), value.copy()
    least, most = like.of_key(_least(like, captured)), like.of_key(_most(like, captured))
    unsure = matched & _unsure(found, like)[like.keys] & ~np.isnan(value)
    extrapolated = state == EXTRAPOLATED
    in_place = _mean(like.own_spots, captured, like.spot_count)[like.spots]
    of_key = like.of_key(_mean(like.own_keys, captured, like.count))
    value[extrapolated] = np.where(np.isnan(in_place), of_key, in_place)[extrapolated]
    for rows in (unsure, extrapolated):
        low[rows], high[rows] = least[rows], most[rows]
    return Work(value, low, high)


def _unsure(found: Matches, like: Like) -> BoolArray:
    """The keys of which launches are left over in the captured stretches, on either side."""
    unsure = np.zeros(like.count, dtype=np.bool_)
    unsure[like.keys[found.captured & (found.counter_of < 0)]] = True
    paired = np.zeros(len(found.counters.keys), dtype=np.bool_)
    paired[found.counter_of[found.counter_of >= 0]] = True
    unsure[like.own_keys[found.counters_captured & ~paired]] = True
    return unsure
