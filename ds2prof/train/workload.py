"""The set-up: everything that a step touches, put where it belongs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import torch
from torch import nn

from ds2prof.inject.nvtx_ranges import nvtx_ranges
from ds2prof.train.batches import Batch, Batches
from ds2prof.train.device import Device
from ds2prof.train.distributed import Ranks, shared_network
from ds2prof.train.flop import CountedNetwork
from ds2prof.train.optimizers import make_optimizer
from ds2prof.train.presets import PRESETS, Preset
from ds2prof.train.ranges import Ranges
from ds2prof.train.settings import Settings
from ds2prof.train.speech import synthetic_batches
from ds2prof.train.tasks import Network, Outputs, Task, build_network, task_for
from ds2prof.units import MS_PER_S

if TYPE_CHECKING:
    from ds2prof.train.optimizers import WeightAverage

_LETTERS_PER_S: Final = 12.85
"""How fast DeepMark's synthetic speakers are, on average: 76.3 letters in 5.94 s."""


class Timers(Protocol):
    """Something that times phases besides naming them."""

    def timed(self, phase: str, inside: AbstractContextManager[None]) -> AbstractContextManager[None]:
        """A context that is ``inside``, timed."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network, its optimizer and its data on a device, and the ranges that name what is done with them.

    Attributes:
        model: The network itself: its weights, layers and sizes.
        network: What is called: the model, or what averages gradients or compiles around it.
        ranks: The processes that train together.
        accumulate: Batches that one optimizer step is made of.
        scaler: Keeps the gradients of fp16 within its range; None in the other precisions.
        average: The running average of the weights; None without one.
        timers: What times the phases, waiting for the device; None without.
        skip_bad_loss: Whether a loss that is not finite, or negative, keeps the optimizer from its step.
    """

    device: Device
    preset: Preset
    precision: str
    model: nn.Module
    network: nn.Module
    task: Task
    optimizer: torch.optim.Optimizer
    batches: Batches
    ranges: Ranges
    ranks: Ranks = field(default_factory=Ranks)
    accumulate: int = 1
    scaler: torch.amp.GradScaler | None = None
    average: WeightAverage | None = None
    timers: Timers | None = None
    skip_bad_loss: bool = False

    def phase(self, name: str) -> AbstractContextManager[None]:
        """A context that is the phase ``name`` for whoever records, and is timed where that was asked for."""
        named = self.ranges("phase", name)
        return named if self.timers is None else self.timers.timed(name, named)

    def outputs(self, batch: Batch) -> Outputs:
        """The network's outputs for a batch on the device, and how many of its frames are true, for each utterance."""
        with self.device.autocast(self.precision):
            return cast(Outputs, self.network(*self.task.inputs(batch)))

    def layers(self) -> dict[str, nn.Module]:
        """The network's layers by name."""
        return cast(Network, self.model).layers()

    def counted(self) -> CountedNetwork:
        """The network as that which knows what its passes compute."""
        return cast(Network, self.model)

    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return cast(Network, self.model).parameter_count()


def build_model(preset: Preset, device: Device, *, seed: int) -> nn.Module:
    """The network with the weights of the seed. It is made on the host, so they are the same whatever trains it."""
    device.seed(seed)
    return build_network(preset)


def gradient_scaler(device: Device, precision: str) -> torch.amp.GradScaler | None:
    """What scales the loss of fp16 so that small gradients do not vanish; None in the other precisions."""
    if precision != "fp16":
        return None
    return torch.amp.GradScaler(device.torch_device.type, init_scale=2.0**16)


def assemble(
    preset: Preset,
    device: Device,
    *,
    batches: Batches,
    precision: str,
    seed: int,
    ranks: Ranks | None = None,
    sync_batch_norm: bool = False,
    profiled: bool = False,
    **options: Any,
) -> Workload:
    """The preset on the device, ready for its first step.

    Args:
        preset: What is trained.
        device: Where.
        batches: On what.
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        seed: Decides the weights.
        ranks: The processes that train together; alone where None.
        sync_batch_norm: Whether batch normalization takes its statistics over all ranks.
        profiled: Whether a profiler will be told of ranges.
        options: Further attributes of the :class:`Workload`.

    Raises:
        UsageError: the device does not compute in that precision.
    """
    ranks = ranks or Ranks()
    device.prepare(precision)
    model = build_model(preset, device, seed=seed).to(device.torch_device)
    return Workload(
        device=device,
        preset=preset,
        precision=precision,
        model=model,
        network=shared_network(model, device, ranks=ranks, sync_batch_norm=sync_batch_norm),
        task=task_for(preset),
        optimizer=make_optimizer(model, preset.optimizer),
        batches=batches,
        ranges=Ranges(nvtx_ranges() if profiled else None),
        ranks=ranks,
        scaler=gradient_scaler(device, precision),
        **options,
    )


def with_speech(preset: Preset, settings: Settings) -> Preset:
    """The preset with the synthetic speech that the settings ask for instead of its own."""
    speech, frames, labels = preset.speech, settings.frames, settings.labels
    if frames is not None and labels is None:
        labels = max(round(frames * speech.frame_ms / MS_PER_S * _LETTERS_PER_S / speech.letters_per_label), 1)
    return replace(preset, speech=replace(speech, frames=frames, labels=labels, held=settings.hold))


def _batches(preset: Preset, settings: Settings, device: Device, *, ranks: Ranks) -> Batches:
    """What is trained on: the corpus where the settings name one, else synthetic speech."""
    if settings.train_manifest is None:
        return synthetic_batches(
            preset, settings.batch_size, seed=settings.seed, ranks=ranks, pin_memory=device.pins_memory
        )
    from ds2prof.train import corpora

    reading = corpora.Reading(
        symbols=corpora.symbols_of(preset, labels=None, pieces=settings.pieces),
        batch_size=settings.batch_size,
        ranks=ranks,
        device=device,
        seed=settings.seed,
        workers=settings.workers,
        cache_mib=None,
    )
    source = corpora.training_source(
        settings.train_manifest, preset, reading, augment="none", noise_dir=None, durations_s=(None, None)
    )
    return reading.batches(source, order=preset.order, buckets=preset.buckets)


def set_up(settings: Settings, device: Device, *, ranks: Ranks | None = None) -> Workload:
    """What the settings ask for, ready for its first step.

    Raises:
        UsageError: the device does not compute in that precision, or the batch is larger than the corpus.
    """
    preset, ranks = with_speech(PRESETS[settings.preset], settings), ranks or Ranks()
    batches = _batches(preset, settings, device, ranks=ranks)
    return assemble(
        preset,
        device,
        batches=batches,
        precision=settings.precision,
        seed=settings.seed,
        ranks=ranks,
        profiled=settings.profiler != "none",
        accumulate=settings.accumulate,
    )
