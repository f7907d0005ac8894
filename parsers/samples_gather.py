"""The ``samples`` table while it grows: blocks of readings by rows and metrics, absent readings left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.tables import BoolArray, Column, IntArray, Table, Texts, checked

LAST: Final = "last"
MEAN: Final = "mean"
SUM: Final = "sum"


@dataclass(frozen=True)
class Metric:
    """One sampled metric: its name as the tool has it, base unit, and what a value is of its period."""

    name: str
    unit: str
    aggregation: str | None = None


@dataclass(frozen=True, eq=False)
class Rows:
    """What holds for all readings of each row of a block; a mask tells which are known, None that none is."""

    count: int
    start_ns: IntArray | None = None
    start_known: BoolArray | None = None
    device: IntArray | None = None
    device_known: BoolArray | None = None
    process: IntArray | None = None
    process_known: BoolArray | None = None
    entity: npt.NDArray[np.int32] | None = None


@dataclass(eq=False)
class Samples:
    """Collects blocks; :meth:`table` is the samples of all of them, in the order of the file."""

    entities: Texts = field(default_factory=Texts)
    _kinds: dict[Metric, int] = field(default_factory=dict)
    _parts: dict[str, list[npt.NDArray[Any] | int]] = field(default_factory=dict)

    def add(self, metrics: Sequence[Metric], values: npt.NDArray[np.float64], rows: Rows) -> None:
        """Take a block: ``values`` has one row for each of ``rows`` and one column for each metric, NaN is absent."""
        kept = ~np.isnan(values)
        row, column = np.nonzero(kept)
        kinds = np.array([self._kinds.setdefault(metric, len(self._kinds)) for metric in metrics], dtype=np.int32)
        self._part("value", values[kept], len(row))
        self._part("kind", kinds[column], len(row))
        for name, ints, known in (
            ("start_ns", rows.start_ns, rows.start_known),
            ("device", rows.device, rows.device_known),
            ("process", rows.process, rows.process_known),
        ):
            sure = known is None or bool(known.all())
            self._part(name, None if ints is None else ints[row], len(row))
            self._part(f"{name} unknown", None if known is None or sure else ~known[row], len(row))
            if ints is None:
                self._parts[f"{name} unknown"][-1] = -len(row)
        self._part("entity", None if rows.entity is None else rows.entity[row], len(row))

    def _part(self, name: str, part: npt.NDArray[Any] | None, count: int) -> None:
        """Keep a block's part of a column: an array, or how many rows have nothing special."""
        self._parts.setdefault(name, []).append(count if part is None else part)

    def table(self) -> Table:
        """The samples, columns of nothing but nulls left out."""
        if not self._parts:
            return Table("samples")
        kinds = self._whole("kind", np.int32)
        columns = {
            "metric": _of_kinds(kinds, [metric.name for metric in self._kinds]),
            "unit": _of_kinds(kinds, [metric.unit for metric in self._kinds]),
            "value": Column(self._whole("value", np.float64)),
            "aggregation": _of_kinds(kinds, [metric.aggregation for metric in self._kinds]),
            "entity": Column(self._whole("entity", np.int32, fill=-1), None, self.entities.categories),
        }
        for name in ("start_ns", "device", "process"):
            known = ~self._whole(f"{name} unknown", np.bool_)
            columns[name] = Column(self._whole(name, np.int64), None if known.all() else known)
        told = {name: column for name, column in columns.items() if name in _REQUIRED or column.present.any()}
        return checked("samples", told)

    def _whole(self, name: str, dtype: type[np.generic], *, fill: int = 0) -> npt.NDArray[Any]:
        """All parts of a column, which are let go of."""
        parts = [
            np.full(abs(part), fill if part >= 0 else True, dtype=dtype) if isinstance(part, int) else part
            for part in self._parts.pop(name)
        ]
        return np.concatenate(parts).astype(dtype, copy=False)


_REQUIRED: Final = ("metric", "unit", "value")


def _of_kinds(kinds: npt.NDArray[np.int32], texts: Sequence[str | None]) -> Column:
    """A text column, from the texts of each kind."""
    found = Texts()
    codes = found.codes(texts)
    return Column(codes[kinds], None, found.categories)
