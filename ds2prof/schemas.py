"""The tables of the model, declared: which columns each can have, of which kind, and which it must have.

A column's name ends in its unit. Times are integer nanoseconds of one clock per profile, ratios are in 0..1, and what a
source lacks is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["int", "float", "text"]

_SUMMED = {
    "calls": "int",  # launches, copies or calls that the row stands for, dur_ns being their sum; null means 1
    "min_dur_ns": "int",
    "max_dur_ns": "int",
}
_GRID = {f"{what}_{axis}": "int" for what in ("grid", "block", "cluster") for axis in "xyz"}

SCHEMAS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "kernels": {
        "name": "text",
        "mangled_name": "text",
        "kind": "text",  # kernel, graph, range, command_list, subgrid_schedule; null means kernel
        "process": "int",
        "device": "int",
        "context": "int",
        "stream": "int",
        "correlation": "int",
        "graph": "int",
        "graph_node": "int",
        "start_ns": "int",
        "dur_ns": "int",
        **_SUMMED,  # type: ignore[dict-item]
        **_GRID,  # type: ignore[dict-item]
        "registers": "int",
        "local_bytes_per_thread": "int",
        "shared_bytes": "int",  # static and dynamic together, where the source does not tell them apart
        "static_shared_bytes": "int",
        "dynamic_shared_bytes": "int",
        "blocks_per_sm": "float",
        "occupancy": "float",  # ratio, as the source gave it
        "order": "int",  # launch order as the source numbers it
        "nvtx": "text",  # path of the ranges open at the launch, innermost last, where the source has no times of them
        "iteration": "text",  # the value of the innermost iteration, phase and layer among those
        "phase": "text",
        "layer": "text",
        "external_id": "int",
    },
    "copies": {
        "name": "text",
        "kind": "text",  # memcpy, memset
        **_SUMMED,  # type: ignore[dict-item]
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
        "source_device": "int",
        "destination_device": "int",
        "graph": "int",
        "graph_node": "int",
        "external_id": "int",
    },
    "api": {
        "name": "text",
        "domain": "text",  # runtime, driver, cudnn, cublas, osrt; sync: a wait as CUPTI saw it; backtrace: told twice
        "kind": "text",
        **_SUMMED,  # type: ignore[dict-item]
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
        "concrete": "text",  # the arguments that are no tensors, as JSON: strides, output masks
    },
    "ranges": {
        "name": "text",
        "kind": "text",  # iteration, phase, layer, window, user
        "value": "text",  # what stands behind the kind: 3, forward, rnn.0
        "domain": "text",
        "category": "text",
        "payload": "text",
        "depth": "int",
        **_SUMMED,  # type: ignore[dict-item]
        "process": "int",
        "thread": "int",
        "end_thread": "int",
        "start_ns": "int",
        "dur_ns": "int",  # null for a mark
    },
    "modules": {  # calls of a network's modules, where the source tells them apart from other functions
        "name": "text",  # class and number: Linear_3
        "process": "int",
        "thread": "int",
        "start_ns": "int",
        "dur_ns": "int",
    },
    "counters": {
        "launch": "int",  # row of the kernels table
        "metric": "text",  # as the tool names it
        "unit": "text",  # base unit of the value: ns, byte, ratio, per second...
        "value": "float",
    },
    "samples": {
        "metric": "text",  # as the tool names it
        "unit": "text",  # base unit of the value: ratio, byte, watt, hertz, celsius, per second...
        "value": "float",
        "start_ns": "int",  # when it was read, or when its period began
        "period_ns": "int",  # of the sampling, where the source states it
        "aggregation": "text",  # what the value is of its period: last, mean, max, sum; null where unknown
        "process": "int",
        "device": "int",
        "entity": "text",  # what was sampled where that is no whole device: a MIG instance, a processor core
        "launch": "int",  # row of the kernels table, where the series was sampled within one launch
    },
    "rules": {  # what Nsight Compute's rules say of a launch
        "launch": "int",  # row of the kernels table
        "section": "text",
        "name": "text",
        "kind": "text",  # as the tool has it: optimization, warning, info, error
        "text": "text",
        "speedup_kind": "text",  # global (of the launch) or local (of the part the rule looks at)
        "estimated_speedup": "float",  # ratio of the time that would be saved, as the tool estimates it
    },
    "collectives": {  # what the program asked the communication library for, by the launch that did it
        "launch": "int",  # row of the kernels table
        "name": "text",  # as the source names it: allreduce, _allgather_base, all_to_allv, send
        "process": "int",
        "group": "text",  # the source's name of the process group
        "group_size": "int",
        "ranks": "text",  # of the group, as the source lists them, without blanks; long lists are cut by PyTorch
        "sequence": "int",  # number of the collective within its group, the same on all ranks
        "in_bytes": "int",
        "out_bytes": "int",
        "dtype": "text",
    },
    "iterations": {
        "iteration": "int",
        "wall_ns": "int",
        "samples": "int",
        "audio_s": "float",
        "padded_s": "float",
        "loss": "float",
        "skipped": "int",
        "model_flop": "int",  # of true frames, forward and backward
        "hardware_flop": "int",  # of the batches as they are laid out
    },
    "allocations": {  # allocations and releases on the timeline, as the program's allocator or the driver did them
        "kind": "text",  # who did it: torch (the framework's allocator), or the driver's memory: device, managed, ...
        "device_type": "text",  # cpu, cuda, xpu; null where the source only numbers it
        "device": "int",
        "process": "int",
        "thread": "int",
        "start_ns": "int",
        "size_bytes": "int",  # negative for a release
        "address": "int",
        "allocated_bytes": "int",  # what the allocator had handed out after it, as the source counts
        "reserved_bytes": "int",  # what it had taken from the driver by then
        "correlation": "int",
    },
    "memory": {  # what a device held at a moment of an iteration, by layer and category
        "iteration": "int",
        "moment": "text",  # before_forward ... after_step, peak; layer_forward and _backward: the highest in a layer
        "phase": "text",  # of a peak: the phase that it was reached in
        "device_type": "text",  # cpu, cuda, xpu
        "device": "int",
        "layer": "text",  # path of the module, "model" for what belongs to none
        "category": "text",  # parts (weights, activations, ...); allocated: their sum; reserved, device_used: beside
        "size_bytes": "int",
        "operator": "text",  # of a peak: what ran
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
        "uuid": "text",
        "bus_id": "text",
        "mig": "text",  # profile of the MIG slice (2g.12gb); sms and memory_bytes are then the slice's
        "sms": "int",
        "memory_bytes": "int",
        "sm_clock_hz": "int",  # the highest, as the driver states it
        "memory_bandwidth_bytes_per_s": "int",  # the peak, as the driver states it
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
    "modules": ("name", "start_ns", "dur_ns"),
    "counters": ("launch", "metric", "unit", "value"),
    "samples": ("metric", "unit", "value"),
    "rules": ("launch", "name"),
    "collectives": ("launch", "name"),
    "iterations": ("iteration",),
    "allocations": ("start_ns", "size_bytes"),
    "memory": ("iteration", "moment", "category", "size_bytes"),
    "overhead": ("name",),
    "spans": ("start_ns", "dur_ns"),
    "devices": ("device",),
    "processes": ("process",),
    "threads": ("process", "thread"),
}
