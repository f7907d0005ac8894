"""Kernels in an Nsight Systems export, and CUDA graphs that were recorded as a whole.

``CUPTI_ACTIVITY_KIND_KERNEL`` has a row for each kernel; within CUDA graphs too, where the capture asked for the nodes
(``--cuda-graph-trace=node``). Otherwise ``CUPTI_ACTIVITY_KIND_GRAPH_TRACE`` has a row for each launch of a graph, from
the first node's start to the last one's end: a launch of kind ``graph``, whose contents are unknown. Where both tables
tell of one graph launch, its kernels stand and the whole is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from ds2prof.parsers.nsys_rows import FORMS, PLACE, Export, Part, Timed, aligned, joined, placed, timed
from ds2prof.parsers.nsys_strings import constant_text, distinct_values, filled, named
from ds2prof.parsers.nsys_tables import has_rows, newest
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import BoolArray, Column

KERNELS: Final = "CUPTI_ACTIVITY_KIND_KERNEL"
GRAPHS: Final = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
NAMELESS: Final = "(kernel without a name)"
_NAMES: Final = ("demangledName", "shortName", "mangledName")
_AXES: Final = ("x", "y", "z")
_LATER: Final[tuple[Mapping[str, str], ...]] = (
    {f"{what}_{axis}": f"{what}{axis.upper()}" for what in ("grid", "block") for axis in _AXES},
    {"graph": "graphId", "graph_node": "graphNodeId"},
    {
        "registers": "registersPerThread",
        "local_bytes_per_thread": "localMemoryPerThread",
        "static_shared_bytes": "staticSharedMemory",
        "dynamic_shared_bytes": "dynamicSharedMemory",
    },
    {f"cluster_{axis}": f"cluster{axis.upper()}" for axis in _AXES},
)
_KINDS: Final = SCHEMAS["kernels"]


def kernel_columns(export: Export) -> Mapping[str, Column]:
    """The columns of the table ``kernels``."""
    kernels = _kernels(export)
    graphs = _graphs(export, kernels)
    return joined(export, [part for part in (kernels, graphs) if part is not None], _KINDS)


def _kernels(export: Export) -> Part | None:
    table = newest(export.database, KERNELS)
    # What tells launches apart is not needed for time by name: half of what else would be read of each.
    needs_launch = not export.is_plain or has_rows(export.database, newest(export.database, GRAPHS))
    place = PLACE if needs_launch else {"device": PLACE["device"]}
    rows = timed(export, table, [*place.values(), _NAMES[0]], what="kernel")
    if rows is None:
        return None
    ready = {"name": _names(export, table, rows), **placed(export, rows.columns)}
    ready |= {"start_ns": rows.start_ns, "dur_ns": rows.dur_ns}
    there = export.database.tables[table]
    groups = [{ours: name for ours, name in PLACE.items() if ours not in place}, *_LATER]
    later = [{ours: name for ours, name in group.items() if name in there} for group in groups]
    texts = {"mangled_name": "mangledName"} if "mangledName" in there else {}
    return Part(table, len(rows), ready, rows.kept, [group for group in later if group], texts, rows.total)


def _names(export: Export, table: str, rows: Timed) -> Column:
    """The full demangled name of each kernel, else its short or mangled one."""
    names = _texts(export, rows.columns.get(_NAMES[0]), len(rows))
    for other in _NAMES[1:]:
        if not (names.values < 0).any():
            return names
        if not export.database.has(table, other):
            continue
        ids = export.database.columns(table, [other])[other]
        aligned(export.database, table, [ids], rows.total)
        names = filled(names, _texts(export, ids if rows.kept is None else ids.take(rows.kept), len(rows)))
    export.warn(int((names.values < 0).sum()), "kernel", "without a name: its text is not in the file")
    return filled(names, NAMELESS)


def _texts(export: Export, ids: Column | None, length: int) -> Column:
    if ids is None:
        return Column(np.full(length, -1, dtype=np.int32), None, [])
    return export.strings.column(ids)


def _graphs(export: Export, kernels: Part | None) -> Part | None:
    """Launches of whole graphs; not those whose kernels are known."""
    table = newest(export.database, GRAPHS)
    rows = timed(export, table, [*PLACE.values(), "graphId"], what="CUDA graph launch")
    if rows is None:
        return None
    ready = {"kind": constant_text("graph", len(rows)), **placed(export, rows.columns)}
    graph = FORMS["graph"](rows.columns["graphId"]) if "graphId" in rows.columns else None
    ready |= {"name": _graph_names(graph, len(rows)), "start_ns": rows.start_ns, "dur_ns": rows.dur_ns}
    if graph is not None:
        ready["graph"] = graph
    part = Part(table, len(rows), ready, rows.kept)
    unknown = _not_among(part, kernels)
    if unknown.all():
        return _warned(export, part)
    known = int((~unknown).sum())
    export.warn(known, "CUDA graph launch", "recorded as a whole and by kernels too: the kernels are taken")
    kept = np.flatnonzero(unknown)
    if not len(kept):
        return None
    taken = {name: column.take(kept) for name, column in ready.items()}
    return _warned(export, Part(table, len(kept), taken, kept if rows.kept is None else rows.kept[kept]))


def _warned(export: Export, part: Part) -> Part:
    what = "recorded as a whole: its kernels are unknown; capture with --cuda-graph-trace=node"
    export.warn(part.length, "CUDA graph launch", what)
    return part


def _graph_names(graph: Column | None, length: int) -> Column:
    if graph is None:
        return constant_text("CUDA graph", length)
    return filled(named(graph, lambda number: f"CUDA graph {number}"), "CUDA graph")


def _not_among(graphs: Part, kernels: Part | None) -> BoolArray:
    """Mask of the graph launches of which no kernel is known: none has their process and correlation."""
    if kernels is None or "correlation" not in graphs.ready or "correlation" not in kernels.ready:
        return np.ones(graphs.length, dtype=np.bool_)
    ours, theirs = graphs.ready["correlation"], kernels.ready["correlation"]
    candidates = np.flatnonzero(theirs.present & np.isin(theirs.values, ours.values[ours.present]))
    keys = distinct_values(np.concatenate([ours.values, theirs.values[candidates]]))[1].astype(np.int64)
    if "process" in graphs.ready and "process" in kernels.ready:
        processes = np.concatenate([graphs.ready["process"].values, kernels.ready["process"].values[candidates]])
        distinct, codes = distinct_values(processes)
        keys = keys * len(distinct) + codes
    found: BoolArray = ~(np.isin(keys[: graphs.length], keys[graphs.length :]) & ours.present)
    return found
