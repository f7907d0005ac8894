"""Statistics of many groups at once, and the groups that kernels form by their short names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ds2prof.analysis.answers import ratio
from ds2prof.analysis.intervals import FloatArray
from ds2prof.kernel_names import short_name
from ds2prof.tables import BoolArray, Column, IntArray


@dataclass(frozen=True, eq=False)
class Spread:
    """Of each group: how many values, their mean, median, extremes and sample deviation; None where there are none."""

    count: list[int]
    mean: list[float | None]
    median: list[float | None]
    least: list[int | None]
    greatest: list[int | None]
    deviation: list[float | None]


def spread(codes: IntArray, values: IntArray, count: int) -> Spread:
    """The statistics of ``values`` by group code; the deviation needs two values."""
    order = np.lexsort((values, codes))
    sorted_values = values[order]
    sizes = np.bincount(codes, minlength=count)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    some = sizes > 0
    means = np.divide(np.bincount(codes, weights=values, minlength=count), sizes, out=np.zeros(count), where=some)
    squares = np.bincount(codes, weights=(values - means[codes]) ** 2, minlength=count)
    deviations = np.sqrt(np.divide(squares, sizes - 1, out=np.zeros(count), where=sizes > 1))
    low, high = starts + (sizes - 1) // 2, starts + sizes // 2
    middle = np.zeros(count)
    middle[some] = (sorted_values[low[some]] + sorted_values[high[some]]) / 2
    least, greatest = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    least[some], greatest[some] = sorted_values[starts[some]], sorted_values[ends[some] - 1]
    return Spread(
        count=sizes.tolist(),
        mean=_where(means, some),
        median=_where(middle, some),
        least=_where(least, some),
        greatest=_where(greatest, some),
        deviation=_where(deviations, sizes > 1),
    )


def _where(values: FloatArray | IntArray, known: BoolArray) -> list[Any]:
    return [value if ok else None for value, ok in zip(values.tolist(), known.tolist(), strict=True)]


def distinct(*parts: IntArray) -> IntArray:
    """Every value of the arrays once, in order; ``np.unique`` hashes, which takes ten times as long here."""
    values = np.sort(np.concatenate(parts), kind="stable")
    return np.concatenate((values[:1], values[1:][values[1:] > values[:-1]]))


def short_names(names: Column) -> tuple[IntArray, list[str]]:
    """(group code of each row, short name of each group), in order of appearance among the categories."""
    categories = names.categories or ()
    used = np.flatnonzero(np.bincount(names.values, minlength=len(categories)))
    code_of: dict[str, int] = {}
    codes_of = np.zeros(len(categories), dtype=np.int64)
    codes_of[used] = [code_of.setdefault(short_name(categories[code]), len(code_of)) for code in used.tolist()]
    return codes_of[names.values], list(code_of)


def weighted_means(codes: IntArray, values: FloatArray, weights: FloatArray, count: int) -> list[float | None]:
    """Mean of the values that are known by group, weighted; None for a group without any."""
    known = ~np.isnan(values)
    whole = np.bincount(codes[known], weights=weights[known], minlength=count)
    parts = np.bincount(codes[known], weights=(weights * values)[known], minlength=count)
    return [ratio(part, of) for part, of in zip(parts.tolist(), whole.tolist(), strict=True)]


class Names:
    """Texts of several columns under one set of codes; 0 stands for no text."""

    def __init__(self) -> None:
        self._code_of: dict[str | None, int] = {None: 0}

    def codes(self, texts: Sequence[str | None], rows: IntArray) -> IntArray:
        """The code of ``texts[row]`` for each row; 0 for a row of -1."""
        known = [self._code_of.setdefault(text, len(self._code_of)) for text in texts]
        return np.array([*known, 0], dtype=np.int64)[rows]

    @property
    def texts(self) -> list[str | None]:
        """The texts by code."""
        return list(self._code_of)


def name_rows(column: Column, rows: IntArray) -> IntArray:
    """The codes of a text column's rows; -1 for a row of -1 and for null."""
    if not len(column):
        return np.full(len(rows), -1, dtype=np.int64)
    return np.where(rows >= 0, column.values[rows], -1).astype(np.int64)
