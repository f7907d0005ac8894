"""Sound files as samples: float32, one channel, at one rate.

WAV, FLAC, Ogg and MP3 are read by libsndfile (the package ``soundfile``) and brought to another rate by ``soxr``.
Where ``soundfile`` is not installed, WAV files of integers are read by the standard library, to the same values.

Integers are divided by the largest magnitude of their type, so that samples lie in [-1, 1). (The ancestors divided
16-bit samples by 32,767 instead: 0.003 % more.) Files of floating point numbers and decoded MP3 may go beyond; they are
left as they are. Several channels are averaged.
"""

from __future__ import annotations

import stat
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ds2prof.errors import Ds2profError, ReadError

Samples = NDArray[np.float32]

AUDIO_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".mp3")
"""What counts as a sound file in a folder."""

LONGEST_S: Final = 3600.0
"""What claims to be longer is no utterance: reading it could take all memory."""

_OPEN_BYTES: Final = 0x7FF00000
"""A WAV header that claims as much was written before its length was known: by sox, ffmpeg or eSpeak NG to a pipe."""


@dataclass(frozen=True)
class Sound:
    """What a file says about itself before it is decoded."""

    frames: int
    sample_rate_hz: int
    channels: int

    @property
    def dur_s(self) -> float:
        """How long it is."""
        return self.frames / self.sample_rate_hz


def sound_of(path: Path) -> Sound:
    """What the file's header says; nothing is decoded.

    Raises:
        ReadError: it is no sound file, or it is empty.
    """
    _require_file(path)
    sound = _sound_by_soundfile(path) if find_spec("soundfile") else _sound_by_wave(path)
    if sound.frames <= 0 or sound.sample_rate_hz <= 0:
        raise ReadError(f"{path}: holds no sound")
    return sound


def duration_s(path: Path) -> float:
    """How long the sound is, from the file's header alone.

    Raises:
        ReadError: it is no sound file, or it is empty.
    """
    return sound_of(path).dur_s


def read_samples(path: Path, sample_rate_hz: int, *, start_s: float = 0.0, length_s: float | None = None) -> Samples:
    """The samples at that rate, all of them or those of a stretch.

    Args:
        path: The sound file.
        sample_rate_hz: The rate they are brought to.
        start_s: Where the stretch begins.
        length_s: How long it is at most; None is to the end.

    Raises:
        ReadError: the file cannot be read as sound, is empty, or is longer than an hour.
        Ds2profError: a package is missing that it takes.
    """
    sound = sound_of(path)
    first = min(round(start_s * sound.sample_rate_hz), sound.frames - 1)
    count = sound.frames - first
    if length_s is not None:
        count = max(1, min(count, round(length_s * sound.sample_rate_hz)))
    if count > LONGEST_S * sound.sample_rate_hz:
        raise ReadError(f"{path}: is {sound.dur_s:.0f} s long; an utterance is at most {LONGEST_S:.0f} s")
    read = _read_by_soundfile if find_spec("soundfile") else _read_by_wave
    samples_TC = read(path, first, count)
    if not len(samples_TC):
        raise ReadError(f"{path}: holds no sound where its header says there is some; is it cut off?")
    samples = samples_TC[:, 0] if samples_TC.shape[1] == 1 else samples_TC.mean(axis=1, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise ReadError(f"{path}: holds samples that are not numbers")
    return resampled(np.ascontiguousarray(samples), sound.sample_rate_hz, sample_rate_hz)


def resampled(samples: Samples, from_hz: float, to_hz: float) -> Samples:
    """The sound at another rate, by soxr's high quality; the same array where the rates are equal.

    Raises:
        Ds2profError: soxr is not installed.
    """
    if from_hz == to_hz:
        return samples
    soxr = _package("soxr", f"to bring sound from {from_hz:.0f} Hz to {to_hz:.0f} Hz")
    changed: Samples = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return changed if len(changed) else samples[:1]


def write_wav(path: Path, samples: Samples, sample_rate_hz: int) -> None:
    """Writes samples in [-1, 1) as a WAV file of 16-bit integers; what lies beyond is clipped."""
    integers = np.clip(np.rint(np.asarray(samples, dtype=np.float64) * 32768), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(integers.tobytes())


def promised_frames(path: Path) -> int | None:
    """How many frames a WAV file's header says it has, which is more than there are where the file is cut off.

    None where it is no WAV file of integers, or was written to a pipe, which leaves the length open.
    """
    try:
        with wave.open(str(path), "rb") as file:
            frames = file.getnframes()
            size_bytes = frames * file.getnchannels() * file.getsampwidth()
    except (wave.Error, EOFError, OSError):
        return None
    return frames if size_bytes < _OPEN_BYTES else None


def _package(name: str, purpose: str) -> Any:
    """The package, imported.

    Raises:
        Ds2profError: it is not installed.
    """
    try:
        return __import__(name)
    except ImportError:
        raise Ds2profError(
            f'{name}: this package is not installed, and it takes it {purpose}; pip install "ds2prof[speech]"'
        ) from None


def _sound_by_soundfile(path: Path) -> Sound:
    import soundfile

    try:
        found = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise ReadError(f"{path}: {_reason(error)}") from None
    return Sound(found.frames, found.samplerate, found.channels)


def _read_by_soundfile(path: Path, first: int, count: int) -> Samples:
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            if first:
                file.seek(first)
            samples_TC: Samples = file.read(count, dtype="float32", always_2d=True)
            return samples_TC
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise ReadError(f"{path}: {_reason(error)}") from None


def _require_file(path: Path) -> None:
    """Nothing, if there is a regular file with something in it: to open a pipe would wait for its writer.

    Raises:
        ReadError: there is none.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ReadError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(found.st_mode):
        raise ReadError(f"{path}: is a folder, not a sound file")
    if not stat.S_ISREG(found.st_mode):
        raise ReadError(f"{path}: is no regular file")
    if not found.st_size:
        raise ReadError(f"{path}: is empty")


def _reason(error: Exception) -> str:
    """Why a file cannot be read, in one line."""
    text = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
    return f"cannot be read as sound: {text}" if text else "cannot be read as sound"


_PCM_SCALES: Final = {1: 1 << 7, 2: 1 << 15, 3: 1 << 23, 4: 1 << 31}


def _sound_by_wave(path: Path) -> Sound:
    with _opened_wave(path) as file:
        return Sound(file.getnframes(), file.getframerate(), file.getnchannels())


def _read_by_wave(path: Path, first: int, count: int) -> Samples:
    """The samples of a WAV file of integers, by the standard library."""
    with _opened_wave(path) as file:
        width, channels = file.getsampwidth(), file.getnchannels()
        file.setpos(first)
        raw = file.readframes(count)
    frames = len(raw) // (width * channels)
    octets = np.frombuffer(raw, np.uint8, frames * width * channels).reshape(-1, width)
    if width == 1:
        integers = octets[:, 0].astype(np.int64) - 128
    else:
        integers = np.zeros(len(octets), np.int64)
        for place in range(width):
            integers |= octets[:, place].astype(np.int64) << (8 * place)
        integers -= (integers >> (8 * width - 1)) << (8 * width)
    return (integers / _PCM_SCALES[width]).astype(np.float32).reshape(frames, channels)


@contextmanager
def _opened_wave(path: Path) -> Iterator[wave.Wave_read]:
    """The WAV file of integers, open.

    Raises:
        ReadError: it is none, or it is cut off.
    """
    if path.suffix.lower() != ".wav":
        _package("soundfile", f"to read {path.suffix or 'such'} files")
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() not in _PCM_SCALES or not file.getnchannels():
                raise ReadError(f"{path}: is no WAV file of 8 to 32 bit integers")
            yield file
    except (wave.Error, EOFError, OSError) as error:
        raise ReadError(f"{path}: {_reason(error)}") from None
