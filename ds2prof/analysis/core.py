"""Core utilization: how much of each pipe's own peak rate the kernels reached, weighted by their cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof import counters
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.totals import by_device
from ds2prof.errors import MissingDataError
from ds2prof.tables import BoolArray, IntArray, Profile, Table

TABLES: Final = ("kernels", "counters", "devices")
PIPES: Final = counters.PIPES
HIGHEST_LEVEL: Final = 10


@dataclass(frozen=True)
class PipeReadings:
    """One pipe's metric over all launches.

    Attributes:
        pipe: canonical name.
        metric: the one metric of this file that stands for it.
        values: utilization of each launch, ratio to the pipe's own peak; NaN where unknown.
        warning: what a reader must know of this metric, or None.
        is_converted: the file has a share of active cycles alone, which the launches' own cycles turned into this one.
        subset_of: the pipe whose work already holds this one's, or None.
    """

    pipe: str
    metric: str
    values: FloatArray
    warning: str | None
    subset_of: str | None
    is_converted: bool = False


def has_counters(profile: Profile) -> bool:
    """Whether the file holds a pipe metric and the cycles that weigh it."""
    return bool(pipe_readings(profile)) and not bool(np.isnan(launch_cycles(profile)).all())


def core_utilization(profile: Profile) -> Answer:
    """Utilization of each pipe while kernels ran, per device.

    Formula: sum(cycles x pct) / sum(cycles) over the launches that have both, cycles being ``gpc__cycles_elapsed.max``.
    ``coverage`` is their cycles over all cycles. Blind spot: idle time does not enter, and counters are read under
    replay. ``effective_utilization`` needs a timeline's clock and is None here.

    Raises:
        MissingDataError: the file holds no pipe metric, or no cycles.
    """
    profile.require(*TABLES)
    readings, cycles = pipe_readings(profile), launch_cycles(profile)
    if not readings or np.isnan(cycles).all():
        raise MissingDataError(_what_is_missing(profile, has_pipes=bool(readings)))
    kernels = profile.table("kernels")
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("device", "pipe", "utilization", "effective_utilization", "coverage", "launches", "metric")
    }
    for device, rows in by_device(kernels, Table("copies")):
        for reading in readings:
            value, coverage, count = weighted(reading.values, cycles, rows)
            row = (device, reading.pipe, value, None, coverage, count, reading.metric)
            for name, item in zip(columns, row, strict=True):
                columns[name].append(item)
    return Answer("core", columns, _notes(profile, readings, cycles))


def weighted(values: FloatArray, cycles: FloatArray, rows: BoolArray) -> tuple[float | None, float | None, int]:
    """(cycle-weighted mean, coverage, launches) of the chosen rows; Nones where no row has both."""
    both = rows & ~np.isnan(values) & ~np.isnan(cycles)
    whole = float(cycles[rows & ~np.isnan(cycles)].sum())
    part = float(cycles[both].sum())
    if not part:
        return None, 0.0 if whole else None, 0
    return float((cycles[both] * values[both]).sum()) / part, part / whole, int(both.sum())


def tbd_lines(profile: Profile) -> list[tuple[str, float | None]]:
    """The ancestor's four figures, (fma, fp16, tensor, sfu) with a ratio or None, by its own metrics alone.

    Raises:
        MissingDataError: the file holds none of them, or no cycles.
    """
    profile.require(*TABLES)
    cycles = launch_cycles(profile)
    available = metric_names(profile)
    everywhere = np.ones(len(cycles), dtype=np.bool_)
    lines: list[tuple[str, float | None]] = []
    for line in counters.TBD_PIPES:
        choice = counters.choose_tbd(line, available)
        values = None if choice is None else ratio_values(profile, choice.metric)
        lines.append((line, None if values is None else weighted(values, cycles, everywhere)[0]))
    if all(value is None for _, value in lines):
        raise MissingDataError(_what_is_missing(profile, has_pipes=bool(pipe_readings(profile))))
    return lines


def metric_names(profile: Profile) -> tuple[str, ...]:
    """The metrics that the file holds, as the tool names them."""
    return tuple(profile.table("counters")["metric"].categories or ())


def metric_values(profile: Profile, metric: str) -> FloatArray:
    """One metric's value for each launch, in base units; NaN where the launch lacks it or it is not finite."""
    table = profile.table("counters")
    values = np.full(len(profile.table("kernels")), np.nan)
    rows = metric_rows(profile, metric)
    values[table.ints("launch")[rows]] = table["value"].values[rows]
    values[~np.isfinite(values)] = np.nan
    return values


def metric_rows(profile: Profile, metric: str) -> IntArray:
    """The rows of ``counters`` that hold the metric."""
    column = profile.table("counters")["metric"]
    categories = list(column.categories or ())
    if metric not in categories:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(column.values == categories.index(metric))


def launch_cycles(profile: Profile) -> FloatArray:
    """Elapsed cycles of each row: of one launch, times its calls where the row stands for several; NaN if unknown."""
    cycles = metric_values(profile, counters.CYCLES)
    cycles[cycles < 0] = np.nan
    return cycles * calls_of(profile)


def calls_of(profile: Profile) -> IntArray:
    """How many launches each row stands for."""
    kernels = profile.table("kernels")
    return kernels.ints("calls", null=1) if "calls" in kernels else np.ones(len(kernels), dtype=np.int64)


def pipe_readings(profile: Profile) -> list[PipeReadings]:
    """The pipes of which the file holds a metric, each by one metric for the whole file."""
    profile.require(*TABLES)
    available = metric_names(profile)
    chip = chip_of(profile)
    found: list[PipeReadings] = []
    for pipe in counters.PIPES:
        choice = counters.choose(pipe, available, chip=chip)
        values = None if choice is None else _choice_values(profile, choice)
        if choice is not None and values is not None and not np.isnan(values).all():
            found.append(
                PipeReadings(
                    pipe, choice.metric, values, choice.warning, choice.subset_of, choice.needs_active_conversion
                )
            )
    return found


def _choice_values(profile: Profile, choice: counters.Choice) -> FloatArray | None:
    """The chosen metric as a share of elapsed cycles; a share of active cycles is converted, or given up."""
    values = ratio_values(profile, choice.metric)
    if values is None or not choice.needs_active_conversion:
        return values
    active = _first_known(profile, choice.active_cycles)
    elapsed = _first_known(profile, choice.elapsed_cycles)
    with np.errstate(divide="ignore", invalid="ignore"):
        converted: FloatArray = values * active / elapsed
    converted[~np.isfinite(converted)] = np.nan
    return converted


def _first_known(profile: Profile, metrics: Sequence[str]) -> FloatArray:
    """For each launch, the value of the first of ``metrics`` that it has."""
    found = np.full(len(profile.table("kernels")), np.nan)
    for metric in metrics:
        found = np.where(np.isnan(found), metric_values(profile, metric), found)
    return found


def ratio_values(profile: Profile, metric: str) -> FloatArray | None:
    """The metric for each launch if its unit is a ratio, else None."""
    table, rows = profile.table("counters"), metric_rows(profile, metric)
    if metric not in metric_names(profile):
        return None
    units = table["unit"].categories or ()
    codes = table["unit"].values[rows]
    if {units[code] for code in np.flatnonzero(np.bincount(codes[codes >= 0])).tolist()} - {"ratio"}:
        return None
    return metric_values(profile, metric)


def level_values(profile: Profile, metric: str) -> FloatArray | None:
    """A utilization level of nvprof (0 idle to 10 max) of each launch as a ratio, level / 10; None for others."""
    units = set(profile.table("counters")["unit"].take(metric_rows(profile, metric)).tolist())
    if units != {"level"}:
        return None
    levels = metric_values(profile, metric)
    return np.where((levels >= 0) & (levels <= HIGHEST_LEVEL), levels / HIGHEST_LEVEL, np.nan)


def chip_of(profile: Profile) -> str | None:
    """The chip, if all devices of the file are of one."""
    chips = set(profile.table("devices")["chip"].tolist())
    return chips.pop() if len(chips) == 1 else None


def _notes(profile: Profile, readings: Sequence[PipeReadings], cycles: FloatArray) -> tuple[str, ...]:
    notes = [f"{reading.pipe}: {reading.warning}" for reading in readings if reading.warning]
    notes += [
        f"{reading.pipe}: a share of active cycles, turned into one of elapsed cycles by each launch's own"
        for reading in readings
        if reading.is_converted
    ]
    present = {reading.pipe for reading in readings}
    notes += [
        f"{reading.pipe} work is part of {reading.subset_of}'s on this chip; never add the two"
        for reading in readings
        if reading.subset_of in present
    ]
    lacking = int(np.isnan(cycles).sum())
    if lacking:
        notes.append(f"{lacking} of {len(cycles)} launches have no {counters.CYCLES} and are left out of the weights")
    kernels = profile.table("kernels")
    if "calls" in kernels and int(kernels.ints("calls", null=1).max(initial=1)) > 1:
        notes.append("this is a summary: averages over the calls of a kernel are weighted by its average cycles")
    return tuple(notes)


def _what_is_missing(profile: Profile, *, has_pipes: bool) -> str:
    what = f"no {counters.CYCLES} to weigh the launches by" if has_pipes else "no pipe counters"
    return (
        f"{profile.meta.file}: {what} in this file; collect them with 'bash run_profile.sh nsight' "
        f"(ncu --csv --page raw --print-units base --metrics {','.join(counters.core_metrics(None))} COMMAND)"
    )
