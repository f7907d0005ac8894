"""Captures: what surrounds the window of a run, for the profiler that watches it.

The loop prepares a capture one iteration early, then fences the device, starts it, and stops it behind a second
fence. Whatever a profiler needs to set itself up happens in ``prepare``, so the window does not hold it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from torch import nn

from ds2prof.config import ENV_STATUS, Window
from ds2prof.errors import CaptureError
from ds2prof.inject import trace
from ds2prof.measurements import written_whole
from ds2prof.train.device import Device
from ds2prof.train.layers import LayerRanges
from ds2prof.train.marks import mark
from ds2prof.train.memory import MemoryProfiler
from ds2prof.train.ranges import NVTX_MISSING, Ranges
from ds2prof.train.settings import Settings

if TYPE_CHECKING:
    from ds2prof.inject.progress import OperatorProgress

ENV_COUNT_OPS: Final = "DS2PROF_COUNT_OPS"


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

    def said(self) -> Mapping[str, Any]:
        """What the measurement's sidecar says of the capture besides what holds for all."""
        return {}


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
        mark("open", self._window.start)

    def stop(self) -> None:
        """Closes the window; torch.profiler's trace is on disk when this returns."""
        assert self._open is not None, "stop without start"
        mark("closed", self._window.stop)
        self._open.__exit__(None, None, None)
        self._ranges.on = False
        if self._layers is not None:
            self._layers.detach()
        self._profiler.stop()

    def said(self) -> Mapping[str, Any]:
        """Of a memory capture: what was measured, and why the rest was not."""
        return {"memory": self._profiler.facts} if isinstance(self._profiler, MemoryProfiler) else {}


def capture_for(settings: Settings, device: Device, *, ranges: Ranges, layers: Mapping[str, nn.Module]) -> Capture:
    """The capture that the settings ask for."""
    if settings.profiler == "none":
        return Capture()
    profiler: Profiler = ExternalProfiler(device, operator_progress(settings.window))
    if settings.profiler == "torch":
        assert settings.output is not None, "a trace always has a path"
        profiler = TorchProfiler(device, settings.output, detail=settings.detail)
    elif settings.profiler == "memory":
        assert settings.output is not None, "a recording of memory always has a path"
        profiler = MemoryProfiler(settings.output, settings.window)
    hooks = LayerRanges(ranges, layers) if settings.layers else None
    return ProfiledCapture(profiler, ranges, window=settings.window, layers=hooks)


def operator_progress(window: Window) -> OperatorProgress | None:
    """What counts the window's operators for whoever watches a profiler that replays; None where nobody asked."""
    status = os.environ.get(ENV_STATUS)
    if not status or os.environ.get(ENV_COUNT_OPS) != "1" or window.start == 0:
        return None
    from ds2prof.inject.progress import OperatorProgress

    return OperatorProgress(status, window.stop - window.start)


def shortcomings(settings: Settings, device: Device, ranges: Ranges) -> list[str]:
    """What the profiler outside will miss, a line each; torch.profiler needs none of it."""
    if settings.profiler != "external":
        return []
    notes = [] if ranges.reach_nvtx else [NVTX_MISSING]
    if not device.signals_profilers and ENV_STATUS not in os.environ:  # who gave us that knows of the window by it
        notes.append(f"window: {device} has no cudaProfilerStart; the window is marked by its NVTX range alone")
    return notes


class ExternalProfiler:
    """A profiler that this process runs under and that waits for cudaProfilerStart, as ncu, nsys and nvprof can."""

    def __init__(self, device: Device, progress: OperatorProgress | None = None) -> None:
        self._device = device
        self._progress = progress

    def prepare(self) -> None:
        """Nothing but to count: what the profiler has to prepare it did when it started this process."""
        if self._progress is not None:
            self._progress.rehearse()

    def start(self) -> None:
        """Tells it to begin."""
        if self._progress is not None:
            self._progress.open()
        self._device.start_profiler()

    def stop(self) -> None:
        """Tells it to end."""
        self._device.stop_profiler()
        if self._progress is not None:
            self._progress.close()


class TorchProfiler:
    """torch.profiler: lean, for durations, or with detail, for attribution, which slows the steps that it records.

    Args:
        device: Decides whether a GPU is recorded besides the host.
        path: Where the trace goes, compressed.
        detail: Whether to record shapes, modules, synchronization and memory too.
    """

    def __init__(self, device: Device, path: Path, *, detail: bool = False) -> None:
        self._profile = trace.profiler(device.activities(), detail=detail)
        self._device = device
        self._path = path

    def prepare(self) -> None:
        """Loads and warms what recording needs."""
        with trace.quiet(on_gpu=self._device.is_gpu):
            self._profile.prepare_trace()

    def start(self) -> None:
        """Begins to record."""
        self._profile.start_trace()

    def stop(self) -> None:
        """Ends recording and writes the trace, whole or not at all."""
        self._profile.stop_trace()
        # The raw file lies beside the result, since a system's temporary folder may be too small for it.
        raw = self._path.with_name(f".{self._path.name}.{os.getpid()}.raw.json")
        try:
            with written_whole(self._path) as partial:
                trace.export(self._profile, str(partial), raw=str(raw))
        except OSError as error:
            raise CaptureError(f"{self._path}: cannot be written: {error.strerror}") from None
