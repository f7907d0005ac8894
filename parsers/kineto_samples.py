"""Counters that were sampled while a PyTorch trace ran: events of phase ``C``, one reading each.

Kineto writes what CUPTI's PM sampling read so, a metric to an event::

    {"ph": "C", "cat": "hardware_counters", "name": metric, "pid": "GPU 0 Counters", "ts": us, "args": {"": x}}

Counters without a category come from tools that went over the trace later: the TensorBoard plugin adds
``{"ph": "C", "name": "GPU 0 Utilization", "pid": 0, "ts": us, "args": {"GPU Utilization": 0.5}}``. The trace names no
units: a metric in Nsight Compute's spelling has that of its name, of the plugin's two it is known, and else it is
``unknown``. Nor does it state the period.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.counters import parse_metric
from ds2prof.parsers.kineto_columns import Ints, Step, Texts, Times
from ds2prof.parsers.kineto_events import Event, EventDecoder
from ds2prof.tables import Column

UNKNOWN_UNIT: Final = "unknown"
_MAX_NUMERAL: Final = 40
_DEVICE: Final = re.compile(r"GPU ([0-9]{1,9})\b")
_RATIOS: Final = frozenset({"GPU Utilization", "Est. SM Efficiency"})
_QUANTITIES: Final = (
    (re.compile(r"_cycles(?:_|\Z)"), "cycle"),
    (re.compile(r"_inst(?:_|\Z)"), "inst"),
    (re.compile(r"_bytes(?:_|\Z)"), "byte"),
    (re.compile(r"_sectors(?:_|\Z)"), "sector"),
    (re.compile(r"_warps(?:_|\Z)"), "warp"),
    (re.compile(r"_time_duration(?:_|\Z)"), "ns"),
)
"""(what a metric's base is called, its unit), asked in this order."""


def unit_of_metric(metric: str) -> tuple[str, float]:
    """(base unit, what a reading is divided by to be in it) of a metric, by its name."""
    if metric in _RATIOS:
        return "ratio", 1.0
    name = parse_metric(metric)
    words = (name.submetric or "").split("_")
    if words[0] == "pct":
        return "ratio", 100.0
    unit = next((unit for pattern, unit in _QUANTITIES if pattern.search(name.base)), None)
    if unit is None or name.prefix is not None:
        return UNKNOWN_UNIT, 1.0
    if name.submetric is None:
        return unit, 1.0
    per = {"second": "s", "cycle": "cycle"}.get(words[1]) if words[0] == "per" and len(words) > 1 else None
    return (f"{unit}/{per}", 1.0) if per else (UNKNOWN_UNIT, 1.0)


class SampleRows:
    """The table of samples, growing: one row per reading that is a number.

    Attributes:
        times: when the readings were taken.
        too_large: integers that do not fit; there are none in this table.
    """

    too_large = 0

    def __init__(self, _decoder: EventDecoder, _step: Step | None = None) -> None:
        self.times = Times(instants=True)
        self._devices = Ints()
        self._device_of = _Devices()
        self._metrics = Texts()
        self._values: list[npt.NDArray[np.float64]] = []

    def add(self, events: list[Event]) -> None:
        """Append the readings that have a usable time and a value."""
        rows = [(event, *reading) for event in events for reading in _readings(event)]
        self.times.left_out["no readable value"] += sum(value is None for _, _, value in rows)
        rows = [row for row in rows if row[2] is not None]
        kept = self.times.add([event for event, _, _ in rows])
        if len(kept) < len(rows):
            usable = set(map(id, kept))
            rows = [row for row in rows if id(row[0]) in usable]
        self._devices.add([self._device(event) for event, _, _ in rows])
        self._metrics.add([metric for _, metric, _ in rows])
        self._values.append(np.array([value for _, _, value in rows], dtype=np.float64))

    def _device(self, event: Event) -> int | None:
        """The device that the row of the reading names, or the reading itself."""
        named = self._device_of[event.pid] if isinstance(event.pid, str) else None
        return self._device_of[event.name] if named is None else named

    def columns(self, base_ns: int) -> dict[str, Column]:
        """The columns in the end; none where there is no row."""
        metrics, devices = self._metrics.column(), self._devices.column()
        if metrics is None or metrics.categories is None or not len(metrics):
            return {}
        units = [unit_of_metric(metric) for metric in metrics.categories]
        names = list(dict.fromkeys(unit for unit, _ in units))
        unit_codes = np.array([names.index(unit) for unit, _ in units], dtype=np.int32)
        scales = np.array([scale for _, scale in units], dtype=np.float64)
        found = {
            "metric": metrics,
            "unit": Column(unit_codes[metrics.values], None, names),
            "value": Column(np.concatenate(self._values) / scales[metrics.values]),
            "start_ns": self.times.columns(base_ns)["start_ns"],
            "device": devices,
        }
        return {name: column for name, column in found.items() if column is not None}


class _Devices(dict[str, int | None]):
    """What a row or a reading is called -> the device that is named in it."""

    def __missing__(self, text: str) -> int | None:
        found = _DEVICE.match(text)
        self[text] = int(found[1]) if found else None
        return self[text]


def _readings(event: Event) -> list[tuple[str, float | None]]:
    """(metric, value) of each reading in an event; a value that is no number is None."""
    if not event.args:
        return [(event.name, None)]
    return [(name if name.strip() else event.name, _number(value)) for name, value in event.args.items()]


def _number(value: Any) -> float | None:
    if (
        isinstance(value, str) and len(value) <= _MAX_NUMERAL
    ):  # Kineto puts a number into quotes where it may be infinite
        with suppress(ValueError):
            value = float(value)
    return float(value) if type(value) in (int, float) and abs(value) <= sys.float_info.max else None
