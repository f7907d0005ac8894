"""Ranges: names for stretches of the program, read by whichever profiler is on. While none is, nothing is called.

Each range is emitted twice. ``record_function`` is what torch.profiler sees; it belongs to its thread. An NVTX
start/end range is what Nsight Systems, Nsight Compute and nvprof see; it belongs to the whole process, which matters
because autograd launches the kernels of the backward pass from a thread of its own, where no range of ours is open.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Final

import torch

from ds2prof.config import range_message, range_name
from ds2prof.inject.nvtx_ranges import NvtxRanges

NVTX_MISSING: Final = (
    "ranges: the package nvtx is missing, and this PyTorch, built without CUDA, has no NVTX of its own, so a CUDA "
    "profiler will see no phases; pip install nvtx adds them"
)

_NOTHING: Final = nullcontext()


class _Range:
    """One open range."""

    def __init__(self, kind: str, value: str | int, nvtx: NvtxRanges | None) -> None:
        self._message = range_message(kind, value)
        self._nvtx = nvtx
        self._opened: Any = None
        self._record = torch.profiler.record_function(range_name(kind, value))

    def __enter__(self) -> None:
        if self._nvtx is not None:
            self._opened = self._nvtx.start(self._message)
        self._record.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._record.__exit__(kind, error, trace)
        if self._nvtx is not None:
            self._nvtx.end(self._opened)


class Ranges:
    """Opens ranges while ``on``.

    Args:
        nvtx: What makes NVTX ranges; None where there is nothing or no profiler will be on.
    """

    def __init__(self, nvtx: NvtxRanges | None = None) -> None:
        self.on = False
        self._nvtx = nvtx

    @property
    def reach_nvtx(self) -> bool:
        """Whether profilers outside the process can see them."""
        return self._nvtx is not None

    def __call__(self, kind: str, value: str | int) -> AbstractContextManager[None]:
        """A context that is the range ``ds2prof:<kind>:<value>``."""
        return _Range(kind, value, self._nvtx) if self.on else _NOTHING
