"""Sampled GPU metrics in an Nsight Systems export.

``GPU_METRICS`` has a row per reading: ``timestamp``, ``typeId`` (which GPU, in its lowest 8 bits), ``metricId`` and
``value``; ``TARGET_INFO_GPU_METRICS`` names the metrics. A name ends in its unit: ``SMs Active [Throughput %]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.nsys_devices import Gpus, gpu_of_type, records, text, whole
from ds2prof.parsers.nsys_rows import Export, aligned, in_reach, raised, reals
from ds2prof.parsers.nsys_strings import coded, distinct_values, value_pairs
from ds2prof.parsers.samples_units import Unit, unit_of
from ds2prof.tables import Column, null_column

Floats = npt.NDArray[np.float64]

READINGS: Final = "GPU_METRICS"
METRICS: Final = "TARGET_INFO_GPU_METRICS"
_UNIT: Final = re.compile(r"\[([^\[\]]{1,60})\]\s*\Z")


def sample_columns(export: Export, gpus: Gpus) -> Mapping[str, Column]:
    """The columns of the table ``samples``."""
    database = export.database
    time = next((name for name in ("timestamp", "start") if database.has(READINGS, name)), None)
    if time is None or not database.has(READINGS, "metricId", "value"):
        return {}
    columns = database.columns(READINGS, [time, "typeId", "metricId", "value"])
    aligned(database, READINGS, columns.values(), len(columns[time]))
    values = _values(export, columns["value"])
    rows = np.flatnonzero(in_reach(columns[time]))
    export.warn(len(values) - len(rows), "reading", "left out, no readable time")
    if not len(rows):
        return {}
    types = columns.get("typeId", null_column("int", len(values))).take(rows)
    metric = _metrics(export, types, columns["metricId"].take(rows))
    units = [_unit(name) for name in metric.categories or ()]
    negative = values[rows] < 0
    export.warn(int(negative.sum()), "reading", "below zero, read as null")
    return {
        "metric": metric,
        "unit": coded([unit.name for unit in units], metric.values),
        "value": Column(np.where(negative, np.nan, _scaled(values[rows], metric.values, units))),
        "start_ns": Column(raised(columns[time].values[rows], export.base_ns)),
        "device": _devices(gpu_of_type(types), gpus),
    }


def _values(export: Export, column: Column) -> Floats:
    if column.present.all():
        return column.values.astype(np.float64)
    return reals(export.database, READINGS, "value", len(column))


def _metrics(export: Export, types: Column, metrics: Column) -> Column:
    """The name of each reading's metric."""
    names: dict[tuple[int | None, int], str] = {}
    for record in records(export.database, METRICS):
        number, name = whole(record, "metricId"), text(record, "metricName")
        if number is not None and name is not None:
            names[whole(record, "typeId"), number] = name
            names.setdefault((None, number), name)
    ones, twos, codes = value_pairs(types, metrics)
    found = [
        names.get((one, two)) or names.get((None, two)) or f"(metric {two})"
        for one, two in zip(ones, twos, strict=True)
    ]
    return coded(found, codes)


def _unit(name: str) -> Unit:
    """The unit that a metric's name ends in; of ``[Throughput %]`` the last word."""
    found = _UNIT.search(name)
    if found is None:
        return unit_of("") if not name.endswith("%") else unit_of("%")
    return unit_of(found[1].split()[-1]) if found[1].endswith("%") else unit_of(found[1].strip())


def _scaled(
    values: Floats,
    codes: npt.NDArray[Any],
    units: list[Unit],
) -> Floats:
    """The values in base units."""
    up = np.array([float(10 ** max(unit.exponent, 0) * unit.factor) for unit in units])
    down = np.array([float(10 ** max(-unit.exponent, 0)) for unit in units])
    scaled: Floats = values * up[codes] / down[codes]
    return scaled


def _devices(gpu_ids: Column, gpus: Gpus) -> Column:
    distinct, codes = distinct_values(gpu_ids.values)
    numbers = [gpus.number(gpu) for gpu in distinct.tolist()]
    values = np.array([number or 0 for number in numbers], dtype=np.int64)[codes]
    known = np.array([number is not None for number in numbers], dtype=np.bool_)[codes] & gpu_ids.present
    return Column(np.where(known, values, 0), None if known.all() else known)
