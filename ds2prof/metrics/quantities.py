"""What can be wanted of the hardware counters, and the metrics that give it, the best first.

A *want* is what a user asks for (``core``, ``flop``); it is made of *quantities*, each of which is one metric, or
several that are summed up. The pipes of ``core`` are not here: :func:`ds2prof.counters.collected` chooses theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ds2prof.counters import CLOCK, CYCLES, DURATION, ELAPSED_SHARE, PREFERENCE, TBD_PIPES, parse_metric
from ds2prof.metrics.flop import FLOP, PEAK, Weight
from ds2prof.metrics.table import AVAILABILITY


@dataclass(frozen=True)
class Option:
    """One metric that gives a quantity, or a part of it."""

    metric: str
    """The full name, as Nsight Compute's ``--metrics`` takes it."""
    chips: tuple[str, ...]
    note: str = ""

    @property
    def base(self) -> str:
        """The name without rollup and submetric: what Nsight Compute lists."""
        return parse_metric(self.metric).base


@dataclass(frozen=True)
class Quantity:
    """Something that is wanted: what it is, and the metrics for it."""

    name: str
    meaning: str
    options: tuple[Option, ...]
    rule: Literal["first", "each", "sum"] = "first"
    """Whether the first option that a chip has is enough, or each of them is taken, or they are one sum: that is
    incomplete where one is missing."""
    absent: str = ""
    """Why chips have none, where more than the list of those that have one can be said."""


def _first(name: str, meaning: str, *metrics: str, absent: str = "") -> Quantity:
    return Quantity(name, meaning, tuple(_option(metric) for metric in metrics), absent=absent)


def _option(metric: str, note: str = "") -> Option:
    return Option(metric, AVAILABILITY[parse_metric(metric).base], note)


def _weighed(weight: Weight, submetric: str) -> Option:
    note = "no source says how many FLOP one is" if weight.flop is None else f"x {weight.flop} FLOP"
    return Option(f"{weight.base}.{submetric}", weight.chips or AVAILABILITY[weight.base], note)


_KINDS: Final[Mapping[str, str]] = {
    "fp32": "FP32 FLOP on the cores, by thread instructions",
    "fp16": "FP16 and BF16 FLOP on the cores, by thread instructions that are packed: two values each",
    "fp64": "FP64 FLOP on the cores, by thread instructions",
    "fp8": "8-bit instructions on the cores, four values each by their name",
    "tensor_fp64": "FLOP of the tensor cores, FP64 factors",
    "tensor_tf32": "FLOP of the tensor cores, TF32 factors",
    "tensor_bf16": "FLOP of the tensor cores, BF16 factors",
    "tensor_fp16": "FLOP of the tensor cores, FP16 factors",
    "tensor_fp8": "FLOP of the tensor cores, factors of 8 bits and fewer",
    "tensor_fp4": "FLOP of the tensor cores, block-scaled FP4 factors",
}
_NO_DRAM: Final = "it lists no counters of its memory"
_NO_TENSOR: Final = "TU116 and TU117 have no tensor cores"
_STALLS: Final = {
    "barrier": "at a barrier, for the block's other warps",
    "branch_resolving": "for a branch's target",
    "dispatch_stall": "for the dispatcher",
    "drain": "after the exit, for its stores",
    "gmma": "for a warpgroup's matrix product",
    "imc_miss": "for an immediate constant",
    "lg_throttle": "for room in the queue of global and local memory",
    "long_scoreboard": "for data from global, local or texture memory",
    "math_pipe_throttle": "for a busy arithmetic pipe",
    "membar": "at a memory fence",
    "mio_throttle": "for room in the queue of shared memory and special instructions",
    "misc": "for some other reason of the hardware",
    "no_instruction": "for its next instruction",
    "not_selected": "ready, while another warp was chosen",
    "selected": "not at all: it issued",
    "short_scoreboard": "for data from shared memory or a special instruction",
    "sleeping": "asleep",
    "tex_throttle": "for room in the texture queue",
    "wait": "for a fixed latency of the one before",
}
_MIX: Final = {
    "fp32": "FP32",
    "fp16": "FP16",
    "fp64": "FP64",
    "fp8": "8-bit floating point",
    "fp4": "4-bit floating point",
    "integer": "integer",
    "bit": "bit",
    "conversion": "conversion",
    "memory": "load and store",
    "control": "control flow",
    "inter_thread_communication": "shuffle and vote",
    "uniform": "uniform datapath",
    "misc": "other",
}

ALWAYS: Final = (
    _first("cycles", "elapsed cycles of the SM clock: the weight of every mean over launches", CYCLES),
    _first("duration", "time of the launch, ns", DURATION),
    _first("clock", "SM clock during the launch, Hz: replay may run at another than production does", CLOCK),
)
"""What every plan holds."""

_FLOP: Final = (
    *(
        Quantity(
            f"{kind}_flop",
            _KINDS[kind],
            tuple(_weighed(weight, "sum") for weight in weights),
            rule="sum",
            absent=_NO_TENSOR if kind == "tensor_fp16" else "",
        )
        for kind, weights in FLOP.items()
    ),
    _first(
        "tensor_pipe",
        "share of the tensor pipe's cycles: x peak rate it bounds the FLOP where those are not counted",
        *(f"{base}.avg.{ELAPSED_SHARE}" for base in PREFERENCE["tensor"] if "cycles" in base),
    ),
)
_MEMORY: Final = (
    _first("dram_bytes", "bytes read from and written to the GPU's memory", "dram__bytes.sum", absent=_NO_DRAM),
    _first(
        "dram_read",
        "bytes read from the GPU's memory",
        "dram__bytes_read.sum",
        "dram__bytes_op_read.sum",
        absent=_NO_DRAM,
    ),
    _first(
        "dram_write",
        "bytes written to the GPU's memory",
        "dram__bytes_write.sum",
        "dram__bytes_op_write.sum",
        absent=_NO_DRAM,
    ),
    _first(
        "dram_share",
        "share of the peak rate of the GPU's memory",
        f"dram__throughput.avg.{ELAPSED_SHARE}",
        absent=_NO_DRAM,
    ),
    _first("l2_bytes", "bytes requested of L2", "lts__t_bytes.sum"),
    _first("l2_share", "share of L2's peak rate of bytes", f"lts__t_bytes.avg.{ELAPSED_SHARE}"),
    _first("l1_bytes", "bytes requested of L1 and texture", "l1tex__t_bytes.sum"),
    _first("l1_share", "share of L1's peak rate of bytes", f"l1tex__t_bytes.avg.{ELAPSED_SHARE}"),
)
_PEAKS: Final = (
    *(
        Quantity(
            f"peak_{kind}",
            f"peak of {_KINDS[kind].partition(',')[0]}, per cycle: x clock_sm it is a rate",
            tuple(_weighed(weight, "sum.peak_sustained") for weight in weights),
            rule="each",
            absent=_NO_TENSOR if kind == "tensor_fp16" else "",
        )
        for kind, weights in PEAK.items()
    ),
    _first("clock_sm", "SM clock, Hz", "sm__cycles_elapsed.avg.per_second"),
    _first("peak_dram", "peak bytes per cycle of clock_dram", "dram__bytes.sum.peak_sustained", absent=_NO_DRAM),
    _first("clock_dram", "memory clock, Hz", "dram__cycles_elapsed.avg.per_second", absent=_NO_DRAM),
    _first("peak_l2", "peak bytes per second of L2", "lts__t_bytes.sum.peak_sustained_elapsed.per_second"),
    _first("peak_l1", "peak bytes per second of L1", "l1tex__t_bytes.sum.peak_sustained_elapsed.per_second"),
)

WANTS: Final[Mapping[str, tuple[Quantity, ...]]] = {
    "core": (),
    "tbd": tuple(
        _first(
            f"tbd_{line}",
            f"the ancestor's line {line}: instructions",
            *(f"{base}.avg.{ELAPSED_SHARE}" for base in bases),
        )
        for line, bases in {**TBD_PIPES, "fp64": ("sm__inst_executed_pipe_fp64",)}.items()
    ),
    "flop": _FLOP,
    "memory": _MEMORY,
    "roofline": (*_FLOP, *_MEMORY, *_PEAKS),
    "occupancy": (
        _first(
            "occupancy",
            "achieved occupancy: warps in flight over those that fit, while the SM is active",
            "sm__warps_active.avg.pct_of_peak_sustained_active",
        ),
        _first("warps", "warps in flight per SM, while it is active", "sm__warps_active.avg.per_cycle_active"),
        _first(
            "sm_active",
            "share of the cycles with a warp in flight, mean over the SMs: SM efficiency",
            f"sm__cycles_active.avg.{ELAPSED_SHARE}",
        ),
        _first("sm_active_cycles", "cycles with a warp in flight, mean over the SMs", "sm__cycles_active.avg"),
    ),
    "throughput": (
        _first(
            "sol_sm", "compute: the busiest part of the SM, share of its peak", f"sm__throughput.avg.{ELAPSED_SHARE}"
        ),
        _first(
            "sol_memory",
            "memory: the busiest part of the path from L1 to DRAM, share of its peak",
            f"gpu__compute_memory_throughput.avg.{ELAPSED_SHARE}",
        ),
        _first("sol_dram", "DRAM, share of its peak", f"gpu__dram_throughput.avg.{ELAPSED_SHARE}", absent=_NO_DRAM),
        _first("sol_l2", "the busiest part of L2, share of its peak", f"lts__throughput.avg.{ELAPSED_SHARE}"),
        _first(
            "sol_l1", "the busiest part of L1 and texture, share of its peak", f"l1tex__throughput.avg.{ELAPSED_SHARE}"
        ),
    ),
    "mix": (
        _first("instructions", "warp instructions", "sm__inst_executed.sum"),
        *(
            _first(
                f"mix_{word}", f"{text} thread instructions", f"smsp__sass_thread_inst_executed_op_{word}_pred_on.sum"
            )
            for word, text in _MIX.items()
        ),
    ),
    "stalls": (
        _first(
            "warp_latency", "mean life of a warp, cycles: the whole of the stalls", "smsp__average_warp_latency.ratio"
        ),
        *(
            _first(
                f"stall_{word}",
                f"cycles of a warp's life waiting {text}",
                f"smsp__average_warp_latency_issue_stalled_{word}.ratio",
            )
            for word, text in _STALLS.items()
        ),
    ),
}
"""Want -> its quantities, besides :data:`ALWAYS` and, for ``core``, the pipes."""

BLURBS: Final[Mapping[str, str]] = {
    "core": "utilization of every pipe: what 'parse --by core' reads",
    "tbd": "the five pipes of the ancestor's section PertSustainedElapsed",
    "flop": "executed floating point operations by type",
    "memory": "bytes of DRAM, L2 and L1, and their share of the peak",
    "roofline": "flop and memory, with the peaks and clocks for the roofs",
    "occupancy": "warps in flight and active SMs",
    "throughput": "Speed Of Light as Nsight Compute defines it: many passes",
    "mix": "instructions by kind",
    "stalls": "what warps wait for",
}
"""Want -> what it is for, one line."""

PIPE_MEANINGS: Final[Mapping[str, str]] = {
    "fma": "FP32 and integer multiply-add",
    "fp16": "half precision",
    "fp64": "double precision",
    "tensor": "tensor cores",
    "tc": "tensor cores' fifth generation (tcgen05)",
    "xu": "special functions: exp, sin, rsqrt, conversions",
    "alu": "integer, logic and comparisons",
    "lsu": "loads and stores",
    "tma": "bulk tensor copies (TMA)",
}
"""Canonical pipe -> what runs in it."""
