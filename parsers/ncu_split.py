"""Many launches at once: the lines of a piece, without what repeats in them, are numerals and nothing else.

It reads what the pattern of a launch matches (see ``ncu_block``), and just that, at a multiple of its speed: each step
is one call over all lines. Where the lines are not regular to the last, it says so, and the pattern is used.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_NUMERALS: Final = b"0123456789., "
_BLANK, _COMMA, _POINT = b" ,."
_MAX_LENGTH: Final = 18
"""Characters of a numeral: so many digits fit 64 bits."""
_MAX_EXACT: Final = 1 << 53
_MANY: Final = 7
"""Decimals of which no more is expected: with nine digits before them they are exact in a double."""
# A text matches in one way only: else a mismatch far on would be tried in as many ways as there are numerals before it.
_GROUPED: Final = rb"(?:\d{1,3}(?:,\d{3}){1,2}|\d{1,9})"
_WHOLE: Final = rb"(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})"
_DECIMALS: Final = rb"(?:" + _GROUPED + rb"\.\d{%d}|0)"
_POWERS: Final = 10.0 ** np.arange(23)
"""The powers of ten that a double holds exactly: one multiplication or division by them rounds once, as ``float``."""


class Extent(NamedTuple):
    """How far some launches reach: their bytes and lines, and the bytes of the last of them."""

    size_bytes: int
    lines: int
    last_bytes: int


class Split(NamedTuple):
    """Launches that were cut out of a piece.

    Attributes:
        orders: their IDs.
        cells: of each, what stands between the ID and the section.
        lines: their rows, without line ends.
        numbers: of all their rows, in base units.
    """

    orders: list[int]
    cells: Sequence[bytes]
    lines: list[bytes]
    numbers: FloatArray

    def values(self, count: int) -> array[float]:
        """The values of the first ``count`` launches, row by row."""
        return array("d", self.numbers[: count * self._rows].tobytes())

    def extent(self, count: int) -> Extent:
        """How far the first ``count`` launches reach."""
        lines = self.lines[: count * self._rows]
        last = lines[-self._rows :]
        return Extent(sum(map(len, lines)) + len(lines), len(lines), sum(map(len, last)) + len(last))

    @property
    def _rows(self) -> int:
        return len(self.lines) // len(self.orders)


class Splitter:
    """Cuts launches with these rows out of a piece.

    Args:
        tails: what each row has from the section to the quote before its value.
        exponents: of each row, the power of ten that takes its numerals to the base unit.
        wholes: of each row, whether its numerals have no decimals.
        ending: what follows a value, from its closing quote.
    """

    def __init__(self, tails: Sequence[bytes], exponents: Sequence[int], wholes: Sequence[bool], ending: bytes) -> None:
        self._tails = list(tails)
        self._exponents = np.array(exponents, dtype=np.int64)
        self._wholes = np.array(wholes, dtype=np.bool_)
        self._ending = ending + b"\n"

        self._shape: Callable[[bytes], object | None] | None = None
        self._shifts = -self._exponents

    def split(self, body: bytes, at: int, *, groups: bool) -> Split | None:
        """The launches from there on whose lines are all there; None unless all are regular.

        Args:
            body: the piece; whole lines.
            at: where a launch begins.
            groups: whether digits may be grouped.
        """
        rows = len(self._tails)
        lines = body[at:].split(b"\n")
        del lines[(len(lines) - 1) // rows * rows :]
        if not lines:
            return None
        starts = [line.partition(self._tails[0])[0] for line in lines[::rows]]
        starts_of_lines = chain.from_iterable(map(repeat, starts, repeat(rows)))
        tails = map(bytes.removeprefix, lines, starts_of_lines)
        rests = map(bytes.removeprefix, tails, self._tails * len(starts))
        texts = (b"\n".join(rests) + b"\n").replace(self._ending, b" ")
        values = self._values(texts, len(lines), groups=groups)
        if values is None:
            return None
        ids, _, cells = zip(*[start.partition(b'",') for start in starts], strict=True)
        orders = b"\n".join((b"", *ids)).replace(b'\n"', b" ").split()
        if len(orders) != len(starts) or not b"".join(orders).isdigit() or len(max(orders, key=len)) > _MAX_LENGTH:
            return None
        return Split(list(map(int, orders)), cells, lines, values)

    def _values(self, texts: bytes, count: int, *, groups: bool) -> FloatArray | None:
        if groups and self._shape is not None and self._shape(texts) is not None:
            numbers = np.fromstring(texts.translate(None, b",."), dtype=np.int64, sep=" ")
            return _scaled(numbers, self._shifts) if len(numbers) == count else None
        cut = _cut(texts, count, groups=groups)
        if cut is None:
            return None
        numbers, decimals = cut
        by_launch = decimals.reshape(-1, len(self._tails))
        if by_launch[:, self._wholes].any() or int(numbers.max()) >= _MAX_EXACT:
            return None
        self._expect(by_launch.max(axis=0))
        return _scaled(numbers, (by_launch - self._exponents).reshape(-1))

    def _expect(self, decimals: IntArray) -> None:
        """Look for so many decimals in each row from now on, or a bare zero: one match then tells that all is well."""
        values = [_DECIMALS % places if places else _WHOLE for places in decimals.tolist()]
        self._shape = re.compile(b"(?:" + b" ".join(values) + b" )*").fullmatch if max(decimals) < _MANY else None
        self._shifts = decimals - self._exponents


def _scaled(numbers: IntArray, shifts: IntArray) -> FloatArray | None:
    """The numbers, each divided by ten to the power of its shift; ``shifts`` of a launch stand for those of all."""
    if int(np.abs(shifts).max()) >= len(_POWERS):
        return None
    by_launch = numbers.reshape(-1, len(shifts)) * _POWERS[np.maximum(-shifts, 0)]
    scaled: FloatArray = (by_launch / _POWERS[np.maximum(shifts, 0)]).reshape(-1)
    return scaled


def _cut(texts: bytes, count: int, *, groups: bool) -> tuple[IntArray, IntArray] | None:
    """(the digits of each numeral as one number, how many of them are decimals).

    Args:
        texts: the numerals, a blank behind each.
        count: how many there must be.
        groups: whether digits may be grouped by threes.

    Returns:
        None where the texts are no such numerals.
    """
    if texts.translate(None, _NUMERALS):
        return None
    characters = np.frombuffer(texts, dtype=np.uint8)
    ends = np.flatnonzero(characters == _BLANK)
    if len(ends) != count:
        return None
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1] + 1))
    whole_ends, decimals = ends, np.zeros(count, dtype=np.int64)
    if b"." in texts:
        points = np.flatnonzero(characters == _POINT)
        owners = np.searchsorted(ends, points)
        if bool((np.diff(owners) <= 0).any()) or bool((ends[owners] - points == 1).any()):
            return None
        whole_ends = ends.copy()
        whole_ends[owners] = points
        decimals = np.maximum(ends - whole_ends - 1, 0)
    if int((whole_ends - starts).min()) < 1 or int((ends - starts).max()) > _MAX_LENGTH:
        return None
    if b"," in texts and not (groups and _is_grouped(np.flatnonzero(characters == _COMMA), starts, whole_ends)):
        return None
    return np.fromstring(texts.translate(None, b",."), dtype=np.int64, sep=" "), decimals


def _is_grouped(commas: IntArray, starts: IntArray, ends: IntArray) -> bool:
    """Whether the commas group the digits of the numerals by threes: all of a numeral, or none."""
    owners = np.searchsorted(ends, commas)
    if int(owners[-1]) >= len(ends):  # behind the last point
        return False
    if bool((commas <= starts[owners]).any()) or bool(((ends[owners] - commas) % 4).any()):
        return False
    found = np.bincount(owners, minlength=len(ends))
    wanted = (ends - starts) // 4  # a comma for each four characters, as the first group has one to three digits
    return bool(((found == 0) | (found == wanted)).all())
