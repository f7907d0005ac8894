"""Where labels go on a drawing so that they cover neither marks nor each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import log10
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS_PER_INCH: Final = 72
_LETTER: Final = 0.62
_LINE: Final = 1.35
"""Width of a letter and height of a line, in font sizes; of DejaVu Sans, and rather too much than too little."""
_PARTS_OF_LINE: Final = 100
_PART_OF_FIGURE: Final = 0.78
"""What of a figure's width and height is about left to its axes."""


@dataclass(frozen=True)
class Place:
    """A place for a label: the point that it belongs to, how far off the text stands, and to which side it runs.

    Attributes:
        x, y: the point, in the units of the axes.
        dx, dy: from there to the text, in points of paper.
        ha: ``left`` where the text begins there, ``right`` where it ends there, or ``center``.
        va: ``bottom`` where the text lies above, ``top`` where it lies below, or ``center``.
    """

    x: float
    y: float
    dx: float
    dy: float
    ha: Literal["left", "right", "center"]
    va: Literal["bottom", "top", "center"]


Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""


@dataclass
class Board:
    """Two logarithmic axes and what is taken on them. The limits of the axes must not change any more.

    Attributes:
        axes: to write on.
        taken: by marks and by labels.
    """

    axes: Axes
    taken: list[Box] = field(default_factory=list)

    def mark(self, points: Iterable[tuple[float, float, float]]) -> None:
        """Keep marks clear: x, y, and half a mark's width in points of paper."""
        for x, y, half in points:
            across, up = self._at(x, y)
            self.taken.append((across - half, up - half, across + half, up + half))

    def line(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Keep a straight line clear."""
        (x, y), (x_end, y_end) = begin, end
        parts = [part / _PARTS_OF_LINE for part in range(_PARTS_OF_LINE + 1)]
        self.mark((x * (x_end / x) ** part, y * (y_end / y) ** part, 1.0) for part in parts)

    def write(
        self, text: str, places: Sequence[Place], *, size_points: float, may_cover: bool = False, **style: Any
    ) -> bool:
        """Whether the text was written: at the first place that is free, or where it covers least if it may cover.

        Args:
            text: of the label.
            places: to choose from, the best first.
            size_points: of the font.
            may_cover: written even where no place is free.
            style: for matplotlib's ``annotate``.
        """
        boxes = [self._box(text, place, size_points) for place in places]
        covered = [sum(_meet(box, other) for other in self.taken) + self._is_cut(box) for box in boxes]
        best = min(range(len(places)), key=covered.__getitem__)
        if covered[best] and not may_cover:
            return False
        self.taken.append(boxes[best])
        place = places[best]
        self.axes.annotate(
            text,
            (place.x, place.y),
            xytext=(place.dx, place.dy),
            textcoords="offset points",
            ha=place.ha,
            va=place.va,
            fontsize=size_points,
            **style,
        )
        return True

    def _is_cut(self, box: Box) -> bool:
        """Whether some of it lies outside of the axes."""
        width, height = self._size()
        return box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height

    def _size(self) -> tuple[float, float]:
        figure = self.axes.figure
        points = _POINTS_PER_INCH * _PART_OF_FIGURE / figure.dpi
        return points * figure.bbox.width, points * figure.bbox.height

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """The point on paper, from the lower left corner of the axes."""
        width, height = self._size()
        return _along(x, self.axes.get_xlim()) * width, _along(y, self.axes.get_ylim()) * height

    def _box(self, text: str, place: Place, size_points: float) -> Box:
        x, y = self._at(place.x, place.y)
        width, height = _LETTER * size_points * len(text), _LINE * size_points
        left = x + place.dx - {"left": 0.0, "center": 0.5, "right": 1.0}[place.ha] * width
        bottom = y + place.dy - {"bottom": 0.0, "center": 0.5, "top": 1.0}[place.va] * height
        return left, bottom, left + width, bottom + height


def along_roof(begin: float, end: float, rate: float, *, is_inner: bool) -> list[Place]:
    """The places of a level roof's name: at its end above and below it; of an inner one at its beginning, too."""
    places = [Place(end, rate, -4, 3, "right", "bottom"), Place(end, rate, -4, -3, "right", "top")]
    if is_inner:  # beneath another roof there is room where it begins
        places += [Place(begin, rate, 4, -3, "left", "top"), Place(begin, rate, 4, 3, "left", "bottom")]
    return places


def along_slope(left: float, end: float, bytes_per_s: float) -> list[Place]:
    """The places of the sloping roof's name: beneath and above its middle, and further along it."""
    points = [left * (end / left) ** part for part in (0.5, 0.3, 0.7)]
    below = [Place(x, x * bytes_per_s, 12, -10, "left", "top") for x in points]
    above = [Place(x, x * bytes_per_s, -6, 4, "right", "bottom") for x in points]
    return [place for pair in zip(below, above, strict=True) for place in pair]


def around(x: float, y: float, half: float) -> list[Place]:
    """The places of a mark's name: below, above, right and left of it."""
    away = half + 2
    return [
        Place(x, y, 0, -away, "center", "top"),
        Place(x, y, 0, away, "center", "bottom"),
        Place(x, y, away, 0, "left", "center"),
        Place(x, y, -away, 0, "right", "center"),
    ]


def _along(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return log10(value / low) / log10(high / low)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
