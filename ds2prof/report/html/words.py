"""The page's own words: what causes are called, and how totals are."""

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

_HOW_COUNTERS: Final = "collect them with 'ds2prof run nsight -- COMMAND' and give both files to ds2prof report"
_NO_COUNTERS: Final = "ds2prof collects them on NVIDIA's devices alone"


def how_counters(vendor: str | None) -> str:
    """What to do where pipes are asked for and no counters are there, on a device of this maker."""
    return _HOW_COUNTERS if vendor in (None, "nvidia") else _NO_COUNTERS


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
