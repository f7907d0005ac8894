"""The account of an iteration: what each device held at its moments, how high it stood, and made of what.

Where the device counts by itself (:mod:`.memory_meter`) it is asked before and after each operator. What an operator
took beyond the storages that remain, such as cuDNN's workspace, is then the difference, never an estimate.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from . import memory_ledger
from .memory_ledger import Ledger
from .memory_meter import Meter, meters

if TYPE_CHECKING:
    from .memory_file import Row
    from .memory_ledger import Composition

PEAK = "peak"
WORKSPACE = "workspace"
ROUNDING = "rounding"
UNATTRIBUTED = "unattributed"
ALLOCATED = "allocated"
RESERVED = "reserved"
DEVICE_USED = "device_used"
KEPT_AT = "before_backward"
"""The moment at which activations are all there."""
MODEL = "model"
"""The layer of what belongs to none."""
_WAYS = {"forward": "forward", "loss": "forward", "backward": "backward"}


@dataclass(frozen=True)
class Place:
    """Where the program is: its phase, the layer that is open, and the operator that ran, None between operators."""

    phase: str
    layer: str
    operator: Any = None


@dataclass
class _Point:
    """What a device held at one point.

    Attributes:
        parts: (layer, category) -> bytes; taken down for a peak when the next operator begins, None until then.
        used: What the driver says is in use on the device.
        own: What the operator that ran took and gave back.
    """

    allocated: int
    requested: int
    reserved: int | None
    place: Place
    parts: Composition | None = None
    used: int | None = None
    own: int = 0


if TYPE_CHECKING:
    _Height = tuple[int, Place]


@dataclass
class _Iteration:
    """What an iteration brought so far."""

    moments: dict[tuple[str, str], _Point] = field(default_factory=dict)
    tops: dict[str, _Point] = field(default_factory=dict)
    layers: dict[tuple[str, str, str], _Height] = field(default_factory=dict)
    works: dict[tuple[str, str, str], _Height] = field(default_factory=dict)


class Account:
    """The account of the iteration that runs.

    Attributes:
        ledger: The storages that live.
        rows: What was recorded, a number a row, iteration by iteration.
        lock: Held around all that touches the ledger; autograd has a thread for each device.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.rows: list[Row] = []
        self.lock = threading.RLock()
        self._meters: dict[str, Meter] = {}
        self._now = _Iteration()

    @property
    def devices(self) -> list[str]:
        """The devices that hold something, those with a count of their own first."""
        return [*self._meters, *(name for name in self.ledger.totals if name not in self._meters)]

    @property
    def metered(self) -> list[str]:
        """The devices that count by themselves."""
        return list(self._meters)

    def open_iteration(self, phase: str = "data") -> None:
        """A new iteration begins; it starts as high as memory stands."""
        with self.lock:
            self._now = _Iteration()
            self._meet_devices()
            self.ledger.drain()
            self._measure(Place(phase, MODEL))

    def entering(self, place: Place, given: list[torch.Tensor]) -> None:
        """An operator is about to work on the tensors ``given``; those not seen before came from outside."""
        with self.lock:
            self._settle(place)
            for tensor in given:
                self.ledger.see(tensor, memory_ledger.INPUT, MODEL)

    def leaving(self, place: Place, made: list[torch.Tensor], category: str) -> None:
        """An operator has made the tensors ``made``, which are of ``category`` until they turn out to be another."""
        with self.lock:
            self.ledger.drain()
            for tensor in made:
                self.ledger.see(tensor, category, place.layer)
            self._measure(place)

    def pass_by(self, place: Place) -> None:
        """A module was entered or left: up to here, what was highest belongs to the layer of ``place``."""
        with self.lock:
            self._settle(place)

    def moment(self, name: str, place: Place) -> None:
        """Takes down who holds what now. Of several of one name in an iteration, the one with the most bytes stays.

        Before the backward pass it is the one with the most activations: what that moment is there to tell, and with
        two models that train in turn the other one's may have more bytes, and none of them kept.
        """
        with self.lock:
            self._settle(place)
            self._meet_devices()
            for device in self.devices:
                found = self._point(device)
                known = self._now.moments.get((name, device))
                if known is None or _rank(name, found) > _rank(name, known):
                    self._now.moments[name, device] = found

    def close_iteration(self, iteration: int) -> None:
        """Makes rows of what the iteration brought: its moments in their order, its layers, its peak last."""
        with self.lock:
            self._settle(Place("", MODEL))
            now = self._now
            rows = [row for (name, device), point in now.moments.items() for row in _point_rows(name, device, point)]
            for category, heights in ((ALLOCATED, now.layers), (WORKSPACE, now.works)):
                for (device, layer, way), (size_bytes, place) in heights.items():
                    if size_bytes > 0:
                        rows.append((f"layer_{way}", way, device, layer, category, size_bytes, place.operator))
            for device, point in now.tops.items():
                rows += _point_rows(PEAK, device, point)
            self.rows += [(iteration, *row[:-1], _name(row[-1])) for row in rows]

    def _meet_devices(self) -> None:
        """Asks for the accounts of devices that have come into use."""
        if any(name not in self._meters and not name.startswith("cpu") for name in self.ledger.totals):
            for meter in meters():
                if meter.name not in self._meters:
                    meter.look()
                    self._meters[meter.name] = meter

    def _point(self, device: str) -> _Point:
        parts = self.ledger.composition(device)
        meter = self._meters.get(device)
        if meter is None:
            total = sum(parts.values())
            return _Point(total, total, None, Place("", ""), parts)
        reading = meter.look()
        used = meter.used_bytes()
        return _Point(reading.allocated, reading.requested, reading.reserved, Place("", ""), parts, used)

    def _settle(self, place: Place) -> None:
        """Takes down the parts of a peak that has just been reached, before anything is freed or added."""
        for name in self._meters:
            self._look(name, place)
        for device, top in self._now.tops.items():
            if top.parts is None:
                top.parts = self.ledger.composition(device)
        self.ledger.drain()

    def _measure(self, place: Place) -> None:
        """Notes how high memory stands, or stood during the operator, for the iteration and for the layer."""
        for name in self._meters:
            self._look(name, place)
        for device, total in self.ledger.totals.items():
            if device not in self._meters:
                self._reached(device, _Point(total, total, None, place))

    def _look(self, device: str, place: Place) -> None:
        reading = self._meters[device].look()
        own = 0 if place.operator is None else reading.requested_peak - reading.requested
        self._reached(device, _Point(reading.allocated_peak, reading.requested_peak, reading.reserved, place, own=own))
        if place.operator is not None and place.phase in _WAYS:
            _keep_highest(self._now.works, (device, place.layer, _WAYS[place.phase]), (own, place))

    def _reached(self, device: str, point: _Point) -> None:
        top = self._now.tops.get(device)
        if top is None or point.allocated > top.allocated:
            self._now.tops[device] = point
        beside = device not in self._meters and bool(self._meters)  # the host, where the work is a GPU's
        if point.place.phase in _WAYS and not beside:
            key = (device, point.place.layer, _WAYS[point.place.phase])
            _keep_highest(self._now.layers, key, (point.allocated, point.place))


def _rank(moment: str, point: _Point) -> tuple[int, int]:
    """The higher, the more a point has to say of its moment."""
    if moment != KEPT_AT:
        return (0, point.allocated)
    parts = point.parts or {}
    kept = sum(size_bytes for (_, category), size_bytes in parts.items() if category == memory_ledger.ACTIVATIONS)
    return (kept, point.allocated)


def _keep_highest(heights: dict[tuple[str, str, str], _Height], key: tuple[str, str, str], found: _Height) -> None:
    known = heights.get(key)
    if known is None or found[0] > known[0]:
        heights[key] = found


def _point_rows(moment: str, device: str, point: _Point) -> list[tuple[Any, ...]]:
    """The rows of a point, iteration left out: its parts, other counts, and last the sum of the parts."""
    parts = point.parts or {}
    found = sum(parts.values())
    # Without an account of the device's own, what was found is all; a storage met only afterwards is in it.
    allocated, requested = (found, found) if point.reserved is None else (point.allocated, point.requested)
    if not allocated:
        return []
    phase, layer, operator = point.place.phase, point.place.layer, point.place.operator
    own = min(point.own, max(requested - found, 0))
    whole = {
        **parts,
        (MODEL, WORKSPACE): max(requested - found, 0) - own,
        (MODEL, UNATTRIBUTED): min(requested - found, 0),
        (MODEL, ROUNDING): allocated - requested,
    }
    whole[layer, WORKSPACE] = whole.get((layer, WORKSPACE), 0) + own
    rows: list[tuple[Any, ...]] = [
        (moment, phase, device, part_layer, category, size_bytes, None)
        for (part_layer, category), size_bytes in sorted(whole.items())
        if size_bytes
    ]
    for category, size in ((RESERVED, point.reserved), (DEVICE_USED, point.used)):
        if size is not None:
            rows.append((moment, phase, device, "", category, size, None))
    return [*rows, (moment, phase, device, layer, ALLOCATED, allocated, operator)]


def _name(operator: Any) -> str:
    """``aten.mm.default``; nothing where no operator ran."""
    return "" if operator is None else str(operator)
