"""Words to the outside while the program runs: lines of progress for the launcher, a line on standard error for people.

The status file holds one line for each event, ``<word> <pid>`` and what belongs to the word; several processes append
to it::

    loaded 77                 Python has started and will look out for torch
    torch 77 2.13.0           the process has imported torch, of this version
    open 77 3                 recording began; 3 steps were complete (``signal`` adds the Unix time, ns, to both)
    step 77 4                 5 steps are complete (not every step has a line: five in a second at most)
    closed 77 6 <ns>          it closed when 6 were
    ops 77 1200 5600          1,200 of about 5,600 operators of the window are handed out (:mod:`.progress`)
    wrote 77 /a/file          a file is there, whole, under its final name
    said 77 text              what was printed on standard error
    failed 77 text            injection has failed; the process goes on unrecorded
    ops 77 400 1200           of the window, that many operators have been handed out (:mod:`.progress`)
    work 77 {"iterations": 2} what the iterations of the window were: FLOP, samples, seconds (our training script)
    ended 77 12               the process ends after 12 steps
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

_STEP_LINES_APART_S = 0.2

_last_step_s = 0.0


def tell(status: str | None, word: str, *rest: object) -> None:
    """Appends a line to the status file, if there is one and it can be written."""
    if status is None:
        return
    line = " ".join([word, str(os.getpid()), *(str(part).replace("\n", " ") for part in rest)])
    with suppress(OSError), open(status, "a", encoding="utf-8", errors="surrogateescape") as lines:
        lines.write(line + "\n")  # progress is a courtesy


def tell_step(status: str | None, step: int) -> None:
    """A line for a step, unless there was one a moment ago."""
    global _last_step_s
    now_s = time.monotonic()
    if now_s - _last_step_s >= _STEP_LINES_APART_S:
        _last_step_s = now_s
        tell(status, "step", step)


def tell_window(status: str | None, word: str, steps: int) -> None:
    """The line for a window that has been opened (``open``) or closed (``closed``), as of now."""
    tell(status, word, steps, time.time_ns())


def say(status: str | None, text: str) -> None:
    """A line for people. It goes past ``sys.stderr``, which the program may have replaced or closed."""
    line = f"ds2prof: {text}\n"
    with suppress(OSError):
        os.write(2, line.encode("utf-8", "backslashreplace"))
    tell(status, "said", text)
