"""What one host thread was doing at every moment: a cause, the call it was in, the range and the operator around it.

A :class:`Timeline` is constant between its times. Its causes follow the ledger's precedence for a thread that is late:
the profiler's own overhead, allocation or free, module loading or JIT, the data phase, else the host's own code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.analysis import attribution, host_calls
from ds2prof.analysis.intervals import innermost, merged
from ds2prof.analysis.ledger_sets import NEVER, Intervals, is_open, union
from ds2prof.analysis.windows import CUDA_OVERHEADS, ends_ns, text_mask
from ds2prof.tables import BoolArray, IntArray, Profile, Table

CodeArray = npt.NDArray[np.int32]
CAUSES: Final = (
    *("compute", "exposed_communication", "exposed_copy"),
    *("queued", "launch_call", "profiler_overhead", "synchronize", "allocation", "module_load", "data", "host"),
    *("head", "tail", "unknown"),
)
"""The rows of the ledger, in order."""
CODE: Final[Mapping[str, int]] = {cause: code for code, cause in enumerate(CAUSES)}
DATA: Final = "data"
LOADERS: Final = "enumerate(DataLoader)"
"""What PyTorch itself calls the range around fetching a batch starts with this."""
NOBODYS_OVERHEADS: Final = ("Command Buffer Full",)
"""Overheads that are neither the profiler's nor loading: the driver waits for the device to take what is queued."""


@dataclass(frozen=True)
class Timeline:
    """One thread's state from each time to the next.

    Attributes:
        times_ns: when the state changes, in order; before the first there is none.
        cause: code into :data:`CAUSES`.
        call: code of the allocation, loading or overhead it is in (:func:`call_names`), -1 for none.
        range_name, operator: code of the innermost open range's and operator's name, -1 for none.
        drain_start_ns, drain_end_ns, drain_call: synchronizing calls by start, the furthest end that any call so far
            has, and the code of the call that has it.
    """

    times_ns: IntArray
    cause: npt.NDArray[np.int8]
    call: CodeArray
    range_name: CodeArray
    operator: CodeArray
    drain_start_ns: IntArray
    drain_end_ns: IntArray
    drain_call: CodeArray

    def drains(self, times_ns: IntArray) -> tuple[IntArray, CodeArray]:
        """(the latest end of the synchronizing calls open at each time, the time itself for none; the call's code)."""
        if not len(self.drain_start_ns):
            return times_ns, np.full(len(times_ns), -1, dtype=np.int32)
        row = np.searchsorted(self.drain_start_ns, times_ns, side="right") - 1
        ends = np.where(row >= 0, self.drain_end_ns[np.maximum(row, 0)], times_ns)
        return np.maximum(ends, times_ns), self.drain_call[np.maximum(row, 0)]


@dataclass(frozen=True)
class _Thread:
    """A thread of a process; -1 for a process that the source does not name."""

    process: int
    thread: int


def call_names(profile: Profile) -> list[str]:
    """The names that the codes of calls stand for: of ``api``, then of ``overhead``."""
    return [*(profile.table("api")["name"].categories or ()), *(profile.table("overhead")["name"].categories or ())]


def timeline(profile: Profile, process: int, thread: int) -> Timeline:
    """The timeline of one thread; -1 for a process that the source does not name."""
    return profile.derived(f"timeline of {process}/{thread}", lambda: _timeline(profile, _Thread(process, thread)))


def _timeline(profile: Profile, of: _Thread) -> Timeline:
    calls, classes = _calls(profile, of)
    overhead = _overhead(profile, of)
    own = _has_times(profile.table("ops"), of)
    ranges = _has_times(profile.table("ranges"), of)
    shared = _shared_ranges(profile, of)
    changing = [
        (calls, np.flatnonzero(np.isin(classes, (host_calls.ALLOCATION, host_calls.MODULE_LOAD)))),
        *((table, np.arange(len(table))) for table in (*overhead, own, ranges, shared)),
    ]
    times = _sorted_times([side for table, rows in changing for side in _sides(table.take(rows))])
    loading = calls.take(classes == host_calls.MODULE_LOAD)
    allocating = calls.take(classes == host_calls.ALLOCATION)
    cause = np.full(len(times), CODE["host"], dtype=np.int8)
    cause[_in_data(times, own, ranges, shared)] = CODE["data"]
    cause[is_open(union(_merged(loading), _merged(overhead[1])), times)] = CODE["module_load"]
    cause[is_open(_merged(allocating), times)] = CODE["allocation"]
    cause[is_open(_merged(overhead[0]), times)] = CODE["profiler_overhead"]
    names_before = len(profile.table("api")["name"].categories or ())
    call = np.full(len(times), -1, dtype=np.int32)
    for code, tables in (
        (CODE["allocation"], ((allocating, 0),)),
        (CODE["module_load"], ((overhead[1], names_before), (loading, 0))),
        (CODE["profiler_overhead"], ((overhead[0], names_before),)),
    ):
        for table, offset in tables:
            at = np.flatnonzero((cause == code) & (call < 0))
            call[at] = _names_open(table, times[at], offset=offset)
    within = _names_open(_places(ranges), times)
    outside = np.flatnonzero(within < 0)
    within[outside] = _names_open(_places(shared), times[outside])
    return Timeline(times, cause, call, within, _names_open(own, times), *_drains(calls, classes))


def _calls(profile: Profile, of: _Thread) -> tuple[Table, npt.NDArray[np.int8]]:
    """(the thread's calls that wait, allocate or load, in order of start; the class of each).

    An asynchronous copy from or to pageable memory is one that waits: it returns when the memory has been read, and of
    a copy to the host when it is done.
    """
    api = profile.table("api")
    classes = profile.derived("classes of calls", lambda: _blocking(profile, host_calls.call_classes(api)))
    rows = np.flatnonzero((classes > 0) & (classes != host_calls.STREAM_WAIT))
    rows = rows[_of_thread(api, of, rows)]
    rows = rows[(api["start_ns"].present & api["dur_ns"].present)[rows]]
    rows = rows[np.argsort(api.ints("start_ns")[rows], kind="stable")]
    return _slim(api, rows), classes[rows]


def _blocking(profile: Profile, classes: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    copies, api = profile.table("copies"), profile.table("api")
    pageable = text_mask(copies, "source_kind", "pageable") | text_mask(copies, "destination_kind", "pageable")
    if pageable.any():
        launch = attribution.launches(profile, "copies")[pageable]
        launch = launch[launch >= 0]
        launch = launch[(host_calls.asynchronous_copies(api) & api["thread"].present)[launch]]
        classes[launch] = host_calls.SYNCHRONIZE
    return classes


def _overhead(profile: Profile, of: _Thread) -> tuple[Table, Table]:
    """(the profiler's own stretches, those of CUDA's loader and compiler) on the thread, or on none that is known."""
    table = profile.table("overhead")
    mine = table["start_ns"].present & table["dur_ns"].present
    for column, number in (("process", of.process), ("thread", of.thread)):  # a place that is not told is anywhere
        mine &= ~table[column].present | (table.ints(column, null=-1) == number)
    cudas = text_mask(table, "kind", *CUDA_OVERHEADS) | text_mask(table, "name", *CUDA_OVERHEADS)
    nobodys = text_mask(table, "kind", *NOBODYS_OVERHEADS) | text_mask(table, "name", *NOBODYS_OVERHEADS)
    return table.take(mine & ~cudas & ~nobodys), table.take(mine & cudas)


def _places(ranges: Table) -> Table:
    """The ranges that say where in its code a thread was; an iteration's number and the window's edges do not."""
    return _chosen(ranges, ~text_mask(ranges, "kind", "iteration", "window"))


def _shared_ranges(profile: Profile, of: _Thread) -> Table:
    """The phases of the whole process: they are recorded for all its threads."""
    ranges, rows = profile.table("ranges"), attribution.ranges_of_kind(profile, "phase")
    return ranges.take(rows[ranges.ints("process", null=-1)[rows] == of.process])


def _in_data(times_ns: IntArray, own: Table, ranges: Table, shared: Table) -> BoolArray:
    """Where the thread fetches data: in a data phase (its own, else the process's), or in PyTorch's data loader."""
    loaders = [_merged(_chosen(table, _starting(table, LOADERS))) for table in (own, ranges)]
    found = is_open(union(*loaders), times_ns)
    undecided = np.arange(len(times_ns))
    for table in (ranges, shared):
        phases = _chosen(table, text_mask(table, "kind", "phase") & table["value"].present)
        row = innermost(phases.ints("start_ns"), ends_ns(phases), times_ns[undecided])
        is_data = text_mask(phases, "value", DATA)
        inside = row >= 0
        found[undecided[inside]] |= is_data[row[inside]]
        undecided = undecided[~inside]
    return found


def _starting(table: Table, beginning: str) -> BoolArray:
    names = [text for text in table["name"].categories or () if text.startswith(beginning)]
    return text_mask(table, "name", *names)


def _chosen(table: Table, mask: BoolArray) -> Table:
    return table.take(np.flatnonzero(mask))


def _names_open(table: Table, times_ns: IntArray, *, offset: int = 0) -> CodeArray:
    """The name's code, plus ``offset``, of the innermost row open at each time; -1 for none."""
    row = innermost(table.ints("start_ns"), ends_ns(table), times_ns)
    found = np.full(len(times_ns), -1, dtype=np.int32)
    inside = row >= 0
    found[inside] = table["name"].values[row[inside]] + offset
    return found


def _drains(calls: Table, classes: npt.NDArray[np.int8]) -> tuple[IntArray, IntArray, CodeArray]:
    waiting = calls.take(classes == host_calls.SYNCHRONIZE)
    ends = ends_ns(waiting)
    reach = np.maximum.accumulate(ends) if len(ends) else ends
    holder = np.maximum.accumulate(np.where(ends == reach, np.arange(len(ends)), 0)) if len(ends) else ends
    return waiting.ints("start_ns"), reach, waiting["name"].values[holder]


def _has_times(table: Table, of: _Thread) -> Table:
    """The thread's rows that have a start and an end."""
    return table.take(_of_thread(table, of) & table["start_ns"].present & table["dur_ns"].present)


def _of_thread(table: Table, of: _Thread, rows: IntArray | None = None) -> BoolArray:
    thread, process = table.ints("thread", null=-1), table.ints("process", null=-1)
    if rows is not None:
        thread, process = thread[rows], process[rows]
    return np.asarray((thread == of.thread) & (process == of.process))


def _slim(table: Table, rows: IntArray) -> Table:
    """The chosen rows with their names and times alone."""
    return Table(table.name, {name: table[name].take(rows) for name in ("name", "start_ns", "dur_ns")})


def _sides(table: Table) -> tuple[IntArray, IntArray]:
    return table.ints("start_ns"), ends_ns(table)


def _merged(table: Table) -> Intervals:
    return merged(*_sides(table))


def _sorted_times(sides: Sequence[IntArray]) -> IntArray:
    """Every time once, in order; one that is before all others first, so that each time has a state."""
    times = np.sort(np.concatenate([np.array([-NEVER]), *sides]), kind="stable")
    return times[np.concatenate(([True], times[1:] > times[:-1]))]
