"""What an nvprof file says of its surroundings: devices, processes, threads, contexts, and the session it spans."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.devices import chip_of, vendor_of
from ds2prof.parsers.nvprof_sqlite_rows import MAX_DUR_NS, MAX_START_NS, PREFIX, Columns, Strings
from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import int_column, text_column

EPOCH_FLOOR_NS: Final = 10**18
"""September 2001: a time above it counts from the epoch, one below from the machine's start."""
SESSION: Final = "session"

_MAX_LISTED: Final = 10_000
_PROCESS, _THREAD = 1, 2
_INT64_MAX: Final = (1 << 63) - 1
_CALLS: Final = ("RUNTIME", "DRIVER")
_STRETCHES: Final = (
    *("CONCURRENT_KERNEL", "KERNEL", "CDP_KERNEL", "GRAPH_TRACE", "MEMCPY", "MEMCPY2", "MEMSET"),
    *(*_CALLS, "SYNCHRONIZATION", "OVERHEAD"),
)
_MIG: Final = re.compile(r"\bMIG (\d+g\.\d+gb)")
_DEVICE: Final = (
    *("id", "name", "uuid", "numMultiprocessors", "globalMemorySize", "globalMemoryBandwidth", "coreClockRate"),
    *("computeCapabilityMajor", "computeCapabilityMinor", "maxWarpsPerMultiprocessor", "numThreadsPerWarp"),
)


@dataclass(frozen=True)
class Session:
    """From the first record of any kind to the last, ns. The file itself states no span."""

    start_ns: int
    stop_ns: int


def version(database: Database) -> int | None:
    """The version of the database's schema."""
    if not database.has("Version", "version"):
        return None
    found = database.rows("SELECT version FROM Version LIMIT 1")
    return _int(found[0][0]) if found else None


def session(database: Database) -> Session | None:
    """The session; None for a file without records."""
    starts, stops = [], []
    for kind in _STRETCHES:
        if database.has(PREFIX + kind, "start", "end"):
            first, last = _extent(database, kind, "start", "end")
            starts.append(first)
            stops.append(last)
    if database.has(PREFIX + "MARKER", "timestamp"):
        first, last = _extent(database, "MARKER", "timestamp", "timestamp")
        starts.append(first)
        stops.append(last)
    known_starts = [value for value in starts if value is not None]
    known_stops = [value for value in stops if value is not None]
    if not known_starts or not known_stops or max(known_stops) <= min(known_starts):
        return None
    return Session(min(known_starts), max(known_stops))


def _extent(database: Database, kind: str, start: str, end: str) -> tuple[int | None, int | None]:
    """(first start, last end) of the rows whose times can be."""
    plain = f'SELECT min("{start}"), max("{end}") FROM "{PREFIX}{kind}"'  # noqa: S608
    first, last = database.rows(plain)[0]
    if first is None and last is None:
        return None, None
    if type(first) is int and type(last) is int and 0 < first <= last <= first + MAX_DUR_NS <= MAX_START_NS:
        return first, last
    careful = (
        f"{plain} WHERE typeof(\"{start}\") = 'integer' AND typeof(\"{end}\") = 'integer' "
        f'AND "{start}" BETWEEN 1 AND ? AND "{end}" BETWEEN "{start}" AND "{start}" + ?'
    )
    first, last = database.rows(careful, (MAX_START_NS, MAX_DUR_NS))[0]
    return first, last


def a_time(database: Database) -> int | None:
    """A time of some record, ns: what tells the clock; None for a file without records."""
    for kind, column in (*((kind, "start") for kind in _STRETCHES), ("MARKER", "timestamp")):
        if database.has(PREFIX + kind, column):
            sql = f"""SELECT "{column}" FROM "{PREFIX}{kind}" WHERE typeof("{column}") = 'integer' """  # noqa: S608
            found = database.rows(f'{sql} AND "{column}" BETWEEN 1 AND ? LIMIT 1', (MAX_START_NS,))
            if found:
                return int(found[0][0])
    return None


def contexts(database: Database) -> dict[int, int]:
    """Context -> its device."""
    if not database.has(PREFIX + "CONTEXT", "contextId", "deviceId"):
        return {}
    rows = database.rows(f"SELECT contextId, deviceId FROM {PREFIX}CONTEXT LIMIT {_MAX_LISTED}")  # noqa: S608
    return {context: device for context, device in rows if _int(context) is not None and _int(device) is not None}


def processes(database: Database) -> tuple[int, ...]:
    """The processes that made calls; without any, those that the file has a name for."""
    found: set[int] = set()
    for kind in _CALLS:
        if database.has(PREFIX + kind, "processId"):
            rows = database.rows(f"SELECT DISTINCT processId FROM {PREFIX}{kind} LIMIT {_MAX_LISTED}")  # noqa: S608
            found |= {value for (value,) in rows if _int(value) is not None}
    return tuple(sorted(found or {process for kind, process, _, _ in _named(database) if kind == _PROCESS}))


def _named(database: Database) -> list[tuple[int, int, int, object]]:
    """(kind of object, process, thread, number of its name) of the processes and threads that have a name."""
    if not database.has(PREFIX + "NAME", "objectKind", "objectId", "name"):
        return []
    rows = database.rows(f"SELECT objectKind, objectId, name FROM {PREFIX}NAME LIMIT {_MAX_LISTED}")  # noqa: S608
    return [
        (kind, *struct.unpack_from("<II", blob), name)
        for kind, blob, name in rows
        if kind in (_PROCESS, _THREAD) and isinstance(blob, bytes) and len(blob) >= 8
    ]


def process_columns(database: Database, strings: Strings) -> Columns:
    """The columns of the processes table."""
    names = {process: strings.text(name) for kind, process, _, name in _named(database) if kind == _PROCESS}
    found = sorted({*processes(database), *names})
    return {"process": int_column(found), "name": text_column([names.get(process) for process in found])}


def thread_columns(database: Database, strings: Strings) -> Columns:
    """The columns of the threads table: those that made calls, and those with a name."""
    named = _named(database)
    names = {(process, thread): strings.text(name) for kind, process, thread, name in named if kind == _THREAD}
    found = set(names)
    for kind in _CALLS:
        if database.has(PREFIX + kind, "processId", "threadId"):
            sql = f"SELECT DISTINCT processId, threadId FROM {PREFIX}{kind} LIMIT {_MAX_LISTED}"  # noqa: S608
            found |= {
                (process, thread & 0xFFFF_FFFF if -(1 << 31) <= thread < 0 else thread)
                for process, thread in database.rows(sql)
                if type(thread) is int and _int(process) is not None
            }
    ordered = sorted(found)
    return {
        "process": int_column([process for process, _ in ordered]),
        "thread": int_column([thread for _, thread in ordered]),
        "name": text_column([names.get(key) for key in ordered]),
    }


def device_columns(database: Database, strings: Strings) -> Columns:
    """The columns of the devices table. A file often has each device twice; the first row counts."""
    table = PREFIX + "DEVICE"
    there = [name for name in _DEVICE if database.has(table, name)]
    if "id" not in there:
        return {}
    columns = ", ".join(f'"{name}"' for name in there)
    found: dict[int, dict[str, Any]] = {}
    for row in database.rows(f"SELECT {columns} FROM {table} LIMIT {_MAX_LISTED}"):  # noqa: S608
        values = dict(zip(there, row, strict=True))
        if _int(values["id"]) is not None:
            found.setdefault(values["id"], values)
    return _device_columns([found[device] for device in sorted(found)], strings)


def _device_columns(devices: Sequence[dict[str, Any]], strings: Strings) -> Columns:
    names = [strings.text(device.get("name")) for device in devices]
    capabilities = [_capability(device) for device in devices]
    chips = [chip_of(capability, name) for capability, name in zip(capabilities, names, strict=True)]
    return {
        "device": int_column([device["id"] for device in devices]),
        "name": text_column(names),
        "vendor": text_column([vendor_of(name or "") for name in names]),
        "chip": text_column(chips),
        "compute_capability": text_column(capabilities),
        "uuid": text_column([_uuid(device.get("uuid")) for device in devices]),
        "mig": text_column([found[1] if (found := _MIG.search(name or "")) else None for name in names]),
        "sms": int_column([_positive(device, "numMultiprocessors") for device in devices]),
        "memory_bytes": int_column([_positive(device, "globalMemorySize") for device in devices]),
        "sm_clock_hz": int_column([_positive(device, "coreClockRate", per=1000) for device in devices]),
        "memory_bandwidth_bytes_per_s": int_column(
            [_positive(device, "globalMemoryBandwidth", per=1000) for device in devices]
        ),
        "max_threads_per_sm": int_column([_threads_per_sm(device) for device in devices]),
        "warp_size": int_column([_positive(device, "numThreadsPerWarp") for device in devices]),
    }


def _int(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _INT64_MAX else None


def _positive(device: dict[str, Any], name: str, *, per: int = 1) -> int | None:
    """A quantity in its base unit; 0 is not known."""
    value = _int(device.get(name))
    return value * per if value and value * per <= _INT64_MAX else None


def _threads_per_sm(device: dict[str, Any]) -> int | None:
    warps, size = _positive(device, "maxWarpsPerMultiprocessor"), _positive(device, "numThreadsPerWarp")
    return warps * size if warps and size and warps * size <= _INT64_MAX else None


def _capability(device: dict[str, Any]) -> str | None:
    major, minor = _int(device.get("computeCapabilityMajor")), _int(device.get("computeCapabilityMinor"))
    return f"{major}.{minor}" if major and minor is not None else None


def _uuid(blob: object) -> str | None:
    """A device's UUID as nvidia-smi writes it."""
    if not isinstance(blob, bytes) or len(blob) != 16 or not any(blob):
        return None
    digits = blob.hex()
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
