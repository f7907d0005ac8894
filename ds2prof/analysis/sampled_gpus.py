"""Each GPU in our own sampler's readings, in a few numbers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from ds2prof.analysis.answers import Answer

HELD_BACK: Final = "held_back."
POWER_NOTE: Final = "power.draw: from Ampere on mostly a mean over one second; power.mean: by the counter of energy"
NOTE: Final = "held_back.*: share of readings in which the driver kept the clocks low for that reason"


def notes(names: Collection[str]) -> list[str]:
    """What the reader of these metrics must know."""
    held = any(name.startswith(HELD_BACK) for name in names)
    return [*([NOTE] if held else ()), *([POWER_NOTE] if {"power.draw", "power.mean"} <= set(names) else ())]


def totals(answer: Answer) -> list[dict[str, Any]]:
    """The means of ``answer`` for each GPU; of memory the greatest reading. What was not read is None.

    ``utilization`` is the driver's: the share of its own sample period in which a kernel ran. ``power_watt`` comes from
    the counter of energy where there is one. ``held_back`` is the share of readings in which the clocks were kept low
    for the reason that did so most, ``held_back_by``.
    """
    names = ("metric", "device", "entity", "mean", "max")
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(answer.columns[name] for name in names), strict=True)]
    devices = sorted({row["device"] for row in rows if row["device"] is not None})
    return [
        _gpu(device, [row for row in rows if row["device"] == device and row["entity"] is None]) for device in devices
    ]


def _gpu(device: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    mean_of = {row["metric"]: row["mean"] for row in rows}
    held = {name: mean for name, mean in mean_of.items() if name.startswith(HELD_BACK) and mean is not None}
    most = max(held, key=lambda name: held[name], default=None)
    power = mean_of.get("power.mean")
    return {
        "device": device,
        "utilization": mean_of.get("utilization.gpu"),
        "memory_used_bytes": next((row["max"] for row in rows if row["metric"] == "memory.used"), None),
        "power_watt": mean_of.get("power.draw") if power is None else power,
        "sm_clock_hz": mean_of.get("clocks.current.sm"),
        "held_back": None if most is None else held[most],
        "held_back_by": most.removeprefix(HELD_BACK) if most is not None and held[most] > 0 else None,
    }
