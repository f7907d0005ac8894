"""Idle time as a profiler saw it, and without what the profiler itself took, where a calibration tells that.

A calibration compares the same iterations with the profiler and without (``ds2prof calibrate``). What it found for a
capture stands in the sidecar as ``calibrated_overhead_ns``, with intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from ds2prof.analysis.attribution import launches
from ds2prof.analysis.uncertainty.iterations import iterations_of
from ds2prof.analysis.windows import time_window
from ds2prof.tables import IntArray, Profile, Table

TABLES: Final = ("kernels", "copies", "api", "ops", "ranges", "spans", "overhead")
WORK_CAUSES: Final = ("compute", "exposed_communication", "exposed_copy")
"""Causes of the ledger that are no idle time."""
KEY: Final = "calibrated_overhead_ns"


@dataclass(frozen=True)
class Idle:
    """Idle time of one device in its window.

    Attributes:
        device: which.
        kind: ``observed`` by the profiler, or ``corrected`` for its cost.
        dur_ns: the idle time.
        share: of the window, that without the overhead for ``corrected``.
        low_ns, high_ns: between which it lies, as far as the calibration's interval goes; None for ``observed``, and
            where one repeat gave no interval.
        basis: by what the cost was told: ``iteration``, ``operator``, ``launch``; None for ``observed``.
        reason: what qualifies it, or why there is no number.
    """

    device: int | None
    kind: Literal["observed", "corrected"]
    dur_ns: int | None
    share: float | None
    low_ns: int | None = None
    high_ns: int | None = None
    basis: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Work:
    """What a window holds, which a cost is multiplied with; None where unknown."""

    iterations: int | None = None
    operators: int | None = None
    launches: int | None = None


def corrected_idle(
    ledger: Sequence[Mapping[str, Any]], calibration: Mapping[str, Any] | None, *, work: Work
) -> tuple[Idle, ...]:
    """For each device of a ledger, its idle time as observed and as corrected.

    Formula: ``corrected = observed - cost``, where cost is iterations x the mean cost of an iteration; where the
    calibration is of another batch size, operators x that of an operator, or launches x that of a launch. Never below
    zero. An iteration's cost is a difference of wall times; the device's own work takes as long with the profiler as
    without, so all of that difference is idle time of the device. Per operator or launch it is the host's time, of
    which the device's work may hide a part: the correction is then too large, the result a lower bound.

    Blind spot: a profiler that slows kernels as well (counters, cache control) is not corrected; which *cause* the
    overhead made longer is not known, so the ledger's rows stay as observed.

    Args:
        ledger: its rows: ``device``, ``cause``, ``dur_ns``.
        calibration: what the sidecar has as ``calibrated_overhead_ns``; None where there is none.
        work: what the window holds.
    """
    devices = list(dict.fromkeys(row.get("device") for row in ledger))
    cost = cost_ns(calibration, work)
    return tuple(
        one
        for device in devices
        for one in _pair(device, [row for row in ledger if row.get("device") == device], calibration, cost)
    )


@dataclass(frozen=True)
class Cost:
    """What the profiler took of a window in all, between which bounds, and by what that was told."""

    value_ns: float
    low_ns: float | None
    high_ns: float | None
    basis: str


def cost_ns(calibration: Mapping[str, Any] | None, work: Work) -> Cost | None:
    """The cost over the window, by the best basis that calibration and window share; None where they share none."""
    if calibration is None:
        return None
    bases = (
        ("mean_per_iteration_ns", "iteration", work.iterations),
        ("per_iteration_ns", "iteration", work.iterations),
        ("per_operator_ns", "operator", work.operators),
        ("per_launch_ns", "launch", work.launches),
    )
    for name, basis, count in bases:
        found = calibration.get(name)
        if isinstance(found, Mapping) and found.get("value") is not None and count:
            low, high = (None if found.get(end) is None else found[end] * count for end in ("low", "high"))
            return Cost(found["value"] * count, low, high, basis)
    return None


def _pair(
    device: int | None,
    rows: Sequence[Mapping[str, Any]],
    calibration: Mapping[str, Any] | None,
    cost: Cost | None,
) -> tuple[Idle, Idle]:
    window_ns = sum(row["dur_ns"] for row in rows)
    idle_ns = sum(row["dur_ns"] for row in rows if row["cause"] not in WORK_CAUSES)
    observed = Idle(device, "observed", idle_ns, idle_ns / window_ns if window_ns else None)
    if cost is None:
        why = "no calibration of this capture" if calibration is None else "the calibration has no cost for this window"
        return observed, Idle(device, "corrected", None, None, reason=why)
    less_ns = _less(idle_ns, cost.value_ns)
    rest_ns = window_ns - (idle_ns - less_ns)
    # The higher the cost, the lower what is left.
    low_ns, high_ns = (None if end is None else _less(idle_ns, end) for end in (cost.high_ns, cost.low_ns))
    return observed, Idle(
        device,
        "corrected",
        less_ns,
        less_ns / rest_ns if rest_ns else None,
        low_ns,
        high_ns,
        cost.basis,
        _qualified(calibration or {}, cost, idle_ns),
    )


def _less(idle_ns: int, cost: float) -> int:
    return max(round(idle_ns - cost), 0)


def _qualified(calibration: Mapping[str, Any], cost: Cost, idle_ns: int) -> str | None:
    if cost.value_ns > idle_ns:
        return "the calibrated cost is more than all idle time: it hides behind the device's work, or is not this one's"
    if calibration.get("within_noise"):
        return "the cost is within the noise of the calibration: it may be nothing"
    if cost.basis != "iteration":
        return f"by the host's cost of each {cost.basis}, of which the device's work may hide a part: a lower bound"
    return None


def is_calibrated(profile: Profile) -> bool:
    """Whether the profile's sidecar has what a calibration tells of its capture."""
    return isinstance((profile.meta.run or {}).get(KEY), Mapping)


def idle_of(profile: Profile, ledger: Sequence[Mapping[str, Any]]) -> tuple[Idle, ...]:
    """For each device, idle time as observed and as corrected by what the profile's sidecar has of a calibration.

    Args:
        profile: a timeline.
        ledger: the rows of its idle ledger over the whole window.
    """
    if not is_calibrated(profile):
        return corrected_idle(ledger, None, work=Work())
    return corrected_idle(ledger, (profile.meta.run or {})[KEY], work=work_in(profile))


def work_in(profile: Profile) -> Work:
    """How many iterations, operators and launches began in the profile's window; None where the file has none."""
    window = time_window(profile)
    if window is None:
        return Work()

    def begun(table: Table, rows: IntArray | None = None) -> int | None:
        starts = table.ints("start_ns") if rows is None else table.ints("start_ns")[rows]
        return int(((starts >= window.start_ns) & (starts < window.stop_ns)).sum()) or None

    steps = iterations_of(profile)
    first = None if steps is None or steps.starts_ns is None else steps.starts_ns
    inside = None if first is None else int(((first >= window.start_ns) & (first < window.stop_ns)).sum())
    calls = np.unique(np.concatenate((launches(profile, "kernels"), launches(profile, "copies"))))
    return Work(inside or None, begun(profile.table("ops")), begun(profile.table("api"), calls[calls >= 0]))
