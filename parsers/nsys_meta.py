"""What an Nsight Systems export says of itself: versions, clock, session, host, processes, threads, lost events.

Times in the file count from the session's start, whose time of day ``TARGET_INFO_SESSION_START_TIME`` gives to the
nanosecond; an export may have shifted them (``--ts-shift``) or counted them from 1970 (``--ts-normalize``), and says
so. Both are undone or done exactly, in integers: times count from 1970 wherever the file tells enough for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof.parsers.kineto_columns import Step
from ds2prof.parsers.nsys_ranges import nvtx_names
from ds2prof.parsers.nsys_rows import MAX_DUR_NS, MAX_TIME_NS
from ds2prof.parsers.nsys_tables import has_rows, newest
from ds2prof.parsers.sqlite_tables import Database, quoted
from ds2prof.tables import Column, int_column, text_column

TOOL: Final = "Nsight Systems"
EPOCH_FLOOR_NS: Final = 10**18
"""September 2001: no session of this tool is older."""
MAX_MESSAGES: Final = 20
_MAX_LINES: Final = 10_000
_MAX_TEXT: Final = 300
_MAX_IDS: Final = 100_000
_SAMPLED_ROWS: Final = 5_000
_GPU_TABLES: Final = (
    *("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_GRAPH_TRACE", "CUPTI_ACTIVITY_KIND_MEMCPY"),
    *("CUPTI_ACTIVITY_KIND_MEMSET", "CUPTI_ACTIVITY_KIND_RUNTIME", "GPU_METRICS"),
)
_PROCESS_IDS: Final = (
    *(("ProcessStreams", "globalPid"), ("PROFILER_OVERHEAD", "globalTid"), ("DIAGNOSTIC_EVENT", "globalPid")),
    *(("TARGET_INFO_CUDA_STREAM", "processId"), ("TARGET_INFO_CUDA_CONTEXT_INFO", "processId")),
    ("TARGET_INFO_CUDA_DEVICE", "pid"),
)
"""Small tables that name the processes which were looked at, as (table, column)."""
_LOSS: Final = re.compile(
    r"(?i)\b(?:lost|dropped|discarded|missing|truncated|incomplete|overflow\w*|not all \w+ events|ran out|"
    r"might (?:have )?not (?:have )?been|could not be collected|driver version [^.]* not supported)\b"
)
_NOT_ALL: Final = re.compile(r"Not all (\w+(?: \w+)*?) events might have been collected")
_NONE_USED: Final = re.compile(r"No (\w+(?: \w+)*?) events collected\. Does the process use")


@dataclass(frozen=True)
class Clock:
    """How the file's times become ours.

    Attributes:
        base_ns: what is added to them.
        name: what ours count from; None for the session's start.
        session_ns: when the session began, in our times; None where that is not known.
        session_start_ns: its time of day, where the file gives it.
    """

    base_ns: int
    name: str | None
    session_ns: int | None
    session_start_ns: int | None


def statements(database: Database) -> dict[str, str]:
    """What the exporter says of itself, by name."""
    found: dict[str, str] = {}
    for table in ("EXPORT_META_DATA", "META_DATA_EXPORT"):
        found.update(_pairs(database, table))
    return found


def _pairs(database: Database, table: str) -> dict[str, str]:
    """The first value of each name in a table of names and values."""
    if not database.has(table, "name", "value"):
        return {}
    found: dict[str, str] = {}
    for name, value in database.rows(f"SELECT name, value FROM {quoted(table)} LIMIT {_MAX_LINES}"):  # noqa: S608
        if isinstance(name, str) and isinstance(value, str):
            found.setdefault(name, value)
    return found


def clock(database: Database, exported: Mapping[str, str]) -> Clock:
    """The clock of the file's times."""
    session = _session_start_ns(database)
    shift = _number(exported.get("EXPORT_PARAM_TIME_SHIFT") or exported.get("EXPORT_CONFIG_TIME_SHIFT")) or 0
    if exported.get("EXPORT_PARAM_TIME_NORMALIZE", "").lower() == "true":
        return Clock(-shift, "unix", session, session)
    if session is None:
        return Clock(-shift, None, 0, None)
    return Clock(session - shift, "unix", session, session)


def _session_start_ns(database: Database) -> int | None:
    if not database.has("TARGET_INFO_SESSION_START_TIME", "utcEpochNs"):
        return None
    for (value,) in database.rows("SELECT utcEpochNs FROM TARGET_INFO_SESSION_START_TIME LIMIT 1"):
        if isinstance(value, int) and EPOCH_FLOOR_NS <= value <= MAX_TIME_NS:
            return value
    return None


def _number(text: str | None) -> int | None:
    found = re.fullmatch(r"[+-]?[0-9]{1,18}", text or "")
    return int(found[0]) if found else None


def span_columns(database: Database, times: Clock) -> dict[str, Column]:
    """The columns of the table ``spans``: the session, from its start on."""
    table = "ANALYSIS_DETAILS"
    if times.session_ns is None or not database.has(table, "duration"):
        return {}
    listed = database.rows(f"SELECT duration FROM {table} LIMIT 64")  # noqa: S608
    durations = [value for (value,) in listed if isinstance(value, int) and 0 < value <= MAX_DUR_NS]
    if not durations:
        return {}
    return {
        "name": text_column(["analysis"] * len(durations)),
        "start_ns": int_column([times.session_ns] * len(durations)),
        "dur_ns": int_column(durations),
    }


def domain_is_gpu(database: Database) -> bool:
    """Whether anything was recorded of a GPU."""
    return any(has_rows(database, newest(database, table)) for table in _GPU_TABLES)


def resolution_ns(database: Database) -> int | None:
    """The step of the device's times, as far as the first kernels tell."""
    table = newest(database, _GPU_TABLES[0])
    if not database.has(table, "start", "end"):
        return None
    rows = database.rows(f"SELECT start, end FROM {quoted(table)} LIMIT {_SAMPLED_ROWS}")  # noqa: S608
    pairs = [pair for pair in rows if all(isinstance(value, int) and 0 <= value <= MAX_TIME_NS for value in pair)]
    step = Step()
    step.add(np.array([end - start for start, end in pairs if end >= start], dtype=np.int64))
    return step.ns


def dialect(exported: Mapping[str, str]) -> str:
    """Which schema the file has."""
    version = exported.get("EXPORT_SCHEMA_VERSION")
    return f"schema {version}" if version else "no metadata, of 2020 or 2021"


def facts(database: Database, exported: Mapping[str, str], times: Clock) -> dict[str, Any]:
    """What else the file states once, for display."""
    captured = _pairs(database, "META_DATA_CAPTURE")
    found = {
        "schema": exported.get("EXPORT_SCHEMA_VERSION"),
        "host": host(database, captured),
        "command": captured.get("PROCESS_0:COMMAND"),
        "cuda_graphs": captured.get("PROCESS_0:CUDA_GRAPH_TRACE_OPTIONS:MODE", "").lower() or None,
        "session_start_ns": times.session_start_ns,
    }
    return {name: value for name, value in found.items() if value is not None}


def host(database: Database, captured: Mapping[str, str] | None = None) -> str | None:
    """The name of the machine that was looked at, where the file tells."""
    if database.has("TARGET_INFO_SYSTEM_ENV", "name", "value"):
        for (value,) in database.rows("SELECT value FROM TARGET_INFO_SYSTEM_ENV WHERE name = 'Hostname' LIMIT 1"):
            if isinstance(value, str) and value:
                return value
    captured = _pairs(database, "META_DATA_CAPTURE") if captured is None else captured
    return captured.get("DEVICE_DISPLAY_NAME") or None


def losses(database: Database) -> list[str]:
    """What the tool's own messages say of events that are missing, a line each."""
    table = "DIAGNOSTIC_EVENT"
    if not database.has(table, "text", "severity"):
        return []
    rows = database.rows(f"SELECT severity, text FROM {table} LIMIT {_MAX_LINES}")  # noqa: S608
    texts = [" ".join(text.split()) for _, text in rows if isinstance(text, str)]
    unused = {found[1] for text in texts if (found := _NONE_USED.match(text))}
    said = dict.fromkeys(text for text in texts if _LOSS.search(text) and not _is_unused(text, unused))
    cut = [text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..." for text in said]
    more = [f"{len(cut) - MAX_MESSAGES} more messages of that kind"] if len(cut) > MAX_MESSAGES else []
    return [f"Nsight Systems noted: {text}" for text in [*cut[:MAX_MESSAGES], *more]]


def _is_unused(text: str, unused: Iterable[str]) -> bool:
    """Whether the message is about something that the process did not use at all."""
    found = _NOT_ALL.match(text)
    return found is not None and found[1] in unused


def process_columns(database: Database) -> dict[str, Column]:
    """The columns of the table ``processes``: those that were looked at, not all that ran on the machine."""
    names: dict[int, str | None] = dict.fromkeys(_processes(database))
    if database.has("PROCESSES", "pid", "name"):
        rows = database.rows(f"SELECT pid, name FROM PROCESSES LIMIT {_MAX_IDS}")  # noqa: S608
        listed = {pid: name for pid, name in rows if isinstance(pid, int) and pid > 0 and isinstance(name, str)}
        names = {pid: listed.get(pid) for pid in names} if names else dict(listed)
    if not names:
        return {}
    known = sorted(names)
    return {
        "process": int_column(known),
        "name": text_column([names[pid] for pid in known]),
        "host": text_column([host(database)] * len(known)),
    }


def _processes(database: Database) -> set[int]:
    """The processes that were looked at."""
    found: set[int] = set()
    for table, column in _PROCESS_IDS:
        if database.has(table, column):
            shift = 24 if column.startswith("global") else 0
            sql = f"SELECT DISTINCT ({column} >> {shift}) & {0xFFFFFF} FROM {table} LIMIT {_MAX_IDS}"  # noqa: S608
            found.update(pid for (pid,) in database.rows(sql) if isinstance(pid, int) and pid > 0)
    return found


def thread_columns(database: Database) -> dict[str, Column]:
    """The columns of the table ``threads``, of the processes that were looked at; NVTX's names before others."""
    wanted = _processes(database)
    names: dict[tuple[int, int], str] = {}
    if database.has("ThreadNames", "nameId", "globalTid") and database.has("StringIds", "id", "value"):
        joined = "ThreadNames JOIN StringIds ON StringIds.id = nameId ORDER BY ThreadNames.rowid"
        rows = database.rows(f"SELECT globalTid, value FROM {joined} LIMIT {_MAX_IDS}")  # noqa: S608
        for global_tid, name in rows:
            if isinstance(global_tid, int) and global_tid > 0 and isinstance(name, str):
                names[(global_tid >> 24) & 0xFFFFFF, global_tid & 0xFFFFFF] = name
    names.update(nvtx_names(database).threads)
    keys = sorted(key for key in names if not wanted or key[0] in wanted)
    if not keys:
        return {}
    return {
        "process": int_column([process for process, _ in keys]),
        "thread": int_column([thread for _, thread in keys]),
        "name": text_column([names[key] for key in keys]),
    }
