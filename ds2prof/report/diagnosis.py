"""What the doctor found as text for a terminal: the machine, each way to capture, and what to use."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import zip_longest
from typing import Final

from ds2prof.doctor import PASSING, Capture, Report, Works
from ds2prof.doctor.finding import Finding, Status
from ds2prof.report.text import cleaned

_MARKS: Final[dict[Status, str]] = {"ok": " ", "warn": "!", "fail": "x", "unknown": "?"}
_COLOURS: Final[dict[str, int]] = {"ok": 32, "yes": 32, "warn": 33, "unknown": 33, "partly": 33, "fail": 31, "no": 31}
_WORDS: Final[dict[Works, str]] = {"yes": "works", "partly": "works partly", "no": "does not work"}
_LABEL: Final = 10
_WIDEST: Final = 140
"""Lines longer than this are hard to read, however wide the terminal."""


def diagnosis(report: Report, *, width: int, auto: str = "", colour: bool = False) -> str:
    """The report as text of at most ``width`` columns.

    Args:
        report: what was found.
        width: columns of the terminal; a path or command that is longer stays whole.
        auto: what ``auto`` would take, and why.
        colour: whether the terminal shows colours.
    """
    width = min(width, _WIDEST)
    below = {found.do for capture in report.captures for found in _told(capture)}
    machine = [
        line
        for found in report.machine
        for line in _finding(found, width, remedy=None if found.do in below else found.do, colour=colour)
    ]
    captures = [line for capture in report.captures for line in _capture(capture, width, colour=colour)]
    parts = [["This machine", *machine], ["Ways to capture", *captures]]
    use = _use(report.captures, auto, width)
    if use:
        parts.append(["What to use here", *use])
    return "\n\n".join("\n".join(part) for part in parts)


def _told(capture: Capture) -> list[Finding]:
    """What is said about a capture: not the warnings that stand among those of the machine, and are passing."""
    return [found for found in capture.doubts if found.status == "fail" or found.id not in PASSING]


def _finding(finding: Finding, width: int, *, remedy: str | None, colour: bool) -> list[str]:
    head = f"  {_coloured(_MARKS[finding.status], finding.status, colour=colour)} {finding.subject:<{_LABEL}} "
    indent = " " * (_LABEL + 5)
    lines = _wrapped(finding.what, width, indent)
    lines = [head + lines[0].removeprefix(indent), *lines[1:]]
    return [*lines, *(_wrapped(f"-> {remedy}", width, indent, hanging="   ") if remedy else [])]


def _capture(capture: Capture, width: int, *, colour: bool) -> list[str]:
    works = capture.works
    indent = " " * (_LABEL + 5)
    word = _coloured(_WORDS[works], works, colour=colour)
    tool = next((found.what for found in capture.findings if found.id == "tool" and found.status == "ok"), "")
    said = _wrapped(f"{_WORDS[works]}{f': {tool}' if tool else ''}", width, indent)
    first = said[0].removeprefix(indent).replace(_WORDS[works], word, 1)
    lines = [f"    {capture.launcher.name:<{_LABEL}} {first}", *said[1:]]
    told = _told(capture)
    for found, following in zip_longest(told, told[1:]):
        mark = _coloured(_MARKS[found.status], found.status, colour=colour)
        what = _wrapped(found.what, width, indent + "  ")
        lines += [f"{indent}{mark} {what[0].strip()}", *what[1:]]
        if found.do and (following is None or following.do != found.do):
            lines += _wrapped(f"-> {found.do}", width, indent + "  ", hanging="   ")
    return lines


def _use(captures: Iterable[Capture], auto: str, width: int) -> list[str]:
    """What is left to use, with what each gives."""
    lines = []
    for capture in captures:
        if capture.works != "no":
            indent = " " * (_LABEL + 5)
            text = _wrapped(capture.launcher.blurb, width, indent)
            lines += [f"    {capture.launcher.name:<{_LABEL}} {text[0].strip()}", *text[1:]]
    if auto:
        text = _wrapped(auto, width, " " * (_LABEL + 5))
        lines += [f"    {'auto':<{_LABEL}} {text[0].strip()}", *text[1:]]
    return lines


def _wrapped(text: str, width: int, indent: str, *, hanging: str = "") -> list[str]:
    """The text in lines that begin with ``indent``; paths and commands are not broken."""
    return textwrap.wrap(
        cleaned(text),
        width,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _coloured(text: str, kind: str, *, colour: bool) -> str:
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if colour and text.strip() else text
