"""What works along an axis: normalization, softmax, reductions, CTC."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from ds2prof.analysis.roofline.calls import INTEGERS, Call
from ds2prof.analysis.roofline.work import Work, summed

NORMALIZATION: Final = "normalization"
SOFTMAX: Final = "softmax"
REDUCTION: Final = "reduction"
CTC: Final = "ctc"
_TRAINED: Final = "a normalization without its recorded mode: counted as in training"


def batch_norm(call: Call) -> Work | None:
    """``native_batch_norm``, ``cudnn_batch_norm`` and others of one layer: 7 FLOP a value in training, else 4.

    In training sum (1), sum of squared differences (2), and in both normalizing (2), weight and bias (2). Weights and
    statistics of a channel are not counted. Bytes: the input read once and as much written, the channels' parameters
    read. What does not fit into L2 is read twice in training, so this is a lower bound.
    """
    shape = call.shape(0)
    if shape is None:
        return None
    training = call.flag(5)
    each = 4 if training is False else 7
    size_bytes = summed(call.size_bytes(0), call.size_bytes(0), call.size_bytes(1, 2, 3, 4))
    assumed = None if training is not None else _TRAINED
    return Work(NORMALIZATION, each * math.prod(shape), size_bytes, call.type(0), assumed)


def batch_norm_backward(call: Call) -> Work | None:
    """``native_batch_norm_backward`` and others: 11 FLOP a value.

    Sum of the gradient (1); normalized input (2), its product with the gradient and their sum (2); gradient of the
    input, (g - mean g - normalized x mean(g normalized)) x scale (5); the weight (1). Bytes: gradient and input read,
    as much as the input written.
    """
    return _backward(call, 0, 1, flop=11)


def layer_norm(call: Call) -> Work | None:
    """``native_layer_norm``: 7 FLOP a value: mean (1), variance (2), normalizing (2), weight and bias (2).

    Bytes: the input read and as much written, weight and bias read.
    """
    shape = call.shape(0)
    if shape is None:
        return None
    size_bytes = summed(call.size_bytes(0), call.size_bytes(0), call.size_bytes(2, 3))
    return Work(NORMALIZATION, 7 * math.prod(shape), size_bytes, call.type(0))


def layer_norm_backward(call: Call) -> Work | None:
    """``native_layer_norm_backward``: 13 FLOP a value, two more than :func:`batch_norm_backward`.

    They are the gradients of weight and bias, which are sums over other values than those of the input. Bytes:
    gradient and input read, as much as the input written.
    """
    return _backward(call, 0, 1, flop=13)


def _backward(call: Call, gradient: int, inputs: int, *, flop: int) -> Work | None:
    shape = call.shape(inputs)
    if shape is None or call.shape(gradient) is None:
        return None
    size_bytes = summed(call.size_bytes(gradient, inputs), call.size_bytes(inputs))
    return Work(NORMALIZATION, flop * math.prod(shape), size_bytes, call.type(inputs))


def softmax(call: Call) -> Work | None:
    """``_softmax``: 5 V - 2 FLOP for each row of V values; ``_log_softmax``: 5 V - 1.

    Maximum (V - 1), difference, exponential, sum (V - 1), and the quotient; of the logarithm the sum's (1) and the
    difference from it. Bytes: the input read, as much written.
    """
    return _rows(call, 5, less=1 if call.name == "_log_softmax" else 2, read=(0,))


def softmax_backward(call: Call) -> Work | None:
    """``_softmax_backward_data``, ``_log_softmax_backward_data``: 4 V - 1 FLOP for each row of V values.

    y (g - sum(g y)), or g - e^y sum(g). Bytes: gradient and output read, as much written.
    """
    return _rows(call, 4, less=1, read=(0, 1))


def _rows(call: Call, flop: int, *, less: int, read: tuple[int, ...]) -> Work | None:
    shape = call.shape(0)
    if not shape:
        return None
    axis = call.integer(len(read))
    length = shape[axis] if axis is not None and -len(shape) <= axis < len(shape) else shape[-1]
    values = math.prod(shape)
    rows = values // length if length else 0
    assumed = None if axis is not None else "a softmax without its recorded axis: along the last"
    size_bytes = summed(call.size_bytes(*read), call.size_bytes(0))
    return Work(SOFTMAX, flop * values - less * rows, size_bytes, call.type(0), assumed)


REDUCTIONS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("sum", "mean", "nansum", "prod", "amax", "amin", "max", "min", "argmax", "argmin"), 1),
    **dict.fromkeys(("linalg_vector_norm", "norm", "logsumexp"), 2),
    **dict.fromkeys(("var", "std", "var_mean"), 3),
}
"""Operator -> FLOP for each value that goes in."""


def reduction(call: Call) -> Work | None:
    """``sum``, ``mean``, ``max``: 1 FLOP for each value that goes in; norms 2, variances 3; none on integers.

    Bytes: the input read. What is written is left out: it is smaller, and its axes are not always recorded.
    """
    shape = call.shape(0)
    if shape is None:
        return None
    each = 0 if call.type(0) in INTEGERS else REDUCTIONS[call.name]
    return Work(REDUCTION, each * math.prod(shape), call.size_bytes(0), call.type(0))


def ctc(call: Call) -> Work | None:
    """``_ctc_loss`` on logarithms of probabilities: 13 S (T - 1) + 8 FLOP for each utterance, S = 2 U + 1 states.

    Each state of each of T frames but the first adds up to three in logarithms, 12, and its symbol's value, 1; 8 for
    the last two states; U labels. Bytes: the logarithms of the probabilities (T, B, V) and the labels read, the table
    of the states (B, T, S of the longest) written. None where the lengths were not recorded.
    """
    lengths = _lengths(call, 2)
    shape, each = call.shape(0), call.value_bytes(0)
    if lengths is None or shape is None or len(shape) != 3:
        return None
    flop = sum(13 * states * (frames - 1) + 8 for frames, states in lengths)
    table = shape[0] * shape[1] * max(states for _, states in lengths)
    return Work(CTC, flop, summed(call.size_bytes(0, 1), None if each is None else each * table), call.type(0))


def ctc_backward(call: Call) -> Work | None:
    """``_ctc_loss_backward``: 13 S (T - 1) + 9 S T + 6 V T FLOP for each utterance.

    The recursion from the other end; the sum of each symbol's states, of which each is a product of both recursions;
    the gradient by the symbols' logarithms. Bytes: the logarithms of the probabilities, the labels and the forward
    table read, the other table and the gradient written. None where the lengths were not recorded.
    """
    lengths = _lengths(call, 3)
    shape = call.shape(1)
    if lengths is None or shape is None or len(shape) != 3:
        return None
    symbols = shape[2]
    flop = sum(13 * states * (frames - 1) + (9 * states + 6 * symbols) * frames for frames, states in lengths)
    size_bytes = summed(call.size_bytes(1, 2, 6), call.size_bytes(6), call.size_bytes(1))
    return Work(CTC, flop, size_bytes, call.type(1))


def _lengths(call: Call, place: int) -> list[tuple[int, int]] | None:
    """(frames, states) of each utterance, whose lists stand at ``place`` and behind it."""
    frames, labels = call.ints(place), call.ints(place + 1)
    if not frames or labels is None or len(labels) != len(frames) or min(frames) < 1 or min(labels) < 0:
        return None
    return [(count, 2 * label + 1) for count, label in zip(frames, labels, strict=True)]


MODELS: Final[Mapping[str, Callable[[Call], Work | None]]] = {
    **dict.fromkeys(REDUCTIONS, reduction),
    "_batch_norm_impl_index": batch_norm,
    "native_batch_norm": batch_norm,
    "cudnn_batch_norm": batch_norm,
    "miopen_batch_norm": batch_norm,
    "native_batch_norm_backward": batch_norm_backward,
    "miopen_batch_norm_backward": batch_norm_backward,
    "cudnn_batch_norm_backward": batch_norm_backward,
    "native_layer_norm": layer_norm,
    "native_layer_norm_backward": layer_norm_backward,
    "_softmax": softmax,
    "_log_softmax": softmax,
    "_softmax_backward_data": softmax_backward,
    "_log_softmax_backward_data": softmax_backward,
    "_ctc_loss": ctc,
    "_ctc_loss_backward": ctc_backward,
}
"""Operator -> its model."""
