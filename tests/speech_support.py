"""A small corpus of tones that stand for speech, in the layout of the downloaders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ds2prof.speech.audio import write_wav
from ds2prof.speech.manifests import Utterance

WORDS = ("ONE", "TWO", "THREE", "FOUR", "IT'S", "GOOD")


def tone(dur_s: float, pitch_hz: float = 300.0, *, rate_hz: int = 16_000, seed: int = 0) -> np.ndarray:
    """A tone with some noise."""
    t = np.arange(round(dur_s * rate_hz)) / rate_hz
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.3 * np.sin(2 * np.pi * pitch_hz * t) + 0.02 * noise).astype(np.float32)


def corpus(folder: Path, count: int = 10) -> list[Utterance]:
    """So many utterances of 0.3 s and more, unsorted, in ``wav/`` and ``txt/``."""
    (folder / "wav").mkdir(parents=True)
    (folder / "txt").mkdir()
    utterances = []
    for number in range(count):
        dur_s = 0.3 + 0.1 * ((7 * number) % count)
        audio, transcript = folder / "wav" / f"u{number:02}.wav", folder / "txt" / f"u{number:02}.txt"
        write_wav(audio, tone(dur_s, 200 + 40 * number, seed=number), 16_000)
        transcript.write_text(" ".join(WORDS[(number + i) % len(WORDS)] for i in range(1 + number % 3)) + "\n")
        utterances.append(Utterance(audio, transcript, dur_s=round(dur_s * 16_000) / 16_000))
    return utterances
