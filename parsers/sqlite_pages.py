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

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.sqlite_records import PADDING_BYTES, Bytes, Ints, Records, Unsuitable

BATCH_BYTES: Final = 1 << 20
MAX_THREADS: Final = 4
LEAVES_PER_THREAD: Final = 2000
_MAX_DEPTH: Final = 20


def int_columns(path: Path, root: int, indices: Sequence[int]) -> tuple[list[Ints], list[npt.NDArray[np.bool_] | None]]:
    """The values of columns of a table's records (0 where null), and their masks (None where nothing is null).

    Args:
        path: the file.
        root: number of the table's root page.
        indices: which values of a record, counted from 0, in ascending order.

    Raises:
        Unsuitable: the table or the file is out of the ordinary.
    """
    with path.open("rb") as stream:
        leaves = _Pages(stream).leaves(root)
    shares = np.array_split(leaves, _threads(len(leaves)))
    if len(shares) == 1:
        found = [_share(path, leaves, indices)]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(shares)) as pool:  # NumPy and reading let go of the interpreter
            found = list(pool.map(lambda share: _share(path, share, indices), shares))
    values = [[part for share, _ in found for part in share[at]] for at in range(len(indices))]
    masks = [[mask for _, share in found for mask in share[at]] for at in range(len(indices))]
    found.clear()
    joined = [_joined(masks[at], values[at]) for at in range(len(indices))]
    return [_emptied(parts) for parts in values], joined


def _threads(leaves: int) -> int:
    """How many threads are worth their start."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not everywhere
        cores = os.cpu_count() or 1
    return max(1, min(cores, MAX_THREADS, leaves // LEAVES_PER_THREAD))


def _share(
    path: Path, leaves: Ints, indices: Sequence[int]
) -> tuple[list[list[Ints]], list[list[npt.NDArray[np.bool_] | None]]]:
    """Values and masks of the rows on some of the leaves, a list for each column."""
    values: list[list[Ints]] = [[] for _ in indices]
    masks: list[list[npt.NDArray[np.bool_] | None]] = [[] for _ in indices]
    with path.open("rb") as stream:
        pages = _Pages(stream)
        for batch in _batches(leaves, pages.size_bytes):
            for at, (numbers, valid) in enumerate(zip(*_batch(pages, batch, indices), strict=True)):
                values[at].append(numbers)
                masks[at].append(None if valid.all() else valid)
    return values, masks


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
        buffer = np.empty(len(numbers) * size + PADDING_BYTES, dtype=np.uint8)
        buffer[-PADDING_BYTES:] = 0
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
    records = Records(buffer, page_bytes=pages.size_bytes, usable_bytes=pages.usable_bytes, count=len(numbers))
    values = [np.zeros(len(records.header_at), dtype=np.int64) for _ in indices]
    masks = [np.zeros(len(records.header_at), dtype=np.bool_) for _ in indices]
    rest = records.by_header(indices, values, masks)
    if len(rest):
        records.by_column(rest, indices, values, masks)
    return values, masks
