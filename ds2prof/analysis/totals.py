"""Totals of a profile: launches, their time, and GPU compute utilization per device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ds2prof.analysis import windows
from ds2prof.analysis.answers import ratio
from ds2prof.analysis.intervals import clipped, union_ns
from ds2prof.analysis.windows import TimeWindow, ends_ns, timed
from ds2prof.tables import BoolArray, IntArray, Profile, Table

TABLES: Final = windows.TABLES


@dataclass(frozen=True)
class DeviceTotals:
    """One device: union of its kernels over the file, and clipped to the window."""

    device: int | None
    busy_ns: int
    window_ns: int | None
    window_busy_ns: int | None
    gpu_compute_utilization: float | None


@dataclass(frozen=True)
class Totals:
    """Sums over the whole file, unclipped, and window figures clipped to W; sums over devices.

    ``gpu_compute_utilization`` is length(union of kernels, communication included) / length(W). Blind spot: one thread
    running counts as 100 %, and a collective that waits counts as busy.

    All GPU fields are None for a CPU run and for a run log; window fields are None where launches were replayed, and
    whatever rests on a union is where the times of a launch are not known.
    """

    launches: int | None
    kernel_dur_ns: int | None
    busy_ns: int | None
    copies: int | None
    copy_dur_ns: int | None
    window_source: str | None
    window_ns: int | None
    window_busy_ns: int | None
    gpu_compute_utilization: float | None
    devices: tuple[DeviceTotals, ...]

    def as_dict(self) -> dict[str, Any]:
        """The totals as plain values."""
        return asdict(self)


NO_GPU_TOTALS: Final = Totals(None, None, None, None, None, None, None, None, None, devices=())


def totals(profile: Profile) -> Totals:
    """The totals of one profile."""
    profile.require(*TABLES)
    kernels, copies = profile.table("kernels"), profile.table("copies")
    if profile.meta.domain == "cpu" or (profile.meta.times is None and not len(kernels)):
        return NO_GPU_TOTALS
    window = windows.time_window(profile)
    has_times = profile.meta.times == "real" and timed(kernels) is kernels
    found = by_device(kernels, copies) if has_times else []
    devices = tuple(
        _device(
            kernels.take(rows), device, _own_window(window, kernels.take(rows), copies.take(rows_of(copies, device)))
        )
        for device, rows in found
    )
    busy_ns = sum(device.busy_ns for device in devices) if has_times else None
    known = window is not None and bool(devices)
    window_ns = sum(device.window_ns or 0 for device in devices) if known else None
    window_busy_ns = sum(device.window_busy_ns or 0 for device in devices) if known else None
    return Totals(
        launches=launches(kernels),
        kernel_dur_ns=_sum(kernels, "dur_ns"),
        busy_ns=busy_ns,
        copies=launches(copies) if profile.meta.times == "real" else None,
        copy_dur_ns=_sum(copies, "dur_ns") if profile.meta.times == "real" else None,
        window_source=window.source if window is not None and known else None,
        window_ns=window_ns,
        window_busy_ns=window_busy_ns,
        gpu_compute_utilization=ratio(window_busy_ns, window_ns),
        devices=devices,
    )


def less_overhead(profile: Profile, found: Mapping[str, Any]) -> dict[str, Any]:
    """The other utilization of a session, for totals whose window is one: TBD's recipe; nothing for other windows.

    Formula: window_busy_ns / window_less_overhead_ns, the window without the time that the profiler itself took. Blind
    spot: what ran on the device during that time counts as busy all the same, so that the ratio is absent where it
    would be more than 1.
    """
    if found["window_source"] != windows.SESSION:
        return {}
    length_ns = windows.session_less_overhead_ns(profile, windows.time_window(profile))
    if length_ns is None:
        return {}
    length_ns *= len(found["devices"])
    fits = found["window_busy_ns"] <= length_ns
    return {
        "window_less_overhead_ns": length_ns,
        "utilization_less_overhead": ratio(found["window_busy_ns"], length_ns) if fits else None,
    }


def launches(table: Table) -> int:
    """How many launches (or copies) the rows stand for."""
    return int(table.ints("calls", null=1).sum()) if "calls" in table else len(table)


def by_device(kernels: Table, copies: Table) -> list[tuple[int | None, BoolArray]]:
    """Each device that did any work, with the mask of its kernels; None for rows without a device."""
    seen = {value for table in (kernels, copies) for value in devices_of(table)}
    return [
        (device, rows_of(kernels, device)) for device in sorted(seen, key=lambda device: (device is None, device or 0))
    ]


def rows_of(table: Table, device: int | None) -> BoolArray:
    """Mask of the rows of one device; of those without one for None."""
    present = table["device"].present
    return present & (table.ints("device") == device) if device is not None else ~present


def _own_window(window: TimeWindow | None, kernels: Table, copies: Table) -> TimeWindow | None:
    """The window of one device: that of the whole profile, unless it was only taken from the devices' operations."""
    if window is None or window.source != windows.OPERATIONS:
        return window
    return windows.from_operations(kernels, copies)


def devices_of(table: Table) -> set[int | None]:
    """The devices that rows of the table have; None among them where a row has none."""
    column = table["device"]
    if len(table) and column.valid is None and int(column.values.min()) == int(column.values.max()):
        return {int(column.values[0])}
    devices = table.ints("device")[column.present]
    if len(devices) and int(devices.min()) == int(devices.max()):
        devices = devices[:1]  # the one device that most profiles have; to sort for it would take longer
    found: set[int | None] = set(devices.tolist() if len(devices) < 2 else np.unique(devices).tolist())
    return found | ({None} if not column.present.all() else set())


def _device(kernels: Table, device: int | None, window: TimeWindow | None) -> DeviceTotals:
    starts, ends = kernels.ints("start_ns"), ends_ns(kernels)
    busy_ns = union_ns(starts, ends)
    if window is None:
        return DeviceTotals(device, busy_ns, None, None, None)
    inside: tuple[IntArray, IntArray] = clipped(starts, ends, lo_ns=window.start_ns, hi_ns=window.stop_ns)
    window_busy_ns = union_ns(*inside)
    return DeviceTotals(device, busy_ns, window.length_ns, window_busy_ns, ratio(window_busy_ns, window.length_ns))


def _sum(table: Table, column: str) -> int | None:
    """Sum of an int column; None where any row lacks it."""
    if not len(table):
        return 0
    return int(table.ints(column).sum()) if table[column].present.all() else None
