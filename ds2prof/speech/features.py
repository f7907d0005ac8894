"""Features of speech: the log-spectrogram of DeepSpeech2 and the stacked log-mel features of RNN-T.

Both begin with the short-time Fourier transform with centred windows: the samples are mirrored at both ends by half a
transform, and frame ``i`` is centred on sample ``i * stride``. So ``n`` samples give exactly ``1 + n // stride``
frames.

``log-spectrogram`` (deepspeech.pytorch): log(1 + |STFT|), then the mean of all values of the utterance is subtracted
and they are divided by their standard deviation (n - 1 in its denominator). Its windows are the symmetric ones that
``scipy.signal`` gave the ancestor, and 20 ms at 16 kHz make 320 / 2 + 1 = 161 bins.

``log-mel`` (NVIDIA's RNN-T): silence cut off both ends, dither, pre-emphasis, |STFT|^2 with the window in the middle of
a longer transform, a filter bank on Slaney's mel scale with filters of equal area, the natural logarithm of no less
than 1e-20, and mean and standard deviation (n in its denominator) of each bin by itself. Frames are then stacked: each
new frame holds ``stack`` old ones, earliest first and zeros behind the end, and is filled with zeros to
``pad_bins_to``.

Shapes: F bins, T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ds2prof.speech.feature_config import FeatureConfig

Samples = NDArray[np.float32]
Features = NDArray[np.float32]

WINDOWS: Final[dict[str, Callable[[int], NDArray[np.float64]]]] = {
    "hamming": np.hamming,
    "hann": np.hanning,
    "blackman": np.blackman,
    "bartlett": np.bartlett,
}
"""Window -> its symmetric form of so many samples; those of :data:`ds2prof.speech.feature_config.WINDOW_NAMES`."""

_STRETCH_SAMPLES: Final = 2048
_SMALLEST_POWER: Final = 1e-20
_SMALLEST_DEVIATION: Final = 1e-8
"""What varies less is silence: it becomes zeros and no noise blown up."""


def features(
    samples: Samples,
    config: FeatureConfig,
    *,
    rng: np.random.Generator | None = None,
    masked: Callable[[Features], Features] | None = None,
) -> Features:
    """The features (F, T) of an utterance.

    Args:
        samples: At the rate of ``config``, in -1 to 1.
        config: How.
        rng: Where dither is drawn from; without it there is none, as in evaluation.
        masked: What is done to the spectrum before it is stacked, such as SpecAugment.
    """
    spect_FT = spectrum(samples, config, rng=rng)
    if masked is not None:
        spect_FT = masked(spect_FT)
    return stacked(spect_FT, config)


def spectrum(samples: Samples, config: FeatureConfig, *, rng: np.random.Generator | None = None) -> Features:
    """The normalized spectrum (F, T) of an utterance, not yet stacked."""
    samples = np.asarray(samples, dtype=np.float32)
    if config.trim_db is not None:
        samples = trimmed(samples, config.trim_db)
    if config.dither and rng is not None:
        samples = samples + np.float32(config.dither) * rng.standard_normal(len(samples), dtype=np.float32)
    if config.preemphasis:
        samples = preemphasized(samples, config.preemphasis)
    magnitude_TF = _magnitudes(samples, config)
    if config.kind == "log-mel":
        power_FT = _filtered(np.ascontiguousarray(np.square(magnitude_TF).T), _mel_bands(config))
        spect_FT = np.log(np.maximum(power_FT, np.float32(_SMALLEST_POWER)))
        return _normalized(spect_FT, axis=1, ddof=0) if config.normalize else np.ascontiguousarray(spect_FT)
    spect_FT = np.log1p(magnitude_TF).T
    return _normalized(spect_FT, axis=None, ddof=1) if config.normalize else np.ascontiguousarray(spect_FT)


def trimmed(samples: Samples, cutoff_db: float) -> Samples:
    """The samples from the first to the last stretch that is not silent; all of them where nothing stands out.

    A stretch is 2,048 samples (128 ms at 16 kHz) and silent if its mean power is more than ``-cutoff_db`` below that
    of the loudest.
    """
    length = min(_STRETCH_SAMPLES, len(samples))
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    power = energy[length:] - energy[: len(energy) - length]
    loud = np.flatnonzero(power >= power.max() * 10 ** (cutoff_db / 10))
    return samples[loud[0] : loud[-1] + length]


def preemphasized(samples: Samples, share: float) -> Samples:
    """Each sample less ``share`` of the one before it; the first has itself before it."""
    before = np.concatenate((samples[:1], samples[:-1]))
    return samples - np.float32(share) * before


def stacked(spect_FT: Features, config: FeatureConfig) -> Features:
    """Frames stacked and filled up as ``config`` says."""
    if config.stack == 1 and not config.pad_bins_to:
        return spect_FT
    bins, frames = spect_FT.shape
    groups = -(-frames // config.stack)
    whole_FT = np.zeros((bins, groups * config.stack), dtype=np.float32)
    whole_FT[:, :frames] = spect_FT
    stacked_FT = np.zeros((config.bins, groups), dtype=np.float32)
    stacked_FT[: bins * config.stack] = (
        whole_FT.reshape(bins, groups, config.stack).transpose(2, 0, 1).reshape(-1, groups)
    )
    return stacked_FT


def _magnitudes(samples: Samples, config: FeatureConfig) -> Features:
    """|STFT| (T, F) with centred windows."""
    length, stride = config.transform_samples, config.stride_samples
    ends = (length // 2, length - length // 2)  # of an odd length the greater half comes behind
    mirrored = np.pad(samples, ends, mode="reflect" if len(samples) > 1 else "edge")
    windows_TN = np.lib.stride_tricks.sliding_window_view(mirrored, length)[::stride]
    windows_TN = windows_TN[: config.spectrum_frames(len(samples))]
    return np.abs(np.fft.rfft(windows_TN * _window(config))).astype(np.float32)


@lru_cache(maxsize=8)
def _window(config: FeatureConfig) -> NDArray[np.float32]:
    """The window in the middle of a transform's length."""
    window = WINDOWS[config.window](config.window_samples)
    before = (config.transform_samples - config.window_samples) // 2
    whole = np.zeros(config.transform_samples, dtype=np.float32)
    whole[before : before + config.window_samples] = window
    return whole


def _normalized(spect_FT: Features, *, axis: int | None, ddof: int) -> Features:
    """Values less their mean, divided by their standard deviation, along an axis or over all; zeros where silent."""
    values = spect_FT.astype(np.float64)
    values -= values.mean(axis=axis, keepdims=True)
    count = values.size if axis is None else values.shape[axis]
    deviation = np.sqrt(np.square(values).sum(axis=axis, keepdims=True) / max(count - ddof, 1))
    silent = deviation < _SMALLEST_DEVIATION
    values /= np.where(silent, 1.0, deviation)
    return np.ascontiguousarray(np.where(silent, 0.0, values), dtype=np.float32)


Bands = tuple[tuple[slice, NDArray[np.float32]], ...]


@lru_cache(maxsize=8)
def _mel_bands(config: FeatureConfig) -> Bands:
    """Of each filter from 0 Hz to half the sample rate: the bins that it reaches, and their weights."""
    bands = []
    for weights in mel_bank(config.mel_bins, config.transform_samples, config.sample_rate_hz):
        reached = np.flatnonzero(weights)
        band = slice(reached[0], reached[-1] + 1) if len(reached) else slice(0, 0)
        bands.append((band, weights[band]))
    return tuple(bands)


def _filtered(power_FT: Features, bands: Bands) -> Features:
    """The power that each filter lets through.

    A filter reaches few bins, so this is as fast as one matrix product, and it starts no threads of a BLAS: in ten
    workers those would fight for the cores.
    """
    filtered_FT = np.empty((len(bands), power_FT.shape[1]), np.float32)
    for row, (band, weights) in zip(filtered_FT, bands, strict=True):
        np.einsum("ft,f->t", power_FT[band], weights, out=row)
    return filtered_FT


def mel_bank(mel_bins: int, fft_points: int, sample_rate_hz: int) -> NDArray[np.float32]:
    """Triangular filters (mel bins, bins) on Slaney's mel scale, each of the same area.

    Filter ``m`` rises from edge ``m`` to edge ``m + 1`` and falls to edge ``m + 2``; the edges are equally spaced in
    mel from 0 Hz to half the sample rate, and a filter's peak is 2 / (its width in Hz).
    """
    nyquist_hz = sample_rate_hz / 2
    edges_hz = _hz_of_mel(np.linspace(0.0, _mel_of_hz(np.array(nyquist_hz)), mel_bins + 2))
    bins_hz = np.linspace(0.0, nyquist_hz, fft_points // 2 + 1)
    low_hz, peak_hz, high_hz = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - low_hz) / (peak_hz - low_hz)
    falling = (high_hz - bins_hz) / (high_hz - peak_hz)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * 2.0 / (high_hz - low_hz)).astype(np.float32)


_BREAK_HZ: Final = 1000.0
_LINEAR_HZ_PER_MEL: Final = 200.0 / 3
_LOG_STEP: Final = np.log(6.4) / 27.0
"""Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, from there 27 steps for a factor of 6.4."""


def _mel_of_hz(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = np.log(np.maximum(frequency_hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    mel: NDArray[np.float64] = np.minimum(frequency_hz, _BREAK_HZ) / _LINEAR_HZ_PER_MEL + above
    return mel


def _hz_of_mel(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    break_mel = _BREAK_HZ / _LINEAR_HZ_PER_MEL
    linear_hz = np.minimum(mel, break_mel) * _LINEAR_HZ_PER_MEL
    frequency_hz: NDArray[np.float64] = linear_hz * np.exp(np.maximum(mel - break_mel, 0.0) * _LOG_STEP)
    return frequency_hz
