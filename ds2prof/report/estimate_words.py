"""How estimates, latencies, queues, copies, waves, allocations, paths and energy are worded on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TITLES: Final[Mapping[str, str]] = {
    "occupancy": "Estimates without counters: what the launches could have filled",
    "latency": "From the launch call to the end of the kernel, by name",
    "queue": "Launched and not started: the queue of each stream",
    "bandwidth": "Copies by where from and where to",
    "wave": "Waves of blocks over the SMs, by name",
    "allocation": "Memory over time: how high each allocator's stood",
    "path": "The critical path: what the length of the steps is made of",
    "energy": "Power and energy by device",
    "bound": "Without counters: the least that kernels used of the chip, by name",
}
LABELS: Final[Mapping[str, str]] = {
    "length_ns": "length",
    "definition": "steps",
    "gpu_compute_utilization": "busy",
    "est_sm_efficiency": "est. SM",
    "est_achieved_occupancy": "est. occup.",
    "queued_launches": "queued",
    "total_ns": "total",
    **{
        f"{what}_{measure}_ns": f"{what}{label}"
        for what in ("launch", "queue", "kernel")
        for measure, label in (("mean", ""), ("median", " med."), ("min", " min"), ("max", " max"), ("std", " std"))
    },
    "max_depth": "deepest",
    "mean_depth": "mean",
    "full_ns": "full",
    "max_called_depth": "from call",
    "source_kind": "from",
    "destination_kind": "to",
    "bytes_per_s": "bandwidth",
    "small_copies": "small",
    "small_dur_ns": "small time",
    "last_wave_empty": "last empty",
    "tail_loss": "tail loss",
    "resident_blocks": "blocks/SM",
    "theoretical_occupancy": "theor. occup.",
    "total_bytes": "allocated",
    "held_bytes": "held",
    "peak_bytes": "peak",
    "end_bytes": "at the end",
    "peak_start_ns": "at (ns)",
    "energy_joule": "energy (J)",
    "mean_watt": "mean (W)",
    "busy_watt": "busy (W)",
    "idle_watt": "idle (W)",
    "joule_per_sample": "J/sample",
    "joule_per_audio_s": "J/audio s",
    "joule_per_padded_s": "J/padded s",
    "covered_ns": "covered",
    "min_tensor_utilization": "tensor >=",
    "min_flop_utilization": "FLOP >=",
    "min_dram_utilization": "DRAM >=",
    "min_dram_bytes": "DRAM bytes >=",
    "est_dram_utilization": "est. DRAM",
    "flop_coverage": "FLOP known",
    "dram_coverage": "DRAM known",
}
SPARE: Final = (
    *(f"{what}_{measure}_ns" for measure in ("std", "min", "median", "max") for what in ("kernel", "launch", "queue")),
    *("peak_start_ns", "small_dur_ns", "kind", "resident_blocks", "last_wave_empty", "call"),
    *("dram_coverage", "flop_coverage", "min_dram_bytes", "est_dram_utilization"),
)
"""Columns that give way where the line is too long."""
RATIOS: Final = frozenset(
    (
        *("gpu_compute_utilization", "est_sm_efficiency", "est_achieved_occupancy"),
        *("theoretical_occupancy", "last_wave_empty", "tail_loss"),
        *("min_tensor_utilization", "min_flop_utilization", "min_dram_utilization", "est_dram_utilization"),
        *("flop_coverage", "dram_coverage"),
    )
)
COUNTS: Final = frozenset(
    ("queued_launches", "peak_start_ns", "copies", "small_copies", "allocations", "releases", "segments")
)
