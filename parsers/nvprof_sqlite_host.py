"""What the host did, out of nvprof's tables: calls, waits, NVTX ranges, the profiler's own overhead."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from ds2prof.config import RANGE_DOMAIN
from ds2prof.parsers.nvprof_calls import call_name
from ds2prof.parsers.nvprof_sqlite_rows import (
    MAX_DUR_NS,
    MAX_START_NS,
    UNNAMED,
    Columns,
    Losses,
    Strings,
    blobs,
    damaged,
    joined,
    mapped,
    nullable,
    ranked,
    read,
    timed,
    unsigned,
)
from ds2prof.parsers.range_names import in_domain, kinds_of_ranges
from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import Column, IntArray, text_column

WAITS: Final = {1: "Event Sync", 2: "Stream Wait Event", 3: "Stream Sync", 4: "Context Sync"}
"""CUpti_ActivitySynchronizationType -> name of a wait, as in PyTorch's traces."""

OVERHEADS: Final = {
    1: "Driver Compiler",
    1 << 16: "Buffer Flush",
    2 << 16: "Instrumentation",
    3 << 16: "Resource",
    4 << 16: "Runtime Triggered Module Loading",
    5 << 16: "Lazy Function Loading",
    6 << 16: "Command Buffer Full",
    7 << 16: "Activity Buffer Request",
    8 << 16: "UVM Activity Init",
}
"""CUpti_ActivityOverheadKind -> name, as in PyTorch's traces."""

_MARK, _START, _END = 1, 2, 4
_PROCESS, _THREAD = 1, 2


def api(database: Database, devices: dict[int, int], *, losses: Losses) -> Columns | None:
    """The columns of the api table: calls into the runtime and the driver, and waits as CUPTI saw them.

    Args:
        database: the file.
        devices: context -> its device.
        losses: told of what is left out.
    """
    parts = []
    for kind, domain in (("RUNTIME", "runtime"), ("DRIVER", "driver")):
        wanted = ["start", "end", "cbid", "processId", "threadId", "correlationId", "returnValue"]
        found = read(database, kind, wanted)
        if found is not None:
            parts.append(_calls(found, domain, losses=losses))
    found = read(database, "SYNCHRONIZATION", ["start", "end", "type", "correlationId", "contextId", "streamId"])
    if found is not None:
        parts.append(_waits(found, devices, losses=losses))
    return joined(parts) if parts else None


def _calls(found: Columns, domain: str, *, losses: Losses) -> Columns:
    kept, _ = timed(found, table="api", losses=losses)
    columns = {
        "name": _call_names(kept["cbid"], domain),
        "domain": _constant(domain, len(kept["cbid"])),
        "process": nullable(kept["processId"]),
        "thread": unsigned(kept["threadId"]),
        "start_ns": kept["start_ns"],
        "dur_ns": kept["dur_ns"],
        "correlation": nullable(kept["correlationId"], 0),
        "return_code": nullable(kept["returnValue"]),
    }
    twice = _repeats(columns["process"], columns["correlation"])
    losses.add("api", f"of the {domain} whose correlation id another call of their process has", twice)
    return columns


def _call_names(numbers: Column, domain: str) -> Column:
    distinct, inverse = np.unique(np.where(numbers.present, numbers.values, -1), return_inverse=True)
    names = text_column([call_name(domain, number if number >= 0 else None) for number in distinct.tolist()])
    return Column(names.values[inverse], None, names.categories)


def _repeats(processes: Column, correlations: Column) -> int:
    """How many calls have a (process, correlation id) that an earlier one has."""
    known = correlations.present
    ids = correlations.values[known]
    if len(ids) < 2 or bool((np.diff(ids) > 0).all()):
        return 0
    order = np.lexsort((processes.values[known], ids))
    pairs = ids[order], processes.values[known][order]
    return int(np.logical_and(*(part[1:] == part[:-1] for part in pairs)).sum())


def _waits(found: Columns, devices: dict[int, int], *, losses: Losses) -> Columns:
    kept, _ = timed(found, table="api", losses=losses)
    names = mapped(kept["type"], WAITS)
    categories = [*(names.categories or ()), "Sync"]
    codes = np.where(names.values < 0, len(categories) - 1, names.values).astype(np.int32)
    distinct, inverse = np.unique(kept["contextId"].values, return_inverse=True)
    found_devices = np.array([devices.get(context, -1) for context in distinct.tolist()], dtype=np.int64)[inverse]
    return {
        "name": Column(codes, None, categories),
        "domain": _constant("sync", len(codes)),
        "device": Column(found_devices, kept["contextId"].present & (found_devices >= 0)),
        "stream": nullable(kept["streamId"]),
        "start_ns": kept["start_ns"],
        "dur_ns": kept["dur_ns"],
        "correlation": nullable(kept["correlationId"], 0),
    }


def _constant(text: str, length: int) -> Column:
    return Column(np.zeros(length, dtype=np.int32), None, [text])


def overhead(database: Database, *, losses: Losses) -> Columns | None:
    """The columns of the overhead table: what the profiler itself and the driver's compiler and loader took."""
    found = read(database, "OVERHEAD", ["start", "end", "overheadKind"])
    if found is None:
        return None
    kept, rows = timed(found, table="overhead", losses=losses)
    names = mapped(kept["overheadKind"], OVERHEADS)
    categories = [*(names.categories or ()), "Unknown"]
    processes, threads = objects(database, "OVERHEAD", length=len(found["start"]))
    return {
        "name": Column(
            np.where(names.values < 0, len(categories) - 1, names.values).astype(np.int32), None, categories
        ),
        "process": processes.take(rows),
        "thread": threads.take(rows),
        "start_ns": kept["start_ns"],
        "dur_ns": kept["dur_ns"],
    }


def objects(database: Database, kind: str, *, length: int) -> tuple[Column, Column]:
    """(process, thread) of each row's ``objectId``, in the order of the rows: what the row belongs to."""
    found = read(database, kind, ["objectKind"])
    if found is None or len(found["objectKind"]) != length:
        raise damaged(database, kind)
    kinds = found["objectKind"].values
    raw, readable = blobs(database, kind, "objectId", size=8, length=length)
    pairs = raw.view("<u4").astype(np.int64).reshape(-1, 2)
    has_process = readable & np.isin(kinds, (_PROCESS, _THREAD))
    has_thread = readable & (kinds == _THREAD)
    return Column(pairs[:, 0].copy(), has_process), Column(pairs[:, 1].copy(), has_thread)


def ranges(database: Database, strings: Strings, *, losses: Losses) -> Columns | None:
    """The columns of the ranges table: NVTX ranges by their two markers, and marks; None where there are none."""
    found = read(database, "MARKER", ["flags", "timestamp", "id", "name", "domain"])
    if found is None:
        return None
    processes, threads = objects(database, "MARKER", length=len(found["id"]))
    found.update(process=processes, thread=threads)
    found = _readable(found, losses=losses)
    begun, ended = (np.flatnonzero(found["flags"].values & flag) for flag in (_START, _END))
    starts, ends = _pairs(found, begun, ended)
    losses.add("ranges", "left out, begun but not ended in the file", len(begun) - len(starts))
    losses.add("ranges", "left out, ended but not begun in the file", len(ended) - len(starts))
    marks = np.flatnonzero(found["flags"].values & _MARK)
    times = found["timestamp"].values
    lengths = times[ends] - times[starts]
    for reason, bad in (("ending before they start", lengths < 0), ("longer than a week", lengths > MAX_DUR_NS)):
        losses.add("ranges", f"left out, {reason}", int(bad.sum()))
    good = (lengths >= 0) & (lengths <= MAX_DUR_NS)
    starts, ends, lengths = starts[good], ends[good], lengths[good]
    rows = np.concatenate([starts, marks])
    columns = _range_columns(found, rows, strings, losses=losses)
    is_range = np.arange(len(rows)) < len(starts)
    columns["dur_ns"] = Column(np.concatenate([lengths, np.zeros(len(marks), dtype=np.int64)]), is_range)
    end_threads = found["thread"].take(np.concatenate([ends, marks]))
    columns["end_thread"] = Column(end_threads.values, end_threads.present & is_range)
    columns.update(_marker_data(database, found["id"].take(rows)))
    return columns


def _readable(found: Columns, *, losses: Losses) -> Columns:
    """The markers whose flags, id and time are there."""
    times = found["timestamp"]
    good = times.present & (times.values > 0) & (times.values <= MAX_START_NS)
    good &= found["flags"].present & found["id"].present
    losses.add("ranges", "left out, markers without a time that can be", int((~good).sum()))
    return {name: column.take(good) for name, column in found.items()}


def _pairs(found: Columns, begun: IntArray, ended: IntArray) -> tuple[IntArray, IntArray]:
    """(rows that begin a range, rows that end it): same process, same id, in order where an id comes more than once."""
    rows = np.concatenate([begun, ended])
    keys = np.stack([found["id"].values[rows], np.where(found["process"].present, found["process"].values, -1)[rows]])
    order = np.lexsort((rows, keys[0], keys[1]))
    is_new = np.ones(len(rows), dtype=np.bool_)
    is_new[1:] = (keys[:, order][:, 1:] != keys[:, order][:, :-1]).any(axis=0)
    number = np.empty(len(rows), dtype=np.int64)
    number[order] = np.cumsum(is_new)
    first = ranked(number[: len(begun)])[0]
    second = ranked(number[len(begun) :])[0]
    _, at, to = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    in_order = np.argsort(at)
    return begun[at[in_order]], ended[to[in_order]]


def _range_columns(found: Columns, rows: IntArray, strings: Strings, *, losses: Losses) -> Columns:
    names = strings.column(found["name"].take(rows))
    missing = names.values < 0
    losses.add("ranges", f"without a name in the file, shown as {UNNAMED}", int(missing.sum()))
    domains = strings.column(found["domain"].take(rows))
    plain = [*(names.categories or ()), UNNAMED]
    categories = [*plain, *(in_domain(name, RANGE_DOMAIN) for name in plain)]
    codes = np.where(missing, len(plain) - 1, names.values).astype(np.int32)
    own = np.array([text == RANGE_DOMAIN for text in domains.categories or ()] + [False], dtype=np.bool_)
    codes[own[domains.values]] += np.int32(len(plain))
    meanings = kinds_of_ranges(categories)
    kinds = text_column([kind for kind, _ in meanings])
    values = text_column([value for _, value in meanings])
    columns = {
        "name": Column(codes, None, categories),
        "kind": Column(kinds.values[codes], None, kinds.categories),
        "value": Column(values.values[codes], None, values.categories),
        "process": found["process"].take(rows),
        "thread": found["thread"].take(rows),
        "start_ns": found["timestamp"].take(rows),
    }
    return {**columns, "domain": domains} if domains.categories else columns


def _marker_data(database: Database, ids: Column) -> Columns:
    """The category and payload of the markers with these ids, as text, where the file has any."""
    found = read(database, "MARKER_DATA", ["id", "category", "payloadKind"])
    if found is None:
        return {}
    raw, readable = blobs(database, "MARKER_DATA", "payload", size=8, length=len(found["id"]))
    keys, first = np.unique(found["id"].values, return_index=True)
    at = np.minimum(np.searchsorted(keys, ids.values), len(keys) - 1)
    rows = np.where(keys[at] == ids.values, first[at], -1)
    numbers, category = np.unique(found["category"].values, return_inverse=True)
    kinds = np.where(found["payloadKind"].present, found["payloadKind"].values, -1)
    pairs = np.stack([kinds, np.where(readable, raw.view("<i8").reshape(-1), 0)])
    payloads, payload = np.unique(pairs, axis=1, return_inverse=True)
    coded = {
        "category": (category, text_column([str(number) if number > 0 else None for number in numbers.tolist()])),
        "payload": (payload.reshape(-1), text_column([_payload(kind, value) for kind, value in payloads.T.tolist()])),
    }
    return {
        name: Column(np.where(rows >= 0, texts.values[codes[rows]], -1).astype(np.int32), None, texts.categories)
        for name, (codes, texts) in coded.items()
        if texts.categories
    }


def _payload(kind: int, bits: int) -> str | None:
    """A payload as text. A zero is what markers without a payload have too: None."""
    form = _PAYLOADS.get(kind)
    if form is None or not bits:
        return None
    value = struct.unpack(form, struct.pack("<q", bits))[0]
    return repr(value) if isinstance(value, float) else str(value)


_PAYLOADS: Final = {0: "<d", 1: "<Q", 4: "<q"}
"""CUpti_MetricValueKind of a payload -> its form."""
