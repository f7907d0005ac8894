"""Whether operators and modules can be followed without changing what the program runs: not where it is compiled.

Under a dispatch mode Dynamo skips what it is to compile, for good; hooks on all modules break its graphs, or are
compiled into them. So whoever follows either asks here first, and is told when the program calls ``torch.compile``,
which comes before the first call of what was compiled.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils import _python_dispatch

_MARK = "_ds2prof_tells"
_listeners: list[Callable[[], None]] = []
_called = False


def watch() -> None:
    """From here on calls of ``torch.compile`` and ``Module.compile`` are noticed; they do what they did."""
    owners: list[Any] = [torch, nn.Module]
    for owner in owners:
        original = getattr(owner, "compile", None)  # newer than the oldest torch that is supported
        if original is not None and not hasattr(original, _MARK):
            owner.compile = _telling(original)


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def compile_and_tell(*args: Any, **kwargs: Any) -> Any:
        if not (kwargs.get("disable") or _switched_off()):
            _tell()
        return original(*args, **kwargs)

    setattr(compile_and_tell, _MARK, True)
    return compile_and_tell


def _tell() -> None:
    global _called
    _called = True
    for listener in tuple(_listeners):
        listener()


def on_compile(listener: Callable[[], None]) -> None:
    """Has ``listener`` called whenever the program compiles something, before it does; it must not raise."""
    _listeners.append(listener)


def no_more(listener: Callable[[], None]) -> None:
    """It is not called any more."""
    if listener in _listeners:
        _listeners.remove(listener)


def compiles(roots: Iterable[nn.Module] = ()) -> bool:
    """Whether the program has compiled anything, or is about to, as far as it can be told from here."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    frames = getattr(dynamo, "counters", {}).get("frames", {})
    if _called or frames.get("total", 0):
        return True
    return any(is_compiled(part) for root in roots for part in root.modules())


def is_compiled(module: nn.Module) -> bool:
    """Whether a call of the module runs compiled code."""
    compiled = type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
    return compiled and not _switched_off()


def _switched_off() -> bool:
    """Whether ``torch.compile`` compiles nothing, because the environment says so."""
    return any(os.environ.get(name) == "1" for name in ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"))


def innermost_mode() -> Any:
    """The dispatch mode that sees operators first, in this thread; None where there is none."""
    return _python_dispatch._get_current_dispatch_mode()
