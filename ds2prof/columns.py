"""Columns: NumPy arrays with nulls, dictionary-coded texts, and columns that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ds2prof.schemas import Kind

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Column:
    """One column. ``valid`` is None where every row has a value; text has its distinct ``categories``.

    Attributes:
        values: int64 for ints, float64 for floats (NaN is null), int32 codes into ``categories`` for text (-1 is null).
        valid: mask of the ints that are not null, else None.
        categories: the distinct texts, in order of appearance; None for numbers.
    """

    values: npt.NDArray[Any]
    valid: BoolArray | None = None
    categories: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        unknown = len(self) - int(self.present.sum())
        distinct = "" if self.categories is None else f", {len(self.categories):,} distinct"
        return (
            f"<ds2prof Column {self.kind}: {len(self):,} values{distinct}{f', {unknown:,} unknown' if unknown else ''}>"
        )

    @property
    def kind(self) -> Kind:
        """int, float or text."""
        if self.categories is not None:
            return "text"
        return "float" if self.values.dtype.kind == "f" else "int"

    @property
    def present(self) -> BoolArray:
        """Mask of the rows that hold a value."""
        if self.categories is not None:
            return np.asarray(self.values >= 0)
        if self.values.dtype.kind == "f":
            return np.asarray(~np.isnan(self.values))
        return np.ones(len(self.values), dtype=np.bool_) if self.valid is None else self.valid

    def take(self, rows: IntArray | BoolArray) -> Column:
        """The column of the chosen rows (indices or a mask)."""
        valid = None if self.valid is None else self.valid[rows]
        return Column(self.values[rows], valid, self.categories)

    def tolist(self) -> list[Any]:
        """Python values, None where null."""
        if self.categories is not None:
            texts = self.categories
            return [texts[code] if code >= 0 else None for code in self.values.tolist()]
        present = self.present
        if present.all() or not len(present):
            return list(self.values.tolist())
        return [value if ok else None for value, ok in zip(self.values.tolist(), present.tolist(), strict=True)]


def null_column(kind: Kind, length: int) -> Column:
    """A column of nothing but nulls."""
    if kind == "text":
        return Column(np.full(length, -1, dtype=np.int32), None, ())
    if kind == "float":
        return Column(np.full(length, np.nan))
    return Column(np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.bool_))


def int_column(values: Iterable[int | None] | IntArray) -> Column:
    """An int column of Python ints or an int64 array; None is null."""
    if isinstance(values, np.ndarray):
        return Column(values.astype(np.int64, copy=False))
    listed = list(values)
    if None not in listed:
        return Column(np.array(listed, dtype=np.int64))
    valid = np.array([value is not None for value in listed], dtype=np.bool_)
    return Column(np.array([0 if value is None else value for value in listed], dtype=np.int64), valid)


def float_column(values: Iterable[float | None]) -> Column:
    """A float column; None is null."""
    return Column(np.array([np.nan if value is None else value for value in values], dtype=np.float64))


def text_column(values: Iterable[str | None]) -> Column:
    """A dictionary-coded text column; None is null."""
    texts = Texts()
    codes = texts.codes(values)
    return Column(codes, None, texts.categories)


class Texts:
    """The dictionary of a text column while it grows: distinct texts, coded in order of appearance."""

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {}

    def code(self, text: str | None) -> int:
        """The code of one text; -1 for None."""
        return -1 if text is None else self._code_of.setdefault(text, len(self._code_of))

    def codes(self, texts: Iterable[str | None]) -> npt.NDArray[np.int32]:
        """The codes of many texts, int32."""
        code = self.code
        return np.array([code(text) for text in texts], dtype=np.int32)

    @property
    def categories(self) -> list[str]:
        """The distinct texts so far; a code is its index."""
        return list(self._code_of)


class DeferredColumns(Mapping[str, Column]):
    """Columns of one table, of which some are made when they are first asked for (:func:`deferred`)."""

    def __init__(
        self, ready: Mapping[str, Column], names: Sequence[str], make: Callable[[str], Mapping[str, Column]]
    ) -> None:
        self._ready = dict(ready)
        self._pending = [name for name in names if name not in ready]
        self.make = make

    @property
    def ready(self) -> Mapping[str, Column]:
        """The columns that are made already."""
        return self._ready

    def __getitem__(self, name: str) -> Column:
        if name not in self._ready:
            if name not in self._pending:
                raise KeyError(name)
            made = {key: column for key, column in self.make(name).items() if key in self._pending}
            self._ready.update(made)
            self._pending = [key for key in self._pending if key not in made]
        return self._ready[name]

    def __contains__(self, name: object) -> bool:
        return name in self._ready or name in self._pending

    def __iter__(self) -> Iterator[str]:
        return iter([*self._ready, *self._pending])

    def __len__(self) -> int:
        return len(self._ready) + len(self._pending)


def deferred(
    ready: Mapping[str, Column], names: Sequence[str], make: Callable[[str], Mapping[str, Column]]
) -> DeferredColumns:
    """The columns ``ready`` now, and ``names`` when first asked for.

    ``make(name)`` gives that column, and may give others of ``names`` with it; each must be of the table's length.
    """
    return DeferredColumns(ready, names, make)
