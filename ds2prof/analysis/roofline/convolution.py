"""Convolutions, forward and backward.

Taps that lie in the padding of the border count like all others, as they do in FlopCounterMode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ds2prof.analysis.roofline.calls import Call, Shape
from ds2prof.analysis.roofline.work import Work, summed

FAMILY: Final = "convolution"
_WITHOUT_MASK: Final = "a convolution's backward pass without its output mask: all gradients counted"


def forward(call: Call) -> Work | None:
    """``convolution``, ``_convolution``: 2 N Co (Ci / groups) K O FLOP, K taps of the kernel, O places of the output.

    The weight is (Co, Ci / groups, kernel), so that is twice the weight's values for each place and utterance. A
    transposed convolution's weight is (Ci, Co / groups, kernel), and each place of its *input* meets all of it. The
    places of the output follow from stride, padding and dilation, which must have been recorded. Bias is not counted.

    Bytes: input, weight and bias read, output written.
    """
    is_transposed = call.flag(6)
    if is_transposed is None:
        return None
    return _forward(call, 3, 4, 5, transposed=is_transposed, output_padding=7)


def forward_of_backend(call: Call) -> Work | None:
    """``cudnn_convolution``, ``miopen_convolution``, ``mkldnn_convolution``: as :func:`forward`.

    These take padding before stride: (input, weight, [bias,] padding, stride, dilation, groups, ...).
    """
    first = 2 if call.name == "cudnn_convolution" else 3
    return _forward(call, first + 1, first, first + 2, transposed=False)


def backward(call: Call) -> Work | None:
    """``convolution_backward``: as much as the forward pass for the input's gradient, and once more for the weight's.

    Which of them are wanted says the output mask. The first convolution of a network has no gradient of its input, so
    that it costs twice its forward pass in all, and not three times. The places of the output are those of the
    gradient that comes in.

    Bytes: that gradient read once; for the input's gradient the weight read and it written; for the weight's the input
    read and it written.
    """
    gradient, inputs, weight = call.shape(0), call.shape(1), call.shape(2)
    if gradient is None or inputs is None or weight is None:
        return None
    if len(gradient) < 3 or not len(gradient) == len(inputs) == len(weight):
        return None
    mask = call.flags(10)
    for_input, for_weight = (mask[0], mask[1]) if mask is not None and len(mask) == 3 else (True, True)
    # A transposed convolution walks over its input as another does over its output.
    is_transposed = call.flag(7)
    if is_transposed is None:
        is_transposed = _is_transposed(inputs, gradient, weight)
    once = _once(inputs if is_transposed else gradient, weight)
    size_bytes = summed(
        call.size_bytes(0),
        call.size_bytes(2, 1) if for_input else 0,
        call.size_bytes(1, 2) if for_weight else 0,
    )
    assumed = None if mask is not None else _WITHOUT_MASK
    return Work(FAMILY, once * (for_input + for_weight), size_bytes, call.type(0), assumed)


def backward_part(call: Call) -> Work | None:
    """``cudnn_convolution_backward_input``, ``..._weight`` (PyTorch before 1.11): one of the two products each.

    The first takes (size of the input, gradient, weight, ...), the second (size of the weight, gradient, input, ...).
    """
    gradient, other = call.shape(1), call.shape(2)
    size = call.ints(0)
    if gradient is None or other is None or len(gradient) < 3 or len(other) != len(gradient):
        return None
    if call.name.endswith("_input"):
        return Work(FAMILY, _once(gradient, other), _part_bytes(call, size), call.type(1))
    if size is None or len(size) != len(gradient):
        return None
    return Work(FAMILY, _once(gradient, tuple(size)), _part_bytes(call, size), call.type(1))


def _part_bytes(call: Call, size: Sequence[int] | None) -> int | None:
    each = call.value_bytes(1)
    if size is None or each is None:
        return None
    return summed(call.size_bytes(1, 2), each * math.prod(size))


def _forward(
    call: Call, stride: int, padding: int, dilation: int, *, transposed: bool, output_padding: int | None = None
) -> Work | None:
    inputs, weight = call.shape(0), call.shape(1)
    if inputs is None or weight is None or len(inputs) != len(weight) or len(inputs) < 3:
        return None
    axes = len(inputs) - 2
    steps = [_each(call.ints(place), axes) for place in (stride, padding, dilation)]
    extra = [0] * axes if output_padding is None else _each(call.ints(output_padding), axes) or [0] * axes
    known = [each for each in steps if each is not None]
    if len(known) < 3:
        return None
    out = _output(inputs, weight, known, transposed=transposed, extra=extra)
    if out is None:
        return None
    channels = weight[0] if not transposed else weight[1] * (call.integer(8) or 1)
    output = (inputs[0], channels, *out)
    each = call.value_bytes(0)
    size_bytes = summed(call.size_bytes(0, 1, 2), None if each is None else each * math.prod(output))
    return Work(FAMILY, _once(inputs if transposed else output, weight), size_bytes, call.type(0))


def _each(values: Sequence[int] | None, axes: int) -> list[int] | None:
    """One value for each axis: a single one stands for all."""
    if values is None or len(values) not in (1, axes):
        return None
    return list(values) * (axes if len(values) == 1 else 1)


def _output(
    inputs: Shape, weight: Shape, steps: Sequence[Sequence[int]], *, transposed: bool, extra: Sequence[int]
) -> list[int] | None:
    """Places of the output along each axis; None where it has none."""
    places = []
    for size, kernel, stride, padding, dilation, more in zip(inputs[2:], weight[2:], *steps, extra, strict=True):
        reach = dilation * (kernel - 1)
        if stride < 1:
            return None
        if transposed:
            places.append((size - 1) * stride - 2 * padding + reach + more + 1)
        else:
            places.append((size + 2 * padding - reach - 1) // stride + 1)
    return places if all(place > 0 for place in places) else None


def _once(walked: Shape, weight: Shape) -> int:
    """FLOP of one product: twice the weight's values at each place that it is laid on."""
    return 2 * walked[0] * math.prod(walked[2:]) * math.prod(weight)


def _is_transposed(inputs: Shape, gradient: Shape, weight: Shape) -> bool:
    return weight[0] != gradient[1] and weight[0] == inputs[1]


MODELS: Final[Mapping[str, Callable[[Call], Work | None]]] = {
    "convolution": forward,
    "_convolution": forward,
    "convolution_overrideable": forward,
    "cudnn_convolution": forward_of_backend,
    "miopen_convolution": forward_of_backend,
    "mkldnn_convolution": forward_of_backend,
    "convolution_backward": backward,
    "cudnn_convolution_backward_input": backward_part,
    "cudnn_convolution_backward_weight": backward_part,
}
"""Operator -> its model. ``conv2d`` and the like call these."""
