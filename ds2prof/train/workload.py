"""The set-up: everything that a step touches, put where it belongs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ds2prof.inject.nvtx_ranges import nvtx_ranges
from ds2prof.train.device import Device
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import clip_gradients, ctc_loss, sgd
from ds2prof.train.presets import PRESETS, Preset
from ds2prof.train.ranges import Ranges
from ds2prof.train.settings import Settings
from ds2prof.train.speech import Batch, SyntheticSpeech


@dataclass(frozen=True)
class Workload:
    """Model, optimizer and data of a preset on a device, and the ranges that name what is done with them."""

    device: Device
    preset: Preset
    precision: str
    model: DeepSpeech2
    optimizer: torch.optim.Optimizer
    speech: SyntheticSpeech
    ranges: Ranges

    def logits(self, batch: Batch) -> tuple[Tensor, list[int]]:
        """``logits_TBV`` of a batch on the device, and how many of its T frames are true, for each utterance."""
        with self.device.autocast(self.precision):
            logits_TBV, counts = self.model(batch.spect_BFT, batch.frames_B, batch.frame_counts)
        return logits_TBV, counts

    def loss(self, logits_TBV: Tensor, counts: list[int], batch: Batch) -> Tensor:
        """The CTC loss of the batch, in float32 on the device."""
        return ctc_loss(logits_TBV, counts, batch.labels, batch.label_counts)

    def clip_gradients(self) -> None:
        """Scales the gradients down where their norm is above the preset's."""
        clip_gradients(self.model, self.preset.optimizer)


def build_model(settings: Settings, device: Device) -> DeepSpeech2:
    """The model with the weights of the seed. It is made on the host, so they are the same whatever trains it."""
    device.seed(settings.seed)
    return DeepSpeech2(PRESETS[settings.preset].model)


def set_up(settings: Settings, device: Device) -> Workload:
    """What the settings ask for, ready for its first step.

    Raises:
        UsageError: the device does not compute in that precision, or the batch is larger than the corpus.
    """
    preset = PRESETS[settings.preset]
    device.prepare(settings.precision)
    model = build_model(settings, device).to(device.torch_device)
    speech = SyntheticSpeech(
        preset.speech,
        settings.batch_size,
        input_bins=preset.model.input_bins,
        vocabulary=preset.model.vocabulary,
        seed=settings.seed,
        pin_memory=device.pins_memory,
    )
    return Workload(
        device=device,
        preset=preset,
        precision=settings.precision,
        model=model,
        optimizer=sgd(model, preset.optimizer),
        speech=speech,
        ranges=Ranges(None if settings.profiler == "none" else nvtx_ranges()),
    )
