"""Quantiles of Student's t, without a library for them."""

from __future__ import annotations

from functools import lru_cache
from math import atan, cos, pi, sin, sqrt
from typing import Final

_SERIES_UP_TO: Final = 200
"""Degrees of freedom from which the expansion in their inverse is exact to five digits."""
_HALVINGS: Final = 200


def normal_quantile(level: float) -> float:
    """The z for which the standard normal lies within [-z, z] with probability ``level``."""
    from statistics import NormalDist  # it loads fractions and more, which a parse without iterations need not

    return NormalDist().inv_cdf((1 + level) / 2)


@lru_cache(maxsize=256)
def student_quantile(level: float, freedom: int) -> float:
    """The t for which Student's distribution lies within [-t, t] with probability ``level``.

    Formula: the finite series in cos(atan(t / sqrt(freedom))) that whole degrees of freedom have (Abramowitz and
    Stegun, 26.7.3 and 26.7.4), inverted by halving; above 200 the expansion around the normal (26.7.5).
    """
    if freedom > _SERIES_UP_TO:
        return _expanded(normal_quantile(level), freedom)
    low, high = 0.0, pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return sqrt(freedom) * sin(low) / cos(low)


def student_within(value: float, freedom: int) -> float:
    """The probability that Student's t lies within [-value, value]."""
    return _within(atan(value / sqrt(freedom)), freedom)


def _within(angle: float, freedom: int) -> float:
    """The same by the angle atan(t / sqrt(freedom))."""
    odd = freedom % 2
    square = cos(angle) ** 2
    term = total = cos(angle) if odd else 1.0
    for upper in range(3 if odd else 2, freedom - 1, 2):
        term *= square * (upper - 1) / upper
        total += term
    if not odd:
        return sin(angle) * total
    return 2 / pi * (angle + (sin(angle) * total if freedom > 1 else 0.0))


def _expanded(z: float, freedom: int) -> float:
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2
