"""One device's window, accounted for: ns of each cause, as a whole or by iteration or phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ds2prof.analysis.belonging import Belonging, belonging
from ds2prof.analysis.blame import Blame, GroupedBlame, empty_blame, empty_grouped, ender_codes
from ds2prof.analysis.groups import summed
from ds2prof.analysis.host_timelines import CAUSES, CODE
from ds2prof.analysis.idle_causes import Oddities, splits
from ds2prof.analysis.intervals import FloatArray, merged, rounded_to_sum, shares_ns
from ds2prof.analysis.ledger_sets import (
    BusySets,
    Gaps,
    Intervals,
    Operations,
    both_tables,
    busy_sets,
    covered_ns,
    gaps_of,
    is_communication,
    is_open,
    length_ns,
    operations,
    union,
)
from ds2prof.analysis.steps import device_steps
from ds2prof.analysis.windows import TimeWindow
from ds2prof.tables import IntArray, Profile

Per = Literal["iteration", "phase"]
BUSY: Final = ("compute", "exposed_communication", "exposed_copy")


@dataclass(frozen=True)
class Account:
    """Where one device's window went.

    Attributes:
        window: the device's window.
        sums_ns: ns of each group (the last is of no key; one group alone where nothing was asked for) and cause.
        odd: what could not be told, counted.
        blame: the idle time by name.
        grouped: what most of each group's idle time is due to; None where no groups were asked for.
        head: the stretch before the first operation; none where one runs from the start.
    """

    window: TimeWindow
    sums_ns: IntArray
    odd: Oddities
    blame: Blame
    grouped: GroupedBlame | None
    head: Gaps

    def cause_ns(self, cause: str) -> int:
        """The ns of one cause in the whole window."""
        return int(self.sums_ns[:, CODE[cause]].sum())


@dataclass(frozen=True)
class Cuts:
    """The window cut into stretches of iterations: ``times_ns`` has one more than ``group``, and both ends of it."""

    times_ns: IntArray
    group: IntArray
    groups: int


def account(profile: Profile, device: int | None, per: Per | None = None) -> Account:
    """The account of one device's window, by iteration or phase if asked for.

    An iteration's part is what lies between the boundaries of its step on the device (:mod:`.steps`). To a phase belong
    its kernels and copies, with concurrent time of one kind shared out evenly, and the waits that they ended.
    """
    return profile.derived(f"account of device {device} per {per}", lambda: _account(profile, device, per))


def _account(profile: Profile, device: int | None, per: Per | None) -> Account:
    sets, found = busy_sets(profile, device), operations(profile, device)
    window, layers = sets.window, _layers(sets)
    edge = np.array([window.start_ns])
    waits = gaps_of(profile, found, (np.concatenate((edge, sets.busy[0])), np.concatenate((edge, sets.busy[1]))))
    is_head = waits.start_ns == window.start_ns if not _starts_busy(sets) else np.zeros(len(waits), dtype=np.bool_)
    head, gaps = waits.take(np.flatnonzero(is_head)), waits.take(np.flatnonzero(~is_head))
    keys = belonging(profile, per) if per is not None else None
    if keys is None or per != "phase":
        cuts = _whole(window) if keys is None else step_cuts(profile, keys, device, window)
        sums_ns = _busy_by_cuts(layers, cuts)
        group = cuts.group[np.searchsorted(cuts.times_ns, gaps.start_ns, side="right") - 1]
        head_group = cuts.group[:1] if len(head) else cuts.group[:0]
        tail_group = int(cuts.group[-1])
    else:
        sums_ns = _busy_by_phase(profile, layers, found, keys)
        group, head_group = _phases(keys, gaps.row), _phases(keys, head.row)
        tail_group = len(keys.keys)
    odd, blame = Oddities(), empty_blame(profile)
    _blame_exposed(profile, layers, found, blame)
    del found, layers
    grouped = None if keys is None else empty_grouped(profile, len(sums_ns))
    blame.add_head(profile, head)
    if grouped is not None:
        grouped.add_head(profile, head, head_group)
    for split in splits(profile, gaps, odd):
        _add(sums_ns, group[split.rows], split.causes_ns)
        blame.add(profile, gaps, split)
        if grouped is not None:
            grouped.add(profile, gaps, split, group[split.rows])
    last_end = int(sets.busy[1][-1]) if len(sets.busy[1]) else window.start_ns
    if len(sets.busy[0]):
        sums_ns[head_group, CODE["head"]] += head.end_ns - head.start_ns
        sums_ns[tail_group, CODE["tail"]] += window.stop_ns - last_end
    else:  # nothing ran in the window, so that all of it is before the first operation
        sums_ns[tail_group, CODE["head"]] += window.length_ns
    assert int(sums_ns.sum()) == window.length_ns, "the ledger does not sum to its window"
    return Account(window, sums_ns, odd, blame, grouped, head)


def _starts_busy(sets: BusySets) -> bool:
    return bool(len(sets.busy[0])) and int(sets.busy[0][0]) == sets.window.start_ns


def _add(sums_ns: IntArray, group: IntArray, causes_ns: IntArray) -> None:
    if len(sums_ns) == 1:
        sums_ns[0] += causes_ns.sum(axis=0)
        return
    for cause in np.flatnonzero(causes_ns.any(axis=0)).tolist():
        sums_ns[:, cause] += summed(group, causes_ns[:, cause], len(sums_ns))


_Layers = tuple[Intervals, Intervals, Intervals, Intervals]
"""(nothing, X, X or N, X or N or C): what each adds to the one before is what is exposed of it."""


def _layers(sets: BusySets) -> _Layers:
    both = union(sets.compute, sets.communication)
    return union(), sets.compute, both, union(both, sets.copies)


def _busy_by_cuts(layers: _Layers, cuts: Cuts) -> IntArray:
    groups = cuts.groups
    sums_ns = np.zeros((groups, len(CAUSES)), dtype=np.int64)
    before = np.zeros(groups, dtype=np.int64)
    for cause, layer in zip(BUSY, layers[1:], strict=True):
        reached = summed(cuts.group, np.diff(covered_ns(layer, cuts.times_ns)), groups)
        sums_ns[:, CODE[cause]] = reached - before
        before = reached
    return sums_ns


def _whole(window: TimeWindow) -> Cuts:
    return Cuts(np.array([window.start_ns, window.stop_ns]), np.zeros(1, dtype=np.int64), 1)


def step_cuts(profile: Profile, keys: Belonging, device: int | None, window: TimeWindow) -> Cuts:
    """The window cut at the boundaries of the device's steps; what lies outside them belongs to no key.

    Steps that overlap (one whose work ended before that of the step before) give way to the earlier.
    """
    none = len(keys.keys)
    times, groups = [window.start_ns], []
    steps = [(step, place) for place, step in enumerate(device_steps(profile, keys, device)) if step is not None]
    for (start, end), place in sorted(steps):
        start, end = (min(max(time, times[-1]), window.stop_ns) for time in (start, end))
        for time, group in ((start, none), (end, place)):
            if time > times[-1]:
                times.append(time)
                groups.append(group)
    if times[-1] < window.stop_ns or not groups:
        times.append(window.stop_ns)
        groups.append(none)
    return Cuts(np.array(times), np.array(groups), none + 1)


def _phases(keys: Belonging, rows: IntArray) -> IntArray:
    return both_tables(keys.kernels, keys.copies, rows)


def _busy_by_phase(profile: Profile, layers: _Layers, found: Operations, keys: Belonging) -> IntArray:
    """The ns that each phase's work kept the device busy; integers that sum to those of the whole."""
    sums_ns = np.zeros((len(keys.keys) + 1, len(CAUSES)), dtype=np.int64)
    for cause in BUSY:
        rows, shares, whole_ns = _shares(profile, layers, found, cause)
        sums_ns[:, CODE[cause]] = _grouped(_phases(keys, rows), shares, whole_ns, len(sums_ns))
    return sums_ns


def _blame_exposed(profile: Profile, layers: _Layers, found: Operations, blame: Blame) -> None:
    """Take in which kernels and copies were exposed, by name."""
    ns = blame.sums["ender"].ns
    for cause in BUSY[1:]:
        rows, shares, whole_ns = _shares(profile, layers, found, cause)
        if len(rows):
            ns[:, CODE[cause]] += _grouped(ender_codes(profile, rows, by_operator=False), shares, whole_ns, len(ns))


def _grouped(groups: IntArray, shares: FloatArray, whole_ns: int, count: int) -> IntArray:
    parts = np.bincount(groups, weights=shares, minlength=count).astype(np.float64)
    return rounded_to_sum(parts, whole_ns)


def _shares(profile: Profile, layers: _Layers, found: Operations, cause: str) -> tuple[IntArray, FloatArray, int]:
    """(the operations that a busy cause is made of, the share of each in it as float ns, all of it)."""
    kernels = profile.table("kernels")
    chosen = found.row >= len(kernels)
    if cause != "exposed_copy":
        chosen = ~chosen
        chosen[chosen] = is_communication(kernels)[found.row[chosen]] == (cause == "exposed_communication")
    cover, layer = layers[BUSY.index(cause)], layers[BUSY.index(cause) + 1]
    shares = exposed_shares_ns(found.start_ns[chosen], found.end_ns[chosen], cover)
    return found.row[chosen], shares, length_ns(layer) - length_ns(cover)


def _alternating(intervals: Intervals) -> IntArray:
    """Start and end of each interval in turn."""
    return np.stack(intervals, axis=1).reshape(-1)


def exposed_shares_ns(start_ns: IntArray, end_ns: IntArray, cover: Intervals) -> FloatArray:
    """Each interval's share of the union of all that ``cover`` leaves bare, float ns: concurrent ones share evenly."""
    if not len(cover[0]) or not len(start_ns):
        return shares_ns(start_ns, end_ns)
    touching = np.flatnonzero(np.diff(covered_ns(merged(start_ns, end_ns), _alternating(cover)))[::2])
    cover = cover[0][touching], cover[1][touching]
    times = np.sort(np.concatenate((start_ns, end_ns, *cover)), kind="stable")
    times = times[np.concatenate(([True], times[1:] > times[:-1]))]  # np.unique would hash, at several times the cost
    change = np.bincount(np.searchsorted(times, start_ns), minlength=len(times))
    change -= np.bincount(np.searchsorted(times, end_ns), minlength=len(times))
    count_open = np.cumsum(change)[:-1]
    bare = (count_open > 0) & ~is_open(cover, times[:-1])
    parts = np.divide(np.diff(times), count_open, out=np.zeros(len(count_open)), where=bare)
    reached = np.concatenate(([0.0], np.cumsum(parts)))
    return np.asarray(reached[np.searchsorted(times, end_ns)] - reached[np.searchsorted(times, start_ns)])
