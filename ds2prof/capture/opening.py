"""What opens the window of a capture: the whole run, the program itself, a count of steps, or an NVTX range."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from ds2prof.config import RANGE_DOMAIN, Window, range_message
from ds2prof.errors import UsageError

_STEPS: Final = re.compile(r"(\d+):(\d+)", re.ASCII)


@dataclass(frozen=True)
class Opening:
    """What opens and closes a window.

    Attributes:
        kind: ``all`` of the run; ``api``: the program calls cudaProfilerStart and cudaProfilerStop; ``steps`` of an
            optimizer, counted from 0; ``nvtx``: a range.
        steps: The steps, where they open it.
        range_name: The range's name, where one opens it.
        domain: Its domain; None is NVTX's default domain.
    """

    kind: Literal["all", "api", "steps", "nvtx"]
    steps: Window | None = None
    range_name: str | None = None
    domain: str | None = None

    def __str__(self) -> str:
        """The form in which it is typed, and in which ``profilers/NAME.sh`` is told."""
        if self.steps is not None:
            return f"{self.steps.start}:{self.steps.stop}"
        if self.range_name is not None:
            return f"nvtx:{self.range_name}{f'@{self.domain}' if self.domain else ''}"
        return self.kind


ALL: Final = Opening("all")
API: Final = Opening("api")


def opening(text: str) -> Opening:
    """What ``--window`` says: ``all``, ``api``, ``START:STOP`` or ``nvtx:RANGE[@DOMAIN]``.

    Raises:
        UsageError: it says none of these, or the window holds nothing.
    """
    if text in ("all", "api"):
        return ALL if text == "all" else API
    counted = _STEPS.fullmatch(text)
    if counted:
        window = Window(int(counted.group(1)), int(counted.group(2)))
        if window.start >= window.stop:
            raise UsageError(f"--window {text}: holds no step; the second number is the first step behind the window")
        return Opening("steps", steps=window)
    if text.startswith("nvtx:"):
        name, _, domain = text.removeprefix("nvtx:").rpartition("@") if "@" in text else (text[5:], "", "")
        if name:
            return Opening("nvtx", range_name=name, domain=domain or None)
    raise UsageError(f"--window {text}: give START:STOP (optimizer steps), nvtx:RANGE[@DOMAIN], api or all")


def by_our_range(window: Window) -> Opening:
    """The opening by the NVTX range that ds2prof's own instrumentation keeps open for the whole window."""
    return Opening("nvtx", range_name=range_message("window", f"{window.start}-{window.stop}"), domain=RANGE_DOMAIN)
