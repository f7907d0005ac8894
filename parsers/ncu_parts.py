"""A large Nsight Compute CSV in parts: other processes cut out regular launches, and the reader takes them over.

The file is read in order, by one reader. Where a child has cut out a stretch of launches, the reader takes those as if
it had; it reads itself what no child understood, and the stretches that do not go on from what it knows. So the result
is that of one pass, however the file is divided.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, Final, NamedTuple, Protocol

from ds2prof.parsers import forked
from ds2prof.parsers.ncu_block import Block
from ds2prof.parsers.ncu_lines import CHUNK_BYTES

LEAST_BYTES: Final = 32 << 20
"""Smaller files are read by one process."""

_HEAD_BYTES: Final = 1 << 20
"""What the reader reads alone at first, to learn how the file's launches look."""
_OWN_SHARE: Final = 0.85
"""Of what a child gets: the reader also takes over what the children found."""
_MAX_STRETCHES: Final = 1 << 10
_MAX_MATCHED: Final = 1 << 12


class Stretch(NamedTuple):
    """Successive launches with the same rows.

    Attributes:
        begin: where in the file the first of them begins.
        end: where the last of them ends.
        orders: their IDs.
        cells: what stands between ID and section, each such text once.
        codes: of each launch, which of ``cells`` it has.
        values: of all their rows, in base units.
    """

    begin: int
    end: int
    orders: list[int]
    cells: list[bytes]
    codes: list[int]
    values: array[float]


class Reader(Protocol):
    """What reads the file in order."""

    @property
    def block(self) -> Block | None:
        """The rows that launches have here, once that is known and their numerals are beyond doubt."""

    def read_on(self, stream: Range) -> None:
        """Read the next bytes of the file."""

    def take(self, stretch: Stretch) -> bool:
        """Take over launches that come next; False if they are to be read."""


class Range:
    """A part of a stream that can be read once.

    Args:
        stream: the stream.
        begin: where the part begins.
        end: where it ends; None for the stream's own end.
    """

    def __init__(self, stream: BinaryIO, begin: int, end: int | None) -> None:
        self._stream = stream
        self._begin, self._left = begin, None if end is None else end - begin
        stream.seek(begin)

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; none at the end."""
        if self._left is None:
            return self._stream.read(size)
        found = self._stream.read(min(size, self._left))
        self._left -= len(found)
        return found


def read_in_parts(reader: Reader, stream: BinaryIO, size_bytes: int, *, processes: int) -> None:
    """Have the reader read the stream, a plain file of that size, with the help of ``processes`` - 1 children."""
    file = stream.fileno()  # looked at in places without moving the stream, whose progress is shown
    at = _line_after(file, _HEAD_BYTES)
    reader.read_on(Range(stream, 0, at))
    block = reader.block
    starts = [] if block is None or at >= size_bytes else _starts(file, at, size_bytes, block, count=processes - 1)
    if block is None or not starts:
        reader.read_on(Range(stream, at, None))
        return
    ends = [*starts[1:], size_bytes]
    tasks = [partial(_cut_out, file, begin, end, block) for begin, end in zip(starts, ends, strict=True)]
    with forked.children(tasks) as children:
        reader.read_on(Range(stream, at, starts[0]))
        at = starts[0]
        for child in children:
            for stretch in _unpacked(child.result(), len(block.slots)):
                if stretch.begin > at:
                    reader.read_on(Range(stream, at, stretch.begin))
                if not reader.take(stretch):
                    reader.read_on(Range(stream, stretch.begin, stretch.end))
                at = stretch.end
        reader.read_on(Range(stream, at, None))


def _line_after(file: int, at: int) -> int:
    """Where the first line begins that begins behind a place; the end of the stream if none does."""
    while chunk := os.pread(file, CHUNK_BYTES, at):
        found = chunk.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(chunk)
    return at


def _starts(file: int, begin: int, end: int, block: Block, *, count: int) -> list[int]:
    """Where launches begin that divide the rest of the file into one part for the reader and one for each child."""
    part = (end - begin) / (count + _OWN_SHARE)
    starts: list[int] = []
    for number in range(count):
        place = _line_after(file, begin + int((number + _OWN_SHARE) * part))
        launch = _launch_in(os.pread(file, CHUNK_BYTES, place), 0, block)
        if launch is not None:
            starts.append(place + launch)
    return sorted(set(starts))


def _launch_in(body: bytes, at: int, block: Block) -> int | None:
    """Where in these lines the first launch from there on begins that is all in them."""
    while 0 <= at < len(body):
        if block.match(body, at) is not None:
            return at
        at = body.find(b"\n", at) + 1 or -1
    return None


def _cut_out(file: int, begin: int, end: int, block: Block) -> bytes:
    """The stretches in a part of the file, packed; what a child does."""
    packed: list[bytes] = []
    growing = _Growing(begin)
    at = begin
    while at < end and len(packed) < _MAX_STRETCHES:
        body = os.pread(file, min(CHUNK_BYTES, end - at), at)
        body = body[: body.rfind(b"\n") + 1]
        if not body:
            break
        if growing.add(body, block):
            at = growing.end
            continue
        launch = _launch_in(body, body.index(b"\n") + 1, block)
        packed += growing.packed()
        at += len(body) if launch is None else launch
        growing = _Growing(at)
    packed += growing.packed()
    return b"".join(packed)


class _Growing:
    """A stretch while it grows."""

    def __init__(self, begin: int) -> None:
        self.begin = self.end = begin
        self._orders = array("q")
        self._codes = array("i")
        self._values = array("d")
        self._cells: dict[bytes, int] = {}

    def add(self, body: bytes, block: Block) -> bool:
        """Add the launches that these lines begin with; False if they begin with none."""
        found = None if block.splitter is None else block.splitter.split(body, 0, groups=True)
        launches = found or block.matched(body, 0, most=_MAX_MATCHED)
        if launches is None or any(b"\n" in cells for cells in launches.cells):
            return False
        code_of = self._cells
        self._orders.extend(launches.orders)
        self._codes.extend([code_of.setdefault(cells, len(code_of)) for cells in launches.cells])
        self._values.extend(launches.values(len(launches.orders)))
        self.end += launches.extent(len(launches.orders)).size_bytes
        return True

    def packed(self) -> Iterator[bytes]:
        """The stretch as bytes; nothing if it has no launch."""
        if self._orders:
            cells = b"\n".join(self._cells)
            yield array("q", (self.begin, self.end, len(self._orders), len(cells))).tobytes()
            yield self._orders.tobytes() + self._codes.tobytes() + self._values.tobytes() + cells


def _unpacked(packed: bytes, rows: int) -> Iterator[Stretch]:
    """The stretches that a child cut out of its part."""
    at = 0

    def taken(typecode: str, count: int) -> array[int]:
        nonlocal at
        found = array(typecode)
        size = count * found.itemsize
        found.frombytes(packed[at : at + size])
        at += size
        return found

    while at < len(packed):
        begin, end, count, cells_size = taken("q", 4)
        orders, codes = taken("q", count).tolist(), taken("i", count).tolist()
        values: array[float] = taken("d", count * rows)  # type: ignore[assignment]
        cells = packed[at : at + cells_size].split(b"\n")
        at += cells_size
        yield Stretch(begin, end, orders, cells, codes, values)
