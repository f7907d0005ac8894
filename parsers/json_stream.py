"""The events of a large JSON trace, list by list, while the file streams by.

Grammar::

    file     := object | array
    object   := "{" [member ","]... '"traceEvents"' ":" array ["," member]... "}"
    array    := "[" [element ["," element]...] "]"

Only the elements of the one array are many. The rest of the object is the *document*: it is kept, with an empty array
in place of the events, for whoever wants the metadata.

A chunk is cut at the text that stood between the first elements (``},`` with the file's own indentation). That is a
guess, and decoding the chunk proves it: a cut inside an element leaves it unbalanced. Where decoding fails, the cut is
made again by counting brackets; where it fails still, piece by piece, so that one damaged element costs one element.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Generic, TypeVar

from ds2prof.errors import ReadError
from ds2prof.parsers.json_scan import Elements, array_start, elements, is_closed

CHUNK_BYTES: Final = 128 << 10
MAX_ELEMENT_BYTES: Final = 16 << 20
MAX_DOCUMENT_BYTES: Final = 64 << 20
_MAX_INDENT_BYTES: Final = 64
_GAP_BYTES: Final = b" \t\r\n,"
_GAP: Final = re.compile(rb"[ \t\r\n,]*")
_COMMA: Final = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_CLOSING: Final = re.compile(rb"[ \t\r\n]*\}\Z")
_BOM: Final = b"\xef\xbb\xbf"

E = TypeVar("E")


class BrokenJsonError(ValueError):
    """Raised by a decoder: these bytes are no JSON array."""


class EventStream(Generic[E]):
    """Iterates over lists of decoded events; afterwards its attributes tell what else the file holds and what was lost.

    Attributes:
        document: the object around the events, with ``[]`` in their place; None where the file is a bare array.
        head: the part of the document in front of the events.
        cut_at: where the file broke off: the offset of its unfinished element; None where the array was closed.
        lost: how many elements could not be decoded, the first of them at offset ``lost_at``.
        trailing_bytes: how many bytes stand behind a bare array.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        decode: Callable[[bytes], list[E]],
        salvage: Callable[[bytes], E | None],
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """A reader of ``stream``, called ``name`` in messages.

        Args:
            stream: the bytes; they are read once, front to back.
            name: what to call the stream in messages.
            decode: the events in a JSON array; raises :class:`BrokenJsonError` where it is none.
            salvage: the event in one damaged element; None where nothing can be made of it.
            chunk_bytes: how much to read at once.
        """
        self._stream = stream
        self._name = name
        self._decode = decode
        self._salvage = salvage
        self._chunk_bytes = chunk_bytes
        self._buffer = b""
        self._offset = 0  # of the buffer in the stream
        self._closed = False
        self._closing = b""  # what ends an element before a separating comma: its brace, with the file's indentation
        self._separator = b""  # the closing, the comma and the next element's brace
        self.head: bytes | None = None
        self.document: bytes | None = None
        self.cut_at: int | None = None
        self.lost = 0
        self.lost_at: int | None = None
        self.trailing_bytes = 0

    def __iter__(self) -> Iterator[list[E]]:
        self._find_array()
        while not self._closed and self.cut_at is None:
            if events := self._next():
                yield events
        self._finish()

    def _find_array(self) -> None:
        """Read up to the first event."""
        start = -1
        while start < 0:
            if not self._grow():
                raise ReadError(f"{self._name}: {self._nothing_found()}")
            if len(self._buffer) > MAX_DOCUMENT_BYTES:
                raise ReadError(f"{self._name}: no trace events in its first {MAX_DOCUMENT_BYTES >> 20} MiB; refused")
            if not self._offset and self._buffer.startswith(_BOM):
                self._consume(len(_BOM))
            start = array_start(self._buffer, b"traceEvents")
        head = self._buffer[:start]
        if head.lstrip().startswith(b"{"):
            self.head = self.document = head + b"]}"
        self._consume(start)

    def _nothing_found(self) -> str:
        if is_closed(self._buffer):
            return "JSON without a list of trace events; a PyTorch trace has them under 'traceEvents'"
        return f"ends after {len(self._buffer)} bytes, before its first event; was the export interrupted?"

    def _next(self) -> list[E]:
        """The events up to the last separator in the next chunk; by structure where that does not decode."""
        self._grow()
        self._skip_gap()
        cut = self._last_separator()
        if cut > 0:
            events = self._decoded(memoryview(self._buffer)[:cut])
            if events is not None:
                self._consume(cut)
                return events
        return self._by_structure()

    def _by_structure(self) -> list[E]:
        """The events of the whole elements in the buffer, which grows until there is one (two, to see a separator)."""
        wanted = 1 if self._separator else 2
        found = elements(self._buffer)
        while found.close < 0 and len(found.ends) < wanted:
            is_large = len(self._buffer) >= MAX_ELEMENT_BYTES
            if is_large or not self._grow():
                if len(found.ends):
                    break
                return self._resynchronized() if is_large else self._cut_off()
            self._skip_gap()
            found = elements(self._buffer)
        if not self._separator:
            self._learn_separator(found)
        stop = found.close if found.close >= 0 else int(found.ends[-1])
        events = self._decoded(self._buffer[:stop].rstrip(_GAP_BYTES))
        if events is None:
            return self._by_piece(found, stop)
        self._learn_separator(found)
        self._consume(stop, closing=found.close >= 0)
        return events

    def _cut_off(self) -> list[E]:
        """Nothing more follows, and no end is in sight: the file broke off, or a stray quote hides the brackets."""
        if self._is_indented and self._last_separator() > 0:
            return self._by_separator()
        self.cut_at = self._offset
        return []

    def _resynchronized(self) -> list[E]:
        """Go on behind an element whose end cannot be found, if the file's separator shows where that is."""
        if self._last_separator() <= 0:
            raise ReadError(
                f"{self._name}: no end within {MAX_ELEMENT_BYTES >> 20} MiB of the event at byte {self._offset}; "
                "the file is damaged, export it again"
            )
        return self._by_separator()

    def _by_piece(self, found: Elements, stop: int) -> list[E]:
        """The events that can be had from a stretch that does not decode as a whole."""
        if self._is_indented and self._last_separator() > 0:
            return self._by_separator()
        events: list[E] = []
        for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True):
            one = self._one(self._buffer[start:end])
            self._lose(start) if one is None else events.extend(one)
        self._consume(stop, closing=found.close >= 0)
        return events

    def _by_separator(self) -> list[E]:
        """The events between the separators in the buffer, each decoded by itself."""
        length = len(self._closing)
        ends = [match.start() + length for match in re.finditer(re.escape(self._separator), self._buffer)]
        events: list[E] = []
        for start, end in zip([0, *ends], ends, strict=False):
            one = self._one(self._buffer[start:end])
            if one is not None:
                events.extend(one)
            elif self._ends_inside(events, start, end):
                return events
            else:
                self._lose(start)
        self._consume(ends[-1])
        return events

    def _ends_inside(self, events: list[E], start: int, end: int) -> bool:
        """Whether the array ends in this piece, behind an element that can be decoded (which is added)."""
        found = elements(self._buffer[start:end])
        last = self._one(self._buffer[start : start + found.close]) if found.close >= 0 else None
        if last is None:
            return False
        events.extend(last)
        self._consume(start + found.close, closing=True)
        return True

    def _one(self, piece: bytes) -> list[E] | None:
        """The event in a piece with its commas and blanks; None where nothing can be made of it."""
        element = piece.strip(_GAP_BYTES)
        decoded = self._decoded(element)
        if decoded is not None:
            return decoded
        salvaged = self._salvage(element)
        return None if salvaged is None else [salvaged]

    def _lose(self, start: int) -> None:
        self.lost += 1
        if self.lost_at is None:
            self.lost_at = self._offset + _end_of_gap(self._buffer, start)

    def _decoded(self, data: bytes | memoryview) -> list[E] | None:
        try:
            return self._decode(b"".join((b"[", data, b"]")))
        except BrokenJsonError:
            return None

    @property
    def _is_indented(self) -> bool:
        """Whether the separator is a line break and an indentation, which no text and no inner list has alike."""
        return b"\n" in self._closing and self._closing[-2:-1] in (b" ", b"\t")

    def _learn_separator(self, found: Elements) -> None:
        """Take what stands between the first two elements for what stands between all."""
        if len(found.ends) < 2:
            return
        end, start = int(found.ends[0]), int(found.starts[1])
        closing = _CLOSING.search(self._buffer[max(0, end - _MAX_INDENT_BYTES) : end])
        if closing and _COMMA.fullmatch(self._buffer, end, start) and self._buffer[start : start + 1] == b"{":
            self._closing = closing.group()
            self._separator = self._closing + self._buffer[end : start + 1]

    def _last_separator(self) -> int:
        """Where the last element that a separator follows ends in the buffer; 0 where there is none."""
        found = self._buffer.rfind(self._separator) if self._separator else -1
        return found + len(self._closing) if found >= 0 else 0

    def _grow(self) -> bool:
        """Read on: at least a chunk, and as much as there is already, so that growing costs linear time."""
        data = self._stream.read(max(self._chunk_bytes, len(self._buffer)))
        self._buffer += data
        return bool(data)

    def _skip_gap(self) -> None:
        if end := _end_of_gap(self._buffer, 0):
            self._consume(end)

    def _consume(self, length: int, *, closing: bool = False) -> None:
        """Drop the first bytes of the buffer; ``closing``: they are followed by the bracket that ends the array."""
        if closing:
            self._closed = True
            length += 1
        self._buffer = self._buffer[length:]
        self._offset += length

    def _finish(self) -> None:
        """Read what stands behind the events."""
        if not self._closed:
            return
        while self._grow():
            if len(self._buffer) > MAX_DOCUMENT_BYTES:
                raise ReadError(f"{self._name}: over {MAX_DOCUMENT_BYTES >> 20} MiB behind the trace events; refused")
        if self.head is None:
            self.trailing_bytes = len(self._buffer.strip())
        else:
            self.document = self.head[: -len(b"}")] + self._buffer


def _end_of_gap(data: bytes, start: int) -> int:
    """Where the commas and blanks that begin at ``start`` end."""
    gap = _GAP.match(data, start)
    assert gap is not None
    return gap.end()
