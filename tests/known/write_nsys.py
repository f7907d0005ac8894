"""A truth as Nsight Systems writes it: an SQLite export of 2026, one of 2020, and what ``nsys stats`` prints as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests import nsys_support
from tests.known.truth import Run
from tests.nsys_support import pairs, pid, row, tid

_COPY_KINDS = {"HtoD": (1, 1, 2), "DtoH": (2, 0, 2)}
"""Kind of copy -> copyKind, srcKind, dstKind."""
_WAITS = {"Event Sync": 1, "Stream Wait Event": 2, "Stream Sync": 3, "Context Sync": 4}
_OVERHEADS = {"Driver Compiler": 2, "Buffer Flush": 3, "Lazy Function Loading": 7}
_GPU = {
    "vmId": nsys_support.VM, "name": "NVIDIA A100-SXM4-80GB", "smCount": 108, "clockRate": 1_410_000_000,
    "totalMemory": 85_174_321_152, "memoryBandwidth": 2_039_000_000_000, "chipName": "GA100", "computeMajor": 8,
    "computeMinor": 0, "threadsPerWarp": 32, "maxWarpsPerSm": 64,
}  # fmt: skip


class _Texts:
    """The export's strings, numbered as they are first met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers) + 1)


def export_2026(run: Run) -> bytes:
    """An export of schema 3.25: tables that hold something alone, overheads with their kinds, strings registered."""
    texts = _Texts()
    tables = _work(run, texts)
    tables["CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"] = [
        row(
            _times(run, wait),
            deviceId=wait.device,
            contextId=1,
            streamId=wait.stream,
            correlationId=wait.correlation,
            globalPid=pid(900),
            syncType=_WAITS[wait.name],
            eventId=1,
        )
        for wait in run.waits
    ]
    tables["CUPTI_ACTIVITY_KIND_OVERHEAD"] = [
        row(
            **_times(run, each),
            globalTid=tid(900, each.thread),
            overheadType=_OVERHEADS[each.kind],
            nameId=texts[each.kind],
        )
        for each in run.overheads
    ]
    tables["NVTX_EVENTS"] = _nvtx(run, texts, registered=True)
    tables["TARGET_INFO_GPU"] = [row(_GPU, id=device, cuDevice=device) for device in (0, 1)]
    tables["TARGET_INFO_SESSION_START_TIME"] = [row(utcEpochNs=nsys_support.SESSION_NS)]
    lo, hi = run.span
    span = row(globalVid=nsys_support.VM, duration=hi - lo, startTime=0, stopTime=hi - lo)
    tables["ANALYSIS_DETAILS"] = [span]
    tables["META_DATA_EXPORT"] = pairs(EXPORT_PRODUCT_VERSION="2026.2.1.1", EXPORT_SCHEMA_VERSION="3.25.0")
    return _exported(tables, texts)


def export_2020(run: Run) -> bytes:
    """An export as of 2020: no metadata, no session, no mangled names, texts in place, the tool's overhead unnamed."""
    texts = _Texts()
    tables = _work(run, texts)
    ours = [each for each in run.overheads if each.kind == "Buffer Flush"]
    cuda = [each for each in run.overheads if each.kind != "Buffer Flush"]
    tables["PROFILER_OVERHEAD"] = [
        row(**_times(run, each), globalTid=tid(900, each.thread), nameId=texts["CUDA profiling data flush overhead"])
        for each in ours
    ]
    tables["CUPTI_ACTIVITY_KIND_OVERHEAD"] = [
        row(
            **_times(run, each),
            globalTid=tid(900, each.thread),
            overheadType=_OVERHEADS[each.kind],
            nameId=texts[each.kind],
        )
        for each in cuda
    ]
    tables["NVTX_EVENTS"] = _nvtx(run, texts, registered=False)
    tables["TARGET_INFO_CUDA_GPU"] = [
        row(vmId=nsys_support.VM, name="Tesla V100-SXM2-16GB", numMultiprocessors=80, coreClockRate=1_530_000,
            deviceId=device, pid=900, computeCapabilityMajor=7, computeCapabilityMinor=0)
        for device in (0, 1)
    ]  # fmt: skip
    return _exported(tables, texts, columns=nsys_support.without("CUPTI_ACTIVITY_KIND_KERNEL", "mangledName"))


def _exported(tables: dict[str, list[dict[str, Any]]], texts: _Texts, **options: Any) -> bytes:
    strings = [{"id": number, "value": text} for text, number in texts.numbers.items()]
    filled = {name: rows for name, rows in tables.items() if rows}
    return nsys_support.export({"StringIds": strings, **filled}, **options)


def _at(run: Run, time_ns: int) -> int:
    """A time as the export has it: what was watched begins at 0."""
    return time_ns - run.span[0]


def _times(run: Run, each: Any) -> dict[str, int]:
    return {"start": _at(run, each.start), "end": _at(run, each.end)}


def _work(run: Run, texts: _Texts) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {"CUPTI_ACTIVITY_KIND_KERNEL": [], "CUPTI_ACTIVITY_KIND_MEMCPY": []}
    tables["CUPTI_ACTIVITY_KIND_MEMSET"] = []
    for kernel in run.kernels:
        sizes = {f"{what}{axis}": size for what, three in (("grid", kernel.grid), ("block", kernel.block))
                 for axis, size in zip("XYZ", three, strict=True)}  # fmt: skip
        tables["CUPTI_ACTIVITY_KIND_KERNEL"].append(
            row(**_place(kernel), **_times(run, kernel), **sizes, demangledName=texts[kernel.full_name],
                shortName=texts[kernel.name.partition("<")[0]], registersPerThread=32,
                **({"graphNodeId": 4_294_967_299} if kernel.graph else {}))
        )  # fmt: skip
    for copy in run.copies:
        if copy.kind == "set":
            told = row(**_place(copy), **_times(run, copy), bytes=copy.size_bytes, value=0, memKind=2)
            tables["CUPTI_ACTIVITY_KIND_MEMSET"].append(told)
        else:
            kinds = dict(zip(("copyKind", "srcKind", "dstKind"), _COPY_KINDS[copy.kind], strict=True))
            told = row(**_place(copy), **_times(run, copy), bytes=copy.size_bytes, **kinds)
            tables["CUPTI_ACTIVITY_KIND_MEMCPY"].append(told)
    tables["CUPTI_ACTIVITY_KIND_RUNTIME"] = [
        row(**_times(run, call), eventClass=0 if call.name.startswith("cuda") else 1, correlationId=call.correlation,
            globalTid=tid(call.process, call.thread), nameId=texts[_versioned(call.name)], returnValue=0)
        for call in run.calls
    ]  # fmt: skip
    return tables


def _versioned(name: str) -> str:
    """The name as CUPTI has it, with the version of CUDA that the function came with."""
    return f"{name}_v7000" if name.startswith("cuda") else name


def _place(work: Any) -> dict[str, int]:
    return {
        "deviceId": work.device,
        "contextId": 1,
        "streamId": work.stream,
        "correlationId": work.correlation,
        "globalPid": pid(work.process),
    }


def _nvtx(run: Run, texts: _Texts, *, registered: bool) -> list[dict[str, Any]]:
    """Iterations and phases as ranges of the process, layers as pushed and popped; all in a domain of their own."""
    if not run.ranges:
        return []
    first = _at(run, min(each.start for each in run.ranges)) - 1_000
    found = [
        row(start=first, eventType=75, text="ds2prof", globalTid=tid(process, process), domainId=3)
        for process in sorted({each.process for each in run.ranges})
    ]
    for number, each in enumerate(run.ranges, start=1):
        text = f"{each.kind}:{each.value}"
        named = {"textId": texts[text]} if registered else {"text": text}
        thread = tid(each.process, each.thread)
        kind = {"eventType": 59} if each.kind == "layer" else {"eventType": 60, "rangeId": number}
        found.append(row(**_times(run, each), **kind, **named, globalTid=thread, endGlobalTid=thread, domainId=3))
    return found


_GPU_TRACE = (
    "Start (ns),Duration (ns),CorrId,GrdX,GrdY,GrdZ,BlkX,BlkY,BlkZ,Reg/Trd,StcSMem (MB),DymSMem (MB),Bytes (MB),"
    "Throughput (MB/s),SrcMemKd,DstMemKd,Device,Ctx,GreenCtx,Strm,Name"
)
_API_TRACE = "Start (ns),Duration (ns),Name,Result,CorrID,Pid,Tid,T-Pri,Thread Name"
_NVTX_TRACE = (
    "Start (ns),End (ns),Duration (ns),DurChild (ns),DurNonChild (ns),Name,PID,TID,Lvl,NumChild,RangeId,ParentId,"
    "RangeStack,NameTree"
)
_COPY_NAMES = {
    "HtoD": ("[CUDA memcpy Host-to-Device]", "Pinned", "Device"),
    "DtoH": ("[CUDA memcpy Device-to-Host]", "Device", "Pageable"),
    "set": ("[CUDA memset]", "Device", ""),
}


def stats_csv(run: Run) -> str:
    """What ``nsys stats -r cuda_gpu_trace,cuda_api_trace,nvtx_pushpop_trace -f csv`` prints."""
    tool = "/opt/nvidia/nsight-systems/2024.6.1/host-linux-x64/reports"
    reports = {
        "cuda_gpu_trace": (_GPU_TRACE, _gpu_lines(run)),
        "cuda_api_trace": (_API_TRACE, _api_lines(run)),
        "nvtx_pushpop_trace": (_NVTX_TRACE, _nvtx_lines(run)),
    }
    parts = [
        "\n".join([f"Processing [run.sqlite] with [{tool}/{name}.py]...", header, *lines, ""])
        for name, (header, lines) in reports.items()
    ]
    return "\n".join(parts)


def _gpu_lines(run: Run) -> Iterator[str]:
    for work in sorted((*run.kernels, *run.copies), key=lambda work: work.start):
        times = f"{_at(run, work.start)},{work.end - work.start},{work.correlation}"
        device = f"NVIDIA A100-SXM4-80GB ({work.device}),1,,{work.stream}"
        if hasattr(work, "grid"):
            sizes = ",".join(map(str, (*work.grid, *work.block)))
            name = f'"{work.full_name}"' if "," in work.full_name else work.full_name
            yield f"{times},{sizes},32,0.000,0.000,,,,,{device},{name}"
        else:
            name, source, destination = _COPY_NAMES[work.kind]
            yield f"{times},,,,,,,,,,{work.size_bytes / 1e6:.3f},1.000,{source},{destination},{device},{name}"


def _api_lines(run: Run) -> Iterator[str]:
    for call in sorted(run.calls, key=lambda call: call.start):
        times = f"{_at(run, call.start)},{call.end - call.start}"
        yield f"{times},{call.name},0,{call.correlation},{call.process},{call.thread},0,python3"


def _nvtx_lines(run: Run) -> Iterator[str]:
    for number, each in enumerate(sorted(run.ranges, key=lambda each: (each.start, -each.end)), start=1):
        name = f"ds2prof:{each.kind}:{each.value}"
        length = each.end - each.start
        times = f"{_at(run, each.start)},{_at(run, each.end)},{length},0,{length}"
        yield f"{times},{name},{each.process},{each.thread},0,0,{number},,:{number},{name}"
