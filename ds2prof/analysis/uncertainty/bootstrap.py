"""Intervals for a mean or a ratio of sums over iterations, by resampling stretches of consecutive ones.

Iterations are no independent draws: clocks drift, neighbours come and go, an iteration that is late is followed by one
that is early. So blocks of consecutive iterations are drawn (the circular block bootstrap), not single ones. And they
are no draws from one distribution: how long one takes follows from its padded length, and the order of lengths is
fixed by the data, not by chance. So each iteration is compared with its stratum, the iterations of like padded length:
what is drawn anew are the departures from the stratum's mean, in the order of time, and every resample has the mix of
lengths of the run. With one stratum this is the ordinary bootstrap.

The percentiles of the resampled statistic are too near for few iterations and short blocks: their distance to the
statistic is multiplied by a factor that is known (:func:`_widening`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, fsum, inf, isfinite, sqrt
from typing import Any, Final, Literal

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.uncertainty.quantiles import normal_quantile, student_quantile
from ds2prof.tables import IntArray

Kind = Literal["interval", "range", "single", "none"]
LEVEL: Final = 0.95
LEAST_FOR_INTERVAL: Final = 8
"""With fewer iterations there is a range, from the least to the greatest, and no interval."""
RESAMPLES: Final = 4000
_MOST_BLOCKS: Final = 2000
"""Of longer series the blocks are longer, so that work does not grow without bound."""
_LEAST_BLOCKS: Final = 4
_CHUNK_DRAWS: Final = 1 << 21
_HIGHEST_CORRELATION: Final = 0.9


@dataclass(frozen=True)
class Interval:
    """A statistic over iterations, and between which bounds it lies.

    Attributes:
        value: the statistic itself; None without any iteration.
        low, high: the bounds; None where there are none.
        count: how many iterations it rests on.
        kind: ``interval`` (holds the true value with probability ``level``), ``range`` (least and greatest of fewer
            than 8 iterations), ``single`` (one, no bounds), ``none``.
        level: of an interval.
        block: how many consecutive iterations were drawn together.
        strata: how many groups of like padded length were kept apart.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    kind: Kind
    level: float | None = None
    block: int | None = None
    strata: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values; ``iterations`` for the count."""
        found = asdict(self)
        return {("iterations" if name == "count" else name): value for name, value in found.items()}

    def inverted(self, scale: float = 1.0) -> Interval:
        """The interval of ``scale`` / the statistic, both above zero: of rates from times."""
        low, high = (None if bound is None or bound <= 0 else scale / bound for bound in (self.high, self.low))
        value = None if not self.value else scale / self.value
        return Interval(value, low, high, self.count, self.kind, self.level, self.block, self.strata)


@dataclass(frozen=True)
class _Draw:
    """What is drawn from: departures of numerator and denominator, of each iteration, in the order of time."""

    parts: FloatArray
    wholes: FloatArray
    part_sum: float
    whole_sum: float


def interval(
    values: Sequence[float] | FloatArray | IntArray,
    *,
    wholes: Sequence[float] | FloatArray | IntArray | None = None,
    strata: Sequence[int] | IntArray | None = None,
    block: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
    bounds: tuple[float, float] = (-inf, inf),
) -> Interval:
    """The mean of ``values``, or sum(values) / sum(wholes), with the interval that iterations give it.

    The same arguments give the same interval. Blind spot: it tells how the mean would differ had the same iterations
    been run again under the circumstances that changed *within* this run; what stays the same for a whole run (the
    machine, where memory was placed, the day) is not in it: runs differ by more than iterations of one run tell.

    Args:
        values: of each iteration, in the order of time; ones that are not finite are left out.
        wholes: what each is a part of, for a ratio of sums.
        strata: the group of each iteration; None for one group.
        block: how many consecutive iterations are drawn together; None for :func:`block_length`. With 1, order does
            not matter.
        level: how often the interval is to hold the true value.
        seed: of the random numbers.
        resamples: how many times is drawn.
        bounds: between which the statistic must lie whatever is drawn: (0, 1) for a share.
    """
    parts = np.asarray(values, dtype=np.float64)
    over = np.ones(len(parts)) if wholes is None else np.asarray(wholes, dtype=np.float64)
    groups = np.zeros(len(parts), dtype=np.int64) if strata is None else np.asarray(strata, dtype=np.int64)
    known = np.isfinite(parts) & np.isfinite(over)
    parts, over, groups = parts[known], over[known], groups[known]
    whole_sum = fsum(over)
    if not len(parts) or whole_sum <= 0:
        return Interval(None, None, None, len(parts), "none")
    value = fsum(parts) / whole_sum
    if len(parts) == 1:
        return Interval(value, None, None, 1, "single")
    _, codes = np.unique(groups, return_inverse=True)
    count = int(codes.max()) + 1
    if len(parts) < LEAST_FOR_INTERVAL or len(parts) - count < LEAST_FOR_INTERVAL - 1:
        return _range(parts, over, value, strata=count)
    draw = _Draw(_departures(parts, codes), _departures(over, codes), fsum(parts), whole_sum)
    rho = correlation(draw.parts - value * draw.wholes)
    length = block_length(len(parts), rho) if block is None else min(block, len(parts) // 2)
    low, high = _bounds(draw, length, level=level, rng=np.random.default_rng(seed), resamples=resamples)
    wider = _widening(len(parts), length, strata=count, rho=rho if block is None else 0.0, level=level)
    low, high = (value + wider * (bound - value) for bound in (low, high))
    return Interval(
        value,
        min(max(low, bounds[0]), value),
        max(min(high, bounds[1]), value),
        len(parts),
        "interval",
        level,
        length,
        count,
    )


def _range(parts: FloatArray, over: FloatArray, value: float, *, strata: int) -> Interval:
    """Least and greatest of the iterations' own values."""
    each = parts[over > 0] / over[over > 0]
    low, high = min(float(each.min()), value), max(float(each.max()), value)
    return Interval(value, low, high, len(parts), "range", strata=strata)


def _departures(values: FloatArray, codes: IntArray) -> FloatArray:
    """Each value less the mean of its stratum."""
    means = np.bincount(codes, weights=values) / np.bincount(codes)
    return np.asarray(values - means[codes], dtype=np.float64)


def correlation(departures: FloatArray) -> float:
    """How alike neighbours are: the correlation at lag 1, 0 where it is negative.

    Corrected for the bias that comes with estimating the mean from the same values: (n r + 1) / (n - 3), Kendall's
    -(1 + 3 rho) / n turned around. Alternation is not used to narrow an interval.
    """
    count = len(departures)
    square = float(np.dot(departures, departures))
    if count < LEAST_FOR_INTERVAL or not square or not isfinite(square):
        return 0.0
    raw = float(np.dot(departures[1:], departures[:-1])) / square
    return min(max((count * raw + 1) / (count - 3), 0.0), _HIGHEST_CORRELATION)


def block_length(count: int, rho: float) -> int:
    """How many consecutive iterations are drawn together.

    Formula: ``ceil(n^(1/3) (sqrt(6) rho / (1 - rho^2))^(2/3))``, with which the variance of a mean is estimated best
    (circular blocks, a correlation that falls off by rho from each neighbour to the next: Politis and White 2004 with
    that process put in); at least 1, at most a quarter of the iterations.
    """
    best: int = ceil(round((count * 6 * (rho / (1 - rho * rho)) ** 2) ** (1 / 3), 9))
    return max(min(max(best, 1), count // _LEAST_BLOCKS), ceil(count / _MOST_BLOCKS), 1)


def _widening(count: int, block: int, *, strata: int, rho: float, level: float) -> float:
    """By what the distance from the statistic to a percentile is multiplied.

    Formula: ``sqrt(n / (n - strata - block + 1)) x sqrt(v(n) / v(block)) x t / z``. The first puts back what departures
    lose by being taken from their own mean; in the second ``v(m) = 1 + 2 sum_{k<m} (1 - k/m) rho^k`` is the variance of
    m times the mean of m neighbours, of which blocks see too little; t is Student's quantile for
    ``3 n block / (2 block^2 + 1) - strata`` degrees of freedom, z the normal's. It tends to 1 as n grows.
    """
    lost = sqrt(count / max(count - strata - block + 1, 1))
    unseen = sqrt(_variance_of_sum(count, rho) / _variance_of_sum(block, rho))
    freedom = max(int(3 * count * block / (2 * block * block + 1)) - strata, 1)
    return lost * unseen * student_quantile(level, freedom) / normal_quantile(level)


def _variance_of_sum(count: int, rho: float) -> float:
    """``1 + 2 sum_{k<n} (1 - k/n) rho^k``, summed up."""
    return (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**count) / (count * (1 - rho) ** 2)


def _bounds(draw: _Draw, block: int, *, level: float, rng: np.random.Generator, resamples: int) -> tuple[float, float]:
    """The percentiles of the statistic over resamples, each of as many iterations as there are."""
    part_sums, whole_sums = _resampled(draw, block, rng=rng, resamples=resamples)
    wholes = draw.whole_sum + whole_sums
    drawn = (draw.part_sum + part_sums)[wholes > 0] / wholes[wholes > 0]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(draw: _Draw, block: int, *, rng: np.random.Generator, resamples: int) -> tuple[FloatArray, FloatArray]:
    """(sums of the parts' departures, of the wholes') of each resample: blocks that begin anywhere, the last cut."""
    parts, wholes = draw.parts, draw.wholes
    if block == 1:  # order means nothing then, and is to change nothing
        order = np.lexsort((wholes, parts))
        parts, wholes = parts[order], wholes[order]
    count = len(parts)
    blocks = -(-count // block)
    last = count - (blocks - 1) * block
    full = [_window_sums(values, block) for values in (parts, wholes)]
    cut = [_window_sums(values, last) for values in (parts, wholes)]
    sums: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    rows = max(_CHUNK_DRAWS // blocks, 1)
    for begin in range(0, resamples, rows):
        at = rng.integers(0, count, size=(min(rows, resamples - begin), blocks))
        for place in (0, 1):
            sums[place].append(full[place][at[:, :-1]].sum(axis=1) + cut[place][at[:, -1]])
    return np.concatenate(sums[0]), np.concatenate(sums[1])


def _window_sums(values: FloatArray, length: int) -> FloatArray:
    """The sum of ``length`` values from each on, around the end to the beginning."""
    if length == 1:
        return values
    around = np.concatenate((values, values[: length - 1]))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(around, length).sum(axis=1), dtype=np.float64)
