"""The page's drawings, made by matplotlib in the project's one style and turned into SVG for a page.

No name from a file is drawn as mathematics, and none is an id: marks are numbered, and what they tell stands beside
them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ds2prof import units
from ds2prof.analysis.host_timelines import CAUSES
from ds2prof.report import style
from ds2prof.report.html.model import Figure
from ds2prof.report.html.svg import ON, page_svg

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WIDTH_INCHES: Final = 8.6
MOST_MARKS: Final = 80
"""Points that tell what they are; the others of a figure are drawn and silent."""
_PERCENT: Final = 100.0
_CLOSE: Final = 0.6
"""Values that are all above this part of the greatest are drawn without the stretch from zero."""


@dataclass
class Sketch:
    """A drawing in the making: its figure, axes, and what its marks tell."""

    figure: Drawing
    axes: Axes
    tips: dict[str, str] = field(default_factory=dict)

    def tip(self, text: str) -> str:
        """The gid of a further mark, which tells ``text``."""
        gid = f"mark{len(self.tips)}"
        self.tips[gid] = text
        return gid


@contextmanager
def sketch(height_inches: float) -> Iterator[Sketch]:
    """An empty drawing in the style of the page."""
    from matplotlib import rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    with style.drawing():
        rcParams["text.parse_math"] = False
        figure = Drawing(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        FigureCanvasSVG(figure)
        yield Sketch(figure, figure.add_subplot())


def finished(drawn: Sketch, *, ident: str, caption: str, alt: str) -> Figure:
    """The drawing as a figure of the page."""
    text = io.StringIO()
    drawn.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    made = page_svg(text.getvalue(), ident=ident, title=alt, tips=drawn.tips)
    return Figure(ident, made, caption, alt, is_hovered=bool(drawn.tips))


def legend_below(drawn: Sketch, handles: Sequence[Artist], *, most: int) -> None:
    """A legend beneath the axes in ``most`` columns, or in as many as the drawing is wide enough for."""
    for columns in range(min(most, max(len(handles), 1)), 0, -1):
        legend = drawn.figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= drawn.figure.bbox.width:
            return
        legend.remove()


def ledger_bar(
    ident: str, rows: Sequence[tuple[str, Mapping[str, tuple[int, float]]]], *, titles: Mapping[str, str]
) -> Figure:
    """A bar for each device, its window split among the causes; together they are 100 %.

    Args:
        ident: unique on the page.
        rows: (label of the device, cause -> (ns, share)).
        titles: cause -> what it is called.
    """
    with sketch(1.35 + 0.38 * len(rows)) as drawn:
        ax = drawn.axes
        for place, (label, causes) in enumerate(rows):
            _stacked(drawn, place, label, causes, titles=titles)
        ax.set_yticks(range(len(rows)), [label for label, _ in rows])
        ax.invert_yaxis()
        ax.set_xlim(0, _PERCENT)
        ax.set_xlabel("share of the window (%)")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        used = [cause for cause in CAUSES if any(causes.get(cause, (0, 0.0))[0] for _, causes in rows)]
        _cause_legend(drawn, used, titles)
        parts = "; ".join(
            f"{label}: " + ", ".join(f"{titles[c]} {units.format_ratio(causes[c][1])}" for c in used if c in causes)
            for label, causes in rows
        )
        return finished(
            drawn,
            ident=ident,
            caption="Where the window went: every nanosecond once, 100 % in all",
            alt=f"Stacked bar of the window by cause. {parts}",
        )


def _stacked(
    drawn: Sketch, place: int, label: str, causes: Mapping[str, tuple[int, float]], *, titles: Mapping[str, str]
) -> None:
    left = 0.0
    for cause in CAUSES:
        dur_ns, share = causes.get(cause, (0, 0.0))
        if not dur_ns:
            continue
        width = _PERCENT * share
        told = f"{titles[cause]}: {units.format_ns_short(dur_ns)}, {units.format_ratio(share)} of the window ({label})"
        role = style.role_of("cause", cause)
        drawn.axes.barh(place, width, left=left, height=0.62, **_filled(role))[0].set_gid(drawn.tip(told))
        if width > 7:
            _label(drawn.axes, left + width / 2, place, f"{width:.0f} %", role)
        left += width


def _label(ax: Axes, x: float, y: float, text: str, role: str) -> None:
    """A text on a surface, in black or white, with a plate beneath it where the surface is hatched."""
    if role in style.HATCHES:
        plate = {"boxstyle": "round,pad=0.15", "facecolor": style.colour("background"), "edgecolor": "none"}
        ax.text(x, y, text, ha="center", va="center", color=style.colour("ink"), bbox=plate)
    else:
        ax.text(x, y, text, ha="center", va="center", gid=f"{ON}{role}")


def _filled(role: str) -> dict[str, Any]:
    return {"color": style.colour(role), "edgecolor": style.colour("outline"), "hatch": style.HATCHES.get(role, "")}


def _cause_legend(drawn: Sketch, causes: Sequence[str], titles: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor=style.colour(style.role_of("cause", cause)),
            edgecolor=style.colour("outline"),
            hatch=style.HATCHES.get(style.role_of("cause", cause), ""),
            label=titles[cause],
        )
        for cause in causes
    ]
    legend_below(drawn, handles, most=5)


def timeline_strip(
    ident: str,
    edges_ns: Sequence[float],
    parts: Mapping[str, Sequence[float]],
    *,
    titles: Mapping[str, str],
    label: str,
) -> Figure:
    """The window from left to right: in each slice how much was computing, exposed communication, exposed copy, idle.

    Args:
        ident: unique on the page.
        edges_ns: of the slices, from the start of the window.
        parts: cause -> share of each slice.
        titles: cause -> what it is called.
        label: whose window.
    """
    with sketch(1.75) as drawn:
        ax = drawn.axes
        step, unit = _time_unit(edges_ns[-1])
        edges = [edge / step for edge in edges_ns]
        below = [0.0] * (len(edges) - 1)
        for cause, shares in parts.items():
            above = [low + _PERCENT * share for low, share in zip(below, shares, strict=True)]
            ax.stairs(above, edges, baseline=below, fill=True, color=style.colour(style.role_of("cause", cause)), lw=0)
            below = above
        ax.set_xlim(edges[0], edges[-1])
        ax.set_ylim(0, _PERCENT)
        ax.set_ylabel("busy (%)")
        ax.set_xlabel(f"time since the start of the window ({unit})")
        if len(parts) > 1:
            _cause_legend(drawn, [cause for cause, shares in parts.items() if any(shares)], titles)
        return finished(
            drawn,
            ident=ident,
            caption=f"The window of {label} from start to end, in {len(edges) - 1} slices; what is blank was idle",
            alt=f"Strip of the window of {label} over time; its sums are the ledger's rows",
        )


def _time_unit(longest_ns: float) -> tuple[float, str]:
    for unit, step in (("s", units.NS_PER_S), ("ms", units.NS_PER_MS), ("us", units.NS_PER_US)):
        if longest_ns >= step:
            return float(step), unit
    return 1.0, "ns"


def iteration_times(
    ident: str,
    labels: Sequence[str],
    times_ns: Sequence[float],
    *,
    warm: int,
    odd: Sequence[int],
    mean: Mapping[str, Any] | None,
) -> Figure:
    """Each iteration's time; the mean of those that count with its interval, warm-up hollow, odd ones ringed."""
    with sketch(2.7) as drawn:
        ax = drawn.axes
        step, unit = _time_unit(max(times_ns))
        places = list(range(len(times_ns)))
        values = [time / step for time in times_ns]
        ink, blue = style.colour("ink_soft"), style.colour("series_1")
        if mean and mean.get("low") is not None:
            ax.axhspan(mean["low"] / step, mean["high"] / step, color=style.colour("grid"), lw=0)
        if mean and mean.get("value") is not None:
            ax.axhline(mean["value"] / step, color=ink, linestyle="--", linewidth=1.2)
        many = len(values) > MOST_MARKS
        if many:
            ax.plot(places, values, color=blue, linewidth=0.9)
        for place in odd if many else places:
            told = f"iteration {labels[place]}: {units.format_ns_short(times_ns[place])}"
            told += ", warm-up, left out" if place < warm else ""
            told += ", an outlier" if place in odd else ""
            ax.plot(
                [place],
                [values[place]],
                "o",
                markersize=8 if place in odd else 6,
                color=style.colour("background") if place < warm else blue,
                markeredgecolor=style.colour("accent") if place in odd else blue,
                markeredgewidth=2 if place in odd else 1.2,
                gid=drawn.tip(told),
            )
        is_cut = _fitted(ax, values)
        ax.set_ylabel(f"time ({unit})")
        ax.set_xlabel("iteration")
        ticks = places[:: max(len(places) // 12, 1)]
        ax.set_xticks(ticks, [labels[place] for place in ticks])
        ax.grid(axis="y")
        return finished(
            drawn,
            ident=ident,
            caption="Iterations: dashed the mean, shaded its interval; hollow is warm-up, ringed an outlier"
            + ("; the axis does not begin at zero" if is_cut else ""),
            alt=f"Time of each of {len(values)} iterations, from {min(values):.4g} to {max(values):.4g} {unit}",
        )


def _fitted(ax: Axes, values: Sequence[float]) -> bool:
    """Whether the axis of values leaves zero out: where they are close together, so that their spread can be seen."""
    low, high = min(values), max(values)
    is_cut = low > _CLOSE * high
    margin = max(0.25 * (high - low), 0.01 * high)
    ax.set_ylim(low - margin if is_cut else 0, high + margin)
    return is_cut


def sweep_lines(ident: str, batches: Sequence[int], series: Mapping[str, Sequence[float | None]]) -> Figure:
    """Shares of each batch size, in percent: GPU busy and pipes."""
    with sketch(2.8) as drawn:
        ax = drawn.axes
        for number, (label, values) in enumerate(series.items()):
            known = [(batch, value) for batch, value in zip(batches, values, strict=True) if value is not None]
            role = style.series(number)
            ax.plot(
                [batch for batch, _ in known],
                [_PERCENT * value for _, value in known],
                color=style.colour(role),
                linestyle=style.DASHES[number % len(style.DASHES)],
                marker=style.MARKERS[number % len(style.MARKERS)],
                label=label,
            )
        ax.set_ylim(0, _PERCENT)
        ax.set_xticks(sorted(set(batches)))
        ax.set_xlabel("batch size")
        ax.set_ylabel("share (%)")
        ax.grid(axis="y")
        legend_below(drawn, ax.get_legend_handles_labels()[0], most=6)
        return finished(
            drawn,
            ident=ident,
            caption="By batch size",
            alt=f"Lines over batch sizes {', '.join(map(str, batches))}: {', '.join(series)}",
        )
