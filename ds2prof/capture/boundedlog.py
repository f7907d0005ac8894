"""A log that does not outgrow the disk: of very much output the beginning and the end are kept, the cut is said."""

from __future__ import annotations

import os
from typing import BinaryIO, Final

LIMIT_BYTES: Final = 16 << 20
"""A log grows no longer than this."""
KEPT_BYTES: Final = 4 << 20
"""At each end, when it is cut."""


class BoundedLog:
    """Writes to a file, and cuts the middle out whenever it has reached the limit.

    Args:
        file: A regular file, open for reading and writing; any other is written to without a limit.
        limit_bytes: How long it may become.
        kept_bytes: What stays at each end; less than half of the limit.
    """

    def __init__(self, file: BinaryIO, *, limit_bytes: int = LIMIT_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
        self._file = file
        self._limit_bytes = limit_bytes
        self._kept_bytes = kept_bytes
        self._bounded = file.readable() and file.seekable()
        self._at_bytes = file.seek(0, os.SEEK_END) if self._bounded else 0
        self._head_bytes = 0
        """The length of the beginning that stays, once the log was cut."""
        self._tail_at_bytes = 0
        self._cut_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Nothing; the chunk is at the end of the log."""
        self._put(chunk)
        self._at_bytes += len(chunk)
        if self._bounded and self._at_bytes > self._limit_bytes:
            self._cut()

    def flush(self) -> None:
        """Nothing; all is handed to the system."""
        self._file.flush()

    def _put(self, chunk: bytes) -> None:
        """Writes all of it; an unbuffered file takes what it can."""
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _cut(self) -> None:
        """The middle goes; beginning and end meet at ends of lines where there are any near."""
        file = self._file
        if not self._cut_bytes:
            file.seek(0)
            head = file.read(self._kept_bytes)
            self._head_bytes = self._tail_at_bytes = head.rfind(b"\n") + 1 or len(head)
        start = file.seek(max(self._tail_at_bytes, self._at_bytes - self._kept_bytes))
        tail = file.read()
        skipped = tail.find(b"\n") + 1
        tail = tail[skipped:]
        self._cut_bytes += start + skipped - self._tail_at_bytes
        said = b"\n[ds2prof: %d bytes of output are left out here]\n" % self._cut_bytes
        file.seek(self._head_bytes)
        self._put(said + tail)
        file.truncate()
        self._tail_at_bytes = self._head_bytes + len(said)
        self._at_bytes = self._tail_at_bytes + len(tail)
