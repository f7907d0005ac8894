"""The join of a timeline and a counters file: each launch of the timeline with what is known of its work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import core
from ds2prof.analysis.core import PipeReadings
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.join.clock import SmClock, sm_clock
from ds2prof.analysis.join.keys import Keys, keys, single_kernels
from ds2prof.analysis.join.matching import Matches, matches
from ds2prof.analysis.join.sides import TABLES, counters_side, timeline_side
from ds2prof.analysis.join.work import (
    EXTRAPOLATED,
    MATCHED,
    UNMATCHED,
    StateArray,
    Work,
    alike,
    states,
    work_of,
)
from ds2prof.analysis.totals import by_device, devices_of
from ds2prof.errors import MissingDataError, UsageError
from ds2prof.tables import BoolArray, IntArray, Profile, Table

_ODD: Final = 2.0
_SLACK_NS: Final = 5_000
_ODD_SHARE: Final = 0.02
_UNPAIRED: Final = "device {} of the timeline has no counterpart in {}: its launches are unmatched"


@dataclass(frozen=True)
class OnDevice:
    """One device of the timeline.

    Attributes:
        device: its number.
        clock: its SM clock.
        found: the pairs; None where the counters file has no such device.
    """

    device: int | None
    clock: SmClock
    found: Matches | None


@dataclass(frozen=True)
class Joined:
    """The result of :func:`join`; arrays have an entry for each row of the timeline's ``kernels``.

    Attributes:
        timeline, counters: the two profiles.
        devices: what was found on each device of the timeline.
        state: what is known of each launch (:mod:`.work`).
        captured: whether it lies in a captured stretch.
        counter_row: the row of the counters file's ``kernels`` that it is matched with; -1 for none.
        work: pipe -> work.
        readings: the pipes, and the metric of each.
        used: for each row of the counters file's ``kernels``, whether a launch was matched with it.
        notes: how it was done, a line each.
    """

    timeline: Profile
    counters: Profile
    devices: tuple[OnDevice, ...]
    state: StateArray
    captured: BoolArray
    counter_row: IntArray
    work: Mapping[str, Work]
    readings: tuple[PipeReadings, ...]
    used: BoolArray
    notes: tuple[str, ...]


def join(
    timeline: Profile, counters: Profile, *, sm_clock_hz: float | None = None, sampler: Profile | None = None
) -> Joined:
    """Each launch of the timeline with its own counters, or with those of launches like it.

    Args:
        timeline: launches at their real times (nsys, PyTorch, nvprof).
        counters: counters of launches that a profiler repeated (Nsight Compute).
        sm_clock_hz: the SM clock while the timeline was taken, where it is known.
        sampler: what a sampler wrote beside the timeline, for that clock.

    Raises:
        UsageError: the two files are the wrong way round.
        MissingDataError: one of them is not what it should be, they are of different chips, or have no launch in
            common.
    """
    for profile in (timeline, counters):
        profile.require(*TABLES)
    _check(timeline, counters)
    kernels, others = timeline.table("kernels"), counters.table("kernels")
    readings, cycles = core.pipe_readings(counters), core.launch_cycles(counters)
    calls = others.ints("calls", null=1) if "calls" in others else np.ones(len(others), dtype=np.int64)
    per_call = cycles / np.maximum(calls, 1)
    found_keys = keys(kernels, others)
    if not found_keys.meet:
        raise MissingDataError(_strangers(timeline, counters, found_keys))
    made = _Made.empty(len(kernels), len(others), [reading.pipe for reading in readings])
    notes = [*found_keys.notes, *_left_aside(counters, others, calls)]
    devices = []
    pairs = _device_pairs(kernels, others)
    for device, own in pairs:
        clock = sm_clock(timeline, device, given_hz=sm_clock_hz, sampler=sampler)
        found = None
        if own is not None:
            found = _matched(timeline, counters, found_keys, device, own, summed=bool((calls > 1).any()))
            made.add(found, kernels.ints("dur_ns"), per_call, readings, clock)
            notes += [*found.notes, *_other_work(found, kernels.ints("dur_ns"), per_call)]
        else:
            notes.append(_UNPAIRED.format(device, counters.meta.file))
        devices.append(OnDevice(device, clock, found))
    notes += list(dict.fromkeys(each.clock.said() for each in devices))
    return Joined(
        timeline, counters, tuple(devices), made.state, made.captured, made.counter_row, made.work, tuple(readings),
        made.used, tuple(dict.fromkeys(notes)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Made:
    """What :func:`join` fills in, device by device."""

    state: StateArray
    captured: BoolArray
    counter_row: IntArray
    work: dict[str, Work]
    used: BoolArray

    @classmethod
    def empty(cls, launches: int, captured: int, pipes: list[str]) -> _Made:
        """Nothing known of any launch."""
        work = {pipe: Work(*(np.full(launches, np.nan) for _ in range(3))) for pipe in pipes}
        nothing = np.full(launches, UNMATCHED, dtype=np.int8)
        return cls(
            nothing,
            np.zeros(launches, dtype=np.bool_),
            np.full(launches, -1, dtype=np.int64),
            work,
            np.zeros(captured, dtype=np.bool_),
        )

    def add(
        self, found: Matches, dur_ns: IntArray, cycles: FloatArray, readings: list[PipeReadings], clock: SmClock
    ) -> None:
        """Take in one device."""
        rows, own = found.timeline.rows, found.counters.rows
        about_hz = clock.hz or (None if clock.high_hz is None else ((clock.low_hz or 0) + clock.high_hz) / 2)
        like = alike(found)
        state = states(found, like, dur_ns[rows], cycles[own], about_hz)
        self.state[rows], self.captured[rows] = state, found.captured
        matched = found.counter_of >= 0
        self.counter_row[rows[matched]] = own[found.counter_of[matched]]
        self.used[own[found.counter_of[matched]]] = True
        known = np.zeros(len(rows), dtype=np.bool_)
        for reading in readings:
            work = work_of(found, like, state, cycles[own] * reading.values[own])
            known |= ~np.isnan(work.value)
            for into, values in zip(_parts(self.work[reading.pipe]), _parts(work), strict=True):
                into[rows] = values
        self.state[rows[~known & np.isin(state, (MATCHED, EXTRAPOLATED))]] = UNMATCHED


def _other_work(found: Matches, dur_ns: IntArray, cycles: FloatArray) -> list[str]:
    """A note where matched launches took another time than their cycles let expect of the rest: other data, then."""
    at = np.flatnonzero(found.counter_of >= 0)
    lengths = dur_ns[found.timeline.rows[at]]
    taken = cycles[found.counters.rows[found.counter_of[at]]]
    known = (taken > 0) & (lengths > 0)
    if not known.any():
        return []
    lengths, taken = lengths[known], taken[known]
    expected = taken * float(np.median(lengths / taken))
    apart = np.abs(lengths - expected) > _SLACK_NS
    odd = apart & ((lengths > expected * _ODD) | (lengths < expected / _ODD))
    share = float(lengths[odd].sum() / lengths.sum())
    if share <= _ODD_SHARE:
        return []
    return [
        f"{int(odd.sum())} matched launch{'' if odd.sum() == 1 else 'es'} ({units.format_ratio(share)} of the matched "
        "time) took less than half or more than twice the time that their cycles let expect: was the work the same in "
        "both runs?"
    ]


def _parts(work: Work) -> tuple[FloatArray, FloatArray, FloatArray]:
    return work.value, work.low, work.high


def _matched(
    timeline: Profile, counters: Profile, found: Keys, device: int | None, own: int | str | None, *, summed: bool
) -> Matches:
    theirs = np.flatnonzero(_on(timeline.table("kernels"), device))
    others = np.flatnonzero(_on(counters.table("kernels"), own) & (found.counters >= 0))
    return matches(
        timeline_side(timeline, found.timeline, theirs),
        counters_side(counters, found.counters, others),
        summed=summed,
    )


_ALL: Final = "all"


def _on(table: Table, device: int | str | None) -> BoolArray:
    """Mask of the rows of a device; of all for ``all``."""
    if device == _ALL:
        return np.ones(len(table), dtype=np.bool_)
    present = table["device"].present
    return ~present if device is None else present & (table.ints("device") == device)


def _device_pairs(kernels: Table, others: Table) -> list[tuple[int | None, int | str | None]]:
    """Each device of the timeline, and the counters' device that it is; None where it is none.

    Devices are the same by their number; where each file has one alone it is the same, for one that a program sees
    alone is 0 whatever its number in the machine.
    """
    theirs = [device for device, _ in by_device(kernels, Table("copies"))]
    own = devices_of(others)
    if len(own) == 1 and (len(theirs) == 1 or own == {None}):
        return [(device, _ALL) for device in theirs[:1]] + [(device, None) for device in theirs[1:]]
    return [(device, device if device in own else None) for device in theirs]


def _left_aside(counters: Profile, others: Table, calls: IntArray) -> list[str]:
    aside = int((~single_kernels(others)).sum())
    if not aside:
        return []
    return [f"{aside} of {len(others)} results of {counters.meta.file} are of ranges or graphs, not of one kernel each"]


def _check(timeline: Profile, counters: Profile) -> None:
    """Refuse what cannot be joined, in one line that says what to do."""
    theirs, own = timeline.meta, counters.meta
    timeline_has, counters_have = core.has_counters(timeline), core.has_counters(counters)
    is_timeline = own.times == "real" and not counters_have and len(counters.table("kernels")) > 0
    if (theirs.times == "replay" or timeline_has) and is_timeline:
        raise UsageError(
            f"{theirs.file} holds counters and {own.file} a timeline: the timeline comes first, "
            f"ds2prof join {own.file} {theirs.file}"
        )
    if theirs.domain == "cpu":
        raise MissingDataError(f"{theirs.file}: a CPU run, with no launches to put counters on; capture it on a GPU")
    kernels = timeline.table("kernels")
    if theirs.times == "replay":
        raise MissingDataError(
            f"{theirs.file}: its times are of replayed launches, no timeline; capture one with "
            "'bash run_profile.sh nsys' or 'bash run_profile.sh torch'"
        )
    if not len(kernels):
        raise MissingDataError(f"{theirs.file}: no launches in this file, so no timeline to put counters on")
    if not (kernels["start_ns"].present & kernels["dur_ns"].present).all():
        raise MissingDataError(
            f"{theirs.file}: launches without times of their own (a summary?); the join needs a timeline of launches"
        )
    if not counters_have:
        core.core_utilization(counters)  # says what is missing and how to collect it
    _check_chips(timeline, counters)


def _strangers(timeline: Profile, counters: Profile, found: Keys) -> str:
    """Why two files that have no launch in common have none, in one line."""
    theirs, own = timeline.meta.file, counters.meta.file
    if not (found.timeline >= 0).any():
        return (
            f"{theirs}: graphs alone, whose contents the tool hid; capture their kernels one by one "
            "(nsys profile --cuda-graph-trace=node)"
        )
    alike = ", ".join(found.parts)
    hint = "are the two of one program?"
    if found.share_names:
        hint = "kernels of the same names are in both: was it another batch size or precision?"
    return f"{own}: no launch in it has the {alike} of one in {theirs}; {hint}"


def _check_chips(timeline: Profile, counters: Profile) -> None:
    """Refuse counters of another chip: a share of its peak says nothing about this one's."""
    for column, what in (("chip", "chip"), ("compute_capability", "compute capability"), ("sms", "number of SMs")):
        sides = [
            {value for value in profile.table("devices")[column].tolist() if value is not None}
            for profile in (timeline, counters)
        ]
        if all(sides) and not sides[0] & sides[1]:
            theirs, own = (", ".join(str(value) for value in sorted(side)) for side in sides)
            raise MissingDataError(
                f"{counters.meta.file}: its {what} is {own}, that of {timeline.meta.file} is {theirs}; counters of "
                "another chip cannot be put on this timeline"
            )
