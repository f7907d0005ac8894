"""What is written down about a run besides its measurement: the sidecar's fields and the run log's first line."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import torch

import ds2prof
from ds2prof.measurements import commit_of
from ds2prof.train.device import Device
from ds2prof.train.settings import DETAIL_SLOWS, Settings

_WORK: Final = ("samples", "audio_s", "padded_s", "model_flop", "hardware_flop")


@dataclass(frozen=True)
class Clock:
    """When the run began: for people by the calendar, for durations by a clock that never jumps."""

    utc: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    started_ns: int = field(default_factory=time.perf_counter_ns)

    @property
    def started_utc(self) -> str:
        """The beginning in ISO 8601, to the second, ``Z`` behind it."""
        return self.utc.strftime("%Y-%m-%dT%H:%M:%SZ")

    def elapsed_ns(self) -> int:
        """Nanoseconds since the beginning."""
        return time.perf_counter_ns() - self.started_ns


def run_header(
    settings: Settings, device: Device, *, parameters: int, clock: Clock, costs: Mapping[str, int | None]
) -> dict[str, Any]:
    """The first line of a run log, its schema left out; ``costs`` is what the capture took, step by step."""
    return {
        "preset": settings.preset,
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "device": str(device),
        "device_name": device.name,
        "parameters": parameters,
        "seed": settings.seed,
        "warmup": settings.window.start,
        "iterations": settings.iterations,
        "window": _window(settings),
        "profiler": None if settings.profiler == "none" else settings.profiler,
        **costs,
        "tool_version": ds2prof.__version__,
        "torch_version": str(torch.__version__),
        "started_utc": clock.started_utc,
    }


def sidecar(
    settings: Settings, device: Device, *, clock: Clock, folder: Path, stretch: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """The fields of the sidecar beside the run's measurement.

    Args:
        settings: What was run.
        device: Where.
        clock: Started when the run was.
        folder: The checkout, if it is one.
        stretch: What the run log says of the window's iterations.
    """
    by_torch = settings.profiler == "torch"
    return {
        "tool": {"torch": "torch.profiler", "memory": "ds2prof memory"}.get(settings.profiler, "ds2prof train"),
        "tool_version": str(torch.__version__) if by_torch else ds2prof.__version__,
        "command": shlex.join(sys.orig_argv),
        "preset": settings.preset,
        "precision": settings.precision,
        "batch_size": settings.batch_size,
        "window": _window(settings),
        "devices": [device.facts()],
        "versions": versions(device),
        "clocks": None,
        "commit": commit_of(folder),
        "started_utc": clock.started_utc,
        "dur_ns": clock.elapsed_ns(),
        "exit_code": 0,
        "tag": settings.tag,
        **({"work": work_of(stretch)} if by_torch and stretch is not None else {}),
        **({"detail": settings.detail} if by_torch else {}),
        **({"durations": DETAIL_SLOWS} if settings.detail else {}),
    }


def work_of(stretch: Mapping[str, Any]) -> dict[str, Any]:
    """What the window's iterations were on this rank: their number, samples, seconds, and their FLOP where counted."""
    told = {name: stretch[name] for name in _WORK if name in stretch}
    return {"iterations": stretch["stop"] - stretch["first"], **told}


def versions(device: Device) -> dict[str, str | None]:
    """Name -> version of what decides how fast the run is; null where it is not there."""
    return {
        "ds2prof": ds2prof.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": _installed("numpy"),
        "nvtx": _installed("nvtx"),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cudnn": str(torch.backends.cudnn.version()) if device.torch_device.type == "cuda" else None,
    }


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _window(settings: Settings) -> dict[str, int] | None:
    if not settings.window_given:
        return None
    return {"start": settings.window.start, "stop": settings.window.stop}
