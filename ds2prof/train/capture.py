"""Captures: what surrounds the window of a run, for the profiler that watches it.

The loop prepares a capture one iteration early, then fences the device, starts it, and stops it behind a second
fence. Whatever a profiler needs to set itself up happens in ``prepare``, so the window does not hold it.
"""

from __future__ import annotations

import gzip
import importlib
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Final, Protocol

import torch
from torch import nn

from ds2prof.config import Window
from ds2prof.measurements import written_whole
from ds2prof.train.device import Device
from ds2prof.train.layers import LayerRanges
from ds2prof.train.ranges import NVTX_MISSING, Ranges
from ds2prof.train.settings import Settings

_CHUNK_BYTES: Final = 1 << 20


class Profiler(Protocol):
    """Something that records between ``start`` and ``stop``."""

    def prepare(self) -> None:
        """Does what takes long and can be done early."""

    def start(self) -> None:
        """Begins to record."""

    def stop(self) -> None:
        """Ends recording and keeps what was recorded."""


class Capture:
    """No capture: what a run without a profiler has in place of one."""

    def prepare(self) -> None:
        """Nothing."""

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class ProfiledCapture(Capture):
    """A capture by ``profiler``, with ranges on for as long as it records.

    Args:
        profiler: What records.
        ranges: What it is told; the outermost is the window, ``ds2prof:window:<start>-<stop>``.
        window: The iterations captured.
        layers: Hooks for layer ranges, None without them.
    """

    def __init__(self, profiler: Profiler, ranges: Ranges, *, window: Window, layers: LayerRanges | None) -> None:
        self._profiler = profiler
        self._ranges = ranges
        self._window = window
        self._layers = layers
        self._open: AbstractContextManager[None] | None = None

    def prepare(self) -> None:
        """Sets the profiler up and puts the hooks on, which stay silent until the start."""
        if self._layers is not None:
            self._layers.attach()
        self._profiler.prepare()

    def start(self) -> None:
        """Opens the window."""
        self._profiler.start()
        self._ranges.on = True
        self._open = self._ranges("window", f"{self._window.start}-{self._window.stop}")
        self._open.__enter__()

    def stop(self) -> None:
        """Closes the window; torch.profiler's trace is on disk when this returns."""
        assert self._open is not None, "stop without start"
        self._open.__exit__(None, None, None)
        self._ranges.on = False
        if self._layers is not None:
            self._layers.detach()
        self._profiler.stop()


def capture_for(settings: Settings, device: Device, *, ranges: Ranges, layers: Mapping[str, nn.Module]) -> Capture:
    """The capture that the settings ask for."""
    if settings.profiler == "none":
        return Capture()
    profiler: Profiler = ExternalProfiler(device)
    if settings.profiler == "torch":
        assert settings.output is not None, "a trace always has a path"
        profiler = TorchProfiler(device, settings.output)
    hooks = LayerRanges(ranges, layers) if settings.layers else None
    return ProfiledCapture(profiler, ranges, window=settings.window, layers=hooks)


def shortcomings(settings: Settings, device: Device, ranges: Ranges) -> list[str]:
    """What the profiler outside will miss, a line each; torch.profiler needs none of it."""
    if settings.profiler != "external":
        return []
    notes = [] if ranges.reach_nvtx else [NVTX_MISSING]
    if not device.signals_profilers:
        notes.append(f"window: {device} has no cudaProfilerStart; the window is marked by its NVTX range alone")
    return notes


class ExternalProfiler:
    """A profiler that this process runs under and that waits for cudaProfilerStart, as ncu, nsys and nvprof can."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def prepare(self) -> None:
        """Nothing: what it has to prepare it did when it started this process."""

    def start(self) -> None:
        """Tells it to begin."""
        self._device.start_profiler()

    def stop(self) -> None:
        """Tells it to end."""
        self._device.stop_profiler()


class TorchProfiler:
    """torch.profiler, as lean as it gets: no shapes, no stacks, no memory, each of which slows the step it records.

    Args:
        device: Decides whether a GPU is recorded besides the host.
        path: Where the trace goes, compressed.
    """

    def __init__(self, device: Device, path: Path) -> None:
        self._profile = torch.profiler.profile(activities=device.activities())
        self._device = device
        self._path = path

    def prepare(self) -> None:
        """Loads and warms what recording needs."""
        if not self._device.is_gpu:
            # Kineto announces each start and stop on standard error, at a level above its errors. With a GPU they
            # are let through, since an error of CUPTI's explains a trace without kernels; without one none matters.
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        self._profile.prepare_trace()

    def start(self) -> None:
        """Begins to record."""
        self._profile.start_trace()

    def stop(self) -> None:
        """Ends recording and writes the trace, whole or not at all."""
        self._profile.stop_trace()
        # Exported plain and compressed here: PyTorch's own way to a .gz takes ten times as long. The raw file lies
        # beside the result, since a system's temporary folder may be too small for it.
        raw = self._path.with_name(f".{self._path.name}.{os.getpid()}.raw.json")
        try:
            with written_whole(self._path) as partial:
                self._profile.export_chrome_trace(str(raw))
                compress(raw, partial)
        finally:
            raw.unlink(missing_ok=True)


def compress(source: Path, target: Path) -> None:
    """Writes ``source``, gzipped, to ``target``, a piece at a time; with isal where it is installed, it is faster."""
    with source.open("rb") as plain, _gzip_writer(target) as packed:
        shutil.copyfileobj(plain, packed, _CHUNK_BYTES)


def _gzip_writer(target: Path) -> IO[bytes]:
    try:
        opener: Any = importlib.import_module("isal.igzip").open
    except ImportError:
        opener = gzip.open
    writer: IO[bytes] = opener(target, "wb", compresslevel=1)
    return writer
