"""Stretches that the profiler, or CUDA's own loader, took in an Nsight Systems export.

``PROFILER_OVERHEAD`` is the profiler's, ``CUPTI_ACTIVITY_KIND_OVERHEAD`` what CUPTI saw CUDA itself do besides. Newer
files give CUPTI's kind of each; rows without one are the tool's own work: of the kind ``Profiler``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ds2prof.parsers.nsys_rows import Export, Part, joined, process_of, thread_of, timed
from ds2prof.parsers.nsys_strings import constant_text, filled, named
from ds2prof.parsers.nsys_tables import newest
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import Column

TABLES: Final = {"PROFILER_OVERHEAD": "Profiler", "CUPTI_ACTIVITY_KIND_OVERHEAD": "Unknown"}
"""Table -> the kind of its rows that have none."""
KINDS: Final = {
    1: "Unknown",
    2: "Driver Compiler",
    3: "Buffer Flush",
    4: "Instrumentation",
    5: "Resource",
    6: "Runtime Triggered Module Loading",
    7: "Lazy Function Loading",
    8: "Command Buffer Full",
}
"""What each overheadType is, named as PyTorch's traces name it."""


def overhead_columns(export: Export) -> Mapping[str, Column]:
    """The columns of the table ``overhead``."""
    parts = [_part(export, newest(export.database, table), kind) for table, kind in TABLES.items()]
    return joined(export, [part for part in parts if part is not None], SCHEMAS["overhead"])


def _part(export: Export, table: str, kind: str) -> Part | None:
    rows = timed(export, table, ["globalTid", "nameId", "overheadType"], what="overhead row")
    if rows is None:
        return None
    columns, length = rows.columns, len(rows)
    kinds = named(columns["overheadType"], KINDS.get) if "overheadType" in columns else constant_text(kind, length)
    kinds = filled(kinds, kind)
    names = export.strings.column(columns["nameId"]) if "nameId" in columns else kinds
    ready = {"name": filled(names, kinds), "kind": kinds}
    if "globalTid" in columns:
        ready |= {"process": process_of(columns["globalTid"]), "thread": thread_of(columns["globalTid"])}
    ready |= {"start_ns": rows.start_ns, "dur_ns": rows.dur_ns}
    return Part(table, length, ready, rows.kept)
