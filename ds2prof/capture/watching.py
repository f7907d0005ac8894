"""What a long capture is doing: read from what the profiler and the program write while they run.

Nsight Compute says each launch it replays, in the file that its messages go to; the program, or what is loaded into it,
says its steps and how much of the window has been handed out (``DS2PROF_STATUS``). Both files are read as they grow,
a bounded piece at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 1 << 20
_LINE_BYTES: Final = 1 << 12
_NAME_CHARACTERS: Final = 40

# Of several versions: 'Profiling "k": 0%', 'Profiling "k" - 3: 0%....50%....100% - 8 passes', '... - 3 (4/50): ...',
# '... - 3: Application replay pass 2'. A warning may break the line; what follows it stands on a line of its own then.
_BEGUN: Final = re.compile(rb'==PROF== Profiling (?:"([^"]*)"|([^":]+?))(?: - \d+)?(?: \((\d+)/(\d+)\))?:')
_PASSES: Final = re.compile(rb"100% - (\d+) pass")
_PERCENT: Final = re.compile(rb"(\d+)%")
_APPLICATION_PASS: Final = re.compile(rb"Application replay pass (\d+)")


class Growing:
    """A text file that another process writes: its new lines, each once.

    Args:
        path: The file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at_bytes = 0
        self.unfinished = b""
        """What stands behind the last end of a line."""

    def lines(self) -> list[bytes]:
        """The lines that were finished since the last call, as far as one bounded read brings them."""
        try:
            size_bytes = self._path.stat().st_size
            if size_bytes < self._at_bytes:  # cut by a log that has grown too long
                self._at_bytes, self.unfinished = size_bytes, b""
            if size_bytes == self._at_bytes:
                return []
            with self._path.open("rb") as stream:
                stream.seek(self._at_bytes)
                piece = stream.read(_PIECE_BYTES)
        except OSError:
            return []
        self._at_bytes += len(piece)
        *lines, self.unfinished = (self.unfinished + piece).split(b"\n")
        self.unfinished = self.unfinished[-_LINE_BYTES:]
        return lines


class Launches:
    """The launches that Nsight Compute has replayed, counted from its messages.

    Attributes:
        done: Launches that are complete.
        passes: Their passes.
        total: How many there will be, as the tool says; None where it does not.
        name: The kernel it is at.
        application_pass: Which run of the program it is, where the program is what is replayed; 0 elsewhere.
    """

    def __init__(self) -> None:
        self.done = 0
        self.passes = 0
        self.total: int | None = None
        self.name: str | None = None
        self.application_pass = 0

    def read(self, line: bytes) -> None:
        """Takes a line in."""
        begun = _BEGUN.search(line)
        if begun is not None:
            self.name = (begun[1] or begun[2]).decode("utf-8", "replace")[:_NAME_CHARACTERS]
            self.total = int(begun[4]) if begun[4] else self.total
            replayed = _APPLICATION_PASS.search(line)
            if replayed is not None:
                self._replayed(int(replayed[1]))
        passes = _PASSES.search(line)
        if passes is not None:
            self.done += 1
            self.passes += int(passes[1])

    def _replayed(self, number: int) -> None:
        if number != self.application_pass:
            self.application_pass, self.done = number, 0
        self.done += 1
        self.passes += 1


class Status:
    """What the program says of itself in its status file: lines of a word, a process and the rest.

    Attributes:
        steps: Complete optimizer steps; None where none was told.
        is_open: Whether the window is open; None where nothing was said of it.
        ops: Of the window: operators handed out, and how many there will be; None where they are not counted.
    """

    def __init__(self) -> None:
        self.steps: int | None = None
        self.is_open: bool | None = None
        self.ops: tuple[int, int] | None = None

    def read(self, line: bytes) -> None:
        """Takes a line in; what is no such line is passed over."""
        word, *rest = line.decode("utf-8", "replace").split()[:4] or [""]
        numbers = [int(each) for each in rest if each.isdigit()]
        if word == "step" and len(numbers) >= 2:
            self.steps = max(self.steps or 0, numbers[1] + 1)
        elif word in ("open", "closed"):
            self.is_open = word == "open"
        elif word == "ops" and len(numbers) >= 3 and numbers[2] > 0:
            self.ops = (min(numbers[1], numbers[2]), numbers[2])


class Watcher:
    """The progress of one capture.

    Args:
        name: The profiler, as it is called in what is said.
        status: The file that the program tells its progress in.
        messages: The file that Nsight Compute's messages go to; None for profilers that replay nothing.
        expected: How many launches were asked for; None where that is not known.
        clock_s: A monotonic clock.
    """

    def __init__(
        self,
        name: str,
        status: Path,
        *,
        messages: Path | None = None,
        expected: int | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._first_s: float | None = None
        self._status_file, self._status = Growing(status), Status()
        self._messages = None if messages is None else Growing(messages)
        self._launches = Launches()
        self._expected = expected

    def look(self) -> None:
        """Reads what is new."""
        for line in self._status_file.lines():
            self._status.read(line)
        if self._messages is not None:
            for line in self._messages.lines():
                self._launches.read(line)
            if self._first_s is None and (self._launches.done or _BEGUN.search(self._messages.unfinished)):
                self._first_s = self._clock_s()

    def line(self) -> str:
        """How far the capture is, in one line."""
        said = [f"{self._name}: {_duration(self._clock_s() - self._began_s)}"]
        if self._status.steps is not None:
            said.append(f"{self._status.steps} steps")
        if self._launches.done or self._first_s is not None:
            said += self._replayed()
        elif self._status.is_open is not None:
            said.append("the window is open" if self._status.is_open else "the window is closed")
        return ", ".join(said)

    def _replayed(self) -> list[str]:
        launches, since_s = self._launches, self._clock_s() - (self._first_s or self._began_s)
        total = launches.total or self._expected
        said = [f"{launches.done}{f' of {total}' if total else ''} launches, {launches.passes} passes"]
        if launches.application_pass:
            said.append(f"run {launches.application_pass} of the program")
        if launches.done and since_s > 0:
            said.append(f"{launches.done / since_s:.3g} launches/s")
        if not launches.application_pass:
            said += self._rest(total, since_s)
        name = self._current()
        return [*said, f"at {name}"] if name else said

    def _rest(self, total: int | None, since_s: float) -> list[str]:
        """The estimate: what is left takes as long a launch, or an operator, as what is done did."""
        done, whole = (self._launches.done, total) if total else self._status.ops or (0, 0)
        if not done or not whole or since_s <= 0:
            return []
        share = min(done / whole, 1.0)
        return [f"{share:.0%} of the window", f"about {_duration(since_s * (1 - share) / share)} left"]

    def _current(self) -> str | None:
        """The kernel that is being replayed, and how far it is."""
        assert self._messages is not None
        begun = _BEGUN.search(self._messages.unfinished)
        if begun is None:
            return None
        name = (begun[1] or begun[2]).decode("utf-8", "replace")[:_NAME_CHARACTERS]
        percents = _PERCENT.findall(self._messages.unfinished, begun.end())
        return f"{name} ({int(percents[-1])} %)" if percents else name


def expected_launches(options: Sequence[str]) -> int | None:
    """How many launches Nsight Compute was told to look at, by its options; None where it was not."""
    found = None
    for at, word in enumerate(options):
        name, joined, value = word.partition("=")
        if name in ("--launch-count", "-c"):
            value = value if joined else options[at + 1] if at + 1 < len(options) else ""
            found = int(value) if value.isdigit() and int(value) else None
    return found


def _duration(seconds: float) -> str:
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
