"""A truth as nvprof writes it: its SQLite file, and the trace and the summary that it prints as CSV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests import nvprof_support
from tests.known.truth import Copy, Kernel, Run
from tests.nvprof_support import T0, File, process, signed, thread

_CALLS = {
    "cudaLaunchKernel": 211, "cudaMemcpyAsync": 41, "cudaMemcpy": 31, "cudaMemsetAsync": 51, "cudaMalloc": 20,
    "cudaFree": 22, "cudaStreamSynchronize": 131, "cudaGraphLaunch": 311, "cudaStreamWaitEvent": 147,
}  # fmt: skip
_DRIVER_CALLS = {"cuModuleLoadData": 19}
_WAITS = {"Stream Wait Event": 2}
_OVERHEADS = {"Buffer Flush": 1 << 16, "Lazy Function Loading": 5 << 16}
_COPY_KINDS = {"HtoD": (1, 2, 3), "DtoH": (2, 3, 1)}
_COPY_NAMES = {"HtoD": "[CUDA memcpy HtoD]", "DtoH": "[CUDA memcpy DtoH]", "set": "[CUDA memset]"}


def write_nvvp(run: Run, path: Path) -> None:
    """The file of ``nvprof -o``: version 26 of its schema, contexts that tell the devices apart."""
    nvprof_support.write(path, 26, lambda file: _fill(file, run))


def _times(each: Any) -> dict[str, int]:
    return {"start": T0 + each.start, "end": T0 + each.end}


def _fill(file: File, run: Run) -> None:
    for device in (0, 1):
        nvprof_support.device(file, device, uuid=bytes([device] * 16))
    file.add("NAME", objectKind=1, objectId=process(900), name="python train.py")
    for call in run.calls:
        is_driver = call.name in _DRIVER_CALLS
        number = _DRIVER_CALLS[call.name] if is_driver else _CALLS[call.name]
        file.add("DRIVER" if is_driver else "RUNTIME", cbid=number, **_times(call), processId=call.process,
                 threadId=signed(call.thread), correlationId=call.correlation)  # fmt: skip
    for kernel in run.kernels:
        sizes = {f"{what}{axis}": size for what, three in (("grid", kernel.grid), ("block", kernel.block))
                 for axis, size in zip("XYZ", three, strict=True)}  # fmt: skip
        file.add("CONCURRENT_KERNEL", cacheConfig=b"\0", name=kernel.full_name, registersPerThread=32, **sizes,
                 **_times(kernel), **_place(kernel), graphId=kernel.graph)  # fmt: skip
    for copy in run.copies:
        _add_copy(file, copy)
    for wait in run.waits:
        file.add("SYNCHRONIZATION", type=_WAITS[wait.name], **_times(wait), correlationId=wait.correlation, contextId=1,
                 streamId=wait.stream)  # fmt: skip
    for each in run.overheads:
        file.add("OVERHEAD", overheadKind=_OVERHEADS[each.kind], objectKind=2, objectId=thread(each.thread, 900),
                 **_times(each))  # fmt: skip
    for number, each in enumerate(run.ranges, start=1):
        told = {"id": number, "objectKind": 2, "objectId": thread(each.thread, each.process)}
        name = f"ds2prof:{each.kind}:{each.value}"
        file.add("MARKER", flags=2, timestamp=T0 + each.start, name=name, **told)
        file.add("MARKER", flags=4, timestamp=T0 + each.end, **told)


def _place(work: Kernel | Copy) -> dict[str, int]:
    return {
        "deviceId": work.device,
        "contextId": work.device + 1,
        "streamId": work.stream,
        "correlationId": work.correlation,
    }


def _add_copy(file: File, copy: Copy) -> None:
    told = {**_times(copy), **_place(copy), "bytes": copy.size_bytes}
    if copy.kind == "set":
        file.add("MEMSET", value=0, memoryKind=3, **told)
    else:
        kinds = dict(zip(("copyKind", "srcKind", "dstKind"), _COPY_KINDS[copy.kind], strict=True))
        file.add("MEMCPY", **kinds, **told)


_TRACE = (
    '"Start","Duration","Grid X","Grid Y","Grid Z","Block X","Block Y","Block Z","Registers Per Thread","Static SMem",'
    '"Dynamic SMem","Size","Throughput","SrcMemType","DstMemType","Device","Context","Stream","Name","Correlation_ID"\n'
    "ms,ms,,,,,,,,KB,KB,MB,GB/s,,,,,,,\n"
)
_BANNER = "==77== NVPROF is profiling process 77, command: python train.py\n==77== Profiling application: python\n"


def trace_csv(run: Run) -> str:
    """What ``nvprof --csv -u ms --print-gpu-trace`` prints."""
    lines = []
    for work in sorted((*run.kernels, *run.copies), key=lambda work: work.start):
        times = f"{_ms(work.start + 300_000_000)},{_ms(work.end - work.start)}"
        device = f'"Tesla V100-SXM2-16GB ({work.device})","1","{work.stream}"'
        if isinstance(work, Kernel):
            sizes = ",".join(map(str, (*work.grid, *work.block)))
            lines.append(f'{times},{sizes},32,0.000000,0.000000,,,,,{device},"{work.full_name}",{work.correlation}')
        else:
            size = f"{work.size_bytes / (1 << 20):.6f},1.000000,,"
            lines.append(f'{times},,,,,,,,,,{size},{device},"{_COPY_NAMES[work.kind]}",{work.correlation}')
    return f"{_BANNER}==77== Profiling result:\n{_TRACE}" + "\n".join(lines) + "\n"


def summary_csv(run: Run) -> str:
    """What ``nvprof --csv -u ns`` prints of device work: sums by name."""
    lengths: dict[str, list[int]] = {}
    for name, length in _lengths(run):
        lengths.setdefault(name, []).append(length)
    whole = sum(map(sum, lengths.values()))
    lines = [
        f'"GPU activities",{100 * sum(each) / whole:.6f},{sum(each)},{len(each)},{sum(each) / len(each):.0f},'
        f'{min(each)},{max(each)},"{name}"'
        for name, each in sorted(lengths.items(), key=lambda item: -sum(item[1]))
    ]
    head = '"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n,%,ns,,ns,ns,ns,\n'
    return f"{_BANNER}==77== Profiling result:\n{head}" + "\n".join(lines) + "\n"


def _lengths(run: Run) -> Iterable[tuple[str, int]]:
    yield from ((kernel.full_name, kernel.end - kernel.start) for kernel in run.kernels)
    yield from ((_COPY_NAMES[copy.kind], copy.end - copy.start) for copy in run.copies)


def _ms(time_ns: int) -> str:
    return f"{time_ns // 1_000_000}.{time_ns % 1_000_000:06d}"
