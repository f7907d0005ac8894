"""Counts optimizer steps, in a program that was not written to be counted.

The class of every optimizer that is made has its ``step`` wrapped. PyTorch's global step hooks would do for counting,
but they run inside the range ``Optimizer.step#...`` that PyTorch itself puts around a step: a recording that ended
there would lose the range of its last step, and a range from hook to hook would cross it. A wrapper is outside of that
range, and works in every version.

A step is a call of ``step()`` of the first optimizer that steps; with several (a GAN's two, one for each layer) the
others do not count, unless the first is gone. A gradient scaler that skips a step does not call it. What cannot be
seen: steps of optimizers that are no ``torch.optim.Optimizer``, and those in a function given to ``torch.compile``.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch

_MARK = "_ds2prof_counts"


class StepCounter:
    """Counts steps and tells of them.

    Args:
        made: Called when an optimizer has been made.
        before: Called when a step is about to be taken, with its number from 0 and the optimizer.
        after: Called when it has been.
    """

    def __init__(
        self, *, made: Callable[[Any], None], before: Callable[[int, Any], None], after: Callable[[int, Any], None]
    ) -> None:
        self.count = 0
        self.made = made
        self._before = before
        self._after = after
        self._first: weakref.ref[Any] | None = None
        self._inside = threading.local()

    def restart(self) -> None:
        """Counts from 0 again, as a process does that was forked from one that counted."""
        self.count = 0
        self._first = None

    def counts(self, optimizer: Any) -> bool:
        """Whether a call of this optimizer's ``step`` is a step: not in another's, and of the first one seen."""
        if getattr(self._inside, "a_step", False):
            return False
        if self._first is None or self._first() is None:
            self._first = weakref.ref(optimizer)
        return self._first() is optimizer

    def taken(self, optimizer: Any, call: Callable[[], Any]) -> Any:
        """What ``call`` returns, counted as a step unless it raises."""
        self._inside.a_step = True
        try:
            self._before(self.count, optimizer)
            result = call()
        finally:
            self._inside.a_step = False
        self.count += 1
        self._after(self.count - 1, optimizer)
        return result


def watch(counter: StepCounter) -> None:
    """From here on the counter sees the steps of every optimizer that is made or unpickled."""
    _extend("__init__", counter)
    _extend("__setstate__", counter)


def _extend(method: str, counter: StepCounter) -> None:
    original = getattr(torch.optim.Optimizer, method)

    @functools.wraps(original)
    def extended(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _wrap_step(type(self), counter)
        counter.made(self)

    setattr(torch.optim.Optimizer, method, extended)


def _wrap_step(kind: Any, counter: StepCounter) -> None:
    inner = kind.step
    if hasattr(inner, _MARK):
        return

    @functools.wraps(inner)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_compiling() or not counter.counts(self):
            return inner(self, *args, **kwargs)
        return counter.taken(self, lambda: inner(self, *args, **kwargs))

    setattr(step, _MARK, True)
    kind.step = step


def _never() -> bool:
    return False


_is_compiling: Callable[[], bool] = getattr(getattr(torch, "compiler", None), "is_compiling", _never)
