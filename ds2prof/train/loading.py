"""Real speech as batches: PyTorch's DataLoader around the pure functions of :mod:`ds2prof.speech`.

What an utterance becomes follows from (seed, epoch, number) alone: not from the worker that reads it, how many there
are, the batch it is in or what was read before. So an epoch's batches are equal bit for bit with and without workers,
after a resumption, and on any number of processes.

Without augmentation the features themselves can be kept in memory (``cache_bytes``); with it, what is kept is the
decoded sound, and features are made anew each time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.speech.alphabet import Symbols
from ds2prof.speech.audio import read_samples
from ds2prof.speech.augment import Noises, augmented, masked
from ds2prof.speech.augment_config import AugmentConfig
from ds2prof.speech.feature_config import FeatureConfig
from ds2prof.speech.features import features
from ds2prof.speech.manifests import Utterance, durations_of
from ds2prof.speech.orders import Order
from ds2prof.train.batches import Batch, Features, collate

_CONTENT: Final = 7
"""Sets the random numbers of contents apart from those of orders."""

_PREFETCHED: Final = 2
"""Batches that each worker has ready."""


@dataclass(frozen=True, kw_only=True)
class SpeechSource:
    """A corpus and how its utterances become features and labels.

    Attributes:
        utterances: The corpus; an utterance's number is its place here.
        features: What the network reads.
        symbols: What transcripts are written in.
        augment: What is done to the sound; None is nothing, as in evaluation, and then there is no dither either.
        noises: Where noise is taken from.
        seed: Decides all that is random.
    """

    utterances: Sequence[Utterance]
    features: FeatureConfig
    symbols: Symbols
    augment: AugmentConfig | None = None
    noises: Noises | None = None
    seed: int = 0

    def samples(self, number: int) -> NDArray[np.float32]:
        """The sound of an utterance, as it was recorded.

        Raises:
            ReadError: it cannot be read.
        """
        return read_samples(self.utterances[number].audio, self.features.sample_rate_hz)

    def content(self, samples: NDArray[np.float32], epoch: int, number: int) -> NDArray[np.float32]:
        """The features (F, T) of an utterance in an epoch, from its sound."""
        if self.augment is None:
            return features(samples, self.features)
        rng = np.random.default_rng([self.seed, _CONTENT, epoch, number])
        rate_hz = self.features.sample_rate_hz
        samples = augmented(samples, self.augment, sample_rate_hz=rate_hz, rng=rng, noises=self.noises)
        masks = self.augment.masks
        masking = None if masks is None else partial(masked, config=masks, rng=rng)
        return features(samples, self.features, rng=rng, masked=masking)

    def labels(self, number: int) -> tuple[NDArray[np.int64], str | None]:
        """What is said in an utterance, as symbols and as text; none of either where there is no transcript.

        Raises:
            ReadError: its transcript cannot be read.
        """
        utterance = self.utterances[number]
        if utterance.text is None and utterance.transcript is None:
            return np.zeros(0, np.int64), None
        spoken = utterance.spoken()
        return self.symbols.encode(spoken), self.symbols.normalized(spoken)


class SpeechBatches:
    """The batches of a corpus of real speech, epoch by epoch.

    One epoch is read at a time: with workers, asking for another ends the one before.

    Args:
        source: The corpus.
        order: Which utterances make which batch; see :meth:`of`, which makes both.
        workers: Processes that read and compute ahead; 0 does it all when a batch is asked for.
        pin_memory: Whether batches lie in memory that a GPU can copy from by itself.
        cache_bytes: How much may be kept in memory so that it need not be read and computed again.

    Raises:
        UsageError: workers are asked to share a cache, which they cannot.
    """

    def __init__(
        self,
        source: SpeechSource,
        order: Order,
        *,
        workers: int = 0,
        pin_memory: bool = False,
        cache_bytes: int = 0,
    ) -> None:
        if workers and cache_bytes:
            raise UsageError("a cache is kept by the process that trains; leave out either the cache or the workers")
        assert len(order.durations) == len(source.utterances)
        self.source = source
        self.order = order
        self._plan = _Plan()
        self._loader: DataLoader[Any] | None = DataLoader(
            _Utterances(source, cache_bytes),
            batch_sampler=self._plan,
            num_workers=workers,
            collate_fn=partial(_collated, frame_ms=source.features.frame_ms),
            worker_init_fn=_ignore_interrupts,
            pin_memory=pin_memory,
            prefetch_factor=_PREFETCHED if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else each epoch draws from the random numbers that dropout draws from
        )

    @classmethod
    def of(
        cls,
        source: SpeechSource,
        *,
        order: str,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        buckets: int = 6,
        workers: int = 0,
        pin_memory: bool = False,
        cache_bytes: int = 0,
    ) -> SpeechBatches:
        """The batches of a corpus in one of :data:`ds2prof.speech.orders.ORDERS`.

        Raises:
            UsageError: the corpus is smaller than a batch.
            ReadError: a duration that the manifest leaves out cannot be read either.
        """
        ordered = Order(
            kind=order,
            durations=tuple(durations_of(source.utterances)),
            batch_size=batch_size,
            seed=source.seed,
            rank=rank,
            world_size=world_size,
            buckets=buckets,
        )
        return cls(source, ordered, workers=workers, pin_memory=pin_memory, cache_bytes=cache_bytes)

    def __len__(self) -> int:
        """Batches of an epoch, for this process."""
        return len(self.order)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number`` from batch ``start`` on.

        Raises:
            ReadError: a sound file or transcript cannot be read.
        """
        assert self._loader is not None, "closed"
        self._plan.set(self.order, number, start)
        for loaded in self._loader:
            if isinstance(loaded.batch, Ds2profError):
                # A new one: through its traceback the old one, which this frame holds, would keep the workers until
                # the garbage is collected, and then they take seconds to notice.
                raise type(loaded.batch)(str(loaded.batch))
            yield loaded.batch

    def close(self) -> None:
        """Lets the workers and the cache go; there are no more epochs."""
        self._loader = None


def _ignore_interrupts(worker: int) -> None:
    """Leaves signals to the process that trains, which ends its workers when it has finished its step.

    A terminal sends SIGINT to all processes, and Slurm SIGTERM. A worker that ended by it would take the training
    process along. Only the first SIGTERM is passed over: the second may be the training process's own.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(signal.SIGTERM, signal.SIG_DFL))


class _Plan(Sampler[list[tuple[int, int]]]):
    """The batches that are read next. Each utterance comes with its epoch, for workers outlive epochs."""

    def __init__(self) -> None:
        self._batches: list[list[tuple[int, int]]] = []

    def set(self, order: Order, epoch: int, start: int) -> None:
        """From now on: an epoch, from one of its batches on."""
        self._batches = [[(epoch, int(number)) for number in batch] for batch in order.batches(epoch, start)]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class _Utterances(Dataset[Any]):
    """The utterances of a corpus, ready for a batch; what cannot be read is an error in its place.

    An error that is raised in a worker reaches the main process as a page of traceback; handed over, it stays one line.
    """

    def __init__(self, source: SpeechSource, cache_bytes: int) -> None:
        self._source = source
        self._free_bytes = cache_bytes
        self._cache: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self._source.utterances)

    def __getitem__(self, place: tuple[int, int]) -> Features | Ds2profError:
        epoch, number = place
        try:
            labels, text = self._source.labels(number)
            return Features(number, self._features(epoch, number), labels, text)
        except Ds2profError as error:
            return error

    def _features(self, epoch: int, number: int) -> NDArray[np.float32]:
        fixed = self._source.augment is None
        kept = self._cache.get(number)
        if fixed and kept is not None:
            return kept
        samples = self._source.samples(number) if kept is None else kept
        made = self._source.content(samples, epoch, number)
        if kept is None:
            self._keep(number, made if fixed else samples)
        return made

    def _keep(self, number: int, values: NDArray[np.float32]) -> None:
        if values.nbytes <= self._free_bytes:
            self._free_bytes -= values.nbytes
            self._cache[number] = values


@dataclass(frozen=True)
class _Loaded:
    """What comes from a worker. DataLoader calls ``pin_memory`` where it was told to."""

    batch: Batch | Ds2profError

    def pin_memory(self, device: Any = None) -> _Loaded:
        """The same in memory that a GPU can copy from by itself."""
        del device
        batch = self.batch
        if isinstance(batch, Ds2profError):
            return self
        return _Loaded(
            replace(
                batch,
                spect_BFT=batch.spect_BFT.pin_memory(),
                frames_B=batch.frames_B.pin_memory(),
                labels=batch.labels.pin_memory(),
            )
        )


def _collated(utterances: list[Features | Ds2profError], *, frame_ms: int) -> _Loaded:
    ready: list[Features] = []
    for utterance in utterances:
        if isinstance(utterance, Ds2profError):
            return _Loaded(utterance)
        ready.append(utterance)
    return _Loaded(collate(ready, pin_memory=False, frame_ms=frame_ms))
