"""Copies and sets in an Nsight Systems export: ``CUPTI_ACTIVITY_KIND_MEMCPY`` and ``CUPTI_ACTIVITY_KIND_MEMSET``.

They are named as nvprof and Nsight Systems print them: ``[CUDA memcpy HtoD]``, ``[CUDA memset]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ds2prof.parsers.nsys_rows import PLACE, Export, Part, Timed, at_least, joined, placed, timed
from ds2prof.parsers.nsys_strings import constant_text, filled, named
from ds2prof.parsers.nsys_tables import newest
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import Column

COPIES: Final = "CUPTI_ACTIVITY_KIND_MEMCPY"
SETS: Final = "CUPTI_ACTIVITY_KIND_MEMSET"
UNKNOWN: Final = "[CUDA memcpy]"
OPERATIONS: Final = (
    None,
    *(f"[CUDA memcpy {way}]" for way in ("HtoD", "DtoH", "HtoA", "AtoH", "AtoA")),
    *(f"[CUDA memcpy {way}]" for way in ("AtoD", "DtoA", "DtoD", "HtoH", "PtoP")),
    *(f"[CUDA Unified Memory memcpy {way}]" for way in ("HtoD", "DtoH", "DtoD")),
)
"""What each copyKind is: CUPTI's numbers, and from 11 on Nsight Systems' for what moves by itself."""
MEMORIES: Final = ("pageable", "pinned", "device", "array", "managed", "device static", "managed static", None)
"""What each srcKind, dstKind and memKind is, in Nsight Systems' numbers."""
_COPY_NAMES: Final = ("bytes", "copyKind", "srcKind", "dstKind")
_DEVICES: Final = {"source_device": "srcDeviceId", "destination_device": "dstDeviceId"}
_GRAPHS: Final = {"graph": "graphId", "graph_node": "graphNodeId"}


def copy_columns(export: Export) -> Mapping[str, Column]:
    """The columns of the table ``copies``."""
    parts = [part for part in (_copies(export), _sets(export)) if part is not None]
    return joined(export, parts, SCHEMAS["copies"])


def _copies(export: Export) -> Part | None:
    table = newest(export.database, COPIES)
    rows = timed(export, table, [*PLACE.values(), *_COPY_NAMES, *_DEVICES.values()], what="copy")
    if rows is None:
        return None
    ready = _common(export, rows, "memcpy")
    ready["name"] = _operations(rows.columns.get("copyKind"), len(rows))
    for name, ours in (("srcKind", "source_kind"), ("dstKind", "destination_kind")):
        if name in rows.columns:
            ready[ours] = named(rows.columns[name], _memory)
    for ours, name in _DEVICES.items():
        if name in rows.columns:
            ready[ours] = export.devices(at_least(rows.columns[name]), ready.get("process"))
    return _part(export, table, rows, ready)


def _sets(export: Export) -> Part | None:
    table = newest(export.database, SETS)
    rows = timed(export, table, [*PLACE.values(), "bytes", "memKind"], what="set")
    if rows is None:
        return None
    ready = _common(export, rows, "memset")
    ready["name"] = constant_text("[CUDA memset]", len(rows))
    if "memKind" in rows.columns:
        ready["destination_kind"] = named(rows.columns["memKind"], _memory)
    return _part(export, table, rows, ready)


def _common(export: Export, rows: Timed, kind: str) -> dict[str, Column]:
    found = {"kind": constant_text(kind, len(rows)), **placed(export, rows.columns)}
    found |= {"start_ns": rows.start_ns, "dur_ns": rows.dur_ns}
    if "bytes" in rows.columns:
        found["size_bytes"] = at_least(rows.columns["bytes"], none=())
    return found


def _part(export: Export, table: str, rows: Timed, ready: Mapping[str, Column]) -> Part:
    later = {ours: name for ours, name in _GRAPHS.items() if name in export.database.tables[table]}
    return Part(table, len(rows), ready, rows.kept, [later] if later else [], total=rows.total)


def _memory(kind: int) -> str | None:
    return MEMORIES[kind] if 0 <= kind < len(MEMORIES) else None


def _operation(kind: int) -> str | None:
    return OPERATIONS[kind] if 0 <= kind < len(OPERATIONS) else None


def _operations(kinds: Column | None, length: int) -> Column:
    """The name of each copy by its kind."""
    return constant_text(UNKNOWN, length) if kinds is None else filled(named(kinds, _operation), UNKNOWN)
