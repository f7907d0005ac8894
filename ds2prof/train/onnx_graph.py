"""Pieces of ONNX graphs: what a network's layers are in ONNX's operators, with their weights.

The graphs are put together here and not traced: PyTorch's exporter unrolls a recurrent layer over a fixed number of
frames and has no packed sequences, while ONNX's LSTM, GRU and RNN take any number of frames and the length of each
sequence, which is what packing means. So the graphs hold for any batch and any lengths.

B utterances, T frames, D features going in, H coming out, N directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ds2prof.errors import Ds2profError

OPSET: Final = 17
IR_VERSION: Final = 8
_GATES: Final = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""ONNX's order of the gates by their places in PyTorch's: i o f g from i f g o, z r n from r z n."""


class Graph:
    """An ONNX graph as it is put together."""

    def __init__(self) -> None:
        self._onnx = onnx_package()
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """The name of what an operator gives; of its first output where it gives several."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, outputs))]
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name

    def weight(self, name: str, values: NDArray[Any]) -> str:
        """The name of these values in the graph; values that are there under that name are taken for the same."""
        if name not in self._weights:
            self._weights[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def whole(self, *values: int) -> str:
        """The name of these whole numbers."""
        return self.weight("whole_" + "_".join(str(value) for value in values), np.array(values, np.int64))

    def number(self, value: float) -> str:
        """The name of one float32."""
        return self.weight(f"number_{value}", np.array(value, np.float32))

    def renamed(self, name: str, wanted: str) -> str:
        """Another name for a value: that of an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [name], [wanted], name=f"output_{wanted}"))
        return wanted

    def model(
        self,
        name: str,
        *,
        inputs: Mapping[str, tuple[type, Sequence[int | str]]],
        outputs: Mapping[str, tuple[type, Sequence[int | str]]],
        facts: Mapping[str, str],
    ) -> Any:
        """The graph as a model.

        Args:
            name: Of the graph.
            inputs: Name -> type and axes; an axis of any length has a name.
            outputs: Likewise.
            facts: Go into the model's metadata.

        Raises:
            AssertionError: it is no valid model, which is our fault.
        """
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes,
            name,
            [self._value(each, *what) for each, what in inputs.items()],
            [self._value(each, *what) for each, what in outputs.items()],
            initializer=list(self._weights.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="ds2prof"
        )
        helper.set_model_props(model, dict(facts))
        self._onnx.checker.check_model(model)
        return model

    def _value(self, name: str, kind: type, axes: Sequence[int | str]) -> Any:
        number = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        return self._onnx.helper.make_tensor_value_info(name, number, list(axes))


def onnx_package() -> Any:
    """The package.

    Raises:
        Ds2profError: it is not installed.
    """
    try:
        onnx = import_module("onnx")
        for part in ("checker", "helper", "numpy_helper"):
            import_module(f"onnx.{part}")
    except ImportError:
        raise Ds2profError('onnx: this package is not installed; pip install "ds2prof[onnx]" brings it') from None
    return onnx


def values_of(tensor: Tensor | None) -> NDArray[np.float32]:
    """A weight's values on the host."""
    assert tensor is not None
    return cast("NDArray[np.float32]", tensor.detach().float().cpu().numpy())


def convolution(graph: Graph, act: str, module: nn.Conv1d | nn.Conv2d, *, name: str, pads: Sequence[int]) -> str:
    """A convolution; ``pads`` are those of all axes at their beginnings, then at their ends."""
    weights = [graph.weight(f"{name}.weight", values_of(module.weight))]
    if module.bias is not None:
        weights.append(graph.weight(f"{name}.bias", values_of(module.bias)))
    return graph.add(
        "Conv",
        act,
        *weights,
        kernel_shape=list(module.kernel_size),
        strides=list(module.stride),
        pads=list(pads),
        group=module.groups,
    )


def batch_norm(graph: Graph, act: str, module: nn.modules.batchnorm._BatchNorm, *, name: str) -> str:
    """Batch normalization by running statistics over axis 1."""
    weights = [
        graph.weight(f"{name}.{each}", values_of(getattr(module, each)))
        for each in ("weight", "bias", "running_mean", "running_var")
    ]
    return graph.add("BatchNormalization", act, *weights, epsilon=module.eps)


def feature_norm(graph: Graph, act_TBD: str, module: nn.BatchNorm1d, *, name: str) -> str:
    """The same over the last axis: a factor and a summand for each feature, computed in float64."""
    weight, bias, mean, variance = (
        values_of(getattr(module, each)).astype(np.float64)
        for each in ("weight", "bias", "running_mean", "running_var")
    )
    factor = weight / np.sqrt(variance + module.eps)
    scaled = graph.add("Mul", act_TBD, graph.weight(f"{name}.factor", factor.astype(np.float32)))
    return graph.add("Add", scaled, graph.weight(f"{name}.summand", (bias - mean * factor).astype(np.float32)))


def linear(graph: Graph, act: str, module: nn.Linear, *, name: str) -> str:
    """A linear layer over the last axis."""
    product = graph.add("MatMul", act, graph.weight(f"{name}.weight", values_of(module.weight).T))
    return (
        product
        if module.bias is None
        else graph.add("Add", product, graph.weight(f"{name}.bias", values_of(module.bias)))
    )


def clipped(graph: Graph, act: str, low: float, high: float) -> str:
    """Values held between two."""
    return graph.add("Clip", act, graph.number(low), graph.number(high))


def recurrent(
    graph: Graph,
    act_TBD: str,
    module: nn.RNNBase,
    *,
    name: str,
    layer: int = 0,
    counts_B: str | None = None,
    state: tuple[str, ...] = (),
) -> str:
    """One recurrent layer: (T, N, B, H), zeros behind an utterance's end where ``counts_B`` are given.

    Args:
        graph: Where it goes.
        act_TBD: What goes in.
        module: PyTorch's layer, or a stack of them.
        name: What its weights are called.
        layer: Which one of the stack.
        counts_B: The lengths, int32; None reads all frames of each utterance.
        state: What the layer begins with: (N, B, H) once, for an LSTM twice; zeros where empty. Its states at the end
            are then the second and third output.
    """
    kind = {"LSTM": "LSTM", "GRU": "GRU"}.get(module.mode, "RNN")
    weights = _recurrent_weights(graph, module, kind, name=name, layer=layer)
    attributes: dict[str, Any] = {
        "hidden_size": module.hidden_size,
        "direction": "bidirectional" if module.bidirectional else "forward",
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = 1  # the reset gate is applied behind the product, as PyTorch does
    if kind == "RNN":
        activation = "Relu" if module.mode == "RNN_RELU" else "Tanh"
        attributes["activations"] = [activation] * (1 + module.bidirectional)
    return graph.add(kind, act_TBD, *weights, counts_B or "", *state, outputs=3 if kind == "LSTM" else 2, **attributes)


def _recurrent_weights(graph: Graph, module: nn.RNNBase, kind: str, *, name: str, layer: int) -> list[str]:
    """The names of the weights of input and state, and of both biases where there are some."""
    suffixes = ["", "_reverse"] if module.bidirectional else [""]

    def gathered(part: str) -> list[NDArray[np.float32]]:
        return [_gates_moved(values_of(getattr(module, f"{part}_l{layer}{end}")), kind) for end in suffixes]

    identity = isinstance(dict(module.named_buffers()).get("weight_ih_l0"), Tensor)
    inputs = f"identity_{module.hidden_size}_{len(suffixes)}" if identity else f"{name}.weight_ih_l{layer}"
    names = [
        graph.weight(inputs, np.stack(gathered("weight_ih"))),
        graph.weight(f"{name}.weight_hh_l{layer}", np.stack(gathered("weight_hh"))),
    ]
    if not module.bias:
        return [*names, ""]
    biases = [np.concatenate(pair) for pair in zip(gathered("bias_ih"), gathered("bias_hh"), strict=True)]
    return [*names, graph.weight(f"{name}.bias_l{layer}", np.stack(biases))]


def _gates_moved(values: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """PyTorch's weights of all gates in ONNX's order."""
    gates = np.split(values, len(_GATES[kind]))
    return np.concatenate([gates[place] for place in _GATES[kind]])
