"""Calls in an Nsight Systems export: CUDA's runtime and driver, cuDNN, cuBLAS, the operating system, and waits.

=====================================  ==============================================================================
table                                  rows
=====================================  ==============================================================================
CUPTI_ACTIVITY_KIND_RUNTIME            calls of both CUDA interfaces; eventClass tells which
CUDNN_EVENTS, CUBLAS_EVENTS            calls of those libraries
OSRT_API                               calls of the operating system's runtime (eventClass 27; others are notes)
CUPTI_ACTIVITY_KIND_SYNCHRONIZATION    what the device waited for, as CUPTI saw it: no host thread, domain ``sync``
=====================================  ==============================================================================

CUDA's names lose the version of the interface that CUPTI puts behind them (``cudaMemcpy_v3020``), as in the tool's own
statistics. eventClass 67 repeats calls that were recorded with a backtrace, under the same correlation id: those rows
are of the domain ``backtrace``, so that no call is counted twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from ds2prof.parsers.nsys_rows import (
    PLACE,
    Export,
    Part,
    Timed,
    at_least,
    joined,
    placed,
    process_of,
    thread_of,
    timed,
)
from ds2prof.parsers.nsys_strings import coded, constant_text, distinct_values, filled, named
from ds2prof.parsers.nsys_tables import newest
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import Column

CALLS: Final = "CUPTI_ACTIVITY_KIND_RUNTIME"
WAITS: Final = "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"
LIBRARIES: Final = {"CUDNN_EVENTS": "cudnn", "CUBLAS_EVENTS": "cublas", "OSRT_API": "osrt"}
DOMAINS: Final = {0: "runtime", 1: "driver", 13: "driver", 67: "backtrace"}
"""eventClass of a CUDA call -> its domain."""
OSRT_CALL: Final = 27
"""eventClass of the calls in OSRT_API; others tell that the collection began or ended."""
SYNCS: Final = {1: "Event Sync", 2: "Stream Wait Event", 3: "Stream Sync", 4: "Context Sync"}
"""What each syncType of CUPTI waits for, named as PyTorch's traces name it."""
NAMELESS: Final = "(call without a name)"
_VERSION: Final = re.compile(r"_v[0-9]{4,5}\Z")
_LATER: Final = {"return_code": "returnValue"}


def api_columns(export: Export) -> Mapping[str, Column]:
    """The columns of the table ``api``."""
    calls = _calls(export, newest(export.database, CALLS), None)
    libraries = [_calls(export, newest(export.database, table), domain) for table, domain in LIBRARIES.items()]
    parts = [part for part in (calls, *libraries, _waits(export)) if part is not None]
    return joined(export, parts, SCHEMAS["api"])


def plain_name(name: str) -> str:
    """The name of a call of CUDA's without the version that CUPTI puts behind it."""
    return _VERSION.sub("", name)


def _calls(export: Export, table: str, domain: str | None) -> Part | None:
    """The calls in a table; those of CUDA's own interfaces where no domain is given."""
    rows = timed(export, table, ["eventClass", "globalTid", "nameId", "correlationId"], what=f"{domain or 'CUDA'} call")
    if rows is None:
        return None
    if domain == "osrt" and "eventClass" in rows.columns:
        rows = _chosen(rows, rows.columns["eventClass"].values == OSRT_CALL)
    columns = rows.columns
    names = _names(export, columns.get("nameId"), len(rows), is_cuda=domain is None)
    ready = {"name": names}
    ready["domain"] = constant_text(domain, len(rows)) if domain else _domains(columns.get("eventClass"), names)
    if "globalTid" in columns:
        ready |= {"process": process_of(columns["globalTid"]), "thread": thread_of(columns["globalTid"])}
    ready |= {"start_ns": rows.start_ns, "dur_ns": rows.dur_ns}
    if "correlationId" in columns:
        ready["correlation"] = at_least(columns["correlationId"], 1)
        if domain is None:
            export.warn(_conflicts(ready), "CUDA call", "with the correlation id of an earlier, separate call")
    there = _LATER["return_code"] in export.database.tables[table]
    return Part(table, len(rows), ready, rows.kept, [_LATER] if there else [], total=rows.total)


def _conflicts(columns: Mapping[str, Column]) -> int:
    """How many calls have the process and correlation id of another that was over before they began.

    A call within a call may share its id: the runtime's and the driver's, for one launch.
    """
    ids, start, dur = columns["correlation"], columns["start_ns"].values, columns["dur_ns"].values
    rows = np.flatnonzero(ids.present)
    if bool((np.diff(ids.values[rows]) > 0).all()):
        return 0  # each id once, as an export in order of its calls has them
    keys = distinct_values(ids.values[rows])[1].astype(np.int64)
    if "process" in columns and len(rows):
        distinct, codes = distinct_values(columns["process"].values[rows])
        keys = keys * len(distinct) + codes
    distinct, codes = distinct_values(keys)
    if len(distinct) == len(rows):
        return 0
    shared = np.bincount(codes, minlength=len(distinct))[codes] > 1
    rows, keys = rows[shared], keys[shared]
    order = np.lexsort((start[rows], keys))
    rows, keys = rows[order], keys[order]
    same = keys[1:] == keys[:-1]
    return int((same & (start[rows[1:]] > start[rows[:-1]] + dur[rows[:-1]])).sum())


def _chosen(rows: Timed, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Timed:
    if mask.all():
        return rows
    at = np.flatnonzero(mask)
    kept = at if rows.kept is None else rows.kept[at]
    columns = {name: column.take(at) for name, column in rows.columns.items()}
    return Timed(rows.start_ns.take(at), rows.dur_ns.take(at), columns, kept, rows.total)


def _names(export: Export, ids: Column | None, length: int, *, is_cuda: bool) -> Column:
    if ids is None:
        return constant_text(NAMELESS, length)
    found = export.strings.column(ids, change=plain_name if is_cuda else None)
    export.warn(int((found.values < 0).sum()), "call", "without a name: its text is not in the file")
    return filled(found, NAMELESS)


def _domains(classes: Column | None, names: Column) -> Column:
    """The domain of each CUDA call: by its class, else by its name (``cuda...`` or ``cu...``)."""
    by_name = coded(map(_domain_of, names.categories or ()), names.values)
    return by_name if classes is None else filled(named(classes, DOMAINS.get), by_name)


def _domain_of(name: str) -> str | None:
    if name.startswith("cuda"):
        return "runtime"
    return "driver" if name.startswith("cu") else None


def _waits(export: Export) -> Part | None:
    table = newest(export.database, WAITS)
    rows = timed(export, table, [*PLACE.values(), "syncType"], what="wait")
    if rows is None:
        return None
    place = placed(export, rows.columns)
    place.pop("context", None)
    ready = {"name": _wait_names(rows.columns.get("syncType"), len(rows)), "domain": constant_text("sync", len(rows))}
    return Part(table, len(rows), {**ready, **place, "start_ns": rows.start_ns, "dur_ns": rows.dur_ns}, rows.kept)


def _wait_names(kinds: Column | None, length: int) -> Column:
    return constant_text("Sync", length) if kinds is None else filled(named(kinds, SYNCS.get), "Sync")
