"""A truth as PyTorch's profiler writes it: events in microseconds with three decimals, launches joined by flows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.known.truth import Kernel, Run

ZERO_NS = 5_000_000_000_000
"""What the run's zero is on the trace's clock."""
_COPY_NAMES = {
    "HtoD": "Memcpy HtoD (Pinned -> Device)",
    "DtoH": "Memcpy DtoH (Device -> Pageable)",
    "set": "Memset (Device)",
}
_DEVICE = {
    "name": "NVIDIA A100-SXM4-80GB", "totalGlobalMem": 85174321152, "computeMajor": 8, "computeMinor": 0,
    "maxThreadsPerBlock": 1024, "maxThreadsPerMultiprocessor": 2048, "warpSize": 32, "numSms": 108,
}  # fmt: skip


class Microseconds(float):
    """A time that is printed in full: a double would lose nanoseconds of it."""

    def __new__(cls, time_ns: int) -> Microseconds:
        made = super().__new__(cls, time_ns / 1000)
        made.text = f"{time_ns // 1000}.{time_ns % 1000:03d}"
        return made

    def __repr__(self) -> str:
        return self.text


def document(run: Run, *, rank: int | None = 0, flows: bool = True) -> str:
    """The trace's text.

    Args:
        run: the truth.
        rank: the rank it says to be of; without one, it says nothing of ranks.
        flows: whether launches and their work are joined by arrows as well as by their ids.
    """
    head: dict[str, Any] = {
        "schemaVersion": 1,
        "deviceProperties": [{"id": device, **_DEVICE} for device in (0, 1)],
        "cupti_version": 24,
        "displayTimeUnit": "ms",
        "baseTimeNanoseconds": 1_740_000_000_000_000_000,
    }
    if rank is not None:
        head["distributedInfo"] = {"backend": "nccl", "rank": rank, "world_size": 1}
    events = [*_host(run), *_device(run), *_about(run)]
    if flows:
        events += _flows(run)
    lines = ",\n".join(_dumped(event) for event in events)
    return json.dumps(head)[:-1] + ', "traceEvents": [\n' + lines + "\n]}\n"


def _dumped(event: dict[str, Any]) -> str:
    """One event; times keep their three decimals."""
    times = {key: value.text for key, value in event.items() if isinstance(value, Microseconds)}
    text = json.dumps({key: f"<{key}>" if key in times else value for key, value in event.items()})
    for key, time in times.items():
        text = text.replace(f'"<{key}>"', time)
    return text


def _event(category: str, name: str, start: int, end: int, place: tuple[int, int], **arguments: Any) -> dict[str, Any]:
    times = {"ts": Microseconds(ZERO_NS + start), "dur": Microseconds(end - start)}
    return {"ph": "X", "cat": category, "name": name, "pid": place[0], "tid": place[1], **times, "args": arguments}


def _host(run: Run) -> Iterator[dict[str, Any]]:
    for number, each in enumerate(run.ranges):
        name = f"ProfilerStep#{each.value}" if each.kind == "iteration" else f"ds2prof:{each.kind}:{each.value}"
        place = (each.process, each.thread)
        yield _event("user_annotation", name, each.start, each.end, place, **{"External id": number, "Ev Idx": number})
    for number, op in enumerate(run.operators, len(run.ranges)):
        told: dict[str, Any] = {"External id": number, "Ev Idx": number}
        if op.sequence is not None:
            told |= {"Sequence number": op.sequence, "Fwd thread id": 1 if op.is_backward else 0}
        yield _event("cpu_op", op.name, op.start, op.end, (run.kernels[0].process, op.thread), **told)
    for call in run.calls:
        category = "cuda_driver" if call.name.startswith("cu") and not call.name.startswith("cuda") else "cuda_runtime"
        place = (call.process, call.thread)
        yield _event(category, call.name, call.start, call.end, place, cbid=1, correlation=call.correlation)
    for each in run.overheads:
        yield _event("overhead", each.kind, each.start, each.end, (-1, each.thread))


def _device(run: Run) -> Iterator[dict[str, Any]]:
    for work in (*run.kernels, *run.copies):
        told: dict[str, Any] = {"device": work.device, "context": 1, "stream": work.stream}
        told["correlation"] = work.correlation
        if isinstance(work, Kernel):
            category, name = "kernel", work.full_name
            blocks = work.grid[0] / 108
            told |= {"grid": work.grid, "block": work.block, "blocks per SM": blocks, "warps per SM": 8 * blocks}
            told |= {"est. achieved occupancy %": 7, "registers per thread": 32, "shared memory": 0}
            told |= {"graph id": work.graph, "graph node id": 0} if work.graph else {}
        else:
            category, name = ("gpu_memset" if work.kind == "set" else "gpu_memcpy"), _COPY_NAMES[work.kind]
            told["bytes"] = work.size_bytes
        yield _event(category, name, work.start, work.end, (work.device, work.stream), **told)
    for wait in run.waits:
        told = {"cuda_sync_kind": wait.name, "stream": wait.stream, "correlation": wait.correlation}
        told |= {"device": wait.device, "context": 1}
        yield _event("cuda_sync", wait.name, wait.start, wait.end, (wait.device, wait.stream), **told)


def _flows(run: Run) -> Iterator[dict[str, Any]]:
    """From each launch an arrow to its first work."""
    drawn: set[int] = set()
    call_of = {call.correlation: call for call in run.calls}
    for work in (*run.kernels, *run.copies):
        call = call_of.get(work.correlation)
        if call is None or work.correlation in drawn:
            continue
        drawn.add(work.correlation)
        common = {"id": work.correlation, "cat": "ac2g", "name": "ac2g"}
        begin = Microseconds(ZERO_NS + call.start)
        yield {"ph": "s", "pid": call.process, "tid": call.thread, "ts": begin, **common}
        start = Microseconds(ZERO_NS + work.start)
        yield {"ph": "f", "pid": work.device, "tid": work.stream, "ts": start, **common, "bp": "e"}


def _about(run: Run) -> Iterator[dict[str, Any]]:
    at = Microseconds(ZERO_NS)
    processes = sorted({call.process for call in run.calls})
    for number, label in [(process, "CPU") for process in processes] + [(0, "GPU 0"), (1, "GPU 1")]:
        common = {"ph": "M", "ts": at, "pid": number, "tid": 0}
        yield {"name": "process_name", **common, "args": {"name": "python"}}
        yield {"name": "process_labels", **common, "args": {"labels": label}}
    lo, hi = run.span
    yield _event("Trace", "PyTorch Profiler (0)", lo, hi, (0, 0), **{"Op count": 0}) | {"pid": "Spans", "tid": "PyTorch Profiler"}  # fmt: skip  # noqa: E501
