"""Figures over several measurements: throughput and core utilization by batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import core
from ds2prof.analysis.sweep import BATCH, PROFILED, RATE, Measurement, fits, measured, sweep, value_of
from ds2prof.analysis.sweep_figures import Figure as Rate
from ds2prof.analysis.sweep_fit import Fit, Saturation
from ds2prof.errors import MissingDataError
from ds2prof.report.figures.canvas import canvas, finished, legend, listed, plain, source
from ds2prof.report.style import DASHES, MARKERS, Theme, colour, role_of, series
from ds2prof.tables import Profile
from ds2prof.units import NS_PER_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEYOND: Final = 1.25
"""How far behind the greatest batch the curve is drawn."""


@dataclass(frozen=True)
class Line:
    """The throughputs of one series of measurements, as ``ds2prof sweep`` has them, and the curve through them.

    Attributes:
        label: what tells it from other series: preset, precision, device, as far as they vary.
        batches: samples in a step, of each point.
        rates: samples per second, with bounds where iterations tell them.
        is_profiled: the rates are batch / step time beneath a profiler, for want of run logs.
        fit: the curve of saturation, or why there is none.
    """

    label: str
    batches: Sequence[int]
    rates: Sequence[Rate]
    is_profiled: bool
    fit: Fit


def batch_of(profile: Profile) -> int | None:
    """The batch size: as the sidecar or the file itself states it, else of the measurement's name; None if neither."""
    stated = value_of(profile.meta, BATCH)
    return stated if isinstance(stated, int) and stated > 0 else None


def lines(profiles: Sequence[Profile]) -> list[Line]:
    """The series of the profiles that have a batch size and a rate.

    Of a series the run logs alone are taken, which no profiler slowed, unless profiled steps tell of more batches.
    """
    chosen = [one for profile in profiles if batch_of(profile) and (one := measured(profile, BATCH)) is not None]
    if not chosen:
        return []
    found = sweep(chosen, BATCH)
    made = []
    for told, fit in fits(found):
        series = tuple(told.values())
        some = [(batch, each) for (own, batch), here in found.points.items() if own == series for each in here]
        logged, profiled = (_rates(some, name) for name in (RATE, PROFILED + RATE))
        is_profiled = len({batch for batch, _ in logged}) < len({batch for batch, _ in profiled})
        rates = profiled if is_profiled else logged
        label = " ".join("not stated" if value is None else str(value) for value in series)
        if rates:
            made.append(Line(label, [batch for batch, _ in rates], [rate for _, rate in rates], is_profiled, fit))
    return made


def _rates(some: Sequence[tuple[Any, Measurement]], name: str) -> list[tuple[int, Rate]]:
    return [(batch, each.figures[name]) for batch, each in some if name in each.figures and isinstance(batch, int)]


def throughput_by_batch(
    profiles: Profile | Sequence[Profile], ax: Axes | Figure | None = None, *, theme: Theme = "light"
) -> Axes:
    """Samples per second by batch size, with the curve of saturation that fits them and its knee.

    The model is a fixed cost of each step and a cost of each sample (:mod:`ds2prof.analysis.sweep_fit`); the figure
    states it, its miss and the knee's interval, or why there is no curve.

    Raises:
        MissingDataError: none of the measurements has both a batch size and a throughput.
    """
    profiles = [profiles] if isinstance(profiles, Profile) else profiles
    found = lines(profiles)
    if not found:
        raise MissingDataError(
            f"{_files(profiles)}: no throughput by batch; give run logs (run_bs*.jsonl), or timelines with "
            "iterations, of several batch sizes"
        )
    with canvas(ax, height_inches=4.6, theme=theme) as drawn:
        entries: list[Any] = []
        for number, line in enumerate(found):
            entries += _series(drawn, line, number, theme=theme)
        drawn.margins(0.1)
        drawn.set_ylim(bottom=0)
        drawn.set_xlim(left=0)
        drawn.grid(visible=True, axis="y")
        legend(drawn, entries)
        told = " ".join(
            f"{plain(line.label)}: {fit_text(line.fit)}" if line.label else fit_text(line.fit) for line in found
        )
        how = " Profiled: batch / step time beneath a profiler." if any(line.is_profiled for line in found) else ""
        rates = [
            f"{line.label} batch {batch} {rate.value:.4g}/s".strip()
            for line in found
            for batch, rate in zip(line.batches, line.rates, strict=True)
        ]
        return finished(
            drawn,
            title="Throughput by batch size",
            x="batch size (samples in a step)",
            y="throughput (samples/s)",
            said=f"{listed(rates, most=12)}. {told}",
            note=f"{told}{how}",
        )


def fit_text(fit: Fit) -> str:
    """The fit in words: model, knee with its interval, miss; or why there is none."""
    if fit.curve is None:
        return f"No curve: {fit.reason}."
    curve = fit.curve
    model = (
        f"Model: step = {units.format_ns_short(curve.fixed_s * NS_PER_S)} + "
        f"{units.format_ns_short(curve.per_sample_s * NS_PER_S)} x batch"
    )
    bounds = f"{units.format_ratio(curve.level, digits=0)} interval"
    if curve.knee_low is None or curve.knee_high is None:
        knee = f"knee at batch {curve.knee_batch:.3g}, not bounded by these points"
    else:
        knee = f"knee at batch {curve.knee_batch:.3g} ({curve.knee_low:.3g} to {curve.knee_high:.3g}, {bounds})"
    high = "no bound" if curve.max_high_per_s is None else f"{curve.max_high_per_s:.4g}"
    most = f"at most {curve.max_per_s:.4g} samples/s ({curve.max_low_per_s:.4g} to {high})"
    reached = f"{units.format_ratio(curve.reached, digits=0)} of it at the greatest batch"
    miss = f"residual {units.format_ratio(curve.miss, digits=1)} of the step time over {curve.points} points"
    return f"{model}; {knee}; {most}, {reached}; {miss}."


def _series(ax: Axes, line: Line, number: int, *, theme: Theme) -> list[Any]:
    """The points, their bounds as uprights, and the curve."""
    tone = colour(series(number), theme)
    marks = ax.plot(
        line.batches,
        [rate.value for rate in line.rates],
        MARKERS[number % len(MARKERS)],
        linestyle="none",
        color=tone,
        markeredgecolor=colour("outline", theme),
        markersize=7,
        zorder=4,
    )[0]
    marks.set_label(
        " ".join(part for part in (plain(line.label), "profiled" if line.is_profiled else "measured") if part)
    )
    bounded = [(batch, rate) for batch, rate in zip(line.batches, line.rates, strict=True) if rate.low is not None]
    if bounded:
        lows, highs = ([getattr(rate, end) for _, rate in bounded] for end in ("low", "high"))
        ax.vlines([batch for batch, _ in bounded], lows, highs, color=colour("ink", theme), linewidth=1.2, zorder=5)
    if line.fit.curve is None:
        return [marks]
    return [marks, *_curve(ax, line.fit.curve, max(line.batches), number, theme=theme)]


def _curve(ax: Axes, curve: Saturation, greatest: int, number: int, *, theme: Theme) -> list[Any]:
    """The curve, its limit, and the knee with its interval."""
    tone, accent = colour(series(number), theme), colour("accent", theme)
    reach = _BEYOND * max(float(greatest), curve.knee_batch if curve.knee_batch < 2 * greatest else 0.0)
    sizes = np.linspace(0, reach, 200)
    line = ax.plot(sizes, curve.samples_per_s(sizes), color=tone, linestyle=DASHES[number % len(DASHES)], zorder=3)[0]
    line.set_label("fitted curve")
    entries: list[Any] = [line]
    if curve.reached > 0.5:  # else the limit is an extrapolation that would squeeze the measurements
        limit = ax.axhline(curve.max_per_s, color=tone, linestyle=":", linewidth=1.0, zorder=2)
        limit.set_label(f"limit {curve.max_per_s:.4g}/s")
        entries.append(limit)
    if curve.knee_batch > reach:
        return entries
    knee = ax.axvline(curve.knee_batch, color=accent, linestyle="--", linewidth=1.2, zorder=2)
    knee.set_label(f"knee, batch {curve.knee_batch:.3g}")
    entries.append(knee)
    if curve.knee_low is not None and curve.knee_high is not None:
        bounds: dict[str, Any] = {
            "facecolor": accent,
            "edgecolor": "none",
            "alpha": 0.15,
            "label": "its interval",
            "zorder": 1,
        }
        entries.append(ax.axvspan(curve.knee_low, min(curve.knee_high, reach), **bounds))
    ax.set_xlim(right=reach)
    return entries


def core_by_batch(
    profiles: Profile | Sequence[Profile], ax: Axes | Figure | None = None, *, theme: Theme = "light"
) -> Axes:
    """Core utilization while kernels ran, by batch size: a line for each pipe, in percent of its own peak.

    Several measurements (or devices) of one batch are points on one upright; the line goes through their mean.

    Raises:
        MissingDataError: none of the measurements has both pipe counters and a batch size.
    """
    profiles = [profiles] if isinstance(profiles, Profile) else profiles
    found = _pipe_points(profiles)
    if not found:
        raise MissingDataError(
            f"{_files(profiles)}: no core utilization by batch; give measurements with pipe counters (ncu) of several "
            "batch sizes, named nsight_bs<N>.csv or with their sidecar"
        )
    batches = sorted({batch for by_batch in found.values() for batch in by_batch})
    place_of = {batch: place for place, batch in enumerate(batches)}
    with canvas(ax, height_inches=4.4, theme=theme) as drawn:
        told = []
        for number, (pipe, by_batch) in enumerate(found.items()):
            tone = colour(role_of("pipe", pipe), theme)
            means = {batch: float(np.mean(values)) for batch, values in sorted(by_batch.items())}
            places = [place_of[batch] for batch in means]
            drawn.plot(
                places,
                [100 * mean for mean in means.values()],
                marker=MARKERS[number % len(MARKERS)],
                linestyle=DASHES[number // len(MARKERS) % len(DASHES)],
                color=tone,
                markeredgecolor=colour("outline", theme),
                markersize=6.5,
                label=pipe,
            )
            each = [
                (place_of[batch], 100 * value)
                for batch, values in by_batch.items()
                if len(values) > 1
                for value in values
            ]
            if each:
                drawn.plot(*zip(*each, strict=True), "_", linestyle="none", color=tone, markersize=8)
            told.append(f"{pipe} " + ", ".join(f"{100 * mean:.1f} % at {batch}" for batch, mean in means.items()))
        drawn.set_xticks(range(len(batches)), [str(batch) for batch in batches])
        drawn.set_ylim(bottom=0)
        drawn.margins(x=0.06)
        drawn.grid(visible=True, axis="y")
        legend(drawn, drawn.get_legend_handles_labels()[0], title="pipe")
        return finished(
            drawn,
            title="Core utilization while kernels ran, by batch size",
            x="batch size (samples in a step)",
            y="share of each pipe's own peak (%)",
            said=listed(told, most=9),
            note=f"{_files(profiles)}: weighted by cycles; counters are read while launches are replayed.",
        )


def _pipe_points(profiles: Sequence[Profile]) -> Mapping[str, dict[int, list[float]]]:
    """Pipe -> batch -> the utilizations, in the order of the pipes."""
    found: dict[str, dict[int, list[float]]] = {}
    for profile in profiles:
        batch = batch_of(profile)
        if batch is None or not core.has_counters(profile):
            continue
        for row in core.core_utilization(profile).rows():
            if row["utilization"] is not None:
                found.setdefault(row["pipe"], {}).setdefault(batch, []).append(row["utilization"])
    return {pipe: found[pipe] for pipe in core.PIPES if pipe in found}


def _files(profiles: Sequence[Profile]) -> str:
    names = [source(profile.meta.file) for profile in profiles]
    return names[0] if len(names) == 1 else f"{names[0] if names else 'no file'} and {len(names) - 1} more"
