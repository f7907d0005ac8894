"""What whoever captures the run is told: when the window was opened and closed, and what work its iterations were.

Lines in the file of ``DS2PROF_STATUS``, of the form of :mod:`ds2prof.inject.status`: ``open <pid> <complete iterations>
<Unix time, ns>``, ``closed``, and ``work <pid> <object of JSON>``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from ds2prof.config import ENV_STATUS


def mark(word: Literal["open", "closed"], iterations: int) -> None:
    """Says that the window is open, or closed, as of now; nothing where nobody asked, or where it cannot be said."""
    _told(word, f"{iterations} {time.time_ns()}")


def mark_work(work: Mapping[str, Any]) -> None:
    """Says what the iterations of the window were, once the run is over: ``work`` of the launcher's sidecar."""
    _told("work", json.dumps(work))


def _told(word: str, rest: str) -> None:
    status = os.environ.get(ENV_STATUS)
    if not status:
        return
    with suppress(OSError), Path(status).open("a", encoding="utf-8") as lines:
        lines.write(f"{word} {os.getpid()} {rest}\n")
