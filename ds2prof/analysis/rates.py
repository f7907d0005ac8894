"""Utilization beside time: each pipe, throughput and occupancy of any group of launches, with what part of it is known.

One metric of the file stands for each quantity (:mod:`ds2prof.counters` chooses the pipes', the table below the
others), never another for other launches. All are means over launches by their cycles: a share of the peak *while
kernels ran*. Put on a timeline, work survives a replay and rates do not (:func:`effective_utilization`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof import counters
from ds2prof.analysis import core
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.totals import by_device
from ds2prof.errors import MissingDataError
from ds2prof.metrics.quantities import WANTS
from ds2prof.tables import IntArray, Profile, Table
from ds2prof.units import NS_PER_S

BY: Final = "throughput"
TABLES: Final = core.TABLES
_OPTIONS: Final = {quantity.name: quantity.options for wanted in WANTS.values() for quantity in wanted}


def _metrics(*quantities: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(option.metric for name in quantities for option in _OPTIONS[name]))


THROUGHPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "sm_throughput": _metrics("sol_sm"),
    "l2_throughput": _metrics("sol_l2", "l2_share"),
    "dram_throughput": _metrics("dram_share", "sol_dram"),
    "achieved_occupancy": _metrics("occupancy"),
}
"""Quantity -> its metrics, the best first: shares of the peak, and warps in flight over those that fit."""

NVPROF: Final[Mapping[str, str]] = {
    "l2_throughput": "l2_utilization",
    "dram_throughput": "dram_utilization",
    "achieved_occupancy": "achieved_occupancy",
}
"""Quantity -> what nvprof calls it: levels from 0 to 10, each a tenth of the peak, and a ratio."""

MEANINGS: Final[Mapping[str, str]] = {
    "sm_throughput": "the busiest part of the SM, share of its peak",
    "l2_throughput": "the busiest part of L2, share of its peak",
    "dram_throughput": "the GPU's memory, share of its peak",
    "achieved_occupancy": "warps in flight over those that fit, while an SM is active",
}
COLUMNS: Final = (*counters.PIPES, *THROUGHPUTS)
"""Every column of a table that is a share and can give way where the line is too long."""


@dataclass(frozen=True)
class Reading:
    """One quantity over all launches: its values, and the cycles that weigh them (NaN where unknown)."""

    name: str
    metric: str
    values: FloatArray
    weights: FloatArray
    note: str | None = None


def effective_utilization(work_cycles: float | None, clock_hz: float | None, length_ns: float | None) -> float | None:
    """Work over what a stretch of time had room for; None where either is unknown or nothing.

    Formula: work / (SM clock of the timeline x length), work being the sum of cycles x utilization over the launches of
    the stretch (:func:`work_cycles`). Blind spot: the clock is a mean; work that is not known counts as none.
    """
    if work_cycles is None or not clock_hz or not length_ns:
        return None
    return work_cycles * NS_PER_S / (clock_hz * length_ns)


def work_cycles(values: FloatArray, cycles: FloatArray) -> float | None:
    """Sum of cycles x utilization over the launches that have both; None where none has."""
    both = ~np.isnan(values) & ~np.isnan(cycles)
    return float((values[both] * cycles[both]).sum()) if both.any() else None


def readings(profile: Profile) -> list[Reading]:
    """The pipes and throughputs that the file holds, pipes first."""
    return profile.derived("rates", lambda: [*_pipes(profile), *throughputs(profile)])


def throughputs(profile: Profile) -> list[Reading]:
    """The throughputs and the occupancy that the file holds.

    Shares of elapsed cycles are weighed by elapsed cycles; achieved occupancy, a mean over active ones, by those where
    the file has them; nvprof's, which come without cycles, by duration.
    """
    found = [_of_nsight(profile, name) or _of_nvprof(profile, name) for name in THROUGHPUTS]
    return [reading for reading in found if reading is not None]


def _of_nsight(profile: Profile, name: str) -> Reading | None:
    """The quantity by the first of its metrics that the file has."""
    cycles = core.launch_cycles(profile)
    for metric in THROUGHPUTS[name]:
        values = core.ratio_values(profile, metric)
        if values is None or np.isnan(values).all():
            continue
        if counters.parse_metric(metric).denominator != "active":
            return None if np.isnan(cycles).all() else Reading(name, metric, values, cycles)
        active = core.metric_values(profile, counters.ACTIVE_CYCLES[0]) * core.calls_of(profile)
        if not np.isnan(active[~np.isnan(values)]).any():
            return Reading(name, metric, values, active)
        note = "weighed by elapsed cycles, active ones are not in the file"
        return None if np.isnan(cycles).all() else Reading(name, metric, values, cycles, note)
    return None


def _of_nvprof(profile: Profile, name: str) -> Reading | None:
    """The quantity as nvprof measured it, where the file has durations beside it."""
    metric = NVPROF.get(name)
    if metric is None or metric not in core.metric_names(profile):
        return None
    levels = core.level_values(profile, metric)
    values = core.metric_values(profile, metric) if levels is None and name == "achieved_occupancy" else levels
    durations = profile.table("kernels")["dur_ns"]
    weights: FloatArray = np.where(durations.present, durations.values.astype(np.float64), np.nan)
    if values is None or np.isnan(values).all() or np.isnan(weights).all():
        return None
    note = "weighed by duration, the file has no cycles"
    return Reading(name, metric, values, weights, note if levels is None else f"a level is a tenth; {note}")


def _pipes(profile: Profile) -> list[Reading]:
    cycles = core.launch_cycles(profile)
    if np.isnan(cycles).all():
        return []
    return [Reading(pipe.pipe, pipe.metric, pipe.values, cycles) for pipe in core.pipe_readings(profile)]


def grouped(profile: Profile, codes: IntArray, count: int) -> dict[str, Sequence[Any]]:
    """The columns for groups of launches: each quantity, and ``coverage``.

    ``coverage`` is the share of the group's cycles that a quantity is known for, the least of those in its row.

    Args:
        profile: what holds the counters.
        codes: the group of each launch; one outside 0 .. ``count`` - 1 is left out.
        count: how many groups there are.
    """
    found = readings(profile)
    if not found:
        return {}
    columns: dict[str, Sequence[Any]] = {}
    least: list[float | None] = [None] * count
    for reading in found:
        columns[reading.name], coverage = means(reading, codes, count)
        least = [
            old if value is None or new is None else new if old is None else min(old, new)
            for old, new, value in zip(least, coverage, columns[reading.name], strict=True)
        ]
    return {**columns, "coverage": least}


def means(reading: Reading, codes: IntArray, count: int) -> tuple[list[float | None], list[float | None]]:
    """(weighted mean, coverage) for each group; None where no launch of the group has both value and weight."""
    weighed = ~np.isnan(reading.weights) & (codes >= 0) & (codes < count)
    both = weighed & ~np.isnan(reading.values)
    whole = np.bincount(codes[weighed], weights=reading.weights[weighed], minlength=count)
    part = np.bincount(codes[both], weights=reading.weights[both], minlength=count)
    work = np.bincount(codes[both], weights=(reading.weights * reading.values)[both], minlength=count)
    return (
        [float(value / of) if of else None for value, of in zip(work, part, strict=True)],
        [float(value / of) if of else None for value, of in zip(part, whole, strict=True)],
    )


def notes(profile: Profile) -> tuple[str, ...]:
    """Where the reader of the columns finds which metrics they are."""
    names = [reading.name for reading in readings(profile) if reading.name in THROUGHPUTS]
    return (f"{', '.join(names)}: what they are and by which metric, --by {BY} tells",) if names else ()


def throughput_means(profile: Profile) -> Answer:
    """SM, L2 and DRAM throughput and achieved occupancy while kernels ran, per device.

    Formula: sum(cycles x share) / sum(cycles) over the launches that have both; achieved occupancy by active cycles.
    Blind spot: idle time does not enter, and counters are read under replay, with caches as the profiler leaves them.

    Raises:
        MissingDataError: the file holds none of them.
    """
    profile.require(*TABLES)
    found = [reading for reading in readings(profile) if reading.name in THROUGHPUTS]
    if not found:
        raise MissingDataError(
            f"{profile.meta.file}: no throughput and no occupancy in this file; collect them with "
            "'ncu --section SpeedOfLight --section Occupancy COMMAND' or the metrics of "
            "'ds2prof metrics plan --want throughput --want occupancy'"
        )
    kernels = profile.table("kernels")
    names = ("device", BY, "utilization", "coverage", "launches", "metric")
    rows: list[tuple[Any, ...]] = []
    for device, mask in by_device(kernels, Table("copies")):
        for reading in found:
            value, coverage, launches = core.weighted(reading.values, reading.weights, mask)
            rows.append((device, reading.name, value, coverage, launches, reading.metric))
    said = tuple(f"{reading.name}: {MEANINGS[reading.name]}" for reading in found)
    weighed = tuple(f"{reading.name}: {reading.note}" for reading in found if reading.note)
    return Answer(BY, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), (*said, *weighed))
