"""Speech made different: lengths, pitches, levels and masks are what was asked for, from the generator alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import MissingDataError, UsageError
from ds2prof.speech.audio import write_wav
from ds2prof.speech.augment import (
    amplified,
    at_tempo,
    augmented,
    masked,
    noises_in,
    noisy,
    stretched,
    warped,
)
from ds2prof.speech.augment_config import (
    AUGMENTS,
    STRETCH_AND_MASKS,
    TEMPO_AND_GAIN,
    AugmentConfig,
    SpecAugment,
)
from tests.speech_support import tone


def pitch_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * 16_000 / len(samples)


def rms(samples):
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("tempo", [0.85, 0.93, 1.07, 1.15])
def test_tempo_changes_the_length_and_keeps_pitch_and_level(tempo):
    samples = tone(2.0, 440.0)
    changed = at_tempo(samples, tempo, sample_rate_hz=16_000)
    assert len(changed) == round(len(samples) / tempo)
    assert pitch_hz(changed) == pytest.approx(440, abs=2)
    assert rms(changed) == pytest.approx(rms(samples), rel=0.03)


def test_tempo_leaves_no_jumps_where_pieces_meet():
    samples = tone(2.0, 440.0)
    changed = at_tempo(samples, 1.13, sample_rate_hz=16_000)
    assert np.abs(np.diff(changed)).max() <= 1.2 * np.abs(np.diff(samples)).max()


def test_tempo_one_gives_the_same_sound():
    samples = tone(1.0)
    np.testing.assert_allclose(at_tempo(samples, 1.0, sample_rate_hz=16_000), samples, atol=1e-6)


@given(count=st.integers(1, 5_000), tempo=st.floats(0.5, 2.0))
@settings(max_examples=60, deadline=None)
def test_tempo_takes_sounds_of_any_length(count, tempo):
    changed = at_tempo(tone(count / 16_000), tempo, sample_rate_hz=16_000)
    assert len(changed) == max(1, round(count / tempo))
    assert np.isfinite(changed).all()


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_stretching_changes_length_and_pitch_together(factor):
    pytest.importorskip("soxr")
    changed = stretched(tone(1.0, 440.0), factor, sample_rate_hz=16_000)
    assert len(changed) == pytest.approx(16_000 * factor, abs=1)
    assert pitch_hz(changed) == pytest.approx(440 / factor, abs=2)


def test_six_decibels_are_a_factor_of_two_and_what_is_too_loud_is_clipped():
    np.testing.assert_allclose(amplified(np.array([0.1, -0.1], np.float32), 20 * np.log10(2)), [0.2, -0.2], rtol=1e-6)
    np.testing.assert_allclose(amplified(np.array([0.9, -0.9], np.float32), 8.0), [32767 / 32768, -1.0])


def test_noise_has_the_asked_share_of_the_speechs_level():
    speech, noise = tone(0.5), np.random.default_rng(1).standard_normal(8_000).astype(np.float32)
    assert rms(noisy(speech, noise, 0.25) - speech) == pytest.approx(0.25 * rms(speech), rel=1e-4)
    np.testing.assert_array_equal(noisy(speech, np.zeros_like(speech), 0.25), speech)


def test_a_noise_is_taken_from_anywhere_in_it_and_repeated_where_it_is_short(tmp_path):
    write_wav(tmp_path / "b.wav", tone(0.1), 16_000)
    noises = noises_in(tmp_path)
    assert noises.paths == (tmp_path / "b.wav",)
    stretch = noises.stretch(4_000, 16_000, np.random.default_rng(0))
    np.testing.assert_array_equal(stretch[:1_600], stretch[1_600:3_200])
    firsts = {noises.stretch(800, 16_000, np.random.default_rng(seed))[0] for seed in range(6)}
    assert len(firsts) > 1


def test_a_folder_without_sounds_gives_no_noise(tmp_path):
    with pytest.raises(UsageError, match="no sound files to take noise from"):
        noises_in(tmp_path)


def test_noise_is_found_in_a_linked_folder_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_wav(tmp_path / "elsewhere" / "b.wav", tone(0.1), 16_000)
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "linked").symlink_to(tmp_path / "elsewhere")
    assert noises_in(tmp_path / "noise").paths == (tmp_path / "noise" / "linked" / "b.wav",)
    with pytest.raises(MissingDataError, match="absent: is no folder"):
        noises_in(tmp_path / "absent")


def test_noise_is_added_as_often_as_was_asked_for(tmp_path):
    write_wav(tmp_path / "b.wav", tone(0.2, 900.0), 16_000)
    noises, speech = noises_in(tmp_path), tone(0.05)
    changed = 0
    for seed in range(300):
        result = augmented(
            speech, AugmentConfig(), sample_rate_hz=16_000, rng=np.random.default_rng(seed), noises=noises
        )
        changed += not np.array_equal(result, speech)
    assert 90 <= changed <= 150


@pytest.mark.parametrize("name", list(AUGMENTS))
def test_equal_generators_give_equal_sounds(name):
    if AUGMENTS[name].stretch:
        pytest.importorskip("soxr")
    speech = tone(0.5)
    first, again, other = (
        augmented(speech, AUGMENTS[name], sample_rate_hz=16_000, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    changes = AUGMENTS[name].tempo or AUGMENTS[name].stretch
    assert np.array_equal(first, other) == (not changes)


def test_the_ancestors_ranges_are_kept():
    lengths, levels = set(), set()
    speech = tone(0.5)
    for seed in range(60):
        changed = augmented(speech, TEMPO_AND_GAIN, sample_rate_hz=16_000, rng=np.random.default_rng(seed))
        lengths.add(len(speech) / len(changed))
        levels.add(20 * np.log10(rms(changed) / rms(speech)))
    assert 0.849 <= min(lengths) < 0.9
    assert 1.1 < max(lengths) <= 1.151
    assert -6.3 <= min(levels) < -3
    assert 5 < max(levels) <= 8.3


@given(bins=st.integers(1, 161), frames=st.integers(1, 300), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_masks_are_whole_bins_and_frames_and_no_wider_than_asked(bins, frames, seed):
    config = SpecAugment(warp_frames=0)
    zero_FT = masked(np.ones((bins, frames), np.float32), config, rng=np.random.default_rng(seed)) == 0
    rows, columns = zero_FT.all(axis=1), zero_FT.all(axis=0)
    assert np.array_equal(zero_FT, rows[:, None] | columns[None, :])
    assert rows.sum() <= 27 or columns.all()
    assert columns.sum() <= 70 or rows.all()
    if not columns.all() and rows.any():
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()


def test_rnnts_masks_take_at_most_three_hundredths_of_the_time_each():
    masks = STRETCH_AND_MASKS.masks
    assert masks is not None
    one = replace(masks, frequency_masks=0, time_masks=1)
    widths = []
    for seed in range(200):
        changed = masked(np.ones((80, 200), np.float32), one, rng=np.random.default_rng(seed))
        widths.append(int((changed == 0).all(axis=0).sum()))
    assert set(widths) == set(range(7))


def test_masking_leaves_the_spectrum_that_it_was_given():
    spect_FT = np.ones((161, 100), np.float32)
    masked(spect_FT, SpecAugment(), rng=np.random.default_rng(0))
    assert spect_FT.all()


def test_a_warp_moves_one_frame_by_less_than_asked_and_keeps_the_ends():
    ramp_FT = np.tile(np.arange(100, dtype=np.float32), (3, 1))
    moved = []
    for seed in range(50):
        warped_FT = warped(ramp_FT, 5, rng=np.random.default_rng(seed))
        assert warped_FT[0, 0] == 0
        assert warped_FT[0, -1] == 99
        assert (np.diff(warped_FT[0]) > 0).all()
        moved.append(np.abs(warped_FT[0] - ramp_FT[0]).max())
    assert max(moved) <= 5
    assert max(moved) > 2


def test_a_spectrum_too_short_to_warp_is_left_alone():
    spect_FT = np.ones((3, 10), np.float32)
    assert warped(spect_FT, 5, rng=np.random.default_rng(0)) is spect_FT
