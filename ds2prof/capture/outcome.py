"""What a profiler's end means: read from its exit code, from what was printed, and from what it wrote."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds2prof.capture.launchers import Launcher

_TAIL_BYTES: Final = 1 << 18
_LINE_CHARACTERS: Final = 200
_FATAL: Final = (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)
_TOOL_SPEAKS: Final = "=="
"""How NVIDIA's tools begin their own lines."""
_LEAD: Final = re.compile(r"=+ ?(?:\w+== |Error: )?")
"""What stands in front of what they say."""
_COMPLAINT: Final = re.compile(
    r"==ERROR== (?!The application )(.+)|=+ Error: (.+)"
    r"|((?:the (?:required )?argument |option ').*'--?[\w-]+'.*(?:invalid|missing|more than once|ambiguous).*)"
)
"""A line in which one of these tools says what it will not do: ``(option, for which value)``."""


@dataclass(frozen=True)
class Outcome:
    """How a profiler ended and what was printed meanwhile."""

    launcher: Launcher
    exit_code: int
    printed: str
    """The end of what the program and the profiler printed."""
    messages: str = ""
    """The profiler's own lines in its output, where it puts them there."""
    stalled: bool = False
    """Whether it did not end after the program had, and was ended."""

    @property
    def known_failure(self) -> str | None:
        """The meaning of the first known text that was printed; None where there is none."""
        text = self.printed + self.messages
        return next((known.means for known in self.launcher.failures if known.seen in text), None)

    @property
    def closed_program(self) -> bool:
        """Whether the profiler itself ended the program, at the window's end: then what it wrote is whole."""
        said = self.launcher.ends_program
        return said is not None and self.exit_code == 128 + signal.SIGTERM and said in self.printed

    @property
    def told_code(self) -> int | None:
        """The program's own exit code as the profiler tells it; None where it does not."""
        pattern = self.launcher.program_code
        found = re.search(pattern, self.printed + self.messages) if pattern else None
        if found is None:
            return None
        signum = found.groupdict().get("signal")
        return int(found.group(1)) if signum is None else 128 + int(signum)

    @property
    def program_code(self) -> int:
        """The program's own exit code as far as it can be known: most profilers pass it on as theirs."""
        return self.exit_code if self.told_code is None else self.told_code

    def failure(self) -> str | None:
        """Why it did not end well; None where it did."""
        if self.stalled:
            return "it did not end after the program had, wrote nothing more and was ended"
        if self.exit_code == 0 or self.closed_program:
            return None
        if self.known_failure is not None:
            # A code of its own is the program's; by a signal the tool itself may have ended it.
            failed_too = self.told_code is not None and self.told_code not in _FATAL
            return f"{self.known_failure}{self._quoted()}{f'; {self._who()} {self._ended()}' if failed_too else ''}"
        said = self._complaint() or last_words(self.printed, self.launcher.chatter)
        return f"{self._who()} {self._ended()}{f' ({said})' if said else ''}"

    def _quoted(self) -> str:
        """The tool's own line behind the known failure, where that says more."""
        text = self.printed + self.messages
        known = next(known for known in self.launcher.failures if known.seen in text)
        if not known.quotes:
            return ""
        lines = [line for line in map(_plain, text.splitlines()) if known.seen in line]
        return f" ({_LEAD.sub('', lines[-1])[:_LINE_CHARACTERS]})" if lines else ""

    def _complaint(self) -> str | None:
        """What the tool itself says it would not do; None where it ended for another reason."""
        if not self.launcher.tools or self.told_code is not None:
            return None
        found = [_COMPLAINT.match(_plain(line)) for line in (self.printed + "\n" + self.messages).splitlines()]
        said = [next(group for group in match.groups() if group) for match in found if match]
        return said[-1][:_LINE_CHARACTERS] if said else None

    def scratch(self) -> tuple[Path, ...]:
        """The temporary files that it said it writes; it takes them away itself unless it is killed."""
        pattern = self.launcher.scratch
        return tuple(Path(found) for found in re.findall(pattern, self.printed)) if pattern else ()

    def notes(self) -> tuple[str, ...]:
        """What the user should know of a capture that is good, a line each."""
        if not self.closed_program:
            return ()
        return ("the profiler ended the program at the window's end; --capture-range-end=stop lets it go on",)

    def emptiness(self, reason: str | None = None) -> str:
        """Why it ended well without any data: what it said itself, else ``reason``, else what is most likely."""
        return f"it ended well but wrote no data: {self.known_failure or reason or self.launcher.empty}"

    def _ended(self) -> str:
        """How whoever it was ended."""
        code = self.program_code
        if self.launcher.signals_as_codes and self.told_code in _FATAL:
            tool = self.launcher.tools[0]
            return f"ended with exit code {code}, or by {signal.Signals(code).name}, which {tool} tells alike"
        return _ended(code)

    def _who(self) -> str:
        """Who ended badly, where that can be told."""
        if not self.launcher.tools or self.told_code is not None:
            return "the program"
        tool = self.launcher.tools[0]
        return f"{tool} or the program" if self.launcher.program_code is None else tool


def tail(path: Path) -> str:
    """The end of a text file, at most 256 KiB; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def messages_in(path: Path) -> str:
    """The profiler's own lines at the end of a file that it writes data and messages to."""
    return "".join(line for line in tail(path).splitlines(keepends=True) if line.startswith(_TOOL_SPEAKS))


def last_words(printed: str, chatter: str | None = None) -> str:
    """The last line that the program printed, fit for a message: with an exception, that is what it says.

    Args:
        printed: What the program and the profiler printed.
        chatter: A pattern of the lines that the profiler prints of its own.
    """
    lines = [_plain(line) for line in printed.splitlines()]
    own = re.compile(f"{_TOOL_SPEAKS}|{chatter}" if chatter else _TOOL_SPEAKS)
    spoken = [line for line in lines if line and not own.match(line)]
    return spoken[-1][:_LINE_CHARACTERS] if spoken else ""


def _plain(line: str) -> str:
    """The line without what a terminal would take for more than text."""
    return re.sub(r"[^\x20-\x7e\xa0-\uffff]+", " ", line).strip()


def holds_data(path: Path, mark: str | None) -> bool:
    """Whether a file is more than messages: not empty, and with ``mark`` in a line where a launcher declares one."""
    try:
        if mark is None:
            return path.stat().st_size > 0
        with path.open("rb") as lines:
            return any(mark.encode() in line for line in lines)
    except OSError:
        return False


def _ended(code: int) -> str:
    if code > 128:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(code - 128).name} (exit code {code})"
    return f"ended with exit code {code}"
