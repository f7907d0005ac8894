"""Synthetic speech as batches, in the order of TBD's sampler unless told otherwise.

The corpus and its forms are :mod:`ds2prof.speech.synthetic`'s. As in the TBD suite, a batch is a bin of consecutive
utterances of the corpus sorted by length, so hardly any padding is needed, and an epoch visits all bins in an order
that the seed decides. A remainder too small for a bin is left out.

Several ranks share a bin that is as many times larger, each taking every so-manieth utterance of it: what they train on
in a step, together, is what one process with a batch of that size would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from ds2prof.errors import UsageError
from ds2prof.speech.synthetic import SyntheticCorpus
from ds2prof.speech.synthetic_config import SyntheticConfig
from ds2prof.train.batches import Batch, Features, collate
from ds2prof.train.presets import ModelConfig

if TYPE_CHECKING:
    from ds2prof.train.distributed import Ranks
    from ds2prof.train.presets import Preset


class SyntheticSpeech:
    """The batches of a synthetic corpus, epoch by epoch.

    Args:
        config: The lengths of the utterances, and their order.
        batch_size: Utterances in a batch of one rank.
        input_bins: Features of a frame.
        vocabulary: Symbols, the blank included.
        blank: Which of them is the blank: the first or the last.
        seed: Decides contents and order.
        pin_memory: Whether batches lie in memory that a GPU can copy from by itself.
        rank: Which of the processes that train together this is.
        world_size: How many there are.

    Raises:
        UsageError: the batches of all ranks are larger than the corpus.
    """

    def __init__(
        self,
        config: SyntheticConfig,
        batch_size: int,
        *,
        input_bins: int,
        vocabulary: int,
        seed: int,
        blank: int = 0,
        pin_memory: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.corpus = SyntheticCorpus(config, input_bins=input_bins, vocabulary=vocabulary, seed=seed, blank=blank)
        self.bins = len(self.corpus) // (batch_size * world_size)
        if self.bins == 0:
            ranks = "" if world_size == 1 else f" for each of {world_size} ranks"
            raise UsageError(
                f"--batch-size {batch_size}{ranks}: the corpus has {len(self.corpus)} utterances; take fewer"
            )
        self.batch_size = batch_size
        self._rank, self._world_size = rank, world_size
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.bins

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The bins in the order of epoch ``number``, from the ``start``-th on."""
        for index in islice(self.corpus.order(number, self.bins), start, None):
            yield self.bin(index)

    def bin(self, number: int) -> Batch:
        """This rank's part of the bin ``number``, longest first."""
        together = self.corpus.bin(number, self.batch_size * self._world_size)
        return self.batch(together[self._rank :: self._world_size])

    def batch(self, numbers: range | list[int]) -> Batch:
        """The utterances of these numbers as a batch, longest first."""
        utterances = [self.utterance(number) for number in numbers]
        return collate(utterances, pin_memory=self._pin_memory, frame_ms=self.corpus.config.frame_ms)

    def utterance(self, number: int) -> Features:
        """Features and labels of one utterance."""
        return Features(number, *self.corpus.utterance(number))


def synthetic_batches(
    preset: Preset, batch_size: int, *, seed: int, ranks: Ranks | None = None, pin_memory: bool = False
) -> SyntheticSpeech:
    """The synthetic speech of a preset, for this rank.

    Raises:
        UsageError: the batches of all ranks are larger than the corpus.
    """
    model = preset.model
    return SyntheticSpeech(
        preset.speech,
        batch_size,
        input_bins=model.input_bins if isinstance(model, ModelConfig) else model.input_features,
        vocabulary=model.vocabulary,
        blank=0 if isinstance(model, ModelConfig) else model.blank,
        seed=seed,
        pin_memory=pin_memory,
        rank=0 if ranks is None else ranks.rank,
        world_size=1 if ranks is None else ranks.world_size,
    )
