"""Readings of a device's clocks, temperature, power and fan, which nvprof takes with ``--system-profiling on``.

A row of ENVIRONMENT holds the readings of one moment as a blob of unsigned integers of 32 bits::

    kind 1 (speed)        := SM clock in MHz, memory clock in MHz, ...
    kind 2 (temperature)  := degrees Celsius
    kind 3 (power)        := milliwatts, the limit in milliwatts
    kind 4 (cooling)      := fan speed in percent of the highest
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.nvprof_sqlite_rows import MAX_START_NS, Columns, Losses, blobs, joined, nullable, read
from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import Column, IntArray


class _Reading(NamedTuple):
    kind: int
    place: int  # of the number in the blob
    metric: str
    unit: str
    numerator: int  # of the step from the printed unit to the base unit
    divisor: int


_READINGS: Final = (
    _Reading(1, 0, "SM Clock", "hertz", 1_000_000, 1),
    _Reading(1, 1, "Memory Clock", "hertz", 1_000_000, 1),
    _Reading(2, 0, "Temperature", "celsius", 1, 1),
    _Reading(3, 0, "Power", "watt", 1, 1_000),
    _Reading(3, 1, "Power Limit", "watt", 1, 1_000),
    _Reading(4, 0, "Fan Speed", "ratio", 1, 100),
)
"""What there is to read, under nvprof's words for it."""


def samples(database: Database, *, losses: Losses) -> Columns | None:
    """The columns of the samples table, one reading a row, metric by metric; None where there are none."""
    found = read(database, "ENVIRONMENT", ["deviceId", "timestamp", "environmentKind"])
    if found is None:
        return None
    times = found["timestamp"]
    raw, readable = blobs(database, "ENVIRONMENT", "data", size=8, length=len(times))
    numbers = raw.view("<u4").reshape(-1, 2)
    kinds = found["environmentKind"].values
    good = readable & times.present & (times.values > 0) & (times.values <= MAX_START_NS)
    losses.add("samples", "left out, without a reading or a time that can be", int((~good).sum()))
    parts = [
        _rows(found, numbers[rows, reading.place], rows, reading)
        for reading in _READINGS
        if len(rows := np.flatnonzero(good & (kinds == reading.kind)))
    ]
    return joined(parts) if parts else None


def _rows(found: Columns, numbers: npt.NDArray[np.uint32], rows: IntArray, reading: _Reading) -> Columns:
    zeros = np.zeros(len(rows), dtype=np.int32)
    return {
        "metric": Column(zeros, None, [reading.metric]),
        "unit": Column(zeros, None, [reading.unit]),
        "value": Column(numbers.astype(np.float64) * reading.numerator / reading.divisor),
        "start_ns": found["timestamp"].take(rows),
        "device": nullable(found["deviceId"].take(rows)),
    }
