"""What Nsight Compute's rules say of a launch, brought to one form from pages and reports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ds2prof.tables import Column, float_column, int_column, text_column

KINDS: Final[Mapping[str, str]] = {
    "INF": "info",
    "INFO": "info",
    "WRN": "warning",
    "WARNING": "warning",
    "OPT": "optimization",
    "OPTIMIZATION": "optimization",
    "ERR": "error",
    "ERROR": "error",
}
"""The type of a rule as a page prints it -> kind."""

_PERCENT: Final = re.compile(rb"\d{1,6}(?:[.,]\d{1,17})?")
_LINK: Final = re.compile(r"@(url|section|source|sass):([^@]{1,4096})@")


class Rule(NamedTuple):
    """One message of one rule.

    Attributes:
        launch: the launch it is about.
        section: the section's identifier, as "SpeedOfLight".
        name: the rule's identifier, as "SOLBottleneck".
        kind: optimization, warning, info, error; None where the rule has nothing to object.
        text: what it says.
        speedup_kind: global or local.
        speedup: the ratio of the time that would be saved, as the tool estimates it.
    """

    launch: int
    section: str
    name: str
    kind: str | None
    text: str
    speedup_kind: str | None = None
    speedup: float | None = None


def kind_of(text: str) -> str | None:
    """The kind of a rule's message by the type that a page prints."""
    return KINDS.get(text.strip().upper(), text.strip().lower() or None)


def ratio_of(percent: bytes) -> float | None:
    """An estimated speedup as a ratio; a percentage has no grouped digits, so that a comma is a decimal one."""
    return float(percent.replace(b",", b".") + b"e-2") if _PERCENT.fullmatch(percent) else None


def plain(text: str) -> str:
    """A report's message as the tool prints it: links are replaced by what they show."""
    return _LINK.sub(_shown, text)


def _shown(link: re.Match[str]) -> str:
    kind, content = link.groups()
    if kind == "url":
        label, _, address = content.partition(":")
        return f"{label} ({address})"
    return content.rsplit(":", 1)[-1] if kind != "section" else content.partition(":")[2]


def columns_of(rules: Sequence[Rule]) -> dict[str, Column]:
    """The table of rules; nothing where there are none."""
    if not rules:
        return {}
    ordered = sorted(rules, key=lambda rule: rule.launch)
    return {
        "launch": int_column([rule.launch for rule in ordered]),
        "section": text_column([rule.section or None for rule in ordered]),
        "name": text_column([rule.name for rule in ordered]),
        "kind": text_column([rule.kind for rule in ordered]),
        "text": text_column([rule.text or None for rule in ordered]),
        "speedup_kind": text_column([rule.speedup_kind for rule in ordered]),
        "estimated_speedup": float_column([rule.speedup for rule in ordered]),
    }
