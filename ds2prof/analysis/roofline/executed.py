"""Operations and bytes of launches as hardware counters counted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof import counters
from ds2prof.analysis.core import metric_names, metric_values, pipe_readings
from ds2prof.analysis.intervals import FloatArray
from ds2prof.metrics.flop import FLOP, PEAK, flop_weights
from ds2prof.peaks import TENSOR
from ds2prof.tables import BoolArray, Profile
from ds2prof.units import NS_PER_S

TABLES: Final = ("kernels", "counters", "devices")
_PRODUCT_PIPES: Final = ("tensor", "tc")
_CORE_KINDS: Final = ("fp32", "fp16", "fp64")
_CLOCKS: Final = ("sm__cycles_elapsed.avg.per_second", counters.CLOCK, "smsp__cycles_elapsed.avg.per_second")
_DRAM_CLOCK: Final = "dram__cycles_elapsed.avg.per_second"
_DRAM_SUMS: Final = (
    ("dram__bytes.sum",),
    ("dram__bytes_read.sum", "dram__bytes_write.sum"),
    ("dram__bytes_op_read.sum", "dram__bytes_op_write.sum"),
)


@dataclass(frozen=True, eq=False)
class Executed:
    """What counters say of each launch; NaN where they do not.

    Attributes:
        flop: kind -> executed operations, the kinds that the file has all counters of.
        size_bytes: bytes between L2 and the device's memory.
        clock_hz: the SM clock while it was counted.
        peak_flop_per_s: kind -> the chip's own rate at that clock, where the file states it.
        peak_bytes_per_s: the memory's own rate, where the file states it.
        lacking: kinds that the chip has and the file does not count.
        hides_products: launches that kept the tensor cores busy whose operations the file does not count.
    """

    flop: Mapping[str, FloatArray]
    size_bytes: FloatArray
    clock_hz: FloatArray
    peak_flop_per_s: Mapping[str, FloatArray]
    peak_bytes_per_s: FloatArray
    lacking: tuple[str, ...]
    hides_products: BoolArray

    @property
    def total_flop(self) -> FloatArray:
        """Operations of all counted kinds of each launch; NaN where none was counted or one of them is not known."""
        if not self.flop:
            return np.full(len(self.size_bytes), np.nan)
        total: FloatArray = np.sum(list(self.flop.values()), axis=0)
        return np.where(self.hides_products, np.nan, total)


def executed(profile: Profile) -> Executed | None:
    """What the counters of a profile say of operations and bytes; None where there are none of either.

    FLOP of a kind are the sum of count x weight over all its counters (:mod:`ds2prof.metrics.flop`), or, where the file
    has rates a cycle alone, those x clock x duration. Bytes are ``dram__bytes.sum``, or reads and writes together, or
    its rate x duration. Blind spot: counters are read under replay, with caches flushed unless told otherwise.
    """
    profile.require(*TABLES)
    return profile.derived("executed work", lambda: _executed(profile))


def _executed(profile: Profile) -> Executed | None:
    names = frozenset(metric_names(profile))
    chips = {chip for chip in profile.table("devices")["chip"].tolist() if chip is not None}
    chip = chips.pop() if len(chips) == 1 else None
    flop, lacking = {}, []
    for kind in FLOP:
        values = _kind(profile, kind, chip=chip, names=names)
        if values is not None:
            flop[kind] = values
        elif chip is None or flop_weights(kind, chip):
            lacking.append(kind)
    size_bytes = _bytes(profile, names)
    if not flop and np.isnan(size_bytes).all():
        return None
    clock_hz = _first(profile, names, _CLOCKS)
    return Executed(
        flop,
        size_bytes,
        clock_hz,
        {kind: rates for kind in flop if (rates := _peak(profile, kind, names=names, clock_hz=clock_hz)) is not None},
        metric_values(profile, "dram__bytes.sum.peak_sustained") * metric_values(profile, _DRAM_CLOCK),
        tuple(lacking),
        _hidden_products(profile, lacking),
    )


def _hidden_products(profile: Profile, lacking: Sequence[str]) -> BoolArray:
    """Launches that kept the tensor cores busy, where a kind of theirs is not counted."""
    busy = np.zeros(len(profile.table("kernels")), dtype=np.bool_)
    if any(kind.startswith(TENSOR) for kind in lacking):
        for reading in pipe_readings(profile):
            if reading.pipe in _PRODUCT_PIPES:
                busy |= np.nan_to_num(reading.values) > 0
    return busy


def _kind(profile: Profile, kind: str, *, chip: str | None, names: frozenset[str]) -> FloatArray | None:
    """Operations of a kind; None where a counter of it is missing or has no weight and is not nothing."""
    weights = flop_weights(kind, chip) if chip is not None else _weights_found(kind, names)
    total: FloatArray | None = None
    for base, weight in weights.items():
        counts = _counts(profile, base, names)
        if counts is None:
            return None
        if weight is None:
            counts = np.where(counts == 0, 0.0, np.nan)
            weight = 0
        part = counts * weight
        total = part if total is None else total + part
    return total


def _weights_found(kind: str, names: frozenset[str]) -> Mapping[str, int | None]:
    """For a file that does not name its chip: the three counters of a core kind, where the file has them all."""
    if kind not in _CORE_KINDS:
        return {}
    plain = {weight.base: weight.flop for weight in FLOP[kind] if not weight.base.endswith("2_pred_on")}
    found = {base for base in plain if any(form in names for form in _forms(base))}
    return plain if found == set(plain) else {}


def _forms(base: str) -> tuple[str, ...]:
    other = base.replace("smsp__", "sm__", 1)
    return (f"{base}.sum", f"{other}.sum", f"{base}.sum.per_cycle_elapsed", f"{other}.sum.per_cycle_elapsed")


def _counts(profile: Profile, base: str, names: frozenset[str]) -> FloatArray | None:
    """The counter's sum for each launch, or its rate a cycle x clock x duration; None where the file has neither."""
    metric = next((form for form in _forms(base) if form in names), None)
    if metric is None:
        return None
    values = metric_values(profile, metric)
    if metric.endswith(".sum"):
        return values
    clock_hz = _first(profile, names, _CLOCKS[::-1] if metric.startswith("smsp__") else _CLOCKS)
    return values * clock_hz * _seconds(profile)


def _seconds(profile: Profile) -> FloatArray:
    kernels = profile.table("kernels")
    known = kernels["dur_ns"].present
    calls = kernels.ints("calls", null=1) if "calls" in kernels else 1  # a row's time is the sum of its calls'
    return np.where(known, kernels.ints("dur_ns") / calls / NS_PER_S, np.nan)


def _bytes(profile: Profile, names: frozenset[str]) -> FloatArray:
    for parts in _DRAM_SUMS:
        if all(part in names for part in parts):
            return np.asarray(np.sum([metric_values(profile, part) for part in parts], axis=0), dtype=np.float64)
    return metric_values(profile, "dram__bytes.sum.per_second") * _seconds(profile)


def _peak(profile: Profile, kind: str, *, names: frozenset[str], clock_hz: FloatArray) -> FloatArray | None:
    """The largest rate that one of the kind's counters gives: counts a cycle x weight x clock."""
    found = [
        metric_values(profile, f"{weight.base}.sum.peak_sustained") * weight.flop * clock_hz
        for weight in PEAK.get(kind, ())
        if weight.flop is not None and f"{weight.base}.sum.peak_sustained" in names
    ]
    return np.asarray(np.max(found, axis=0), dtype=np.float64) if found else None


def _first(profile: Profile, names: frozenset[str], metrics: tuple[str, ...]) -> FloatArray:
    found = np.full(len(profile.table("kernels")), np.nan)
    for metric in metrics:
        if metric in names:
            found = np.where(np.isnan(found), metric_values(profile, metric), found)
    return found
