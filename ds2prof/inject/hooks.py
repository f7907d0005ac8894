"""How what is done in a process comes to be called again, safely: an error in the call does not reach the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Hooks(NamedTuple):
    """The two occasions that no step of an optimizer marks."""

    later: Callable[[float, Callable[[], None]], None]
    """Calls in the main thread, between two of its instructions, when so many seconds have gone by."""
    on_cuda: Callable[[Callable[[], None]], None]
    """Calls when the program starts CUDA."""
