"""The shape of every answer: a key, columns of equal length, and notes that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ds2prof.tables import IntArray


@dataclass(frozen=True)
class Answer:
    """Rows by one key, stored as columns; None is unknown.

    Attributes:
        by: the key: core, name, kernel, launch, class, phase, layer, iteration, stream, device.
        columns: column name -> values; names end in their unit, ratios are in 0..1.
        notes: what a reader of the numbers must know, a line each.
    """

    by: str
    columns: Mapping[str, Sequence[Any]]
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return next((len(values) for values in self.columns.values()), 0)

    def rows(self) -> list[dict[str, Any]]:
        """One dict per row."""
        names = list(self.columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]

    def head(self, count: int) -> Answer:
        """The first rows alone."""
        return Answer(self.by, {name: values[:count] for name, values in self.columns.items()}, self.notes)


def ratio(part: float | None, whole: float | None) -> float | None:
    """Part / whole; None where either is unknown or the whole is nothing."""
    if part is None or not whole:
        return None
    return part / whole


def ratios(parts: IntArray, whole: int | None) -> list[float | None]:
    """Each part / whole; None where the whole is unknown or nothing."""
    if not whole:
        return [None] * len(parts)
    return list((parts / np.float64(whole)).tolist())
