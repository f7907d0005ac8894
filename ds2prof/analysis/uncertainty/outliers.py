"""Iterations that took longer or shorter than others like them, and what of their time grew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Final

import numpy as np

from ds2prof import units
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.uncertainty.warmup import LEAST_EXCESS, MADS, middle
from ds2prof.tables import IntArray

LEAST_MEMBERS: Final = 6
"""From how many iterations on one can be told from the others."""


@dataclass(frozen=True)
class Outlier:
    """One iteration outside of what others of its stratum take.

    Attributes:
        place: which iteration, from 0.
        time_ns: what it took.
        excess_ns: that less the median of its stratum; below zero for one that was quick.
        relative: the excess over that median.
        cause: the cause of the ledger that grew (or shrank) most against the stratum's median, where a ledger is there.
        cause_excess_ns: by how much.
    """

    place: int
    time_ns: float
    excess_ns: float
    relative: float
    cause: str | None = None
    cause_excess_ns: float | None = None

    def said(self, key: object) -> str:
        """In words."""
        than = "longer" if self.excess_ns > 0 else "less"
        share = units.format_ratio(abs(self.relative), digits=0)
        line = (
            f"outlier: iteration {key} took {units.format_ns_short(self.time_ns)}, "
            f"{units.format_ns_short(abs(self.excess_ns))} ({share}) {than} than the median"
        )
        if self.cause is None:
            return line
        return f"{line}; {self.cause} {units.format_ns_signed(self.cause_excess_ns)}"


def outliers(
    times: Sequence[float] | FloatArray | IntArray,
    *,
    strata: IntArray | None = None,
    ledger: Mapping[str, Sequence[float] | IntArray] | None = None,
) -> tuple[Outlier, ...]:
    """The iterations outside median +- 3.5 scaled MADs of their stratum and by more than 5 % off it, worst first.

    Strata of fewer than six iterations are not judged. Blind spot: where more than half of the iterations are disturbed
    the others are the outliers.

    Args:
        times: of each iteration, warm-up left out, in ns.
        strata: of each; None for one stratum.
        ledger: cause -> its time in each of these iterations.
    """
    values = np.asarray(times, dtype=np.float64)
    groups = np.zeros(len(values), dtype=np.int64) if strata is None else strata
    found: list[Outlier] = []
    for group in np.unique(groups).tolist():
        rows = np.flatnonzero((groups == group) & np.isfinite(values))
        if len(rows) < LEAST_MEMBERS:
            continue
        median, spread = middle(values[rows])
        limit = max(MADS * spread, LEAST_EXCESS * median)
        for row in rows[np.abs(values[rows] - median) > limit].tolist():
            excess = float(values[row]) - median
            cause, by_ns = _grown(ledger or {}, row, rows, shrunk=excess < 0)
            found.append(Outlier(row, float(values[row]), excess, excess / median if median else inf, cause, by_ns))
    return tuple(sorted(found, key=lambda one: (-abs(one.excess_ns), one.place)))


def _grown(
    ledger: Mapping[str, Sequence[float] | IntArray], row: int, rows: IntArray, *, shrunk: bool
) -> tuple[str | None, float | None]:
    """(the cause that changed most in the direction of the whole, by how much); Nones where none did."""
    changes = {cause: _change(values, row, rows) for cause, values in ledger.items()}
    sign = -1 if shrunk else 1
    most = max(changes, key=lambda cause: sign * changes[cause], default=None)
    return (most, changes[most]) if most is not None and sign * changes[most] > 0 else (None, None)


def _change(values: Sequence[float] | IntArray, row: int, rows: IntArray) -> float:
    each = np.asarray(values, dtype=np.float64)
    return float(each[row] - np.nanmedian(each[rows])) if np.isfinite(each[row]) else nan
