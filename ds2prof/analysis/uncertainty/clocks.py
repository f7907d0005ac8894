"""Whether the SM clock changed during a window, where it was sampled: beside the timeline or within it.

All that is counted in time changes with the clock. A reading stands for the time until the next one of its device (a
mean over a stated period for that period), and the last one for as long as readings are usually apart. A sampler's file
has to count from the same moment as the timeline (``meta.clock`` is ``unix`` in both); the wall clock of a machine in
an unknown time zone (nvidia-smi's own timestamps) cannot be laid beside it.

Blind spot: what happened between two readings, which are 20 ms to a second apart, is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.windows import TimeWindow, time_window
from ds2prof.tables import BoolArray, IntArray, Meta, Profile, Table

TABLES: Final = ("samples",)
CLOCKS: Final = (
    "clocks.current.sm",
    "clocks.sm",
    "DCGM_FI_DEV_SM_CLOCK",
    "SMCLK",
    "pclk",
    "SM Clock",
    "GPC Clock Frequency [MHz]",
    "clocks.current.graphics",
    "clocks.gr",
)
"""What tells the SM clock, most trusted first: nvidia-smi's fields, DCGM's, dmon's, nvprof's, Nsight Systems'."""
LIMIT: Final = 0.02
"""A clock that was lower than the highest by more than this is said to have changed; steps are about 1 %."""
_HELD: Final = re.compile(r"(?:held_back|clocks_(?:throttle|event)_reasons)\.(\w+)")
_NO_REASONS: Final = ("supported", "active", "gpu_idle", "applications_clocks_setting")
_BITS: Final = ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "DCGM_FI_DEV_CLOCKS_EVENT_REASONS")
_REASON_OF_BIT: Final = {
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
}
"""The driver's bits (nvmlClocksEventReasons); those of an idle GPU and of clocks set by hand hold nothing back."""


@dataclass(frozen=True)
class Clock:
    """The SM clock of one device over a window.

    Attributes:
        device: its number; None where the readings have none.
        metric: what told it.
        readings: how many readings count.
        coverage: the share of the window that they stand for.
        low_hz, mean_hz, high_hz: least, mean by time, greatest.
        below_high: the share of the covered time at a clock more than 2 % below the highest.
        held_back: reason -> share of the covered time in which the driver kept the clocks low for it, most first.
    """

    device: int | None
    metric: str
    readings: int
    coverage: float
    low_hz: float
    mean_hz: float
    high_hz: float
    below_high: float
    held_back: tuple[tuple[str, float], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the clock was more than 2 % below its highest at any time."""
        return self.low_hz < self.high_hz * (1 - LIMIT)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {**asdict(self), "held_back": dict(self.held_back), "changed": self.changed}

    def said(self) -> str:
        """In words."""
        mhz = [round(value / units.HZ_PER_MHZ) for value in (self.low_hz, self.high_hz)]
        where = "" if self.device is None else f" of GPU {self.device}"
        line = f"SM clock{where} steady at {mhz[1]:,} MHz in the window"
        if self.changed:
            shares = [units.format_ratio(share, digits=0) for share in (self.below_high, LIMIT)]
            low = f"{shares[0]} of the time more than {shares[1]} below the highest"
            line = f"SM clock{where} {mhz[0]:,} to {mhz[1]:,} MHz in the window, {low}"
        if self.held_back:
            why = ", ".join(f"{reason} {units.format_ratio(share, digits=0)}" for reason, share in self.held_back)
            line += f"; held back by {why}"
        return f"{line} (readings cover {units.format_ratio(self.coverage, digits=0)} of it)"


@dataclass(frozen=True)
class Clocks:
    """The clocks of all devices, or why they are not known."""

    devices: tuple[Clock, ...] = ()
    reason: str | None = None

    def notes(self) -> tuple[str, ...]:
        """A line for each device whose clock changed or was held back."""
        return tuple(clock.said() for clock in self.devices if clock.changed or clock.held_back)


@dataclass(frozen=True)
class Readings:
    """What a sampler's file tells of clocks, without the rest of it.

    Attributes:
        file: its name.
        clock: what its times count from.
        table: the rows of ``samples`` that tell an SM clock or why it was held back.
    """

    file: str
    clock: str | None
    table: Table


def readings_of(sampler: Profile) -> Readings:
    """What the file tells of clocks."""
    table = sampler.require(*TABLES).table("samples")
    names = table["metric"].categories or ()
    told = [name for name in names if name in CLOCKS or name in _BITS or _HELD.fullmatch(name)]
    return Readings(sampler.meta.file, sampler.meta.clock, table.take(_rows(table, told)))


def clock_changes(profile: Profile, sampler: Profile | None = None, *, window: TimeWindow | None = None) -> Clocks:
    """The SM clocks during the window of a timeline, by its own readings or those of a sampler's file.

    Args:
        profile: the timeline.
        sampler: what a sampler wrote beside it; None where the timeline has readings of its own.
        window: another stretch of the timeline's clock.
    """
    stretch = window or time_window(profile)
    if stretch is None:
        return Clocks(reason="the launches have no real times")
    if sampler is None:
        return _clocks(profile.require(*TABLES).table("samples"), stretch)
    return clocks_beside(profile.meta, stretch, readings_of(sampler))


def clocks_beside(meta: Meta, window: TimeWindow, readings: Readings) -> Clocks:
    """The SM clocks during a timeline's window by the readings of a sampler's file."""
    if meta.clock != "unix" or readings.clock != "unix":
        told = ((meta.file, meta.clock), (readings.file, readings.clock))
        counts = [f"{file} counts from {clock or 'no known moment'}" for file, clock in told]
        return Clocks(reason=f"the two clocks cannot be laid beside each other: {', '.join(counts)}")
    return _clocks(readings.table, window)


def _clocks(table: Table, stretch: TimeWindow) -> Clocks:
    above_zero = table["value"].values > 0
    told = (_rows(table, [name]) & above_zero for name in CLOCKS)
    rows = next((rows for rows in told if rows.any()), None)
    if rows is None:
        return Clocks(reason="no SM clock was sampled")
    clocks = [_clock(table, rows & own, device, stretch) for device, own in _devices(table, rows)]
    found = tuple(clock for clock in clocks if clock is not None)
    return Clocks(found, None if found else "no reading of the SM clock falls into the window")


def _rows(table: Table, names: Sequence[str]) -> BoolArray:
    """Which rows are readings of whole devices, with a time, of those metrics."""
    codes = [code for code, name in enumerate(table["metric"].categories or ()) if name in names]
    usable = table["start_ns"].present & ~np.isnan(table["value"].values) & ~table["entity"].present
    return np.asarray(np.isin(table["metric"].values, codes) & usable & ~table["launch"].present, dtype=np.bool_)


def _devices(table: Table, rows: BoolArray) -> list[tuple[int | None, BoolArray]]:
    """Each device among the rows, with the mask of all of its rows."""
    column, numbers = table["device"], table.ints("device")
    found: list[tuple[int | None, BoolArray]] = [
        (device, column.present & (numbers == device)) for device in np.unique(numbers[rows & column.present]).tolist()
    ]
    return [*found, (None, ~column.present)] if bool((rows & ~column.present).any()) else found


def _clock(table: Table, rows: BoolArray, device: int | None, stretch: TimeWindow) -> Clock | None:
    values, lengths = _held(table, np.flatnonzero(rows), stretch)
    if not len(values):
        return None
    whole, high = float(lengths.sum()), float(values.max())
    metric = (table["metric"].categories or ())[int(table["metric"].values[rows][0])]
    return Clock(
        device,
        metric,
        len(values),
        min(whole / stretch.length_ns, 1.0),
        float(values.min()),
        float((values * lengths).sum()) / whole,
        high,
        float(lengths[values < high * (1 - LIMIT)].sum()) / whole,
        _reasons(table, device, stretch),
    )


def _held(table: Table, rows: IntArray, stretch: TimeWindow) -> tuple[FloatArray, FloatArray]:
    """(the readings that stand for any of the stretch, for how many ns each does), of one metric of one device."""
    rows = rows[np.argsort(table.ints("start_ns")[rows], kind="stable")]
    starts, values = table.ints("start_ns")[rows], table["value"].values[rows]
    if not len(rows):
        return values, values
    apart = np.diff(starts)
    usual = int(np.median(apart)) if len(apart) else stretch.length_ns
    lengths = np.append(np.minimum(apart, 2 * usual), usual)  # behind a gap nobody knows
    period = table["period_ns"].take(rows)
    ends = starts + np.where(period.present, table.ints("period_ns")[rows], lengths)
    inside = np.minimum(ends, stretch.stop_ns) - np.maximum(starts, stretch.start_ns)
    kept = inside > 0
    return values[kept], inside[kept].astype(np.float64)


def _reasons(table: Table, device: int | None, stretch: TimeWindow) -> tuple[tuple[str, float], ...]:
    """(reason, share of the covered time), most first; reasons that never held anything back are left out."""
    names = table["metric"].categories or ()
    shares: dict[str, float] = {}
    for name in names:
        found = _HELD.fullmatch(name)
        if found is not None and found[1] not in _NO_REASONS:
            shares[found[1]] = _mean(table, name, device, stretch)
    for name in (name for name in names if name in _BITS):
        for bit, reason in _REASON_OF_BIT.items():
            shares[reason] = _mean(table, name, device, stretch, bit=bit)
    return tuple(sorted(((one, share) for one, share in shares.items() if share > 0), key=lambda pair: -pair[1]))


def _mean(table: Table, name: str, device: int | None, stretch: TimeWindow, *, bit: int | None = None) -> float:
    rows = _rows(table, [name])
    column = table["device"]
    rows &= ~column.present if device is None else column.present & (table.ints("device") == device)
    values, lengths = _held(table, np.flatnonzero(rows), stretch)
    if bit is not None:
        values = ((values.astype(np.int64) & bit) > 0).astype(np.float64)
    return float((values * lengths).sum() / lengths.sum()) if len(values) else 0.0
