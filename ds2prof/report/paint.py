"""Colour on a terminal: a few named roles, told by more than hue (weight, words), and none where it is not wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SGR: Final = {
    "title": "1",
    "key": "1;36",
    "figure": "1",
    "loss": "33",
    "command": "36",
    "warning": "1;33",
    "dim": "2",
    "compute": "36",
    "communication": "35",
    "copy": "33",
    "idle": "2",
}
"""Role -> the numbers of its escape sequence, of the 16 colours that follow the terminal's own theme."""
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Paint:
    """Puts text into the colour of a role, where ``is_on``."""

    is_on: bool = False

    def __call__(self, role: str, text: str) -> str:
        """The text in the colour of the role; text of names must be cleaned before."""
        return f"\x1b[{_SGR[role]}m{text}\x1b[0m" if self.is_on and text else text


PLAIN: Final = Paint()


def unpainted(text: str) -> str:
    """The text without colour."""
    return _ESCAPES.sub("", text)
