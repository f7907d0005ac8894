"""The lines of what nvprof printed, in batches, whatever else was printed between them.

Text is UTF-8, or UTF-16 with a byte order mark (what PowerShell's ``>`` writes). Lines end in LF, CRLF, or the CR of a
progress bar. A line is bounded: of a longer one, which no table has, the rest is dropped.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

MAX_LINE_CHARS: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 20
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True)
class Batch:
    """Successive lines without their ends.

    Attributes:
        lines: the lines.
        number: of the first, from 1.
        is_ended: False for the last line of a stream that does not end in a line end; it then comes alone.
    """

    lines: list[str]
    number: int
    is_ended: bool = True


def as_text(head: bytes) -> str:
    """The first bytes of a stream as text."""
    encoding = _UTF16.get(head[:2], "utf-8")
    text = head.decode(encoding, "replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def batches(stream: BinaryIO) -> Iterator[Batch]:
    """All lines of the stream, a few thousand at a time."""
    number, carry, skipping = 1, "", False
    for text in _texts(stream):
        if skipping:
            _, end, text = text.partition("\n")
            if not end:
                continue
            number, skipping = number + 1, False
        parts = (carry + text).split("\n")
        carry = parts.pop()
        if len(carry) > MAX_LINE_CHARS:
            carry, skipping = "", True
        if parts:
            yield Batch(parts, number)
            number += len(parts)
    if carry:
        yield Batch([carry], number, is_ended=False)


def _texts(stream: BinaryIO) -> Iterator[str]:
    chunk = stream.read(_CHUNK_BYTES)
    decoder = codecs.getincrementaldecoder(_UTF16.get(chunk[:2], "utf-8"))("replace")
    held, first = "", True
    while chunk:
        text = held + decoder.decode(chunk)
        if first:
            text, first = text.removeprefix("\ufeff"), False
        held = "\r" if text.endswith("\r") else ""  # its line feed may come with the next chunk
        text = text[: len(text) - len(held)]
        yield text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
        chunk = stream.read(_CHUNK_BYTES)
    yield decoder.decode(b"", final=True) + ("\n" if held else "")
