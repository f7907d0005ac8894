"""The lines of Nsight Compute's text pages: what tells one from the rest of a log.

This is what finding the format needs; the reading is in ``ncu_log_rows``.
"""

from __future__ import annotations

import re
from typing import Final

_TRIPLE: Final = r"\([0-9]{1,10}, [0-9]{1,10}, [0-9]{1,10}\)"
LAUNCH: Final = re.compile(
    rf"[ ]{{0,4}}(?P<name>\S.*?)(?: (?P<grid>{_TRIPLE})x(?P<block>{_TRIPLE})"
    r"|, (?P<time>[0-9]{4}-[A-Z][a-z]{2}-[0-9]{2} [0-9:]{8}))"
    r", Context (?P<context>[0-9]{1,10}), Stream (?P<stream>[0-9]{1,20})"
    r"(?:, Device (?P<device>[0-9]{1,10}))?(?:, CC (?P<cc>[0-9.]{1,8}))?\s*"
)
"""The heading of one launch: its grid and block (2023 and later) or when it ran, and where."""

KERNEL: Final = re.compile(
    r"[ ]{0,4}(?P<name>\S.*), Block Size (?P<block>[0-9]{1,20}), Grid Size (?P<grid>[0-9]{1,20}), "
    r"Device (?P<device>[0-9]{1,10}), (?P<calls>[0-9]{1,15}) invocations\s*"
)
"""The heading of all launches of one kernel, on a summary."""

MAX_HEADING_CHARS: Final = 1 << 16
_CONTEXT: Final = ", Context "
_INVOCATIONS: Final = " invocations"


def heading(line: str) -> re.Match[str] | None:
    """The heading of a launch or kernel, if the line is one."""
    if len(line) > MAX_HEADING_CHARS:
        return None
    if _CONTEXT in line:
        return LAUNCH.fullmatch(line)
    return KERNEL.fullmatch(line) if _INVOCATIONS in line else None


def is_log(text: bytes) -> bool:
    """Whether any line of the text heads a launch or kernel."""
    if _CONTEXT.encode() not in text and _INVOCATIONS.encode() not in text:
        return False
    lines = text.decode("utf-8", "replace").replace("\r", "\n").split("\n")
    return any(heading(line) is not None for line in lines)
