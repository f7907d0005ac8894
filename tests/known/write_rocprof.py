"""A truth as rocprofv3 writes it: its JSON, and the table of kernels as CSV. CUDA's calls become HIP's."""

from __future__ import annotations

import json
from typing import Any

from tests.known.truth import Kernel, Run

ZERO_NS = 63_855_100_000_000
_KINDS = ("NONE", "HIP_RUNTIME_API", "MARKER_CORE_API", "MEMORY_COPY", "KERNEL_DISPATCH")
_DIRECTIONS = {"HtoD": 1, "DtoH": 2, "set": 1}


def document(run: Run) -> str:
    """The text of ``..._results.json``: one element for each process."""
    processes = sorted({call.process for call in run.calls})
    return json.dumps({"rocprofiler-sdk-tool": [_process(run, process) for process in processes]})


def _process(run: Run, process: int) -> dict[str, Any]:
    names = list(dict.fromkeys(kernel.full_name for kernel in run.kernels))
    calls = [call for call in run.calls if call.process == process]
    functions = ["hipApiName", *dict.fromkeys(_hip(call.name) for call in calls)]
    ranges = [each for each in run.ranges if each.process == process]
    strings = [{"key": number, "value": f"ds2prof:{each.kind}:{each.value}"} for number, each in enumerate(ranges, 1)]
    return {
        "metadata": {"node": {"id": 0, "hostname": "node7"}, "pid": process, "init_time": ZERO_NS - 1_000_000,
                     "fini_time": ZERO_NS + 1_000_000_000, "command": ["python", "train.py"]},
        "agents": [_agent(node) for node in range(3)],
        "counters": [],
        "strings": {"callback_records": [], "buffer_records": _operations(functions), "marker_api": strings},
        "code_objects": [],
        "kernel_symbols": [{"size": 88, "kernel_id": number, "code_object_id": 1, "kernel_name": f"{name}.kd",
                            "formatted_kernel_name": name} for number, name in enumerate(names, 1)],
        "host_functions": [],
        "callback_records": {"counter_collection": []},
        "buffer_records": {
            "kernel_dispatch": [_dispatch(kernel, number, names) for number, kernel in enumerate(run.kernels, 1)
                                if kernel.process == process],
            "hip_api": [_record(1, functions.index(_hip(call.name)), call, call.correlation, call.thread)
                        for call in calls],
            "marker_api": [_record(2, 1, each, number, each.thread) for number, each in enumerate(ranges, 1)],
            "memory_copy": [
                _record(3, _DIRECTIONS[copy.kind], copy, copy.correlation, copy.process)
                | {"dst_agent_id": {"handle": 10 if copy.kind == "DtoH" else 11 + copy.device},
                   "src_agent_id": {"handle": 11 + copy.device if copy.kind == "DtoH" else 10},
                   "bytes": copy.size_bytes, "stream_id": {"handle": copy.stream}}
                for copy in run.copies if copy.process == process
            ],
        },
    }  # fmt: skip


def _hip(name: str) -> str:
    """HIP's function for one of CUDA's."""
    return "hip" + name.removeprefix("cuda").removeprefix("cu")


def _agent(node: int) -> dict[str, Any]:
    gpu = {"cu_count": 304, "wave_front_size": 64, "name": "gfx942", "product_name": "AMD Instinct MI300X"}
    common = {"size": 312, "id": {"handle": 10 + node}, "node_id": node, "logical_node_id": node}
    if not node:
        return {**common, "type": 1, "logical_node_type_id": 0, "name": "AMD EPYC", "product_name": "AMD EPYC"}
    return {**common, "type": 2, "logical_node_type_id": node - 1, "location_id": 256 * node, "domain": 0, **gpu}


def _operations(functions: list[str]) -> list[dict[str, Any]]:
    of = {
        "HIP_RUNTIME_API": functions,
        "MARKER_CORE_API": ["roctxMarkA", "roctxRangePushA"],
        "MEMORY_COPY": ["MEMORY_COPY_NONE", "MEMORY_COPY_HOST_TO_DEVICE", "MEMORY_COPY_DEVICE_TO_HOST"],
        "KERNEL_DISPATCH": ["KERNEL_DISPATCH_NONE", "KERNEL_DISPATCH_ENQUEUE", "KERNEL_DISPATCH_COMPLETE"],
    }
    return [{"kind": kind, "operations": of.get(kind, [])} for kind in _KINDS]


def _record(kind: int, operation: int, each: Any, correlation: int, thread: int) -> dict[str, Any]:
    return {
        "size": 48,
        "kind": kind,
        "operation": operation,
        "correlation_id": {"internal": correlation, "external": 0},
        "start_timestamp": ZERO_NS + each.start,
        "end_timestamp": ZERO_NS + each.end,
        "thread_id": thread,
    }


def _dispatch(kernel: Kernel, number: int, names: list[str]) -> dict[str, Any]:
    work_items = [groups * size for groups, size in zip(kernel.grid, kernel.block, strict=True)]
    info = {
        "size": 72,
        "agent_id": {"handle": 11 + kernel.device},
        "queue_id": {"handle": kernel.stream},
        "kernel_id": 1 + names.index(kernel.full_name),
        "dispatch_id": number,
        "workgroup_size": dict(zip("xyz", kernel.block, strict=True)),
        "grid_size": dict(zip("xyz", work_items, strict=True)),
    }
    told = _record(4, 2, kernel, kernel.correlation, kernel.process)
    return {**told, "dispatch_info": info, "stream_id": {"handle": kernel.stream}}


_KERNELS = (
    '"Kind","Agent_Id","Queue_Id","Stream_Id","Thread_Id","Dispatch_Id","Kernel_Id","Kernel_Name","Correlation_Id",'
    '"Start_Timestamp","End_Timestamp","LDS_Block_Size","Scratch_Size","VGPR_Count","Accum_VGPR_Count","SGPR_Count",'
    '"Workgroup_Size_X","Workgroup_Size_Y","Workgroup_Size_Z","Grid_Size_X","Grid_Size_Y","Grid_Size_Z"'
)


def kernels_csv(run: Run) -> str:
    """The text of ``..._kernel_trace.csv``."""
    lines = [_KERNELS]
    for number, kernel in enumerate(run.kernels, start=1):
        grid = ",".join(str(groups * size) for groups, size in zip(kernel.grid, kernel.block, strict=True))
        block = ",".join(map(str, kernel.block))
        lines.append(
            f'"KERNEL_DISPATCH","Agent {kernel.device}",1,{kernel.stream},900,{number},1,"{kernel.full_name}",'
            f"{kernel.correlation},{ZERO_NS + kernel.start},{ZERO_NS + kernel.end},0,0,24,8,32,{block},{grid}"
        )
    return "\n".join(lines) + "\n"
