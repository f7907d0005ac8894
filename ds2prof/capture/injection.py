"""What the program said of a capture in the status file: why nothing was recorded, what work its window held.

``ds2prof/inject/status.py`` says what its lines are. The processes of a capture all append to one file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_PIECE_BYTES: Final = 1 << 20

NOT_LOADED: Final = (
    "no Python of the program loaded ds2prof's part; python -I, -E and -S keep it out, and so does a command that "
    "clears PYTHONPATH"
)
NO_TORCH: Final = "no process of the program imported PyTorch"
KILLED: Final = (
    "the program's processes ended without a chance to write (os._exit, or a signal that nobody catches); a window "
    "that closes earlier is written when it closes: --window START:STOP"
)
IDLE: Final = (
    "no optimizer stepped, and no operator was recorded; where a GPU is, recording begins when the program starts "
    "CUDA: for one that stays on the CPU set CUDA_VISIBLE_DEVICES to nothing"
)
NEVER_STEPPED: Final = "no optimizer stepped, so a window of steps never opens; --window all records the whole run"


def why_nothing(status: Path, *, steps_asked: bool) -> str | None:
    """Why the program recorded nothing, in one line; None where the status file does not tell.

    Args:
        status: The status file.
        steps_asked: Whether a window of optimizer steps was asked for.
    """
    lines = _lines(status)
    words = {word for word, _ in lines}
    told = [rest for word, rest in lines if word in ("failed", "said")]
    if not words & {"loaded", "torch"}:
        return NOT_LOADED
    if "torch" not in words:
        return NO_TORCH
    if told:
        return told[-1]
    if "ended" not in words:
        return KILLED
    if _stepped(lines):
        return None
    return NEVER_STEPPED if steps_asked else IDLE


def work_in(status: Path) -> dict[str, Any]:
    """``work``: what the window's iterations were, as the program told at its end; nothing where it did not.

    Nothing as well where several processes told: the work of one is not that of a file with all of them.
    """
    told = [rest for word, rest in _lines(status, at_end=True) if word == "work"]
    if len(told) != 1:
        return {}
    try:
        work = json.loads(told[0])
    except ValueError:
        return {}
    return {"work": work} if isinstance(work, dict) else {}


def _lines(status: Path, *, at_end: bool = False) -> list[tuple[str, str]]:
    """(word, what stands behind the process id) of each line of its beginning or end; none where there is no file."""
    try:
        with status.open("rb") as stream:
            if at_end:
                stream.seek(max(status.stat().st_size - _PIECE_BYTES, 0))
            text = stream.read(_PIECE_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    split = [line.split(" ", 2) for line in text.splitlines()]
    return [(parts[0], parts[2] if len(parts) > 2 else "") for parts in split if parts]


def _stepped(lines: list[tuple[str, str]]) -> bool:
    return any(word == "step" or (word == "ended" and rest not in ("", "0")) for word, rest in lines)
