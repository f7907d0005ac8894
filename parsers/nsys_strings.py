"""The texts of an Nsight Systems export: its tables hold ids of StringIds, of which there can be millions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import Column, IntArray

TABLE: Final = "StringIds"
_AT_ONCE: Final = 500
_MAX_DENSE: Final = 1 << 26


class Strings:
    """Texts by their ids; only those that are asked for are read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[int, str | None] = {}

    def texts(self, ids: Iterable[int]) -> dict[int, str | None]:
        """The text of each id; None where the file has none."""
        wanted = list(dict.fromkeys(ids))
        missing = [each for each in wanted if each not in self._known]
        if missing and self._database.has(TABLE, "id", "value"):
            for first in range(0, len(missing), _AT_ONCE):
                self._read(missing[first : first + _AT_ONCE])
        return {each: self._known.get(each) for each in wanted}

    def _read(self, ids: list[int]) -> None:
        marks = ",".join("?" * len(ids))
        found = self._database.rows(f"SELECT id, value FROM {TABLE} WHERE id IN ({marks})", ids)  # noqa: S608
        self._known.update(dict.fromkeys(ids))
        self._known.update((key, value) for key, value in found if isinstance(value, str))

    def column(self, ids: Column, *, change: Callable[[str], str] | None = None) -> Column:
        """The text column of a column of ids, each text ``change``d; null where there is no text."""
        distinct, codes = distinct_values(ids.values)
        known = self.texts(distinct.tolist())
        return coded([known[each] for each in distinct.tolist()], codes, ids.valid, change=change)


def coded(
    texts: Iterable[str | None],
    codes: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_] | None = None,
    *,
    change: Callable[[str], str] | None = None,
) -> Column:
    """The text column whose rows are ``texts`` at ``codes``, each text ``change``d; texts may repeat or be None.

    The code -1 is null, as what ``valid`` leaves out.
    """
    code_of: dict[str, int] = {}
    own = [
        -1 if text is None else code_of.setdefault(text if change is None else change(text), len(code_of))
        for text in texts
    ]
    found = np.array([*own, -1], dtype=np.int32)[codes]
    return Column(found if valid is None else np.where(valid, found, np.int32(-1)), None, list(code_of))


def named(numbers: Column, text_of: Callable[[int], str | None]) -> Column:
    """The text column of what each number stands for; null where it stands for nothing."""
    distinct, codes = distinct_values(numbers.values)
    return coded(map(text_of, distinct.tolist()), codes, numbers.valid)


def constant_text(text: str, length: int) -> Column:
    """A text column of one text."""
    return Column(np.zeros(length, dtype=np.int32), None, [text])


def filled(column: Column, spare: Column | str) -> Column:
    """The text column with its nulls filled from ``spare``: another column, or one text."""
    missing = column.values < 0
    if not missing.any():
        return column
    if isinstance(spare, str):
        spare = constant_text(spare, len(column))
    first, second = list(column.categories or ()), list(spare.categories or ())
    shifted = np.where(spare.values >= 0, spare.values + len(first), -1)
    return coded([*first, *second], np.where(missing, shifted, column.values))


def paired(first: Column, second: Column, join: Callable[[str | None, str | None], str | None]) -> Column:
    """The text column of two text columns, ``join`` making the text of each pair of texts that occurs."""
    width = len(second.categories or ()) + 1
    keys = (first.values.astype(np.int64) + 1) * width + (second.values + 1)
    distinct, codes = distinct_values(keys)
    firsts, seconds = [None, *(first.categories or ())], [None, *(second.categories or ())]
    texts = [join(firsts[key // width], seconds[key % width]) for key in distinct.tolist()]
    return coded(texts, codes)


def value_pairs(first: Column, second: Column) -> tuple[list[int], list[int], IntArray]:
    """(first, second) of each pair of values that occurs, and for each row its pair."""
    (ones, one_codes), (twos, two_codes) = distinct_values(first.values), distinct_values(second.values)
    keys, codes = distinct_values(one_codes.astype(np.int64) * len(twos) + two_codes)
    return ones[keys // len(twos)].tolist(), twos[keys % len(twos)].tolist(), codes


def distinct_values(values: IntArray) -> tuple[IntArray, npt.NDArray[Any]]:
    """(the distinct values in ascending order, for each value its place among them)."""
    if not len(values):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
    low, high = int(values.min()), int(values.max())
    size = high - low + 1
    if size > min(4 * len(values) + 65_536, _MAX_DENSE):
        found, places = np.unique(values, return_inverse=True)
        return found, places
    shifted = values - low if low else values
    seen = np.zeros(size, dtype=np.bool_)
    seen[shifted] = True
    found = np.flatnonzero(seen)
    place_of = np.zeros(size, dtype=np.int32)
    place_of[found] = np.arange(len(found), dtype=np.int32)
    return found + low, place_of[shifted]
