"""Whether a file that a profiler wrote is whole: cheap looks at its frame, since a full disk can cut one in silence.

A tool that was ended badly is not asked: its file does not count. These looks are for those that end well all the
same, as Nsight Compute does when its log could not be written to the end. A file in a format whose frame is not known
here counts as whole when it is not empty.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

_NCU_MAGIC: Final = b"NVR\0"
_NCU_PAYLOAD_FIELD: Final = 5
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_SQLITE_JOURNALS: Final = ("-journal", "-wal")


def damage(path: Path) -> str | None:
    """What is wrong with the file, in a few words; None where nothing is known to be."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes == 0:
            return "is empty"
        look = next((look for ending, look in _LOOKS.items() if path.name.endswith(ending)), None)
        if look is None:
            return None
        with path.open("rb") as stream:
            return look(stream, size_bytes, path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _lines(stream: BinaryIO, size_bytes: int, _path: Path) -> str | None:
    stream.seek(size_bytes - 1)
    return None if stream.read(1) == b"\n" else "breaks off in the middle of a line"


def _report(stream: BinaryIO, size_bytes: int, _path: Path) -> str | None:
    """Nsight Compute's: ``NVR\\0``, a framed header, then framed heads, each of which counts the bytes behind it."""
    if stream.read(len(_NCU_MAGIC)) != _NCU_MAGIC:
        return "does not begin as a report"
    at = _framed(stream, len(_NCU_MAGIC))[0]
    while at < size_bytes:
        stream.seek(at)
        at, head = _framed(stream, at)
        payload_bytes = _number(head, _NCU_PAYLOAD_FIELD)
        if payload_bytes is None or at + payload_bytes > size_bytes:
            return f"is cut short: {size_bytes} bytes, and more are announced"
        at += payload_bytes
    return None if at == size_bytes else f"is cut short: {size_bytes} bytes of {at}"


def _framed(stream: BinaryIO, at: int) -> tuple[int, bytes]:
    """The place behind a frame, and what it holds."""
    head = stream.read(4)
    if len(head) < 4:
        return at + 4, b""
    (length,) = struct.unpack("<I", head)
    return at + 4 + length, stream.read(min(length, 1 << 20))


def _number(message: bytes, wanted: int) -> int | None:
    """A number in a message of protocol buffers; 0 where it is absent, None where the message breaks off."""
    at, found = 0, 0
    try:
        while at < len(message):
            key, at = _varint(message, at)
            kind = key & 7
            if kind == 0:
                value, at = _varint(message, at)
                found = value if key >> 3 == wanted else found
            elif kind == 2:
                length, at = _varint(message, at)
                at += length
            else:
                at += {1: 8, 5: 4}[kind]
    except (IndexError, KeyError):
        return None
    return found if at == len(message) and message else None


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _database(stream: BinaryIO, size_bytes: int, path: Path) -> str | None:
    head = stream.read(100)
    if not head.startswith(_SQLITE_MAGIC) or len(head) < 100:
        return "is no database"
    for ending in _SQLITE_JOURNALS:
        beside = path.with_name(path.name + ending)
        if beside.exists() and beside.stat().st_size:
            return f"was not finished: its journal {beside.name} is still there"
    page_bytes = int.from_bytes(head[16:18], "big")
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    pages = int.from_bytes(head[28:32], "big")
    counted = head[24:28] == head[92:96]  # else a library from before 2010 wrote it, and left the count alone
    if counted and pages * page_bytes > size_bytes:
        return f"is cut short: {size_bytes} bytes of {pages * page_bytes}"
    return None


_LOOKS: Final[Mapping[str, Callable[[BinaryIO, int, Path], str | None]]] = {
    ".csv": _lines,
    ".ncu-rep": _report,
    ".nvvp": _database,
}
"""The end of a name -> how to look at such a file."""


def is_full(folder: Path, *, needed_bytes: int = 1 << 16) -> bool:
    """Whether the disk that holds the folder has no room left."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < needed_bytes or (found.f_files > 0 and found.f_favail == 0)
