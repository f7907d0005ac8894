"""Ranges: names for stretches of the program, read by whichever profiler is on. While none is, nothing is called.

Each range is emitted twice. ``record_function`` is what torch.profiler sees; it belongs to its thread. An NVTX
start/end range is what Nsight Systems, Nsight Compute and nvprof see; it belongs to the whole process, which matters
because autograd launches the kernels of the backward pass from a thread of its own, where no range of ours is open.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType, TracebackType
from typing import Any, Final

import torch

from ds2prof.config import RANGE_DOMAIN, range_message, range_name

NVTX_MISSING: Final = (
    "ranges: the package nvtx is missing, so a CUDA profiler will see no phases; pip install nvtx adds them"
)

_NOTHING: Final = nullcontext()


class _Range:
    """One open range."""

    def __init__(self, kind: str, value: str | int, nvtx: ModuleType | None) -> None:
        self._message = range_message(kind, value)
        self._nvtx = nvtx
        self._nvtx_id: Any = None
        self._record = torch.profiler.record_function(range_name(kind, value))

    def __enter__(self) -> None:
        if self._nvtx is not None:
            self._nvtx_id = self._nvtx.start_range(message=self._message, domain=RANGE_DOMAIN)
        self._record.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._record.__exit__(kind, error, trace)
        if self._nvtx is not None:
            self._nvtx.end_range(self._nvtx_id)


class Ranges:
    """Opens ranges while ``on``.

    Args:
        nvtx: The package nvtx; None where it is not installed or no profiler will be on.
    """

    def __init__(self, nvtx: ModuleType | None = None) -> None:
        self.on = False
        self._nvtx = nvtx

    @property
    def reach_nvtx(self) -> bool:
        """Whether profilers outside the process can see them."""
        return self._nvtx is not None

    def __call__(self, kind: str, value: str | int) -> AbstractContextManager[None]:
        """A context that is the range ``ds2prof:<kind>:<value>``."""
        return _Range(kind, value, self._nvtx) if self.on else _NOTHING


def nvtx_package() -> ModuleType | None:
    """The package nvtx, None where it is not installed."""
    try:
        import nvtx
    except ImportError:
        return None
    return nvtx  # type: ignore[no-any-return, unused-ignore]
