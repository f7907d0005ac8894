"""TBD's two tables: the longest kernels above, and the longest below, the average FP32 utilization.

The TBD suite found with them which kernels to look at first: those that take long and use little. The average is over
all launches, weighted by their duration. What stands for FP32 utilization depends on the file, the best first:

* executed FP32 FLOP over the peak of the same cycles, from Nsight Compute's counts of single instructions;
* the busy share of the pipe ``fma``, which runs integer and packed half precision work too;
* nvprof's ``single_precision_fu_utilization``, a level from 0 (idle) to 10 (max) that counts integer work too. A level
  is a tenth of the peak: what it says is known to a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from typing import Any, Final, NamedTuple

import numpy as np

from ds2prof import counters
from ds2prof.analysis import core
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.groups import known_sums, summed
from ds2prof.analysis.intervals import FloatArray
from ds2prof.errors import MissingDataError
from ds2prof.metrics.flop import FLOP, PEAK
from ds2prof.metrics.table import AVAILABILITY
from ds2prof.tables import IntArray, Profile

BY: Final = "fp32"
TABLES: Final = core.TABLES
LEVELS: Final = "single_precision_fu_utilization"
SIDES: Final = ("above", "below")
_PER_CYCLE: Final = "sum.per_cycle_elapsed"


class Fp32(NamedTuple):
    """FP32 utilization of each launch (ratio, NaN where unknown), and what stands for it."""

    values: FloatArray
    what: str


def fp32_tables(profile: Profile) -> list[Answer]:
    """Two answers: the kernels at or above the average FP32 utilization, and those below it, the longest first.

    Formula: average = sum(duration x utilization) / sum(duration) over the launches that have both; a kernel's
    utilization is the same over its launches, ``share`` its part of the duration of all launches. Blind spot: see the
    head of this module for what counts as FP32.

    Raises:
        MissingDataError: the file has nothing that stands for FP32 utilization, or nothing to weigh it by.
    """
    profile.require(*TABLES)
    found = fp32_utilization(profile)
    if found is None:
        raise MissingDataError(
            f"{profile.meta.file}: nothing that tells FP32 utilization; collect it with 'bash run_profile.sh nsight', "
            f"or where nvprof runs with 'nvprof --metrics {LEVELS} --print-gpu-trace COMMAND'"
        )
    weights, unit = _weights(profile, found.values)
    names = profile.table("kernels")["name"]
    used, codes = np.unique(names.values, return_inverse=True)
    means = _means(found.values, weights, codes, len(used))
    average = _means(found.values, weights, np.zeros(len(codes), dtype=np.int64), 1)[0]
    columns = _columns(profile, [(names.categories or ())[code] for code in used.tolist()], codes, weights)
    notes = (
        f"average: {100 * float(average or 0.0):.2f} %, weighted by {unit}",
        f"FP32 utilization is {found.what}",
        *_left_out(found.values, weights),
    )
    return [_side(side, columns, means, average=average, notes=notes) for side in SIDES]


def fp32_utilization(profile: Profile) -> Fp32 | None:
    """The FP32 utilization of each launch by the best that the file has; None where it has nothing."""
    flop = _flop_utilization(profile)
    if flop is not None:
        return Fp32(flop, "FP32 FLOP executed over the peak of the launch's cycles")
    pipe = next((reading for reading in core.pipe_readings(profile) if reading.pipe == "fma"), None)
    if pipe is not None:
        what = f"that of the pipe fma ({pipe.metric}), which runs integer and packed half precision work too"
        return Fp32(pipe.values, what)
    levels = core.level_values(profile, LEVELS)
    if levels is None:
        return None
    return Fp32(levels, f"nvprof's {LEVELS}, which counts integer work too; a level is a tenth, and known to a tenth")


def _flop_utilization(profile: Profile) -> FloatArray | None:
    """FLOP per cycle over the peak of FLOP per cycle; None where a count that the chip has is not in the file.

    Formula: sum(count per elapsed cycle x FLOP of one) / max(peak count per cycle x FLOP of one). Where the file has
    the counts alone, the launch's elapsed cycles turn them into rates.
    """
    counts = {weight.base: weight for weight in FLOP["fp32"]}
    names = set(core.metric_names(profile))
    chip = core.chip_of(profile)
    listed = [base for base in counts if chip is None or chip in AVAILABILITY[base]]
    held = [base for base in counts if {f"{base}.{_PER_CYCLE}", f"{base}.sum"} & names]
    needed = listed if chip is not None else [base for base in counts if not base.endswith("2_pred_on")]
    if not held or not set(needed) <= set(held):
        return None
    rate = sum(_per_cycle(profile, base) * float(counts[base].flop or 0) for base in held)
    peaks = [
        core.metric_values(profile, f"{weight.base}.sum.peak_sustained") * float(weight.flop or 0)
        for weight in PEAK["fp32"]
    ]
    peak = np.fmax.reduce(peaks)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: FloatArray = np.where(peak > 0, rate / peak, np.nan)
    return None if np.isnan(found).all() else found


def _per_cycle(profile: Profile, base: str) -> FloatArray:
    """The counter of each launch per elapsed cycle."""
    cycles = np.full(len(profile.table("kernels")), np.nan)
    for metric in counters.ELAPSED_CYCLES:
        cycles = np.where(np.isnan(cycles), core.metric_values(profile, metric), cycles)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = core.metric_values(profile, f"{base}.sum") / np.where(cycles > 0, cycles, np.nan)
    stated = core.metric_values(profile, f"{base}.{_PER_CYCLE}")
    return np.where(np.isnan(stated), rate, stated)


def _weights(profile: Profile, values: FloatArray) -> tuple[FloatArray, str]:
    """(what each launch counts, its name): its duration, or where the file has none its cycles."""
    durations = profile.table("kernels")["dur_ns"]
    known = durations.present
    if (known & ~np.isnan(values)).any():
        return np.where(known, durations.values.astype(np.float64), np.nan), "duration"
    cycles = core.launch_cycles(profile)
    if (~np.isnan(cycles) & ~np.isnan(values)).any():
        return cycles, f"cycles ({counters.CYCLES}), the file has no durations"
    raise MissingDataError(
        f"{profile.meta.file}: FP32 utilization without durations to weigh it by; profile with times as well "
        "('nvprof --print-gpu-trace' or '--export-profile')"
    )


def _means(values: FloatArray, weights: FloatArray, codes: IntArray, count: int) -> list[float | None]:
    both = ~np.isnan(values) & ~np.isnan(weights)
    whole = np.bincount(codes[both], weights=weights[both], minlength=count)
    part = np.bincount(codes[both], weights=(values * weights)[both], minlength=count)
    return [float(value / of) if of else None for value, of in zip(part, whole, strict=True)]


def _columns(profile: Profile, names: Sequence[str], codes: IntArray, weights: FloatArray) -> dict[str, Sequence[Any]]:
    """Name, calls, time and share of each kernel."""
    length = np.bincount(codes, weights=np.nan_to_num(weights), minlength=len(names)).tolist()
    return {
        "name": names,
        "calls": summed(codes, core.calls_of(profile), len(names)).tolist(),
        "dur_ns": known_sums(codes, profile.table("kernels")["dur_ns"], len(names)),
        "share": [ratio(part, sum(length)) for part in length],
    }


def _side(
    side: str,
    columns: dict[str, Sequence[Any]],
    means: Sequence[float | None],
    *,
    average: float | None,
    notes: tuple[str, ...],
) -> Answer:
    """The kernels of one side of the average, the longest first; those without a value are on neither."""
    rows = [
        row
        for row, value in enumerate(means)
        if value is not None and average is not None and _reaches(value, average) == (side == "above")
    ]
    rows.sort(key=lambda row: -(columns["share"][row] or 0.0))
    chosen = {name: [values[row] for row in rows] for name, values in columns.items()}
    notes = notes if rows else (f"no kernel is {side} the average", *notes)
    return Answer(BY, {BY: [side] * len(rows), **chosen, "utilization": [means[row] for row in rows]}, notes)


def _reaches(value: float, average: float) -> bool:
    """Whether the value is the average or above it; kernels that are all alike are at it, however their mean rounds."""
    return value >= average or isclose(value, average, rel_tol=1e-12)


def _left_out(values: FloatArray, weights: FloatArray) -> tuple[str, ...]:
    lacking = int((np.isnan(values) | np.isnan(weights)).sum())
    return (f"{lacking} of {len(values)} launches have no value or no duration and do not count",) if lacking else ()
