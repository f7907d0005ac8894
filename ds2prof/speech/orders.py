"""In which order a corpus is visited: which utterances make which batch of which epoch, on which rank.

An order is a pure function of (seed, epoch): nothing depends on what was visited before, so an epoch can be entered at
any of its batches and goes on as it would have. Utterances are named by their numbers in the corpus.

A *global batch* is what all ranks train on in one step: ``batch_size * world_size`` utterances. Rank r takes every
``world_size``-th of it, from the r-th on, so ranks have equally many batches, hold utterances of similar lengths, and
together see exactly what one process with the greater batch sees. In training a remainder too small for a global batch
is dropped; which utterances those are changes with the epoch, so none is lost for good. Evaluation drops nothing and
repeats nothing: its last batch may be short, and one rank may have a batch more than another.

==============  ======================================================================================================
``ascending``   Shortest first, every epoch the same way (MLPerf's DeepSpeech2).
``sortagrad``   Epoch 0 ascending, from then on as ``bins`` (Deep Speech 2's curriculum).
``bins``        Batches of consecutive utterances by length, the batches in a new order each epoch (the TBD suite).
``buckets``     Sorted by length and cut into buckets; shuffled inside them, cut into batches, and the batches shuffled
                (NVIDIA's RNN-T).
``shuffled``    Utterances in a new order each epoch.
``evaluation``  Longest first, none left out.
==============  ======================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ds2prof.errors import UsageError

ORDERS: Final = ("ascending", "sortagrad", "bins", "buckets", "shuffled", "evaluation")

Numbers = NDArray[np.int64]

_DROP, _INSIDE, _BATCHES = range(3)
"""What a stream of random numbers is for."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """The batches of every epoch.

    Attributes:
        kind: One of :data:`ORDERS`.
        durations: How long each utterance of the corpus is, in any unit.
        batch_size: Utterances of a batch on one rank.
        seed: Decides all that is random; the same on all ranks.
        rank: Which of the processes this is.
        world_size: How many there are.
        buckets: How many there are for ``buckets``.
    """

    kind: str
    durations: tuple[float, ...]
    batch_size: int
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    buckets: int = 6

    def __post_init__(self) -> None:
        """Refuses what would be no order.

        Raises:
            UsageError: the corpus is smaller than a global batch, or empty.
        """
        assert self.kind in ORDERS, self.kind
        assert 0 <= self.rank < self.world_size
        assert min(self.batch_size, self.buckets) > 0
        if not self.durations:
            raise UsageError("the corpus has no utterances; is the manifest the right one?")
        if not self.steps:
            ranks = f" on {self.world_size} processes" if self.world_size > 1 else ""
            raise UsageError(
                f"--batch-size {self.batch_size}{ranks}: the corpus has {len(self.durations)} utterances; take fewer"
            )

    @property
    def global_batch(self) -> int:
        """Utterances that all ranks take in one step."""
        return self.batch_size * self.world_size

    @property
    def steps(self) -> int:
        """Batches of an epoch over all ranks together: of training, those of each rank."""
        if self.kind == "evaluation":
            return -(-len(self.durations) // self.batch_size)
        return len(self.durations) // self.global_batch

    @property
    def dropped(self) -> int:
        """Utterances that an epoch leaves out."""
        return 0 if self.kind == "evaluation" else len(self.durations) % self.global_batch

    def __len__(self) -> int:
        """Batches of an epoch on this rank."""
        return len(range(self.rank, self.steps, self.world_size)) if self.kind == "evaluation" else self.steps

    def batches(self, epoch: int, start: int = 0) -> list[Numbers]:
        """The batches of this rank in epoch ``epoch``, from its batch ``start`` on."""
        if self.kind == "evaluation":
            longest_first = self._by_length()[::-1]
            whole = [longest_first[at : at + self.batch_size] for at in range(0, len(longest_first), self.batch_size)]
            return whole[self.rank :: self.world_size][start:]
        table = self._global_batches(epoch)[start:]
        return [global_batch[self.rank :: self.world_size] for global_batch in table]

    def _global_batches(self, epoch: int) -> Numbers:
        """The global batches of an epoch, a row each."""
        ascending = self.kind == "ascending" or (self.kind == "sortagrad" and epoch == 0)
        rows = self._kept(self._lined_up(epoch), epoch).reshape(self.steps, self.global_batch)
        return rows if ascending else rows[self._stream(_BATCHES, epoch).permutation(self.steps)]

    def _lined_up(self, epoch: int) -> Numbers:
        """All utterances in the order in which they are cut into batches."""
        stream = self._stream(_INSIDE, epoch)
        if self.kind == "shuffled":
            return stream.permutation(len(self.durations))
        by_length = self._by_length()
        if self.kind == "buckets":
            return np.concatenate([stream.permutation(bucket) for bucket in np.array_split(by_length, self.buckets)])
        return by_length

    def _kept(self, numbers: Numbers, epoch: int) -> Numbers:
        """The numbers without as many of them, drawn anew each epoch, as make no global batch."""
        if not self.dropped:
            return numbers
        left_out = self._stream(_DROP, epoch).choice(len(numbers), self.dropped, replace=False)
        return np.delete(numbers, left_out)

    def _by_length(self) -> Numbers:
        """The numbers, shortest first; equal ones in their order."""
        return np.argsort(np.asarray(self.durations), kind="stable").astype(np.int64)

    def _stream(self, purpose: int, epoch: int) -> np.random.Generator:
        """Random numbers that nothing else draws from; the same on all ranks."""
        return np.random.default_rng([self.seed, purpose, epoch])
