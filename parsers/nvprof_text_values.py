"""The cells of nvprof's tables as numbers: times, sizes, whole numbers, values of metrics.

A cell has its unit itself (``12.345us``, ``16.000MB``, ``97.2%``) or its column has (a row of units under the header).
Times become integer nanoseconds from their digits, never through a double; how finely they are printed is told beside
them. nvprof's multiples of bytes are powers of 1,024, those of its rates too (checked against sizes and durations).
A cell without a value is empty, ``-``, ``<OVERFLOW>`` or ``<INVALID>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from ds2prof.tables import BoolArray, Column, IntArray

TIME_EXPONENTS: Final = {"s": 9, "ms": 6, "us": 3, "\u00b5s": 3, "\u03bcs": 3, "ns": 0}
"""Unit of time -> power of ten to nanoseconds."""
_SHIFTS: Final = {"B": 0, "KB": 10, "MB": 20, "GB": 30, "TB": 40, "PB": 50}
"""Unit of bytes -> power of two to bytes."""
UNITS: Final = frozenset((*TIME_EXPONENTS, *_SHIFTS, *(f"{unit}/s" for unit in _SHIFTS), "%", "Hz", "MHz"))
"""What can stand in a row of units."""

INT64_MAX: Final = (1 << 63) - 1
WEEK_NS: Final = 7 * 24 * 3600 * 10**9
_NUMBER: Final = re.compile(r"(-?)([0-9]{1,24})(?:\.([0-9]{0,24}))?(?:e([+-][0-9]{1,2}))?\s?(\D{0,5})")
_DECIMALS: Final = re.compile(r"[0-9]{1,9}\.([0-9]{1,9})(?:,[0-9]{1,9}\.[0-9]{1,9})*")
_WHOLE: Final = re.compile(r"[0-9]{1,18}(?:,[0-9]{1,18})*")
_LEVEL: Final = re.compile(r"(?:Idle|Low|Mid|High|Max|Unknown) \(([0-9]{1,2})\)")
_BARE_LEVELS: Final = {"Idle": 0.0, "Max": 10.0}
"""Levels that are one number, as older versions print them; "Low" may be 1 to 3."""
_PLAIN: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:e[+-][0-9]{1,3})?")
_NOTHING: Final = frozenset(("", "-", "<OVERFLOW>", "<INVALID>", "<OF>", "n/a", "N/A", "nan", "-nan", "inf", "-inf"))
_FEW_DISTINCT: Final = 4
"""Where each distinct cell stands so often on average, it is cheaper to read it once."""
NAN: Final = float("nan")


@dataclass(frozen=True)
class Scaled:
    """Nanoseconds or bytes; ``step`` is how far apart two printed values are at least, of the coarsest one here."""

    values: IntArray
    valid: BoolArray
    step: int

    @property
    def column(self) -> Column:
        """The values as a column."""
        return Column(self.values, None if self.valid.all() else self.valid)


@lru_cache(maxsize=1 << 14)
def time_of(cell: str, unit: str) -> tuple[int, int] | None:
    """(nanoseconds, step) of one cell; None for what is no time, or has no unit, or leaves 64 bits."""
    found = _NUMBER.fullmatch(cell)
    if found is None:
        return None
    sign, whole, decimals, power, own = found.groups()
    exponent = TIME_EXPONENTS.get(own or unit)
    if exponent is None:
        return None
    digits, place = int(whole + (decimals or "")), exponent + int(power or 0) - len(decimals or "")
    value = digits * 10**place if place >= 0 else _nearest(digits, 10**-place)
    return (-value if sign else value, 10 ** max(place, 0)) if value <= INT64_MAX else None


def _nearest(numerator: int, denominator: int) -> int:
    """The whole number nearest to a quotient, the even one of two."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest + (quotient & 1) > denominator)


def times(cells: Sequence[str], unit: str) -> Scaled:
    """The times in the cells of a column whose unit is ``unit`` (empty: the cells have theirs)."""
    return _alike(cells, unit) or _scaled_by_one([time_of(cell, unit) for cell in cells])


def _scaled_by_one(found: Sequence[tuple[int, int] | None]) -> Scaled:
    valid = np.array([one is not None for one in found], dtype=np.bool_)
    values = np.array([0 if one is None else one[0] for one in found], dtype=np.int64)
    return Scaled(values, valid, max((one[1] for one in found if one is not None), default=1))


def _alike(cells: Sequence[str], unit: str) -> Scaled | None:
    """The times where all cells are decimals as CSV has them, with as many places each; None where not."""
    exponent = TIME_EXPONENTS.get(unit)
    joined = ",".join(cells)
    found = _DECIMALS.fullmatch(joined) if exponent is not None else None
    if found is None or exponent is None:
        return None
    places = len(found[1])
    if not re.fullmatch(rf"[0-9]+\.[0-9]{{{places}}}(?:,[0-9]+\.[0-9]{{{places}}})*", joined):
        return None
    values = np.fromiter(map(int, joined.replace(".", "").split(",")), dtype=np.int64, count=len(cells))
    if exponent >= places:
        values *= 10 ** (exponent - places)
    else:
        divisor = 10 ** (places - exponent)
        quotient, rest = np.divmod(values, divisor)
        values = quotient + (2 * rest + (quotient & 1) > divisor)
    return Scaled(values, np.ones(len(cells), dtype=np.bool_), 10 ** max(exponent - places, 0))


@lru_cache(maxsize=1 << 14)
def size_of(cell: str, unit: str) -> tuple[int, int] | None:
    """(bytes, step) of one cell, the whole number nearest to what is printed; None for what is no size."""
    found = _NUMBER.fullmatch(cell)
    if found is None or found[1]:
        return None
    _, whole, decimals, power, own = found.groups()
    shift = _SHIFTS.get(own or unit)
    if shift is None:
        return None
    digits, place = int(whole + (decimals or "")) << shift, int(power or 0) - len(decimals or "")
    value = digits * 10**place if place >= 0 else _nearest(digits, 10**-place)
    step = max((10 ** max(place, 0) << shift) // 10 ** max(-place, 0), 1)
    return (value, step) if value <= INT64_MAX else None


def sizes(cells: Sequence[str], unit: str) -> Scaled:
    """The sizes in the cells of a column whose unit is ``unit`` (empty: the cells have theirs)."""
    known = {cell: size_of(cell, unit) for cell in set(cells)}
    column = mapped(cells, lambda cell: None if (size := known[cell]) is None else size[0])
    return Scaled(column.values, column.present, max((size[1] for size in known.values() if size), default=1))


@lru_cache(maxsize=1 << 14)
def whole_of(cell: str) -> int | None:
    """The whole number in a cell; None where there is none."""
    return int(cell) if _WHOLE.fullmatch(cell) and "," not in cell else None


def wholes(cells: Sequence[str]) -> Column:
    """A column of whole numbers."""
    joined = ",".join(cells) if len(set(cells)) * _FEW_DISTINCT > len(cells) else ""
    if _WHOLE.fullmatch(joined):
        return Column(np.fromiter(map(int, joined.split(",")), dtype=np.int64, count=len(cells)))
    return mapped(cells, whole_of)


def nullable(values: Sequence[int | None]) -> Column:
    """A column of whole numbers, None being null."""
    valid = np.array([value is not None for value in values], dtype=np.bool_)
    plain = np.array([value or 0 for value in values], dtype=np.int64)
    return Column(plain, None if valid.all() else valid)


def mapped(cells: Sequence[str], number_of: Callable[[str], int | None]) -> Column:
    """A column of what ``number_of`` gives for each cell; asked once for each distinct one."""
    known = {cell: number_of(cell) for cell in set(cells)}
    plain = {cell: value or 0 for cell, value in known.items()}
    values = np.fromiter(map(plain.__getitem__, cells), dtype=np.int64, count=len(cells))
    if None not in known.values():
        return Column(values)
    present = {cell: value is not None for cell, value in known.items()}
    return Column(values, np.fromiter(map(present.__getitem__, cells), dtype=np.bool_, count=len(cells)))


@lru_cache(maxsize=1 << 14)
def metric_of(cell: str, unit: str) -> tuple[float, str] | None:
    """(value, base unit) of a metric's cell; NaN where the tool has no value, None for what is no value at all.

    A level (``Low (3)``) is its number out of 10, in the unit ``level``.
    """
    if cell in _NOTHING:
        return NAN, ""
    level = _LEVEL.fullmatch(cell)
    if level is not None or cell in _BARE_LEVELS:
        return float(level[1]) if level is not None else _BARE_LEVELS[cell], "level"
    cut = len(cell.rstrip("%BKMGTPHzs/un\u00b5 "))
    numeral, own = cell[:cut], cell[cut:].strip() or unit
    if _PLAIN.fullmatch(numeral) is None:
        return None
    value, base = _in_base(numeral, own)
    return (value if abs(value) < float("inf") else NAN), base


def _in_base(numeral: str, unit: str) -> tuple[float, str]:
    if unit == "%":
        return float(numeral if "e" in numeral else f"{numeral}e-2") / (100 if "e" in numeral else 1), "ratio"
    if unit in TIME_EXPONENTS:
        return float(numeral) * 10 ** TIME_EXPONENTS[unit], "ns"
    counted, slash, _ = unit.partition("/")
    if counted in _SHIFTS:
        return float(numeral) * float(1 << _SHIFTS[counted]), f"byte{slash and '/s'}"
    return float(numeral), unit
