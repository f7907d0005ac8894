"""Intervals for core utilization where counters of several iterations are there."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import core
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.totals import rows_of
from ds2prof.analysis.uncertainty.bootstrap import Interval, interval
from ds2prof.tables import Profile

NOTE: Final = "low, high: over {} iterations that were counted: {}"


def pipe_intervals(profile: Profile) -> dict[tuple[int | None, str], Interval]:
    """(device, pipe) -> its utilization while busy over the iterations counted; nothing for fewer than two of them.

    Formula: sum over iterations of work (cycles x pct) / sum of their cycles, over the launches that have both and
    belong to an iteration. Warm-up is not looked for: counters are read under replay, whose times say nothing of it.
    """
    found = belonging(profile, "iteration")
    count = len(found.keys)
    if count < 2:
        return {}
    kernels, cycles = profile.table("kernels"), core.launch_cycles(profile)
    devices = kernels["device"]
    numbers: list[int | None] = np.unique(kernels.ints("device")[devices.present]).tolist()
    numbers += [] if devices.present.all() else [None]
    made = {}
    for reading in core.pipe_readings(profile):
        for device in numbers:
            rows = rows_of(kernels, device) & (found.kernels < count) & ~np.isnan(cycles) & ~np.isnan(reading.values)
            places = found.kernels[rows]
            whole = np.bincount(places, weights=cycles[rows], minlength=count)
            work = np.bincount(places, weights=cycles[rows] * reading.values[rows], minlength=count)
            seen = whole > 0
            made[device, reading.pipe] = interval(work[seen], wholes=whole[seen], bounds=(0.0, np.inf))
    return made


def with_intervals(profile: Profile, answer: Answer) -> Answer:
    """An answer by core with ``utilization_low`` and ``utilization_high`` beside it, where iterations repeat."""
    intervals = pipe_intervals(profile)
    rows = [intervals.get(key) for key in zip(answer.columns["device"], answer.columns["pipe"], strict=True)]
    known = [row for row in rows if row is not None and row.low is not None]
    if not known:
        return answer
    bounds: dict[str, list[Any]] = {
        "utilization_low": [None if row is None else row.low for row in rows],
        "utilization_high": [None if row is None else row.high for row in rows],
        "iterations": [None if row is None else row.count for row in rows],
    }
    columns: dict[str, Any] = {}
    for name, values in answer.columns.items():
        columns[name] = values
        if name == "utilization":
            columns.update(bounds)
    count = max(row.count for row in known)
    how = (
        f"intervals of {units.format_ratio(known[0].level, digits=0)}"
        if known[0].level is not None
        else "the least and the greatest of them"
    )
    return Answer(answer.by, columns, (*answer.notes, NOTE.format(count, how)))
