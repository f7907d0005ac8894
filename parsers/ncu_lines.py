"""The text of an Nsight Compute CSV stream as UTF-8, in pieces of whole lines.

Line ends are LF or CRLF. A byte order mark tells UTF-16 (what PowerShell's ``>`` writes) and is dropped from UTF-8. A
line is bounded, so that a stream without line ends costs an error and no memory.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import partial
from typing import Final, Protocol

from ds2prof.errors import ReadError

MAX_LINE_BYTES: Final = 16 << 20
CHUNK_BYTES: Final = 120 << 10
"""Small enough for a processor's cache, and for the allocator to take the same memory again and again."""
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Piece:
    """Successive lines, and how far they are read.

    Attributes:
        body: the lines with their ends.
        at: where the next line begins.
        line: its number, from 1.
        is_last: nothing follows; else lines may be left unread, and come again before what follows.
        is_ended: False for the last line of a stream that does not end in a line end; it then comes alone.
    """

    def __init__(self, body: bytes, line: int, *, is_last: bool = True, is_ended: bool = True) -> None:
        self.body = body
        self.at = 0
        self.line = line
        self.is_last = is_last
        self.is_ended = is_ended

    @property
    def is_read(self) -> bool:
        """Whether there is no further line."""
        return self.at >= len(self.body)

    def peek(self) -> bytes:
        """The next line, without its end."""
        end = self.body.find(b"\n", self.at)
        return self.body[self.at : end] if end >= 0 else self.body[self.at :]

    def skip(self, line: bytes) -> None:
        """Go behind the next line, which was peeked at."""
        self.at += len(line) + 1
        self.line += 1


def encoding_of(head: bytes) -> str:
    """The encoding that a stream beginning with ``head`` is in: ``utf-8``, ``utf-16-le`` or ``utf-16-be``."""
    return _UTF16.get(head[:2], "utf-8")


def as_utf8(head: bytes) -> bytes:
    """The first bytes of a stream as UTF-8 without a byte order mark."""
    encoding = encoding_of(head)
    if encoding == "utf-8":
        return head.removeprefix(codecs.BOM_UTF8)
    return head[2:].decode(encoding, "replace").encode("utf-8", "replace")


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end."""


def pieces(stream: Readable, name: str, *, line: int = 1) -> Iterator[Piece]:
    """The stream, in pieces of whole lines; the caller reads each, and may leave lines unread while more follow.

    Args:
        stream: the text, or what follows of it.
        name: for messages.
        line: the number of its first line; from 2 on the stream begins within a text in UTF-8.

    Raises:
        ReadError: a line is longer than :data:`MAX_LINE_BYTES`.
    """
    unread, carry = b"", b""
    for chunk in _utf8_chunks(stream) if line == 1 else iter(partial(stream.read, CHUNK_BYTES), b""):
        data = carry + chunk
        cut = data.rfind(b"\n") + 1
        carry = data[cut:]
        if cut:
            piece = Piece(unread + _with_plain_ends(data[:cut]), line, is_last=False)
            yield piece
            line, unread = piece.line, piece.body[piece.at :]
        if len(carry) > MAX_LINE_BYTES:
            raise ReadError(
                f"{name}:{line}: a line of more than {MAX_LINE_BYTES >> 20} MiB; this is no Nsight Compute CSV"
            )
    if unread:
        piece = Piece(unread, line)
        yield piece
        line = piece.line
    if carry:
        yield Piece(carry.removesuffix(b"\r"), line, is_ended=False)


def _with_plain_ends(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n") if b"\r" in body else body


def _utf8_chunks(stream: Readable) -> Iterator[bytes]:
    chunk = stream.read(CHUNK_BYTES)
    encoding = encoding_of(chunk)
    if encoding == "utf-8":
        yield chunk.removeprefix(codecs.BOM_UTF8)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    chunk = chunk[2:]
    while chunk:
        yield decoder.decode(chunk).encode("utf-8", "replace")
        chunk = stream.read(CHUNK_BYTES)
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
