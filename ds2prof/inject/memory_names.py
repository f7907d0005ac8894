"""Names: of modules within their model, of the parameters' owners, of autograd's nodes by the layer they stem from."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from .memory_account import MODEL

_MARK = "ds2prof layer"
_WRAPPED = "_orig_mod"
"""What ``torch.compile`` calls the module that it was given, which goes by its own name all the same."""


@dataclass(frozen=True)
class Inventory:
    """What there is in the process."""

    roots: list[nn.Module] = field(default_factory=list)
    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)


def inventory() -> Inventory:
    """The modules that are no part of another (the largest first), the optimizers and the tensors of the process."""
    modules: list[nn.Module] = []
    found = Inventory()
    for one in gc.get_objects():
        kind = type(one)  # not isinstance: that asks the object, which may be a stand-in that does what it likes
        if issubclass(kind, torch.Tensor):
            found.tensors.append(one)
        elif issubclass(kind, nn.Module):
            modules.append(one)
        elif issubclass(kind, torch.optim.Optimizer):
            found.optimizers.append(one)
    whole = [one for one in modules if "_modules" in one.__dict__ and "_parameters" in one.__dict__]
    parts = {id(child) for module in whole for child in module._modules.values()}
    found.roots.extend(sorted((one for one in whole if id(one) not in parts), key=_size, reverse=True))
    return found


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if not _lazy(parameter))


def _lazy(parameter: torch.Tensor) -> bool:
    return isinstance(parameter, (nn.UninitializedParameter, nn.UninitializedBuffer))


class Names:
    """What modules are called: the path from the model, as ``named_modules`` has it, and ``model`` for that itself.

    The model is the module without a parent that has the most parameters. A further one goes by its class, which stands
    before the paths of its own.
    """

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._taken: dict[str, int] = {}
        self._has_model = False

    def of(self, module: nn.Module) -> str:
        """The module's name; of one not met before, as a model of its own."""
        name = self._names.get(module)
        if name is None:
            self.add(module)
            name = self._names[module]
        return name

    def __contains__(self, module: nn.Module) -> bool:
        return module in self._names

    def add(self, root: nn.Module) -> None:
        """Names a module that is no part of another, and all of its parts."""
        trained, kind = next(root.parameters(), None) is not None, type(root).__name__
        if trained and not self._has_model:
            self._has_model, own, prefix = True, MODEL, ""
        else:
            own = self._free(kind) if trained else kind  # a loss that is made anew each time keeps its name
            prefix = f"{own}."
        for path, module in root.named_modules():
            path = ".".join(part for part in path.split(".") if part != _WRAPPED)
            if module not in self._names:
                self._names[module] = prefix + path if path else own

    def _free(self, name: str) -> str:
        """The name, with a number where it is not the first."""
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def owned(
        self, roots: Iterable[nn.Module]
    ) -> tuple[list[tuple[torch.Tensor, str]], list[tuple[torch.Tensor, str]]]:
        """(parameters, buffers), each with the name of the module that has it, the first where several have."""
        parameters: list[tuple[torch.Tensor, str]] = []
        buffers: list[tuple[torch.Tensor, str]] = []
        for root in roots:
            for module in root.modules():
                name = self.of(module)
                parameters += [(one, name) for one in module._parameters.values() if one is not None and not _lazy(one)]
                buffers += [(one, name) for one in module._buffers.values() if one is not None and not _lazy(one)]
        return parameters, buffers


def mark(tensors: Iterable[torch.Tensor], layer: str) -> None:
    """Marks the nodes of the autograd graph behind the tensors, as far as they bear no mark, with the layer.

    The mark lies in the node's own metadata and goes with it: nothing is kept alive for it. Each node is visited once,
    because inner modules return before outer ones and mark what is theirs.
    """
    ahead: list[Any] = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    while ahead:
        node = ahead.pop()
        metadata = getattr(node, "metadata", None)
        if not isinstance(metadata, dict) or _MARK in metadata:
            continue
        metadata[_MARK] = layer
        ahead.extend(following for following, _ in node.next_functions if following is not None)


def marked_layer() -> str | None:
    """The layer of the node that autograd works at in this thread; None where it works at none that bears a mark."""
    ask = getattr(torch._C, "_current_autograd_node", None)
    node = None if ask is None else ask()
    metadata = getattr(node, "metadata", None)
    return metadata.get(_MARK) if isinstance(metadata, dict) else None
