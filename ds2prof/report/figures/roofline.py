"""The roofline: each kernel by its intensity and its rate, beneath the roofs of the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.roofline import roof, tables
from ds2prof.analysis.roofline.kernels import KernelWork, kernel_work
from ds2prof.analysis.totals import devices_of
from ds2prof.errors import MissingDataError
from ds2prof.report.figures.canvas import canvas, finished, legend, listed, plain, source, swatch
from ds2prof.report.placing import Board, along_roof, along_slope, around
from ds2prof.report.style import DASHES, FONT_POINTS, Theme, colour, role_of
from ds2prof.tables import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_AREA: Final = 14.0
_MOST_AREA: Final = 420.0
_NAMED: Final = 5
_DECADES_LEFT: Final = 0.3
_SMALL: Final = 0.833 * FONT_POINTS
_X_SMALL: Final = 0.694 * FONT_POINTS


@dataclass(frozen=True)
class Roofs:
    """The bounds of one device.

    Attributes:
        bytes_per_s: what its memory moves.
        flop_per_s: kind of operation -> peak rate, dense.
    """

    bytes_per_s: float
    flop_per_s: dict[str, float]


def roofs(profile: Profile) -> Roofs | None:
    """The roofs of the kinds that the profile's kernels used; None where the device's peak is not known.

    Peaks that the counters state come first (medians over the launches), then those of the table of devices. Where
    kernels ran on several devices they are those of the first that is known.
    """
    work = kernel_work(profile)
    peaks = roof.device_peaks(profile)
    found = [roof.peak_on(peaks, device) for device in sorted(devices_of(profile.table("kernels")), key=str)]
    peak = next((each for each in found if each is not None), None)
    counted = work.counted
    kinds = work.kinds if counted is None else tuple(kind for kind, flop in counted.flop.items() if np.nansum(flop) > 0)
    rates: dict[str, float] = {}
    for kind in kinds:
        stated = None if counted is None else _median(counted.peak_flop_per_s.get(kind))
        clock_hz = None if counted is None else _median(counted.clock_hz)
        tabled = None if peak is None else roof.rate_of(peak, kind, clock_hz=clock_hz)
        if stated is not None:
            rates[kind] = stated
        elif tabled is not None:
            rates[tabled[0]] = tabled[1]
    bandwidth = _bandwidth(work, None if peak is None else float(peak.bandwidth_bytes_per_s))
    return None if bandwidth is None or not rates else Roofs(bandwidth, rates)


def _bandwidth(work: KernelWork, tabled: float | None) -> float | None:
    stated = None if work.counted is None else _median(work.counted.peak_bytes_per_s)
    return tabled if stated is None else stated


def _median(values: FloatArray | None) -> float | None:
    if values is None or np.isnan(values).all():
        return None
    return float(np.nanmedian(values))


def roofline(profile: Profile, ax: Axes | Figure | None = None, *, top: int = 200, theme: Theme = "light") -> Axes:
    """Kernels by name: FLOP per byte across, FLOP/s up, both logarithmic, the area of a point its time.

    The sloping line is the memory's bandwidth, the level ones the peaks of the kinds of operation that were used. A run
    without a GPU has points and no roof. Blind spot: modelled bytes are compulsory ones, so that a point may stand
    further left in truth; what is found in L2 can stand above the sloping line.

    Args:
        profile: the measurement.
        ax: axes to draw on, an empty figure to fill, or None for a new one of pyplot's.
        top: how many names at most, those of the longest time.
        theme: ``light`` or ``dark``.

    Raises:
        MissingDataError: the work of the kernels is not known.
    """
    answer = tables.roofline(profile)
    key = "excl_ns" if "excl_ns" in answer.columns else "dur_ns"
    rows = [row for row in answer.rows() if row["intensity"] and row["flop_per_s"]]
    known = len(rows)
    rows = sorted(rows, key=lambda row: -(row[key] or 0))[:top]
    if not rows:
        raise MissingDataError(
            f"{profile.meta.file}: no kernel of which both FLOP and bytes are known; nothing to draw"
        )
    found = None if profile.meta.domain == "cpu" else roofs(profile)
    with canvas(ax, height_inches=5.4, theme=theme) as drawn:
        drawn.set_xscale("log")
        drawn.set_yscale("log")
        drawn.margins(y=0.12)
        drawn.grid(visible=True, which="major")
        halves = _points(drawn, rows, key, theme=theme)
        if found is not None:
            _roofs(drawn, rows, found, theme=theme)
        _named(drawn, rows, halves=halves, found=found, theme=theme)
        classes = list(dict.fromkeys(row["class"] for row in rows))
        legend(drawn, [swatch(role_of("class", name), plain(str(name)), theme) for name in classes])
        lacking = f" {len(answer) - known} names without FLOP or bytes are left out." if len(answer) > known else ""
        shorter = f" The {len(rows)} longest of {known}." if known > len(rows) else ""
        return finished(
            drawn,
            title="Roofline",
            x="arithmetic intensity (FLOP/byte)",
            y="rate (FLOP/s)",
            said=listed([_told(row) for row in rows]),
            note=f"{source(profile.meta.file)}: a point for each kernel name, its area the time. "
            f"{f'{answer.notes[0]}.' if found else _no_roof(profile, found)}{lacking}{shorter}",
        )


def _no_roof(profile: Profile, found: Roofs | None) -> str:
    if found is not None:
        return ""
    return "A run without a GPU has no roof." if profile.meta.domain == "cpu" else "The device's peak is not known."


def _told(row: dict[str, Any]) -> str:
    rate = units.format_flop(row["flop_per_s"])
    return f"{plain(str(row['name']))} {row['intensity']:.3g} FLOP/byte at {rate}FLOP/s"


def _points(ax: Axes, rows: Sequence[dict[str, Any]], key: str, *, theme: Theme) -> list[float]:
    """Half the width of each point, in points of paper."""
    times = np.array([row[key] or 0 for row in rows], dtype=np.float64)
    areas = np.maximum(_MOST_AREA * times / max(times.max(), 1.0), _LEAST_AREA)
    ax.scatter(
        [row["intensity"] for row in rows],
        [row["flop_per_s"] for row in rows],
        s=areas,
        c=[colour(role_of("class", row["class"]), theme) for row in rows],
        edgecolors=colour("outline", theme),
        linewidths=0.7,
        alpha=0.85,
        zorder=3,
    ).set_gid("kernels")
    return [float(half) for half in np.sqrt(areas) / 2]


def _roofs(ax: Axes, rows: Sequence[dict[str, Any]], found: Roofs, *, theme: Theme) -> None:
    """The roofs, over all intensities that are drawn and the ridges."""
    ridges = [rate / found.bytes_per_s for rate in found.flop_per_s.values()]
    left = min([row["intensity"] for row in rows] + ridges) * 10**-_DECADES_LEFT
    right = max([row["intensity"] for row in rows] + ridges) * 10 ** (2 * _DECADES_LEFT)
    ink = colour("ink", theme)
    top = max(found.flop_per_s.values())
    slope = ax.plot([left, top / found.bytes_per_s], [left * found.bytes_per_s, top], color=ink, zorder=2)
    slope[0].set_label("memory")
    for number, (kind, rate) in enumerate(_levels(found)):
        begin = rate / found.bytes_per_s
        line = ax.plot([begin, right], [rate, rate], color=ink, linestyle=DASHES[number % len(DASHES)], zorder=2)
        line[0].set_label(kind)
    ax.set_xlim(left, right)


def _levels(found: Roofs) -> list[tuple[str, float]]:
    """The level roofs, the highest first."""
    return sorted(found.flop_per_s.items(), key=lambda item: -item[1])


def _named(
    ax: Axes, rows: Sequence[dict[str, Any]], *, halves: Sequence[float], found: Roofs | None, theme: Theme
) -> None:
    """Names of the roofs, and of the longest points those that find a place."""
    ax.set_ylim(ax.get_ylim())
    board = Board(ax)
    board.mark((row["intensity"], row["flop_per_s"], half) for row, half in zip(rows, halves, strict=True))
    if found is not None:
        _roof_names(board, found)
    named: set[str] = set()
    for row, half in list(zip(rows, halves, strict=True))[: 2 * _NAMED]:
        text = plain(str(row["name"]), 26)
        places = around(row["intensity"], row["flop_per_s"], half)
        if text in named or len(named) == _NAMED:
            continue
        if board.write(text, places, size_points=_X_SMALL, color=colour("ink_soft", theme), zorder=4):
            named.add(text)


def _roof_names(board: Board, found: Roofs) -> None:
    left, right = board.axes.get_xlim()
    ridge = max(found.flop_per_s.values()) / found.bytes_per_s
    board.line((left, left * found.bytes_per_s), (ridge, ridge * found.bytes_per_s))
    for _, rate in _levels(found):
        board.line((rate / found.bytes_per_s, rate), (right, rate))
    for number, (kind, rate) in enumerate(_levels(found)):
        places = along_roof(rate / found.bytes_per_s, right, rate, is_inner=number > 0)
        board.write(f"{kind}: {units.format_flop(rate)}FLOP/s", places, size_points=_SMALL, may_cover=True)
    places = along_slope(left, ridge, found.bytes_per_s)
    board.write(f"memory: {units.format_bytes(found.bytes_per_s)}/s", places, size_points=_SMALL, may_cover=True)
