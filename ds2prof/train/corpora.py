"""Corpora for training and evaluation, from manifests, as batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ds2prof.errors import ReadError, UsageError
from ds2prof.speech.alphabet import GRAPHEMES, Alphabet, Symbols, read_labels
from ds2prof.speech.augment import noises_in
from ds2prof.speech.augment_config import AUGMENTS
from ds2prof.speech.manifests import Utterance, durations_of, pruned, read_manifest
from ds2prof.speech.pieces import Pieces, read_pieces
from ds2prof.train.batches import Batches
from ds2prof.train.device import Device
from ds2prof.train.distributed import Ranks
from ds2prof.train.evaluation import Evaluation, evaluate
from ds2prof.train.loading import SpeechBatches, SpeechSource
from ds2prof.train.presets import ModelConfig, Preset
from ds2prof.train.speech import synthetic_batches
from ds2prof.train.train_options import TrainOptions, augment_of, order_of
from ds2prof.train.workload import Workload
from ds2prof.units import BYTES_PER_MIB

DEFAULT_CACHE_MIB = 1024


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a corpus is read.

    Attributes:
        symbols: What transcripts are written in.
        batch_size: Utterances of a batch of one rank.
        ranks: The processes that share it out.
        device: Where batches go.
        seed: Decides all that is random.
        workers: Processes that read ahead.
        cache_mib: What this process may keep in memory of it; None is a little where nobody reads ahead.
    """

    symbols: Symbols
    batch_size: int
    ranks: Ranks
    device: Device
    seed: int
    workers: int
    cache_mib: int | None

    def batches(self, source: SpeechSource, *, order: str, buckets: int = 1) -> SpeechBatches:
        """The corpus in an order."""
        cache_mib = (0 if self.workers else DEFAULT_CACHE_MIB) if self.cache_mib is None else self.cache_mib
        return SpeechBatches.of(
            source,
            order=order,
            batch_size=self.batch_size,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            buckets=buckets,
            workers=self.workers,
            pin_memory=self.device.pins_memory,
            cache_bytes=cache_mib * BYTES_PER_MIB,
        )


def symbols_of(preset: Preset, *, labels: Path | None, pieces: Path | None) -> Symbols:
    """What the preset's network writes in: letters, or pieces of words.

    Raises:
        UsageError: the file is missing, is not for this preset, or has another number of symbols than the network.
        ReadError: it cannot be read.
    """
    model = preset.model
    if not isinstance(model, ModelConfig):
        if pieces is None:
            raise UsageError(
                f"--preset {preset.name}: writes in pieces of words; give --pieces FILE (ds2prof data pieces)"
            )
        return read_pieces(pieces, count=model.pieces)
    if pieces is not None:
        raise UsageError(f"--pieces: {preset.name} writes in letters; leave it out")
    alphabet = GRAPHEMES if labels is None else read_labels(labels)
    if alphabet.size != model.vocabulary:
        raise UsageError(f"--labels {labels}: has {alphabet.size} symbols, and {preset.name} {model.vocabulary}")
    return alphabet


def symbols_facts(symbols: Symbols | None, size: int) -> dict[str, Any]:
    """What a checkpoint says of the symbols; of synthetic speech's, only how many there are."""
    if isinstance(symbols, Alphabet):
        characters = "".join(symbols.symbols)
        return {
            "size": symbols.size,
            "sha256": hashlib.sha256(characters.encode()).hexdigest(),
            "characters": characters,
        }
    digest = hashlib.sha256(symbols.model).hexdigest() if isinstance(symbols, Pieces) else None
    return {"size": size if symbols is None else symbols.size, "sha256": digest, "characters": None}


def training_source(
    manifest: Path,
    preset: Preset,
    reading: Reading,
    *,
    augment: str,
    noise_dir: Path | None,
    durations_s: tuple[float | None, float | None],
) -> SpeechSource:
    """The corpus that is trained on: of ``durations_s``, least and most, and with what is done to its sound.

    Raises:
        ReadError: it cannot be read.
        UsageError: nothing is left of it.
    """
    utterances: Sequence[Utterance] = read_manifest(manifest)
    if any(limit is not None for limit in durations_s):
        known = [
            replace(utterance, dur_s=dur_s)
            for utterance, dur_s in zip(utterances, durations_of(utterances), strict=True)
        ]
        utterances = pruned(known, min_s=durations_s[0], max_s=durations_s[1])
    if not utterances:
        raise UsageError(f"{manifest}: holds no utterance of these durations; is it the right one?")
    noises = None if noise_dir is None else noises_in(noise_dir)
    # What is not changed from epoch to epoch need be computed once only.
    still = augment == "none" and noises is None and not preset.features.dither
    return SpeechSource(
        utterances=utterances,
        features=preset.features,
        symbols=reading.symbols,
        augment=None if still else AUGMENTS[augment],
        noises=noises,
        seed=reading.seed,
    )


def evaluation_source(manifest: Path, preset: Preset, reading: Reading) -> SpeechSource:
    """The corpus that is evaluated on, whole and as it is.

    Raises:
        ReadError: it cannot be read.
    """
    return SpeechSource(utterances=read_manifest(manifest), features=preset.features, symbols=reading.symbols)


def corpus_digest(manifest: Path) -> str:
    """What tells a manifest from another.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    except OSError as error:
        raise ReadError(f"{manifest}: cannot be read: {error.strerror}") from None


class Corpora:
    """What a run trains and evaluates on.

    Args:
        options: Which corpora, in which order, and what is done to them.
        preset: For which network.
        device: Where batches go.
        ranks: The processes that share them out.

    Attributes:
        synthetic: Whether it trains on synthetic speech.
        symbols: What transcripts are written in; None without any.

    Raises:
        ReadError: a corpus cannot be read.
        UsageError: it is too small, or its symbols are not the network's.
    """

    def __init__(self, options: TrainOptions, preset: Preset, device: Device, ranks: Ranks) -> None:
        self._options = options
        self._preset = preset
        self._device = device
        self._ranks = ranks
        self.train: SpeechBatches | None = None
        self.held_out: SpeechBatches | None = None
        self.symbols: Symbols | None = None
        self.synthetic = options.train_manifest is None
        if options.train_manifest is None and options.val_manifest is None:
            return
        self.symbols = symbols_of(preset, labels=options.labels, pieces=options.pieces)
        reading = Reading(
            symbols=self.symbols,
            batch_size=preset.batch_size,
            ranks=ranks,
            device=device,
            seed=options.seed,
            workers=options.workers,
            cache_mib=options.cache_mib,
        )
        if options.train_manifest is not None:
            source = training_source(
                options.train_manifest,
                preset,
                reading,
                augment=augment_of(preset, options),
                noise_dir=options.noise_dir,
                durations_s=(options.min_duration, options.max_duration),
            )
            self.train = reading.batches(source, order=order_of(preset, options), buckets=preset.buckets)
        if options.val_manifest is not None:
            evaluated = replace(reading, batch_size=options.eval_batch_size or preset.batch_size)
            source = evaluation_source(options.val_manifest, preset, evaluated)
            self.held_out = evaluated.batches(source, order="evaluation")

    def batches(self) -> Batches:
        """What is trained on."""
        if self.train is not None:
            return self.train
        return synthetic_batches(
            self._preset,
            self._preset.batch_size,
            seed=self._options.seed,
            ranks=self._ranks,
            pin_memory=self._device.pins_memory,
        )

    def evaluator(self, work: Workload) -> Callable[[], Evaluation] | None:
        """What evaluates the network on the held-out corpus; None without one."""
        if self.held_out is None or self.symbols is None:
            return None
        return partial(
            evaluate,
            work.task,
            work.model,
            self.held_out,
            self.symbols,
            device=work.device,
            precision=work.precision,
            ranks=work.ranks,
        )

    @property
    def name_of(self) -> Callable[[int], str] | None:
        """The file of an utterance that is trained on; None of synthetic speech."""
        train = self.train
        return None if train is None else lambda number: str(train.source.utterances[number].audio)

    @property
    def utterances(self) -> int | None:
        """How many are trained on."""
        return None if self.train is None else len(self.train.source.utterances)

    @property
    def held_out_utterances(self) -> int | None:
        """How many are evaluated on."""
        return None if self.held_out is None else len(self.held_out.source.utterances)
