"""Batches: what the training loop takes from synthetic and from real speech alike.

Whatever gives batches gives them by epoch, and from any batch of it on: the batches of an epoch follow from the seed
and the epoch's number, not from what was visited before. So a run that was stopped goes on with what it would have
seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """One utterance, ready to be put into a batch.

    Attributes:
        number: Its number in the corpus.
        features_FT: What the network reads, float32: bins by frames.
        labels: What is said, as symbols.
        text: What is said, in letters; None where there is no text behind the symbols.
    """

    number: int
    features_FT: NDArray[np.float32]
    labels: NDArray[np.int64]
    text: str | None = None


@dataclass(frozen=True)
class Batch:
    """Some utterances, longest first.

    Attributes:
        spect_BFT: Their spectrograms, zero where an utterance has ended.
        frames_B: Their true lengths, on the same device as the spectrograms.
        labels: All their labels one after another.
        frame_counts: Their true lengths, on the host.
        label_counts: How many labels each has, on the host.
        numbers: Which utterances of the corpus they are.
        texts: What they say, None where the corpus has no texts.
        frame_ms: From one frame to the next.
    """

    spect_BFT: Tensor
    frames_B: Tensor
    labels: Tensor
    frame_counts: tuple[int, ...]
    label_counts: tuple[int, ...]
    numbers: tuple[int, ...] = ()
    texts: tuple[str, ...] | None = None
    frame_ms: int = 10

    @property
    def samples(self) -> int:
        """How many utterances it holds."""
        return len(self.frame_counts)

    @property
    def audio_frames(self) -> int:
        """Frames of speech in it, padding left out."""
        return sum(self.frame_counts)

    @property
    def padded_frames(self) -> int:
        """Frames that are computed on, padding included."""
        return self.samples * self.spect_BFT.shape[-1]

    @property
    def audio_ms(self) -> int:
        """Milliseconds of speech in it, padding left out."""
        return self.audio_frames * self.frame_ms

    @property
    def padded_ms(self) -> int:
        """Milliseconds that are computed on, padding included."""
        return self.padded_frames * self.frame_ms

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``; from pinned memory the host does not wait for the copies."""
        return replace(
            self,
            spect_BFT=self.spect_BFT.to(device, non_blocking=True),
            frames_B=self.frames_B.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )


class Batches(Protocol):
    """The batches of a corpus, epoch by epoch."""

    def __len__(self) -> int:
        """How many batches an epoch has, for this process."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number`` from batch ``start`` on; the same whatever was asked for before."""


def endless(batches: Batches) -> Iterator[Batch]:
    """The batches of epoch 0, 1, 2, ... without end."""
    number = 0
    while True:
        yield from batches.epoch(number)
        number += 1


def collate(utterances: Sequence[Features], *, pin_memory: bool, frame_ms: int = 10) -> Batch:
    """The utterances as a batch, longest first; among those of one length the order stays."""
    ordered = sorted(utterances, key=lambda utterance: -utterance.features_FT.shape[1])
    frame_counts = tuple(utterance.features_FT.shape[1] for utterance in ordered)
    bins = ordered[0].features_FT.shape[0]
    spect_BFT = torch.zeros((len(ordered), bins, frame_counts[0]), pin_memory=pin_memory)
    filled_BFT = spect_BFT.numpy()
    for row, utterance in enumerate(ordered):
        filled_BFT[row, :, : frame_counts[row]] = utterance.features_FT

    def host_tensor(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, pin_memory=pin_memory)

    texts = tuple(utterance.text for utterance in ordered if utterance.text is not None)
    return Batch(
        spect_BFT,
        frames_B=host_tensor(frame_counts),
        labels=host_tensor(np.concatenate([utterance.labels for utterance in ordered])),
        frame_counts=frame_counts,
        label_counts=tuple(len(utterance.labels) for utterance in ordered),
        numbers=tuple(utterance.number for utterance in ordered),
        texts=texts if len(texts) == len(ordered) else None,
        frame_ms=frame_ms,
    )
