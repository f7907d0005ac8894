"""Why a device stood idle: each gap split to the nanosecond among the causes of the ledger.

For a gap [a, b) ended by an operation that thread t launched in the call [l0, l1]: from max(a, l1) to b the launch was
in and the device had not begun (``queued``); from max(a, l0) to l1 it was in the call (``launch_call``); before l0 the
host was late. That part is the profiler's overhead where there is any; else, up to the end of a synchronizing call of t
that was open at a, ``synchronize``; else what t was doing (:mod:`.host_timelines`). Without a launch, or where the
operation starts before its call does, the gap is ``unknown``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.groups import summed
from ds2prof.analysis.host_timelines import CAUSES, CODE, CodeArray, Timeline, timeline
from ds2prof.analysis.ledger_sets import Gaps
from ds2prof.tables import IntArray, Profile

_BLOCK: Final = 1 << 17
"""Gaps that are taken apart at once: as many as keep the memory for their pieces small."""


@dataclass(frozen=True)
class Pieces:
    """Parts of gaps in which the host was late, each with one cause.

    Attributes:
        gap: the gap, numbered within the block.
        dur_ns, cause: length and code of the cause.
        call, range_name, operator: codes of what was open on the launching thread, -1 for none.
    """

    gap: IntArray
    dur_ns: IntArray
    cause: IntArray
    call: CodeArray
    range_name: CodeArray
    operator: CodeArray


@dataclass(frozen=True)
class Split:
    """Some gaps of one thread, taken apart.

    Attributes:
        rows: which gaps.
        causes_ns: for each, ns of each cause; a row sums to the gap.
        pieces: where in the host's code the thread was meanwhile.
    """

    rows: IntArray
    causes_ns: IntArray
    pieces: Pieces


@dataclass
class Oddities:
    """What the splitting met that a reader must know, counted.

    Attributes:
        unlinked, unlinked_ns: gaps that end with an operation without a recorded launch, and their time.
        early, early_ns: gaps that end with an operation that starts before its launch call does.
        threadless: gaps whose launch names no thread, so that the host's part is unknown.
        short: gaps too short to be split.
    """

    unlinked: int = 0
    unlinked_ns: int = 0
    early: int = 0
    early_ns: int = 0
    threadless: int = 0
    short: int = 0


def splits(profile: Profile, gaps: Gaps, odd: Oddities) -> Iterator[Split]:
    """All gaps taken apart, a block at a time; what was met is counted in ``odd``."""
    api = profile.table("api")
    is_linked = gaps.launch >= 0
    unlinked = np.flatnonzero(~is_linked)
    if len(unlinked):
        odd.unlinked += len(unlinked)
        odd.unlinked_ns += int((gaps.end_ns - gaps.start_ns)[unlinked].sum())
        yield from _unknown(gaps, unlinked)
    linked = np.flatnonzero(is_linked)
    if not len(linked):
        return
    at = gaps.launch[linked]
    processes, threads = api.ints("process", null=-1)[at], api.ints("thread", null=-1)[at]
    order = np.lexsort((threads, processes))
    changed = (processes[order[1:]] != processes[order[:-1]]) | (threads[order[1:]] != threads[order[:-1]])
    for part in np.split(order, np.flatnonzero(changed) + 1):
        process, thread = int(processes[part[0]]), int(threads[part[0]])
        known = timeline(profile, process, thread) if thread >= 0 else None
        for first in range(0, len(part), _BLOCK):
            yield _split(profile, gaps, linked[part[first : first + _BLOCK]], known, odd)


def _unknown(gaps: Gaps, rows: IntArray) -> Iterator[Split]:
    for first in range(0, len(rows), _BLOCK):
        part = rows[first : first + _BLOCK]
        causes_ns = np.zeros((len(part), len(CAUSES)), dtype=np.int64)
        causes_ns[:, CODE["unknown"]] = gaps.end_ns[part] - gaps.start_ns[part]
        yield Split(part, causes_ns, _NO_PIECES)


def _split(profile: Profile, gaps: Gaps, rows: IntArray, known: Timeline | None, odd: Oddities) -> Split:
    """Gaps that one thread ended, in order."""
    api = profile.table("api")
    start, end, call = gaps.start_ns[rows], gaps.end_ns[rows], gaps.launch[rows]
    begun = api.ints("start_ns")[call]
    returned = begun + api.ints("dur_ns")[call]
    early = begun > end
    late_until = np.clip(np.where(early, start, begun), start, end)  # the host's part is [start, late_until)
    in_call_until = np.clip(np.where(early, start, returned), late_until, end)
    causes_ns = np.zeros((len(rows), len(CAUSES)), dtype=np.int64)
    causes_ns[:, CODE["launch_call"]] = in_call_until - late_until
    causes_ns[:, CODE["queued"]] = np.where(early, 0, end - in_call_until)
    causes_ns[:, CODE["unknown"]] = np.where(early, end - start, 0)
    odd.early += int(early.sum())
    odd.early_ns += int(causes_ns[:, CODE["unknown"]].sum())
    if known is None:
        causes_ns[:, CODE["unknown"]] += late_until - start
        odd.threadless += int((late_until > start).sum())
        pieces = _NO_PIECES
    else:
        pieces = _pieces(known, start, late_until)
        cells = summed(pieces.gap * len(CAUSES) + pieces.cause, pieces.dur_ns, causes_ns.size)
        causes_ns += cells.reshape(causes_ns.shape)
    return _unsplit_short(Split(rows, causes_ns, pieces), 2 * (profile.meta.time_resolution_ns or 0), odd)


def _pieces(known: Timeline, start: IntArray, until: IntArray) -> Pieces:
    """The stretches [start, until), which are apart and in order, cut wherever the thread's state changes."""
    gap = np.flatnonzero(until > start)
    if not len(gap):
        return _NO_PIECES
    start, until = start[gap], until[gap]
    drained, drain_call = known.drains(start)
    drained = np.minimum(drained, until)
    lo, hi = np.searchsorted(known.times_ns, (start[0], until[-1]))
    changes = known.times_ns[lo:hi]
    inside = np.searchsorted(start, changes, side="right") - 1
    changes = changes[(inside >= 0) & (changes < until[np.maximum(inside, 0)])]
    cuts = np.sort(np.concatenate((start, drained[drained < until], changes)), kind="stable")
    of = np.searchsorted(start, cuts, side="right") - 1
    following = np.append(cuts[1:], until[-1])
    dur_ns = np.minimum(following, until[of]) - cuts
    state = np.searchsorted(known.times_ns, cuts, side="right") - 1
    cause, calls = known.cause[state].astype(np.int64), known.call[state]
    draining = (cuts < drained[of]) & (cause != CODE["profiler_overhead"])
    cause[draining] = CODE["synchronize"]
    calls[draining] = drain_call[of][draining]
    return Pieces(gap[of], dur_ns, cause, calls, known.range_name[state], known.operator[state])


def _unsplit_short(split: Split, least_ns: int, odd: Oddities) -> Split:
    """The split with each gap that is shorter than the clock can tell apart given to the cause that holds most of it.

    Of two that hold as much, to the one that stands first in the ledger.
    """
    causes_ns, pieces = split.causes_ns, split.pieces
    gap_ns = causes_ns.sum(axis=1)
    short = np.flatnonzero((gap_ns < least_ns) & ((causes_ns > 0).sum(axis=1) > 1))
    if not len(short):
        return split
    odd.short += len(short)
    most = causes_ns[short].argmax(axis=1)
    causes_ns[short] = 0
    causes_ns[short, most] = gap_ns[short]
    kept_cause = np.full(len(gap_ns), -1, dtype=np.int64)
    kept_cause[short] = most
    kept = (kept_cause[pieces.gap] < 0) | (kept_cause[pieces.gap] == pieces.cause)
    columns = (pieces.gap, pieces.dur_ns, pieces.cause, pieces.call, pieces.range_name, pieces.operator)
    return Split(split.rows, causes_ns, Pieces(*(column[kept] for column in columns)))


_NO_PIECES: Final = Pieces(*(np.zeros(0, dtype=np.int64),) * 3, *(np.zeros(0, dtype=np.int32),) * 3)
