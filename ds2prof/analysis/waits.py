"""What each stream of a device waited for between its operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ds2prof.analysis import host_calls, ledger_sets
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.intervals import merged
from ds2prof.analysis.ledger_sets import (
    Gaps,
    Operations,
    both_tables,
    busy_sets,
    check_times,
    covered_ns,
    gaps_of,
    launch_of,
    length_ns,
    operations,
    with_moments,
    worked_devices,
)
from ds2prof.analysis.windows import text_mask
from ds2prof.tables import BoolArray, IntArray, Profile

TABLES: Final = ledger_sets.TABLES
BY: Final = "wait"
WAITS: Final = ("busy", "not_launched", "event_wait", "other_stream", "queued", "unknown", "head", "tail")
"""What a stream's window is split into, in order; each is a column ``<wait>_ns``."""
CUPTI_WAIT: Final = "Stream Wait Event"
_NONE: Final = np.iinfo(np.int64).min
_Stream = tuple[int | None, int | None]
"""(device, stream)"""


def stream_waits(profile: Profile) -> Answer:
    """For each stream of each device, its window split: the columns ``*_ns`` of a row sum to the window exactly.

    ``busy`` is the union of what ran on the stream. A gap that ends with an operation launched in the call [l0, l1] is
    ``not_launched`` up to l1; behind that, while other streams of the device ran, ``event_wait`` where the stream had
    been told to wait for an event since the launch before (cudaStreamWaitEvent), else ``other_stream``; and ``queued``
    while the whole device stood idle. ``head`` and ``tail`` lie before the stream's first operation and after its last.
    ``share`` is busy over the window.

    Blind spots: that another stream ran does not prove that it was waited for; events that another device or the host
    signals show as ``queued`` where this device stood idle; streams that did nothing have no row.

    Raises:
        MissingDataError: the profile cannot be accounted for in time.
    """
    check_times(profile)
    columns: dict[str, list[Any]] = {"device": [], "stream": [], **{f"{wait}_ns": [] for wait in WAITS}, "share": []}
    for device in worked_devices(profile):
        window = busy_sets(profile, device).window
        for stream, waits_ns in _device_waits(profile, device):
            row = {"device": device, "stream": stream, "share": ratio(waits_ns["busy"], window.length_ns)}
            row.update({f"{wait}_ns": waits_ns[wait] for wait in WAITS})
            for name, value in row.items():
                columns[name].append(value)
    return Answer(BY, columns, _notes(profile))


def _device_waits(profile: Profile, device: int | None) -> Iterator[tuple[int | None, dict[str, int]]]:
    """(stream, ns of each wait) of the streams that did anything in the window, in order."""
    found = operations(profile, device)
    of_kernels, of_copies = (profile.table(work).ints("stream", null=_NONE) for work in ("kernels", "copies"))
    streams = both_tables(of_kernels, of_copies, found.row)
    order = np.argsort(streams, kind="stable")
    edges = np.flatnonzero(np.diff(streams[order])) + 1
    for rows in np.split(order, edges) if len(order) else ():
        stream = int(streams[rows[0]])
        part = Operations(found.start_ns[rows], found.end_ns[rows], found.row[rows])
        number = None if stream == _NONE else stream
        yield number, _waits(profile, (device, number), part)


def _waits(profile: Profile, of: _Stream, found: Operations) -> dict[str, int]:
    sets = busy_sets(profile, of[0])
    busy = with_moments(merged(found.start_ns, found.end_ns), found.start_ns, found.end_ns)
    gaps = gaps_of(profile, found, busy)
    api = profile.table("api")
    is_linked = gaps.launch >= 0
    returned = (api.ints("start_ns") + api.ints("dur_ns"))[gaps.launch] if len(api) else gaps.end_ns
    ready = np.clip(np.where(is_linked, returned, gaps.end_ns), gaps.start_ns, gaps.end_ns)
    length, late = gaps.end_ns - gaps.start_ns, ready - gaps.start_ns
    others = covered_ns(sets.busy, gaps.end_ns) - covered_ns(sets.busy, ready)  # the stream itself is idle here
    behind_event = _behind_events(profile, of, found, gaps)
    return {
        "busy": length_ns(busy),
        "not_launched": int(late[is_linked].sum()),
        "event_wait": int(others[is_linked & behind_event].sum()),
        "other_stream": int(others[is_linked & ~behind_event].sum()),
        "queued": int((length - late - others)[is_linked].sum()),
        "unknown": int(length[~is_linked].sum()),
        "head": int(busy[0][0]) - sets.window.start_ns,
        "tail": sets.window.stop_ns - int(busy[1][-1]),
    }


def _behind_events(profile: Profile, of: _Stream, found: Operations, gaps: Gaps) -> BoolArray:
    """Whether the stream was told to wait for an event between the launch that ends each gap and the launch before."""
    told = _event_waits(profile, of)
    launch = launch_of(profile, found.row)
    if not len(told) or not (launch >= 0).any():
        return np.zeros(len(gaps), dtype=np.bool_)
    starts = profile.table("api").ints("start_ns")
    launches = np.unique(starts[launch[launch >= 0]])
    own = starts[gaps.launch]  # of a gap without a launch any number: it is not asked for
    place = np.searchsorted(launches, own)
    before = np.where(place > 0, launches[np.maximum(place, 1) - 1], np.iinfo(np.int64).min)
    return np.asarray(np.searchsorted(told, own) > np.searchsorted(told, before))


def _event_waits(profile: Profile, of: _Stream) -> IntArray:
    """When the stream, by its number and device (or its number alone), was told to wait for an event, in order."""
    told = profile.derived("waits for events", lambda: _all_event_waits(profile))
    found = [told[key] for key in dict.fromkeys((of, (None, of[1]))) if key in told]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *found]))


def _all_event_waits(profile: Profile) -> dict[_Stream, IntArray]:
    """(device, stream) -> when it was told to wait; device None where the rows name none.

    The call itself seldom names its stream; CUPTI's own record of it does.
    """
    api = profile.table("api")
    names = [name for name in api["name"].categories or () if host_calls.call_class(name) == host_calls.STREAM_WAIT]
    rows = np.flatnonzero(text_mask(api, "name", *names, CUPTI_WAIT) & api["stream"].present & api["start_ns"].present)
    found: dict[_Stream, list[int]] = {}
    devices, streams = api["device"].take(rows).tolist(), api["stream"].take(rows).tolist()
    for device, stream, start in zip(devices, streams, api.ints("start_ns")[rows].tolist(), strict=True):
        found.setdefault((device, stream), []).append(start)
    return {of: np.array(sorted(times)) for of, times in found.items()}


def _notes(profile: Profile) -> tuple[str, ...]:
    classes = [host_calls.call_class(name) for name in profile.table("api")["name"].categories or ()]
    if host_calls.STREAM_WAIT in classes and not profile.derived("waits for events", lambda: _all_event_waits(profile)):
        return ("no wait for an event names its stream in this file: it stands under other_stream, or queued",)
    return ()
