"""When the window was opened and closed, for whoever samples beside the run: lines in the file of ``DS2PROF_STATUS``.

The form is that of :mod:`ds2prof.inject.status`: ``open <pid> <complete iterations> <Unix time, ns>``, and ``closed``.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ds2prof.config import ENV_STATUS


def mark(word: Literal["open", "closed"], iterations: int) -> None:
    """Says that the window is open, or closed, as of now; nothing where nobody asked, or where it cannot be said."""
    now_ns = time.time_ns()
    status = os.environ.get(ENV_STATUS)
    if not status:
        return
    with suppress(OSError), Path(status).open("a", encoding="utf-8") as lines:
        lines.write(f"{word} {os.getpid()} {iterations} {now_ns}\n")
