"""What a spoken corpus says, who says it and how: decided by a seed, before a sound is made. Needs no NumPy."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ds2prof.errors import UsageError
from ds2prof.speech.sentences import draw

VOICES: Final = ("en-us", "en-gb+f2", "en-gb-scotland", "en-us+f4")
"""The voices that speak where none are named, as eSpeak NG calls them: two of men, two of women, three accents."""

SPEEDS_WPM: Final = range(180, 281, 10)
PITCHES: Final = range(30, 71, 5)
"""Words in a minute and eSpeak NG's measure of pitch (0 to 99) that an utterance's are drawn from."""

_VOICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,63}")


@dataclass(frozen=True)
class Line:
    """One utterance before it is spoken.

    Attributes:
        part: ``train`` or ``val``.
        number: Its number within the part, from 1.
        text: What is said, in small letters.
        voice: Who says it.
        speed_wpm: How fast.
        pitch: How high, from 0 to 99.
    """

    part: str
    number: int
    text: str
    voice: str
    speed_wpm: int
    pitch: int

    def audio(self, folder: Path) -> Path:
        """Its sound below the corpus' folder."""
        return folder / self.part / "wav" / f"{self.number:05}.wav"

    def transcript(self, folder: Path) -> Path:
        """Its text below the corpus' folder."""
        return folder / self.part / "txt" / f"{self.number:05}.txt"


@dataclass(frozen=True, kw_only=True)
class SpokenConfig:
    """What a spoken corpus is made from.

    Attributes:
        utterances: How many are trained on.
        held_out: How many are kept for evaluation.
        voices: Who speaks; as many utterances each, but for the remainder.
        seed: Decides sentences, speeds and pitches.
    """

    utterances: int = 3000
    held_out: int = 200
    voices: tuple[str, ...] = field(default=VOICES)
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuses what cannot be spoken.

        Raises:
            UsageError: there is nobody to speak, a voice is named twice, or a name is none.
        """
        if not self.voices:
            raise UsageError("--voices: names nobody; name voices of 'espeak-ng --voices=en', commas between them")
        if len(set(self.voices)) < len(self.voices):
            raise UsageError(f"--voices {','.join(self.voices)}: names a voice twice")
        for voice in self.voices:
            if not _VOICE.fullmatch(voice):
                raise UsageError(f"--voices: {voice!r} is no name of a voice; 'espeak-ng --voices=en' lists them")


def lines_of(config: SpokenConfig) -> list[Line]:
    """All utterances of a corpus; the same for the same configuration. No two have the same text.

    Raises:
        UsageError: there are not so many different sentences.
    """
    rng = random.Random(config.seed)  # noqa: S311  # nothing secret
    texts = draw(config.held_out + config.utterances, rng)
    places = [("val", number) for number in range(1, config.held_out + 1)]
    places += [("train", number) for number in range(1, config.utterances + 1)]
    lines = [
        Line(
            part, number, text, config.voices[number % len(config.voices)], rng.choice(SPEEDS_WPM), rng.choice(PITCHES)
        )
        for (part, number), text in zip(places, texts, strict=True)
    ]
    shared = shared_transcripts(lines)
    assert not shared, shared
    return lines


def shared_transcripts(lines: Sequence[Line]) -> set[str]:
    """The transcripts that occur both in training and held out; empty in every corpus that is spoken here."""
    of_part = {part: {line.text for line in lines if line.part == part} for part in ("train", "val")}
    return of_part["train"] & of_part["val"]
