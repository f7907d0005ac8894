"""Iterations of like padded length, which is what an iteration's time follows from before all else."""

from __future__ import annotations

from math import ceil
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.tables import IntArray, Profile

LEAST_MEMBERS: Final = 8
"""How many iterations a stratum has at least; of fewer its mean and its spread say little."""
MOST_STRATA: Final = 10


def length_strata(lengths: FloatArray) -> IntArray:
    """The stratum of each iteration, from 0 for the shortest on; iterations without a length are one more.

    Rule: in the order of padded length, a stratum takes iterations until it has as many as 8, and no less than a tenth
    of all; iterations of the same length stay together; what is left at the end belongs to the last. Fewer than 16
    iterations of different lengths are one stratum.
    """
    found = np.zeros(len(lengths), dtype=np.int64)
    known = np.isfinite(lengths)
    distinct, codes, counts = np.unique(lengths[known], return_inverse=True, return_counts=True)
    of_distinct = _grouped(counts, max(LEAST_MEMBERS, ceil(int(counts.sum()) / MOST_STRATA)))
    if len(distinct):
        found[known] = of_distinct[codes.reshape(-1)]
        found[~known] = int(of_distinct[-1]) + 1
    return found


def _grouped(counts: IntArray, least: int) -> IntArray:
    """The group of each count: as few consecutive ones as sum to ``least``."""
    groups = np.zeros(len(counts), dtype=np.int64)
    group, members, left = 0, 0, int(counts.sum())
    for place, count in enumerate(counts.tolist()):
        if members >= least and left >= least:
            group, members = group + 1, 0
        groups[place] = group
        members += count
        left -= count
    return groups


def padded_lengths(profile: Profile) -> FloatArray:
    """The padded seconds of a sample in each iteration of a run log; NaN where that is not known."""
    table = profile.table("iterations")
    padded, samples = table["padded_s"].values, table["samples"]
    lengths = np.full(len(table), np.nan)
    rows = samples.present & (table.ints("samples") > 0) & np.isfinite(padded)
    lengths[rows] = padded[rows] / table.ints("samples")[rows]
    return lengths


def said(strata: IntArray, *, known: bool) -> str:
    """In how many strata the iterations are, and why in one if they are."""
    count = len(np.unique(strata))
    if not known:
        return "one stratum, padded lengths are not in this file"
    return f"{count} strata by padded length" if count > 1 else "one stratum of padded length"
