"""Summing rows by a key: calls, duration, share of the busy time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ds2prof.analysis.answers import ratio, ratios
from ds2prof.analysis.intervals import FloatArray, rounded_to_sum, shares_ns, union_ns
from ds2prof.analysis.totals import by_device
from ds2prof.analysis.windows import ends_ns
from ds2prof.tables import Column, IntArray, Profile, Table


def device_shares_ns(kernels: Table) -> tuple[FloatArray, int] | None:
    """(share of each kernel in its device's busy time, float ns; busy time of all devices); None without times."""
    if not (kernels["start_ns"].present & kernels["dur_ns"].present).all():
        return None
    shares = np.zeros(len(kernels))
    starts, ends = kernels.ints("start_ns"), ends_ns(kernels)
    busy_ns = 0
    for _, mask in by_device(kernels, Table("copies")):
        rows = slice(None) if mask.all() else mask
        shares[rows] = shares_ns(starts[rows], ends[rows])
        busy_ns += union_ns(starts[rows], ends[rows])
    return shares, busy_ns


def kernel_shares_ns(profile: Profile) -> tuple[FloatArray, int] | None:
    """:func:`device_shares_ns` of all kernels of a profile, worked out once."""
    return profile.derived("shares of kernels", lambda: device_shares_ns(profile.table("kernels")))


def combined(columns: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """(code of each row's combination of values, one row of each code); codes are in the order of the values."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    rows = np.zeros(min(len(codes), 1), dtype=np.int64)
    for values in columns:
        if len(values) and int(values.min()) == int(values.max()):
            continue
        distinct, inverse = np.unique(values, return_inverse=True)
        _, rows, codes = np.unique(codes * len(distinct) + inverse, return_index=True, return_inverse=True)
    return np.asarray(codes, dtype=np.int64), np.asarray(rows, dtype=np.int64)


def summed(codes: IntArray, values: IntArray, count: int) -> IntArray:
    """Sum of ``values`` by group code, exact."""
    sums = np.zeros(count, dtype=np.int64)
    np.add.at(sums, codes, values)
    return sums


def known_sums(codes: IntArray, column: Column, count: int) -> list[int | None]:
    """Sum of an int column by group code; None for a group in which any row's value is unknown."""
    present = column.present
    sums = summed(codes, np.where(present, column.values, 0), count).tolist()
    lacking = np.bincount(codes[~present], minlength=count) > 0
    return [None if lack else value for value, lack in zip(sums, lacking.tolist(), strict=True)]


def time_columns(
    codes: IntArray, count: int, *, durations: Column, shares: tuple[FloatArray, int] | None
) -> dict[str, Sequence[Any]]:
    """``dur_ns``, ``excl_ns``, ``share`` of each of ``count`` groups.

    ``dur_ns`` is None for a group in which any row's is. ``excl_ns`` sums to the busy time over the groups. ``share``
    is of the busy time; of the summed durations where there are no times.
    """
    dur_ns = known_sums(codes, durations, count)
    if shares is None:
        whole = None if None in dur_ns else sum(value or 0 for value in dur_ns)
        return {"dur_ns": dur_ns, "excl_ns": [None] * count, "share": [ratio(value, whole) for value in dur_ns]}
    per_row, busy_ns = shares
    parts = np.bincount(codes, weights=per_row, minlength=count).astype(np.float64)
    excl_ns = rounded_to_sum(parts, busy_ns)
    return {"dur_ns": dur_ns, "excl_ns": excl_ns.tolist(), "share": ratios(excl_ns, busy_ns)}


def sorted_columns(
    columns: Mapping[str, Sequence[Any]], *, by: Sequence[str], descending: bool = True
) -> dict[str, Sequence[Any]]:
    """The columns reordered by the first of ``by`` that has values (then the next); unknown values come last."""
    count = len(next(iter(columns.values()), ()))
    keys = [columns[name] for name in by]

    def rank(row: int) -> list[tuple[bool, Any]]:
        return [(True, 0) if key[row] is None else (False, -key[row] if descending else key[row]) for key in keys]

    order = sorted(range(count), key=rank)
    return {name: [values[row] for row in order] for name, values in columns.items()}
