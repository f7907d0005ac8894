"""What the name of a range means, whichever profiler recorded it: iteration, phase, layer, window, or the user's own.

Grammar::

    name  := "ds2prof:" kind ":" value | "ProfilerStep#" number | any other text
    kind  := "window" | "iteration" | "phase" | "layer"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ds2prof.config import RANGE_DOMAIN, range_kind

_STEP: Final = re.compile(r"ProfilerStep#([0-9]+)\Z")


def in_domain(name: str, domain: str | None) -> str:
    """The name of a range that was recorded as a message in an NVTX domain, as other profilers have it."""
    return f"{domain}:{name}" if domain == RANGE_DOMAIN and not name.startswith(f"{RANGE_DOMAIN}:") else name


def is_step(name: str) -> bool:
    """Whether this is the range of one of the PyTorch profiler's own steps."""
    return bool(_STEP.match(name))


def kind_of_range(name: str) -> tuple[str, str | None]:
    """(kind, value) of a range by its name."""
    step = _STEP.match(name)
    return ("iteration", step[1]) if step else range_kind(name) or ("user", None)


def kinds_of_ranges(names: Sequence[str]) -> list[tuple[str, str | None]]:
    """(kind, value) of each of the distinct names that a profile's ranges have.

    Where the program marks its iterations as ds2prof does, those are the iterations and the profiler's own steps,
    numbered from its start, are ranges like others.
    """
    own = any((range_kind(name) or ("",))[0] == "iteration" for name in names)
    return [("user", None) if own and is_step(name) else kind_of_range(name) for name in names]
