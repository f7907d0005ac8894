"""Sound files as samples, and what is said about files that are none."""

from __future__ import annotations

import os
import wave

import numpy as np
import pytest

from ds2prof.errors import Ds2profError, ReadError
from ds2prof.speech import audio
from ds2prof.speech.audio import duration_s, promised_frames, read_samples, resampled, sound_of, write_wav
from tests.speech_support import tone


@pytest.fixture
def soundfile():
    return pytest.importorskip("soundfile")


@pytest.fixture(params=["soundfile", "standard library"])
def reader(request, monkeypatch):
    if request.param == "soundfile":
        pytest.importorskip("soundfile")
    else:
        monkeypatch.setattr(audio, "find_spec", lambda name: None)
    return request.param


def raw_wav(path, frames, *, width, channels=1, rate_hz=16_000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(frames)


def read_or_refused(path):
    """The samples, or none and why."""
    try:
        return read_samples(path, 16_000), ""
    except ReadError as error:
        return np.zeros(0, np.float32), str(error)


def test_what_is_written_is_read_back_to_half_a_step_of_16_bits(tmp_path, reader):
    samples = tone(0.2)
    write_wav(tmp_path / "a.wav", samples, 16_000)
    np.testing.assert_allclose(read_samples(tmp_path / "a.wav", 16_000), samples, atol=0.5 / 32768 + 1e-9)


@pytest.mark.parametrize(
    ("width", "frames", "expected"),
    [
        (1, bytes([0, 128, 255]), [-1.0, 0.0, 127 / 128]),
        (2, np.array([-32768, 0, 32767], "<i2").tobytes(), [-1.0, 0.0, 32767 / 32768]),
        (3, b"\x00\x00\x80\x00\x00\x00\xff\xff\x7f", [-1.0, 0.0, (2**23 - 1) / 2**23]),
        (4, np.array([-(2**31), 0, 2**30], "<i4").tobytes(), [-1.0, 0.0, 0.5]),
    ],
)
def test_integers_of_every_width_lie_in_minus_one_to_one(tmp_path, reader, width, frames, expected):
    raw_wav(tmp_path / "a.wav", frames, width=width)
    samples = read_samples(tmp_path / "a.wav", 16_000)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, rtol=1e-7)


def test_channels_are_averaged(tmp_path, reader):
    raw_wav(tmp_path / "a.wav", np.array([16384, 0, -16384, 16384], "<i2").tobytes(), width=2, channels=2)
    np.testing.assert_allclose(read_samples(tmp_path / "a.wav", 16_000), [0.25, 0.0])


def test_a_stretch_is_the_samples_from_its_start_on(tmp_path, reader):
    write_wav(tmp_path / "a.wav", tone(0.5), 16_000)
    whole = read_samples(tmp_path / "a.wav", 16_000)
    stretch = read_samples(tmp_path / "a.wav", 16_000, start_s=0.1, length_s=0.05)
    np.testing.assert_array_equal(stretch, whole[1_600:2_400])


def test_a_duration_is_frames_over_rate(tmp_path, reader):
    write_wav(tmp_path / "a.wav", tone(0.25, rate_hz=8_000), 8_000)
    assert duration_s(tmp_path / "a.wav") == 0.25
    assert sound_of(tmp_path / "a.wav").sample_rate_hz == 8_000


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3"])
def test_other_formats_give_the_same_tone(tmp_path, soundfile, suffix):
    if suffix == ".mp3" and "MP3" not in soundfile.available_formats():
        pytest.skip("soundfile's library is no tool for MP3 here")
    path = tmp_path / f"a{suffix}"
    soundfile.write(str(path), tone(1.0, 440.0), 16_000)
    samples = read_samples(path, 16_000)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * 16_000 / len(samples) == pytest.approx(440, abs=2)
    assert duration_s(path) == pytest.approx(1.0, abs=0.08)


def test_another_rate_keeps_duration_and_pitch():
    pytest.importorskip("soxr")
    samples = resampled(tone(1.0, 440.0, rate_hz=22_050), 22_050, 16_000)
    assert len(samples) == pytest.approx(16_000, abs=1)
    assert samples.dtype == np.float32
    assert np.argmax(np.abs(np.fft.rfft(samples))) == pytest.approx(440, abs=1)


def test_an_equal_rate_changes_nothing():
    samples = tone(0.1)
    assert resampled(samples, 16_000, 16_000) is samples


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there is no such file"), (b"", "is empty"), (b"RIFF rubbish" * 9, "cannot be read as sound")],
)
def test_what_is_no_sound_is_refused_in_one_line(tmp_path, reader, content, reason):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReadError, match=reason) as caught:
        read_samples(path, 16_000)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_wav_cut_off_anywhere_is_read_in_part_or_refused(tmp_path, reader):
    write_wav(tmp_path / "a.wav", tone(0.003), 16_000)
    raw = (tmp_path / "a.wav").read_bytes()
    whole = read_samples(tmp_path / "a.wav", 16_000)
    refusals = 0
    for length in range(len(raw)):
        (tmp_path / "a.wav").write_bytes(raw[:length])
        samples, reason = read_or_refused(tmp_path / "a.wav")
        assert "\n" not in reason
        np.testing.assert_array_equal(samples, whole[: len(samples)])
        refusals += bool(reason)
    assert 40 < refusals < len(raw)


def test_a_sound_of_no_length_is_refused(tmp_path, reader):
    raw_wav(tmp_path / "a.wav", b"", width=2)
    with pytest.raises(ReadError, match="holds no sound"):
        read_samples(tmp_path / "a.wav", 16_000)


def test_a_folder_is_refused_as_one(tmp_path, reader):
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(ReadError, match="is a folder"):
        read_samples(tmp_path / "a.wav", 16_000)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(ReadError, match="is no regular file"):
        read_samples(tmp_path / "a.wav", 16_000)


def test_a_name_that_no_file_can_have_is_refused_in_one_line(tmp_path, reader):
    with pytest.raises(ReadError, match="cannot be read: File name too long"):
        read_samples(tmp_path / f"{'a' * 300}.wav", 16_000)


def test_a_wav_files_header_says_how_many_frames_it_should_have(tmp_path):
    write_wav(tmp_path / "a.wav", tone(0.01), 16_000)
    raw = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(raw[: len(raw) // 2])
    assert promised_frames(tmp_path / "a.wav") == 160
    (tmp_path / "a.wav").write_bytes(raw[:40] + (0x7FFFF000).to_bytes(4, "little") + raw[44:])
    assert promised_frames(tmp_path / "a.wav") is None
    (tmp_path / "a.wav").write_bytes(b"fLaC")
    assert promised_frames(tmp_path / "a.wav") is None


def test_a_sound_of_hours_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write_wav(tmp_path / "a.wav", tone(0.5), 16_000)
    monkeypatch.setattr(audio, "LONGEST_S", 0.25)
    with pytest.raises(ReadError, match="an utterance is at most"):
        read_samples(tmp_path / "a.wav", 16_000)
    assert len(read_samples(tmp_path / "a.wav", 16_000, length_s=0.2)) == 3_200


def test_samples_that_are_no_numbers_are_refused(tmp_path, soundfile):
    soundfile.write(str(tmp_path / "a.wav"), np.array([0.0, np.nan], np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(ReadError, match="not numbers"):
        read_samples(tmp_path / "a.wav", 16_000)


def test_without_soundfile_a_flac_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    monkeypatch.setattr(audio, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(Ds2profError, match=r"soundfile: .* pip install \"ds2prof\[speech\]\""):
        read_samples(tmp_path / "a.flac", 16_000)


def test_writing_clips_what_16_bits_cannot_hold(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([2.0, -2.0, 0.0], np.float32), 16_000)
    np.testing.assert_allclose(read_samples(tmp_path / "a.wav", 16_000), [32767 / 32768, -1.0, 0.0])
