"""Student's t with any degrees of freedom, whole or not, for many at once; Welch's are not whole."""

from __future__ import annotations

from math import lgamma
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import FloatArray

_TERMS: Final = 300
_STEPS: Final = 60
_CLOSE: Final = 1e-14
_NEAR: Final = 1e-12
_TINY: Final = 1e-300


def tails(values: FloatArray, freedoms: FloatArray) -> FloatArray:
    """How often t is above each value (0 or more).

    Formula: ``I_x(f / 2, 1 / 2) / 2`` with ``x = f / (f + t^2)``, I being the regularized incomplete beta function.
    """
    t, freedom = np.broadcast_arrays(np.asarray(values, dtype=np.float64), np.asarray(freedoms, dtype=np.float64))
    return np.asarray(_beta_share(freedom / (freedom + t * t), freedom / 2, 0.5) / 2, dtype=np.float64)


def quantiles(level: float, freedoms: FloatArray) -> FloatArray:
    """The t within which Student's lies, on both sides, with probability ``level``; for each of the freedoms."""
    freedom, place = np.unique(np.asarray(freedoms, dtype=np.float64), return_inverse=True)
    log_scale = _log_gamma((freedom + 1) / 2) - _log_gamma(freedom / 2) - np.log(np.pi) / 2
    low, high = np.zeros(len(freedom)), np.full(len(freedom), np.pi / 2)
    angle = np.arctan(2 / np.sqrt(freedom))  # t is sqrt(freedom) tan(angle): angles have an end, t has none
    for _ in range(_STEPS):
        over = 2 * tails(np.sqrt(freedom) * np.tan(angle), freedom) - (1 - level)
        if np.abs(over).max(initial=0.0) < _NEAR:
            break
        low, high = np.where(over > 0, angle, low), np.where(over > 0, high, angle)
        slope = 2 * np.exp(log_scale + (freedom - 1) * np.log(np.cos(angle)))
        newton = angle + over / slope
        angle = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
    return np.asarray((np.sqrt(freedom) * np.tan(angle))[place.reshape(-1)], dtype=np.float64)


def _beta_share(x: FloatArray, a: FloatArray, b: float) -> FloatArray:
    """The regularized incomplete beta function, by its continued fraction on the side where that is quick."""
    flip = x > (a + 1) / (a + b + 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        front = np.exp(_log_gamma(a + b) - _log_gamma(a) - lgamma(b) + a * np.log(x) + b * np.log1p(-x))
        plain = front / a * _fraction(np.where(flip, 0.0, x), a, np.full_like(a, b))
        flipped = 1 - front / b * _fraction(np.where(flip, 1 - x, 0.0), np.full_like(a, b), a)
    found = np.where(flip, flipped, plain)
    return np.where(x <= 0, 0.0, np.where(x >= 1, 1.0, found))


def _fraction(x: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """The continued fraction of the incomplete beta function, by Lentz's rule (Abramowitz and Stegun, 26.5.8)."""
    c, d = np.ones_like(x), 1 / _apart(1 - (a + b) * x / (a + 1))
    found = d.copy()
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = np.ones_like(x)
        for term in (even, odd):
            d = 1 / _apart(1 + term * d)
            c = _apart(1 + term / c)
            change *= c * d
        found *= change
        if np.abs(change - 1).max(initial=0.0) < _CLOSE:
            break
    return found


def _apart(values: FloatArray) -> FloatArray:
    """The values, kept from zero."""
    return np.where(np.abs(values) < _TINY, _TINY, values)


def _log_gamma(values: FloatArray) -> FloatArray:
    distinct, place = np.unique(values, return_inverse=True)
    return np.array([lgamma(value) for value in distinct.tolist()])[place.reshape(-1)].reshape(values.shape)
