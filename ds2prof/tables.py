"""The one model: a :class:`Profile` is :class:`Meta` plus tables with declared columns.

Tables are columnar: a column is a NumPy array, text is dictionary-coded, and what a source lacks is null (a column that
is absent, a mask, NaN in a float), never 0 or -1. Every parser ends in :func:`checked`, which holds a table against
:data:`SCHEMAS` once; behind it nobody checks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from ds2prof.columns import (
    BoolArray,
    Column,
    DeferredColumns,
    IntArray,
    Texts,
    deferred,
    float_column,
    int_column,
    null_column,
    text_column,
)
from ds2prof.schemas import REQUIRED, SCHEMAS, Kind

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BoolArray",
    "Column",
    "DeferredColumns",
    "IntArray",
    "Loaded",
    "Loader",
    "Meta",
    "Profile",
    "Table",
    "Texts",
    "checked",
    "deferred",
    "float_column",
    "int_column",
    "null_column",
    "text_column",
]


_Derived = TypeVar("_Derived")


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one kind, as columns of equal length; which columns there can be says :data:`SCHEMAS`."""

    name: str
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        ready = self.columns.ready if isinstance(self.columns, DeferredColumns) else self.columns
        return next((len(column) for column in ready.values()), 0)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def __getitem__(self, column: str) -> Column:
        """The column; one of nulls where the source lacks it. KeyError only for a name the schema does not know."""
        if column in self.columns:
            return self.columns[column]
        return null_column(SCHEMAS[self.name][column], len(self))

    def ints(self, column: str, *, null: int = 0) -> IntArray:
        """The values of an int column with ``null`` in place of nulls: for keys and sums whose nulls are masked."""
        found = self[column]
        if found.valid is None:
            return found.values
        return np.where(found.valid, found.values, null)

    def take(self, rows: IntArray | BoolArray) -> Table:
        """The table of the chosen rows (indices or a mask); this one where a mask leaves out none."""
        columns = self.columns
        if rows.dtype == np.bool_ and len(rows) == len(self) and bool(rows.all()):
            return self
        if isinstance(columns, DeferredColumns):
            taken = {name: column.take(rows) for name, column in columns.ready.items()}
            later = [name for name in columns if name not in taken]
            return Table(self.name, DeferredColumns(taken, later, lambda name: {name: columns[name].take(rows)}))
        return Table(self.name, {name: column.take(rows) for name, column in columns.items()})

    def __repr__(self) -> str:
        return f"<ds2prof Table {self.name}: {len(self):,} rows of {', '.join(self.columns) or 'nothing'}>"

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame: text as categories, ints with nulls as ``Int64``."""
        import pandas as pd

        return pd.DataFrame({name: _to_series(column) for name, column in self.columns.items()})


def _to_series(column: Column) -> pd.Series[Any]:
    import pandas as pd

    if column.categories is not None:
        return pd.Series(
            pd.Categorical.from_codes(column.values, categories=pd.Index(list(column.categories), dtype=object))
        )
    if column.valid is not None:
        return pd.Series(pd.arrays.IntegerArray(column.values.copy(), ~column.valid))
    return pd.Series(column.values)


def checked(name: str, columns: Mapping[str, Column]) -> Table:
    """A table that keeps its schema; the border between what a file said and what the rest of ds2prof trusts.

    A ``ValueError`` from here is a fault of the parser, not of the file: a parser must have refused or repaired it.
    """
    schema = SCHEMAS[name]
    if isinstance(columns, DeferredColumns):
        return _checked_later(name, columns)
    table = Table(name, columns)
    length = len(table)
    for column_name, column in columns.items():
        _check_column(f"{name}.{column_name}", column, schema[column_name], length)
    missing = [column for column in REQUIRED[name] if column not in columns]
    if missing and columns:
        raise ValueError(f"{name}: no column {', '.join(missing)}")
    for required in REQUIRED[name] if columns else ():
        if schema[required] != "float" and not columns[required].present.all():
            raise ValueError(f"{name}.{required}: null in a required column")
    if "dur_ns" in columns and bool((table.ints("dur_ns") < 0).any()):
        raise ValueError(f"{name}.dur_ns: negative")
    return table


def _checked_later(name: str, columns: DeferredColumns) -> Table:
    """The table of deferred columns: those made are checked now, the others when they are made."""
    length = len(checked(name, columns.ready))
    unknown = [column for column in columns if column not in SCHEMAS[name]]
    if unknown:
        raise ValueError(f"{name}: no such column: {', '.join(unknown)}")

    def made(column_name: str) -> Mapping[str, Column]:
        made = columns.make(column_name)
        for key, column in made.items():
            _check_column(f"{name}.{key}", column, SCHEMAS[name][key], length)
        return made

    return Table(name, DeferredColumns(columns.ready, list(columns), made))


def _check_column(where: str, column: Column, kind: Kind, length: int) -> None:
    if len(column) != length:
        raise ValueError(f"{where}: {len(column)} rows, not {length}")
    if column.kind != kind:
        raise ValueError(f"{where}: {column.kind}, not {kind}")
    dtype = {"int": "int64", "float": "float64", "text": "int32"}[kind]
    if column.values.dtype != dtype:
        raise ValueError(f"{where}: {column.values.dtype}, not {dtype}")
    if column.valid is not None and len(column.valid) != length:
        raise ValueError(f"{where}: mask of {len(column.valid)} rows, not {length}")
    if column.categories is not None and length and int(column.values.max()) >= len(column.categories):
        raise ValueError(f"{where}: code outside its categories")


@dataclass(frozen=True)
class Meta:
    """What a profile says of itself.

    Attributes:
        file: the name to show; the member behind a colon for one out of an archive.
        tool: what wrote the file ("Nsight Compute", "PyTorch profiler"...).
        format: the name of the parser's format.
        dialect: which variant of the format was met.
        domain: "gpu", or "cpu" where the profile holds host operators alone.
        times: "real", or "replay" where a launch was repeated to read counters (no window then), or None where there
            are no times of device work.
        time_resolution_ns: the step of the timestamps.
        clock: what the timestamps count from ("unix", "boot", "local time", None where there are none).
        rank: of a distributed run, where the file tells.
        run: the sidecar's facts, where a sidecar lies beside the file.
        facts: anything else the file states once, for display.
    """

    file: str
    tool: str
    format: str
    dialect: str = ""
    tool_version: str | None = None
    domain: Literal["gpu", "cpu"] = "gpu"
    times: Literal["real", "replay"] | None = "real"
    time_resolution_ns: int | None = None
    clock: str | None = None
    clock_control: str | None = None
    cache_control: str | None = None
    rank: int | None = None
    run: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """What one pass over a file brought: tables (absent ones are empty), what is known of it, what went wrong."""

    meta: Meta
    tables: Mapping[str, Table]
    warnings: tuple[str, ...] = ()


Loader = Callable[[frozenset[str]], Loaded]


class Profile:
    """What one tool saw of one process: :attr:`meta`, and tables that are built when they are first asked for.

    Ask for all the tables of a question at once (:meth:`require`): what is missing is then read in one pass. Where the
    source keeps its tables apart (``by_table``), one pass gains nothing: each is read when it is used.
    """

    def __init__(self, load: Loader, *, by_table: bool = False) -> None:
        self._load = load
        self._by_table = by_table
        self._run: Mapping[str, Any] | None = None
        self._meta: Meta | None = None
        self._tables: dict[str, Table] = {}
        self._warnings: dict[str, None] = {}
        self._derived: dict[str, Any] = {}

    @classmethod
    def of(cls, meta: Meta, tables: Mapping[str, Mapping[str, Column]], *, warnings: Sequence[str] = ()) -> Profile:
        """A profile of columns already at hand, checked."""
        built = {name: checked(name, columns) for name, columns in tables.items()}
        return cls(lambda _: Loaded(meta, built, tuple(warnings)))

    def require(self, *names: str) -> Profile:
        """This profile, with the named tables loaded (one pass over the file if any is missing)."""
        missing = frozenset(name for name in names if name not in self._tables)
        unknown = missing - SCHEMAS.keys()
        if unknown:
            raise KeyError(f"no such table: {', '.join(sorted(unknown))}")
        if self._meta is None:
            self._read(missing if not self._by_table else missing & {"kernels"})
        elif missing and not self._by_table:
            self._read(missing)
        return self

    def _read(self, names: frozenset[str]) -> None:
        loaded = self._load(names)
        self._meta = replace(loaded.meta, run=self._run)
        self._tables.update({name: loaded.tables.get(name, Table(name)) for name in names})
        self._tables.update(loaded.tables)
        lines = (" ".join(warning.splitlines()) for warning in loaded.warnings)  # texts of the file may be quoted there
        self._warnings.update(dict.fromkeys(lines))

    def attach_run(self, facts: Mapping[str, Any] | None) -> None:
        """Take the sidecar's facts into :attr:`meta`."""
        self._run = facts
        if self._meta is not None:
            self._meta = replace(self._meta, run=facts)

    def table(self, name: str) -> Table:
        """The table, empty where the file has no such rows."""
        self.require(name)
        if name not in self._tables:
            self._read(frozenset([name]))
        return self._tables[name]

    def derived(self, name: str, make: Callable[[], _Derived]) -> _Derived:
        """What ``make`` returns, made once for this profile: for what several analyses need, joins above all.

        ``name`` says what it is and from which arguments; the same name must always mean the same thing.
        """
        if name not in self._derived:
            self._derived[name] = make()
        found: _Derived = self._derived[name]
        return found

    @property
    def meta(self) -> Meta:
        """What the profile says of itself."""
        if self._meta is None:
            self.require("kernels")
        assert self._meta is not None
        return self._meta

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was lost or doubtful while reading, a line each, in order."""
        return tuple(self._warnings)

    def __getattr__(self, name: str) -> pd.DataFrame:
        """``profile.kernels`` and so on: the table as a pandas DataFrame."""
        if name in SCHEMAS:
            return self.table(name).to_pandas()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<ds2prof.Profile {self.meta.file}: {self.meta.tool}, {len(self.table('kernels'))} launches>"
