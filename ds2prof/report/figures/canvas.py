"""What every figure shares: where it is drawn, its style, labels that are safe to draw, and what it says in words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ds2prof import units
from ds2prof.report.style import HATCHES, Theme, colour, drawing
from ds2prof.report.text import cleaned, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

WIDTH_INCHES: Final = 9.0
ROW_INCHES: Final = 0.32
_NAME_COLUMNS: Final = 48
_NOTE_COLUMNS: Final = 138
_OURS: Final = "ds2prof"
"""The id of a figure whose size and layout are ours."""


@contextmanager
def canvas(ax: Axes | Figure | None, *, height_inches: float, theme: Theme) -> Iterator[Axes]:
    """The axes to draw on, in ds2prof's style.

    ``ax`` may be axes, which keep the style and the size that they have; an empty figure, which gets the figure's size
    and axes; or None for a figure of pyplot's, which a notebook shows by itself.
    """
    if ax is not None and not hasattr(ax, "add_subplot"):
        yield ax
        return
    made: Any = _figure() if ax is None else ax  # pyplot sets up its backend here, outside of settings that end with us
    with drawing(theme):
        made.set_size_inches(WIDTH_INCHES, height_inches)
        made.set_facecolor(colour("background", theme))
        made.set_layout_engine("constrained")
        made.set_gid(_OURS)
        yield made.add_subplot()


def _figure() -> Figure:
    import matplotlib.pyplot as plt

    return plt.figure()


def rows_inches(rows: int, *, more_inches: float = 1.2) -> float:
    """The height of a figure with so many bars beneath each other."""
    return more_inches + ROW_INCHES * max(rows, 3)


def source(file: str) -> str:
    """The name of a measurement without its folders, for the line beneath a figure."""
    return file.rsplit("/", 1)[-1]


def time_scale(length_ns: float) -> tuple[str, int]:
    """(unit, ns in it) that suits times up to this length."""
    for unit, step in (("s", units.NS_PER_S), ("ms", units.NS_PER_MS), ("us", units.NS_PER_US)):
        if length_ns >= step:
            return unit, step
    return "ns", 1


def plain(text: str, columns: int = _NAME_COLUMNS) -> str:
    """A text of the file, safe to draw: no control characters, no mathematics between dollars, cut in its middle."""
    return shortened(cleaned(text), columns).replace("$", r"\$")


def distinct(names: Iterable[Any], columns: int = _NAME_COLUMNS) -> list[str]:
    """Names short enough to stand beside a bar, told apart by a number where shortening made two equal."""
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        label = plain(str(name), columns)
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels


def bars(
    ax: Axes, labels: Sequence[str], widths: Sequence[float], roles: Sequence[str], *, theme: Theme
) -> BarContainer:
    """Horizontal bars from the top down, each in its role's colour and hatch."""
    drawn = ax.barh(labels, widths, color=[colour(role, theme) for role in roles])
    outline = colour("outline", theme)
    for bar, role in zip(drawn, roles, strict=True):
        bar.set_edgecolor(outline)
        bar.set_linewidth(0.6)
        bar.set_hatch(HATCHES.get(role))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    return drawn


def swatch(role: str, label: str, theme: Theme) -> Any:
    """An entry of a legend: a field of the role's colour and hatch."""
    from matplotlib.patches import Patch

    return Patch(
        facecolor=colour(role, theme),
        edgecolor=colour("outline", theme),
        linewidth=0.6,
        hatch=HATCHES.get(role),
        label=label,
    )


def legend(ax: Axes, entries: Sequence[Any], *, title: str | None = None) -> None:
    """A legend to the right of the axes, never over the data."""
    ax.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.9, title=title)


def finished(ax: Axes, *, title: str, said: str, x: str | None = None, y: str | None = None, note: str = "") -> Axes:
    """The axes, with title, labels (units included), and what they show in words (:func:`description`).

    ``note``, which qualifies the numbers, stands beneath a figure of ours; other axes have no room for it.
    """
    ax.set_title(title, loc="left")
    if x is not None:
        ax.set_xlabel(x)
    if y is not None:
        ax.set_ylabel(y)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    figure = ax.get_figure()
    if note and figure is not None and figure.get_gid() == _OURS:
        lines = "\n".join(textwrap.wrap(plain(note, 6 * _NOTE_COLUMNS), _NOTE_COLUMNS, break_on_hyphens=False))
        figure.supxlabel(
            lines, x=0.008, ha="left", multialignment="left", fontsize="small", color=ax.xaxis.label.get_color()
        )
    ax.set_label(f"{title}. {said}")
    return ax


def description(ax: Axes) -> str:
    """What the axes show, in words, for those who cannot see them."""
    return str(ax.get_label())


def listed(parts: Sequence[str], *, most: int = 6) -> str:
    """The parts as one text, the rest counted."""
    rest = len(parts) - most
    return ", ".join(parts[:most]) + (f" and {rest} more" if rest > 0 else "")
