"""What to look at first where a loss costs most, in words for every form of report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ds2prof.analysis.losses import Loss

ADVICE: Final[Mapping[str, str]] = {
    "exposed_communication": "Start gradients' collectives earlier or in larger buckets so that the backward pass "
    "hides them, and see which rank comes last: ds2prof parse FILES --by straggler",
    "exposed_copy": "Copy from pinned memory with non_blocking=True on a stream of its own, a batch ahead.",
    "queued": "Many short kernels behind each other: fuse them (torch.compile) or launch them as a CUDA graph.",
    "launch_call": "The host spends its time in launch calls: fewer, larger kernels (torch.compile, CUDA graphs).",
    "profiler_overhead": "This is the profiler, not the program: record less (no stacks, no shapes).",
    "synchronize": "Something reads a device value each step (item(), a printed loss, a blocking copy): read it later "
    "or less often.",
    "allocation": "Memory is taken from the driver within the window: warm up first, and keep shapes from changing.",
    "module_load": "Kernels are loaded or compiled within the window: capture later, after warm-up.",
    "data": "Batches come late: more loader workers, pinned memory, prefetching, cheaper features.",
    "host": "Python or the framework is late with launches: torch.compile, CUDA graphs, larger batches; the range "
    "named here is where to look.",
    "head": "The window opens before work begins: capture whole steps in steady state.",
    "tail": "The window stays open after the last work: capture whole steps.",
    "unknown": "The file does not tell why: record the CUDA calls too (nsys --trace=cuda,nvtx; torch.profiler with CPU "
    "activities).",
}
"""Cause of the ledger -> what to look at first."""

ADVICE_BY_KIND: Final[Mapping[str, str]] = {
    "roof": "See these kernels on the roofline: limited by memory, fuse what surrounds them; limited by arithmetic, "
    "use tensor cores or a lower precision.",
    "unit": "For so long not even its busiest unit was at work: look at occupancy, memory latency and launch size "
    "(ds2prof parse FILE --by throughput).",
    "kernel": "The longest kernel: collect counters to see what it uses of the chip (ds2prof run nsight -- COMMAND).",
    "operator": "See which phase calls it (ds2prof parse FILE --by phase); on a GPU the order can be another one.",
    "readings": "Record a timeline to see why the device had no work (ds2prof run nsys -- COMMAND).",
    "padding": "Sort or bucket utterances by length, so that batches hold less padding.",
    "memory": "The largest part of the peak; activations shrink with checkpointing or a smaller batch.",
}
"""Kind of loss -> what to look at first, where it is no cause of the ledger."""


def advice_on(loss: Loss) -> str:
    """What to look at first; nothing where the loss is of a sort that has no general advice."""
    return ADVICE.get(loss.name, "") if loss.kind == "idle" else ADVICE_BY_KIND.get(loss.kind, "")
