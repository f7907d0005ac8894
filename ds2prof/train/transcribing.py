"""Recordings as text: of any rate and length, several at once.

A recording is brought to the network's rate and read piece by piece, so its length is no matter. What is longer than
the network should hear at once is cut where it is quietest: in the second half of the longest stretch allowed, in the
middle of its quietest 100 ms, so that a word is seldom cut in two. Each stretch is then an utterance of its own,
normalized by itself as in training, and stretches of similar length are done together. Offsets count from the beginning
of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from ds2prof.speech.audio import read_samples, sound_of
from ds2prof.speech.feature_config import FeatureConfig
from ds2prof.speech.features import features, trimmed
from ds2prof.train.batches import Features, collate
from ds2prof.train.decoding import Decoded, Decoder, FrameClock, Word, frame_clock, words
from ds2prof.train.device import Device
from ds2prof.train.evaluation import evaluating, recognized
from ds2prof.train.tasks import Network
from ds2prof.train.trained import Trained

LONGEST_S: Final = 30.0
"""What is heard at once unless told otherwise; the networks were trained on half of that and less."""
_QUIET_S: Final = 0.1
_POOLED_BATCHES: Final = 4
"""Stretches of so many batches are read before those of similar length go together."""


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording.

    Attributes:
        path: The recording.
        dur_s: How long it is.
        text: What was said.
        words: The words with their offsets.
    """

    path: Path
    dur_s: float
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Stretch:
    """A part of a recording that is heard at once.

    Attributes:
        recording: Which of them.
        start_s: Where in it.
        samples: At the network's rate.
        last: Whether nothing comes behind it.
    """

    recording: int
    start_s: float
    samples: NDArray[np.float32]
    last: bool


@dataclass
class _Said:
    """A recording as far as it has been heard."""

    texts: list[str] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)


def transcribe(
    trained: Trained,
    paths: Sequence[Path],
    *,
    device: Device,
    precision: str = "fp32",
    decoder: Decoder | None = None,
    batch_size: int = 8,
    longest_s: float = LONGEST_S,
) -> Iterator[Transcript]:
    """What is said in each recording, in their order, each as soon as it is known.

    Args:
        trained: The network, on the device.
        paths: The recordings.
        device: Where it is computed.
        precision: In which the network is applied.
        decoder: Reads symbols off CTC's output; greedily where None.
        batch_size: Stretches that are done together.
        longest_s: How much is heard at once.

    Raises:
        ReadError: a recording cannot be read as sound.
    """
    lengths_s = [sound_of(path).dur_s for path in paths]  # what cannot be read is said before anything is computed
    hearing = _Hearing(trained, device=device, precision=precision, decoder=decoder, batch_size=batch_size)
    said: dict[int, _Said] = {}
    for pool in _pools(paths, trained.preset.features, longest_s=longest_s, size=_POOLED_BATCHES * batch_size):
        for stretch, decoded, skipped_s in hearing.of(pool):
            begun = said.setdefault(stretch.recording, _Said())
            start_s = stretch.start_s + skipped_s
            begun.words += words(decoded, trained.symbols.decode, hearing.clock, start_s=start_s)
            begun.texts.append(" ".join(trained.symbols.decode(decoded.symbols).split()))
            if stretch.last:
                number = stretch.recording
                text = " ".join(filter(None, begun.texts))
                yield Transcript(paths[number], lengths_s[number], text, tuple(said.pop(number).words))


class _Hearing:
    """A network and how it is applied to stretches."""

    def __init__(
        self, trained: Trained, *, device: Device, precision: str, decoder: Decoder | None, batch_size: int
    ) -> None:
        self._trained = trained
        self._device = device
        self._precision = precision
        self._decoder = decoder
        self._batch_size = batch_size
        self.clock: FrameClock = frame_clock(trained.preset.model, trained.preset.features)

    def of(self, pool: Sequence[Stretch]) -> Iterator[tuple[Stretch, Decoded, float]]:
        """Each stretch in its order, what it says, and how much silence was cut off before it, in seconds."""
        config = self._trained.preset.features
        utterances: list[Features] = []
        skipped_s: list[float] = []
        for number, stretch in enumerate(pool):
            samples, before_s = without_silence(stretch.samples, config)
            utterances.append(Features(number, features(samples, config), np.zeros(0, np.int64)))
            skipped_s.append(before_s)
        decoded = {number: Decoded(()) for number in range(len(pool))}
        by_length = sorted(utterances, key=lambda each: -each.features_FT.shape[1])
        for at in range(0, len(by_length), self._batch_size):
            decoded |= self._batch(by_length[at : at + self._batch_size])
        for number, stretch in enumerate(pool):
            yield stretch, decoded[number], skipped_s[number]

    def _batch(self, utterances: Sequence[Features]) -> dict[int, Decoded]:
        """What some utterances say, by their numbers; those too short for the network to say anything are left out."""
        network = self._trained.network
        counts = cast(Network, network).output_frames(tuple(each.features_FT.shape[1] for each in utterances))
        heard = [each for each, count in zip(utterances, counts, strict=True) if count]
        if not heard:
            return {}
        batch = collate(heard, pin_memory=self._device.pins_memory).to(self._device.torch_device)
        with evaluating(network):
            decoded = recognized(
                self._trained.task,
                network,
                batch,
                device=self._device,
                precision=self._precision,
                decoder=self._decoder,
            )
        return dict(zip(batch.numbers, decoded, strict=True))


def _pools(paths: Sequence[Path], config: FeatureConfig, *, longest_s: float, size: int) -> Iterator[list[Stretch]]:
    """The stretches of all recordings in their order, ``size`` at a time."""
    pool: list[Stretch] = []
    for number, path in enumerate(paths):
        for stretch in stretches(path, config.sample_rate_hz, longest_s=longest_s, recording=number):
            pool.append(stretch)
            if len(pool) == size:
                yield pool
                pool = []
    if pool:
        yield pool


def stretches(path: Path, sample_rate_hz: int, *, longest_s: float, recording: int = 0) -> Iterator[Stretch]:
    """A recording cut into stretches of at most ``longest_s``, where it is quietest.

    Raises:
        ReadError: it cannot be read as sound.
    """
    dur_s = sound_of(path).dur_s
    start_s = 0.0
    while True:
        left_s = dur_s - start_s
        last = left_s <= longest_s
        # What is not much too long is cut somewhere in its middle third: a scrap of silence at its end would be noise,
        # once it is normalized by itself.
        length_s = longest_s if last or left_s >= 1.5 * longest_s else left_s * 2 / 3
        samples = read_samples(path, sample_rate_hz, start_s=start_s, length_s=length_s)
        if not last:
            samples = samples[: quietest(samples, sample_rate_hz)]
        yield Stretch(recording, start_s, samples, last)
        if last:
            return
        start_s += len(samples) / sample_rate_hz


def quietest(samples: NDArray[np.float32], sample_rate_hz: int) -> int:
    """The middle of the 100 ms with the least energy in the second half; the last of equals."""
    window = max(min(round(_QUIET_S * sample_rate_hz), len(samples) // 2), 1)
    half = len(samples) // 2
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples[half:], dtype=np.float64))))
    powers = energy[window:] - energy[:-window]
    # Rounding leaves differences of nothing: what is within a millionth of the least is as quiet.
    alike = np.flatnonzero(powers <= powers.min() + 1e-6 * powers.max())
    return int(half + alike[-1] + window // 2)


def without_silence(samples: NDArray[np.float32], config: FeatureConfig) -> tuple[NDArray[np.float32], float]:
    """The samples as the features take them, and how many seconds were cut off before them.

    Features with ``trim_db`` cut silence off; cutting twice changes nothing, and here one learns how much it was.
    """
    if config.trim_db is None:
        return samples, 0.0
    left = trimmed(samples, config.trim_db)
    skipped = (left.ctypes.data - samples.ctypes.data) // samples.itemsize  # one is a view into the other
    return left, skipped / config.sample_rate_hz
