"""What a sampler read: for each metric of each device, how many readings there are, their mean and their extremes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile, Table

TABLES: Final = ("samples",)
MEAN_NOTE: Final = "mean: of the readings, each counted once, however long the time between them"
UTILIZATION_NOTE: Final = (
    "{}: share of the driver's own sample period (1/6 to 1 s) in which a kernel ran; not GPU compute utilization"
)
_OF_NVIDIA_SMI: Final = ("utilization.gpu", "GPUTL", "DCGM_FI_DEV_GPU_UTIL")
_KEYS: Final = ("device", "entity", "metric", "unit")


def has_samples(profile: Profile) -> bool:
    """Whether a sampler wrote the profile: it holds readings, and neither work of a device nor iterations."""
    return profile.meta.times is None and not len(profile.table("kernels")) and len(profile.table("samples")) > 0


def metrics(profile: Profile) -> Answer:
    """A row for each metric of each device and entity: number of readings, mean of the readings, least and greatest.

    Rows come by device, then entity, then in the order of the file. Blind spot: the mean is over readings, not over
    time, and says nothing of what happened between them.
    """
    table = profile.table("samples")
    if not len(table):
        raise MissingDataError(f"{profile.meta.file}: no sampled readings in this file; drop --by metric")
    first, group = _groups(table)
    values = table["value"].values
    present = ~np.isnan(values)
    group, values = group[present], values[present]
    count = np.bincount(group, minlength=len(first))
    total = np.bincount(group, weights=values, minlength=len(first))
    least, greatest = np.full(len(first), np.inf), np.full(len(first), -np.inf)
    np.minimum.at(least, group, values)
    np.maximum.at(greatest, group, values)
    rows = table.take(first)
    columns: dict[str, list[Any]] = {
        "metric": rows["metric"].tolist(),
        "device": rows["device"].tolist(),
        "entity": rows["entity"].tolist(),
        "unit": rows["unit"].tolist(),
        "readings": count.tolist(),
        "mean": [None if not n else sum_ / n for sum_, n in zip(total.tolist(), count.tolist(), strict=True)],
        "min": [value if n else None for value, n in zip(least.tolist(), count.tolist(), strict=True)],
        "max": [value if n else None for value, n in zip(greatest.tolist(), count.tolist(), strict=True)],
    }
    return Answer("metric", columns, _notes(columns["metric"]))


def _notes(names: list[str]) -> tuple[str, ...]:
    found = dict.fromkeys(name for name in names if name in _OF_NVIDIA_SMI)
    return (MEAN_NOTE, *(UTILIZATION_NOTE.format(name) for name in found))


def _groups(table: Table) -> tuple[IntArray, IntArray]:
    """(first row of each group, group of each row): groups by device, entity, then the order of the file."""
    keys = [_codes(table, name) for name in _KEYS]
    combined = np.zeros(len(table), dtype=np.int64)
    for key in keys:
        combined = np.unique(combined * (int(key.max()) + 1) + key, return_inverse=True)[1].reshape(-1)
    _, first, group = np.unique(combined, return_index=True, return_inverse=True)
    order = np.lexsort((first, keys[1][first], keys[0][first]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[group.reshape(-1)]


def _codes(table: Table, name: str) -> IntArray:
    """The column as small numbers from 0 on, nulls last."""
    column = table[name]
    values = table.ints(name) if column.kind == "int" else column.values.astype(np.int64)
    present = column.present
    found = np.zeros(len(table), dtype=np.int64)
    distinct, codes = np.unique(values[present], return_inverse=True)
    found[present] = codes.reshape(-1)
    found[~present] = len(distinct)
    return found


def totals(profile: Profile) -> dict[str, Any]:
    """Of a sampler's profile: rows of readings, metrics, devices, and the time from the first reading to the last."""
    table = profile.table("samples")
    starts = table["start_ns"]
    times = table.ints("start_ns")[starts.present]
    devices = table["device"]
    return {
        "readings": len(table),
        "metrics": len(np.unique(table["metric"].values)),
        "sampled_devices": len(np.unique(table.ints("device")[devices.present])),
        "sampled_ns": int(times.max() - times.min()) if len(times) else None,
    }
