"""Where the events of a trace stand: processes and threads of the viewer, their names and their order.

A device is a process whose threads are its streams; a host process has its threads. What overlaps on a thread without
nesting has lanes of its own beside it (:mod:`.lanes`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof.analysis.groups import combined
from ds2prof.report.exports.lanes import lanes
from ds2prof.tables import IntArray, Profile

HOST, DEVICE, SYNC, IDLE, OVERHEAD, SPAN = range(6)
"""The kinds of rows: threads, streams, what these waited for, why a device was idle, overhead, the tool's span."""
OF_DEVICES: Final = (DEVICE, SYNC, IDLE)
UNKNOWN: Final = -1
_DEVICE_OFFSET: Final = 1_000_000_000
_LARGEST_ID: Final = (1 << 31) - 1
"""Viewers keep ids in 32 bits or in a double; greater ones are written as text, which they take for a name."""


@dataclass(frozen=True)
class Spot:
    """A row of the viewer.

    Attributes:
        pid: as JSON; tid: as JSON.
        kind: what it shows.
        process: the process, or of a device's row the device; UNKNOWN where the profile does not tell.
        thread: the thread, or of a device's row the stream.
        lane: 0, or which of those beside it.
    """

    pid: str
    tid: str
    kind: int
    process: int
    thread: int
    lane: int


@dataclass(frozen=True)
class Places:
    """The rows of the viewer, and which of them each event stands on."""

    spots: Sequence[Spot]
    of_event: IntArray


def places(kinds: IntArray, processes: IntArray, threads: IntArray, *, start_ns: IntArray, end_ns: IntArray) -> Places:
    """The place of each event, by its kind of row and the numbers of process (or device) and thread (or stream)."""
    tracks, _ = combined([kinds, processes, threads]) if len(kinds) else (kinds, 0)
    lane = lanes(tracks, start_ns, end_ns)
    codes, _ = combined([tracks, lane]) if len(kinds) else (kinds, 0)
    _, first, of_event = np.unique(codes, return_index=True, return_inverse=True)
    keys = np.stack([kinds[first], processes[first], threads[first], lane[first]], axis=1).tolist()
    hosts = {process for kind, process, _, _ in keys if kind in (HOST, OVERHEAD)}
    return Places([_spot(*key, hosts=hosts) for key in keys], of_event.reshape(-1).astype(np.int64))


def _spot(kind: int, process: int, thread: int, lane: int, *, hosts: set[int]) -> Spot:
    return Spot(_pid(kind, process, hosts), _tid(kind, thread, lane), kind, process, thread, lane)


def device_pid(device: int, hosts: set[int]) -> str:
    """The process that stands for a device, as JSON: its ordinal, as PyTorch has it, unless a host process has it."""
    if device == UNKNOWN:
        return '"GPU"'
    return str(device if device not in hosts else device + _DEVICE_OFFSET)


def _pid(kind: int, process: int, hosts: set[int]) -> str:
    if kind == SPAN:
        return '"Spans"'
    if kind in OF_DEVICES:
        return device_pid(process, hosts)
    return '"host"' if process == UNKNOWN else _id(process)


def _tid(kind: int, thread: int, lane: int) -> str:
    beside = f" ({lane + 1})" if lane else ""
    if kind == SPAN:
        return json.dumps(f"profiler{beside}")
    if kind == IDLE:
        return json.dumps(f"idle{beside}")
    if kind == SYNC:
        return json.dumps(f"waits of {_stream(thread)}{beside}")
    if thread == UNKNOWN:
        nowhere = {DEVICE: "no stream", OVERHEAD: "overhead"}.get(kind, "no thread")
        return json.dumps(f"{nowhere}{beside}")
    # Zeros before the number make a name of its own for a lane, in which readers still find the number.
    return json.dumps(f"stream {'0' * lane}{thread}") if lane else _id(thread)


def _id(number: int) -> str:
    return str(number) if 0 <= number <= _LARGEST_ID else f'"{number}"'


def _stream(thread: int) -> str:
    return "no stream" if thread == UNKNOWN else f"stream {thread}"


def metadata(found: Places, profile: Profile) -> list[dict[str, Any]]:
    """The events of phase M: names and order of processes and threads. ``pid`` and ``tid`` are plain values."""
    made: dict[tuple[str, str, str], dict[str, Any]] = {}
    names, threads = _process_names(profile), _thread_names(profile)
    for spot in found.spots:
        if spot.kind in OF_DEVICES:
            name = "GPU" if spot.process == UNKNOWN else f"GPU {spot.process}"
            about = {"process_name": names.get(UNKNOWN, name), "process_labels": name}
            order = 1_000 + max(spot.process, 0)
        elif spot.kind == SPAN:
            about, order = {"process_name": "profiler", "process_labels": "Spans"}, 1_000_000
        else:
            about, order = {"process_name": names.get(spot.process, "host"), "process_labels": "CPU"}, 0
        for key, text in about.items():
            made[key, spot.pid, ""] = _named(key, spot, {"labels" if key == "process_labels" else "name": text})
        made["process_sort_index", spot.pid, ""] = _named("process_sort_index", spot, {"sort_index": order})
        row = _row_name(spot, threads)
        made["thread_name", spot.pid, spot.tid] = _named("thread_name", spot, {"name": row})
    _number_rows(found.spots, made)
    return list(made.values())


def _named(key: str, spot: Spot, arguments: dict[str, Any]) -> dict[str, Any]:
    whole = key.startswith("process_")
    tid = 0 if whole else json.loads(spot.tid)
    return {"ph": "M", "name": key, "pid": json.loads(spot.pid), "tid": tid, "ts": 0, "args": arguments}


def _number_rows(spots: Sequence[Spot], made: dict[tuple[str, str, str], dict[str, Any]]) -> None:
    """Order the rows of each process: by kind, number and lane, so that a lane follows what it stands beside."""
    ordered = sorted(spots, key=lambda spot: (spot.kind, spot.process, spot.thread, spot.lane))
    for place, spot in enumerate(ordered):
        made["thread_sort_index", spot.pid, spot.tid] = _named("thread_sort_index", spot, {"sort_index": place})


def _row_name(spot: Spot, threads: dict[tuple[int, int], str]) -> str:
    beside = f" (overlapping, {spot.lane + 1})" if spot.lane else ""
    if spot.kind == DEVICE:
        return _stream(spot.thread) + beside
    if spot.kind == SYNC:
        return f"waits of {_stream(spot.thread)}{beside}"
    if spot.kind == SPAN:
        return f"profiler{beside}"
    if spot.kind == IDLE:
        return f"idle, by cause{beside}"
    if spot.thread == UNKNOWN:
        return ("overhead" if spot.kind == OVERHEAD else "no thread stated") + beside
    return (threads.get((spot.process, spot.thread)) or f"thread {spot.thread}") + beside


def _process_names(profile: Profile) -> dict[int, str]:
    """The name of each process; of the only one also where events tell none."""
    table = profile.table("processes")
    rows = zip(table.ints("process").tolist(), table["name"].tolist(), strict=True)
    names = {process: name for process, name in rows if name}
    if len(names) == 1:
        names[UNKNOWN] = next(iter(names.values()))
    return names


def _thread_names(profile: Profile) -> dict[tuple[int, int], str]:
    table = profile.table("threads")
    keys = zip(table.ints("process").tolist(), table.ints("thread").tolist(), strict=True)
    return {key: name for key, name in zip(keys, table["name"].tolist(), strict=True) if name}
