"""What the tests of the training loop share: a workload of milliseconds and stand-ins that note what they are asked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import train_profiling
from ds2prof.config import Window
from ds2prof.inject.nvtx_ranges import PackageRanges
from ds2prof.speech.synthetic_config import SyntheticConfig
from ds2prof.train.batches import Batch, Batches, Features, collate
from ds2prof.train.device import Device
from ds2prof.train.distributed import Ranks
from ds2prof.train.presets import Convolution, ModelConfig, Preset
from ds2prof.train.progress import Progress
from ds2prof.train.ranges import Ranges
from ds2prof.train.runlog import RunLog
from ds2prof.train.settings import Settings
from ds2prof.train.speech import synthetic_batches
from ds2prof.train.workload import Workload, assemble

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
    SyntheticConfig(length_divisor=20),
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


class RecordingBatches:
    """Batches that note in ``events`` when one is asked for."""

    def __init__(self, batches: Batches, events: list[str]) -> None:
        self._batches = batches
        self._events = events

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for index, batch in enumerate(self._batches.epoch(number, start)):
            self._events.append(f"batch {index}")
            yield batch


class StatedBatches:
    """The same few utterances of one length in every epoch, shared out among the ranks, as batches of ``each``."""

    def __init__(self, utterances: int, each: int, *, ranks: Ranks) -> None:
        stream = np.random.default_rng(5)
        drawn = [
            Features(number, stream.standard_normal((161, 40), dtype=np.float32), stream.integers(1, 29, size=4))
            for number in range(utterances)
        ]
        mine = drawn[ranks.rank :: ranks.world_size]
        self._batches = [collate(mine[first : first + each], pin_memory=False) for first in range(0, len(mine), each)]

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        yield from self._batches[start:]


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
    batches = synthetic_batches(NANO, settings.batch_size, seed=settings.seed)
    work = assemble(NANO, device, batches=batches, precision=settings.precision, seed=settings.seed)
    return replace(work, ranges=Ranges(None if nvtx is None else PackageRanges(nvtx)))


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
