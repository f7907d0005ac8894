"""Figures of kernels, pipes and phases: bars, the longest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from ds2prof import units
from ds2prof.analysis import core, kernels, phases
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.roofline import tables as roofline
from ds2prof.report.figures.canvas import (
    bars,
    canvas,
    distinct,
    finished,
    legend,
    listed,
    plain,
    rows_inches,
    source,
    swatch,
    time_scale,
)
from ds2prof.report.style import Theme, colour, role_of
from ds2prof.tables import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_SHARE: Final = 0.0005
"""What is less would read as 0.0 %."""
_REPLAY: Final = "Counters are read while launches are replayed; idle time does not enter."


def kernel_times(
    profile: Profile, ax: Axes | Figure | None = None, *, by: str = "name", top: int = 15, theme: Theme = "light"
) -> Axes:
    """Bars of the ``top`` kernels (operators of a CPU run) by exclusive time, coloured by class.

    Args:
        profile: the measurement.
        ax: axes to draw on, an empty figure to fill, or None for a new one of pyplot's.
        by: ``name``, ``kernel`` (the full name) or ``class``.
        top: how many bars.
        theme: ``light`` or ``dark``.
    """
    whole = kernels.kernel_times(profile, by)
    answer = whole.head(top)
    is_exclusive = any(answer.columns["excl_ns"])
    times_ns = [time or 0 for time in answer.columns["excl_ns" if is_exclusive else "dur_ns"]]
    classes = answer.columns.get("class", answer.columns["name"])
    roles = [role_of("class", name) for name in classes]
    what = "Host operators" if profile.meta.domain == "cpu" else "Kernels"
    unit, step = time_scale(max(times_ns, default=0))
    with canvas(ax, height_inches=rows_inches(len(answer)), theme=theme) as drawn:
        labels = distinct(answer.columns["name"])
        made = bars(drawn, labels, [time / step for time in times_ns], roles, theme=theme)
        drawn.bar_label(made, [_share(share) for share in answer.columns["share"]], padding=3, fontsize="small")
        drawn.margins(x=0.12)
        if "class" in answer.columns:
            legend(drawn, [swatch(role_of("class", name), plain(name), theme) for name in dict.fromkeys(classes)])
        shown = f"the first {len(answer)} of {len(whole)}; percentages" if len(whole) > len(answer) else "percentages"
        return finished(
            drawn,
            title=f"{what} by {by}",
            x=f"exclusive time ({unit})" if is_exclusive else f"time ({unit})",
            said=_longest(answer, times_ns),
            note=f"{source(profile.meta.file)}: {shown} are of "
            + ("the busy time, concurrent time shared out." if is_exclusive else "the time of all kernels."),
        )


def _share(share: float | None) -> str:
    if share is None:
        return ""
    return "< 0.1 %" if 0 < share < _LEAST_SHARE else units.format_ratio(share, digits=1)


def _longest(answer: Answer, times_ns: Sequence[int]) -> str:
    names = zip(answer.columns["name"], times_ns, strict=True)
    return "Longest first: " + listed([f"{plain(str(name))} {units.format_ns_short(time)}" for name, time in names])


def kernel_utilization(
    profile: Profile,
    ax: Axes | Figure | None = None,
    *,
    pipe: str | None = None,
    top: int = 15,
    theme: Theme = "light",
) -> Axes:
    """Bars of the ``top`` longest kernels by utilization of one pipe, in percent; the mean of all as a line.

    ``pipe`` is the busiest of the file where none is named. Blind spot: counters are read under replay.

    Raises:
        MissingDataError: the file holds no pipe counters.
    """
    found = core.core_utilization(profile).rows()
    means = {row["pipe"]: row["utilization"] for row in found}
    metrics = {row["pipe"]: row["metric"] for row in found}
    chosen = pipe or max(means, key=lambda name: means[name] or 0.0)
    answer = kernels.kernel_times(profile).head(top)
    values = answer.columns[chosen]
    order = "longest kernels" if any(answer.columns["dur_ns"]) else "most launched kernels"
    labels = [
        f"{label} (unknown)" if value is None else label
        for label, value in zip(distinct(answer.columns["name"]), values, strict=True)
    ]
    with canvas(ax, height_inches=rows_inches(len(answer)), theme=theme) as drawn:
        roles = [role_of("pipe", chosen)] * len(labels)
        bars(drawn, labels, [100 * (value or 0.0) for value in values], roles, theme=theme)
        mean = means[chosen]
        if mean is not None:
            label = f"all kernels: {100 * mean:.1f} %"
            line = drawn.axvline(100 * mean, color=colour("accent", theme), linestyle="--", label=label)
            legend(drawn, [line])
        drawn.set_xlim(left=0)
        known = [(name, value) for name, value in zip(answer.columns["name"], values, strict=True) if value is not None]
        return finished(
            drawn,
            title=f"Utilization of the {chosen} pipe, {order} first",
            x="share of the pipe's peak while the kernel runs (%)",
            said=listed([f"{plain(str(name))} {units.format_ratio(value, digits=1)}" for name, value in known]),
            note=f"{source(profile.meta.file)}: {metrics[chosen]}. {_REPLAY}",
        )


def core_utilization(profile: Profile, ax: Axes | Figure | None = None, *, theme: Theme = "light") -> Axes:
    """Bars of each pipe's utilization while kernels ran, in percent; a pipe that nothing is known of is marked.

    Raises:
        MissingDataError: the file holds no pipe counters.
    """
    rows = core.core_utilization(profile).rows()
    many = len({row["device"] for row in rows}) > 1
    labels = [f"{row['pipe']} ({row['device']})" if many else row["pipe"] for row in rows]
    values = [row["utilization"] for row in rows]
    with canvas(ax, height_inches=rows_inches(len(rows)), theme=theme) as drawn:
        roles = [role_of("pipe", row["pipe"]) for row in rows]
        made = bars(drawn, labels, [100 * (value or 0.0) for value in values], roles, theme=theme)
        drawn.bar_label(
            made,
            ["unknown" if value is None else units.format_ratio(value, digits=1) for value in values],
            padding=3,
            fontsize="small",
        )
        drawn.set_xlim(0, max([1.0, *(110 * (value or 0.0) for value in values)]))
        told = [f"{label} {units.format_ratio(value, digits=1)}" for label, value in zip(labels, values, strict=True)]
        return finished(
            drawn,
            title="Core utilization while kernels ran",
            x="share of each pipe's own peak, weighted by cycles (%)",
            said=listed(told, most=12),
            note=f"{source(profile.meta.file)}: {_REPLAY}",
        )


def phase_times(
    profile: Profile,
    ax: Axes | Figure | None = None,
    *,
    by: Literal["phase", "layer", "iteration"] = "phase",
    top: int = 30,
    theme: Theme = "light",
) -> Axes:
    """Bars of the time by phase (or ``layer``, ``iteration``); of more than ``top`` layers the longest.

    Raises:
        MissingDataError: the file holds no such ranges.
    """
    answer = phases.range_times(profile, by)
    places = list(range(len(answer)))
    times = [(time or 0) for time in answer.columns["excl_ns"]]
    if len(places) > top:
        places = sorted(sorted(places, key=lambda place: -times[place])[:top])
    keys = [answer.columns[by][place] for place in places]
    labels = [f"(outside any {by})" if key is None else plain(str(key)) for key in keys]
    unit, step = time_scale(max(times, default=0))
    with canvas(ax, height_inches=rows_inches(len(places)), theme=theme) as drawn:
        roles = [role_of("phase", str(key)) if by == "phase" else "series_1" for key in keys]
        made = bars(drawn, labels, [times[place] / step for place in places], roles, theme=theme)
        shares = [answer.columns["share"][place] for place in places]
        drawn.bar_label(made, [_share(share) for share in shares], padding=3, fontsize="small")
        drawn.margins(x=0.12)
        drawn.set_xlim(left=0)
        what = "Host time" if profile.meta.domain == "cpu" else "Kernel time"
        cut = "" if len(places) == len(answer) else f" The longest {len(places)} of {len(answer)}."
        told = [f"{label} {units.format_ns_short(times[place])}" for label, place in zip(labels, places, strict=True)]
        return finished(
            drawn,
            title=f"{what} by {by}",
            x=f"exclusive time ({unit})",
            said=listed(told, most=12),
            note=f"{source(profile.meta.file)}: a kernel belongs to the {by} that launched it; percentages are of the "
            f"busy time.{cut}",
        )


def gains(profile: Profile, ax: Axes | Figure | None = None, *, top: int = 12, theme: Theme = "light") -> Axes:
    """Bars of what there is to gain by kernel name: exclusive time less the time at the roof.

    Blind spot: the roof knows no latency and no cache, so that tiny kernels never reach it.

    Raises:
        MissingDataError: the work of the kernels or the peak of the device is not known.
    """
    rows = [row for row in roofline.gains(profile).rows() if row["group"] == "name"][:top]
    unit, step = time_scale(max((row["excl_ns"] for row in rows), default=0))
    with canvas(ax, height_inches=rows_inches(len(rows)), theme=theme) as drawn:
        labels = distinct([row["name"] for row in rows])
        at_roof = [(row["attainable_ns"] or 0) / step for row in rows]
        gain = [row["gain_ns"] / step for row in rows]
        outline = colour("outline", theme)
        drawn.barh(labels, at_roof, color=colour("series_1", theme), edgecolor=outline, label="time at its roof")
        drawn.barh(
            labels, gain, left=at_roof, color=colour("series_5", theme), edgecolor=outline, label="to gain", hatch="///"
        )
        drawn.invert_yaxis()
        drawn.tick_params(axis="y", length=0)
        legend(drawn, drawn.get_legend_handles_labels()[0])
        told = [f"{label} {units.format_ns_short(row['gain_ns'])}" for label, row in zip(labels, rows, strict=True)]
        return finished(
            drawn,
            title="What there is to gain, by kernel",
            x=f"time ({unit})",
            said=listed(told),
            note=f"{source(profile.meta.file)}: time at the roof is max(FLOP / peak, bytes / bandwidth), which knows "
            "no latency.",
        )
