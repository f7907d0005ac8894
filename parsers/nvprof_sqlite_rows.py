"""Rows of nvprof's tables: their times held against what can be, their texts looked up, several tables made one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.errors import ReadError
from ds2prof.parsers.sqlite_tables import Database, quoted
from ds2prof.tables import BoolArray, Column, IntArray, null_column

PREFIX: Final = "CUPTI_ACTIVITY_KIND_"
MAX_DUR_NS: Final = 7 * 86_400 * 1_000_000_000
"""A week. What claims to have taken longer is an overflow in CUPTI."""
MAX_START_NS: Final = 8 * 10**18
"""The year 2223. A start beyond it is no time, and its end might not fit into 64 bits."""
INVALID: Final = 0xFFFF_FFFF
"""What CUPTI writes where an id does not apply."""
_MANY: Final = 1 << 31
"""More than a table has rows."""
_BATCH: Final = 100_000
"""Blobs in one text."""
NO_TEXT: Final = 0
"""The row of StringTable that stands for no text."""

UNNAMED: Final = "(unnamed)"
"""The name of what has none in the file."""

Columns = dict[str, Column]


@dataclass
class Losses:
    """What was left out or doubted while reading, counted by table and reason."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, table: str, reason: str, count: int) -> None:
        """Count rows of a table of the model."""
        if count:
            self.counts[table, reason] = self.counts.get((table, reason), 0) + count

    def lines(self) -> list[str]:
        """A line for each reason."""
        return [f"{table}: {count} {_rows(count)} {reason}" for (table, reason), count in self.counts.items()]


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


class Strings:
    """The file's StringTable: texts by number. Read when the first text is asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: IntArray | None = None
        self._texts: Column = null_column("text", 0)

    def column(self, ids: Column) -> Column:
        """The texts with these numbers, dictionary-coded; null for no text, and for numbers that have none."""
        keys = self._keys()
        if not len(keys):
            return null_column("text", len(ids))
        at = np.minimum(np.searchsorted(keys, ids.values), len(keys) - 1)
        known = ids.present & (keys[at] == ids.values) & (ids.values != NO_TEXT)
        return compact(np.where(known, self._texts.values[at], -1), self._texts.categories or ())

    def text(self, number: object) -> str | None:
        """One text."""
        if type(number) is not int or abs(number) > MAX_START_NS:
            return None
        found: str | None = self.column(Column(np.array([number], dtype=np.int64))).tolist()[0]
        return found

    def _keys(self) -> IntArray:
        if self._ids is None:
            found = self._database.columns("StringTable", ["_id_"])
            ids = found["_id_"].values if "_id_" in found else np.zeros(0, dtype=np.int64)
            texts = self._database.texts("StringTable", "value") if len(ids) else null_column("text", 0)
            if len(texts) != len(ids):
                raise ReadError(f"{self._database.name}: damaged StringTable; was the copy interrupted?")
            order = np.argsort(ids, kind="stable")
            self._ids, self._texts = ids[order], texts.take(order)
        return self._ids


def compact(codes: npt.NDArray[np.integer], categories: Sequence[str]) -> Column:
    """A text column with the categories that occur, in order of appearance; code -1 is null."""
    used, first = np.unique(codes, return_index=True)
    order = [code for _, code in sorted(zip(first.tolist(), used.tolist(), strict=True)) if code >= 0]
    new = np.full(len(categories) + 1, -1, dtype=np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return Column(new[codes], None, [categories[code] for code in order])


def mapped(numbers: Column, names: Mapping[int, str]) -> Column:
    """The names of numbers, as a text column; null where there is no name."""
    distinct, inverse = np.unique(numbers.values, return_inverse=True)
    texts = [names.get(number) for number in distinct.tolist()]
    known = [text for text in dict.fromkeys(texts) if text is not None]
    code_of = {text: code for code, text in enumerate(known)}
    codes = np.array([-1 if text is None else code_of[text] for text in texts], dtype=np.int32)
    return compact(np.where(numbers.present, codes[inverse] if len(codes) else -1, -1), known)


def read(database: Database, kind: str, names: Sequence[str]) -> Columns | None:
    """Int columns of the table of one kind of activity, nulls where it has none; None where it has no rows."""
    table = PREFIX + kind
    if table not in database.tables:
        return None
    found = database.columns(table, names)
    lengths = {len(column) for column in found.values()}
    if len(lengths) > 1:
        raise damaged(database, kind)
    length = lengths.pop() if lengths else 0
    return {name: found[name] if name in found else null_column("int", length) for name in names} if length else None


def damaged(database: Database, kind: str) -> ReadError:
    """The error for a table whose columns do not fit together."""
    return ReadError(f"{database.name}: damaged table {PREFIX}{kind}; was the copy or the capture interrupted?")


def blobs(
    database: Database, kind: str, name: str, *, size: int, length: int
) -> tuple[npt.NDArray[np.uint8], BoolArray]:
    """The first ``size`` bytes of a blob column, a row each in the order of the rows, and which rows have so many.

    SQLite makes one text of many rows, so that no row becomes an object. ``length`` is how many rows there must be.
    """
    blob = quoted(name)
    sql = (
        f"SELECT max(n), group_concat(x, '') FROM (SELECT rowid AS n, CASE WHEN typeof({blob}) = 'blob' AND "  # noqa: S608
        f"length({blob}) >= {size} THEN '01' || hex(substr({blob}, 1, {size})) ELSE '{'00' * (size + 1)}' END AS x "
        f"FROM {quoted(PREFIX + kind)} WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH})"
    )
    parts: list[npt.NDArray[np.uint8]] = []
    last = -(1 << 63)
    while True:
        at, text = database.rows(sql, (last,))[0]
        if at is None:
            break
        parts.append(np.frombuffer(bytes.fromhex(text), dtype=np.uint8).reshape(-1, size + 1))
        if at <= last or sum(map(len, parts)) > length:  # pages that refer to each other in circles
            raise damaged(database, kind)
        last = at
    rows = np.concatenate(parts) if parts else np.zeros((0, size + 1), dtype=np.uint8)
    if len(rows) != length:
        raise damaged(database, kind)
    return np.ascontiguousarray(rows[:, 1:]), rows[:, 0] == 1


def timed(found: Columns, *, table: str, losses: Losses) -> tuple[Columns, IntArray]:
    """The rows whose times can be, ``start`` and ``end`` as ``start_ns`` and ``dur_ns``; and which rows they are.

    Rows without times (both 0, which is how CUPTI says unknown) stay, with nulls.
    """
    start, end = found["start"], found["end"]
    unknown = start.present & end.present & (start.values == 0) & (end.values == 0)
    keep = np.ones(len(start), dtype=np.bool_)
    for reason, bad in _faults(start, end, unknown).items():
        losses.add(table, f"left out, {reason}", int((keep & bad).sum()))
        keep &= ~bad
    rows = np.flatnonzero(keep)
    if len(rows) < len(start):
        found = {name: column.take(rows) for name, column in found.items()}
        start, end, unknown = found["start"], found["end"], unknown[rows]
    kept = {name: column for name, column in found.items() if name not in ("start", "end")}
    valid = ~unknown if unknown.any() else None
    kept["start_ns"] = Column(start.values, valid)
    kept["dur_ns"] = Column(end.values - start.values, valid)
    return kept, rows


def _faults(start: Column, end: Column, unknown: BoolArray) -> dict[str, BoolArray]:
    """Reason -> mask of the rows that have it; the first that a row has counts."""
    readable = start.present & end.present
    no_time = ~readable | (~unknown & ((start.values <= 0) | (start.values > MAX_START_NS) | (end.values < 0)))
    inside = ~no_time
    lengths = np.where(inside, end.values, 0) - np.where(inside, start.values, 0)
    return {
        "without a time that can be": no_time,
        "ending before they start": lengths < 0,
        "longer than a week": lengths > MAX_DUR_NS,
    }


def nullable(column: Column, *nulls: int) -> Column:
    """The column with ``nulls``, and what is negative or marked as not applying, made null."""
    bad = (column.values < 0) | (column.values == INVALID)
    for null in nulls:
        bad |= column.values == null
    return column if not bad.any() else Column(column.values, column.present & ~bad)


def unsigned(column: Column) -> Column:
    """Thread ids as unsigned numbers of 32 bits: older files have them with a sign."""
    small = (column.values < 0) & (column.values >= -(1 << 31))
    return Column(np.where(small, column.values & INVALID, column.values), column.valid)


def joined(parts: Sequence[Columns]) -> Columns:
    """The rows of several tables, one behind the other; a column that a part lacks is null there."""
    if len(parts) == 1:
        return parts[0]
    names = list(dict.fromkeys(name for part in parts for name in part))
    lengths = [len(next(iter(part.values()))) for part in parts]
    return {name: _joined([part.get(name) for part in parts], lengths) for name in names}


def _joined(columns: Sequence[Column | None], lengths: Sequence[int]) -> Column:
    kind = next(column.kind for column in columns if column is not None)
    filled = [
        null_column(kind, length) if column is None else column for column, length in zip(columns, lengths, strict=True)
    ]
    if kind == "text":
        return _joined_texts(filled)
    values = np.concatenate([column.values for column in filled])
    if all(column.valid is None for column in filled):
        return Column(values)
    return Column(values, np.concatenate([column.present for column in filled]))


def _joined_texts(columns: Sequence[Column]) -> Column:
    code_of: dict[str, int] = {}
    parts = []
    for column in columns:
        new = [code_of.setdefault(text, len(code_of)) for text in column.categories or ()]
        parts.append(np.array([*new, -1], dtype=np.int32)[column.values])
    return Column(np.concatenate(parts), None, list(code_of))


def ranked(numbers: IntArray) -> tuple[IntArray, IntArray]:
    """(distinct keys, ranks): each number with how many equal ones come before it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    is_first = np.ones(len(ordered), dtype=np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    firsts = np.flatnonzero(is_first)
    ranks = np.empty(len(ordered), dtype=np.int64)
    ranks[order] = np.arange(len(ordered)) - np.repeat(firsts, np.diff(np.append(firsts, len(ordered))))
    return numbers * _MANY + ranks, ranks
