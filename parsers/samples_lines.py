"""Lines of a text of readings, in blocks of about a megabyte, each with the number of its first line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ds2prof.parsers.sources import Source

BLOCK_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 1 << 16


@dataclass
class Faults:
    """What was wrong with lines or cells, counted by kind, with the first place of each."""

    name: str
    _places: dict[str, int] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, *, line: int, count: int = 1) -> None:
        """Count a fault whose first place is ``line``."""
        self._counts[what] = self._counts.get(what, 0) + count
        self._places.setdefault(what, line)

    def warnings(self) -> list[str]:
        """One line for each kind of fault."""
        return [
            f"{self.name}:{self._places[what]}: {what}" + (f" ({count:,} such)" if count > 1 else "")
            for what, count in self._counts.items()
        ]


def blocks(source: Source, faults: Faults) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first line, lines without their ends) of each block; overlong lines come as empty ones.

    A byte-order mark is dropped, and a carriage return before a line's end too. A last line without an end is reported.
    """
    number, rest = 1, b""
    with source.open() as stream:
        first = True
        while block := stream.read(BLOCK_BYTES):
            if first and block.startswith(b"\xef\xbb\xbf"):
                block = block[3:]
            first = False
            lines = (rest + block).replace(b"\r\n", b"\n").split(b"\n")
            rest = lines.pop()
            if len(rest) > MAX_LINE_BYTES:
                rest = rest[: MAX_LINE_BYTES + 1]
            yield number, _bounded(lines, number, faults)
            number += len(lines)
    if rest.strip():
        faults.add("the last line has no end: its last value may be cut off", line=number)
        yield number, _bounded([rest], number, faults)


def _bounded(lines: list[bytes], number: int, faults: Faults) -> list[bytes]:
    """The lines; those that are too long for any reading emptied."""
    if max(map(len, lines), default=0) <= MAX_LINE_BYTES:
        return lines
    for at, line in enumerate(lines):
        if len(line) > MAX_LINE_BYTES:
            faults.add("a line too long for readings; left out", line=number + at)
            lines[at] = b""
    return lines
