"""Which steps are to be recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

WHOLE_RUN_LIMIT_S = 30.0
"""How long a run is recorded that was given no window and takes no optimizer step."""


class Window(NamedTuple):
    """Steps ``start`` to ``stop - 1``, counted from 0."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.start}-{self.stop}"


DEFAULT_CPU = Window(3, 6)
DEFAULT_GPU = Window(10, 20)
"""Recorded where a program steps and nobody named a window: late enough to be warm, early enough to be reached."""


def asked(environ: Mapping[str, str]) -> Window | None:
    """The window that the environment names; None where it names none.

    Raises:
        ValueError: it holds no step, or what it says is no count.
    """
    start, stop = environ.get("DS2PROF_PROFILE_START", ""), environ.get("DS2PROF_PROFILE_STOP", "")
    if not start and not stop:
        return None
    if not (start.isdigit() and stop.isdigit() and int(start) < int(stop)):
        raise ValueError(f"DS2PROF_PROFILE_START={start} and DS2PROF_PROFILE_STOP={stop} name no window")
    return Window(int(start), int(stop))


def whole_run(environ: Mapping[str, str]) -> bool:
    """Whether the whole run was asked for."""
    return environ.get("DS2PROF_WINDOW") == "all"


def cut_short(window: Window, recorded: tuple[int, int] | None, taken: int) -> str:
    """What there is to say of a window that was open when the program ended.

    Args:
        window: The window.
        recorded: The steps that are whole in the recording, as a half-open pair; None where there is none.
        taken: Steps that the program has taken.
    """
    ended = f"after step {taken - 1}" if taken else "before its first step"
    if recorded is None:
        return f"window {window}: the program ended {ended}; no step of the window is whole"
    first, last = recorded[0], recorded[1] - 1
    steps = f"step {first} was" if first == last else f"steps {first}-{last} were"
    return f"window {window}: the program ended {ended}; {steps} recorded"


def default(torch: Any) -> Window:
    """The window of a program that steps, once it is known whether it works on a GPU."""
    return DEFAULT_GPU if torch.cuda.is_initialized() else DEFAULT_CPU
