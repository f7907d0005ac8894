"""What a device drew: energy over the window from sampled power, at work and idle apart, for each sample trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import samples, throughput
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.windows import TimeWindow, text_mask
from ds2prof.errors import MissingDataError
from ds2prof.tables import BoolArray, IntArray, Profile, Table

BY: Final = "energy"
TABLES: Final = ("samples", "ranges")
POWER: Final = (
    *("power.mean", "power.draw.average", "power.draw.instant", "power.draw"),
    *("DCGM_FI_DEV_POWER_USAGE", "pwr", "Power"),
)
"""Metrics that are a device's power, the best first; one is taken for each device, never several mixed."""
UTILIZATION: Final = ("utilization.gpu", "DCGM_FI_DEV_GPU_UTIL", "sm")
PER: Final = {"samples": "joule_per_sample", "audio_s": "joule_per_audio_s", "padded_s": "joule_per_padded_s"}
"""What a run counts -> the energy for one of it."""
_NOTES: Final = (
    "energy: power linear between readings (of means over periods: held over each), where readings cover the window",
    "busy and idle: readings at which the driver's utilization was above 0, and 0; it looks at up to a second at once",
)
_PER_NOTE: Final = "for each sample: this device's mean power over the window x its length / samples of the window"


@dataclass(frozen=True)
class Energy:
    """What one device drew; None where not known.

    Attributes:
        joules: over the stretch.
        covered_ns: of the stretch, how much lies between readings.
        mean, busy, idle: power, watts.
    """

    joules: float
    covered_ns: int
    mean: float | None
    busy: float | None
    idle: float | None


def trapezoid(times_ns: IntArray, watts: FloatArray, *, lo_ns: int, hi_ns: int) -> tuple[float, int]:
    """(joules in [lo, hi), ns of it between the first and the last reading), power linear between readings in order."""
    lo, hi = max(lo_ns, int(times_ns[0])), min(hi_ns, int(times_ns[-1]))
    if hi <= lo:
        return 0.0, 0
    inside = (times_ns > lo) & (times_ns < hi)
    seconds = np.concatenate(([0], times_ns[inside] - lo, [hi - lo])) / units.NS_PER_S
    base = times_ns[0]
    edges = np.interp(np.array([lo - base, hi - base], dtype=np.float64), (times_ns - base).astype(np.float64), watts)
    power = np.concatenate((edges[:1], watts[inside], edges[1:]))
    return float(((power[1:] + power[:-1]) / 2 * np.diff(seconds)).sum()), hi - lo


def summed_periods(
    starts_ns: IntArray, periods_ns: IntArray, watts: FloatArray, *, lo_ns: int, hi_ns: int
) -> tuple[float, int]:
    """(joules in [lo, hi), ns of it in the periods), each reading being the mean power of its period."""
    lengths = np.minimum(starts_ns + periods_ns, hi_ns) - np.maximum(starts_ns, lo_ns)
    lengths = np.maximum(lengths, 0)
    return float((watts * lengths).sum()) / units.NS_PER_S, int(lengths.sum())


def joules_per(watts: float | None, log: Profile) -> dict[str, float | None]:
    """Energy for each sample, second of audio and padded second of a run whose log this is: mean power over its rate.

    Blind spot: power and rate are means of two stretches, the sampler's window and the log's; they must be of one run.
    """
    rates = throughput.throughput(log)
    return {PER[name.removesuffix("_per_s")]: ratio(watts, rate) for name, rate in rates.items()}


def energy_table(profile: Profile) -> Answer:
    """Energy and power of each device, in the window that the program marked, else over the whole file.

    Blind spots: the board's power, memory and fans included, as its own sensor has it (5 % or so; on many products a
    mean over one second, so that what is shorter is smeared); what the host draws is not in it.

    Where the sidecar tells what the window's iterations were (``work``), the energy for each sample, second of audio
    and padded second stands beside it: mean power x length of the window / their number, for each device by itself.

    Raises:
        MissingDataError: no readings of power with times.
    """
    table = profile.table("samples")
    window = samples.window(profile)
    rows = []
    for metric, device, chosen in _readings(table):
        own = table.take(chosen)
        lo, hi = (window.start_ns, window.stop_ns) if window is not None else _covered(own)
        found = _energy(table, own, device, lo_ns=lo, hi_ns=hi)
        if found.covered_ns:
            row = _row(found, metric, device, readings=len(own))
            rows.append({**row, **_for_each(profile, found, window)})
    if not rows:
        raise MissingDataError(
            f"{profile.meta.file}: no two readings of a device's power with times; record: ds2prof run smi -- COMMAND"
        )
    columns: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    return Answer(BY, columns, (*_NOTES, _PER_NOTE) if set(PER.values()) & set(columns) else _NOTES)


def _for_each(profile: Profile, found: Energy, window: TimeWindow | None) -> dict[str, float | None]:
    """Energy of the window for each of what its iterations counted, as far as the sidecar tells."""
    work = (profile.meta.run or {}).get("work")
    if window is None or found.mean is None or not isinstance(work, Mapping):
        return {}
    joules = found.mean * window.length_ns / units.NS_PER_S
    counts = {name: work.get(name) for name in PER}
    known = {name: count for name, count in counts.items() if isinstance(count, (int, float))}
    return {PER[name]: ratio(joules, count) for name, count in known.items()}


def _row(found: Energy, metric: str, device: int | None, *, readings: int) -> dict[str, Any]:
    return {
        "device": device,
        "metric": metric,
        "readings": readings,
        "covered_ns": found.covered_ns,
        "energy_joule": found.joules,
        "mean_watt": found.mean,
        "busy_watt": found.busy,
        "idle_watt": found.idle,
    }


def _readings(table: Table) -> list[tuple[str, int | None, BoolArray]]:
    """(metric, device, its readings) of each device that has readings of power, of the best metric that it has."""
    whole = table["start_ns"].present & table["value"].present & ~table["entity"].present
    whole = whole & text_mask(table, "unit", "watt") & ~table["launch"].present
    devices = table["device"]
    keys = np.where(devices.present, table.ints("device"), -1)
    found: list[tuple[str, int | None, BoolArray]] = []
    for key in np.unique(keys[whole]).tolist():
        own = whole & (keys == key)
        for metric in POWER:
            chosen = own & text_mask(table, "metric", metric)
            if chosen.any():
                found.append((metric, None if key < 0 else key, chosen))
                break
    return found


def _covered(own: Table) -> tuple[int, int]:
    starts = own.ints("start_ns")
    return int(starts.min()), int((starts + own.ints("period_ns")).max())


def _energy(table: Table, own: Table, device: int | None, *, lo_ns: int, hi_ns: int) -> Energy:
    order = np.argsort(own.ints("start_ns"), kind="stable")
    own = own.take(order)
    starts, watts = own.ints("start_ns"), own["value"].values
    if own["period_ns"].present.all() and text_mask(own, "aggregation", "mean").all():
        joules, covered_ns = summed_periods(starts, own.ints("period_ns"), watts, lo_ns=lo_ns, hi_ns=hi_ns)
    else:
        joules, covered_ns = trapezoid(starts, watts, lo_ns=lo_ns, hi_ns=hi_ns)
    inside = (starts >= lo_ns) & (starts <= hi_ns)
    busy = _busy(table, device, starts)
    return Energy(
        joules=joules,
        covered_ns=covered_ns,
        mean=ratio(joules * units.NS_PER_S, covered_ns),
        busy=_mean(watts[inside & (busy > 0)]),
        idle=_mean(watts[inside & (busy == 0)]),
    )


def _busy(table: Table, device: int | None, times_ns: IntArray) -> FloatArray:
    """The driver's utilization read last at each time; NaN before the first reading and where there is none."""
    known = text_mask(table, "metric", *UTILIZATION) & table["start_ns"].present & table["value"].present
    known &= (table.ints("device", null=-1) == (-1 if device is None else device)) & ~table["entity"].present
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(table.ints("start_ns")[rows], kind="stable")]
    place = np.searchsorted(table.ints("start_ns")[rows], times_ns, side="right") - 1
    if not len(rows):
        return np.full(len(times_ns), np.nan)
    return np.where(place >= 0, table["value"].values[rows[place]], np.nan)


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
