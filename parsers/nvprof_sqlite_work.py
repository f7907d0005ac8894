"""What the device did, out of nvprof's tables: kernels, copies and sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from ds2prof.mangled import demangled
from ds2prof.parsers.nvprof_sqlite_rows import (
    UNNAMED,
    Columns,
    Losses,
    Strings,
    joined,
    mapped,
    nullable,
    read,
    timed,
    unsigned,
)
from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import Column, IntArray, text_column

_PLACE: Final = ("deviceId", "contextId", "streamId", "correlationId")
_GRAPH: Final = ("graphId", "graphNodeId")
_KERNEL: Final[Mapping[str, str]] = {
    "deviceId": "device",
    "contextId": "context",
    "streamId": "stream",
    "correlationId": "correlation",
    "graphId": "graph",
    "graphNodeId": "graph_node",
    "gridX": "grid_x",
    "gridY": "grid_y",
    "gridZ": "grid_z",
    "blockX": "block_x",
    "blockY": "block_y",
    "blockZ": "block_z",
    "clusterX": "cluster_x",
    "clusterY": "cluster_y",
    "clusterZ": "cluster_z",
    "registersPerThread": "registers",
    "localMemoryPerThread": "local_bytes_per_thread",
    "staticSharedMemory": "static_shared_bytes",
    "dynamicSharedMemory": "dynamic_shared_bytes",
}
"""Column of a kernel in the file -> in the model."""

_ZERO_IS_NONE: Final = frozenset({"correlation", "graph", "graph_node", "cluster_x", "cluster_y", "cluster_z"})
KERNEL_TABLES: Final = ("CONCURRENT_KERNEL", "KERNEL", "CDP_KERNEL")
"""The last: kernels that kernels launched, which nvprof counts among the others."""

_COPY_KINDS: Final = ("HtoD", "DtoH", "HtoA", "AtoH", "AtoA", "AtoD", "DtoA", "DtoD", "HtoH", "PtoP")
COPY_NAMES: Final = {number: f"[CUDA memcpy {kind}]" for number, kind in enumerate(_COPY_KINDS, 1)}
"""CUpti_ActivityMemcpyKind -> the name that nvprof gives the copy."""
UNKNOWN_COPY: Final = "[CUDA memcpy]"
SET_NAME: Final = "[CUDA memset]"
MEMORY_KINDS: Final = {
    1: "pageable",
    2: "pinned",
    3: "device",
    4: "array",
    5: "managed",
    6: "device",  # of a static variable
    7: "managed",  # of a static variable
}
"""CUpti_ActivityMemoryKind -> kind of memory."""

OfLaunch = Callable[[Column], Column]
"""The processes of launches with these correlation ids."""


def kernels(database: Database, strings: Strings, *, process_of: OfLaunch, losses: Losses) -> Columns | None:
    """The columns of the kernels table, in the order of the file's rows; None where there are none."""
    parts = []
    for kind in KERNEL_TABLES:
        found = read(database, kind, ["start", "end", "name", *_KERNEL])
        if found is not None:
            parts.append(_kernels(found, strings, process_of=process_of, losses=losses))
    found = read(database, "GRAPH_TRACE", ["start", "end", *_PLACE, "graphId"])
    if found is not None:
        parts = [{**part, "kind": _repeated("kernel", part)} for part in parts]
        parts.append(_graphs(found, process_of=process_of, losses=losses))
    return joined(parts) if parts else None


def _kernels(found: Columns, strings: Strings, *, process_of: OfLaunch, losses: Losses) -> Columns:
    kept, _ = timed(found, table="kernels", losses=losses)
    in_file = strings.column(kept.pop("name"))
    names = _named(in_file, losses=losses)
    mangled = [text if text.startswith("_Z") else None for text in names.categories or ()]
    columns = {
        "name": _recoded(names, [demangled(text) or text for text in names.categories or ()]),
        "start_ns": kept["start_ns"],
        "dur_ns": kept["dur_ns"],
        **_model(kept, _KERNEL),
    }
    if any(mangled):
        columns["mangled_name"] = _recoded(names, mangled)
    columns["process"] = process_of(columns["correlation"])
    return columns


def _named(names: Column, *, losses: Losses) -> Column:
    missing = names.values < 0
    if not missing.any():
        return names
    losses.add("kernels", f"without a name in the file, shown as {UNNAMED}", int(missing.sum()))
    categories = [*(names.categories or ()), UNNAMED]
    return Column(np.where(missing, np.int32(len(categories) - 1), names.values).astype(np.int32), None, categories)


def _recoded(column: Column, texts: Sequence[str | None]) -> Column:
    """The column with each category replaced by the text at its place."""
    coded = text_column(texts)
    return Column(coded.values[column.values], None, coded.categories)


def _model(found: Columns, names: Mapping[str, str]) -> Columns:
    """The columns under the model's names, what stands for nothing made null; columns of nothing but nulls left out."""
    columns = {}
    for name, model in names.items():
        column = nullable(found[name], *((0,) if model in _ZERO_IS_NONE else ()))
        if model == "correlation" or column.present.any():
            columns[model] = column
    return columns


def _graphs(found: Columns, *, process_of: OfLaunch, losses: Losses) -> Columns:
    """Graph launches whose contents the tool hid."""
    kept, _ = timed(found, table="kernels", losses=losses)
    columns = {"start_ns": kept["start_ns"], "dur_ns": kept["dur_ns"], **_model(kept, {**_KERNEL_PLACE})}
    columns["name"] = text_column([f"CUDA graph {number}" for number in kept["graphId"].tolist()])
    columns["kind"] = _repeated("graph", columns)
    columns["process"] = process_of(columns["correlation"])
    return columns


_KERNEL_PLACE: Final = {name: _KERNEL[name] for name in (*_PLACE, "graphId")}


def _repeated(text: str, columns: Columns) -> Column:
    return Column(np.zeros(len(columns["start_ns"]), dtype=np.int32), None, [text])


def copies(database: Database, *, process_of: OfLaunch, losses: Losses) -> Columns | None:
    """The columns of the copies table: copies, copies between devices, sets; None where there are none."""
    parts = []
    for kind, between in (("MEMCPY", ()), ("MEMCPY2", ("srcDeviceId", "dstDeviceId"))):
        wanted = ["start", "end", "copyKind", "srcKind", "dstKind", "bytes", *_PLACE, *_GRAPH, *between]
        found = read(database, kind, wanted)
        if found is not None:
            parts.append(_copies(found, process_of=process_of, losses=losses))
    found = read(database, "MEMSET", ["start", "end", "bytes", "memoryKind", *_PLACE, *_GRAPH])
    if found is not None:
        parts.append(_sets(found, process_of=process_of, losses=losses))
    return joined(parts) if parts else None


_COPY: Final = {
    **{name: _KERNEL[name] for name in (*_PLACE, *_GRAPH)},
    "bytes": "size_bytes",
    "srcDeviceId": "source_device",
    "dstDeviceId": "destination_device",
}


def _copies(found: Columns, *, process_of: OfLaunch, losses: Losses) -> Columns:
    kept, _ = timed(found, table="copies", losses=losses)
    names = mapped(kept["copyKind"], COPY_NAMES)
    categories = [*(names.categories or ()), UNKNOWN_COPY]
    codes = np.where(names.values < 0, len(categories) - 1, names.values).astype(np.int32)
    columns = {
        "name": Column(codes, None, categories),
        "source_kind": mapped(kept["srcKind"], MEMORY_KINDS),
        "destination_kind": mapped(kept["dstKind"], MEMORY_KINDS),
    }
    return _device_work(kept, columns, "memcpy", process_of=process_of)


def _sets(found: Columns, *, process_of: OfLaunch, losses: Losses) -> Columns:
    kept, _ = timed(found, table="copies", losses=losses)
    columns = {"name": _repeated(SET_NAME, kept), "destination_kind": mapped(kept["memoryKind"], MEMORY_KINDS)}
    return _device_work(kept, columns, "memset", process_of=process_of)


def _device_work(kept: Columns, columns: Columns, kind: str, *, process_of: OfLaunch) -> Columns:
    known = {name: model for name, model in _COPY.items() if name in kept}
    columns.update(start_ns=kept["start_ns"], dur_ns=kept["dur_ns"], kind=_repeated(kind, kept))
    columns.update(_model(kept, known))
    columns["process"] = process_of(columns["correlation"])
    return columns


class Processes:
    """Which process launched what. The rows of device work do not tell; those of calls do, by correlation id."""

    def __init__(self, database: Database, known: tuple[int, ...]) -> None:
        self._database = database
        self._known = known
        self._calls: tuple[IntArray, IntArray] | None = None

    def of(self, correlations: Column) -> Column:
        """The process of each launch: the one there is, else that of its call, null where two have such a call."""
        if len(self._known) == 1:
            return Column(np.full(len(correlations), self._known[0], dtype=np.int64))
        keys, processes = self._of_calls()
        if not len(keys):
            return Column(np.zeros(len(correlations), dtype=np.int64), np.zeros(len(correlations), dtype=np.bool_))
        first = np.searchsorted(keys, correlations.values, side="left")
        last = np.searchsorted(keys, correlations.values, side="right") - 1
        at, until = np.minimum(first, len(keys) - 1), np.maximum(last, 0)
        certain = correlations.present & (first <= last) & (processes[at] == processes[until])
        return Column(np.where(certain, processes[at], 0), certain)

    def _of_calls(self) -> tuple[IntArray, IntArray]:
        """(correlation ids, process of each), sorted by both."""
        if self._calls is None:
            parts = []
            for kind in ("RUNTIME", "DRIVER"):
                found = read(self._database, kind, ["correlationId", "processId"])
                if found is not None:
                    parts.append(found)
            both = joined(parts) if parts else {}
            keys = both["correlationId"].values if both else np.zeros(0, dtype=np.int64)
            processes = unsigned(both["processId"]).values if both else keys
            order = np.lexsort((processes, keys))
            self._calls = keys[order], processes[order]
        return self._calls
