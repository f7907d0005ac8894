"""Integer columns straight from the pages of an SQLite file, without an object per value.

SQLite's file format is documented and frozen (https://www.sqlite.org/fileformat2.html); what is read of it here::

    file     := page*                       page size: u16 at byte 16 (1 means 65,536); left free per page: u8 at 20
    interior := 0x05, cells: u16 at 3, last child: u32 at 8, pointer* at 12     cell := child: u32, rowid: varint
    leaf     := 0x0d, cells: u16 at 3, pointer* at 8                            cell := payload size: varint,
                                                                                        rowid: varint, record
    record   := header size: varint, (serial type: varint)*, value*
    serial   := 0 NULL | 1..6 integer of 1 2 3 4 6 8 bytes | 7 real | 8 zero | 9 one | >= 12 blob, text of (n - 12) // 2

All leaves of a batch are taken apart together. Most rows of a table have one of a few headers, and rows with the same
header have their values at the same places: they are gathered as one block of bytes, in which every column is a view.

What is out of the ordinary (a table without rowids, values on overflow pages, records shorter than the table's
declaration, damage of any kind) raises :class:`Unsuitable`, and SQLite itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

BATCH_BYTES: Final = 1 << 20
MAX_HEADERS: Final = 24
"""Distinct headers in a batch that are taken one by one; the rows of rarer ones are taken apart column by column."""
_MAX_DEPTH: Final = 20
_PADDING_BYTES: Final = 256
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_NULL, _ZERO, _ONE, _REAL = 0, 8, 9, 7
_SIZES: Final = np.array([0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0, *((n - 12) // 2 for n in range(12, 128))], dtype=np.int64)
_INTEGER: Final = np.array([0, 1, 1, 1, 1, 1, 1, 0, 1, 1, *([0] * 118)], dtype=np.bool_)


class Unsuitable(Exception):  # noqa: N818  not an error: the other way is taken
    """This table is not as this module expects it."""


def int_columns(path: Path, root: int, indices: Sequence[int]) -> tuple[list[Ints], list[npt.NDArray[np.bool_] | None]]:
    """The values of columns of a table's records (0 where null), and their masks (None where nothing is null).

    Args:
        path: the file.
        root: number of the table's root page.
        indices: which values of a record, counted from 0, in ascending order.

    Raises:
        Unsuitable: the table or the file is out of the ordinary.
    """
    values: list[list[Ints]] = [[] for _ in indices]
    masks: list[list[npt.NDArray[np.bool_] | None]] = [[] for _ in indices]
    with path.open("rb") as stream:
        pages = _Pages(stream)
        for batch in _batches(pages.leaves(root), pages.size_bytes):
            for at, (numbers, valid) in enumerate(zip(*_batch(pages, batch, indices), strict=True)):
                values[at].append(numbers)
                masks[at].append(None if valid.all() else valid)
    joined = [_joined(masks[at], values[at]) for at in range(len(indices))]
    return [_emptied(parts) for parts in values], joined


def _emptied(parts: list[Ints]) -> Ints:
    """One array of many, which are given up at once: only one column is ever in memory twice."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _joined(masks: list[npt.NDArray[np.bool_] | None], values: list[Ints]) -> npt.NDArray[np.bool_] | None:
    """One mask of many; None where all is valid."""
    if all(mask is None for mask in masks):
        return None
    return np.concatenate(
        [np.ones(len(part), dtype=np.bool_) if mask is None else mask for mask, part in zip(masks, values, strict=True)]
    )


def _batches(leaves: Ints, page_bytes: int) -> Iterator[Ints]:
    step = max(BATCH_BYTES // page_bytes, 1)
    for start in range(0, len(leaves), step):
        yield leaves[start : start + step]


class _Pages:
    """The file as pages, numbered from 1."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        header = stream.read(100)
        if len(header) < 100:
            raise Unsuitable
        size = int.from_bytes(header[16:18], "big")
        self.size_bytes = 65536 if size == 1 else size
        if self.size_bytes < 512 or self.size_bytes & (self.size_bytes - 1):
            raise Unsuitable
        self.usable_bytes = self.size_bytes - header[20]
        self.count = stream.seek(0, 2) // self.size_bytes

    def read(self, numbers: Ints) -> Bytes:
        """The pages, one behind the other, zeros behind the last."""
        size = self.size_bytes
        if int(numbers.min()) < 1 or int(numbers.max()) > self.count:
            raise Unsuitable
        buffer = np.empty(len(numbers) * size + _PADDING_BYTES, dtype=np.uint8)
        buffer[-_PADDING_BYTES:] = 0
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        edges = [0, *breaks.tolist(), len(numbers)]
        for start, stop in pairwise(edges):
            self._stream.seek((int(numbers[start]) - 1) * size)
            part = memoryview(cast(Any, buffer[start * size : stop * size]))
            if cast(Any, self._stream).readinto(part) != len(part):
                raise Unsuitable
        return buffer

    def leaves(self, root: int) -> Ints:
        """The numbers of a table's leaf pages in the order of its rows."""
        level = np.array([root], dtype=np.int64)
        seen = 0
        for _ in range(_MAX_DEPTH):
            kinds = self._kinds(level)
            if kinds == {0x0D}:
                return level
            if kinds != {0x05}:
                raise Unsuitable
            level = np.concatenate([self._children(int(number)) for number in level])
            seen += len(level)
            if seen > self.count:
                raise Unsuitable
        raise Unsuitable

    def _kinds(self, level: Ints) -> set[int]:
        """The page types on one level: a b-tree is balanced, so that the first and the last stand for all."""
        return {int(self.read(level[at : at + 1])[100 if level[at] == 1 else 0]) for at in (0, len(level) - 1)}

    def _children(self, number: int) -> Ints:
        page = self.read(np.array([number], dtype=np.int64))[: self.size_bytes]
        start = 100 if number == 1 else 0
        if page[start] != 0x05:
            raise Unsuitable
        count = int(page[start + 3]) << 8 | int(page[start + 4])
        last = page[start + 8 : start + 12].copy().view(">u4").astype(np.int64)
        if start + 12 + 2 * count > self.usable_bytes:
            raise Unsuitable
        cells = page[start + 12 : start + 12 + 2 * count].copy().view(">u2").astype(np.int64)
        if count and int(cells.max()) + 4 > self.usable_bytes:
            raise Unsuitable
        children = page[cells[:, None] + np.arange(4)].view(">u4").ravel().astype(np.int64)
        return np.concatenate([children, last])


def _batch(pages: _Pages, numbers: Ints, indices: Sequence[int]) -> tuple[list[Ints], list[npt.NDArray[np.bool_]]]:
    """Values and masks of the rows on some leaf pages."""
    if int(numbers.min()) == 1:
        raise Unsuitable  # the first page begins with the file's header; only the schema's own table lies there
    buffer = pages.read(numbers)
    records = _Records(buffer, pages, len(numbers))
    values = [np.zeros(len(records.header_at), dtype=np.int64) for _ in indices]
    masks = [np.zeros(len(records.header_at), dtype=np.bool_) for _ in indices]
    rest = records.by_header(indices, values, masks)
    if len(rest):
        records.by_column(rest, indices, values, masks)
    return values, masks


class _Records:
    """Where the records of the rows on some leaf pages lie in a buffer of these pages.

    Attributes:
        header_at: offset of the first serial type of each row.
        header_end: offset behind the last serial type, where the values begin.
        end: offset behind the part of the record that lies on the page.
    """

    def __init__(self, buffer: Bytes, pages: _Pages, count: int) -> None:
        self.buffer = buffer
        size, usable = pages.size_bytes, pages.usable_bytes
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
