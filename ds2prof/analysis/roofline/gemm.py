"""Products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from ds2prof.analysis.roofline.calls import Call, Shape
from ds2prof.analysis.roofline.work import Work, summed

FAMILY: Final = "gemm"
_SCALED_OUTPUT_BYTES: Final = 2


def product(call: Call) -> Work | None:
    """``mm``, ``bmm``: 2 B M N K FLOP for (B, M, K) by (B, K, N), B = 1 without batches.

    Bytes: both factors read, B M N values written.
    """
    return _product(call, 0, 1)


def product_added(call: Call) -> Work | None:
    """``addmm``, ``baddbmm``: 2 B M N K FLOP; what is added to the product is not counted, as FlopCounterMode does not.

    Bytes: both factors and what is added read, B M N values written.
    """
    return _product(call, 1, 2, added=0)


def scaled_product(call: Call) -> Work | None:
    """``_scaled_mm``, factors of 8 bits: 2 M N K FLOP. Bytes: both factors read, M N values of 2 bytes written."""
    found = _product(call, 0, 1)
    a, b = call.shape(0), call.shape(1)
    if found is None or a is None or b is None:
        return None
    size_bytes = summed(call.size_bytes(0, 1), _SCALED_OUTPUT_BYTES * a[0] * b[-1])
    return Work(FAMILY, found.flop, size_bytes, call.type(0), "scaled products written in 16 bits")


def vector_product(call: Call) -> Work | None:
    """``mv``, ``dot``: 2 FLOP for each value of the first factor.

    Bytes: both factors read, M values written, 1 for ``dot``.
    """
    first = call.shape(0)
    if first is None or call.shape(1) is None:
        return None
    rows = math.prod(first[:-1])
    return Work(FAMILY, 2 * math.prod(first), _with_output(call, rows, 0, 1), call.type(0))


def vector_product_added(call: Call) -> Work | None:
    """``addmv``: 2 M K FLOP. Bytes: all three arguments read, M values written."""
    matrix = call.shape(1)
    if matrix is None or len(matrix) != 2:
        return None
    return Work(FAMILY, 2 * math.prod(matrix), _with_output(call, matrix[0], 0, 1, 2), call.type(1))


def outer_product_added(call: Call) -> Work | None:
    """``addr``: 2 M N FLOP. Bytes: all three arguments read, M N values written."""
    left, right = call.shape(1), call.shape(2)
    if left is None or right is None:
        return None
    values = math.prod(left) * math.prod(right)
    return Work(FAMILY, 2 * values, _with_output(call, values, 0, 1, 2), call.type(1))


def linear(call: Call) -> Work | None:
    """``mkldnn_linear``, ``_addmm_activation`` and their like, (..., K) by a weight (N, K): 2 rows N K FLOP."""
    rows_shape, weight = call.shape(0), call.shape(1)
    if rows_shape is None or weight is None or len(weight) != 2 or not rows_shape or rows_shape[-1] != weight[1]:
        return None
    rows = math.prod(rows_shape[:-1])
    return Work(FAMILY, 2 * rows * math.prod(weight), _with_output(call, rows * weight[0], 0, 1, 2), call.type(0))


def _product(call: Call, left: int, right: int, *, added: int | None = None) -> Work | None:
    a, b = call.shape(left), call.shape(right)
    if a is None or b is None or not _fit(a, b):
        return None
    values = math.prod(a[:-1]) * b[-1]
    places = (left, right) if added is None else (added, left, right)
    return Work(FAMILY, 2 * values * a[-1], _with_output(call, values, *places), call.type(left))


def _fit(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) in (2, 3) and a[-1] == b[-2] and a[:-2] == b[:-2]


def _with_output(call: Call, values: int, *places: int) -> int | None:
    """Bytes of the arguments at ``places`` and of so many values of the type of the last of them that is a tensor."""
    kinds = [call.value_bytes(place) for place in places if call.shape(place) is not None]
    return summed(call.size_bytes(*places), None if not kinds or kinds[-1] is None else kinds[-1] * values)


MODELS: Final[Mapping[str, Callable[[Call], Work | None]]] = {
    "mm": product,
    "bmm": product,
    "_scaled_mm": scaled_product,
    "addmm": product_added,
    "addmm_": product_added,
    "_addmm_activation": product_added,
    "baddbmm": product_added,
    "baddbmm_": product_added,
    "mv": vector_product,
    "dot": vector_product,
    "vdot": vector_product,
    "addmv": vector_product_added,
    "addmv_": vector_product_added,
    "addr": outer_product_added,
    "addr_": outer_product_added,
    "mkldnn_linear": linear,
    "_mkldnn_linear": linear,
}
"""Operator -> its model. ``linear``, ``matmul`` and ``einsum`` call these, so they have none of their own."""
