"""What the cells of ``nsys stats`` say: numerals in every locale and unit, grids, devices; exact, in integers.

Grammar::

    numeral  := digits | groups (separator digits)?     12.992,0  17,714,696.0
    null     := "" | "None" | "-" | "N/A" | ...

CSV is printed past the locale; columns and boxes group thousands as the locale has it. Nanoseconds and bytes are whole
numbers, so that what separates three digits in them are groups; in all other units a numeral ends in its decimals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.tables import BoolArray, Column, IntArray

_NULLS: Final = frozenset(("", "None", "none", "-", "--", "N/A", "n/a", "nan", "NULL"))
_SEPARATORS: Final = ".,'\u2019\u00a0\u202f\u2009 "
_GROUPED: Final = re.compile(r"[0-9]{1,3}(?:([" + _SEPARATORS + r"])[0-9]{2,3}(?:\1[0-9]{2,3})*)?")
_DECIMAL: Final = re.compile(r"(.{1,60}?)[.,]([0-9]{1,9})")
_GRID: Final = re.compile(r"\s*([0-9]{1,10})\s+([0-9]{1,10})\s+([0-9]{1,10})\s*")
_DEVICE: Final = re.compile(r"(.{0,200}?)\s{0,9}\(([0-9]{1,6})\)", re.DOTALL)
_LIMIT: Final = 1 << 63
CLIPPED: Final = "\u2026"


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers read from a column's cells.

    Attributes:
        column: int64 with a mask.
        bad: how many cells hold neither a number nor a null.
        decimals: the most digits behind the decimal separator.
    """

    column: Column
    bad: int = 0
    decimals: int = 0


def whole(cells: Sequence[str]) -> Numbers:
    """The integers in the cells."""
    return scaled(cells, 1)


def scaled(cells: Sequence[str], scale: int) -> Numbers:
    """The cells times ``scale``: exact, and rounded to even where they are finer than 1."""
    fast = _plain(cells) if scale == 1 else _fixed(cells, scale)
    if fast is not None:
        return fast
    codes, distinct = _coded(cells)
    known = [_number(text, scale) for text in distinct]
    return Numbers(
        _column([None if value is None else value[0] for value in known]).take(codes),
        _bad(
            codes, [value is None and text.strip() not in _NULLS for text, value in zip(distinct, known, strict=True)]
        ),
        max((value[1] for value in known if value is not None), default=0),
    )


def _coded(cells: Sequence[str]) -> tuple[IntArray, list[str]]:
    """(for each cell its place among the distinct ones, the distinct ones)."""
    distinct = list(dict.fromkeys(cells))
    place_of = dict(zip(distinct, range(len(distinct)), strict=True))
    return np.fromiter(map(place_of.__getitem__, cells), dtype=np.int64, count=len(cells)), distinct


def _bad(codes: IntArray, is_bad: Sequence[bool]) -> int:
    """How many of the cells are bad."""
    return int(np.array(is_bad, dtype=np.bool_)[codes].sum()) if any(is_bad) else 0


def _plain(cells: Sequence[str]) -> Numbers | None:
    try:
        return Numbers(Column(np.array(list(map(int, cells)), dtype=np.int64)))
    except (ValueError, OverflowError):
        return None


def _fixed(cells: Sequence[str], scale: int) -> Numbers | None:
    """The cells where all have the same number of decimals and no groups, else None."""
    first = cells[0] if cells else ""
    decimals = len(first) - first.find(".") - 1
    if (
        "." not in first
        or scale % 10**decimals
        or [cell[-decimals - 1 : -decimals] for cell in cells] != ["."] * len(cells)
    ):
        return None
    try:
        units = np.array(list(map(int, "\n".join(cells).replace(".", "").split("\n"))), dtype=np.int64)
    except (ValueError, OverflowError):
        return None
    factor = scale // 10**decimals
    if len(units) != len(cells) or int(np.abs(units).max(initial=0)) >= _LIMIT // factor:
        return None
    return Numbers(Column(units * factor), 0, decimals)


def _column(values: Sequence[int | None]) -> Column:
    valid = np.array([value is not None for value in values], dtype=np.bool_)
    numbers = np.array([0 if value is None else value for value in values], dtype=np.int64)
    return Column(numbers) if valid.all() else Column(numbers, valid)


def _number(text: str, scale: int) -> tuple[int, int] | None:
    """(the cell times ``scale``, its decimals); None where it holds no number that fits 64 bits."""
    text = text.strip()
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    digits, decimals = _digits(text, is_base=scale == 1)
    if digits is None or len(digits) > 40:
        return None
    value = _rounded(int(digits) * scale, 10**decimals)
    return (sign * value, decimals) if value < _LIMIT else None


def _digits(text: str, *, is_base: bool) -> tuple[str | None, int]:
    """(the numeral's digits without separators, how many of them are decimals); None for no numeral."""
    if text.isascii() and text.isdigit():
        return text, 0
    if len(text) > 60:
        return None, 0
    if is_base and _GROUPED.fullmatch(text) and text[-3:].isdigit():
        return _bare(text), 0
    decimal = _DECIMAL.fullmatch(text)
    if decimal is not None and (decimal[1].isdigit() or _GROUPED.fullmatch(decimal[1])):
        return _bare(decimal[1]) + decimal[2], len(decimal[2])
    return (_bare(text), 0) if _GROUPED.fullmatch(text) else (None, 0)


def _bare(text: str) -> str:
    return "".join(character for character in text if character not in _SEPARATORS)


def _rounded(value: int, divisor: int) -> int:
    """The quotient, rounded half to even."""
    quotient, rest = divmod(value, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))


def grids(cells: Sequence[str]) -> tuple[tuple[Column, Column, Column], int]:
    """((x, y, z), how many cells hold neither a grid nor a null) of cells such as ``97657    1    1``."""
    codes, distinct = _coded(cells)
    found = [_GRID.fullmatch(text) for text in distinct]
    bad = [match is None and text.strip() not in _NULLS for text, match in zip(distinct, found, strict=True)]
    x, y, z = (_column([None if match is None else int(match[axis]) for match in found]) for axis in (1, 2, 3))
    return (x.take(codes), y.take(codes), z.take(codes)), _bad(codes, bad)


def device_of(text: str) -> tuple[int | None, str | None]:
    """(ordinal, name) of a device's cell, ``NVIDIA A100-SXM4-40GB (0)``."""
    match = _DEVICE.fullmatch(text)
    if match is None:
        return None, text or None
    return int(match[2]), match[1] or None


def is_null(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text in _NULLS


def joined(columns: Sequence[Column]) -> Column:
    """The int columns one behind the other."""
    values: IntArray = np.concatenate([column.values for column in columns])
    if all(column.valid is None for column in columns):
        return Column(values)
    masks: list[BoolArray] = [column.present for column in columns]
    return Column(values, np.concatenate(masks))
