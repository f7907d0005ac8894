"""Memory that a program took from the driver and gave back, in an Nsight Systems export.

``CUDA_GPU_MEMORY_USAGE_EVENTS`` (``--cuda-memory-usage=true``) has a row per call: ``start``, ``bytes``, ``address``,
``memKind`` and ``memoryOperationType``, which is 0 for an allocation and 1 for a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from ds2prof.parsers.nsys_copies import MEMORIES
from ds2prof.parsers.nsys_rows import Export, aligned, at_least, in_reach, placed, raised
from ds2prof.parsers.nsys_strings import named
from ds2prof.tables import Column

TABLE: Final = "CUDA_GPU_MEMORY_USAGE_EVENTS"
_ALLOCATION, _RELEASE = 0, 1
_NAMES: Final = ("start", "bytes", "memoryOperationType")
_MORE: Final = ("globalPid", "deviceId", "correlationId", "address", "memKind")


def allocation_columns(export: Export) -> Mapping[str, Column]:
    """The columns of the table ``allocations``."""
    if not export.database.has(TABLE, *_NAMES):
        return {}
    columns = export.database.columns(TABLE, [*_NAMES, *_MORE])
    aligned(export.database, TABLE, columns.values(), len(columns["start"]))
    operation, size = columns["memoryOperationType"], columns["bytes"]
    known = operation.present & np.isin(operation.values, (_ALLOCATION, _RELEASE)) & size.present & (size.values >= 0)
    usable = in_reach(columns["start"])
    export.warn(int((~usable).sum()), "allocation", "left out, no readable time")
    export.warn(int((usable & ~known).sum()), "allocation", "left out, no readable size or of an unknown kind")
    rows = np.flatnonzero(usable & known)
    if not len(rows):
        return {}
    taken = {name: column.take(rows) for name, column in columns.items()}
    signs = np.where(taken["memoryOperationType"].values == _RELEASE, -1, 1)
    found = {
        "start_ns": Column(raised(taken["start"].values, export.base_ns)),
        "size_bytes": Column(taken["bytes"].values * signs),
        **{
            name: column
            for name, column in placed(export, taken).items()
            if name in ("process", "device", "correlation")
        },
    }
    if "address" in taken:
        found["address"] = at_least(taken["address"])
    if "memKind" in taken:
        found["kind"] = named(taken["memKind"], lambda kind: MEMORIES[kind] if 0 <= kind < len(MEMORIES) else None)
    return found
