"""The rows of a report of ``nsys stats`` whose times, counts and sums can be; what cannot be is left out and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ds2prof.parsers.nsys_stats_gather import Gathered
from ds2prof.tables import BoolArray, Column, IntArray, null_column

MAX_DUR_NS: Final = 7 * 86_400 * 1_000_000_000
MAX_TIME_NS: Final = 4 * 10**18


@dataclass(eq=False)
class Warnings:
    """What went wrong, a line each."""

    lines: list[str] = field(default_factory=list)

    def count(self, number: int, noun: str, what: str) -> None:
        """Note that ``number`` times ``noun`` are ``what``, if there are any."""
        if number:
            self.lines.append(f"{number} {noun}{'' if number == 1 else 's'} {what}")


def timed(
    gathered: Gathered, warnings: Warnings, *, prefix: str = "", noun: str, among: BoolArray | None = None
) -> IntArray:
    """The rows of a trace whose times can be, of those in ``among``."""
    start, dur = _number(gathered, f"{prefix}start_ns"), _number(gathered, f"{prefix}dur_ns")
    asked = np.ones(len(dur), dtype=np.bool_) if among is None else among
    readable = start.present & dur.present & (np.abs(start.values) <= MAX_TIME_NS)
    negative, long = dur.values < 0, dur.values > MAX_DUR_NS
    warnings.count(int((asked & ~readable).sum()), noun, "left out, no readable time")
    warnings.count(int((asked & readable & negative).sum()), noun, "left out, negative duration")
    warnings.count(int((asked & readable & long).sum()), noun, "left out, longer than a week")
    return np.flatnonzero(asked & readable & ~negative & ~long)


def summed(gathered: Gathered, warnings: Warnings, *, noun: str, among: BoolArray | None = None) -> IntArray:
    """The rows of a summary whose counts and sums can be, of those in ``among``."""
    calls, dur = _number(gathered, "calls"), _number(gathered, "dur_ns")
    asked = np.ones(len(calls), dtype=np.bool_) if among is None else among
    usable = calls.present & (calls.values > 0) & dur.present & (dur.values >= 0)
    usable &= dur.values // MAX_DUR_NS <= calls.values
    warnings.count(int((asked & ~usable).sum()), f"row of {noun}", "left out, its count or total cannot be")
    return np.flatnonzero(asked & usable)


def extremes(gathered: Gathered, rows: IntArray, warnings: Warnings, *, prefix: str = "") -> dict[str, Column]:
    """``min_dur_ns`` and ``max_dur_ns`` of the rows; null where they cannot be."""
    low, high = _number(gathered, f"{prefix}min_dur_ns").take(rows), _number(gathered, f"{prefix}max_dur_ns").take(rows)
    there = low.present & high.present
    sound = there & (low.values >= 0) & (low.values <= high.values) & (high.values <= MAX_DUR_NS)
    warnings.count(int((there & ~sound).sum()), "row", "with a least above its most; both are left out")
    return {"min_dur_ns": Column(low.values, sound), "max_dur_ns": Column(high.values, sound)}


def _number(gathered: Gathered, name: str) -> Column:
    found = gathered.number(name)
    return null_column("int", gathered.length) if found is None else found


def taken(gathered: Gathered, rows: IntArray, names: Iterable[str]) -> dict[str, Column]:
    """The fields of these names of the rows; those that the report has."""
    columns: dict[str, Column] = {}
    for name in names:
        column = gathered.number(name)
        column = gathered.text(name) if column is None else column
        if column is not None:
            columns[name] = _compact(column.take(rows))
    return columns


def _compact(column: Column) -> Column:
    """The column, with those of its texts that its rows have."""
    if column.categories is None:
        return column
    used = np.unique(column.values[column.values >= 0])
    code_of = np.full(len(column.categories) + 1, -1, dtype=np.int32)
    code_of[used] = np.arange(len(used), dtype=np.int32)
    return Column(code_of[column.values], None, [column.categories[code] for code in used.tolist()])


def natural(column: Column) -> Column:
    """The column with its negative numbers null."""
    return Column(column.values, column.present & (column.values >= 0))


def recoded(column: Column, text_of: Callable[[str], str | None]) -> Column:
    """The text column with each text changed; what becomes None is null."""
    code_of: dict[str, int] = {}
    changed = [text_of(text) for text in column.categories or ()]
    codes = [-1 if text is None else code_of.setdefault(text, len(code_of)) for text in changed]
    values = np.array([*codes, -1], dtype=np.int32)[column.values]
    return Column(values, None, list(code_of))


def renumbered(column: Column, number_of: Callable[[str], int | None]) -> Column:
    """The int column of what number each text of a text column holds."""
    numbers = [number_of(text) for text in column.categories or ()]
    values = np.array([*(0 if number is None else number for number in numbers), 0], dtype=np.int64)
    valid = np.array([*(number is not None for number in numbers), False], dtype=np.bool_)
    return Column(values[column.values], valid[column.values])


def matching(column: Column, test: Callable[[str], bool]) -> BoolArray:
    """Mask of the rows of a text column whose text passes the test."""
    passed = np.array([*(test(text) for text in column.categories or ()), False], dtype=np.bool_)
    return np.asarray(passed[column.values], dtype=np.bool_)


def constant(text: str, length: int) -> Column:
    """A text column of one text."""
    return Column(np.zeros(length, dtype=np.int32), None, [text])


def stacked(parts: Iterable[Mapping[str, Column]]) -> dict[str, Column]:
    """The columns of several groups of rows one behind the other; what a group lacks is null."""
    parts = [part for part in parts if part and len(next(iter(part.values())))]
    if len(parts) < 2:
        return dict(parts[0]) if parts else {}
    lengths = [len(next(iter(part.values()))) for part in parts]
    names = {name: column.kind for part in parts for name, column in part.items()}
    return {
        name: _stacked([part.get(name) or null_column(kind, n) for part, n in zip(parts, lengths, strict=True)])
        for name, kind in names.items()
    }


def _stacked(columns: list[Column]) -> Column:
    if columns[0].categories is None:
        values: Any = np.concatenate([column.values for column in columns])
        return Column(values, np.concatenate([column.present for column in columns]))
    code_of: dict[str, int] = {}
    codes = []
    for column in columns:
        own = [code_of.setdefault(text, len(code_of)) for text in column.categories or ()]
        codes.append(np.array([*own, -1], dtype=np.int32)[column.values])
    return Column(np.concatenate(codes), None, list(code_of))


def text_of(gathered: Gathered, name: str) -> Column:
    """The texts of a field; nulls where the report lacks it."""
    found = gathered.text(name)
    return Column(np.full(gathered.length, -1, dtype=np.int32), None, ()) if found is None else found


def pairing(gathered: Gathered) -> IntArray:
    """A number for the call of each row of a trace of launches; one that launched several kernels has one number."""
    calls = _keys(gathered, ("api_start_ns", "api_dur_ns", "process", "thread", "api_name"))
    if not len(calls):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(np.unique(calls, axis=0, return_inverse=True)[1].reshape(-1) + 1, dtype=np.int64)


def launched(gathered: Gathered) -> BoolArray:
    """Mask of the rows of a trace of launches that hold a kernel with its own call.

    The tool records a call once more when it takes a backtrace of it: the same kernel is then there twice, with the
    call and with another around it, which begins earlier.
    """
    kernels = _keys(gathered, ("start_ns", "dur_ns", "process", "device", "name"))
    mask = np.zeros(len(kernels), dtype=np.bool_)
    if len(kernels):
        last = np.unique(kernels[::-1], axis=0, return_index=True)[1]
        mask[len(kernels) - 1 - last] = True
    return mask


def _keys(gathered: Gathered, names: Iterable[str]) -> IntArray:
    columns = taken(gathered, np.arange(gathered.length), names).values()
    return np.stack([column.values.astype(np.int64) for column in columns], axis=1)


def averaged(gathered: Gathered, warnings: Warnings, *, prefix: str, name: str, noun: str) -> dict[str, Column]:
    """Rows of a report that prints means, no totals: a total is known where rounding leaves one whole number."""
    calls, mean = gathered.number("calls"), gathered.number(f"{prefix}avg_dur_ns")
    if calls is None or mean is None:
        return {}
    usable = calls.present & (calls.values > 0) & mean.present & (mean.values >= 0)
    single = calls.values == 1
    rows = np.flatnonzero(usable)
    warnings.count(int((~usable).sum()), f"row of {noun}", "left out, its count or mean cannot be")
    warnings.count(int((usable & ~single).sum()), f"row of {noun}", "without a total: this report prints means alone")
    columns = taken(gathered, rows, (name, "calls", "process", "thread" if prefix else "device"))
    columns["name"] = columns.pop(name)
    columns["dur_ns"] = Column(mean.values, usable & single).take(rows)
    return columns | extremes(gathered, rows, warnings, prefix=prefix)
