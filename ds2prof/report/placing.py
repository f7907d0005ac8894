"""Where a label goes on a drawing so that it covers neither marks nor other labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Final

_LETTER_POINTS: Final = 5.9
_LINE_POINTS: Final = 14.0


@dataclass(frozen=True)
class Place:
    """A place for a label: the point that it hangs on, and to which side of it the text lies.

    Attributes:
        x, y: the point, in the units of the axes.
        ha: ``left`` where the text begins at the point, ``right`` where it ends there.
        va: ``bottom`` where the text lies above the point, ``top`` where it lies below.
    """

    x: float
    y: float
    ha: str
    va: str


@dataclass(frozen=True)
class Paper:
    """Two logarithmic axes: their limits and how large they are on paper."""

    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    width_points: float
    height_points: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The point on paper, from the lower left corner."""
        return (
            _along(x, self.x_limits) * self.width_points,
            _along(y, self.y_limits) * self.height_points,
        )


def _along(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return log10(value / low) / log10(high / low)


def clearest(text: str, places: Sequence[Place], paper: Paper, *, marks: Sequence[tuple[float, float, float]]) -> Place:
    """The first of the places with the fewest marks beneath the text.

    Args:
        text: of the label.
        places: to choose from, the best first.
        paper: the axes.
        marks: (x, y, half its size in points) of what should stay free.
    """
    points = [(*paper.at(x, y), half) for x, y, half in marks]

    def covered(place: Place) -> int:
        left, bottom, right, top = _box(text, place, paper)
        return sum(left - h < x < right + h and bottom - h < y < top + h for x, y, h in points)

    return min(places, key=covered)


def _box(text: str, place: Place, paper: Paper) -> tuple[float, float, float, float]:
    x, y = paper.at(place.x, place.y)
    width = _LETTER_POINTS * len(text)
    left = x if place.ha == "left" else x - width
    bottom = y if place.va == "bottom" else y - _LINE_POINTS
    return left, bottom, left + width, bottom + _LINE_POINTS
