"""How many floating point operations one count of a counter stands for, and which counters make up all of a kind.

A kind's FLOP are the sum of count x weight over *all* of its counters that a chip has: where one is missing from a
file, the sum is too small and the number is absent. Add and multiply count as one operation, a fused multiply-add as
two.

The opcode counters (``smsp__sass_thread_inst_executed_op_*_pred_on``) count **thread** instructions whose predicate is
true: up to 32 for one warp instruction, so nothing is multiplied by 32. Blind spots: a packed half instruction that
works on one half only is counted as two operations; divisions, square roots and the special functions are counted as
the instructions that they are made of; products with 2:4 sparsity are in the tensor counts, and no source says whether
with the factors that are left out.

Sources: the weights are those of Nsight Compute's own roofline sections. FP16 follows its current ones (2, 2, 4: the
instructions are packed, HADD2, HMUL2, HFMA2); those of 2022 took half of that. Operations of the tensor cores
(``sm__ops_path_tensor_*``) are counted as such by the chip, multiplication and addition each, so their weight is 1. For
GV100 the table has no such counter; one of its warp-wide HMMA instructions is 512 operations (two cycles of a quarter
of an SM that does 1,024 a cycle, which gives the 125 TFLOP/s of the V100's data sheet).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ds2prof.metrics.table import AVAILABILITY

_SASS: Final = "smsp__sass_thread_inst_executed_op_{}_pred_on"
_PEAK: Final = "sm__sass_thread_inst_executed_op_{}_pred_on"
_TENSOR: Final = "sm__ops_path_tensor_src_{}"


class Weight(NamedTuple):
    """What one count of a base metric stands for."""

    base: str
    flop: int | None
    """None where no source says it: the kind's FLOP are known only where this counter is 0."""
    chips: tuple[str, ...] = ()
    """The chips where this counter is used for the purpose; none for all that have it."""

    def is_for(self, chip: str) -> bool:
        """Whether this counter belongs to the kind on that chip."""
        return chip in (self.chips or AVAILABILITY[self.base])


def _opcodes(**weights: int | None) -> tuple[Weight, ...]:
    return tuple(Weight(_SASS.format(opcode), flop) for opcode, flop in weights.items())


def _sources(*kinds: str) -> tuple[Weight, ...]:
    return tuple(Weight(_TENSOR.format(kind), 1) for kind in kinds)


FLOP: Final[Mapping[str, tuple[Weight, ...]]] = {
    "fp32": _opcodes(fadd=1, fmul=1, ffma=2, fadd2=2, fmul2=2, ffma2=4),
    "fp16": _opcodes(hadd=2, hmul=2, hfma=4),
    "fp64": _opcodes(dadd=1, dmul=1, dfma=2),
    "fp8": _opcodes(qadd4=None, qmul4=None, qfma4=None),
    "tensor_fp64": _sources("fp64"),
    "tensor_tf32": _sources("tf32_dst_fp32"),
    "tensor_bf16": _sources("bf16_dst_fp32"),
    # Turing's counter names three types, of which its tensor cores have the first.
    "tensor_fp16": (
        *_sources("fp16", "fp16_dst_fp16", "fp16_dst_fp32", "fp16_bf16_tf32_dst_fp32"),
        Weight("sm__inst_executed_pipe_tensor", 512, ("GV100",)),
    ),
    "tensor_fp8": _sources(
        *("fp8", "fp8_dst_fp16", "fp8_dst_fp32", "fp4_fp6_dst_fp16", "fp4_fp6_dst_fp32"),
        *("fp4_fp6_fp8_dst_fp16", "fp4_fp6_fp8_dst_fp32"),
    ),
    "tensor_fp4": _sources("fp4_dst_fp32"),
}
"""Kind -> its counters. The first four run on the cores; ``tensor_*`` are named by the type of the products' factors.
``tensor_fp8`` holds all that runs at that rate: 8 bits and fewer; ``tensor_fp4`` the block-scaled products alone."""

PEAK: Final[Mapping[str, tuple[Weight, ...]]] = {
    "fp32": (Weight(_PEAK.format("ffma"), 2), Weight(_PEAK.format("ffma2"), 4)),
    "fp16": (Weight(_PEAK.format("hfma"), 4),),
    "fp64": (Weight(_PEAK.format("dfma"), 2),),
    **{kind: weights for kind, weights in FLOP.items() if kind.startswith("tensor_")},
}
"""Kind -> counters, each of which gives a peak rate: ``.sum.peak_sustained`` (counts a cycle, all SMs together) x
weight x the SM clock. They are ways to reach a peak, not parts of one: the largest counts."""


def flop_weights(kind: str, chip: str) -> Mapping[str, int | None]:
    """The base metrics that make up ``kind`` on ``chip``, each with the operations that one count stands for.

    Empty where the chip has no counter of the kind.
    """
    return {weight.base: weight.flop for weight in FLOP[kind] if weight.is_for(chip)}
