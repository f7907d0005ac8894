"""What works on each value by itself, and what moves values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ds2prof.analysis.roofline.calls import INTEGERS, Call, broadcast
from ds2prof.analysis.roofline.work import Work, summed

FAMILY: Final = "elementwise"
COPY: Final = "copy"


class Pointwise(NamedTuple):
    """An operator on each value: its operations for a value of the output, and how many tensors it takes at most."""

    flop: int
    inputs: int = 1
    gives_bool: bool = False


POINTWISE: Final[Mapping[str, Pointwise]] = {
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "maximum", "minimum", "remainder"), Pointwise(1, 2)),
    **dict.fromkeys(("fmod", "pow", "atan2", "floor_divide", "true_divide"), Pointwise(1, 2)),
    **dict.fromkeys(
        ("neg", "abs", "exp", "log", "log1p", "expm1", "log2", "sqrt", "rsqrt", "reciprocal"), Pointwise(1)
    ),
    **dict.fromkeys(("sin", "cos", "tan", "tanh", "sigmoid", "erf", "floor", "ceil", "round", "trunc"), Pointwise(1)),
    **dict.fromkeys(("sign", "square", "relu", "clamp_min", "clamp_max"), Pointwise(1)),
    **dict.fromkeys(("clamp", "hardtanh"), Pointwise(2)),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), Pointwise(1, 2, gives_bool=True)),
    **dict.fromkeys(("logical_and", "logical_or", "bitwise_and", "bitwise_or"), Pointwise(0, 2, gives_bool=True)),
    **dict.fromkeys(("logical_not", "isnan", "isinf", "isfinite"), Pointwise(0, 1, gives_bool=True)),
    **dict.fromkeys(("masked_fill", "_masked_scale"), Pointwise(0, 2)),
    "where": Pointwise(0, 3),
    **dict.fromkeys(("addcmul", "addcdiv", "lerp"), Pointwise(3, 3)),
    "leaky_relu": Pointwise(2),
    "silu": Pointwise(2),
    "elu": Pointwise(3),
    "softplus": Pointwise(3),
    "gelu": Pointwise(5),
    "threshold_backward": Pointwise(1, 2),
    "hardtanh_backward": Pointwise(2, 2),
    "leaky_relu_backward": Pointwise(2, 2),
    "tanh_backward": Pointwise(3, 2),
    "sigmoid_backward": Pointwise(3, 2),
    "silu_backward": Pointwise(6, 2),
    "gelu_backward": Pointwise(11, 2),
    **dict.fromkeys(("native_dropout", "_fused_dropout"), Pointwise(1)),
}
"""Operator, less its last ``_`` -> operations for each value of the output. An exponential, a square root or a
comparison is one; a choice between values is none. gelu is x (1 + erf(x / sqrt 2)) / 2, silu x sigmoid(x). ``dropout``
itself is not here: in evaluation it does nothing, in training it calls one of the two that are."""


def pointwise(call: Call) -> Work | None:
    """Operations for each value of the output, whose shape is what the inputs broadcast to; none on integers.

    Bytes: each input tensor read, the output written, one byte a value where it is true or false.
    """
    model = POINTWISE[_plain(call.name)]
    places = [place for place in range(model.inputs) if call.shape(place) is not None]
    if not places:
        return None
    shapes = [call.shape(place) or () for place in places]
    values = math.prod(broadcast(*shapes))
    widest = max(places, key=lambda place: (len(call.shape(place) or ()), call.value_bytes(place) or 0))
    each = 1 if model.gives_bool else call.value_bytes(widest)
    size_bytes = summed(call.size_bytes(*places), None if each is None else each * values)
    real = [call.type(place) for place in places if call.type(place) not in INTEGERS]
    return Work(FAMILY, model.flop * values if real else 0, size_bytes, (real or [call.type(widest)])[0])


def copied(call: Call) -> Work | None:
    """``copy_``: no FLOP. Bytes: the source, the second argument, read; the first written."""
    if call.shape(0) is None or call.shape(1) is None:
        return None
    return Work(COPY, 0, call.size_bytes(0, 1), call.type(0))


def filled(call: Call) -> Work | None:
    """``fill_``, ``zero_``: no FLOP. Bytes: the tensor written."""
    if call.shape(0) is None:
        return None
    return Work(COPY, 0, call.size_bytes(0), call.type(0))


def joined(call: Call) -> Work | None:
    """``cat``, ``stack``: no FLOP. Bytes: all tensors of the list read, as much written; their type is not recorded."""
    values = call.list_values(0)
    if values is None:
        return None
    return Work(COPY, 0, None, "float", values=2 * values)


def looked_up(call: Call) -> Work | None:
    """``embedding``, ``index_select``: no FLOP. Bytes: the indices read; the rows that they name read and written."""
    table, place = call.shape(0), 1 if call.name == "embedding" else 2
    indices = call.shape(place)
    each = call.value_bytes(0)
    if table is None or indices is None or each is None or len(table) < 1:
        return None
    axis = 0 if call.name == "embedding" else call.integer(1)
    if axis is None or not -len(table) <= axis < len(table) or not table[axis]:
        return None
    rows = math.prod(indices) * (math.prod(table) // table[axis])
    return Work(COPY, 0, summed(call.size_bytes(place), 2 * rows * each), call.type(0))


_FOREACH: Final[Mapping[str, tuple[int, int]]] = {
    "_foreach_zero_": (0, 0),
    "_foreach_copy_": (0, 2),
    "_foreach_mul_": (1, 1),
    "_foreach_div_": (1, 1),
    "_foreach_add_": (1, 1),
    "_foreach_sub_": (1, 1),
    "_foreach_sqrt": (1, 1),
    "_foreach_neg": (1, 1),
    "_foreach_reciprocal_": (1, 1),
    "_foreach_lerp_": (3, 2),
    "_foreach_addcmul_": (3, 3),
    "_foreach_addcdiv_": (3, 3),
    "_foreach_norm": (2, 1),
    "_fused_sgd_": (8, 3),
    "_fused_adam_": (14, 4),
    "_fused_adamw_": (14, 4),
    "_fused_adagrad_": (7, 3),
}
"""Operator -> (FLOP for each value, lists of tensors that it reads at least)."""


def listed(call: Call) -> Work | None:
    """Operators on lists of tensors, optimizers among them: FLOP for each value of the first list.

    Adam 14: weight decay 2, both moments 3 and 4, root and epsilon 2, quotient and step 3. SGD 8: weight decay,
    momentum, Nesterov and step, 2 each (fewer where they are off). Bytes: each list read once; written what changes,
    which is all but the gradients; the type of a list's values is not recorded.
    """
    values = call.list_values(0)
    if values is None:
        return None
    flop, _ = _FOREACH[call.name]
    lists = [call.list_values(place) for place in range(len(call.dims))]
    read = sum(count or 0 for count in lists if count is not None and count <= values * 2)
    if call.name == "_foreach_norm":
        written = len(call.shapes(0))
    elif call.name.startswith("_fused_"):
        written = read - values
    else:
        written = values
    read = 0 if call.name == "_foreach_zero_" else read - values if call.name == "_foreach_copy_" else read
    family = "optimizer" if call.name.startswith("_fused_") else "copy" if flop == 0 else FAMILY
    return Work(family, flop * values, None, "float", values=read + written)


def _plain(name: str) -> str:
    return name if name in POINTWISE else name.removesuffix("_")


MODELS: Final[Mapping[str, Callable[[Call], Work | None]]] = {
    **dict.fromkeys(POINTWISE, pointwise),
    **{f"{name}_": pointwise for name in POINTWISE},
    **dict.fromkeys(_FOREACH, listed),
    "copy_": copied,
    "fill_": filled,
    "zero_": filled,
    "cat": joined,
    "stack": joined,
    "embedding": looked_up,
    "index_select": looked_up,
}
"""Operator -> its model. ``to``, ``clone`` and ``contiguous`` copy by calling ``copy_``."""
