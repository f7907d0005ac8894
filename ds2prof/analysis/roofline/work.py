"""The work of one call of an operator: operations and bytes, and where they run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """What a model says of one call.

    A multiplication and the addition of its product are 2 FLOP; a comparison, an exponential or a square root is 1.

    Attributes:
        family: which model: gemm, convolution, recurrent, normalization, softmax, ctc, reduction, elementwise,
            optimizer, copy.
        flop: operations.
        size_bytes: compulsory bytes: each input read once, each output written once; None where they are not known.
        type: type of the values that are computed with, as the record has it.
        assumed: what had to be assumed; None for nothing.
        values: how many values are moved, where the record has no type for them; a kernel's name may tell.
    """

    family: str
    flop: int
    size_bytes: int | None
    type: str
    assumed: str | None = None
    values: int | None = None


PRODUCTS = ("gemm", "convolution", "recurrent")
"""The families whose operations are products of matrices: these can run on tensor cores."""


def summed(*sizes: int | None) -> int | None:
    """The sum; None where one of them is not known."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
