"""Runs of several ranks made by hand: traces whose every start, wait and clock offset is chosen beforehand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

BASE_NS = 1_740_000_000_000_000_000
ZERO_NS = 10**13
"""On every rank's clock, before its offset: no time in a trace is negative."""
STEP_NS = 1_000_000
TRANSFER_NS = 20_000
COMPUTE_NS = 100_000
KERNELS = {
    "allreduce": "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
    "_allgather_base": "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
    "broadcast": "ncclDevKernel_Broadcast_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
}


@dataclass(frozen=True)
class Made:
    """A run of ranks.

    Attributes:
        late_ns: collective -> rank -> how much later than the first moment the rank comes.
        offset_ns: how far each rank's clock is ahead of the truth.
        jitter_ns: collective -> rank -> how much later than the common end it leaves.
        name: what every collective is.
        told: whether the kernels say what collective they are, and whether its number with it.
        groups: rank -> (name, ranks) of the process group that its collectives are of; all ranks where empty.
        first: rank -> how many of the first steps its trace lacks.
    """

    late_ns: list[list[int]]
    offset_ns: list[int]
    jitter_ns: list[list[int]] = field(default_factory=list)
    name: str = "allreduce"
    told: bool = True
    numbered: bool = True
    groups: dict[int, tuple[str, list[int]]] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    world_size: int | None = None
    with_rank: bool = True

    @property
    def ranks(self):
        return len(self.offset_ns)

    def members(self, rank):
        return self.groups[rank][1] if rank in self.groups else list(range(self.ranks))

    def collective(self, step, rank):
        """(start, end) of the step's collective on the rank's own clock."""
        moment = ZERO_NS + step * STEP_NS + 2 * COMPUTE_NS
        late = self.late_ns[step]
        common_end = moment + max(late[member] for member in self.members(rank)) + TRANSFER_NS
        jitter = self.jitter_ns[step][rank] if self.jitter_ns else 0
        return moment + late[rank] + self.offset_ns[rank], common_end + jitter + self.offset_ns[rank]


def us(ns):
    return f"{ns // 1000}.{ns % 1000:03d}"


def trace(made: Made, rank: int) -> str:
    """The trace of one rank, as the PyTorch profiler writes it."""
    events = []

    def event(category, name, start_ns, end_ns, pid, tid, **args):
        head = f'{{"ph": "X", "cat": "{category}", "name": "{name}", "pid": {pid}, "tid": {tid}'
        times = f'"ts": {us(start_ns)}, "dur": {us(end_ns - start_ns)}'
        events.append(f'{head}, {times}, "args": {json.dumps(args)}}}')

    def launched(name, start_ns, end_ns, stream, correlation, at_ns, **args):
        event("cuda_runtime", "cudaLaunchKernel", at_ns, at_ns + 1000, 9, 9, correlation=correlation)
        event("kernel", name, start_ns, end_ns, 0, stream, device=0, stream=stream, correlation=correlation, **args)

    offset = made.offset_ns[rank]
    odd_ns = ZERO_NS + offset - (ZERO_NS + offset) % 1000 + 1  # a fraction: this trace counts in nanoseconds
    event("cpu_op", "aten::mm", odd_ns, odd_ns + 1000, 9, 9)
    for step in range(made.first.get(rank, 0), len(made.late_ns)):
        zero = ZERO_NS + step * STEP_NS + offset
        event("user_annotation", f"ProfilerStep#{step}", zero, zero + STEP_NS - 1000, 9, 9)
        launched("ampere_sgemm_128x64_tn", zero + 50_000, zero + 50_000 + COMPUTE_NS, 7, 2 * step + 1, zero + 1000)
        start, end = made.collective(step, rank)
        launched(KERNELS[made.name], start, end, 20, 2 * step + 2, zero + 3000, **told(made, rank, step))
    info = {"backend": "nccl"} | ({"rank": rank} if made.with_rank else {})
    info["world_size"] = made.world_size or made.ranks
    head = json.dumps({"schemaVersion": 1, "distributedInfo": info, "baseTimeNanoseconds": BASE_NS})
    return head[:-1] + ', "traceEvents": [\n' + ",\n".join(events) + "\n]}"


def told(made, rank, step):
    if not made.told:
        return {}
    name, members = made.groups.get(rank, ("0", list(range(made.ranks))))
    about = {
        "Collective name": made.name,
        "In msg nelems": 256,
        "Out msg nelems": 256,
        "dtype": "Float",
        "Group size": made.world_size or len(members),
        "Process Group Name": name,
        "Process Group Ranks": str(members),
    }
    return about | ({"Seq": step + 1} if made.numbered else {})


def write(folder, made: Made):
    """The traces of all ranks as files; gives their paths, in order of the ranks."""
    paths = []
    for rank in range(made.ranks):
        path = folder / f"torch_bs4_rank{rank}.json"
        path.write_text(trace(made, rank))
        paths.append(path)
    return paths
