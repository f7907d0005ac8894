"""What must be known of a GPU without touching it: a call that starts CUDA breaks every fork that comes after it."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Callable

import torch

_A_MOMENT_S = 0.02
_NODES = ("/dev/nvidia[0-9]*", "/dev/nvidia-caps/*", "/dev/dxg", "/dev/kfd")


def may_be_used() -> bool:
    """Whether the program might use a GPU later: torch is built for one and the machine shows one.

    ``torch.cuda.is_available()`` would know better, but it may start the driver, after which a forked child cannot.
    """
    if torch.version.cuda is None and torch.version.hip is None:
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return any(glob.glob(pattern) for pattern in _NODES)


def when_used(call: Callable[[], None], later: Callable[[float, Callable[[], None]], None]) -> None:
    """Has ``call`` called, once, when the program has started CUDA.

    torch has a queue of calls for that, but makes them while it holds a lock that much of what a profiler loads may ask
    for. So the function that starts CUDA is followed until it has; a few parts of torch know it by a name of their own,
    and what begins there is taken up a moment later.

    Args:
        call: What is called, in the thread that started CUDA or in the main thread.
        later: Calls a function in the main thread after some seconds.
    """
    lazy_init: Callable[[], None] = torch.cuda._lazy_init
    called = False
    moments = 100

    def once() -> None:
        nonlocal called
        if not called:
            called = True
            call()

    def taken_up() -> None:
        nonlocal moments
        moments -= 1
        if is_used():
            once()
        elif moments > 0:
            later(_A_MOMENT_S, taken_up)  # it is still starting, unless that has failed

    @functools.wraps(lazy_init)
    def followed() -> None:
        lazy_init()
        if is_used():
            torch.cuda._lazy_init = lazy_init
            once()

    torch.cuda._lazy_init = followed
    torch.cuda._lazy_call(lambda: later(_A_MOMENT_S, taken_up))


def is_used() -> bool:
    """Whether the program has started CUDA (or ROCm, which goes by the same name)."""
    return bool(torch.cuda.is_initialized())


def synchronize() -> None:
    """Returns when every GPU that this process has memory on has run dry.

    At once where CUDA was never started, and while a graph is being captured, which a wait would break.
    """
    if not is_used() or torch.cuda.is_current_stream_capturing():
        return
    for index in devices():
        torch.cuda.synchronize(index)


def devices() -> list[int]:
    """The GPUs that this process has memory on, else the current one; none where CUDA was never started.

    Asking any other for anything would create a context there.
    """
    if not is_used():
        return []
    used = [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index) > 0]
    return used or [torch.cuda.current_device()]
