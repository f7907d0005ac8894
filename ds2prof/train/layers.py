"""Layer ranges, forward and backward, by module hooks on a network whose layers run one after another.

A layer's forward range is its call. In the backward pass it begins when the gradient of the layer's output is there,
of which a hook on that output tells; nothing tells when autograd has left the layer. But it works through one layer
after another, so a layer's backward range ends where the next one's begins, and the last one's (the input layer's:
nothing lies behind it) when all its parameters have their gradients. These hooks run on the thread that runs the
backward pass.

The network may be a chain or have branches that meet again, as a transducer's do. Of all operators whose gradients are
there autograd takes the one that was applied last, so it leaves a branch only when that is done, and the order of the
backward pass is the reverse of the forward one. What it needs is that no layer's forward pass begins within another's.

The hook on the output is registered by a forward hook. A module's full backward pre-hook would come at the same
moment, but puts nodes of its own into the graph around every layer, and warns about a layer whose input needs no
gradient. This way the graph is the same with and without layer ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ds2prof.train.ranges import Ranges


class LayerRanges:
    """Hooks that name the layers of a network.

    Args:
        ranges: Where the ranges go.
        layers: Name -> layer, in the order of the forward pass. Their inputs and outputs are tensors.
    """

    def __init__(self, ranges: Ranges, layers: Mapping[str, nn.Module]) -> None:
        self._ranges = ranges
        self._layers = dict(layers)
        self._input_layer = next(iter(self._layers))
        self._handles: list[RemovableHandle] = []
        self._forward: AbstractContextManager[None] | None = None
        self._backward: AbstractContextManager[None] | None = None
        self._awaited_gradients = 0

    def attach(self) -> None:
        """Puts the hooks on."""
        for name, layer in self._layers.items():
            self._handles += [
                layer.register_forward_pre_hook(self._entering(name)),
                layer.register_forward_hook(self._leaving(name)),
            ]
        for parameter in self._trained_input_parameters():
            self._handles.append(parameter.register_post_accumulate_grad_hook(self._accumulated))

    def detach(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _entering(self, name: str) -> Any:
        def hook(_layer: nn.Module, _inputs: Any) -> None:
            self._forward = self._ranges("layer", f"{name}:forward")
            self._forward.__enter__()

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
            if self._forward is not None:
                self._forward.__exit__(None, None, None)
                self._forward = None
            if output.requires_grad:
                output.register_hook(self._arriving(name))

        return hook

    def _arriving(self, name: str) -> Callable[[Tensor], None]:
        def hook(_gradient: Tensor) -> None:
            self._close_backward()
            if name == self._input_layer:
                self._awaited_gradients = len(self._trained_input_parameters())
            self._backward = self._ranges("layer", f"{name}:backward")
            self._backward.__enter__()

        return hook

    def _trained_input_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self._layers[self._input_layer].parameters() if parameter.requires_grad]

    def _accumulated(self, _parameter: Any) -> None:
        self._awaited_gradients -= 1
        if self._awaited_gradients == 0:
            self._close_backward()

    def _close_backward(self) -> None:
        if self._backward is not None:
            self._backward.__exit__(None, None, None)
            self._backward = None
