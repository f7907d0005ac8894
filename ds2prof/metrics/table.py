"""Which chip has which metric: the one table that choosing, planning and reading rest on.

Only metrics that ds2prof asks for or prefers are here.
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = (
    "the metric lists of NVIDIA's libnvperf_host 2026.3.1, which CUPTI 13.5 carries, chip by chip; for GV100, which "
    "that release no longer knows, an earlier list"
)

_TU10X: Final = ("TU102", "TU104", "TU106")
_TU11X: Final = ("TU116", "TU117")
_GA10X: Final = ("GA102", "GA103", "GA104", "GA106", "GA107", "GA10B")
_AD10X: Final = ("AD102", "AD103", "AD104", "AD106", "AD107")
_GB10X: Final = ("GB100", "GB102")
_GB11X: Final = ("GB110", "GB112")
_GB1XX: Final = (*_GB10X, *_GB11X, "GB10B")
_GB20X: Final = ("GB202", "GB203", "GB205", "GB206", "GB207")
_GB2XX: Final = (*_GB20X, "GB20B", "GB20C")

BEFORE_AMPERE: Final = ("GV100", *_TU10X, *_TU11X)
BEFORE_GA102: Final = (*BEFORE_AMPERE, "GA100")
SINCE_BLACKWELL: Final = (*_GB1XX, *_GB2XX, "GR100")
SINCE_HOPPER: Final = ("GH100", *SINCE_BLACKWELL)
SINCE_GA102: Final = (*_GA10X, *_AD10X, *SINCE_HOPPER)

CHIPS: Final = (*BEFORE_GA102, *SINCE_GA102)
"""The 32 chips whose metric names are known, oldest architecture first."""

WITHOUT_TENSOR_CORES: Final = _TU11X
"""Chips that list metrics of a tensor pipe, which runs their half precision: they have no tensor cores."""


def _without(*missing: str) -> tuple[str, ...]:
    return tuple(chip for chip in CHIPS if chip not in missing)


def _each(pattern: str, words: str, chips: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """A row for each word, put in the place of ``*``."""
    return {pattern.replace("*", word): chips for word in words.split()}


_DRAM: Final = _without("GA10B", "GB10B", "GB20B", "GB20C")
_DRAM_BY_OP: Final = (*_GB20X, "GR100")
_SASS: Final = "smsp__sass_thread_inst_executed_op_*_pred_on"
_SASS_PEAK: Final = "sm__sass_thread_inst_executed_op_*_pred_on"
_TENSOR_OPS: Final = "sm__ops_path_tensor_src_*"
_STALLED: Final = "smsp__average_warp_latency_issue_stalled_*"
_STALLS: Final = (
    "barrier branch_resolving dispatch_stall drain lg_throttle long_scoreboard math_pipe_throttle membar mio_throttle "
    "misc no_instruction not_selected selected short_scoreboard sleeping wait"
)
_PACKED_FP32: Final = (*_GB10X, *_GB11X, "GR100")
_SMALL_FLOATS: Final = (*_GB11X, *_GB2XX, "GR100")

AVAILABILITY: Final[dict[str, tuple[str, ...]]] = {
    # Time and clocks
    "gpc__cycles_elapsed": CHIPS,
    "gpu__time_duration": CHIPS,
    "sm__cycles_active": CHIPS,
    "sm__cycles_elapsed": CHIPS,
    # Pipes
    "sm__inst_executed_pipe_fma": CHIPS,
    "sm__pipe_fma_cycles_active": CHIPS,
    "sm__inst_executed_pipe_fp16": BEFORE_GA102,
    "sm__inst_executed_pipe_fma_type_fp16": SINCE_GA102,
    "sm__inst_executed_pipe_fp64": CHIPS,
    "sm__pipe_fp64_cycles_active": CHIPS,
    "sm__inst_executed_pipe_tensor": CHIPS,
    "sm__inst_executed_pipe_tensor_v2": _AD10X,
    "sm__pipe_tensor_cycles_active": CHIPS,
    "sm__pipe_tensor_cycles_active_v2": _AD10X,
    "sm__inst_executed_pipe_tc": (*_GB1XX, "GR100"),
    "sm__pipe_tc_cycles_active": (*_GB1XX, "GR100"),
    "sm__inst_executed_pipe_xu": CHIPS,
    "sm__pipe_xu_cycles_active": (*_GB11X, "GR100"),
    "sm__inst_executed_pipe_alu": CHIPS,
    "sm__pipe_alu_cycles_active": CHIPS,
    "sm__inst_executed_pipe_lsu": CHIPS,
    "sm__inst_executed_pipe_tma": SINCE_HOPPER,
    "sm__pipe_tma_cycles_active": SINCE_HOPPER,
    # Arithmetic by opcode; of the sm__ twins only the peak is asked for
    **_each(_SASS, "fadd fmul ffma hadd hmul hfma dadd dmul dfma", CHIPS),
    **_each(_SASS, "fadd2 fmul2 ffma2", _PACKED_FP32),
    **_each(_SASS, "qadd4 qmul4 qfma4", (*_GB10X, *_GB11X)),
    **_each(_SASS_PEAK, "ffma hfma dfma", CHIPS),
    **_each(_SASS_PEAK, "ffma2", _PACKED_FP32),
    # Operations of the tensor cores by the type of their sources
    **_each(_TENSOR_OPS, "fp64 tf32_dst_fp32 bf16_dst_fp32", _without(*BEFORE_AMPERE)),
    **_each(_TENSOR_OPS, "fp16_bf16_tf32_dst_fp32", _TU10X),
    **_each(_TENSOR_OPS, "fp16", ("GH100",)),
    **_each(_TENSOR_OPS, "fp16_dst_fp16", _without("GV100", *_TU11X, "GH100")),
    **_each(_TENSOR_OPS, "fp16_dst_fp32", _without(*BEFORE_AMPERE, "GH100")),
    **_each(_TENSOR_OPS, "fp8", ("GH100", *_AD10X)),
    **_each(_TENSOR_OPS, "fp8_dst_fp16 fp8_dst_fp32 fp4_fp6_dst_fp16 fp4_fp6_dst_fp32", _SMALL_FLOATS),
    **_each(_TENSOR_OPS, "fp4_fp6_fp8_dst_fp16 fp4_fp6_fp8_dst_fp32", (*_GB10X, "GB10B")),
    **_each(_TENSOR_OPS, "fp4_dst_fp32", SINCE_BLACKWELL),
    # Memory
    "dram__bytes": _DRAM,
    "dram__bytes_read": tuple(chip for chip in _DRAM if chip not in _DRAM_BY_OP),
    "dram__bytes_write": tuple(chip for chip in _DRAM if chip not in _DRAM_BY_OP),
    "dram__bytes_op_read": _DRAM_BY_OP,
    "dram__bytes_op_write": _DRAM_BY_OP,
    "dram__cycles_elapsed": _DRAM,
    "dram__throughput": _DRAM,
    "gpu__dram_throughput": _DRAM,
    "gpu__compute_memory_throughput": CHIPS,
    "lts__t_bytes": CHIPS,
    "lts__throughput": CHIPS,
    "l1tex__t_bytes": CHIPS,
    "l1tex__throughput": CHIPS,
    # Warps and instructions
    "sm__throughput": CHIPS,
    "sm__warps_active": CHIPS,
    "sm__inst_executed": CHIPS,
    **_each(_SASS, "fp16 fp32 fp64 integer bit control conversion memory inter_thread_communication misc", CHIPS),
    **_each(_SASS, "uniform", _without("GV100")),
    **_each(_SASS, "fp8", (*_AD10X, *SINCE_HOPPER)),
    **_each(_SASS, "fp4", SINCE_BLACKWELL),
    # Why warps wait
    "smsp__average_warp_latency": CHIPS,
    **_each(_STALLED, _STALLS, CHIPS),
    **_each(_STALLED, "imc_miss", _without(*SINCE_BLACKWELL)),
    **_each(_STALLED, "tex_throttle", _without("GR100")),
    **_each(_STALLED, "gmma", ("GH100",)),
}
"""Base metric -> the chips that have it. Every base metric that ds2prof asks for or prefers is here."""

DEPRECATED: Final = {
    "sm__inst_executed_pipe_tensor": _AD10X,
    "sm__pipe_tensor_cycles_active": _AD10X,
}
"""Base metric -> the chips where it is still listed but has a ``_v2`` successor, which is preferred."""
