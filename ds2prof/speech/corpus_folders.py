"""Folders of speech as utterances: which sound goes with which transcript.

Three layouts are known, and may lie side by side below one folder:

- ``.../wav/NAME.wav`` with ``.../txt/NAME.txt``, as the downloaders lay it out;
- ``NAME.wav`` with ``NAME.txt`` in the same folder;
- LibriSpeech's own: ``NAME.flac`` with a line ``NAME WORDS...`` in a file ``*.trans.txt`` in the same folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds2prof.errors import MissingDataError, ReadError
from ds2prof.speech.audio import AUDIO_SUFFIXES
from ds2prof.speech.manifests import Utterance
from ds2prof.speech.walking import folders_below

_TRANSCRIPTS: Final = ".trans.txt"
_LONGEST_BYTES: Final = 1 << 24


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        utterances: Sorted by path; their durations are not yet known.
        without_transcript: Sound files that nothing says the words of.
    """

    utterances: list[Utterance]
    without_transcript: list[Path]


def utterances_in(folder: Path) -> Found:
    """The utterances below a folder.

    Raises:
        MissingDataError: it is no folder, or holds no sound files, or none with a transcript.
        ReadError: a folder or a file of transcripts cannot be read.
    """
    utterances: list[Utterance] = []
    without: list[Path] = []
    for where, names in folders_below(folder):
        spoken = dict(_librispeech(where, names))
        for name in names:
            if Path(name).suffix.lower() in AUDIO_SUFFIXES:
                found = _utterance(where / name, spoken)
                (without.append(where / name) if found is None else utterances.append(found))
    if not utterances:
        kinds = ", ".join(AUDIO_SUFFIXES)
        reason = f"none of its {len(without)} sound files has a transcript" if without else f"holds no sound ({kinds})"
        raise MissingDataError(f"{folder}: {reason}; transcripts are txt/NAME.txt, NAME.txt or *{_TRANSCRIPTS}")
    return Found(utterances, without)


def _utterance(audio: Path, spoken: dict[str, str]) -> Utterance | None:
    if audio.stem in spoken:
        return Utterance(audio, text=spoken[audio.stem])
    places = [audio.with_suffix(".txt")]
    if audio.parent.name == "wav":
        places.insert(0, audio.parent.with_name("txt") / f"{audio.stem}.txt")
    return next((Utterance(audio, transcript=place) for place in places if place.is_file()), None)


def _librispeech(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name -> words, from all files of transcripts in a folder."""
    for name in names:
        if not name.endswith(_TRANSCRIPTS):
            continue
        path = folder / name
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            stem, *words = line.split(maxsplit=1)
            if not words:
                raise ReadError(f"{path}:{number}: a line is NAME WORDS..., and this has no words")
            yield stem, words[0].strip()


def _lines(path: Path) -> list[str]:
    """The lines of a file of transcripts."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST_BYTES + 1)
        if len(raw) > _LONGEST_BYTES:
            raise ReadError(f"{path}: is over 16 MiB, too long for the transcripts of one folder")
        return raw.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise ReadError(f"{path}: cannot read these transcripts: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ReadError(f"{path}: is not UTF-8 text") from None
