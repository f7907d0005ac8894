"""The spread of iterations: how long each took, which of them count, and what is known of their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ds2prof import units
from ds2prof.analysis.uncertainty.iterations import Iterations, iterations_of, made_how
from ds2prof.errors import MissingDataError
from ds2prof.report.figures.canvas import canvas, finished, legend, plain, source, time_scale
from ds2prof.report.style import Theme, colour
from ds2prof.tables import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def iteration_times(profile: Profile, ax: Axes | Figure | None = None, *, theme: Theme = "light") -> Axes:
    """A point for each iteration's time on the host, with the mean of those that count, with its interval.

    Warm-up and what lies outside of the fenced stretch are hollow, outliers are marked.

    Raises:
        MissingDataError: the file has no iterations with times.
    """
    found = iterations_of(profile)
    if found is None or not np.isfinite(found.times_ns).any():
        raise MissingDataError(
            f"{profile.meta.file}: no iterations with times; iterations are 'ProfilerStep#N' or "
            "'ds2prof:iteration:N' ranges"
        )
    places = np.arange(len(found.keys))
    unit, step = time_scale(float(np.nanmax(found.times_ns)))
    times = found.times_ns / step
    with canvas(ax, height_inches=4.2, theme=theme) as drawn:
        entries = [_points(drawn, places, times, found, theme=theme)]
        entries += _left_out(drawn, places, times, found, theme=theme)
        entries += _mean(drawn, found, step, theme=theme)
        entries += _odd(drawn, times, found, theme=theme)
        legend(drawn, entries)
        ticks = np.unique(np.linspace(0, len(places) - 1, min(len(places), 12)).astype(np.int64)).tolist()
        drawn.set_xticks(ticks, [plain(str(found.keys[place]), 12) for place in ticks])
        drawn.set_ylim(0, 1.08 * float(np.nanmax(times)))
        said = made_how(found) if found.counted.any() else "no iteration counts"
        warm = found.warm.said(found.keys)
        return finished(
            drawn,
            title="Iterations",
            x="iteration",
            y=f"time on the host ({unit})",
            said=f"{said}. {warm}".strip(),
            note=f"{source(profile.meta.file)}: {said}{f'; {warm}' if warm else ''}",
        )


def _points(ax: Axes, places: Any, times: Any, found: Iterations, *, theme: Theme) -> Any:
    kept = found.counted
    line = ax.plot(places[kept], times[kept], "o", color=colour("series_1", theme), zorder=3)[0]
    line.set_label(f"{int(kept.sum())} that count")
    return line


def _left_out(ax: Axes, places: Any, times: Any, found: Iterations, *, theme: Theme) -> list[Any]:
    rest = ~found.counted & np.isfinite(times)
    if not rest.any():
        return []
    hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": colour("ink_soft", theme)}
    line = ax.plot(places[rest], times[rest], "o", linestyle="none", zorder=3, **hollow)[0]
    line.set_label(f"{int(rest.sum())} left out (warm-up)" if found.warm.count else f"{int(rest.sum())} left out")
    return [line]


def _mean(ax: Axes, found: Iterations, step: int, *, theme: Theme) -> list[Any]:
    """The mean as a line, its interval (or the range of few iterations) as a band."""
    if not found.counted.any():
        return []
    mean = found.mean()
    if mean.value is None:
        return []
    entries: list[Any] = [
        ax.axhline(mean.value / step, color=colour("accent", theme), label=f"mean {units.format_ns_short(mean.value)}")
    ]
    if mean.low is not None and mean.high is not None:
        what = f"{units.format_ratio(mean.level, digits=0)} interval" if mean.kind == "interval" else "range"
        band = ax.axhspan(
            mean.low / step,
            mean.high / step,
            facecolor=colour("accent", theme),
            edgecolor="none",
            alpha=0.22,
            zorder=1,
            label=f"{what} of the mean" if mean.kind == "interval" else "least to greatest",
        )
        entries.append(band)
    return entries


def _odd(ax: Axes, times: Any, found: Iterations, *, theme: Theme) -> list[Any]:
    odd = found.outliers()
    if not odd:
        return []
    rows = np.flatnonzero(found.counted)
    numbers = {found.keys[row]: row for row in rows.tolist()}
    places = [numbers[key] for key, _ in odd]
    mark = ax.plot(
        places,
        times[places],
        "D",
        linestyle="none",
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=colour("bad", theme),
        markeredgewidth=1.5,
        zorder=4,
    )[0]
    mark.set_label("outlier" if len(odd) == 1 else f"{len(odd)} outliers")
    return [mark]
