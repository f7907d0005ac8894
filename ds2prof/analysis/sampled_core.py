"""Effective utilization of each pipe from counters that were sampled over real time, the whole device together.

Nsight Systems' GPU metrics, CUPTI's samples in a PyTorch trace and DCGM read at a fixed rate what share of the cycles a
pipe worked, whatever ran: the mean over the window is the device's effective utilization, idle time included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ds2prof import counters, units
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.windows import TimeWindow, text_mask, time_window
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile, Table

TABLES: Final = ("samples", "devices")
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "fma": ("DCGM_FI_PROF_PIPE_FP32_ACTIVE", "FP32A"),
    "fp16": ("DCGM_FI_PROF_PIPE_FP16_ACTIVE", "FP16A"),
    "fp64": ("DCGM_FI_PROF_PIPE_FP64_ACTIVE", "FP64A"),
    "tensor": ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "TENSO", "Tensor Active [Throughput %]"),
}
"""Pipe -> what samplers call its share of cycles; names of Nsight Compute are chosen as those of launches are.

Nsight Systems' "Tensor Active / FP16 Active" of Turing is no share of one pipe, and stands for none.
"""
_GAP: Final = 2
"""A reading stands for the time until the next one, at most so many usual periods: behind that nothing was read."""
_COLUMNS: Final = ("device", "pipe", "utilization", "effective_utilization", "coverage", "readings", "metric")


def has_pipe_samples(profile: Profile) -> bool:
    """Whether the file has sampled shares of a pipe's cycles, of devices and not of single launches."""
    return bool(_chosen(profile))


def sampled_utilization(profile: Profile) -> Answer:
    """Effective utilization of each pipe per device: the mean of its sampled share over the window, by time.

    Formula: sum(share x time it stands for) / sum(time), a reading standing for the time until the next, cut at the
    edges of W; ``coverage`` is that time over W. Without times each reading counts once and coverage is unknown.
    ``utilization`` (while kernels ran) is not known from samples. Blind spot: whatever else ran on the device counts,
    and shorter events than the period are only seen on average.

    Raises:
        MissingDataError: the file has no such samples.
    """
    chosen = _chosen(profile)
    if not chosen:
        raise MissingDataError(f"{profile.meta.file}: no sampled share of any pipe in this file; drop --by core")
    window = time_window(profile)
    samples = profile.table("samples")
    rows: list[tuple[Any, ...]] = []
    periods: dict[int, None] = {}
    for pipe, metric in chosen.items():
        of_metric = np.flatnonzero(text_mask(samples, "metric", metric) & ~samples["launch"].present)
        for device in sorted(set(samples["device"].take(of_metric).tolist()), key=lambda at: (at is None, at or 0)):
            readings = samples.take(of_metric[_of_device(samples, of_metric, device)])
            mean, coverage, count, period_ns = _mean(readings, window)
            rows.append((device, pipe, None, mean, coverage, count, metric))
            periods |= {period_ns: None} if period_ns else {}
    rows.sort(key=lambda row: (row[0] is None, row[0] or 0))
    return Answer("core", dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)), _notes(window, periods))


def _notes(window: TimeWindow | None, periods: Mapping[int, None]) -> tuple[str, ...]:
    rate = f", a reading every {' or '.join(units.format_ns(period) for period in periods)}" if periods else ""
    over = f"the window ({window.source}, {units.format_ns(window.length_ns)})" if window else "all readings"
    return (
        f"sampled over real time{rate}: effective is the mean over {over}, whatever ran on the device; no utilization "
        "while busy, which needs counters of single launches",
    )


def _chosen(profile: Profile) -> dict[str, str]:
    """Pipe -> the one metric of the file's samples that stands for it."""
    samples = profile.table("samples")
    if not len(samples):
        return {}
    shares = text_mask(samples, "unit", "ratio") & ~samples["launch"].present & samples["value"].present
    used = np.unique(samples["metric"].values[shares]).tolist()
    held = [(samples["metric"].categories or ())[code] for code in used]
    found: dict[str, str] = {}
    for pipe in counters.PIPES:
        choice = counters.choose(pipe, held)
        named = next((name for name in _NAMES.get(pipe, ()) if name in held), None)
        metric = choice.metric if choice is not None and not choice.needs_active_conversion else named
        if metric is not None:
            found[pipe] = metric
    return found


def _of_device(samples: Table, rows: IntArray, device: int | None) -> Any:
    column = samples["device"].take(rows)
    return column.present & (column.values == device) if device is not None else ~column.present


def _mean(readings: Table, window: TimeWindow | None) -> tuple[float | None, float | None, int, int | None]:
    """(mean by time, coverage of the window, readings that count, usual period) of one device's readings."""
    values, starts = readings["value"].values, readings["start_ns"]
    known = ~np.isnan(values)
    if not starts.present.all() or len(values) < 2:
        return (float(values[known].mean()) if known.any() else None), None, int(known.sum()), None
    order = np.argsort(starts.values, kind="stable")
    begins, values = starts.values[order], values[order]
    period_ns = _period(readings, begins)
    ends = np.minimum(np.append(begins[1:], begins[-1] + period_ns), begins + _GAP * period_ns)
    lo, hi = (window.start_ns, window.stop_ns) if window is not None else (int(begins[0]), int(ends[-1]))
    weights: FloatArray = np.maximum(np.minimum(ends, hi) - np.maximum(begins, lo), 0).astype(np.float64)
    weights[np.isnan(values)] = 0.0
    whole = float(weights.sum())
    mean = float((np.nan_to_num(values) * weights).sum()) / whole if whole else None
    return mean, ratio(whole, hi - lo), int((weights > 0).sum()), period_ns


def _period(readings: Table, begins: IntArray) -> int:
    """The period of the sampling: as stated, else the usual distance of two readings."""
    stated = readings["period_ns"]
    if stated.present.all() and len(stated):
        return int(np.median(stated.values))
    return int(np.median(np.diff(begins)))
