"""Marks of the window that the program leaves: lines of the file that ``DS2PROF_STATUS`` names.

Grammar; other lines tell somebody else of progress::

    mark   := ("open" | "closed") " " process " " number (" " unix_ns)? "\\n"        number: complete optimizer steps

Our training script writes them (:mod:`ds2prof.train.marks`), and so does what is injected into other programs
(:mod:`ds2prof.inject.status`). A line that does not say when it was is of the moment at which it was found: up to a
period late.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ds2prof.sampling.rows import MARK, Row

_LINE: Final = re.compile(rb"(open|closed) (\d{1,18}) (\d{1,18})(?: (\d{1,19}))?")
_MAX_BYTES: Final = 1 << 20
"""What is read at once: a file that grows faster is none of ours."""


class Marks:
    """The marks in a file that grows, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._rest = b""
        with suppress(OSError):
            self._at = path.stat().st_size  # what is there already is of another run

    def rows(self) -> list[Row]:
        """The marks that are new since the last call."""
        try:
            if self._path.stat().st_size <= self._at:
                return []
            with self._path.open("rb") as lines:
                lines.seek(self._at)
                new = lines.read(_MAX_BYTES)
        except OSError:
            return []
        self._at += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        return [row for line in whole if (row := _row(line, time.time_ns())) is not None]


def _row(line: bytes, found_ns: int) -> Row | None:
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    what, process, number, unix_ns = found.groups()
    at_ns = found_ns if unix_ns is None else int(unix_ns)
    return Row(f"window.{what.decode()}", "count", int(number), at_ns, entity=process.decode(), aggregation=MARK)
