"""What each operation of a device waited for last: the edges that a critical path is walked back along.

An operation can start when the one before it in its stream has ended, when its launch is in, and, where its stream was
told to wait for an event, when the work of other streams has ended. Whichever came last held it up. A launch is made
when the host gets to it; the host in turn was held up by the last call of its thread that waited for the device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.attribution import launches
from ds2prof.analysis.groups import combined
from ds2prof.analysis.windows import ends_ns, text_mask
from ds2prof.kernel_names import kernel_class
from ds2prof.tables import BoolArray, IntArray, Profile, Table

COMPUTE, COMMUNICATION, COPY = 0, 1, 2
_SYNCHRONIZE: Final = re.compile(r"(?:cuda|cu|hip)(?:Device|Stream|Ctx|Event)Synchronize")
_COPYING: Final = re.compile(r"(?:cuda|cu|hip)Memcpy")
_WAIT: Final = re.compile(r"(?:cuda|cu|hip)StreamWaitEvent|Stream Wait Event")
_NEVER: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class Work:
    """Device operations in order of (end, start), with what each waited for.

    Attributes:
        is_kernel, row: which table each comes from, and its row there.
        start_ns, end_ns, kind: of each operation.
        call: row of api that launched it, -1 for none.
        before: place of the operation that its start waited for, -1 where that was the host (or nothing).
        launched_ns: when the launch was in, at the latest its start; its start where no call is recorded.
        behind: for an operation that waited for the host, place of the operation that the host itself waited for.
        freed_ns: when that wait of the host was over.
    """

    is_kernel: BoolArray
    row: IntArray
    start_ns: IntArray
    end_ns: IntArray
    kind: IntArray
    call: IntArray
    before: IntArray
    launched_ns: IntArray
    behind: IntArray
    freed_ns: IntArray

    def __len__(self) -> int:
        return len(self.row)


def work(profile: Profile) -> Work:
    """All timed operations of all devices with their edges."""
    return profile.derived("edges of the critical path", lambda: _work(profile))


def _work(profile: Profile) -> Work:
    api = profile.table("api")
    columns = [_operations(profile, profile.table("kernels"), launches(profile, "kernels"), is_kernel=True)]
    columns.append(_operations(profile, profile.table("copies"), launches(profile, "copies"), is_kernel=False))
    is_kernel, row, start, end, kind, call, device, stream = (
        np.concatenate(parts) for parts in zip(*columns, strict=True)
    )
    order = np.lexsort((start, end))
    is_kernel, row, start, end, kind, call, device, stream = (
        column[order] for column in (is_kernel, row, start, end, kind, call, device, stream)
    )
    returned = np.where(call >= 0, ends_ns(api)[call], start) if len(api) else start
    launched = np.minimum(returned, start)
    lanes, _ = combined([device, stream]) if len(start) else (device, device)
    before = _latest_before(start, end, lanes)
    before = _with_event_waits(api, before, start, end, lanes, call=call, launched=launched)
    held_by_device = (before >= 0) & ((call < 0) | (end[before] >= launched))
    behind, freed = _host_waits(api, start, end, call, launched)
    ranks = np.arange(len(start))
    behind = np.where(~held_by_device & (behind < ranks), behind, -1)
    before = np.where(held_by_device & (before < ranks), before, -1)
    return Work(is_kernel.astype(np.bool_), row, start, end, kind, call, before, launched, behind, freed)


def _operations(profile: Profile, table: Table, calls: IntArray, *, is_kernel: bool) -> tuple[IntArray, ...]:
    rows = np.flatnonzero(table["start_ns"].present & table["dur_ns"].present)
    if is_kernel:
        classes = [kernel_class(name) == "communication" for name in table["name"].categories or ()]
        kind = np.array([*classes, False], dtype=np.int64)[table["name"].values[rows]] * COMMUNICATION
    else:
        kind = np.full(len(rows), COPY, dtype=np.int64)
    columns = (table.ints("start_ns"), ends_ns(table))
    places = (table.ints("device", null=-1), table.ints("stream", null=-1))
    flags = np.full(len(rows), int(is_kernel), dtype=np.int64)
    return (flags, rows, *(column[rows] for column in columns), kind, calls[rows], *(place[rows] for place in places))


def _latest_before(start: IntArray, end: IntArray, lanes: IntArray) -> IntArray:
    """For each operation (in order of ends), the one of its lane that ended last, no later than it starts; -1: none.

    Of operations without a length at one time each waits for the one before it in the order.
    """
    count = len(start)
    found = np.full(count, -1, dtype=np.int64)
    for lane in np.unique(lanes).tolist():
        rows = np.flatnonzero(lanes == lane)
        place = np.searchsorted(end[rows], start[rows], side="right") - 1
        place = np.minimum(place, np.arange(len(rows)) - 1)
        found[rows] = np.where(place >= 0, rows[place], -1)
    return found


def _with_event_waits(
    api: Table, before: IntArray, start: IntArray, end: IntArray, lanes: IntArray, *, call: IntArray, launched: IntArray
) -> IntArray:
    """``before``, where the thread told a stream to wait for an event since its last launch: of all lanes the last.

    Which event and which stream the source does not always say: the next launch of the thread is taken to be meant.
    """
    names = api["name"].categories or ()
    waits = np.flatnonzero(text_mask(api, "name", *(name for name in names if _WAIT.match(name))))
    waits = waits[~text_mask(api, "domain", "sync")[waits]]
    if not len(waits) or not len(start):
        return before
    threads, _ = combined([api.ints("process", null=-1), api.ints("thread", null=-1)])
    any_lane = np.minimum(np.searchsorted(end, start, side="right") - 1, np.arange(len(start)) - 1)
    told = np.zeros(len(start), dtype=np.bool_)
    for thread in np.unique(threads[waits]).tolist():
        own = np.flatnonzero((call >= 0) & (threads[call] == thread))
        times = api.ints("start_ns")[call[own]]
        order = np.argsort(times, kind="stable")
        calls = np.unique(api.ints("start_ns")[waits[threads[waits] == thread]])
        following = np.searchsorted(times[order], calls)
        told[own[order[following[following < len(own)]]]] = True
    return np.where(told & (any_lane > before), any_lane, before)


def _host_waits(
    api: Table, start: IntArray, end: IntArray, call: IntArray, launched: IntArray
) -> tuple[IntArray, IntArray]:
    """(operation that the launching thread last waited for before its launch was in, when that wait was over)."""
    behind, freed = np.full(len(start), -1, dtype=np.int64), np.full(len(start), _NEVER)
    rows, waited_for = effective_waits(api, end, call)
    if not len(rows):
        return behind, freed
    threads, _ = combined([api.ints("process", null=-1), api.ints("thread", null=-1)])
    over = ends_ns(api)[rows]
    for thread in np.unique(threads[rows]).tolist():
        own = np.flatnonzero(threads[rows] == thread)
        own = own[np.argsort(over[own], kind="stable")]
        asked = np.flatnonzero((call >= 0) & (threads[call] == thread))
        place = np.searchsorted(over[own], launched[asked], side="right") - 1
        known = place >= 0
        behind[asked[known]] = waited_for[own[place[known]]]
        freed[asked[known]] = over[own[place[known]]]
    return behind, freed


def effective_waits(api: Table, end: IntArray, call: IntArray) -> tuple[IntArray, IntArray]:
    """(calls that waited for the device, the operation that each waited for last), ``end`` being in order.

    A synchronize call waited for the last operation to end while it was open, a copying call for its own copy, where
    that ended before the call returned. Which stream a synchronize call meant the source does not always say: on a
    device with several busy streams the operation may be another stream's.
    """
    names = api["name"].categories or ()
    usable = api["dur_ns"].present & ~text_mask(api, "domain", "sync", "backtrace")
    if not len(end) or not len(api):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    rows = np.flatnonzero(usable & text_mask(api, "name", *(name for name in names if _SYNCHRONIZE.match(name))))
    last = np.searchsorted(end, ends_ns(api)[rows], side="right") - 1
    waited = (last >= 0) & (end[last] > api.ints("start_ns")[rows])
    copying = text_mask(api, "name", *(name for name in names if _COPYING.match(name)))
    own = np.flatnonzero((call >= 0) & copying[call] & (end <= ends_ns(api)[call]))
    return np.concatenate((rows[waited], call[own])), np.concatenate((last[waited], own))
