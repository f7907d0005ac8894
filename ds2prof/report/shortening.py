"""Names and other untrusted text made fit for a terminal: without control characters, cut with their meaning kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate, takewhile
from os.path import commonprefix
from typing import Final

_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"  # the last: halves of UTF-16
)
_MIN_TEMPLATE: Final = 24
"""Columns from which on a template's arguments get more of the room than its name."""


def cleaned(text: str) -> str:
    """The text without control characters, which a hostile name could steer a terminal with."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str, width: int) -> str:
    """The text, cut in its middle to at most ``width`` columns; both ends tell kernels apart."""
    if display_width(text) <= width:
        return text
    keep = max(width - 1, 0)
    tail = keep // 3
    return f"{beginning(text, keep - tail)}…{beginning(text[::-1], tail)[::-1]}"


def all_shortened(texts: Sequence[str], width: int) -> list[str]:
    """The texts, each cut to at most ``width`` columns so that those that differ still do, as far as they fit.

    A text is cut in its middle. Where the cut leaves two alike, the part is kept in which they differ.
    """
    made = [_by_meaning(text, width) for text in texts]
    alike: dict[str, list[str]] = {}
    for text, short in dict(zip(texts, made, strict=True)).items():
        alike.setdefault(short, []).append(text)
    told = {text: short for group in alike.values() if len(group) > 1 for text, short in _told_apart(group, width)}
    return [told.get(text, short) for text, short in zip(texts, made, strict=True)]


def _by_meaning(text: str, width: int) -> str:
    """The text cut in its middle; of a template's instance more of the end is kept, where its arguments tell most."""
    if display_width(text) <= width or "<" not in text or width < _MIN_TEMPLATE:
        return shortened(text, width)
    head = min(max(width * 2 // 5, 8), text.index("<"))
    return _cut(text, head, width)


def _cut(text: str, head: int, width: int) -> str:
    """The first ``head`` columns, and as much of the end as fits."""
    start = beginning(text, head)
    return f"{start}…{beginning(text[::-1], width - display_width(start) - 1)[::-1]}"


def _told_apart(group: Sequence[str], width: int) -> list[tuple[str, str]]:
    """Texts that were cut to the same, each with another cut: from shortly before where they begin to differ."""
    differ = len(commonprefix(list(group)))  # noqa: RUF071 - of names, not of paths
    found = []
    for text in group:
        middle = text[max(differ - 3, 0) :]
        whole = width - max(width // 4, 4) - 1
        if display_width(middle) <= whole:
            found.append((text, _cut(text, width - 1 - display_width(middle), width)))
            continue
        head, tail = beginning(text, width // 4), beginning(text[::-1], width // 6)[::-1]
        room = width - display_width(head) - display_width(tail) - 2
        found.append((text, f"{head}…{beginning(middle, room)}…{tail}"))
    return found


def beginning(text: str, width: int) -> str:
    """As much of the text as fits into ``width`` columns."""
    reached = accumulate(map(_columns, text))
    return text[: sum(1 for _ in takewhile(lambda columns: columns <= width, reached))]


def display_width(text: str) -> int:
    """Terminal columns that the text takes (wide characters take two, combining ones none)."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
