"""The drawing of a roofline: marks that tell what they are beneath the roofs of a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ds2prof import units
from ds2prof.report import style
from ds2prof.report.html.charts import MOST_MARKS, Sketch, finished, legend_below, sketch
from ds2prof.report.html.model import Figure
from ds2prof.report.placing import Board, along_roof, along_slope

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DRAWN: Final = 1000
"""Points at most, those of the longest time: ten thousand marks are neither read nor sent."""
_LEAST_DOT: Final = 5.0


@dataclass(frozen=True)
class Dot:
    """A kernel beneath its roof: name, class, intensity, FLOP/s, share of the busy time, and what it tells."""

    group: str
    intensity: float
    flop_per_s: float
    share: float
    tip: str


@dataclass(frozen=True)
class Ceiling:
    """A roof: what it is called and its rate."""

    label: str
    flop_per_s: float


def roofline(
    ident: str, dots: Sequence[Dot], ceilings: Sequence[Ceiling], *, bytes_per_s: float | None, alt: str
) -> Figure:
    """Kernels beneath their roofs on two logarithmic axes; the larger a mark, the more of the busy time it took."""
    with sketch(4.3) as drawn:
        ax = drawn.axes
        ax.set_xscale("log")
        ax.set_yscale("log")
        low = min([dot.intensity for dot in dots]) / 3
        high = max([dot.intensity for dot in dots]) * 3
        if bytes_per_s and ceilings:
            high = max(high, max(roof.flop_per_s for roof in ceilings) / bytes_per_s * 3)
        rates = [*(dot.flop_per_s for dot in dots), *(roof.flop_per_s for roof in ceilings)]
        ax.set_xlim(low, high)
        least, most = min(rates) / 4, max(rates)
        ax.set_ylim(least, most * max(2.5, (most / least) ** 0.1))  # room for a roof's name above it
        longest = sorted(dots, key=lambda dot: -dot.share)
        told, silent = longest[:MOST_MARKS], longest[MOST_MARKS:MOST_DRAWN]
        for group in dict.fromkeys(dot.group for dot in silent):
            _dots(ax, [dot for dot in silent if dot.group == group], size=_LEAST_DOT)
        for dot in told:
            _dots(ax, [dot], size=_size(dot), gid=drawn.tip(dot.tip))
        _roofs(ax, ceilings, bytes_per_s, dots=told)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_major_formatter(lambda value, _: units.format_flop(value))
        ax.minorticks_off()
        ax.set_xlabel("arithmetic intensity (FLOP/byte)")
        ax.set_ylabel("FLOP/s")
        ax.grid(which="major")
        _class_legend(drawn, list(dict.fromkeys(dot.group for dot in dots)))
        return finished(
            drawn,
            ident=ident,
            caption="Roofline: point at a mark, or reach the marks with the tabulator key and go on with the arrow keys"
            + _left_out(len(dots)),
            alt=alt,
        )


def _left_out(count: int) -> str:
    """What of so many points does not tell what it is, or is not drawn."""
    if count <= MOST_MARKS:
        return ""
    drawn = "" if count <= MOST_DRAWN else f", the first {MOST_DRAWN:,} are drawn"
    return f"; of {count:,} names the {MOST_MARKS} longest tell what they are{drawn}"


def _size(dot: Dot) -> float:
    """The width of a mark, in whole points: marks of one width share their outline on the page."""
    return float(round(_LEAST_DOT + 16 * dot.share**0.5))


def _dots(ax: Axes, dots: Sequence[Dot], *, size: float, gid: str | None = None) -> None:
    """Marks of one class and size."""
    role = style.role_of("class", dots[0].group)
    ax.plot(
        [dot.intensity for dot in dots],
        [dot.flop_per_s for dot in dots],
        linestyle="none",
        marker=_marker(role),
        markersize=size,
        color=style.colour(role),
        markeredgecolor=style.colour("outline"),
        markeredgewidth=0.8,
        gid=gid,
    )


def _marker(role: str) -> str:
    """A square for what a hatch tells apart elsewhere: marks are too small for one."""
    return "D" if role in style.HATCHES else "o"


def _roofs(ax: Axes, ceilings: Sequence[Ceiling], bytes_per_s: float | None, *, dots: Sequence[Dot]) -> None:
    """The roofs over the axes' width, each with its name where it covers the fewest marks."""
    ink = style.colour("ink_soft")
    low, high = ax.get_xlim()
    board = Board(ax)
    board.mark((dot.intensity, dot.flop_per_s, _size(dot) / 2) for dot in dots)
    if bytes_per_s and ceilings:
        ridge = max(roof.flop_per_s for roof in ceilings) / bytes_per_s
        board.line((low, low * bytes_per_s), (ridge, ridge * bytes_per_s))
    for number, roof in enumerate(sorted(ceilings, key=lambda roof: -roof.flop_per_s)):
        rate = roof.flop_per_s
        ridge = max(rate / bytes_per_s, low) if bytes_per_s else low
        ax.plot([ridge, high], [rate, rate], color=ink, linestyle=style.DASHES[number % 4], linewidth=1.3)
        places = along_roof(ridge, high, rate, is_inner=number > 0)
        text = f"{roof.label} {units.format_flop(rate)}FLOP/s"
        board.write(text, places, size_points=style.FONT_POINTS, may_cover=True, color=ink)
    if bytes_per_s:
        top = max((roof.flop_per_s for roof in ceilings), default=high * bytes_per_s)
        end = min(high, top / bytes_per_s)
        ax.plot([low, end], [low * bytes_per_s, end * bytes_per_s], color=ink, linewidth=1.3)
        places = along_slope(low, end, bytes_per_s)
        text = f"memory {units.format_bytes(bytes_per_s)}/s"
        board.write(text, places, size_points=style.FONT_POINTS, may_cover=True, color=ink)


def _class_legend(drawn: Sketch, groups: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=_marker(style.role_of("class", group)),
            markersize=7,
            color=style.colour(style.role_of("class", group)),
            markeredgecolor=style.colour("outline"),
            label=group,
        )
        for group in groups
    ]
    legend_below(drawn, handles, most=7)
