"""Metrics of launches, out of the files of nvprof's metric mode."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.parsers import nvprof_metrics
from ds2prof.parsers.nvprof_sqlite_rows import PREFIX, Columns, Losses, blobs, ranked, read
from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import BoolArray, Column, IntArray, text_column

UNREAD: Final = {
    "EVENT": "of events left out, whose names the file does not hold; 'nvprof -i FILE --csv' prints them",
    "EVENT_INSTANCE": "of single instances of events left out; 'nvprof -i FILE --csv' prints them",
    "METRIC_INSTANCE": "of single instances of metrics left out; 'nvprof -i FILE --csv' prints them",
}
"""What is beside the metrics of launches, and why it is left out."""


def has_counters(database: Database) -> bool:
    """Whether launches were measured, and so repeated."""
    return any(
        bool(database.rows(f'SELECT 1 FROM "{PREFIX}{kind}" LIMIT 1'))  # noqa: S608
        for kind in ("METRIC", *UNREAD)
        if PREFIX + kind in database.tables
    )


def counters(database: Database, launches: Column, *, losses: Losses) -> Columns | None:
    """The columns of the counters table.

    A value belongs to the launch with its correlation id. Where several launches have that id, the first value of a
    metric is the first launch's, the second the second's.

    Args:
        database: the file.
        launches: correlation ids of the kernels table, row by row.
        losses: told of what is left out.
    """
    for kind, reason in UNREAD.items():
        losses.add("counters", reason, database.count(PREFIX + kind))
    found = read(database, "METRIC", ["id", "correlationId"])
    if found is None:
        return None
    raw, readable = blobs(database, "METRIC", "value", size=8, length=len(found["id"]))
    rows = _launch_rows(found, launches)
    codes, names = _names(found["id"])
    values = _values(raw, codes, names)
    known = codes >= 0
    losses.add("counters", "left out, of metrics whose numbers are not known here", int((~known).sum()))
    losses.add("counters", "left out, without a value that can be", int((known & ~_can_be(values, readable)).sum()))
    good = known & _can_be(values, readable)
    losses.add("counters", "left out, of launches that are not in the file", int((good & (rows < 0)).sum()))
    good &= rows >= 0
    units = text_column([nvprof_metrics.unit(name) for name in names])
    return {
        "launch": Column(rows[good]),
        "metric": Column(codes[good], None, names),
        "unit": Column(units.values[codes[good]], None, units.categories),
        "value": Column(values[good]),
    }


def _can_be(values: npt.NDArray[np.float64], readable: BoolArray) -> BoolArray:
    return np.asarray(readable & np.isfinite(values))


def _launch_rows(found: Columns, launches: Column) -> IntArray:
    """The row of the kernels table for each value, -1 where there is none."""
    ids = np.where(launches.present, launches.values, -1)
    pairs = np.unique(np.stack([found["correlationId"].values, found["id"].values]), axis=1, return_inverse=True)[1]
    nth = ranked(pairs.reshape(-1).astype(np.int64))[1]
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    at = np.searchsorted(ordered, found["correlationId"].values) + nth
    inside = np.minimum(at, len(ordered) - 1)
    fits = found["correlationId"].present & (found["correlationId"].values > 0)
    if not len(ordered):
        return np.full(len(at), -1, dtype=np.int64)
    fits &= (at < len(ordered)) & (ordered[inside] == found["correlationId"].values)
    return np.where(fits, order[inside], -1)


def _names(numbers: Column) -> tuple[npt.NDArray[np.int32], list[str]]:
    """(code of each value's metric, -1 where its number is not known; the metrics)."""
    names = nvprof_metrics.names()
    distinct, inverse = np.unique(numbers.values, return_inverse=True)
    coded = text_column([names.get(number) for number in distinct.tolist()])
    codes = np.where(numbers.present, coded.values[inverse], -1).astype(np.int32)
    return codes, list(coded.categories or ())


def _values(raw: npt.NDArray[np.uint8], codes: npt.NDArray[np.int32], names: list[str]) -> npt.NDArray[np.float64]:
    """The values in base units, NaN where the metric is not known."""
    values = np.full(len(raw), np.nan)
    for code, name in enumerate(names):
        mine = codes == code
        values[mine] = nvprof_metrics.base_values(raw[mine], name)
    return values
