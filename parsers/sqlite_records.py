"""The records on leaf pages of an SQLite table, taken apart together; the grammar is that of ``sqlite_pages``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

MAX_HEADERS: Final = 24
"""Distinct headers in a batch that are taken one by one; the rows of rarer ones are taken apart column by column."""
PADDING_BYTES: Final = 256
"""Zeros that a buffer of pages has behind the last."""
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_NULL, _ZERO, _ONE = 0, 8, 9
_SIZES: Final = np.array([0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0, *((n - 12) // 2 for n in range(12, 128))], dtype=np.int64)
_INTEGER: Final = np.array([0, 1, 1, 1, 1, 1, 1, 0, 1, 1, *([0] * 118)], dtype=np.bool_)


class Unsuitable(Exception):  # noqa: N818  not an error: the other way is taken
    """This table is not as this module expects it."""


class Records:
    """Where the records of the rows on some leaf pages lie in a buffer of these pages.

    Attributes:
        header_at: offset of the first serial type of each row.
        header_end: offset behind the last serial type, where the values begin.
        end: offset behind the part of the record that lies on the page.
    """

    def __init__(self, buffer: Bytes, *, page_bytes: int, usable_bytes: int, count: int) -> None:
        self.buffer = buffer
        size, usable = page_bytes, usable_bytes
        starts = np.arange(count, dtype=np.int64) * size
        if (buffer[starts] != 0x0D).any():
            raise Unsuitable
        cells = buffer[starts + 3].astype(np.int64) << 8 | buffer[starts + 4]
        if int(cells.max()) * 2 + 8 > usable:
            raise Unsuitable
        base = np.repeat(starts, cells)
        first = np.cumsum(cells) - cells
        pointer = base + 8 + 2 * (np.arange(len(base)) - np.repeat(first, cells))
        offset = buffer[pointer].astype(np.int64) << 8 | buffer[pointer + 1]
        at = base + offset
        if len(at) and int(offset.max()) > usable - 4:
            raise Unsuitable
        payload, at = _varint2(buffer, at)
        at = _past_varint(buffer, at)
        self.end = at + _local_bytes(payload, usable)
        header, self.header_at = _varint2(buffer, at)
        self.header_end = at + header
        if len(at) and (
            bool((self.header_end > self.end).any())
            or bool((self.header_at > self.header_end).any())
            or bool((self.end > base + usable).any())
        ):
            raise Unsuitable

    def by_header(self, indices: Sequence[int], values: list[Ints], masks: list[npt.NDArray[np.bool_]]) -> Ints:
        """Fills in the rows whose header many share; the other rows come back."""
        width = indices[-1] + 1
        rows = np.arange(len(self.header_at), dtype=np.int64)
        if not len(rows):
            return rows
        if bool((self.header_end - self.header_at < width).any()):
            raise Unsuitable  # a column was added behind these rows: SQLite knows what stands for it
        words = _words(self.buffer, self.header_at, width)
        slow = _any(words, lambda word: word & _HIGH_BITS)
        left = rows[slow]
        if len(left):
            rows, words = rows[~slow], [word[~slow] for word in words]
        for _ in range(MAX_HEADERS):
            if not len(rows):
                break
            other = _any(words, lambda word: word ^ word[0])
            header = np.array([word[0] for word in words]).view(np.uint8)[:width]
            chosen = ~other
            self._block(rows[chosen], header, indices, values, masks)
            rows, words = rows[other], [word[other] for word in words]
        return np.concatenate([left, rows])

    def _block(
        self,
        rows: Ints,
        header: Bytes,
        indices: Sequence[int],
        values: list[Ints],
        masks: list[npt.NDArray[np.bool_]],
    ) -> None:
        """Fills in rows that all have this header."""
        sizes = _SIZES[header]
        places = np.cumsum(sizes) - sizes
        width = int(sizes.sum())
        start = self.header_end[rows]
        if bool((start + width > self.end[rows]).any()):
            raise Unsuitable
        block = _windows(self.buffer, start, max(width, 1))
        whole = len(rows) == len(self.header_at)
        where: Any = slice(None) if whole else rows
        for at, index in enumerate(indices):
            kind = int(header[index])
            if kind == _NULL or not _INTEGER[kind]:
                continue
            masks[at][where] = True
            if kind == _ONE:
                values[at][where] = 1
            elif kind != _ZERO:
                values[at][where] = _integers(block, int(places[index]), int(sizes[index]))

    def by_column(
        self, rows: Ints, indices: Sequence[int], values: list[Ints], masks: list[npt.NDArray[np.bool_]]
    ) -> None:
        """Fills in the rows column by column, each with places of its own."""
        header_at, header_end = self.header_at[rows].copy(), self.header_end[rows]
        value_at, end = header_end.copy(), self.end[rows]
        wanted = {index: at for at, index in enumerate(indices)}
        for index in range(indices[-1] + 1):
            if bool((header_at >= header_end).any()):
                raise Unsuitable
            kinds, header_at = _varints(self.buffer, header_at)
            small = np.minimum(kinds, 127)
            sizes = np.where(kinds < 128, _SIZES[small], (kinds - 12) // 2)
            if index in wanted:
                at = wanted[index]
                if bool((_INTEGER[small] & (value_at + sizes > end)).any()):
                    raise Unsuitable
                masks[at][rows] = _INTEGER[small]
                values[at][rows] = self._mixed(kinds, value_at)
            value_at = np.minimum(value_at + sizes, len(self.buffer) - 16)

    def _mixed(self, kinds: Ints, at: Ints) -> Ints:
        """One integer a row, of any size; 0 where it is none."""
        found = (kinds == _ONE).astype(np.int64)
        for kind in range(1, 7):
            of_kind = np.flatnonzero(kinds == kind)
            if len(of_kind):
                size = int(_SIZES[kind])
                found[of_kind] = _integers(_windows(self.buffer, at[of_kind], size), 0, size)
        return np.asarray(found, dtype=np.int64)


def _local_bytes(payload: Ints, usable: int) -> Ints:
    """How much of each payload lies on the leaf page itself; the rest is on overflow pages."""
    most = usable - 35
    if not len(payload) or int(payload.max()) <= most:
        return payload
    least = (usable - 12) * 32 // 255 - 23
    split = least + (payload - least) % (usable - 4)
    return np.asarray(np.where(payload <= most, payload, np.where(split <= most, split, least)), dtype=np.int64)


def _words(buffer: Bytes, starts: Ints, width: int) -> list[npt.NDArray[np.uint64]]:
    """The ``width`` bytes from each start as words of eight, zeros behind the last."""
    count = -(-width // 8)
    table = _windows(buffer, starts, 8 * count).view("<u8")
    kept = np.uint64((1 << 8 * (width - 8 * (count - 1))) - 1)
    words = [np.ascontiguousarray(table[:, at]) for at in range(count)]
    words[-1] &= kept
    return words


def _any(
    words: list[npt.NDArray[np.uint64]], test: Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.uint64]]
) -> npt.NDArray[np.bool_]:
    """Which rows have a word of which the test leaves a bit."""
    bits = test(words[0])
    for word in words[1:]:
        bits = bits | test(word)
    return np.asarray(bits != 0)


def _windows(buffer: Bytes, starts: Ints, width: int) -> Bytes:
    """The ``width`` bytes from each start, one row each."""
    views = np.ndarray((len(buffer) - width + 1,), dtype=f"V{width}", buffer=buffer, strides=(1,))
    if len(starts) and (int(starts.min()) < 0 or int(starts.max()) >= len(views)):
        raise Unsuitable
    return np.ascontiguousarray(views[starts]).view(np.uint8).reshape(len(starts), width)


def _integers(block: Bytes, place: int, size: int) -> Ints:
    """The big-endian integers of ``size`` bytes that lie at ``place`` of each row."""
    rows, width = block.shape

    def column(dtype: str, offset: int) -> Ints:
        view: npt.NDArray[Any] = np.ndarray((rows,), dtype=dtype, buffer=block, offset=offset, strides=(width,))
        return view.astype(np.int64)

    if not rows:
        return np.zeros(0, dtype=np.int64)
    if size == 3:
        return column(">i1", place) << 16 | column(">u2", place + 1)
    if size == 6:
        return column(">i2", place) << 32 | column(">u4", place + 2)
    return column(f">i{size}", place)


def _varint2(buffer: Bytes, at: Ints) -> tuple[Ints, Ints]:
    """The varints at these offsets and the offsets behind them; Unsuitable for any of more than three bytes."""
    value = buffer[at].astype(np.int64)
    long = value >= 128
    if not long.any():
        return value, at + 1
    value = np.where(long, (value & 127) << 7 | (buffer[at + 1] & 127), value)
    longer = long & (buffer[at + 1] >= 128)
    if longer.any():
        if bool((longer & (buffer[at + 2] >= 128)).any()):
            raise Unsuitable
        value = np.where(longer, value << 7 | buffer[at + 2], value)
    return value, at + 1 + long + longer


def _varints(buffer: Bytes, at: Ints) -> tuple[Ints, Ints]:
    """The varints at these offsets and the offsets behind them; Unsuitable for any of more than four bytes."""
    value = np.zeros(len(at), dtype=np.int64)
    more = np.ones(len(at), dtype=np.bool_)
    for _ in range(4):
        byte = buffer[at].astype(np.int64)
        value = np.where(more, value << 7 | (byte & 127), value)
        at = at + more
        more = more & (byte >= 128)
        if not more.any():
            return value, at
    raise Unsuitable


def _past_varint(buffer: Bytes, at: Ints) -> Ints:
    """The offsets behind the varints at these offsets."""
    more = buffer[at] >= 128
    behind = at + 1
    for _ in range(8):
        if not more.any():
            return behind
        more_next = more & (buffer[behind] >= 128)
        behind = behind + more
        more = more_next
    return behind
