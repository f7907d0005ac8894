"""The words and defaults that every layer shares: phases, range names, file stems, environment variables.

Ranges are named ``ds2prof:<kind>:<value>``, e.g. ``ds2prof:phase:forward``. As NVTX the first part is the domain and
the rest the message, which Nsight Systems prints in the same form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PHASES: Final = ("data", "h2d", "forward", "loss", "backward", "clip", "optimizer")
"""The phases of an optimizer step, in order. They partition it."""

RANGE_DOMAIN: Final = "ds2prof"
RANGE_KINDS: Final = ("window", "iteration", "phase", "layer")

ENV_PROFILE_START: Final = "DS2PROF_PROFILE_START"
ENV_PROFILE_STOP: Final = "DS2PROF_PROFILE_STOP"
ENV_CAPTURE: Final = "DS2PROF_CAPTURE"
"""Set in every process of a capture that ds2prof started, to a value of its own."""
ENV_MEASUREMENTS: Final = "DS2PROF_MEASUREMENTS"
"""The folder that captures write to, where it is not ``measurements``."""
ENV_STATUS: Final = "DS2PROF_STATUS"
"""A file that the program of a capture tells its progress in, a line each."""
ENV_CORPUS: Final = "DS2PROF_CORPUS"

STEMS: Final = {
    "nsight": "nsight",
    "nvprof": "profile",
    "nsys": "nsys",
    "torch": "torch",
    "memory": "memory",
    "smi": "smi",
    "run": "run",
}
"""Profiler name -> stem of its measurements' file names (nvprof's is followed by a timestamp, as the ancestor's)."""


@dataclass(frozen=True)
class Window:
    """The captured iterations: ``start`` to ``stop - 1``, counted from 0."""

    start: int
    stop: int


ANCESTOR_WINDOWS: Final = {"tbd-nsight": Window(1, 2), "tbd-nvprof": Window(100, 200)}
"""The windows that the TBD suite's README told its users to edit into the source (one for each tool)."""


@dataclass(frozen=True)
class Defaults:
    """What is run when nobody says otherwise."""

    preset: str
    batch_sizes: tuple[int, ...]
    window: Window


DEFAULTS_CPU: Final = Defaults(preset="tiny", batch_sizes=(4,), window=Window(3, 6))
DEFAULTS_GPU: Final = Defaults(preset="tbd", batch_sizes=(4, 8, 16, 24, 32), window=Window(100, 200))
COUNTER_WINDOW_GPU: Final = Window(10, 11)
"""The window for replaying profilers (Nsight Compute): each launch costs many passes, so one iteration."""


def range_message(kind: str, value: str | int) -> str:
    """The NVTX message of a range, its domain left out: ``phase:forward``."""
    return f"{kind}:{value}"


def range_name(kind: str, value: str | int) -> str:
    """The full name of a range: ``ds2prof:phase:forward``."""
    return f"{RANGE_DOMAIN}:{kind}:{value}"


def range_kind(name: str) -> tuple[str, str] | None:
    """(kind, value) of a range that ds2prof's own instrumentation named, else None."""
    domain, _, rest = name.partition(":")
    kind, _, value = rest.partition(":")
    if domain != RANGE_DOMAIN or kind not in RANGE_KINDS or not value:
        return None
    return kind, value
