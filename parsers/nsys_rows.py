"""Rows of an Nsight Systems export: usable times, ids taken apart, the columns of several of its tables joined.

A :class:`Part` is what one table of the file gives to one table of ours. Columns that few questions need are read when
they are first asked for, from the file, which is opened again for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.errors import ReadError
from ds2prof.parsers import sqlite_tables
from ds2prof.parsers.nsys_strings import Strings
from ds2prof.parsers.sources import Source
from ds2prof.parsers.sqlite_tables import Database, quoted
from ds2prof.tables import BoolArray, Column, DeferredColumns, IntArray, deferred, null_column

MAX_DUR_NS: Final = 7 * 86_400 * 1_000_000_000
"""A week. What claims to have taken longer is an overflow in CUPTI."""
MAX_TIME_NS: Final = 4 * 10**18
"""A time beyond it (the year 2096, where times count from 1970) is none, and sums with it might not fit 64 bits."""
_PID_SHIFT: Final = 24
_ID_MASK: Final = 0xFFFFFF
NO_ID: Final = 0xFFFFFFFF
"""What CUPTI writes where there is no stream or device."""
_INT_MAX: Final = 0x7FFFFFFF
_INT64_MAX: Final = (1 << 63) - 1

_AT_ONCE: Final = 250_000

Deferral = Mapping[str, str]
Devices = Callable[[Column, Column | None], Column]


@dataclass(frozen=True, eq=False)
class Export:
    """One export while its tables are read.

    Attributes:
        source: where it comes from, to be opened again for deferred columns.
        database: the open file.
        strings: the file's texts by their ids.
        base_ns: what its times are raised by.
        devices: (ordinals, processes) -> devices: the same GPU has one number in all processes.
        is_plain: whether devices are the ordinals, whatever the process.
        warnings: what went wrong, a line each; grows.
    """

    source: Source
    database: Database
    strings: Strings
    base_ns: int
    devices: Devices
    is_plain: bool = True
    warnings: list[str] = field(default_factory=list)

    def warn(self, count: int, noun: str, what: str) -> None:
        """Note that ``count`` times ``noun`` are ``what``, if there are any."""
        if count:
            self.warnings.append(f"{count} {noun if count == 1 else _plural(noun)} {what}")


def _plural(noun: str) -> str:
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("ch") else f"{noun}s"


@dataclass(frozen=True, eq=False)
class Part:
    """What one table of the file gives to one table of ours.

    Attributes:
        table: its name in the file.
        length: of the columns.
        ready: our columns that are read.
        kept: the rows of the file's table that the columns are of; None for all.
        later: groups of our columns that are read when asked for: our name -> the file's.
        later_texts: our columns of texts that are read when asked for -> the file's column of string ids.
        total: how many rows the table has.
    """

    table: str
    length: int
    ready: Mapping[str, Column]
    kept: IntArray | None = None
    later: Sequence[Deferral] = ()
    later_texts: Deferral = field(default_factory=dict)
    total: int = 0


@dataclass(frozen=True, eq=False)
class Timed:
    """The rows of a table that have usable times, and the columns that were read with them."""

    start_ns: Column
    dur_ns: Column
    columns: Mapping[str, Column]
    kept: IntArray | None
    total: int
    """How many rows the table has."""

    def __len__(self) -> int:
        return len(self.start_ns)


def timed(export: Export, table: str, names: Sequence[str], *, what: str) -> Timed | None:
    """The table's rows with usable times; None where it has none. What is left out is warned of as ``what``.

    Rows whose end is before their start, or over a week behind it, or without times are left out.
    """
    if not export.database.has(table, "start", "end"):
        if table in export.database.tables:
            export.warnings.append(f"{table} has no columns start and end; left out")
        return None
    columns = export.database.columns(table, ["start", "end", *names])
    start, end = columns.pop("start"), columns.pop("end")
    total = len(start)
    aligned(export.database, table, [end, *columns.values()], total)
    if not total:
        return None
    readable = in_reach(start) & in_reach(end)
    durations = np.subtract(end.values, start.values, out=end.values)
    if readable.all() and not _out_of(durations, 0, MAX_DUR_NS):
        return Timed(Column(raised(start.values, export.base_ns)), Column(durations), columns, None, total)
    negative, long = durations < 0, durations > MAX_DUR_NS
    export.warn(int((~readable).sum()), what, "left out, no readable time")
    export.warn(int((readable & negative).sum()), what, "left out, negative duration")
    export.warn(int((readable & long).sum()), what, "left out, longer than a week")
    kept = np.flatnonzero(readable & ~negative & ~long)
    if not len(kept):
        return None
    taken = {name: column.take(kept) for name, column in columns.items()}
    return Timed(Column(raised(start.values[kept], export.base_ns)), Column(durations[kept]), taken, kept, total)


def _out_of(values: IntArray, least: int, most: int) -> bool:
    """Whether any value is out of the range; two passes over them, and no memory."""
    return bool(len(values)) and (int(values.min()) < least or int(values.max()) > most)


def in_reach(times: Column) -> BoolArray:
    """Mask of the times that can be."""
    values = times.values
    if not _out_of(values, -MAX_TIME_NS, MAX_TIME_NS):
        return times.present
    found: BoolArray = (values <= MAX_TIME_NS) & (values >= -MAX_TIME_NS)
    return found if times.valid is None else found & times.valid


def raised(times: IntArray, base_ns: int) -> IntArray:
    """The file's times as ours, in their own place."""
    return np.add(times, base_ns, out=times) if base_ns else times


def aligned(database: Database, table: str, columns: Iterable[Column], length: int) -> None:
    """Nothing, if each of the columns has the table's number of rows.

    Raises:
        ReadError: one has not: pages of the table are damaged so that it reads differently from one time to the next.
    """
    if any(len(column) != length for column in columns):
        raise ReadError(f"{database.name}: damaged: the columns of {table} differ in length; copy or export it again")


def reals(database: Database, table: str, name: str, length: int) -> npt.NDArray[np.float64]:
    """The numbers of a column, whole or not, in the order of the table's rows; NaN for what is no number.

    Raises:
        ReadError: the table is damaged.
    """
    chunks: list[npt.NDArray[np.float64]] = [np.zeros(0)]
    sql = f"SELECT rowid, {quoted(name)} FROM {quoted(table)} WHERE rowid > ? ORDER BY rowid LIMIT {_AT_ONCE}"  # noqa: S608
    last, count = -(1 << 63), 0
    while count <= length and (rows := database.rows(sql, (last,))):  # damaged rows may be in no order, without end
        last, count = rows[-1][0], count + len(rows)
        chunks.append(np.array([value if isinstance(value, int | float) else np.nan for _, value in rows], np.float64))
    found = Column(np.concatenate(chunks))
    aligned(database, table, [found], length)
    return found.values


def process_of(global_ids: Column) -> Column:
    """The processes in serialized global ids: 24 bits from bit 24."""
    return _in_id(global_ids, _PID_SHIFT)


def thread_of(global_ids: Column) -> Column:
    """The threads in serialized global ids: the lowest 24 bits."""
    return _in_id(global_ids, 0)


def _in_id(global_ids: Column, shift: int) -> Column:
    values = global_ids.values >> shift
    values &= _ID_MASK
    if global_ids.valid is None and not _out_of(global_ids.values, 1, _INT64_MAX):
        return Column(values)
    valid = global_ids.present & (global_ids.values > 0)
    values[~valid] = 0
    return Column(values, None if valid.all() else valid)


def at_least(column: Column, least: int = 0, *, none: Iterable[int] = (NO_ID,)) -> Column:
    """The column with null for what is below ``least`` or stands for none."""
    none = tuple(none)
    if not _out_of(column.values, least, min(none, default=_INT64_MAX + 1) - 1):
        return column
    good = column.values >= least
    for value in none:
        good &= column.values != value
    if good.all():
        return column
    valid = good if column.valid is None else good & column.valid
    return Column(np.where(valid, column.values, 0), valid)


def _numbered(column: Column) -> Column:
    return at_least(column, none=(NO_ID, _INT_MAX))


def _counted(column: Column) -> Column:
    return at_least(column, 1)


FORMS: Final[Mapping[str, Callable[[Column], Column]]] = {
    "process": process_of,
    "device": _numbered,
    "context": _numbered,
    "stream": _numbered,
    "correlation": _counted,
    **dict.fromkeys(("graph", "graph_node", "cluster_x", "cluster_y", "cluster_z"), _counted),
}
"""Our column -> how it is made of the file's; others as they are, without what is below zero."""
PLACE: Final = {
    "process": "globalPid",
    "device": "deviceId",
    "context": "contextId",
    "stream": "streamId",
    "correlation": "correlationId",
}
"""Where an operation ran: our column -> the file's."""


def placed(export: Export, columns: Mapping[str, Column]) -> dict[str, Column]:
    """Where an operation ran: process, device, context, stream, and its correlation id."""
    found = {ours: FORMS[ours](columns[name]) for ours, name in PLACE.items() if name in columns}
    if "device" in found:
        found["device"] = export.devices(found["device"], found.get("process"))
    return found


def joined(export: Export, parts: Sequence[Part], kinds: Mapping[str, str]) -> DeferredColumns | dict[str, Column]:
    """The columns of all parts, one below the other; ``kinds`` are those of our columns (int, float, text).

    A column that a part lacks is null there.
    """
    parts = [part for part in parts if part.length]
    if not parts:
        return {}
    groups = _groups(parts)
    later = {name for group in groups for name in group}
    names = [name for name in dict.fromkeys(name for part in parts for name in part.ready) if name not in later]
    ready = {name: _stacked([part.ready.get(name) for part in parts], parts, kinds[name]) for name in names}
    source = export.source

    def make(name: str) -> Mapping[str, Column]:
        group = next(group for group in groups if name in group)
        with sqlite_tables.opened(source) as database:
            read = [_read_later(database, part, group) for part in parts]
        return {each: _stacked([columns.get(each) for columns in read], parts, kinds[each]) for each in group}

    return deferred(ready, [name for group in groups for name in group], make)


def _groups(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    """The deferred columns that are read together."""
    found: dict[str, list[str]] = {}
    for part in parts:
        for group in part.later:
            first = next(iter(group))
            found.setdefault(first, []).extend(name for name in group if name not in found.get(first, []))
        for name in part.later_texts:
            found.setdefault(name, [name])
    return [tuple(group) for group in found.values()]


def _read_later(database: Database, part: Part, group: Sequence[str]) -> dict[str, Column]:
    """The columns of a group that a part has; those that are read already among them."""
    wanted = {ours: name for deferral in part.later for ours, name in deferral.items() if ours in group}
    columns = database.columns(part.table, list(dict.fromkeys(wanted.values())))
    found = {ours: FORMS.get(ours, at_least)(columns[name]) for ours, name in wanted.items() if name in columns}
    for ours, name in part.later_texts.items():
        if ours in group and database.has(part.table, name):
            ids = database.columns(part.table, [name])[name]
            found[ours] = Strings(database).column(ids)
    aligned(database, part.table, found.values(), part.total)
    read = {ours: column if part.kept is None else column.take(part.kept) for ours, column in found.items()}
    return {**{ours: part.ready[ours] for ours in group if ours in part.ready}, **read}


def _stacked(columns: Sequence[Column | None], parts: Sequence[Part], kind: str) -> Column:
    """One column of several, nulls for those that are absent."""
    if len(columns) == 1 and columns[0] is not None:
        return columns[0]
    whole = [
        null_column(kind, part.length) if column is None else column  # type: ignore[arg-type]
        for column, part in zip(columns, parts, strict=True)
    ]
    if kind == "text":
        return stacked_texts(whole)
    values = np.concatenate([column.values for column in whole])
    if kind == "float" or all(column.valid is None for column in whole):
        return Column(values)
    return Column(values, np.concatenate([column.present for column in whole]))


def stacked_texts(columns: Sequence[Column]) -> Column:
    """One text column of several, with one dictionary."""
    code_of: dict[str, int] = {}
    codes: list[npt.NDArray[np.int32]] = []
    for column in columns:
        own = [code_of.setdefault(text, len(code_of)) for text in column.categories or ()]
        codes.append(np.array([*own, -1], dtype=np.int32)[column.values])  # -1 finds the last
    return Column(np.concatenate(codes), None, list(code_of))
