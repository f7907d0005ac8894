"""What a recorded process knows about itself, for the sidecar beside its measurement; what it cannot know is null."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from . import gpu
from .outputs import place


def sidecar(
    *, window: tuple[int, int] | None, window_source: str, detail: bool | None, steps_seen: int
) -> dict[str, Any]:
    """The fields of a sidecar.

    Args:
        window: First and last-but-one complete step in the recording, as a half-open pair.
        window_source: Why these, in words.
        detail: Whether shapes, stacks and memory were recorded too; null where that is not the question.
        steps_seen: Optimizer steps that the process had taken when the recording ended.
    """
    rank, world_size = place()
    return {
        "tool": "torch.profiler",
        "tool_version": str(torch.__version__),
        "preset": None,
        "precision": None,
        "batch_size": None,
        "window": None if window is None else {"start": window[0], "stop": window[1]},
        "window_source": window_source,
        "detail": detail,
        "steps_seen": steps_seen,
        "rank": rank,
        "world_size": world_size,
        "pid": os.getpid(),
        "devices": devices(),
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """Name -> version of what decides how fast the program is; null where it is not there."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cudnn": str(torch.backends.cudnn.version()) if gpu.is_used() else None,
    }


def devices() -> list[dict[str, Any]]:
    """The GPUs that the process used, else the host."""
    return [_gpu(index) for index in gpu.devices()] or [{"device": "cpu", "name": _processor()}]


def _gpu(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    uuid = getattr(properties, "uuid", None)  # newer than the oldest torch that is supported
    return {
        "device": f"cuda:{index}",
        "name": properties.name,
        "uuid": None if uuid is None else str(uuid),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "sm_count": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
    }


def _processor() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or None
