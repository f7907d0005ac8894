"""A capture's progress on standard error: one line rewritten in place on a terminal, now and then a line in a pipe."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from ds2prof.capture.processes import standard_streams
from ds2prof.launch import Echo

_TERMINAL_PERIOD_S: Final = 0.5
_PIPE_PERIOD_S: Final = 30.0
_BEGINNING_S: Final = 2.0
"""What ends sooner needs no progress."""
_CLEAR: Final = b"\r\x1b[K"


class Progress:
    """Says how far a capture is, and keeps its line apart from what the program prints.

    Args:
        stderr: Where it is said; a terminal gets one line that is rewritten, anything else a new line each time.
        clock_s: A monotonic clock.
        columns: How wide the terminal is, asked each time; a longer line is cut.
    """

    def __init__(
        self,
        stderr: BinaryIO,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] | None = None,
    ) -> None:
        self._stderr = stderr
        self._clock_s = clock_s
        self._columns = columns or (lambda: _columns(stderr))
        self._in_place = stderr.isatty()
        self._period_s = _TERMINAL_PERIOD_S if self._in_place else _PIPE_PERIOD_S
        self._next_s = clock_s() + (_BEGINNING_S if self._in_place else _PIPE_PERIOD_S)
        self._shown = False
        self._at_line_start = True
        self._lock = threading.Lock()

    def show(self, line: Callable[[], str]) -> None:
        """Says the line, which is made only when it is time to say something."""
        if self._clock_s() < self._next_s:
            return
        self._next_s = self._clock_s() + self._period_s
        if self._in_place and not self._at_line_start:
            return  # the program is in the middle of a line, perhaps a progress bar of its own
        text = "".join(each if each.isprintable() else "?" for each in line())
        with self._lock:
            if self._in_place:
                self._write(_CLEAR + text[: max(self._columns() - 1, 20)].encode("utf-8", "replace"))
                self._shown = True
            else:
                self._write(text.encode("utf-8", "replace") + b"\n")

    def done(self) -> None:
        """Takes the line away."""
        with self._lock:
            if self._shown:
                self._write(_CLEAR)
                self._shown = False

    def beside(self, stream: BinaryIO) -> Beside:
        """The stream, for the program's output: what is written to it is kept apart from the progress."""
        return Beside(stream, self)

    def passing(self, chunk: bytes) -> None:
        """Makes way for output of the program."""
        if self._in_place:
            self.done()
            self._at_line_start = chunk.endswith(b"\n")

    def _write(self, text: bytes) -> None:
        try:
            self._stderr.write(text)
            self._stderr.flush()
        except (OSError, ValueError):
            self._next_s = float("inf")


@contextmanager
def echoing(*, to_stderr: bool = False) -> Iterator[Echo]:
    """Our standard streams for the program's output, with the capture's progress on standard error.

    Args:
        to_stderr: The program's standard output goes to standard error too.
    """
    stdout, stderr = standard_streams()
    progress = Progress(stderr)
    try:
        yield Echo(progress.beside(stderr if to_stderr else stdout), progress.beside(stderr), progress.show)
    finally:
        progress.done()


class Beside:
    """A stream that progress is said beside."""

    def __init__(self, stream: BinaryIO, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress

    def write(self, chunk: bytes, /) -> object:
        """Writes the chunk, behind nothing of ours."""
        self._progress.passing(chunk)
        return self._stream.write(chunk)

    def flush(self) -> None:
        """Lets nothing wait."""
        self._stream.flush()

    def fileno(self) -> int:
        """The descriptor that it writes to."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()


def _columns(stream: BinaryIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
