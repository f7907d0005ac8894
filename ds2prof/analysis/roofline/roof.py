"""Roofs: the least time that each kernel could have taken, and what is gained where kernels reach it.

Attainable time of a kernel = max(FLOP / peak rate of its kind, bytes / memory bandwidth). Blind spots: modelled bytes
are compulsory ones, so that what a kernel must read again is not in its roof; data that a kernel finds in L2 can let it
run *faster* than the memory's roof; and a roof knows no latency, so that tiny kernels never reach it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.roofline.kernels import KernelWork, kernel_work
from ds2prof.analysis.totals import by_device, launches
from ds2prof.peaks import DevicePeak, peak_of
from ds2prof.tables import BoolArray, Profile, Table
from ds2prof.units import HZ_PER_MHZ, NS_PER_S

COMPUTE: Final = "compute"
MEMORY: Final = "memory"
FALLBACKS: Final[Mapping[str, tuple[str, ...]]] = {
    "tensor_fp16": ("fp16",),
    "tensor_bf16": ("bf16", "fp32"),
    "tensor_tf32": ("fp32",),
    "tensor_fp32": ("fp32",),
    "tensor_fp64": ("fp64",),
    "bf16": ("fp32",),
    "fp16": ("fp32",),
}
"""Kind -> where it runs on a device without a peak of that kind."""


@dataclass(frozen=True, eq=False)
class KernelRoofs:
    """Each kernel beneath its roof; NaN where it is not known.

    Attributes:
        work: operations and bytes.
        compute_ns: FLOP / peak rate of their kind.
        memory_ns: bytes / bandwidth.
        attainable_ns: the longer of both; a kernel with one of them unknown has none.
        notes: which peaks, at which clock; what is missing.
    """

    work: KernelWork
    compute_ns: FloatArray
    memory_ns: FloatArray
    attainable_ns: FloatArray
    notes: tuple[str, ...]

    @property
    def is_compute_bound(self) -> BoolArray:
        """Whether the roof is that of operations; False where there is none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.compute_ns > self.memory_ns, dtype=np.bool_)


def kernel_roofs(profile: Profile) -> KernelRoofs:
    """The roof of each kernel, worked out once per profile."""
    return profile.derived("roofs of kernels", lambda: _kernel_roofs(profile))


def device_peaks(profile: Profile) -> Mapping[int | None, DevicePeak | None]:
    """Device -> its peak, by its name and what the profile says of it; None where the device is not known."""
    devices = profile.table("devices")
    found: dict[int | None, DevicePeak | None] = {}
    columns = (devices[name].tolist() for name in ("device", "name", "sms", "memory_bandwidth_bytes_per_s"))
    for device, name, sms, bandwidth in zip(*columns, strict=True):
        found[device] = peak_of(name, sms=sms, bandwidth_bytes_per_s=bandwidth)
    return found


def peak_on(peaks: Mapping[int | None, DevicePeak | None], device: int | None) -> DevicePeak | None:
    """The peak of a device among :func:`device_peaks`; a number that is not among them means the only one there is."""
    if device in peaks:
        return peaks[device]
    return next(iter(peaks.values())) if len(peaks) == 1 else None


def rate_of(peak: DevicePeak, kind: str, *, clock_hz: float | None = None) -> tuple[str, float] | None:
    """(the kind that runs it, its dense peak rate) on a device; None where it has no peak for it."""
    for each in (kind, *FALLBACKS.get(kind, ())):
        rate = peak.flop_per_s(each, clock_hz=clock_hz)
        if rate is not None:
            return each, rate
    return None


def _kernel_roofs(profile: Profile) -> KernelRoofs:
    work = kernel_work(profile)
    kernels = profile.table("kernels")
    compute_ns, memory_ns = np.full(len(kernels), np.nan), np.full(len(kernels), np.nan)
    notes: list[str] = []
    peaks = device_peaks(profile)
    for device, rows in by_device(kernels, Table("copies")):
        peak = peak_on(peaks, device)
        compute_ns[rows] = _compute_ns(work, peak, rows)
        memory_ns[rows] = _memory_ns(work, peak, rows)
        notes += _peak_notes(profile, work, peak, device, rows)
    calls = kernels.ints("calls", null=1) if launches(kernels) != len(kernels) else 1
    compute_ns, memory_ns = compute_ns * calls, memory_ns * calls
    if work.counted is not None:
        attainable_ns = np.where(np.isnan(work.flop), np.nan, np.maximum(compute_ns, memory_ns))
    else:
        attainable_ns = np.where(work.flop == 0, np.fmax(memory_ns, 0.0), np.maximum(compute_ns, memory_ns))
        attainable_ns[np.isnan(work.flop) | np.isnan(memory_ns)] = np.nan
    return KernelRoofs(work, compute_ns, memory_ns, attainable_ns, tuple(dict.fromkeys(notes)))


def _compute_ns(work: KernelWork, peak: DevicePeak | None, rows: BoolArray) -> FloatArray:
    if work.counted is not None:
        return _counted_ns(work, peak, rows)
    rates = np.full(len(work.kinds) + 1, np.nan)
    for code, kind in enumerate(work.kinds):
        found = None if peak is None else rate_of(peak, kind)
        rates[code] = np.nan if found is None else found[1]
    flop, rate = work.flop[rows], rates[work.kind[rows]]
    return np.where(flop == 0, 0.0, flop / rate * NS_PER_S)


def _counted_ns(work: KernelWork, peak: DevicePeak | None, rows: BoolArray) -> FloatArray:
    """The longest of its kinds' times: they run beside each other at best."""
    counted = work.counted
    assert counted is not None
    longest = np.full(int(rows.sum()), np.nan)
    for kind, flop in counted.flop.items():
        rate = counted.peak_flop_per_s.get(kind)
        rates = np.full(len(flop), np.nan) if rate is None else rate
        if peak is not None:
            found = rate_of(peak, kind, clock_hz=1.0)
            tabled = np.nan if found is None else found[1]
            stated = peak.clock_hz(kind)
            rates = np.where(
                np.isnan(rates), tabled * np.where(np.isnan(counted.clock_hz), stated, counted.clock_hz), rates
            )
        time_ns = np.where(flop[rows] == 0, 0.0, flop[rows] / rates[rows] * NS_PER_S)
        longest = np.fmax(longest, np.where(np.isnan(time_ns), np.inf, time_ns))
    longest[np.isinf(longest)] = np.nan
    return longest


def _memory_ns(work: KernelWork, peak: DevicePeak | None, rows: BoolArray) -> FloatArray:
    bandwidth = np.full(len(work.size_bytes), np.nan if peak is None else float(peak.bandwidth_bytes_per_s))
    if work.counted is not None:
        stated = work.counted.peak_bytes_per_s
        bandwidth = np.where(np.isnan(stated), bandwidth, stated)
    return np.asarray(work.size_bytes[rows] / bandwidth[rows] * NS_PER_S, dtype=np.float64)


def _peak_notes(
    profile: Profile, work: KernelWork, peak: DevicePeak | None, device: int | None, rows: BoolArray
) -> Sequence[str]:
    name = device_name(profile, device)
    counted = work.counted
    if counted is not None and not np.isnan(counted.peak_bytes_per_s[rows]).all():
        clock = float(np.nanmean(counted.clock_hz[rows])) / HZ_PER_MHZ
        return [
            f"peaks: the chip's own, as its counters state them, at the measured clock (mean {clock:,.0f} MHz); dense"
        ]
    if peak is None:
        return [f"{name or 'a device that the file does not name'}: no peak in the table of devices, so no roof"]
    bandwidth = f"{peak.bandwidth_bytes_per_s / 1e9:,.0f} GB/s"
    if counted is not None and not np.isnan(counted.clock_hz[rows]).all():
        clock = float(np.nanmean(counted.clock_hz[rows])) / HZ_PER_MHZ
        return [
            f"peaks of {peak.name}: {peak.sms} SMs at the measured clock (mean {clock:,.0f} MHz), {bandwidth}; dense"
        ]
    return [f"peaks of {peak.name}: {_rates(peak, work)}, {bandwidth}; {peak.sms} SMs, dense ({peak.source})"]


def _rates(peak: DevicePeak, work: KernelWork) -> str:
    """The peak rates of the kinds that were met, each with its clock."""
    found = {each: rate for kind in work.kinds if (pair := rate_of(peak, kind)) is not None for each, rate in [pair]}
    said = "boost clock" if peak.clocks == "stated" else "clock that its published rates imply"
    texts = [
        f"{kind} {rate / 1e12:,.1f} TFLOP/s at {peak.clock_hz(kind) / HZ_PER_MHZ:,.0f} MHz"
        for kind, rate in found.items()
    ]
    return f"{', '.join(texts) or 'no rate was needed'} ({said})"


def device_name(profile: Profile, device: int | None) -> str | None:
    """What the file calls a device; None where it names none."""
    devices = profile.table("devices")
    for number, name in zip(devices["device"].tolist(), devices["name"].tolist(), strict=True):
        if number == device and name:
            return str(name)
    return None
