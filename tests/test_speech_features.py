"""Features against independent calculations: a direct Fourier sum, the mel formula, the definition of stacking."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.speech.feature_config import LOG_SPECTROGRAM, STACKED_LOG_MEL
from ds2prof.speech.features import (
    WINDOWS,
    features,
    mel_bank,
    preemphasized,
    spectrum,
    stacked,
    trimmed,
)


@pytest.fixture(scope="module")
def speech():
    rng = np.random.default_rng(7)
    t = np.arange(4_000) / 16_000
    return (0.3 * np.sin(2 * np.pi * 700 * t) + 0.05 * rng.standard_normal(len(t))).astype(np.float32)


def mirrored(samples, index):
    """Sample ``index`` of the signal mirrored at both ends, without NumPy's padding."""
    last = len(samples) - 1
    if index < 0:
        index = -index
    if index > last:
        index = 2 * last - index
    return float(samples[index])


def direct_magnitude(samples, frame, bin_, *, length, window, stride=160):
    """|DFT| of one bin of one centred frame, summed term by term."""
    total = 0j
    for n in range(length):
        value = mirrored(samples, frame * stride + n - length // 2) * window[n]
        total += value * complex(math.cos(2 * math.pi * bin_ * n / length), -math.sin(2 * math.pi * bin_ * n / length))
    return abs(total)


def hamming(n, length):
    return 0.54 - 0.46 * math.cos(2 * math.pi * n / (length - 1))


@pytest.mark.parametrize("frame", [0, 1, 12, 24, 25])
@pytest.mark.parametrize("bin_", [0, 14, 80, 160])
def test_a_bin_is_the_fourier_sum_over_the_window(speech, frame, bin_):
    window = [hamming(n, 320) for n in range(320)]
    spect_FT = spectrum(speech, replace(LOG_SPECTROGRAM, normalize=False))
    expected = math.log1p(direct_magnitude(speech, frame, bin_, length=320, window=window))
    assert spect_FT[bin_, frame] == pytest.approx(expected, abs=2e-5)


def test_a_log_mel_bin_is_the_filtered_power_of_the_emphasized_sound(speech):
    config = replace(STACKED_LOG_MEL, normalize=False, trim_db=None)
    emphasized = [float(speech[0]) * (1 - 0.97)]
    emphasized += [float(speech[i]) - 0.97 * float(speech[i - 1]) for i in range(1, len(speech))]
    window = [0.0] * 96 + [0.5 - 0.5 * math.cos(2 * math.pi * n / 319) for n in range(320)] + [0.0] * 96
    power = [direct_magnitude(emphasized, 11, bin_, length=512, window=window) ** 2 for bin_ in range(257)]
    bank = mel_bank(80, 512, 16_000)
    for mel in (0, 20, 55, 79):
        expected = math.log(sum(float(weight) * each for weight, each in zip(bank[mel], power, strict=True)))
        assert spectrum(speech, config)[mel, 11] == pytest.approx(expected, abs=1e-3)


def slaney_hz(mel):
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def test_the_mel_filters_are_slaneys_triangles_of_area_one():
    top = 15 + 27 * math.log(8) / math.log(6.4)
    edges = [slaney_hz(top * i / 81) for i in range(82)]
    bank = mel_bank(80, 512, 16_000)
    for mel in (0, 31, 32, 33, 79):
        low, peak, high = edges[mel : mel + 3]
        for bin_ in range(257):
            at = bin_ * 16_000 / 512
            height = max(0.0, min((at - low) / (peak - low), (high - at) / (high - peak)))
            assert bank[mel, bin_] == pytest.approx(height * 2 / (high - low), abs=1e-7)


@given(samples=st.integers(1, 2_000))
@settings(max_examples=60, deadline=None)
def test_n_samples_give_one_frame_and_one_for_each_whole_stride(samples):
    sound = np.linspace(-0.5, 0.5, samples, dtype=np.float32)
    assert features(sound, LOG_SPECTROGRAM).shape == (161, 1 + samples // 160)
    assert LOG_SPECTROGRAM.frames(samples) == 1 + samples // 160
    config = replace(STACKED_LOG_MEL, trim_db=None)
    assert features(sound, config).shape == (256, math.ceil((1 + samples // 160) / 3))
    assert config.frames(samples) == math.ceil((1 + samples // 160) / 3)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100])
@pytest.mark.parametrize("strides", [0.01, 1, 7, 10, 10.5])
def test_frames_are_as_many_at_other_rates_where_a_window_may_be_odd(rate_hz, strides):
    config = replace(LOG_SPECTROGRAM, sample_rate_hz=rate_hz)
    samples = max(1, int(strides * config.stride_samples))
    sound = np.linspace(-0.5, 0.5, samples, dtype=np.float32)
    assert features(sound, config).shape == (config.bins, 1 + samples // config.stride_samples)


def test_a_spectrogram_has_mean_zero_and_deviation_one_over_all_its_values(speech):
    spect_FT = features(speech, LOG_SPECTROGRAM).astype(np.float64)
    assert spect_FT.mean() == pytest.approx(0, abs=1e-6)
    assert spect_FT.std(ddof=1) == pytest.approx(1, abs=1e-6)


def test_each_log_mel_bin_has_mean_zero_and_deviation_one_by_itself(speech):
    spect_FT = spectrum(speech, STACKED_LOG_MEL).astype(np.float64)
    np.testing.assert_allclose(spect_FT.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(spect_FT.std(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("config", [LOG_SPECTROGRAM, STACKED_LOG_MEL])
def test_silence_becomes_zeros_and_no_division_by_nothing(config):
    assert not features(np.zeros(8_000, np.float32), config).any()


def test_three_frames_are_stacked_earliest_first_with_zeros_behind_the_end():
    spect_FT = np.arange(80 * 4, dtype=np.float32).reshape(80, 4) + 1
    stacked_FT = stacked(spect_FT, STACKED_LOG_MEL)
    assert stacked_FT.shape == (256, 2)
    expected = np.zeros((256, 2), np.float32)
    for frame in range(4):
        expected[80 * (frame % 3) : 80 * (frame % 3) + 80, frame // 3] = spect_FT[:, frame]
    np.testing.assert_array_equal(stacked_FT, expected)


def test_frames_of_rnnt_are_30_ms_and_256_bins():
    assert (STACKED_LOG_MEL.frame_ms, STACKED_LOG_MEL.bins, STACKED_LOG_MEL.spectrum_bins) == (30, 256, 80)
    assert (LOG_SPECTROGRAM.frame_ms, LOG_SPECTROGRAM.bins) == (10, 161)


def test_pre_emphasis_takes_the_sample_before_and_the_first_from_itself():
    emphasized = preemphasized(np.array([0.5, 0.25, -0.5], np.float32), 0.5)
    np.testing.assert_allclose(emphasized, [0.25, 0.0, -0.625])


def test_dither_comes_from_the_generator_alone_and_only_where_one_is_given(speech):
    config = replace(STACKED_LOG_MEL, dither=1e-2)
    first, again = (features(speech, config, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, features(speech, config))
    np.testing.assert_array_equal(features(speech, config), features(speech, replace(config, dither=0)))


def test_silence_is_cut_off_both_ends_and_kept_within(speech):
    gap = np.zeros(6_000, np.float32)
    kept = trimmed(np.concatenate((gap, speech, gap, speech, gap)), -60.0)
    inner = 2 * len(speech) + len(gap)
    assert inner <= len(kept) <= inner + 2 * 2048
    assert np.count_nonzero(kept) == 2 * np.count_nonzero(speech)


def test_sound_without_silence_is_left_whole(speech):
    np.testing.assert_array_equal(trimmed(speech, -60.0), speech)
    np.testing.assert_array_equal(trimmed(speech[:100], -60.0), speech[:100])


@pytest.mark.parametrize("name", list(WINDOWS))
def test_every_window_is_symmetric_and_makes_another_spectrum(speech, name):
    values = WINDOWS[name](320)
    np.testing.assert_allclose(values, values[::-1], atol=1e-12)
    other = features(speech, replace(LOG_SPECTROGRAM, window=name))
    assert (name == "hamming") == np.array_equal(other, features(speech, LOG_SPECTROGRAM))
