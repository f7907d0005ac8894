"""Sums over the utterances of an epoch, kept on the device so that nobody waits for them.

The mean loss of an epoch is the mean over its utterances, each counted once: a short batch counts for what it holds,
not for a batch. Steps that were left out count for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ds2prof.train.batches import Batch
from ds2prof.train.device import Device


@dataclass(frozen=True)
class Stretch:
    """What this rank did from one moment to another, or up to a moment.

    Attributes:
        samples: Utterances of its steps, those of bad steps included.
        audio_ms: Their speech.
        wall_ns: The host's time, without what was paused.
    """

    samples: int
    audio_ms: int
    wall_ns: int

    def __sub__(self, earlier: Stretch) -> Stretch:
        return Stretch(self.samples - earlier.samples, self.audio_ms - earlier.audio_ms, self.wall_ns - earlier.wall_ns)


class Tally:
    """What a step is noted in, and the sums over the epoch so far; of one rank.

    Attributes:
        sums: Loss summed over the utterances that were trained, and how many those are; on the device.
        step: The same of the current step.
        numbers: The utterances of the current step.
        step_skipped: Whether the current step was left out.
    """

    def __init__(self, device: Device, *, accumulate: int, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        # Where a device has no float64, sums over an epoch are right to some seven digits only.
        self._kind = torch.float32 if device.torch_device.type == "mps" else torch.float64
        self._device = device.torch_device
        self._accumulate = accumulate
        self._clock_ns = clock_ns
        self._paused_ns = 0
        self._samples = 0
        self._audio_ms = 0
        self.sums = self._zeros()
        self.begin_step()

    def _zeros(self) -> Tensor:
        return torch.zeros(2, dtype=self._kind, device=self._device)

    def begin_epoch(self, sums: Tensor | None = None) -> None:
        """An epoch begins, or goes on from ``sums``."""
        self.sums = self._zeros() if sums is None else sums.to(device=self._device, dtype=self._kind)

    def begin_step(self) -> None:
        """A step begins."""
        self.step = self._zeros()
        self._so_far: Tensor | None = None
        self.numbers: list[int] = []
        self.step_skipped = False

    def keep(self, batch: Batch, loss: Tensor) -> None:
        """Notes a batch and the step's loss so far, to which the batch has added its mean over ``accumulate``."""
        added = loss if self._so_far is None else loss - self._so_far
        self._so_far = loss
        self.step[0] += added.detach().to(self._kind) * (self._accumulate * batch.samples)
        self.step[1] += batch.samples
        self.numbers.extend(batch.numbers)
        self._samples += batch.samples
        self._audio_ms += batch.audio_ms

    def skip(self) -> None:
        """Notes that the step was left out."""
        self.step_skipped = True

    def end_step(self) -> None:
        """Adds the step to the epoch, unless it was left out or its loss is no number."""
        if not self.step_skipped:
            self.sums += torch.where(torch.isfinite(self.step[0]), self.step, torch.zeros_like(self.step))

    def step_loss(self) -> float:
        """The mean loss over the step's utterances of this rank. Waits for the device."""
        total, samples = self.step.tolist()
        return float(total / samples)

    def so_far(self) -> Stretch:
        """What this process has done up to now."""
        return Stretch(self._samples, self._audio_ms, self._clock_ns() - self._paused_ns)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time belongs to no stretch: an evaluation, the writing of a checkpoint."""
        started_ns = self._clock_ns()
        try:
            yield
        finally:
            self._paused_ns += self._clock_ns() - started_ns
