"""What the tests of the training loop share: a workload of milliseconds and stand-ins that note what they are asked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import torch

import train_profiling
from ds2prof.config import Window
from ds2prof.inject.nvtx_ranges import PackageRanges
from ds2prof.train.device import Device
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import sgd
from ds2prof.train.presets import Convolution, ModelConfig, Preset, SpeechConfig
from ds2prof.train.progress import Progress
from ds2prof.train.ranges import Ranges
from ds2prof.train.runlog import RunLog
from ds2prof.train.settings import Settings
from ds2prof.train.speech import Batch, SyntheticSpeech
from ds2prof.train.workload import Workload

torch.set_num_threads(1)  # operators this small take longer to share out than to do, most of all on a busy machine

NANO = Preset(
    "nano",
    ModelConfig(
        (
            Convolution(2, kernel=(5, 11), stride=(4, 2), padding=(2, 5)),
            Convolution(3, kernel=(5, 11), stride=(4, 1), padding=(2, 5)),
        ),
        hidden=8,
        recurrent_layers=2,
    ),
    SpeechConfig(length_divisor=20),
)


def host() -> Device:
    return Device(torch.device("cpu"))


class RecordingDevice(Device):
    """A host that notes in ``events`` what it is asked to do."""

    def __init__(self, events: list[str]) -> None:
        super().__init__(torch.device("cpu"))
        self.events = events

    def synchronize(self) -> None:
        self.events.append("fence")

    def start_profiler(self) -> None:
        self.events.append("profiler on")

    def stop_profiler(self) -> None:
        self.events.append("profiler off")


class RecordingSpeech:
    """Speech that notes in ``events`` when a batch is asked for."""

    def __init__(self, speech: SyntheticSpeech, events: list[str]) -> None:
        self._speech = speech
        self._events = events

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self._speech):
            self._events.append(f"batch {number}")
            yield batch


def nano_settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "preset": "nano",
        "batch_size": 2,
        "precision": "fp32",
        "profiler": "none",
        "window": Window(1, 3),
        "window_given": True,
        "iterations": 3,
        "layers": False,
        "seed": 1,
        "output": None,
        "tag": None,
        "force": False,
    }
    return Settings(**{**values, **changes})


def nano_workload(settings: Settings, device: Device, *, nvtx: Any = None) -> Workload:
    device.seed(settings.seed)
    model = DeepSpeech2(NANO.model)
    speech = SyntheticSpeech(NANO.speech, settings.batch_size, input_bins=161, vocabulary=29, seed=settings.seed)
    return Workload(
        device=device,
        preset=NANO,
        precision=settings.precision,
        model=model,
        optimizer=sgd(model, NANO.optimizer),
        speech=speech,
        ranges=Ranges(None if nvtx is None else PackageRanges(nvtx)),
    )


def train_nano(settings: Settings, workload: Workload, capture: Any) -> RunLog:
    """The log of the root script's loop over ``workload``."""
    log = RunLog(workload.device, settings.iterations)
    progress = Progress(io.StringIO(), settings.iterations)
    train_profiling.train(workload, settings, capture=capture, log=log, progress=progress)
    return log


class FakeNvtx:
    """The two calls of the package nvtx that are used, noted: (message, domain) of each range and its span."""

    def __init__(self, events: list[str] | None = None) -> None:
        self.ranges: list[tuple[str, str]] = []
        self.open: list[int] = []
        self.events: list[str] = [] if events is None else events

    def start_range(self, *, message: str, domain: str) -> int:
        self.ranges.append((message, domain))
        self.open.append(len(self.ranges) - 1)
        self.events.append(f"+{message}")
        return len(self.ranges) - 1

    def end_range(self, number: int) -> None:
        self.open.remove(number)
        self.events.append(f"-{self.ranges[number][0]}")
