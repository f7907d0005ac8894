"""The page's own words: what causes are called, and what to look at where one of them costs most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ds2prof.analysis import findings

CAUSES: Final[Mapping[str, str]] = {
    "compute": "computing",
    "exposed_communication": "exposed communication",
    "exposed_copy": "exposed copies",
    "queued": "queued, not begun",
    "launch_call": "launch calls",
    "profiler_overhead": "profiler overhead",
    "synchronize": "synchronizing",
    "allocation": "allocation",
    "module_load": "module loading",
    "data": "waiting for data",
    "host": "host-bound",
    "head": "before the first operation",
    "tail": "after the last operation",
    "unknown": "unknown",
}
"""Cause of the ledger -> what it is called on the page."""

NOUNS: Final[Mapping[str, str]] = {
    **CAUSES,
    "queued": "work that was queued and not begun",
    "host": "host-bound time",
    "head": "time before the first operation",
    "tail": "time after the last operation",
    "unknown": "idle time of unknown cause",
}
"""Cause of the ledger -> what it is called in a sentence."""

MEANINGS: Final[Mapping[str, str]] = {
    **findings.WORDS,
    "compute": "kernels that are no collectives ran",
    "host": "the host was late with its own code, for none of the causes above",
}
"""Cause of the ledger -> what it is, in a few words."""

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
    "unit": "None of its units is busy: look at occupancy, memory latency and launch size (ds2prof parse FILE --by "
    "throughput).",
    "kernel": "The longest kernel: collect counters to see what it uses of the chip (bash run_profile.sh nsight).",
    "operator": "The operator that takes most of the host's time; on a GPU this order can be another one.",
    "readings": "Record a timeline to see why the device had no work (bash run_profile.sh nsys).",
    "padding": "Sort or bucket utterances by length, so that batches hold less padding.",
    "memory": "The largest part of the peak; activations shrink with checkpointing or a smaller batch.",
}
"""Kind of loss -> what to look at first, where it is no cause of the ledger."""

HOW_COUNTERS: Final = "collect them with 'bash run_profile.sh nsight' and give both files to ds2prof report"
"""What to do where pipes are asked for and no counters are there."""

TOTALS: Final[tuple[tuple[str, str], ...]] = (
    ("window_ns", "Window"),
    ("window_busy_ns", "Busy within the window"),
    ("gpu_compute_utilization", "GPU compute utilization"),
    ("launches", "Launches"),
    ("kernel_dur_ns", "Sum of kernel times"),
    ("busy_ns", "Busy over the whole file"),
    ("copies", "Copies and sets"),
    ("copy_dur_ns", "Sum of copy times"),
    ("step_ns", "Mean step on the host"),
    ("samples_per_s", "Samples/s"),
    ("audio_s_per_s", "Audio s/s"),
    ("padded_s_per_s", "Padded s/s"),
    ("mfu", "MFU"),
    ("hfu", "HFU"),
    ("peak_bytes", "Peak memory"),
    ("reserved_bytes", "Reserved by the allocator"),
    ("readings", "Readings"),
)
"""Total -> what it is called, in the order of reading."""
