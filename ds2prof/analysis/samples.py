"""What a sampler read: for each metric of each device, how many readings there are, their mean and their extremes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof import units
from ds2prof.analysis import cores, sampled_gpus, windows
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.windows import TimeWindow
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile, Table

TABLES: Final = ("samples", "ranges")
TIMED_NOTE: Final = "mean: by the time that readings cover where they state it, of the others each counted once"
MEAN_NOTE: Final = "mean: of the readings, each counted once, however long the time between them"
UTILIZATION_NOTE: Final = (
    "{}: share of the driver's own sample period (1/6 to 1 s) in which a kernel ran; not GPU compute utilization"
)
_OF_NVIDIA_SMI: Final = ("utilization.gpu", "GPUTL", "DCGM_FI_DEV_GPU_UTIL")
_KEYS: Final = ("device", "entity", "metric", "unit")


def has_samples(profile: Profile) -> bool:
    """Whether a sampler wrote the profile: it holds readings, and neither work of a device nor iterations."""
    return profile.meta.times is None and not len(profile.table("kernels")) and len(profile.table("samples")) > 0


def window(profile: Profile) -> TimeWindow | None:
    """The window that the sampled program opened and closed itself; None where the file has none."""
    ranges = profile.table("ranges")
    chosen = windows.timed(ranges.take(windows.text_mask(ranges, "kind", "window")))
    if not len(chosen) or not has_samples(profile):
        return None
    return TimeWindow(int(chosen.ints("start_ns").min()), int(windows.ends_ns(chosen).max()), "capture range")


def metrics(profile: Profile, *, each_core: bool = True) -> Answer:
    """A row for each metric of each device and entity: number of readings, their mean, least and greatest.

    Rows come by device, then entity, then in the order of the file. Readings that are means of periods they state count
    by their time inside the window (or, without one, by their time), others once each if they are inside. Blind spot:
    a mean over readings says nothing of what happened between them.

    Args:
        profile: what a sampler wrote.
        each_core: whether each processor core has a row; else one stands for all, its least and greatest those of
            the cores' means.
    """
    table = profile.table("samples")
    if not len(table):
        raise MissingDataError(f"{profile.meta.file}: no sampled readings in this file; drop --by metric")
    inside = window(profile)
    first, group = _groups(table)
    weight, is_timed = _weights(table, inside, group, by_time=has_samples(profile))
    columns = _columns(table, first, group, weight)
    notes = _notes(columns["metric"], inside, is_timed=is_timed)
    if not each_core:
        columns, more = cores.together(columns)
        notes += more
    return Answer("metric", columns, notes)


def _columns(table: Table, first: IntArray, group: IntArray, weight: npt.NDArray[np.float64]) -> dict[str, list[Any]]:
    """The answer's columns; ``first`` has the first row of each group, ``weight`` what each row counts."""
    values = table["value"].values
    used = ~np.isnan(values) & (weight > 0)
    group, values, weight = group[used], values[used], weight[used]
    count = np.bincount(group, minlength=len(first))
    whole = np.bincount(group, weights=weight, minlength=len(first))
    total = np.bincount(group, weights=values * weight, minlength=len(first))
    least, greatest = np.full(len(first), np.inf), np.full(len(first), -np.inf)
    np.minimum.at(least, group, values)
    np.maximum.at(greatest, group, values)
    rows = table.take(first)
    return {
        "metric": rows["metric"].tolist(),
        "device": rows["device"].tolist(),
        "entity": rows["entity"].tolist(),
        "unit": rows["unit"].tolist(),
        "readings": count.tolist(),
        "mean": [sum_ / of if of else None for sum_, of in zip(total.tolist(), whole.tolist(), strict=True)],
        "min": [value if n else None for value, n in zip(least.tolist(), count.tolist(), strict=True)],
        "max": [value if n else None for value, n in zip(greatest.tolist(), count.tolist(), strict=True)],
    }


def _weights(
    table: Table, inside: TimeWindow | None, group: IntArray, *, by_time: bool
) -> tuple[npt.NDArray[np.float64], bool]:
    """(what each row counts, whether some count by time): nanoseconds in the window, or 1 for each row in it.

    Args:
        table: the samples.
        inside: the window.
        group: the group of each row; one that has a row without a period does not count by time.
        by_time: whether any may count by time.
    """
    starts, periods = table["start_ns"], table["period_ns"]
    start_ns = table.ints("start_ns")
    weight = np.ones(len(table))
    if inside is not None:
        weight[~starts.present | (start_ns < inside.start_ns) | (start_ns >= inside.stop_ns)] = 0.0
    has_period = starts.present & periods.present & windows.text_mask(table, "aggregation", "mean")
    timed = has_period & (np.bincount(group, weights=~has_period)[group] == 0)
    if not by_time or not timed.any():
        return weight, False
    length_ns = table.ints("period_ns")[timed]
    begin_ns = start_ns[timed]
    if inside is not None:
        end_ns = np.minimum(begin_ns + length_ns, inside.stop_ns)
        length_ns = np.maximum(end_ns - np.maximum(begin_ns, inside.start_ns), 0)
    weight[timed] = length_ns
    return weight, True


def _notes(names: list[str], inside: TimeWindow | None, *, is_timed: bool) -> tuple[str, ...]:
    notes = [TIMED_NOTE if is_timed else MEAN_NOTE]
    if inside is not None:
        notes.append(
            f"window: {units.format_ns(inside.length_ns)}, which the program marked; readings outside it do not count"
        )
    found = dict.fromkeys(name for name in names if name in _OF_NVIDIA_SMI)
    notes += [UTILIZATION_NOTE.format(name) for name in found]
    notes += [text for name, text in cores.NOTES.items() if name in names]
    return (*notes, *sampled_gpus.notes(names))


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
    """Of a sampler's profile: rows of readings, metrics, devices, the time from the first reading to the last.

    Where it holds the host's cores, how busy they were in the window as well (:func:`ds2prof.analysis.cores.totals`).
    """
    table = profile.table("samples")
    starts = table["start_ns"]
    times = table.ints("start_ns")[starts.present]
    devices = table["device"]
    found: dict[str, Any] = {
        "readings": len(table),
        "metrics": len(np.unique(table["metric"].values)),
        "sampled_devices": len(np.unique(table.ints("device")[devices.present])),
        "sampled_ns": int(times.max() - times.min()) if len(times) else None,
    }
    if cores.has_cores(table):
        inside = window(profile)
        found["sampled_window_ns"] = None if inside is None else inside.length_ns
        answer = metrics(profile)
        found.update(cores.totals(answer, profile.meta.facts))
        found["sampled_gpus"] = sampled_gpus.totals(answer)
    return found
