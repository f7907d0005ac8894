"""What lives: every storage that a tensor holds, counted once, with what it is for and the layer it belongs to.

A storage is known by the address of its C++ object, as long as a weak reference to it says that it lives. So an address
that is used again is another storage, views and aliases are the storage that they show, and what is freed is taken off
when it is freed and not when somebody looks. Deaths are only noted where they happen, which can be anywhere, in any
thread; they are taken off when the ledger is next asked.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import torch

WEIGHTS = "weights"
BUFFERS = "buffers"
GRADIENTS = "gradients"
OPTIMIZER_STATE = "optimizer_state"
ACTIVATIONS = "activations"
INPUT = "input"
ACTIVATION_GRADIENTS = "activation_gradients"
TEMPORARIES = "temporaries"
_ASCENDING = (
    *(TEMPORARIES, ACTIVATION_GRADIENTS, ACTIVATIONS, INPUT, OPTIMIZER_STATE, GRADIENTS, BUFFERS),
    WEIGHTS,
)
_STRENGTH = {name: strength for strength, name in enumerate(_ASCENDING)}
"""A storage that is several of these is the strongest: a weight that is saved for the backward pass is a weight."""

if TYPE_CHECKING:
    Composition = dict[tuple[str, str], int]
    """(layer, category) -> bytes."""


class Held:
    """One storage that lives.

    Attributes:
        made_as: Category and layer that it falls back to when no backward pass needs it any more.
        saves: How often it is saved for a backward pass now.
    """

    __slots__ = ("category", "device", "key", "layer", "made_as", "reference", "saves", "size_bytes")

    def __init__(self, key: int, device: str, *, size_bytes: int, category: str, layer: str) -> None:
        self.key = key
        self.device = device
        self.size_bytes = size_bytes
        self.category = category
        self.layer = layer
        self.made_as = (category, layer)
        self.saves = 0
        self.reference: Any = None


class Saved:
    """A tensor that autograd keeps for the backward pass; when this object goes, it is no longer kept."""

    __slots__ = ("held", "tensor", "unsaved")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.held: list[Held] = []
        self.unsaved: deque[Held] | None = None

    def __del__(self) -> None:
        """Only noted here: this runs wherever autograd lets go."""
        unsaved = getattr(self, "unsaved", None)  # one that was never set up has no attributes
        if unsaved is not None:
            unsaved.extend(self.held)


class Ledger:
    """The storages that live and their sums.

    Attributes:
        sums: Device -> (layer, category) -> bytes.
        totals: Device -> bytes.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Composition] = {}
        self.totals: dict[str, int] = {}
        self._held: dict[int, Held] = {}
        self._gone: deque[Held] = deque()
        self._unsaved: deque[Held] = deque()

    def see(self, tensor: torch.Tensor, category: str, layer: str) -> None:
        """Takes in the tensor's storages if they are new; one that is known keeps its category, not its size."""
        for storage in storages(tensor):
            self._entry(storage, category, layer)

    def claim(self, tensor: torch.Tensor, category: str, layer: str) -> None:
        """Says what the tensor's storages are for, unless they are something stronger already."""
        for storage in storages(tensor):
            held = self._entry(storage, category, layer)
            if held is None:
                continue
            if _STRENGTH[category] > _STRENGTH[held.made_as[0]]:
                held.made_as = (category, layer)
            if _STRENGTH[category] > _STRENGTH[held.category]:
                self._move(held, category, layer)

    def save(self, saved: Saved, layer: str) -> None:
        """Autograd keeps a tensor: its storage is an activation, of the layer that saved it first."""
        saved.unsaved = self._unsaved
        for storage in storages(saved.tensor):
            held = self._entry(storage, TEMPORARIES, layer)
            if held is None:
                continue
            held.saves += 1
            saved.held.append(held)
            if held.saves == 1 and _STRENGTH[ACTIVATIONS] > _STRENGTH[held.category]:
                self._move(held, ACTIVATIONS, layer)

    def drain(self) -> None:
        """Takes off what has been freed, and puts back among the temporaries what no backward pass needs any more."""
        while self._unsaved:
            held = self._unsaved.popleft()
            held.saves -= 1
            if held.saves == 0 and held.category == ACTIVATIONS and self._held.get(held.key) is held:
                self._move(held, *held.made_as)
        while self._gone:
            held = self._gone.popleft()
            if self._held.get(held.key) is held:
                del self._held[held.key]
                self._add(held, -held.size_bytes)

    def layer_of(self, tensor: torch.Tensor) -> str | None:
        """The layer that the tensor's storage belongs to, None where it is not known."""
        for storage in storages(tensor):
            held = self._held.get(storage._cdata)
            if held is not None:
                return held.layer
        return None

    def composition(self, device: str) -> Composition:
        """A copy of the sums of a device."""
        return {key: size_bytes for key, size_bytes in self.sums.get(device, {}).items() if size_bytes}

    def _entry(self, storage: Any, category: str, layer: str) -> Held | None:
        """The storage's entry, made or brought up to its present size; None for one that holds nothing."""
        size_bytes = storage.nbytes()
        held = self._held.get(storage._cdata)
        if held is not None and held.reference() is not storage:
            self.drain()  # another storage was at this address, and its death is noted
            held = self._held.get(storage._cdata)
        if held is not None:
            if held.size_bytes != size_bytes:
                self._add(held, size_bytes - held.size_bytes)
                held.size_bytes = size_bytes
            return held
        if not size_bytes:
            return None
        held = Held(storage._cdata, str(storage.device), size_bytes=size_bytes, category=category, layer=layer)
        held.reference = weakref.ref(storage, _note(held, self._gone))
        self._held[held.key] = held
        self._add(held, size_bytes)
        return held

    def _move(self, held: Held, category: str, layer: str) -> None:
        self._add(held, -held.size_bytes)
        held.category, held.layer = category, layer
        self._add(held, held.size_bytes)

    def _add(self, held: Held, size_bytes: int) -> None:
        sums = self.sums.setdefault(held.device, {})
        key = (held.layer, held.category)
        sums[key] = sums.get(key, 0) + size_bytes
        self.totals[held.device] = self.totals.get(held.device, 0) + size_bytes


def _note(held: Held, gone: deque[Held]) -> Any:
    """A callback for a weak reference; it must not hold the ledger, which holds it."""

    def note(_reference: Any) -> None:
        gone.append(held)

    return note


def storages(tensor: torch.Tensor) -> list[Any]:
    """The storages behind a tensor: one, those of its parts where it wraps others, none where it has no memory."""
    kind = type(tensor)
    flatten = getattr(tensor, "__tensor_flatten__", None) if kind is not torch.Tensor else None
    if flatten is not None:
        try:
            names = flatten()[0]
        except (RuntimeError, NotImplementedError):
            return []
        return [storage for name in names for storage in storages(getattr(tensor, name))]
    if tensor.layout != torch.strided:
        return [storage for part in _parts(tensor) for storage in storages(part)]
    try:
        storage = tensor.untyped_storage()
        device = storage.device.type
    except (RuntimeError, NotImplementedError):  # memory that is not PyTorch's to show
        return []
    return [] if device == "meta" else [storage]


def _parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The dense tensors that a sparse one is made of."""
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return []


def tensors(value: Any, found: list[torch.Tensor] | None = None) -> list[torch.Tensor]:
    """The tensors in what an operator or a module takes or gives: alone, or in lists, tuples and mappings."""
    found = [] if found is None else found
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, (list, tuple)):
        for one in value:
            tensors(one, found)
    elif isinstance(value, dict):
        for one in value.values():
            tensors(one, found)
    return found


def storages_can_be_followed() -> bool:
    """Whether a weak reference to a storage lives as long as the storage does: from PyTorch 2.1 on."""
    tensor = torch.empty(1)
    if not hasattr(tensor, "untyped_storage"):
        return False
    reference = weakref.ref(tensor.untyped_storage())
    return reference() is not None and reference() is tensor.untyped_storage()
