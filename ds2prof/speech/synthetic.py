"""Synthetic speech with the lengths of DeepMark's; nothing is downloaded.

The corpus is DeepMark's: 128,000 utterances of fifteen lengths, 211.2 hours, sorted by length. Two further forms keep
one thing or everything constant: all utterances of one length, which takes the variance of lengths out of a
measurement, and one utterance held, which takes out that of contents too.

Features are N(0, 1) and labels uniform over all symbols but the blank. Each utterance's content follows from the seed
and its number alone: not from the batch size, the order of visits, or any global random state. The features are windows
of one pool of random numbers (DeepMark's own trick): drawing fresh ones would cost the host more than a fast GPU's
whole step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ds2prof.errors import UsageError
from ds2prof.speech.synthetic_config import SyntheticConfig

DEEPMARK_FRAME_MS: Final = 10
FRAME_LENGTHS: Final = tuple(range(100, 1501, 100))
PERCENTAGES: Final = (3, 10, 11, 13, 14, 13, 9, 8, 5, 4, 3, 2, 2, 2, 1)
LABEL_LENGTHS: Final = (7, 17, 35, 48, 62, 78, 93, 107, 120, 134, 148, 163, 178, 193, 209)
UTTERANCES_PER_PERCENT: Final = 1280
"""DeepMark's DeepSpeech2 benchmark: lengths in frames, how many utterances in a hundred have each, their labels."""

UTTERANCES: Final = UTTERANCES_PER_PERCENT * sum(PERCENTAGES)

_POOL_FRAMES: Final = 16_384
_POOL, _ORDER, _UTTERANCE = range(3)  # what a random stream is for


@dataclass(frozen=True)
class Group:
    """The utterances of one length.

    Attributes:
        frames: How long each is, in frames.
        labels: How many labels each has.
        first: The number of the first of them in the corpus.
        utterances: How many there are.
    """

    frames: int
    labels: int
    first: int
    utterances: int


def deepmark_groups(fraction: float = 1.0, *, config: SyntheticConfig | None = None) -> tuple[Group, ...]:
    """DeepMark's distribution, shortest first, or a fraction of it that keeps its proportions.

    A fraction has ``fraction`` x 128,000 utterances, rounded to the nearest (halves up), at least one. Each length gets
    the whole part of its share; what is left goes, one each, to the lengths with the largest fractional part, the
    shorter of two equal ones first. The first utterances of each length are taken. A length may be left with none.

    Raises:
        UsageError: the fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"--fraction {fraction:g}: not a part of the whole; take more than 0, 1 at most")
    config = config or SyntheticConfig()
    share = Fraction(repr(float(fraction)))  # as it was typed, not as a double holds it
    counts = [percent * UTTERANCES_PER_PERCENT for percent in PERCENTAGES]
    firsts = np.cumsum([0, *counts[:-1]]).tolist()
    taken = _apportioned([count * share for count in counts], max(int(UTTERANCES * share + Fraction(1, 2)), 1))
    return tuple(
        Group(_frames(length, config), _labels(letters, config), first, utterances)
        for length, letters, first, utterances in zip(FRAME_LENGTHS, LABEL_LENGTHS, firsts, taken, strict=True)
    )


def _apportioned(quotas: list[Fraction], total: int) -> list[int]:
    """Whole numbers as near to ``quotas`` as adding up to ``total`` lets them be: largest remainders."""
    taken = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda at: taken[at] - quotas[at])  # stable: the shorter one first
    for at in by_remainder[: total - sum(taken)]:
        taken[at] += 1
    return taken


def _frames(length: int, config: SyntheticConfig) -> int:
    if config.frames is not None:
        return config.frames
    return max(length // config.length_divisor * DEEPMARK_FRAME_MS // config.frame_ms, 1)


def _labels(letters: int, config: SyntheticConfig) -> int:
    if config.labels is not None:
        return config.labels
    if config.frames is not None:
        letters = letters_of_ms(config.frames * config.frame_ms)
    return max(letters // config.length_divisor // config.letters_per_label, 1)


def letters_of_ms(length_ms: float) -> int:
    """How many letters an utterance of that length has: DeepMark's, in proportion between and beyond its lengths."""
    frames = length_ms / DEEPMARK_FRAME_MS
    if frames > FRAME_LENGTHS[-1]:
        return round(LABEL_LENGTHS[-1] * frames / FRAME_LENGTHS[-1])
    return round(float(np.interp(frames, (0, *FRAME_LENGTHS), (0, *LABEL_LENGTHS))))


class SyntheticCorpus:
    """Utterances by number, and which of them come together in an epoch.

    Args:
        config: Their lengths and their order.
        input_bins: Features of a frame.
        vocabulary: Symbols, the blank included.
        blank: Which symbol the blank is: the first or the last.
        seed: Decides contents and order.

    Raises:
        UsageError: the utterance that is to be held is not there, or is longer than the pool.
    """

    def __init__(self, config: SyntheticConfig, *, input_bins: int, vocabulary: int, seed: int, blank: int = 0) -> None:
        assert blank in (0, vocabulary - 1), "symbols are drawn from one range"
        groups = deepmark_groups(config=config)
        counts = [group.utterances for group in groups]
        self.frames = np.repeat(np.array([group.frames for group in groups]), counts)
        self.labels = np.repeat(np.array([group.labels for group in groups]), counts)
        if config.held is not None and config.held >= len(self.frames):
            raise UsageError(f"synthetic speech: utterance {config.held} held; there are {len(self.frames)}")
        self.config = config
        self._symbols = (1, vocabulary) if blank == 0 else (0, vocabulary - 1)
        self._seed = seed
        pool_frames = max(_POOL_FRAMES, 2 * int(self.frames[-1]))
        self._pool_FT = self._stream(_POOL).standard_normal((input_bins, pool_frames), dtype=np.float32)

    def __len__(self) -> int:
        """How many utterances there are."""
        return len(self.frames)

    def utterance(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What the network reads of utterance ``number``, features by frames, and its labels."""
        stream = self._stream(_UTTERANCE, number)
        frames = int(self.frames[number])
        start = int(stream.integers(self._pool_FT.shape[1] - frames + 1))
        symbols = stream.integers(*self._symbols, size=int(self.labels[number]))
        return self._pool_FT[:, start : start + frames], symbols

    def bin(self, number: int, batch_size: int) -> range | list[int]:
        """The utterances of the bin number ``number`` of ``batch_size``, longest first; with one held, it alone."""
        if self.config.held is not None:
            return [self.config.held] * batch_size
        first = number * batch_size
        return range(first + batch_size - 1, first - 1, -1)

    def order(self, epoch: int, bins: int) -> Iterator[int]:
        """The numbers of ``bins`` bins in the order of an epoch."""
        if self.config.order == "ascending":
            return iter(range(bins))
        return iter(self._stream(_ORDER, epoch).permutation(bins).tolist())

    def _stream(self, purpose: int, number: int = 0) -> np.random.Generator:
        """Random numbers that nothing else draws from."""
        return np.random.default_rng([self._seed, purpose, number])
