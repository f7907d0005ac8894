"""How sure a difference between two sides is: the arithmetic of comparisons, on plain arrays.

A *sample* is one quantity of one run, by iteration: the quantity is sum(parts) / sum(wholes), a mean where the wholes
are 1. Columns are quantities that are looked at together (rows of a table, or trials of a simulation).

The difference that is judged is ``d = new - factor x base``: with the factor 1 + limit it is above zero exactly when
the limit is broken, without dividing by anything that is uncertain. What it is compared with, its standard error,
rests on what repeats:

- **Several runs on a side: runs are the unit.** Each run gives one value, and iterations within a run are not counted
  as if they were runs, for what stays the same for a whole run is in all of them. Both sides with several: Welch's
  ``sqrt(s_new^2 / n + factor^2 s_base^2 / m)`` with his degrees of freedom. One side with several: their spread stands
  for that of the single run as well, ``s sqrt(1 + 1 / n)`` with n - 1 degrees of freedom.
- **One run a side: its own iterations**, and neighbours resemble each other: see :func:`mean_error`. That is how the
  mean would vary had the same run gone on, and not how runs vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ds2prof.analysis.compare.student import quantiles, tails
from ds2prof.analysis.intervals import FloatArray
from ds2prof.tables import BoolArray

Noise = Literal["runs", "runs of one side", "iterations", "none"]
LEVEL: Final = 0.95
"""Of the intervals that are shown: two-sided."""
ALPHA: Final = 0.05
"""Of gates: one-sided, for all of them together."""
LEAST_ITERATIONS: Final = 8
"""With fewer iterations a run by itself says nothing of its noise: neighbours' likeness cannot be told from them."""
_HIGHEST_CORRELATION: Final = 0.9
_SAME: Final = 1e-12
"""Relative: differences below it are rounding, and spreads below it are none."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One run: ``parts`` and ``wholes`` of shape (iterations, columns); ``wholes`` None for a plain mean."""

    parts: FloatArray
    wholes: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def value(self) -> FloatArray:
        """Of each column: sum(parts) / sum(wholes)."""
        if self.wholes is None:
            return np.asarray(self.parts.mean(axis=0), dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.parts.sum(axis=0) / self.wholes.sum(axis=0), dtype=np.float64)

    @property
    def departures(self) -> FloatArray:
        """How each iteration moves the value: (part - value x whole) / mean whole; they sum to zero."""
        if self.wholes is None:
            return np.asarray(self.parts - self.value, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((self.parts - self.value * self.wholes) / self.wholes.mean(axis=0), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Difference:
    """``new - factor x base`` of each column, and its standard error; NaN where that cannot be known.

    ``noise`` is what the error was taken from; ``freedom`` are its degrees of freedom.
    """

    base: FloatArray
    new: FloatArray
    distance: FloatArray
    error: FloatArray
    freedom: FloatArray
    noise: Noise


def difference(
    base: Sequence[Sample], new: Sequence[Sample], *, factor: float | FloatArray = 1.0, paired: bool = False
) -> Difference:
    """The difference of two sides, a sample a run.

    Args:
        base: the runs of one side; none of them for a comparison with a constant of 0.
        new: the runs of the other.
        factor: what the base is multiplied with.
        paired: the iterations of all runs correspond, one by one. What inputs do to both then cancels.
    """
    values = [np.stack([run.value for run in side]) if side else np.zeros((1, new[0].parts.shape[1])) for side in (base, new)]  # fmt: skip  # noqa: E501
    means = [side.mean(axis=0) for side in values]
    distance = means[1] - factor * means[0]
    scale = np.maximum(np.abs(means[1]), np.abs(factor * means[0]))
    distance = np.where(np.abs(distance) <= _SAME * scale, 0.0, distance)
    error, freedom, noise = _error(base, new, values, factor=np.asarray(factor, dtype=np.float64), paired=paired)
    error = np.where(error <= _SAME * scale, 0.0, error)
    return Difference(means[0], means[1], distance, error, freedom, noise)


def _error(
    base: Sequence[Sample], new: Sequence[Sample], values: Sequence[FloatArray], *, factor: FloatArray, paired: bool
) -> tuple[FloatArray, FloatArray, Noise]:
    """(standard error, degrees of freedom, what it was taken from)."""
    counts = len(base), len(new)
    columns = values[1].shape[1]
    if not base and counts[1] > 1:
        return values[1].std(axis=0, ddof=1) / np.sqrt(counts[1]), np.full(columns, counts[1] - 1.0), "runs"
    if min(counts) > 1:
        parts = [factor**2 * values[0].var(axis=0, ddof=1) / counts[0], values[1].var(axis=0, ddof=1) / counts[1]]
        return np.sqrt(parts[0] + parts[1]), _welch(parts, [count - 1.0 for count in counts]), "runs"
    if base and max(counts) > 1:
        several = 0 if counts[0] > 1 else 1
        spread = values[several].std(axis=0, ddof=1) * (factor if several == 0 else 1.0)
        error = spread * np.sqrt(1 + 1 / counts[several])
        return error, np.full(columns, counts[several] - 1.0), "runs of one side"
    if min(len(run) for run in (*base, *new)) < LEAST_ITERATIONS:
        return np.full(columns, np.nan), np.full(columns, np.nan), "none"
    if not base:
        return (*mean_error(new[0].departures), "iterations")
    if paired and len(base[0]) == len(new[0]):
        return (*mean_error(new[0].departures - factor * base[0].departures), "iterations")
    errors = [mean_error(run.departures) for run in (base[0], new[0])]
    parts = [(factor * errors[0][0]) ** 2, errors[1][0] ** 2]
    return np.sqrt(parts[0] + parts[1]), _welch(parts, [errors[0][1], errors[1][1]]), "iterations"


def _welch(parts: Sequence[FloatArray], freedoms: Sequence[float | FloatArray]) -> FloatArray:
    """Degrees of freedom of a sum of two variances: Welch's and Satterthwaite's."""
    whole = parts[0] + parts[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = whole**2 / (parts[0] ** 2 / freedoms[0] + parts[1] ** 2 / freedoms[1])
    return np.where(whole > 0, found, np.minimum(*np.broadcast_arrays(*freedoms)))


def mean_error(departures: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(standard error of the mean of consecutive iterations, its degrees of freedom), of each column.

    Formula: with rho the correlation of neighbours (corrected for its bias, (n r + 1) / (n - 3), at least 0, at most
    0.9) and ``v = 1 + 2 sum_{k<n} (1 - k/n) rho^k``, n iterations are worth n / v independent ones: the error is
    ``sqrt(sum(d^2) / (n - v) x v / n)``, with n / v - 1 degrees of freedom, at least 1. Negative correlation is taken
    as 0: alternation never narrows an interval.

    Blind spot: rho of few iterations is itself uncertain; of 20 that strongly resemble their neighbours intervals are
    too narrow (docs/COMPARE.md has the figures).
    """
    count = len(departures)
    rho = _correlation(departures)
    worth = (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**count) / (count * (1 - rho) ** 2)
    worth = np.minimum(worth, count / 2)
    squares = (departures * departures).sum(axis=0)
    return np.sqrt(squares / (count - worth) * worth / count), np.maximum(count / worth - 1, 1.0)


def _correlation(departures: FloatArray) -> FloatArray:
    """Of neighbours, in each column; 0 where nothing varies."""
    count = len(departures)
    squares = (departures * departures).sum(axis=0)
    products = (departures[1:] * departures[:-1]).sum(axis=0)
    raw = np.divide(products, squares, out=np.zeros_like(squares), where=squares > 0)
    return np.where(squares > 0, np.clip((count * raw + 1) / (count - 3), 0.0, _HIGHEST_CORRELATION), 0.0)


def above(found: Difference) -> FloatArray:
    """The one-sided p of each column: how often noise alone would put the difference this far above zero.

    NaN where the noise is not known. Without any noise it is 0 above zero and 1 below it.
    """
    outside = _outside(found)
    return np.where(found.distance > 0, outside, 1 - outside)


def apart(found: Difference) -> FloatArray:
    """The two-sided p of each column: how often noise alone would put the difference this far from zero."""
    return np.minimum(2 * _outside(found), 1.0)


def _outside(found: Difference) -> FloatArray:
    """How often noise alone goes further in the difference's own direction; NaN where that is not known."""
    known = np.isfinite(found.error) & np.isfinite(found.distance)
    away = np.abs(found.distance)
    usable = known & (found.error > 0)
    outside = tails(
        np.divide(away, found.error, out=np.zeros_like(away), where=usable), np.where(usable, found.freedom, 1.0)
    )
    sure = np.where(away > 0, 0.0, np.where(found.distance == 0, 0.5, 1.0))
    return np.where(usable, outside, np.where(known, sure, np.nan))


def reach(found: Difference, *, level: float = LEVEL) -> FloatArray:
    """Half the width of each column's two-sided interval; NaN where the noise is not known."""
    return quantiles(level, np.where(np.isfinite(found.freedom), found.freedom, 1.0)) * found.error


def holm(p_values: FloatArray, *, alpha: float = ALPHA) -> BoolArray:
    """Which of several hypotheses are rejected, the chance of any false rejection being ``alpha`` at most.

    Holm's rule: in the order of their p, each is rejected while p <= alpha / (how many are left). Unknown p (NaN) are
    no tests, and are not counted.
    """
    rejected = np.zeros(len(p_values), dtype=np.bool_)
    known = np.flatnonzero(np.isfinite(p_values))
    for place, row in enumerate(known[np.argsort(p_values[known], kind="stable")].tolist()):
        if p_values[row] > alpha / (len(known) - place):
            break
        rejected[row] = True
    return rejected


def relative(
    base: Sequence[Sample], new: Sequence[Sample], *, paired: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(new / base - 1, its lower, its upper bound) of each column; NaN where unknown.

    The error is that of ``new - (new / base) base``, divided by the base (the delta method).
    """
    plain = difference(base, new, paired=paired)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(plain.base != 0, plain.new / plain.base, np.nan)
        half = reach(difference(base, new, factor=factor, paired=paired)) / np.abs(plain.base)
    return factor - 1, factor - 1 - half, factor - 1 + half
