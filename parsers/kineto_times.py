"""Decimal microseconds to integer nanoseconds, exact and many at a time.

A double holds microseconds since the epoch to a quarter of a microsecond only, so no time passes through one. The
digits of all numerals are added up column by column; what is not plain digits with up to three decimals (an exponent, a
sign, quotes, more decimals, which are rounded half to even) goes the slow way, one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ds2prof.tables import BoolArray, IntArray
from ds2prof.units import NS_PER_US, ns_from_decimal

_Codes = np.ndarray[Any, np.dtype[np.uint8]]
_COMMA, _POINT, _ZERO = ord(","), ord("."), ord("0")
_DECIMALS: Final = 3
_MAX_DIGITS: Final = 16  # before the point: with three decimals they stay below 2**64
_INT64_MAX: Final = (1 << 63) - 1
_POWERS: Final = 10 ** np.arange(_MAX_DIGITS + _DECIMALS - 1, -1, -1, dtype=np.int64)
_PLAIN: Final = re.compile(rb"([0-9]{1,16})(?:\.([0-9]{0,3}))?")
_FEW: Final = 64
"""So few are faster one by one."""


def ns_from_us(numerals: Sequence[Any]) -> tuple[IntArray, BoolArray]:
    """Nanoseconds of JSON numerals of microseconds, and which of them are times at all; 0 where not.

    Args:
        numerals: bytes, or anything with the buffer protocol.
    """
    if len(numerals) < _FEW:
        return _one_by_one(numerals)
    codes = np.frombuffer(b",".join(numerals) + b",", dtype=np.uint8)
    alike = _of_one_form(codes, len(numerals))
    if alike is not None:
        return alike, np.ones(len(alike), dtype=np.bool_)
    ends = np.flatnonzero(codes == _COMMA)
    if len(ends) != len(numerals):  # a list or an object in place of a number
        return _one_by_one(numerals)
    values, plain = _from_digits(codes, ends)
    odd = np.flatnonzero(~plain)
    values[odd], plain[odd] = _one_by_one([numerals[row] for row in odd.tolist()])
    return values, plain


def _of_one_form(codes: _Codes, count: int) -> IntArray | None:
    """Values of numerals that are all as long as the first and have their point where it has its; None if not so."""
    if len(codes) % count:
        return None
    rows = codes.reshape(count, -1)
    points = np.flatnonzero(rows[0] == _POINT).tolist()
    decimals = rows.shape[1] - 2 - points[0] if points else 0
    if len(points) > 1 or decimals > _DECIMALS or not 0 < rows.shape[1] - 1 - bool(points) - decimals < _MAX_DIGITS + 1:
        return None
    marks = {**dict.fromkeys(points, _POINT), rows.shape[1] - 1: _COMMA}
    if not all((rows[:, column] == mark).all() for column, mark in marks.items()):
        return None
    digits = np.delete(rows, list(marks), axis=1) - _ZERO
    if int(digits.max()) > 9:
        return None
    values: IntArray = digits.astype(np.int64) @ _POWERS[len(_POWERS) - digits.shape[1] :]
    values *= 10 ** (_DECIMALS - decimals)
    return values if int(values.min()) >= 0 else None


def _from_digits(codes: _Codes, ends: IntArray) -> tuple[IntArray, BoolArray]:
    """Values of numerals that end at ``ends``, and which of them are plain digits with up to three decimals."""
    points = np.flatnonzero(codes == _POINT)
    owners = np.searchsorted(ends, points)
    decimals = np.zeros(len(ends), dtype=np.int64)
    decimals[owners] = ends[owners] - points - 1
    digits = codes[codes != _POINT] - _ZERO  # wraps around below zero, so that one comparison tells a digit
    ends = ends - np.searchsorted(points, ends)
    widths = np.diff(ends, prepend=-1) - 1
    plain = (widths > 0) & (decimals <= _DECIMALS) & (widths - decimals <= _MAX_DIGITS)
    plain[owners[1:][owners[1:] == owners[:-1]]] = False
    widest = int(min(widths.max(), len(_POWERS)))
    places = np.arange(widest, 0, -1)
    columns = digits[ends[:, None] - places]
    columns[widths[:, None] < places] = 0
    plain &= columns.max(axis=1, initial=0) < 10
    values = columns.astype(np.int64) @ _POWERS[len(_POWERS) - widest :]
    values *= 10 ** (_DECIMALS - np.minimum(decimals, _DECIMALS))
    return values, plain & (values >= 0)  # what passed 2**63 has wrapped around to below zero


def _one_by_one(numerals: Sequence[Any]) -> tuple[IntArray, BoolArray]:
    found = [_exact(bytes(numeral)) for numeral in numerals]
    return np.array([ns for ns, _ in found], dtype=np.int64), np.array([valid for _, valid in found], dtype=np.bool_)


def _exact(numeral: bytes) -> tuple[int, bool]:
    plain = _PLAIN.fullmatch(numeral)
    if plain is not None:
        ns = int(plain[1] + (plain[2] or b"").ljust(_DECIMALS, b"0"))
    else:
        try:
            ns = ns_from_decimal(numeral.decode("ascii").strip('"'), ns_per_unit=NS_PER_US)
        except ValueError:
            return 0, False
    return (ns, True) if abs(ns) <= _INT64_MAX else (0, False)
