"""The idle ledger as bars: of each device, iteration or phase, every nanosecond of the window in one colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import ledger as analysis
from ds2prof.analysis.findings import WORDS
from ds2prof.analysis.host_timelines import CAUSES
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.ledger_account import Per
from ds2prof.report.figures.canvas import (
    canvas,
    finished,
    legend,
    listed,
    plain,
    rows_inches,
    source,
    swatch,
    time_scale,
)
from ds2prof.report.style import HATCHES, Theme, colour, label_colour, role_of
from ds2prof.tables import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS: Final = 40
"""Of more iterations than this the bars become an area."""
_LEAST_ROWS: Final = 3
_LEAST_LABELLED: Final = 0.045
"""A part of the whole below which a segment has no room for its percentage."""


def ledger(
    profile: Profile, ax: Axes | Figure | None = None, *, per: Per | None = None, theme: Theme = "light"
) -> Axes:
    """Stacked bars of where the window went: compute, exposed communication and copies, and idle time by cause.

    A bar for each device, in shares that sum to 100 %; with ``per`` a bar for each phase or iteration, in time.

    Raises:
        MissingDataError: the profile cannot be accounted for in time, or has no such ranges.
    """
    answer = analysis.idle_ledger(profile, per=per)
    keys, parts_ns = _stacked(answer.columns, per)
    if per == "iteration":
        return _over_iterations(profile, ax, keys, parts_ns, theme=theme)
    labels = [_label(key, per) for key in keys]
    whole = parts_ns.sum(axis=1, keepdims=True)
    unit, step = time_scale(float(whole.max(initial=0.0)))
    scale = whole / 100 if per is None else np.full_like(whole, step)
    widths = np.divide(parts_ns, scale, out=np.zeros_like(parts_ns), where=scale > 0)
    with canvas(ax, height_inches=rows_inches(max(len(labels), 7), more_inches=1.3), theme=theme) as drawn:
        _bars(drawn, labels, widths, parts_ns, theme=theme)
        _legend(drawn, parts_ns, theme)
        drawn.set_xlim(0, 100 if per is None else None)
        what = "device" if per is None else per
        return finished(
            drawn,
            title="Where the window went" if per is None else f"Where the window went, by {per}",
            x="share of the device's window (%)" if per is None else f"time ({unit})",
            said=_said(parts_ns),
            note=f"{source(profile.meta.file)}: every nanosecond of each {what} in one colour. Idle is this process's "
            "idle.",
        )


def _stacked(columns: Mapping[str, Sequence[Any]], per: Per | None) -> tuple[list[Any], FloatArray]:
    """(a key for each bar, ns of each bar and cause); with ``per`` devices are summed."""
    names = columns["device"] if per is None else columns[per]
    keys = list(dict.fromkeys(names))
    place_of = {key: place for place, key in enumerate(keys)}
    parts = np.zeros((len(keys), len(CAUSES)))
    places = np.array([place_of[name] for name in names], dtype=np.int64)
    causes = np.array([CAUSES.index(cause) for cause in columns["cause"]], dtype=np.int64)
    np.add.at(parts, (places, causes), np.array(columns["dur_ns"], dtype=np.float64))
    kept = [place for place, key in enumerate(keys) if key is not None or parts[place].any()]
    return [keys[place] for place in kept], parts[kept]


def _label(key: Any, per: Per | None) -> str:
    if per is None:
        return "device" if key is None else f"device {key}"
    return f"(outside any {per})" if key is None else plain(str(key))


def _bars(ax: Axes, labels: Sequence[str], widths: FloatArray, parts_ns: FloatArray, *, theme: Theme) -> None:
    left = np.zeros(len(labels))
    full = max(float(widths.sum(axis=1).max()), 1e-12)
    for code in np.flatnonzero(parts_ns.any(axis=0)).tolist():
        role = role_of("cause", CAUSES[code])
        drawn = ax.barh(
            labels,
            widths[:, code],
            left=left,
            height=0.7,
            color=colour(role, theme),
            edgecolor=colour("outline", theme),
            linewidth=0.5,
            hatch=HATCHES.get(role),
        )
        drawn.set_label(CAUSES[code])
        texts = [
            units.format_ratio(part / whole, digits=0).replace(" ", "") if width >= _LEAST_LABELLED * full else ""
            for part, whole, width in zip(
                parts_ns[:, code].tolist(), parts_ns.sum(axis=1).tolist(), widths[:, code].tolist(), strict=True
            )
        ]
        if role not in HATCHES:  # a text on a hatch cannot be read
            ax.bar_label(drawn, texts, label_type="center", color=label_colour(role, theme), fontsize="small")
        left += widths[:, code]
    spare = max(_LEAST_ROWS - len(labels), 0) / 2  # a bar by itself would fill the figure
    ax.set_ylim(len(labels) - 0.5 + spare, -0.5 - spare)
    ax.tick_params(axis="y", length=0)


def _legend(ax: Axes, parts_ns: FloatArray, theme: Theme) -> None:
    """The causes that there are, each with its time and share of all."""
    sums = parts_ns.sum(axis=0)
    entries = [
        swatch(role_of("cause", CAUSES[code]), f"{_words(CAUSES[code])}  {_cost(sums, code)}", theme)
        for code in np.flatnonzero(sums).tolist()
    ]
    legend(ax, entries)


def _words(cause: str) -> str:
    return cause.replace("_", " ")


def _cost(sums: FloatArray, code: int) -> str:
    share = units.format_ratio(float(sums[code] / sums.sum()), digits=1)
    return f"{share}, {units.format_ns_short(float(sums[code]))}"


def _said(parts_ns: FloatArray) -> str:
    sums = parts_ns.sum(axis=0)
    order = [code for code in np.argsort(-sums, kind="stable").tolist() if sums[code] > 0]
    return listed([f"{WORDS.get(CAUSES[code], CAUSES[code])}: {_cost(sums, code)}" for code in order], most=5)


def _over_iterations(
    profile: Profile, ax: Axes | Figure | None, keys: Sequence[Any], parts_ns: FloatArray, *, theme: Theme
) -> Axes:
    """The iterations from left to right, one upright bar each; an area where there are many."""
    kept = [place for place, key in enumerate(keys) if key is not None]
    shown, times = [keys[place] for place in kept], parts_ns[kept]
    unit, step = time_scale(float(times.sum(axis=1).max(initial=0.0)))
    times = times / step
    places = np.arange(len(shown))
    with canvas(ax, height_inches=4.2, theme=theme) as drawn:
        below = np.zeros(len(shown))
        outline = colour("outline", theme)
        for code in np.flatnonzero(times.any(axis=0)).tolist():
            role = role_of("cause", CAUSES[code])
            looks: dict[str, Any] = {"facecolor": colour(role, theme), "edgecolor": outline, "hatch": HATCHES.get(role)}
            if len(shown) > MOST_BARS:
                top = below + times[:, code]
                drawn.fill_between(places, below, top, step="mid", linewidth=0.3, label=CAUSES[code], **looks)
            else:
                drawn.bar(places, times[:, code], bottom=below, width=0.8, linewidth=0.5, label=CAUSES[code], **looks)
            below = below + times[:, code]
        _legend(drawn, parts_ns[kept], theme)
        ticks = np.unique(np.linspace(0, max(len(shown) - 1, 0), min(len(shown), 12)).astype(np.int64)).tolist()
        drawn.set_xticks(ticks, [plain(str(shown[place]), 12) for place in ticks])
        drawn.set_ylim(bottom=0)
        outside = "" if len(kept) == len(keys) else " What lies outside of them is left out."
        return finished(
            drawn,
            title="Where the window went, by iteration",
            x="iteration",
            y=f"time on the device ({unit})",
            said=_said(parts_ns[kept]),
            note=f"{source(profile.meta.file)}: the steps as the device went through them, all devices together."
            f"{outside}",
        )
