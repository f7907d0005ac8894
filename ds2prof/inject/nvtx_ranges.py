"""NVTX start/end ranges of the domain ``ds2prof``, by whatever this process has to make them with."""

from __future__ import annotations

from typing import Any, Protocol

import torch

DOMAIN = "ds2prof"


class NvtxRanges(Protocol):
    """Start/end ranges; they belong to the process and not to a thread."""

    def start(self, message: str) -> Any:
        """Begins a range; gives what ends it."""

    def end(self, opened: Any) -> None:
        """Ends it."""


class PackageRanges:
    """Ranges by the package nvtx."""

    def __init__(self, nvtx: Any) -> None:
        self._nvtx = nvtx

    def start(self, message: str) -> Any:
        """Begins a range in our domain; gives what ends it."""
        return self._nvtx.start_range(message=message, domain=DOMAIN)

    def end(self, opened: Any) -> None:
        """Ends it."""
        self._nvtx.end_range(opened)


class TorchRanges:
    """Ranges by torch's own NVTX, which knows no domains: ours stands before the name."""

    def start(self, message: str) -> Any:
        """Begins a range; gives what ends it."""
        return torch.cuda.nvtx.range_start(f"{DOMAIN}:{message}")

    def end(self, opened: Any) -> None:
        """Ends it."""
        torch.cuda.nvtx.range_end(opened)


def nvtx_ranges() -> NvtxRanges | None:
    """By the package nvtx where this Python has it, else by a torch that was built for CUDA; else None."""
    try:
        import nvtx
    except ImportError:
        by_torch = torch.version.cuda is not None and hasattr(torch.cuda.nvtx, "range_start")
        return TorchRanges() if by_torch else None
    return PackageRanges(nvtx)
