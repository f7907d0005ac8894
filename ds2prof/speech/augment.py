"""Speech made different each time it is heard: speed, gain, noise and masks.

Every random number comes from the generator that the caller gives; equal generators give equal results.

- **Tempo** changes the speaking rate and keeps the pitch, as ``sox tempo`` did for DeepSpeech2: pieces of 82 ms are
  laid over each other by 12 ms where, within 14.7 ms, they fit best (WSOLA). The joints are our own search, so samples
  differ from sox's; the length is exactly the old one divided by the tempo, rounded.
- **Stretch** changes rate and pitch together by resampling, as NVIDIA's RNN-T did ("speed perturbation"): a factor of
  1.15 makes the sound 1.15 times as long and its pitch as much lower.
- **Gain** is in dB; what leaves the range of 16-bit integers is clipped, as in the ancestor's files.
- **Noise** is scaled to a share of the speech's root mean square and added.
- **Masks** are SpecAugment's (Park et al., 2019) on the spectrum; zero is the mean of a normalized one. The warp is
  linear in time on either side of one point that is moved, and not the paper's spline of six.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ds2prof.errors import UsageError
from ds2prof.speech.audio import AUDIO_SUFFIXES, read_samples, resampled, sound_of
from ds2prof.speech.augment_config import AugmentConfig, SpecAugment
from ds2prof.speech.walking import files_below

Samples = NDArray[np.float32]
Spectrum = NDArray[np.float32]


@dataclass(frozen=True)
class Noises:
    """Sound files to take noise from."""

    paths: tuple[Path, ...]
    durations_s: tuple[float, ...] = field(repr=False)

    def stretch(self, samples: int, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """So many samples of a noise, from anywhere in it; a shorter noise is repeated.

        Raises:
            ReadError: its file cannot be read.
        """
        which = int(rng.integers(len(self.paths)))
        length_s = samples / sample_rate_hz
        start_s = float(rng.uniform(0.0, max(self.durations_s[which] - length_s, 0.0)))
        noise = read_samples(self.paths[which], sample_rate_hz, start_s=start_s, length_s=length_s)
        return np.resize(noise, samples)


def noises_in(folder: Path) -> Noises:
    """The sound files below a folder, sorted by name.

    Raises:
        MissingDataError: it is no folder.
        UsageError: there are none.
        ReadError: one cannot be read.
    """
    paths = tuple(sorted(path for path in files_below(folder) if path.suffix.lower() in AUDIO_SUFFIXES))
    if not paths:
        raise UsageError(f"{folder}: holds no sound files to take noise from ({', '.join(AUDIO_SUFFIXES)})")
    return Noises(paths, tuple(sound_of(path).dur_s for path in paths))


def augmented(
    samples: Samples,
    config: AugmentConfig,
    *,
    sample_rate_hz: int,
    rng: np.random.Generator,
    noises: Noises | None = None,
) -> Samples:
    """The samples with their rate, gain and background changed as ``config`` says.

    Raises:
        ReadError: a noise cannot be read.
        Ds2profError: soxr is missing for ``stretch``.
    """
    if config.stretch is not None:
        samples = stretched(samples, float(rng.uniform(*config.stretch)), sample_rate_hz=sample_rate_hz)
    if config.tempo is not None:
        samples = at_tempo(samples, float(rng.uniform(*config.tempo)), sample_rate_hz=sample_rate_hz)
    if config.gain_db is not None:
        samples = amplified(samples, float(rng.uniform(*config.gain_db)))
    if noises is not None and rng.random() < config.noise_probability:
        level = float(rng.uniform(*config.noise_level))
        samples = noisy(samples, noises.stretch(len(samples), sample_rate_hz, rng), level)
    return samples


def stretched(samples: Samples, factor: float, *, sample_rate_hz: int) -> Samples:
    """The sound ``factor`` times as long and as low, by resampling."""
    return resampled(samples, sample_rate_hz, sample_rate_hz * factor)


def amplified(samples: Samples, gain_db: float) -> Samples:
    """The samples times 10^(gain / 20), clipped to what 16-bit integers hold."""
    louder: Samples = np.clip(samples * np.float32(10 ** (gain_db / 20)), np.float32(-1.0), np.float32(32767 / 32768))
    return louder


def noisy(samples: Samples, noise: Samples, level: float) -> Samples:
    """The samples plus noise of ``level`` times their root mean square; unchanged where the noise is silent."""
    noise_rms = _rms(noise)
    if noise_rms == 0.0:
        return samples
    return samples + noise * np.float32(level * _rms(samples) / noise_rms)


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


_PIECE_S: Final = 0.082
_SEARCH_S: Final = 0.01468
_OVERLAP_S: Final = 0.012
"""The defaults of ``sox tempo``."""


def at_tempo(samples: Samples, tempo: float, *, sample_rate_hz: int) -> Samples:
    """The sound ``tempo`` times as fast at the same pitch; round(length / tempo) samples."""
    piece, overlap = round(_PIECE_S * sample_rate_hz), round(_OVERLAP_S * sample_rate_hz)
    search, hop = round(_SEARCH_S * sample_rate_hz), piece - overlap
    wanted = max(1, round(len(samples) / tempo))
    pieces = -(-wanted // hop)
    padded = np.concatenate((samples, np.zeros(round(hop * tempo) + piece + overlap + search, np.float32)))
    fade_in = np.linspace(0.0, 1.0, overlap, dtype=np.float32)
    changed = np.empty(pieces * hop + overlap, np.float32)
    changed[:piece] = padded[:piece]
    for number in range(1, pieces):
        out = number * hop
        tail = changed[out : out + overlap]
        nominal = max(0, round(out * tempo) - search // 2)
        start = nominal + _best_fit(padded[nominal : nominal + search + overlap], tail)
        changed[out : out + overlap] = tail * (1 - fade_in) + padded[start : start + overlap] * fade_in
        changed[out + overlap : out + piece] = padded[start + overlap : start + piece]
    return changed[:wanted]


def _best_fit(candidates: Samples, tail: Samples) -> int:
    """Where in ``candidates`` the stretch begins whose normalized correlation with ``tail`` is greatest."""
    products = np.correlate(candidates, tail, mode="valid")
    energy = np.concatenate(([0.0], np.cumsum(np.square(candidates, dtype=np.float64))))
    energies = energy[len(tail) :] - energy[: len(energy) - len(tail)]
    return int(np.argmax(products / np.sqrt(np.maximum(energies, 1e-12))))


def masked(spect_FT: Spectrum, config: SpecAugment, *, rng: np.random.Generator) -> Spectrum:
    """The spectrum warped in time and with bands and stretches of it set to zero."""
    if config.warp_frames:
        spect_FT = warped(spect_FT, config.warp_frames, rng=rng)
    spect_FT = spect_FT.copy()
    bins, frames = spect_FT.shape
    longest = min(config.longest_frames, round(config.longest_share * frames))
    for _ in range(config.frequency_masks):
        first, count = _stretch(bins, config.widest_bins, rng)
        spect_FT[first : first + count] = 0.0
    for _ in range(config.time_masks):
        first, count = _stretch(frames, longest, rng)
        spect_FT[:, first : first + count] = 0.0
    return spect_FT


def _stretch(length: int, longest: int, rng: np.random.Generator) -> tuple[int, int]:
    """Beginning and size of a stretch of 0 to ``longest``, each equally likely, anywhere within ``length``."""
    count = int(rng.integers(min(longest, length) + 1))
    return int(rng.integers(length - count + 1)), count


def warped(spect_FT: Spectrum, warp_frames: int, *, rng: np.random.Generator) -> Spectrum:
    """The spectrum with one of its frames moved by less than ``warp_frames``, the others spread linearly between.

    A spectrum of no more than twice ``warp_frames`` is left as it is.
    """
    frames = spect_FT.shape[1]
    if frames <= 2 * warp_frames:
        return spect_FT
    point = int(rng.integers(warp_frames, frames - warp_frames))
    moved = point + float(rng.uniform(-warp_frames, warp_frames))
    source = np.interp(np.arange(frames), (0.0, moved, frames - 1.0), (0.0, float(point), frames - 1.0))
    left = np.minimum(source.astype(np.int64), frames - 2)
    share = (source - left).astype(np.float32)
    moved_FT: Spectrum = spect_FT[:, left] * (1 - share) + spect_FT[:, left + 1] * share
    return moved_FT
