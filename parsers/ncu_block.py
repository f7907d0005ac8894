"""All rows of a launch as one pattern: what makes reading a large page quick.

Launches give the same metrics in the same order. Once two in a row did, the rows of the next are matched at a stroke,
each against the first one's cells up to the section, so that only values and what identifies the launch are cut out.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from ds2prof.parsers.ncu_gather import Slot
from ds2prof.parsers.ncu_split import Extent, Splitter
from ds2prof.parsers.ncu_values import NAN

MAX_ROWS: Final = 256
"""Launches with more rows are read row by row: a pattern takes a while to make."""

_MAX_MADE: Final = 16
_MEMO_SIZE: Final = 1 << 12
_CELL: Final = rb'"[^"]*",'
_ESCAPED_CELL: Final = rb'"[^"]*(?:""[^"]*)*",'
_COMMA: Final = ord(",")
_DIGITS: Final = rb"\d{1,18}"
_GROUPED: Final = rb"(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,18})"
_FRACTION: Final = rb"(?:\.\d{1,40})?"


class BlockRow(NamedTuple):
    """A row of a launch.

    Attributes:
        tail: what it has from the section to the quote before its value.
        slot: its slot.
        nothing: the text that stands for "none" in place of a number, where it does.
        is_whole: its numbers have no decimals.
    """

    tail: bytes
    slot: Slot
    nothing: bytes | None
    is_whole: bool


class Style(NamedTuple):
    """How a page writes its rows.

    Attributes:
        ending: what follows a value, from its closing quote.
        groups_whole: whole numbers can have grouped digits.
        groups_others: other numbers can.
        is_escaped: cells before the section can have quotes in them.
    """

    ending: bytes = b'"'
    groups_whole: bool = False
    groups_others: bool = False
    is_escaped: bool = False


class Block(NamedTuple):
    """The rows of one launch.

    Attributes:
        match: finds them at a position; its groups are the ID, the cells between it and the section, and the values.
        splitter: finds many at once, where they are regular; None where a row holds no numbers.
        is_identity: whether cells can be those between the ID and the section.
        reads: what reads the value of each row; None for whole numbers.
        pairs: the code that each counter is kept under.
        slots: the slot of each row.
        is_neutral: there are but digits, which mean the same in every locale.
    """

    match: Callable[[bytes, int], re.Match[bytes] | None]
    splitter: Splitter | None
    is_identity: Callable[[bytes], object | None]
    reads: tuple[Callable[[bytes], float] | None, ...]
    pairs: array[int]
    slots: list[Slot]
    is_neutral: bool

    def matched(self, body: bytes, at: int, *, most: int) -> Matched | None:
        """The next launches from there on, one after the other; None where the next is no such launch."""
        matches: list[re.Match[bytes]] = []
        while len(matches) < most and (launch := self.match(body, at)) is not None:
            matches.append(launch)
            at = launch.end()
        return Matched(matches, self.reads) if matches else None


class Matched:
    """Launches that match a block.

    Attributes:
        orders: their IDs.
        cells: of each, what stands between the ID and the section.
    """

    def __init__(self, matches: list[re.Match[bytes]], reads: Sequence[Callable[[bytes], float] | None]) -> None:
        groups = list(zip(*[match.groups() for match in matches], strict=True))
        self.orders = list(map(int, groups[0]))
        self.cells: Sequence[bytes] = groups[1]
        self._columns = groups[2:]
        self._matches = matches
        self._reads = reads

    def values(self, count: int) -> array[float]:
        """The values of the first ``count`` launches, row by row."""
        rows = len(self._columns)
        values = array("d", bytes(8 * count * rows))
        view = np.frombuffer(values)
        for place, (read, column) in enumerate(zip(self._reads, self._columns, strict=True)):
            texts: Sequence[bytes] = column[:count]
            joined = b" ".join(texts)
            if _COMMA in joined:
                joined = joined.replace(b",", b"")
                texts = joined.split()
            if read is None:
                view[place::rows] = np.fromstring(joined, dtype=np.int64, sep=" ")
            else:
                view[place::rows] = list(map(read, texts))
        return values

    def extent(self, count: int) -> Extent:
        """How far the first ``count`` launches reach."""
        begin, last = self._matches[0].start(), self._matches[count - 1]
        lines = last.string.count(b"\n", begin, last.end())
        return Extent(last.end() - begin, lines, last.end() - last.start())


class Blocks:
    """Makes blocks of the launches that come along.

    Args:
        cells: how many cells stand between the ID and the section.
    """

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._last: tuple[object, ...] = ()
        self._made: dict[tuple[object, ...], Block] = {}

    def block(self, rows: Sequence[BlockRow], style: Style) -> Block | None:
        """The block of a launch with these rows, if the launch before it had the same."""
        if not 0 < len(rows) <= MAX_ROWS:
            return None
        key = (*((row.tail, row.nothing, row.is_whole) for row in rows), style)
        again, self._last = key == self._last, key
        if again and key not in self._made and len(self._made) < _MAX_MADE:
            self._made[key] = _block_of(self._cells, rows, style)
        return self._made.get(key)


class _Memo(dict[bytes, float]):
    """Numeral -> value in base units; percentages come again and again."""

    def __init__(self, suffix: bytes) -> None:
        self._suffix = suffix

    def __missing__(self, text: bytes) -> float:
        value = float(text + self._suffix)
        if len(self) < _MEMO_SIZE:
            self[text] = value
        return value


def _block_of(cells: int, rows: Sequence[BlockRow], style: Style) -> Block:
    values = [b"(" + _value(row, style) + b")" + re.escape(style.ending) + rb"\n" for row in rows]
    identity = (_ESCAPED_CELL if style.is_escaped else _CELL) * cells
    pattern = rb'"(\d{1,18})",(' + identity + rb")" + re.escape(rows[0].tail) + values[0]
    for row, value in zip(rows[1:], values[1:], strict=True):
        pattern += rb'"\1",\2' + re.escape(row.tail) + value
    memos: dict[bytes, _Memo] = {}
    return Block(
        match=re.compile(pattern).match,
        splitter=_splitter_of(rows, style),
        is_identity=re.compile(identity).fullmatch,
        reads=tuple(_reading(row, memos) for row in rows),
        pairs=array("i", (row.slot.pair for row in rows)),
        slots=[row.slot for row in rows],
        is_neutral=not style.groups_whole and all(row.is_whole for row in rows),
    )


def _splitter_of(rows: Sequence[BlockRow], style: Style) -> Splitter | None:
    if any(row.nothing is not None for row in rows):
        return None
    exponents = [row.slot.unit.exponent for row in rows]
    return Splitter([row.tail for row in rows], exponents, [row.is_whole for row in rows], style.ending)


def _value(row: BlockRow, style: Style) -> bytes:
    if row.nothing is not None:
        return re.escape(row.nothing)
    if row.is_whole:
        return _GROUPED if style.groups_whole else _DIGITS
    return (_GROUPED if style.groups_others else _DIGITS) + _FRACTION


def _reading(row: BlockRow, memos: dict[bytes, _Memo]) -> Callable[[bytes], float] | None:
    if row.nothing is not None:
        return lambda _: NAN
    if row.is_whole:
        return None
    suffix = row.slot.suffix
    return memos.setdefault(suffix, _Memo(suffix)).__getitem__
