"""What autograd keeps for the backward pass, and when that begins and ends: hooks that change no number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .memory_ledger import Saved


class AutogradHooks:
    """Hooks on autograd, from :meth:`put_on` to :meth:`take_off`.

    Args:
        keep: Called with each tensor that autograd saves.
        before: Called before a backward pass; gives whether ``after`` shall be called behind it.
        after: Called behind it.
    """

    def __init__(self, keep: Callable[[Saved], None], *, before: Callable[[], bool], after: Callable[[], None]) -> None:
        self._keep = keep
        self._before = before
        self._after = after
        self._originals: tuple[Any, Any] | None = None

    def put_on(self) -> None:
        """Saved tensors pass through here, and so do calls of ``backward``."""
        torch._C._autograd._push_saved_tensors_default_hooks(self._pack, _unpack)
        self._originals = (torch.autograd.backward, torch.autograd.graph.disable_saved_tensors_hooks)
        torch.autograd.backward = self._backward
        torch.autograd.graph.disable_saved_tensors_hooks = self._without_hooks

    def take_off(self) -> None:
        """All is as it was found, save where the program has put hooks of its own on top: those stay."""
        if self._originals is None:
            return
        if _innermost_hook() in (None, self._pack):
            torch._C._autograd._pop_saved_tensors_default_hooks()
        torch.autograd.backward, torch.autograd.graph.disable_saved_tensors_hooks = self._originals
        self._originals = None

    def _pack(self, tensor: torch.Tensor) -> Saved:
        saved = Saved(tensor)
        self._keep(saved)
        return saved

    def _backward(self, *args: Any, **kwargs: Any) -> Any:
        assert self._originals is not None, "taken off, but called"
        backward, told = self._originals[0], self._before()
        try:
            return backward(*args, **kwargs)
        finally:
            if told:
                self._after()

    @contextmanager
    def _without_hooks(self, error_message: str) -> Iterator[None]:
        """What ``torch.func`` enters, which refuses to work while hooks are on: ours step aside for as long."""
        assert self._originals is not None, "taken off, but called"
        disabled, ours = self._originals[1], _innermost_hook() == self._pack
        if ours:
            torch._C._autograd._pop_saved_tensors_default_hooks()
        try:
            with disabled(error_message):
                yield
        finally:
            if ours:
                torch._C._autograd._push_saved_tensors_default_hooks(self._pack, _unpack)


def _unpack(saved: Saved) -> torch.Tensor:
    return saved.tensor


def _innermost_hook() -> Any:
    """The packing hook that holds now; None where there is none, or this PyTorch does not tell."""
    ask = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    hooks = None if ask is None else ask(True)
    return None if hooks is None else hooks[0]
