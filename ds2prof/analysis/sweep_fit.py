"""How throughput saturates with the batch: a fixed cost per step and a cost per sample, fitted to a sweep.

The model is a line of the step time, ``step_s(B) = fixed_s + per_sample_s x B``, which makes the throughput
``T(B) = B / step_s(B) = max_per_s x B / (B + knee_batch)`` with ``max_per_s = 1 / per_sample_s`` and
``knee_batch = fixed_s / per_sample_s``. Least squares over relative residuals, because the spread of a step time grows
with it: a step twice as long may miss by twice as much.

The knee is the batch at which fixed cost and cost of the samples are equal. There the two asymptotes of the curve meet
(T = B / fixed_s of small batches, T = max_per_s of large ones), on logarithmic axes it bends most, and throughput /
step time is greatest (Kleinrock's power); half of ``max_per_s`` is reached. It does not depend on which batches were
measured. Blind spot: a device that waits for its host at small batches has a flat floor of the step time and then a
line; a network whose kernels change with the batch has jumps. Neither is this model: where it misses by more than 10 %
there is no fit, and the reason says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.analysis.uncertainty.quantiles import student_quantile

FloatArray = npt.NDArray[np.float64]

LEAST_BATCHES: Final = 3
WORST_MISS: Final = 0.10
"""Root mean square of the relative residuals above which the line is no description of the step time."""
LEVEL: Final = 0.95


@dataclass(frozen=True)
class Saturation:
    """The curve of a sweep: throughput by batch, where it ends and where it bends.

    Attributes:
        fixed_s: what a step costs whatever its batch.
        per_sample_s: what each sample adds.
        max_per_s: throughput that ever larger batches approach, 1 / ``per_sample_s``; ``max_low_per_s`` and
            ``max_high_per_s`` bound it (None above: the points do not exclude that it grows for ever).
        knee_batch: ``fixed_s`` / ``per_sample_s``, half of ``max_per_s``; ``knee_low`` and ``knee_high`` bound it.
        reached: the curve at the greatest batch that was measured, as a share of ``max_per_s``.
        miss: root mean square of (fitted - measured) / measured step time.
        points: how many measurements; batches: how many distinct batches among them.
        level: of the bounds (Student's t for the rate, Fieller's theorem for the ratio), for independent points.
    """

    fixed_s: float
    per_sample_s: float
    max_per_s: float
    max_low_per_s: float
    max_high_per_s: float | None
    knee_batch: float
    knee_low: float | None
    knee_high: float | None
    reached: float
    miss: float
    points: int
    batches: int
    level: float = LEVEL

    def samples_per_s(self, batch: npt.ArrayLike) -> FloatArray:
        """The fitted throughput at each batch."""
        sizes = np.asarray(batch, dtype=np.float64)
        return np.asarray(sizes / (self.fixed_s + self.per_sample_s * sizes))

    def batch_at(self, share: float) -> float:
        """The batch that reaches this share (above 0, below 1) of ``max_per_s``: knee x share / (1 - share)."""
        return self.knee_batch * share / (1 - share)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, and the batch that reaches 90 % of the maximum."""
        return {**vars(self), "batch_at_90_percent": self.batch_at(0.9)}


@dataclass(frozen=True)
class Fit:
    """The curve that was fitted, or the reason why there is none: one of the two is None."""

    curve: Saturation | None
    reason: str | None = None


def saturation(batch: Sequence[float] | FloatArray, samples_per_s: Sequence[float] | FloatArray) -> Fit:
    """The saturating curve through points of (batch, throughput), several of one batch allowed.

    Points that are not finite or not above zero are left out. There is no fit with fewer than three batches, where the
    step time does not grow with the batch (throughput has not begun to saturate), where no fixed cost is found
    (throughput never grew), and where the line misses the points by more than 10 %.
    """
    sizes, rates = np.asarray(batch, dtype=np.float64), np.asarray(samples_per_s, dtype=np.float64)
    usable = np.isfinite(sizes) & np.isfinite(rates) & (sizes > 0) & (rates > 0)
    sizes, rates = sizes[usable], rates[usable]
    distinct = len(np.unique(sizes))
    if distinct < LEAST_BATCHES:
        return Fit(None, f"a curve needs {LEAST_BATCHES} batch sizes with a throughput, and there are {distinct}")
    return _fitted(sizes, sizes / rates, distinct)


def _fitted(sizes: FloatArray, step_s: FloatArray, distinct: int) -> Fit:
    fixed_s, per_sample_s, spread, miss = _line(sizes, step_s)
    smallest = 1e-9 * float(step_s.min())
    if per_sample_s * float(sizes.max()) <= smallest:
        return Fit(None, "the step time does not grow with the batch: throughput has not begun to saturate")
    if fixed_s <= smallest:
        return Fit(None, "the step time grows as fast as the batch: throughput is flat or falls, there is no knee")
    if miss > WORST_MISS:
        return Fit(None, f"no fixed cost plus cost per sample describes the step times: a line misses by {miss:.0%}")
    return Fit(_curve(fixed_s, per_sample_s, spread, miss=miss, sizes=sizes, distinct=distinct))


def _line(sizes: FloatArray, step_s: FloatArray) -> tuple[float, float, FloatArray, float]:
    """Intercept, slope, their covariance and the miss; each row divided by its step time, so residuals are relative."""
    # The batch in units of the greatest keeps the normal equations well conditioned.
    scale = float(sizes.max())
    rows = np.stack([1.0 / step_s, sizes / scale / step_s], axis=1)
    found, *_ = np.linalg.lstsq(rows, np.ones(len(sizes)), rcond=None)
    residuals = rows @ found - 1.0
    variance = float(residuals @ residuals) / (len(sizes) - 2)
    covariance = np.linalg.inv(rows.T @ rows) * variance
    units = np.array([1.0, 1.0 / scale])
    miss = math.sqrt(float(residuals @ residuals) / len(sizes))
    spread = np.asarray(covariance * np.outer(units, units), dtype=np.float64)
    return float(found[0]), float(found[1] / scale), spread, miss


def _curve(
    fixed_s: float, per_sample_s: float, spread: FloatArray, *, miss: float, sizes: FloatArray, distinct: int
) -> Saturation:
    t = student_quantile(LEVEL, len(sizes) - 2)
    half = t * math.sqrt(max(float(spread[1, 1]), 0.0))
    low, high = _ratio_bounds(fixed_s, per_sample_s, spread * t * t)
    knee = fixed_s / per_sample_s
    greatest = float(sizes.max())
    return Saturation(
        fixed_s=fixed_s,
        per_sample_s=per_sample_s,
        max_per_s=1 / per_sample_s,
        max_low_per_s=1 / (per_sample_s + half),
        max_high_per_s=1 / (per_sample_s - half) if half < per_sample_s else None,
        knee_batch=knee,
        knee_low=low,
        knee_high=high,
        reached=greatest / (greatest + knee),
        miss=miss,
        points=len(sizes),
        batches=distinct,
    )


def _ratio_bounds(top: float, bottom: float, spread: FloatArray) -> tuple[float | None, float | None]:
    """Fieller's bounds of ``top / bottom``, none below 0; both None where ``bottom`` may be 0.

    They are the roots of (top - r bottom)^2 = spread_00 - 2 r spread_01 + r^2 spread_11.
    """
    square = bottom**2 - float(spread[1, 1])
    if square <= 0:
        return None, None
    middle = top * bottom - float(spread[0, 1])
    rest = top**2 - float(spread[0, 0])
    root = math.sqrt(max(middle**2 - square * rest, 0.0))
    return max((middle - root) / square, 0.0), (middle + root) / square
