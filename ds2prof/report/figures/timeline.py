"""The timeline strip: the whole window on one line a stream, aggregated to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis.intervals import FloatArray
from ds2prof.report.figures.canvas import canvas, finished, legend, listed, source, swatch, time_scale
from ds2prof.report.figures.lanes import Lane, Strip, strip
from ds2prof.report.style import Theme, colour
from ds2prof.tables import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LANE_INCHES: Final = 0.33
_HEIGHT: Final = 0.78
"""Of a lane; the rest parts it from the next."""
_LEAST_SHARE: Final = 1e-6


def timeline(profile: Profile, ax: Axes | Figure | None = None, *, theme: Theme = "light") -> Axes:
    """Iterations, phases, streams and copies over the window, each on a line of its own.

    A pixel of a line is filled as high as the line was busy during it, in the colours of the kernels' classes; what
    overlaps within one stream shares it. Blind spot: what is shorter than a pixel shows as a part of it, not as itself.

    Raises:
        MissingDataError: nothing in the file has a real time.
    """
    found = strip(profile)
    lanes = found.lanes
    with canvas(ax, height_inches=1.4 + _LANE_INCHES * max(len(lanes), 6), theme=theme) as drawn:
        origin = int(found.edges_ns[0])
        unit, step = time_scale(int(found.edges_ns[-1]) - origin)
        edges = (found.edges_ns - origin) / step
        box: dict[str, Any] = {"color": colour("ink", theme), "bbox": _box(theme), "zorder": 4}
        for place, lane in enumerate(lanes):
            _draw(drawn, lane, place, found, edges, theme=theme)
            for middle, text in lane.texts:
                drawn.text((middle - origin) / step, place, text, ha="center", va="center", fontsize="x-small", **box)
        drawn.set_ylim(len(lanes) - 0.4, -0.6)
        drawn.set_xlim(edges[0], edges[-1])
        drawn.set_yticks(range(len(lanes)), [_label(lane) for lane in lanes])
        drawn.tick_params(axis="y", length=0)
        drawn.spines["left"].set_visible(False)
        roles = dict.fromkeys(role for lane in lanes for role in lane.ns_of if role.startswith("class_"))
        legend(drawn, [swatch(role, role.split("_", 1)[1], theme) for role in roles])
        return finished(
            drawn,
            title="Timeline",
            x=f"time since the start of the window ({unit})",
            said=_said(found),
            note=f"{source(profile.meta.file)}: window from {found.source}. A pixel is filled as high as the line was "
            "busy during it; percentages are of the window.",
        )


def _box(theme: Theme) -> dict[str, Any]:
    """The ground of a number that stands on colours."""
    return {"boxstyle": "round,pad=0.2", "facecolor": colour("background", theme), "edgecolor": "none", "alpha": 0.85}


def _label(lane: Lane) -> str:
    return lane.label if lane.busy is None else f"{lane.label}  {units.format_ratio(lane.busy, digits=1)}"


def _draw(ax: Axes, lane: Lane, place: int, found: Strip, edges: FloatArray, *, theme: Theme) -> None:
    """One lane: a faint ground, and on it a stack of what was open in each pixel."""
    bottom = place + _HEIGHT / 2
    ax.axhspan(bottom - _HEIGHT, bottom, facecolor=colour("surface", theme), edgecolor="none", linewidth=0, zorder=0)
    pixels_ns = np.diff(found.edges_ns)
    below = np.zeros(len(pixels_ns))
    for role, ns in lane.ns_of.items():
        above = below + ns / pixels_ns
        drawn = ns > _LEAST_SHARE * pixels_ns
        ax.stairs(
            np.where(drawn, bottom - _HEIGHT * above, np.nan),
            edges,
            baseline=np.where(drawn, bottom - _HEIGHT * below, np.nan),
            fill=True,
            facecolor=colour(role, theme),
            edgecolor="none",
            linewidth=0,
            label=f"{lane.label}: {role}",
            zorder=2,
        )
        below = above


def _said(found: Strip) -> str:
    length_ns = int(found.edges_ns[-1] - found.edges_ns[0])
    lanes = [_label(lane) for lane in found.lanes if lane.busy is not None]
    return f"{units.format_ns_short(length_ns)} from {found.source}. Busy: {listed(lanes, most=12)}"
