"""What a network is given and what it is to minimize: the border between the training loop and the two workloads.

The loop knows batches, outputs and losses. DeepSpeech2 with CTC and the transducer differ in what their forward pass
takes, in their loss and in how a transcript is read off; that, and nothing else, is a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from ds2prof.train import decoding
from ds2prof.train.batches import Batch
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import ctc_loss
from ds2prof.train.presets import ModelConfig, Preset

Outputs = tuple[Tensor, list[int]]
"""What a network returns: its logits, and how many frames of each utterance are true."""


class Network(Protocol):
    """What the loop and the reports ask of a network besides calling it."""

    def layers(self) -> dict[str, nn.Module]:
        """Name -> layer, in the order of the forward pass."""

    def parameter_count(self) -> int:
        """How many numbers are trained."""

    def flop(self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool) -> dict[str, int]:
        """Layer -> FLOP of the forward pass."""

    def backward_flop(
        self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool
    ) -> dict[str, int]:
        """Layer -> FLOP of the backward pass."""

    def output_frames(self, frame_counts: tuple[int, ...]) -> list[int]:
        """How many frames come out of each utterance."""


class Task(Protocol):
    """How a network is applied to a batch, and what it minimizes."""

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the network's forward pass takes."""

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The negative log-likelihood of the batch's labels: the mean over its utterances; float32, on the device."""

    def greedy(self, network: nn.Module, batch: Batch) -> list[list[int]]:
        """The symbols that are read off one frame after another, without looking ahead, of each utterance."""


class CtcTask:
    """DeepSpeech2: a symbol or the blank for each frame, trained by CTC."""

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The spectrograms, and their lengths on the device and on the host."""
        return batch.spect_BFT, batch.frames_B, batch.frame_counts

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The CTC loss: summed over each utterance, averaged over the batch."""
        logits_TBV, counts = outputs
        return ctc_loss(logits_TBV, counts, batch.labels, batch.label_counts)

    def greedy(self, network: nn.Module, batch: Batch) -> list[list[int]]:
        """The likeliest symbol of each frame; of a run of the same one is left, and no blank."""
        return [list(decoded.symbols) for decoded in decoding.greedy(*network(*self.inputs(batch)))]


def task_for(preset: Preset) -> Task:
    """The task of a preset, which its kind of network decides."""
    if isinstance(preset.model, ModelConfig):
        return CtcTask()
    from ds2prof.train.transducer_task import TransducerTask

    return TransducerTask(preset.model)


def build_network(preset: Preset) -> nn.Module:
    """The preset's network, with weights from PyTorch's random numbers as they stand."""
    if isinstance(preset.model, ModelConfig):
        return DeepSpeech2(preset.model)
    from ds2prof.train.transducer import Transducer

    return Transducer(preset.model)
