"""Columns out of SQLite files: read-only, immutable, and without a Python object per value where there are many rows.

``opened(source)`` gives a :class:`Database`. Its big tables are read by columns, its small ones by rows. Nothing is
written: no journal, no lock, no file beside the input, which SQLite is told cannot change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from ds2prof.errors import ReadError
from ds2prof.parsers.sources import Source
from ds2prof.tables import Column, Texts

MAX_ROWS: Final = 1_000_000
"""Of one query by rows."""
_BATCH: Final = 1 << 16
_STEPS: Final = 1 << 16
_STEPS_PER_BYTE: Final = 100
"""Of SQLite's virtual machine, for all that is asked of a file; a row of ten bytes takes some twenty."""
_FAULTS: Final = (sqlite3.Error, sqlite3.Warning, UnicodeDecodeError)
"""What SQLite raises for damage; the last where its message quotes a damaged name."""


@contextmanager
def opened(source: Source) -> Iterator[Database]:
    """The database in a source, until exit.

    Raises:
        ReadError: it is no database, or damaged where that shows at once.
    """
    with source.file() as path:
        _refuse_cut(source.name, path)
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            connection = sqlite3.connect(uri, uri=True)
        except sqlite3.Error as error:
            raise _damaged(source.name, error) from None
        with closing(connection):
            connection.text_factory = _text
            connection.set_progress_handler(_Bound(path.stat().st_size).reached, _STEPS)
            yield Database(connection, path, source.name)


class _Bound:
    """Ends a query that takes far more steps than a sound file of its size can: pages may be linked in circles."""

    def __init__(self, size_bytes: int) -> None:
        self._left = 1000 + size_bytes * _STEPS_PER_BYTE // _STEPS

    def reached(self) -> bool:
        """Whether the bound is reached; called every so many steps."""
        self._left -= 1
        return self._left < 0


def _refuse_cut(name: str, path: Path) -> None:
    """Nothing, if the last page is whole. SQLite itself sees that pages lack, but reads what lacks of one as zeros."""
    with path.open("rb") as stream:
        head = stream.read(18)
    page_bytes = int.from_bytes(head[16:18], "big")
    page_bytes = 1 << 16 if page_bytes == 1 else page_bytes
    if page_bytes and path.stat().st_size % page_bytes:
        raise _damaged(name, sqlite3.Error("it ends within a page"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _damaged(name: str, error: sqlite3.Error) -> ReadError:
    shown = "".join(char if char.isprintable() else "?" for char in str(error))
    return ReadError(f"{name}: damaged SQLite database ({shown}); was the copy or the capture interrupted?")


def quoted(identifier: str) -> str:
    """The identifier for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


class Database:
    """An open SQLite file."""

    def __init__(self, connection: sqlite3.Connection, path: Path, name: str) -> None:
        self._connection = connection
        self._path = path
        self.name = name
        self.tables: Mapping[str, tuple[str, ...]] = self._schema()

    def _schema(self) -> dict[str, tuple[str, ...]]:
        found = self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = [name for (name,) in found if isinstance(name, str)]
        return {name: tuple(row[1] for row in self.rows(f"PRAGMA table_info({quoted(name)})")) for name in names}

    def has(self, table: str, *columns: str) -> bool:
        """Whether there is such a table with all of these columns."""
        return table in self.tables and all(column in self.tables[table] for column in columns)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, for small tables.

        Raises:
            ReadError: the file is damaged, or the rows are more than ``MAX_ROWS``.
        """
        try:
            found = self._connection.execute(sql, parameters).fetchmany(MAX_ROWS + 1)
        except _FAULTS as error:
            raise _damaged(self.name, sqlite3.Error(str(error))) from None
        if len(found) > MAX_ROWS:
            raise ReadError(f"{self.name}: more than {MAX_ROWS} rows where a few are expected; is this a profile?")
        return found

    def count(self, table: str) -> int:
        """How many rows the table has; 0 where there is no such table."""
        return int(self.rows(f"SELECT count(*) FROM {quoted(table)}")[0][0]) if table in self.tables else 0  # noqa: S608

    def columns(self, table: str, names: Sequence[str]) -> dict[str, Column]:
        """The int columns ``names`` of a table, those that it has, in the order of its rows.

        What is no integer of 64 bits (NULL, text, a real, a blob) is null.
        """
        there = [name for name in dict.fromkeys(names) if self.has(table, name)]
        if not there:
            return {}
        fast = self._from_pages(table, there)
        slow = self._from_rows(table, [name for name in there if name not in fast])
        return {name: fast[name] if name in fast else slow[name] for name in there}

    def _from_pages(self, table: str, names: Sequence[str]) -> dict[str, Column]:
        """The columns that can be read without SQLite; none where the file is out of the ordinary."""
        from ds2prof.parsers import sqlite_pages, sqlite_records

        root, places = self._layout(table)
        chosen = sorted((places[name], name) for name in names if name in places)
        if not root or not chosen:
            return {}
        try:
            values, masks = sqlite_pages.int_columns(self._path, root, [place for place, _ in chosen])
        except (sqlite_records.Unsuitable, OSError):
            return {}
        return {name: Column(values[at], masks[at]) for at, (_, name) in enumerate(chosen)}

    def _layout(self, table: str) -> tuple[int, dict[str, int]]:
        """The table's root page, and where in its records the columns stand that are stored as they are declared.

        That is not so for the row's own number (INTEGER PRIMARY KEY: a null stands for it), for columns of reals
        (whole ones are stored as integers), and for any column of a table with computed ones.
        """
        declared = self.rows(f"PRAGMA table_xinfo({quoted(table)})")
        if any(hidden for *_, hidden in declared):
            return 0, {}
        found = self.rows("SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
        keys = sum(1 for *_, key, _ in declared if key)
        places = {
            name: index
            for index, name, kind, _, _, key, _ in declared
            if not (key and keys == 1 and kind.upper() == "INTEGER") and _holds_integers(kind)
        }
        return int(found[0][0]), places

    def _from_rows(self, table: str, names: Sequence[str]) -> dict[str, Column]:
        """The columns by way of SQLite, a Python object per value."""
        if not names:
            return {}
        batches = [[_ints(values) for values in zip(*rows, strict=True)] for rows in self._batches(table, names)]
        if not batches:
            return {name: Column(np.zeros(0, dtype=np.int64)) for name in names}
        return {name: _joined([batch[at] for batch in batches]) for at, name in enumerate(names)}

    def texts(self, table: str, name: str) -> Column:
        """A text column of a table, dictionary-coded, in the order of its rows; what is no text is null."""
        texts = Texts()
        codes = [
            texts.codes(value if isinstance(value, str) else None for (value,) in rows)
            for rows in self._batches(table, [name])
        ]
        return Column(np.concatenate(codes) if codes else np.zeros(0, dtype=np.int32), None, texts.categories)

    def _batches(self, table: str, names: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        sql = f"SELECT {', '.join(map(quoted, names))} FROM {quoted(table)}"  # noqa: S608
        try:
            cursor = self._connection.execute(sql)
            while rows := cursor.fetchmany(_BATCH):
                yield rows
        except _FAULTS as error:
            raise _damaged(self.name, sqlite3.Error(str(error))) from None


def _holds_integers(kind: str) -> bool:
    """Whether SQLite stores an integer in a column declared so as that integer, by its rules of affinity."""
    upper = kind.upper()
    return "INT" in upper or not any(word in upper for word in ("REAL", "FLOA", "DOUB", "CHAR", "CLOB", "TEXT"))


def _ints(values: Sequence[object]) -> Column:
    valid = np.array([type(value) is int for value in values], dtype=np.bool_)
    numbers = np.array([value if type(value) is int else 0 for value in values], dtype=np.int64)
    return Column(numbers, None if valid.all() else valid)


def _joined(parts: Sequence[Column]) -> Column:
    valid = None if all(part.valid is None for part in parts) else np.concatenate([part.present for part in parts])
    return Column(np.concatenate([part.values for part in parts]), valid)
