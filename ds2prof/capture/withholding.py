"""Keeping a profiler's own words out of the program's output, which passes as it is: byte for byte, and at once.

What may become such a text is held back until it is told apart, or for a moment: a program that has printed the first
letters of one, and then waits for an answer, must be seen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from ds2prof.capture.processes import Writable

HELD_S: Final = 0.3
"""No byte is held back longer than this and the time between two looks."""
_LINE_BYTES: Final = 1 << 13
_PLAIN: Final = re.compile(r"[^.^$*+?{}\[\]\\|()]*")


class Withholding:
    """A stream that certain texts do not reach, wherever in a line they begin.

    Args:
        stream: Where everything else goes.
        patterns: Expressions for the texts: plain characters, then whatever, and the end of the line at last.
        clock_s: A monotonic clock.
    """

    def __init__(
        self, stream: Writable, patterns: Sequence[str], *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._wholes = [re.compile(pattern.encode()) for pattern in patterns]
        self._beginnings = tuple(beginning(pattern).encode() for pattern in patterns)
        self._any = re.compile(b"|".join(map(re.escape, self._beginnings)))
        self._clock_s = clock_s
        self._held = b""
        self._since_s = 0.0

    def write(self, chunk: bytes, /) -> object:
        """Passes on what is told apart, and holds the rest back."""
        passed, held = self._parted(self._held + chunk)
        if passed or not self._held:
            self._since_s = self._clock_s()
        self._held = held
        return self._stream.write(passed) if passed else None

    def flush(self) -> None:
        """Lets nothing else wait."""
        self._stream.flush()

    def release(self, *, after_s: float = 0.0) -> None:
        """Passes on what has been held back for so long."""
        if not self._held or self._clock_s() - self._since_s < after_s:
            return
        held, self._held = self._held, b""
        with suppress(OSError, ValueError):  # nobody reads any more
            self._stream.write(held)
            self._stream.flush()

    def fileno(self) -> int:
        """The descriptor that it writes to."""
        return self._stream.fileno()  # type: ignore[attr-defined,no-any-return]

    def _parted(self, text: bytes) -> tuple[bytes, bytes]:
        """(what passes, what may still become one of the texts)."""
        passed, at = bytearray(), 0
        while found := self._any.search(text, at):
            passed += text[at : found.start()]
            at = found.start()
            whole = next((match for each in self._wholes if (match := each.match(text, at))), None)
            if whole is not None:
                at = whole.end()
            elif b"\n" in text[found.end() :] or len(text) - at > _LINE_BYTES:
                passed += text[at : at + 1]
                at += 1
            else:
                return bytes(passed), text[at:]
        kept = self._begun(text[at:])
        return bytes(passed) + text[at : len(text) - kept], text[len(text) - kept :]

    def _begun(self, text: bytes) -> int:
        """How many of the last bytes are the first ones of some text."""
        longest = max(map(len, self._beginnings)) - 1
        lengths = range(min(longest, len(text)), 0, -1)
        return next((n for n in lengths if any(each.startswith(text[-n:]) for each in self._beginnings)), 0)


@dataclass(frozen=True)
class Quiet:
    """The streams of a capture without its profiler's own words, and what is to be called now and then."""

    stdout: Writable
    stderr: Writable
    tick: Callable[[], None] | None


@contextmanager
def quiet(
    stdout: Writable, stderr: Writable, tick: Callable[[], None] | None, *, patterns: Sequence[str]
) -> Iterator[Quiet]:
    """The streams as they are where there are no patterns; else without what matches, and whole at the end."""
    if not patterns:
        yield Quiet(stdout, stderr, tick)
        return
    streams = Withholding(stdout, patterns), Withholding(stderr, patterns)

    def every() -> None:
        for stream in streams:
            stream.release(after_s=HELD_S)
        if tick is not None:
            tick()

    try:
        yield Quiet(*streams, every)
    finally:
        for stream in streams:
            stream.release()


def beginning(pattern: str) -> str:
    """The plain characters that an expression begins with."""
    found = _PLAIN.match(pattern)
    return found[0] if found else ""
