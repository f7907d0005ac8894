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
from ds2prof.tables import Column, Texts, null_column

MAX_ROWS: Final = 1_000_000
"""Of one query by rows."""
_BATCH: Final = 1 << 16


@contextmanager
def opened(source: Source) -> Iterator[Database]:
    """The database in a source, until exit.

    Raises:
        ReadError: it is no database, or damaged where that shows at once.
    """
    with source.file() as path:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            connection = sqlite3.connect(uri, uri=True)
        except sqlite3.Error as error:
            raise _damaged(source.name, error) from None
        with closing(connection):
            connection.text_factory = _text
            yield Database(connection, path, source.name)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _damaged(name: str, error: sqlite3.Error) -> ReadError:
    return ReadError(f"{name}: damaged SQLite database ({error}); was the copy or the capture interrupted?")


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
        except (sqlite3.Error, sqlite3.Warning) as error:
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
        there = [name for name in names if self.has(table, name)]
        if not there:
            return {}
        batches: list[list[np.ndarray[Any, Any]]] = []
        for rows in self._batches(table, there):
            batches.append([np.array(column, dtype=object) for column in zip(*rows, strict=True)])
        return {
            name: _ints(np.concatenate([batch[index] for batch in batches])) if batches else null_column("int", 0)
            for index, name in enumerate(there)
        }

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
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _damaged(self.name, sqlite3.Error(str(error))) from None


def _ints(values: np.ndarray[Any, Any]) -> Column:
    valid = np.array([type(value) is int for value in values.tolist()], dtype=np.bool_)
    numbers = np.where(valid, values, 0).astype(np.int64)
    return Column(numbers, None if valid.all() else valid)
