"""The answer by ``bound``: the least that kernels used of the chip, where no counter could be read.

The work is that of the operators' models (:mod:`ds2prof.analysis.roofline`), the peaks those of the table of devices,
the arithmetic that of :mod:`.bounds`. What is no bound is called an estimate in its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof.analysis import attribution
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.estimates.bounds import lower_bounds
from ds2prof.analysis.estimates.grouped import short_names
from ds2prof.analysis.groups import sorted_columns, summed
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.roofline import kernels as roofline
from ds2prof.analysis.roofline.kernels import KernelWork, kernel_work
from ds2prof.analysis.roofline.roof import device_name, device_peaks, peak_on, rate_of
from ds2prof.analysis.totals import by_device
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class
from ds2prof.peaks import TENSOR, DevicePeak
from ds2prof.tables import BoolArray, IntArray, Profile, Table
from ds2prof.units import HZ_PER_MHZ, NS_PER_S

BY: Final = "bound"
TABLES: Final = roofline.TABLES
_FEWER_NAMES: Final = re.compile(r"winograd|fft[12]d|gcgemm")
"""Convolutions by a transform: they need fewer operations than the model of the direct one counts."""
_TENSOR_NAMES: Final = re.compile(
    r"tensorop|tensor\d|[a-z]_?(?:884|1688|16816|16832|161616|8816)(?:[a-z_]|$)|xmma(?!.*_ffma)|[hiq]mma_|wmma|gmma|nvjet"
    r"|tf32|cijk_.*_mi\d+x|mfma"
)
"""Names of kernels that show that their products ran on tensor cores; a product of 16 bits need not."""
_WHY: Final = (
    "at least (>=): FLOP of the operators' models over the dense peak; DRAM bytes: inputs and outputs once, less the "
    "last cache, of each launch",
    "est. DRAM: inputs and outputs once, nothing found in a cache: an estimate, above or below what was moved",
)


@dataclass(frozen=True, eq=False)
class _Use:
    """Of each launch; NaN where not known."""

    flop: FloatArray
    tensor: FloatArray
    dram: FloatArray
    dram_bytes: FloatArray
    est_dram: FloatArray


def bound_table(profile: Profile) -> Answer:
    """Least use of tensor pipes, FLOP and DRAM by short name, weighted by time; launches not known count as nothing.

    ``min_flop_utilization`` is FLOP / (dense peak of their kind x time of all launches of the name),
    ``min_tensor_utilization`` the same over those whose names show that they ran on tensor cores,
    ``min_dram_bytes`` the sum over launches of max(compulsory bytes - size of the last cache, 0), and
    ``min_dram_utilization`` that over (bandwidth x time). ``est_dram_utilization`` is an estimate: all compulsory
    bytes, over the time of the launches that have them. The peak is at the highest clock that is published. Blind
    spots: those of :func:`.bounds.lower_bounds`; a device that boosts above that clock; inputs expanded without being
    copied, which count in full; what is written and never leaves the cache.

    Raises:
        MissingDataError: the file has counters, or neither shapes nor a device with a known peak.
    """
    profile.require(*TABLES)
    work = _modelled(profile)
    table = profile.table("kernels")
    codes, names = short_names(table["name"])
    together = _together(profile, work, codes)
    flop = np.where(together | _with_fewer(profile, work), np.nan, work.flop)
    use, notes, impossible = _uses(profile, work, flop, np.where(together, np.nan, work.size_bytes))
    if np.isnan(use.flop).all() and np.isnan(use.est_dram).all():
        raise MissingDataError(
            f"{profile.meta.file}: no bound is known ({'; '.join(notes)}); ask --by roofline for the work"
        )
    notes += _remarks(table, use, work, together=int(together.sum()), impossible=impossible)
    return Answer(BY, _columns(table, use, codes, names), (*_WHY, *notes))


def _modelled(profile: Profile) -> KernelWork:
    file = profile.meta.file
    if profile.meta.domain == "cpu" or not len(profile.table("kernels")):
        raise MissingDataError(f"{file}: no GPU work in this file, so no bounds of it")
    work = kernel_work(profile)
    if work.source == "counters":
        raise MissingDataError(f"{file}: this file has counters, which say more than bounds; ask --by core or roofline")
    if np.isnan(work.flop).all() and np.isnan(work.size_bytes).all():
        raise MissingDataError(f"{file}: neither shapes nor counters that tell the kernels' work; {roofline.HOW}")
    return work


def _together(profile: Profile, work: KernelWork, codes: IntArray) -> BoolArray:
    """Kernels that share an operator's work with kernels of another name: how much was whose is an estimate."""
    takers = np.flatnonzero(~np.isnan(work.flop) & ~work.is_helper)
    claims = _claims(profile, work)
    place = claims[takers]
    lowest = np.full(int(claims.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    highest = np.full(len(lowest), -1)
    np.minimum.at(lowest, place, codes[takers])
    np.maximum.at(highest, place, codes[takers])
    found = np.zeros(len(codes), dtype=np.bool_)
    found[takers] = lowest[place] != highest[place]
    return found


def _with_fewer(profile: Profile, work: KernelWork) -> BoolArray:
    """Kernels of operators that ran one whose name tells of a transform."""
    names = profile.table("kernels")["name"]
    told = [_FEWER_NAMES.search(name.lower()) is not None for name in names.categories or ()]
    claims = _claims(profile, work)
    has = np.zeros(int(claims.max(initial=-1)) + 2, dtype=np.bool_)
    has[claims[np.array([*told, False], dtype=np.bool_)[names.values]]] = True
    has[-1] = False
    return has[claims]


def _claims(profile: Profile, work: KernelWork) -> IntArray:
    """For each kernel the place of the operator that counts for it; -1 for none."""
    assert work.works is not None, "the work is modelled"
    return np.concatenate((work.works.claims, [-1]))[attribution.operators(profile, "kernels")]


def _uses(profile: Profile, work: KernelWork, flop: FloatArray, size_bytes: FloatArray) -> tuple[_Use, list[str], int]:
    table = profile.table("kernels")
    found = _Use(*(np.full(len(table), np.nan) for _ in range(5)))
    peaks, notes, impossible = device_peaks(profile), list[str](), 0
    on_tensor = _on_tensor(table)
    for device, rows in by_device(table, Table("copies")):
        peak = peak_on(peaks, device)
        if peak is None:
            name = device_name(profile, device) or "a device that the file does not name"
            notes.append(f"{name}: no peak in the table of devices")
            continue
        rates, is_tensor = _rates(peak, work)
        kind = work.kind[rows]
        bounds = lower_bounds(
            table.ints("dur_ns")[rows].astype(np.float64),
            flop=np.where(flop[rows] == 0, 0.0, flop[rows]),
            compulsory_bytes=size_bytes[rows],
            peak_flop_per_s=np.where(flop[rows] == 0, 1.0, rates[kind]),
            peak_bytes_per_s=peak.bandwidth_bytes_per_s,
            l2_bytes=peak.l2_bytes,
        )
        found.flop[rows] = bounds.tensor
        found.tensor[rows] = np.where(is_tensor[kind] & on_tensor[rows], bounds.tensor, np.nan)
        found.dram[rows], found.dram_bytes[rows] = (
            bounds.dram,
            np.where(np.isnan(bounds.dram), np.nan, bounds.dram_bytes),
        )
        time_s = np.maximum(table.ints("dur_ns")[rows], 1) / NS_PER_S
        found.est_dram[rows] = work.size_bytes[rows] / (peak.bandwidth_bytes_per_s * time_s)
        impossible += bounds.impossible
        notes.append(_peak_note(peak))
    return found, list(dict.fromkeys(notes)), impossible


def _rates(peak: DevicePeak, work: KernelWork) -> tuple[FloatArray, BoolArray]:
    """(peak rate of each kind at the highest published clock, whether it is the tensor pipes'); the last: no kind."""
    found = [rate_of(peak, kind, clock_hz=_clock_hz(peak)) for kind in work.kinds]
    rates = [np.nan if each is None else each[1] for each in found]
    return np.array([*rates, np.nan]), np.array(
        [*(each is not None and each[0].startswith(TENSOR) for each in found), False]
    )


def _clock_hz(peak: DevicePeak) -> int:
    return max(peak.boost_hz, peak.tensor_hz)


def _peak_note(peak: DevicePeak) -> str:
    cache = (
        "no known cache, so no traffic is certain" if peak.l2_bytes is None else f"cache {peak.l2_bytes / 2**20:g} MiB"
    )
    return (
        f"peaks of {peak.name} at {_clock_hz(peak) / HZ_PER_MHZ:,.0f} MHz, the highest clock that is published; "
        f"{peak.bandwidth_bytes_per_s / 1e9:,.0f} GB/s, {cache}; dense"
    )


def _on_tensor(table: Table) -> BoolArray:
    names = table["name"]
    told = [_TENSOR_NAMES.search(name.lower()) is not None for name in names.categories or ()]
    return np.asarray(np.array([*told, False], dtype=np.bool_)[names.values])


def _columns(table: Table, use: _Use, codes: IntArray, names: list[str]) -> dict[str, Sequence[Any]]:
    count, durations = len(names), table.ints("dur_ns")
    texts = table["name"].categories or ()
    classes = [kernel_class(text) for text in texts]
    class_of = dict(zip(codes.tolist(), (classes[code] for code in table["name"].values.tolist()), strict=True))
    columns: dict[str, Sequence[Any]] = {
        "name": names,
        "class": [class_of[code] for code in range(count)],
        "launches": np.bincount(codes, minlength=count).tolist(),
        "dur_ns": summed(codes, durations, count).tolist(),
        "min_tensor_utilization": _least(use.tensor, durations, codes, count),
        "min_flop_utilization": _least(use.flop, durations, codes, count),
        "min_dram_utilization": _least(use.dram, durations, codes, count),
    }
    known = ~np.isnan(use.dram_bytes)
    sums = np.bincount(codes[known], weights=use.dram_bytes[known], minlength=count)
    some = np.bincount(codes[known], minlength=count) > 0
    columns["min_dram_bytes"] = [
        int(each) if ok else None for each, ok in zip(np.floor(sums).tolist(), some.tolist(), strict=True)
    ]
    has = ~np.isnan(use.est_dram)
    columns["est_dram_utilization"] = _least(use.est_dram[has], durations[has], codes[has], count)
    whole = np.bincount(codes, weights=durations, minlength=count).tolist()
    for what, values in (("flop", use.flop), ("dram", use.dram)):
        covered = np.bincount(codes, weights=np.where(np.isnan(values), 0, durations), minlength=count).tolist()
        columns[f"{what}_coverage"] = [ratio(part, of) for part, of in zip(covered, whole, strict=True)]
    return sorted_columns(columns, by=("dur_ns", "launches"))


def _least(use: FloatArray, durations: IntArray, codes: IntArray, count: int) -> list[float | None]:
    """Use over all of the group's time, unknown launches counting as nothing; None for a group that has none known."""
    known = ~np.isnan(use)
    parts = np.bincount(codes[known], weights=(use * durations)[known], minlength=count).tolist()
    some = np.bincount(codes[known], minlength=count).tolist()
    whole = np.bincount(codes, weights=durations, minlength=count).tolist()
    return [ratio(part, of) if ok else None for part, of, ok in zip(parts, whole, some, strict=True)]


def _remarks(table: Table, use: _Use, work: KernelWork, *, together: int, impossible: int) -> list[str]:
    everyone = np.zeros(len(table), dtype=np.int64)
    durations = table.ints("dur_ns")
    said = []
    for what, values in (("tensor pipes", use.tensor), ("FLOP", use.flop), ("DRAM", use.dram)):
        (least,) = _least(values, durations, everyone, 1)
        covered = ratio(float(durations[~np.isnan(values)].sum()), float(durations.sum()))
        if least is not None:
            said.append(f"{what} >= {least:.1%} (known for {covered or 0:.1%})")
    notes = [f"over all time of kernels: {', '.join(said)}"] if said else []
    if together:
        notes.append(
            f"{together:,} launches share an operator's work with kernels of another name: no bounds of their own"
        )
    if impossible:
        notes.append(
            f"{impossible:,} launches have a bound above the peak, so a model or a peak is wrong there: left out"
        )
    assert work.works is not None, "the work is modelled"
    return notes + [f"assumed, calls: {count:,}: {what}" for what, count in work.works.assumed.items()]
