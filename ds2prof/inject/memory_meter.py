"""What a device's own allocator says: bytes in use, as asked for and as handed out, and what it keeps in reserve.

CUDA (and XPU) devices have such an account. The host's memory has none in PyTorch: there the storages of tensors are
all that is known, and what an operator takes for itself and gives back before it returns is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Reading:
    """One look at the account.

    Attributes:
        allocated: Bytes handed out, which the allocator rounds up.
        requested: Bytes asked for; ``allocated`` where the allocator does not count them apart.
        reserved: Bytes it has of the driver.
        allocated_peak: The most handed out since the last look.
        requested_peak: The most asked for since the last look.
    """

    allocated: int
    requested: int
    reserved: int
    allocated_peak: int
    requested_peak: int


class Meter:
    """The account of one device."""

    def __init__(self, device: torch.device, api: Any) -> None:
        self.name = str(device)
        self._device = device
        self._api = api

    def look(self) -> Reading:
        """The account now; the peaks begin anew."""
        stats = self._api.memory_stats_as_nested_dict(self._device)
        self._api.reset_peak_memory_stats(self._device)
        allocated, requested = _all(stats, "allocated_bytes"), _all(stats, "requested_bytes")
        if not requested.get("peak"):  # an older PyTorch, or an allocator that does not count it
            requested = allocated
        return Reading(
            allocated=allocated.get("current", 0),
            requested=requested.get("current", 0),
            reserved=_all(stats, "reserved_bytes").get("current", 0),
            allocated_peak=allocated.get("peak", 0),
            requested_peak=requested.get("peak", 0),
        )

    def used_bytes(self) -> int | None:
        """What the driver says is in use on the device, by whomever: contexts and other processes too."""
        ask = getattr(self._api, "mem_get_info", None)
        capturing = getattr(self._api, "is_current_stream_capturing", bool)
        if ask is None or capturing():  # while a graph is being captured, the driver is better left alone
            return None
        try:
            free, total = ask(self._device)
        except RuntimeError:
            return None
        return int(total) - int(free)


def _all(stats: dict[str, Any], what: str) -> dict[str, int]:
    """The figures of ``what`` over all of the allocator's pools."""
    found = stats.get(what)
    return found.get("all", {}) if isinstance(found, dict) else {}


def meters() -> list[Meter]:
    """A meter for each device that this process has taken memory of."""
    found = []
    for kind in ("cuda", "xpu"):
        api: Any = getattr(torch, kind, None)
        if not all(hasattr(api, name) for name in ("memory_stats_as_nested_dict", "reset_peak_memory_stats")):
            continue
        if not (api.is_available() and getattr(api, "is_initialized", bool)()):
            continue
        for index in range(api.device_count()):
            device = torch.device(kind, index)
            if _all(api.memory_stats_as_nested_dict(device), "reserved_bytes").get("peak"):
                found.append(Meter(device, api))
    return found
