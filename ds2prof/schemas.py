"""The tables of the model, declared: which columns each can have, of which kind, and which it must have.

A column's name ends in its unit. Times are integer nanoseconds of one clock per profile, ratios are in 0..1, and what a
source lacks is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["int", "float", "text"]

_GRID = {f"{what}_{axis}": "int" for what in ("grid", "block", "cluster") for axis in "xyz"}

SCHEMAS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "kernels": {
        "name": "text",
        "mangled_name": "text",
        "kind": "text",  # kernel, graph, range; null means kernel
        "process": "int",
        "device": "int",
        "context": "int",
        "stream": "int",
        "correlation": "int",
        "graph": "int",
        "graph_node": "int",
        "start_ns": "int",
        "dur_ns": "int",
        "calls": "int",  # launches that the row stands for; null means 1
        **_GRID,  # type: ignore[dict-item]
        "registers": "int",
        "shared_bytes": "int",  # static and dynamic together, where the source does not tell them apart
        "static_shared_bytes": "int",
        "dynamic_shared_bytes": "int",
        "blocks_per_sm": "float",
        "occupancy": "float",  # ratio, as the source gave it
        "order": "int",  # launch order as the source numbers it
        "external_id": "int",
    },
    "copies": {
        "name": "text",
        "kind": "text",  # memcpy, memset
        "process": "int",
        "device": "int",
        "context": "int",
        "stream": "int",
        "correlation": "int",
        "start_ns": "int",
        "dur_ns": "int",
        "size_bytes": "int",
        "source_kind": "text",  # pageable, pinned, device, array, managed
        "destination_kind": "text",
        "external_id": "int",
    },
    "api": {
        "name": "text",
        "domain": "text",  # runtime, driver, sync (what the device waited for, as the profiler saw it)
        "kind": "text",
        "process": "int",
        "thread": "int",
        "device": "int",
        "stream": "int",
        "start_ns": "int",
        "dur_ns": "int",
        "correlation": "int",
        "external_id": "int",
        "return_code": "int",
    },
    "ops": {
        "name": "text",
        "process": "int",
        "thread": "int",
        "start_ns": "int",
        "dur_ns": "int",
        "external_id": "int",
        "sequence": "int",
        "forward_thread": "int",
        "shapes": "text",
        "dtypes": "text",
    },
    "ranges": {
        "name": "text",
        "kind": "text",  # iteration, phase, layer, window, user
        "value": "text",  # what stands behind the kind: 3, forward, rnn.0
        "domain": "text",
        "process": "int",
        "thread": "int",
        "end_thread": "int",
        "start_ns": "int",
        "dur_ns": "int",  # null for a mark
    },
    "counters": {
        "launch": "int",  # row of the kernels table
        "metric": "text",  # as the tool names it
        "unit": "text",  # base unit of the value: ns, byte, ratio, per second...
        "value": "float",
    },
    "iterations": {
        "iteration": "int",
        "wall_ns": "int",
        "samples": "int",
        "audio_s": "float",
        "padded_s": "float",
        "loss": "float",
        "skipped": "int",
    },
    "overhead": {
        "name": "text",
        "kind": "text",
        "process": "int",
        "thread": "int",
        "start_ns": "int",
        "dur_ns": "int",
    },
    "spans": {  # what the tool itself states to have watched
        "name": "text",
        "process": "int",
        "start_ns": "int",
        "dur_ns": "int",
    },
    "devices": {
        "device": "int",
        "name": "text",
        "vendor": "text",
        "chip": "text",
        "compute_capability": "text",
        "sms": "int",
        "memory_bytes": "int",
        "max_threads_per_sm": "int",
        "warp_size": "int",
    },
    "processes": {
        "process": "int",
        "name": "text",
        "host": "text",
        "rank": "int",
    },
    "threads": {
        "process": "int",
        "thread": "int",
        "name": "text",
    },
}
"""Table -> column -> kind. Times are integer nanoseconds of one clock per profile, ratios are in 0..1."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "kernels": ("name",),
    "copies": ("name", "kind"),
    "api": ("name",),
    "ops": ("name", "start_ns", "dur_ns"),
    "ranges": ("name", "kind"),
    "counters": ("launch", "metric", "unit", "value"),
    "iterations": ("iteration",),
    "overhead": ("name",),
    "spans": ("start_ns", "dur_ns"),
    "devices": ("device",),
    "processes": ("process",),
    "threads": ("process", "thread"),
}
