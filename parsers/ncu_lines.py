"""The lines of an Nsight Compute CSV stream, as UTF-8 without their ends, in batches.

Line ends are LF or CRLF. A byte order mark tells UTF-16 (what PowerShell's ``>`` writes) and is dropped from UTF-8. A
line is bounded, so that a stream without line ends costs an error and no memory.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from ds2prof.errors import ReadError

MAX_LINE_BYTES: Final = 16 << 20
_CHUNK_BYTES: Final = 256 << 10
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True)
class Batch:
    """Successive lines.

    Attributes:
        first: the number of the first line, from 1.
        lines: each without its end.
        ended: False for the last line of a stream that does not end in a line end; it then comes alone.
    """

    first: int
    lines: list[bytes]
    ended: bool = True


def encoding_of(head: bytes) -> str:
    """The encoding that a stream beginning with ``head`` is in: ``utf-8``, ``utf-16-le`` or ``utf-16-be``."""
    return _UTF16.get(head[:2], "utf-8")


def as_utf8(head: bytes) -> bytes:
    """The first bytes of a stream as UTF-8 without a byte order mark."""
    encoding = encoding_of(head)
    if encoding == "utf-8":
        return head.removeprefix(codecs.BOM_UTF8)
    return head[2:].decode(encoding, "replace").encode("utf-8", "replace")


def batches(stream: BinaryIO, name: str) -> Iterator[Batch]:
    """The lines of the stream, in order.

    Raises:
        ReadError: a line is longer than :data:`MAX_LINE_BYTES`.
    """
    first, carry = 1, b""
    for chunk in _utf8_chunks(stream):
        data = carry + chunk
        cut = data.rfind(b"\n")
        if cut < 0:
            carry = data
        else:
            body, carry = data[:cut], data[cut + 1 :]
            lines = _split(body)
            yield Batch(first, lines)
            first += len(lines)
        if len(carry) > MAX_LINE_BYTES:
            raise ReadError(
                f"{name}:{first}: a line of more than {MAX_LINE_BYTES >> 20} MiB; this is no Nsight Compute CSV"
            )
    if carry:
        yield Batch(first, [carry.removesuffix(b"\r")], ended=False)


def _split(body: bytes) -> list[bytes]:
    if b"\r" not in body:
        return body.split(b"\n")
    return body.removesuffix(b"\r").replace(b"\r\n", b"\n").split(b"\n")


def _utf8_chunks(stream: BinaryIO) -> Iterator[bytes]:
    chunk = stream.read(_CHUNK_BYTES)
    encoding = encoding_of(chunk)
    if encoding == "utf-8":
        yield chunk.removeprefix(codecs.BOM_UTF8)
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    chunk = chunk[2:]
    while chunk:
        yield decoder.decode(chunk).encode("utf-8", "replace")
        chunk = stream.read(_CHUNK_BYTES)
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
