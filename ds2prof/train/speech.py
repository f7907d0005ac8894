"""Synthetic speech with the lengths of DeepMark's, in the order of TBD's sampler; nothing is downloaded.

The corpus is DeepMark's: 128,000 utterances of fifteen lengths, 211.2 hours, sorted by length. As in the TBD suite,
a batch is a bin of consecutive utterances, so hardly any padding is needed, and an epoch visits all bins in an order
that the seed decides. A remainder too small for a bin is left out.

A spectrogram is N(0, 1) and its labels are uniform over all symbols but the blank. Each utterance's content follows
from the seed and its number alone: not from the batch size, the order of visits, or any global random state. The
spectrograms are windows of one pool of random numbers (DeepMark's own trick): drawing fresh ones would cost the host
more than a fast GPU's whole step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ds2prof.errors import UsageError
from ds2prof.train.presets import SpeechConfig

FRAMES_PER_S: Final = 100
"""A frame is 10 ms."""

FRAME_LENGTHS: Final = tuple(range(100, 1501, 100))
PERCENTAGES: Final = (3, 10, 11, 13, 14, 13, 9, 8, 5, 4, 3, 2, 2, 2, 1)
LABEL_LENGTHS: Final = (7, 17, 35, 48, 62, 78, 93, 107, 120, 134, 148, 163, 178, 193, 209)
UTTERANCES_PER_PERCENT: Final = 1280
"""DeepMark's DeepSpeech2 benchmark: lengths in frames, how many utterances in a hundred have each, their labels."""

_POOL_FRAMES: Final = 16_384
_POOL, _ORDER, _UTTERANCE = range(3)  # what a random stream is for


@dataclass(frozen=True)
class Batch:
    """Some utterances, longest first.

    Attributes:
        spect_BFT: Their spectrograms, zero where an utterance has ended.
        frames_B: Their true lengths, on the same device as the spectrograms.
        labels: All their labels one after another.
        frame_counts: Their true lengths, on the host.
        label_counts: How many labels each has, on the host.
    """

    spect_BFT: Tensor
    frames_B: Tensor
    labels: Tensor
    frame_counts: tuple[int, ...]
    label_counts: tuple[int, ...]

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

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``; from pinned memory the host does not wait for the copies."""
        return replace(
            self,
            spect_BFT=self.spect_BFT.to(device, non_blocking=True),
            frames_B=self.frames_B.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )


class SyntheticSpeech:
    """An endless supply of batches: epoch after epoch, each in an order of its own.

    Args:
        config: How DeepMark's lengths are scaled.
        batch_size: Utterances in a batch.
        input_bins: Frequency bins of a spectrogram.
        vocabulary: Symbols, the blank included.
        seed: Decides contents and order.
        pin_memory: Whether batches lie in memory that a GPU can copy from by itself.

    Raises:
        UsageError: the batch is larger than the corpus.
    """

    def __init__(
        self,
        config: SpeechConfig,
        batch_size: int,
        *,
        input_bins: int,
        vocabulary: int,
        seed: int,
        pin_memory: bool = False,
    ) -> None:
        counts = np.array(PERCENTAGES) * UTTERANCES_PER_PERCENT
        self.frames = np.repeat(np.array(FRAME_LENGTHS) // config.length_divisor, counts)
        self.labels = np.repeat(np.maximum(np.array(LABEL_LENGTHS) // config.length_divisor, 1), counts)
        self.bins = len(self.frames) // batch_size
        if self.bins == 0:
            raise UsageError(f"--batch-size {batch_size}: the corpus has {len(self.frames)} utterances; take fewer")
        self.batch_size = batch_size
        self._vocabulary = vocabulary
        self._seed = seed
        self._pin_memory = pin_memory
        self._pool_FT = self._stream(_POOL).standard_normal((input_bins, _POOL_FRAMES), dtype=np.float32)

    def __iter__(self) -> Iterator[Batch]:
        """Batches without end."""
        epoch = 0
        while True:
            for number in self._stream(_ORDER, epoch).permutation(self.bins):
                yield self.bin(int(number))
            epoch += 1

    def bin(self, number: int) -> Batch:
        """The batch of consecutive utterances number ``number``, turned round: longest first."""
        first = number * self.batch_size
        utterances = range(first + self.batch_size - 1, first - 1, -1)
        return self.collate([self.utterance(index) for index in utterances])

    def utterance(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Spectrogram (bins, frames) and labels of one utterance."""
        stream = self._stream(_UTTERANCE, index)
        frames = int(self.frames[index])
        start = int(stream.integers(self._pool_FT.shape[1] - frames + 1))
        labels = stream.integers(1, self._vocabulary, size=int(self.labels[index]))
        return self._pool_FT[:, start : start + frames], labels

    def collate(self, utterances: list[tuple[NDArray[np.float32], NDArray[np.int64]]]) -> Batch:
        """The utterances, longest first, as a batch."""
        frame_counts = tuple(spect_FT.shape[1] for spect_FT, _ in utterances)
        shape = (len(utterances), self._pool_FT.shape[0], frame_counts[0])
        spect_BFT = torch.zeros(shape, pin_memory=self._pin_memory)
        filled_BFT = spect_BFT.numpy()
        for row, (spect_FT, _) in enumerate(utterances):
            filled_BFT[row, :, : spect_FT.shape[1]] = spect_FT
        return Batch(
            spect_BFT,
            frames_B=self._host_tensor(frame_counts),
            labels=self._host_tensor(np.concatenate([labels for _, labels in utterances])),
            frame_counts=frame_counts,
            label_counts=tuple(len(labels) for _, labels in utterances),
        )

    def _host_tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, pin_memory=self._pin_memory)

    def _stream(self, purpose: int, number: int = 0) -> np.random.Generator:
        """Random numbers that nothing else draws from."""
        return np.random.default_rng([self._seed, purpose, number])
