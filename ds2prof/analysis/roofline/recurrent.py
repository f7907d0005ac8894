"""Recurrent layers that run as one operator, and the cells' own arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from ds2prof.analysis.roofline.calls import Call
from ds2prof.analysis.roofline.work import Work, summed

FAMILY: Final = "recurrent"
_BACKWARD: Final = 2


def layers_forward(call: Call) -> Work | None:
    """``_cudnn_rnn``, ``miopen_rnn``: 2 R sum(weights) FLOP, R = steps x utterances (packed: frames).

    Each frame meets each weight matrix of each layer and direction once: 2 G H (D + H) for G gates, and the projection
    of an LSTM that has one. The first step's product with its state is among them, since it is computed. Gates and
    biases are not counted.

    Bytes: input, weights and biases read, output (R x states of the directions) written.
    """
    state, flag = (call.shape(4), call.flag(13)) if call.name == "_cudnn_rnn" else (call.shape(3), call.flag(11))
    width = None if not state or flag is None else state[-1] * (2 if flag else 1)
    return _layers(call, width, times=1)


def layers_backward(call: Call) -> Work | None:
    """``_cudnn_rnn_backward``, ``miopen_rnn_backward``: twice the forward pass, for the gradients of input and weights.

    cuDNN computes the input's gradient always. Bytes: input, weights, output and its gradient read, the gradients of
    input and weights written.
    """
    output = call.shape(6)
    return _layers(call, output[-1] if output else None, times=_BACKWARD)


def _layers(call: Call, width: int | None, *, times: int) -> Work | None:
    inputs = call.shape(0)
    weights = [shape for shape in call.shapes(1) if len(shape) == 2]
    if not inputs or not weights:
        return None
    rows = math.prod(inputs[:-1])
    flop = 2 * rows * sum(map(math.prod, weights)) * times
    each = call.value_bytes(0)
    if each is None or width is None:
        return Work(FAMILY, flop, None, call.type(0))
    moved = math.prod(inputs) + sum(map(math.prod, call.shapes(1))) + rows * width
    return Work(FAMILY, flop, each * moved * times, call.type(0))


def layer_forward(call: Call) -> Work | None:
    """``mkldnn_rnn_layer``, one layer and direction: 2 R (G H D + G H H) FLOP, as :func:`layers_forward`.

    Bytes: input, weights and biases read, output (R x H) written.
    """
    return _layer(call, times=1)


def layer_backward(call: Call) -> Work | None:
    """``mkldnn_rnn_layer_backward``: twice the forward pass; oneDNN computes the gradient of the input always.

    Bytes: input, weights, output and its gradient read; the gradients of input and weights written.
    """
    return _layer(call, times=_BACKWARD)


def _layer(call: Call, *, times: int) -> Work | None:
    inputs, weight_input, weight_state = call.shape(0), call.shape(1), call.shape(2)
    if inputs is None or weight_input is None or weight_state is None or len(weight_state) != 2:
        return None
    rows = math.prod(inputs[:-1])
    flop = 2 * rows * (math.prod(weight_input) + math.prod(weight_state)) * times
    each = call.value_bytes(0)
    read = call.size_bytes(0, 1, 2, 3, 4)
    moved = summed(read, None if each is None else each * rows * weight_state[1])
    return Work(FAMILY, flop, None if moved is None else moved * times, call.type(0))


def lstm_cell(call: Call) -> Work | None:
    """``_thnn_fused_lstm_cell``: 13 FLOP for each state, 21 with biases, behind the products of its gates.

    Of four gates: input's and state's part added (4), both biases (8), activations (4); c = f c + i g (3), h = o
    tanh(c) (2). Bytes: gates and cell read, state, cell and gates written.
    """
    return _cell(call, gates=4, flop=13, bias_flop=8)


def gru_cell(call: Call) -> Work | None:
    """``_thnn_fused_gru_cell``: 11 FLOP for each state, 17 with biases, behind the products of its gates.

    r and z: two parts added, activation (4); n = tanh(i + r h) (3); h = (1 - z) n + z h (4). Bytes: gates and state
    read, state and the workspace of 5 states written.
    """
    return _cell(call, gates=3, flop=11, bias_flop=6)


def _cell(call: Call, *, gates: int, flop: int, bias_flop: int) -> Work | None:
    """Of a fused cell with so many gates and FLOP for each state; both kinds write six values a state."""
    parts = call.shape(0)
    if parts is None:
        return None
    states = math.prod(parts) // gates
    biases = bias_flop if call.shape(3) is not None else 0
    each = call.value_bytes(0)
    size_bytes = summed(call.size_bytes(0, 1, 2, 3, 4), None if each is None else each * (6 * states))
    return Work("elementwise", (flop + biases) * states, size_bytes, call.type(0))


MODELS: Final[Mapping[str, Callable[[Call], Work | None]]] = {
    "_cudnn_rnn": layers_forward,
    "_cudnn_rnn_backward": layers_backward,
    "miopen_rnn": layers_forward,
    "miopen_rnn_backward": layers_backward,
    "mkldnn_rnn_layer": layer_forward,
    "mkldnn_rnn_layer_backward": layer_backward,
    "_thnn_fused_lstm_cell": lstm_cell,
    "_thnn_fused_gru_cell": gru_cell,
}
"""Operator -> its model. ``lstm``, ``gru``, ``rnn_tanh`` call these, or products of matrices."""
