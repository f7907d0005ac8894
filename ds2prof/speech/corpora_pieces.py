"""Unpacked corpora as pieces of speech: which sound, which stretch of it, and what is said there.

Each reader takes the folder that an archive was unpacked to and yields its pieces in the order of their names. The
layouts are the corpora's own:

LibriSpeech
    ``LibriSpeech/<part>/<speaker>/<chapter>/NAME.flac`` with lines ``NAME WORDS...`` in ``*.trans.txt`` beside them.
AN4
    ``an4/wav/{an4_clstk,an4test_clstk}/<speaker>/NAME.{raw,sph}``; ``an4/etc/an4_{train,test}.{fileids,transcription}``
    go line by line, a transcription being ``<s> WORDS... </s> (NAME)``. ``.raw`` is 16 bit, big-endian, 16 kHz.
TED-LIUM
    ``<release>/{train,dev,test}/{sph,stm}`` (release 3: ``data`` is train, ``legacy/{dev,test}`` the others); a line of
    an ``.stm`` is ``TALK CHANNEL SPEAKER BEGIN END <labels> WORDS...``.
VoxForge
    ``NAME/{wav,flac}/ID.{wav,flac}`` with lines ``NAME/mfc/ID WORDS...`` in ``NAME/etc/PROMPTS``.
Common Voice
    The first release: ``cv-valid-{train,dev,test}.csv`` with ``filename`` and ``text``. Later ones: ``<language>/
    {train,dev,test}.tsv`` with ``path`` and ``sentence``, the sound in ``clips/``.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds2prof.errors import MissingDataError, ReadError
from ds2prof.speech.corpus_folders import utterances_in

_LONGEST_TEXT_BYTES: Final = 1 << 30
_LONGEST_NAME_BYTES: Final = 200
_LONGEST_PATH: Final = 1000
_NAME: Final = re.compile(r"[^/\0\\.][^/\0\\]*")
_AN4_LINE: Final = re.compile(r"(?:<s>)?(?P<words>[^(<]*)(?:</s>)?\s*\((?P<name>[^)]+)\)")
AN4_RAW_HZ: Final = 16_000


@dataclass(frozen=True)
class Piece:
    """A stretch of a sound file and what is said in it.

    Attributes:
        split: The folder it goes to: ``train``, ``val``...
        name: Its name there.
        audio: The sound file.
        text: What is said, in capitals.
        start_s: Where it begins in the file.
        length_s: How long it is; None is to the end.
    """

    split: str
    name: str
    audio: Path
    text: str
    start_s: float = 0.0
    length_s: float | None = None


def librispeech_pieces(folder: Path) -> Iterator[Piece]:
    """The utterances of an archive of LibriSpeech; the two parts of a development set are one split."""
    splits = {"train": "train", "dev": "val", "test-clean": "test_clean", "test-other": "test_other"}
    for part in sorted(_one(folder, "LibriSpeech").iterdir()):
        split = splits.get(part.name, splits.get(part.name.split("-")[0]))
        if part.is_dir() and split is not None:
            for utterance in utterances_in(part).utterances:
                yield _piece(split, utterance.audio.stem, utterance.audio, utterance.spoken())


def an4_pieces(folder: Path) -> Iterator[Piece]:
    """The utterances of AN4. Its test set is the split ``val``, as the ancestors had it."""
    root = _one(folder, "an4")
    for own, split in (("train", "train"), ("test", "val")):
        spoken = dict(_an4_words(root / "etc" / f"an4_{own}.transcription"))
        for number, line in enumerate(_lines(root / "etc" / f"an4_{own}.fileids"), start=1):
            name = line.strip().rsplit("/", 1)[-1]
            if name not in spoken:
                raise ReadError(f"an4_{own}.fileids:{number}: {name!r} has no transcription")
            found = (_below(root / "wav", f"{line.strip()}{suffix}") for suffix in (".raw", ".sph", ".wav"))
            audio = next((each for each in found if each.is_file()), None)
            if audio is not None:  # some of the original's recordings are not in the archive
                yield _piece(split, name, audio, spoken[name])


def tedlium_pieces(folder: Path) -> Iterator[Piece]:
    """The segments of TED-LIUM. What is to be ignored in scoring is left out."""
    root = _one(folder, "TEDLIUM_release*")
    for split, places in (
        ("train", ("data", "train")),
        ("val", ("legacy/dev", "dev")),
        ("test", ("legacy/test", "test")),
    ):
        place = next((root / each for each in places if (root / each / "stm").is_dir()), None)
        if place is None:
            raise MissingDataError(f"{root.name}: has no {' or '.join(places)} with a folder stm")
        for stm in sorted((place / "stm").glob("*.stm")):
            yield from _segments(stm, place / "sph" / f"{stm.stem}.sph", split)


def voxforge_pieces(folder: Path) -> Iterator[Piece]:
    """The recordings of one VoxForge archive; those without a prompt are left out."""
    for prompts in sorted(folder.glob("*/etc/PROMPTS")):
        root = prompts.parent.parent
        spoken = {}
        for line in _lines(prompts):
            key, _, words = line.strip().partition(" ")
            spoken[key.rsplit("/", 1)[-1]] = words
        sounds = (each for kind in ("wav", "flac") for each in sorted((root / kind).glob(f"*.{kind}")))
        for audio in sounds:
            if spoken.get(audio.stem):
                yield _piece("train", f"{root.name}_{audio.stem}", audio, spoken[audio.stem])


def common_voice_pieces(folder: Path) -> Iterator[Piece]:
    """The clips of Common Voice, of its first release or of a later one."""
    first = [
        table
        for where in ("*/", "")
        for split in ("dev", "test", "train")
        for table in sorted(folder.glob(f"{where}cv-valid-{split}.csv"))
    ]
    for table in first:
        for row in _rows(table, delimiter=",", columns=("filename", "text")):
            audio = _below(table.parent, row["filename"])
            yield _piece(table.stem, audio.stem, audio, row["text"])
    if first:
        return
    tables = [table for split in ("train", "dev", "test") for table in sorted(folder.rglob(f"{split}.tsv"))]
    if not tables:
        raise MissingDataError("there are neither cv-valid-*.csv nor train.tsv, dev.tsv and test.tsv in it")
    for table in tables:
        for row in _rows(table, delimiter="\t", columns=("path", "sentence")):
            name = row["path"] if row["path"].lower().endswith(".mp3") else f"{row['path']}.mp3"
            audio = _below(table.parent / "clips", name)
            yield _piece(table.stem, audio.stem, audio, row["sentence"])


def _piece(split: str, name: str, audio: Path, words: str, **stretch: float) -> Piece:
    """The piece, its text in capitals and single spaced, so that every corpus fits one alphabet."""
    if not _NAME.fullmatch(name) or len(name.encode("utf-8", "backslashreplace")) > _LONGEST_NAME_BYTES:
        raise ReadError(f"{name[:100]!r}: can be no utterance's name")
    if not name.isprintable():  # undecodable bytes, too: no manifest could name it
        raise ReadError(f"{name[:100]!r}: holds what cannot be printed, and can be no utterance's name")
    return Piece(split, name, audio, " ".join(words.upper().split()), **stretch)


def _an4_words(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_lines(path), start=1):
        found = _AN4_LINE.fullmatch(line.strip())
        if found is None:
            raise ReadError(f"{path.name}:{number}: a line is <s> WORDS </s> (NAME), and this is not")
        yield found["name"], found["words"]


def _segments(stm: Path, audio: Path, split: str) -> Iterator[Piece]:
    for number, line in enumerate(_lines(stm), start=1):
        fields = line.split(maxsplit=6)
        if line.startswith(";;") or not fields:
            continue
        words = fields[6] if len(fields) == 7 else ""
        if not words or "ignore_time_segment_in_scoring" in words:
            continue
        try:
            start_s, stop_s = float(fields[3]), float(fields[4])
        except ValueError:
            raise ReadError(f"{stm.name}:{number}: begin and end are {fields[3]!r} and {fields[4]!r}") from None
        if not 0 <= start_s < stop_s < float("inf"):
            raise ReadError(f"{stm.name}:{number}: a segment from {start_s} to {stop_s} s")
        said = spoken_words(words)
        if said:
            yield _piece(split, f"{stm.stem}_{number - 1}", audio, said, start_s=start_s, length_s=stop_s - start_s)


def spoken_words(words: str) -> str:
    """What is said in a segment of TED-LIUM, by its own marks.

    ``<unk>``, ``{NOISE}`` and the like are no words, ``word(2)`` is a second pronunciation, and `` 's`` is written
    apart from its word. The ancestors kept the letters of all of these as if they had been said.
    """
    plain = unicodedata.normalize("NFKD", words)
    plain = re.sub(r"<[^>]*>|\{[^}]*\}|\[[^]]*\]|\(\d+\)", " ", plain)
    return re.sub(r"\s+'(?=\w)", "'", " ".join(plain.split()))


def _rows(table: Path, *, delimiter: str, columns: tuple[str, str]) -> Iterator[dict[str, str]]:
    """The named columns of a table, row by row."""
    lines = (f"{line}\n" for line in _lines(table))  # a quoted field may go on in the next
    if delimiter == "\t":  # a quotation mark is only itself there
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
    else:
        reader = csv.DictReader(lines, delimiter=delimiter, restval="")
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ReadError(f"{table.name}: has no column {' and no '.join(missing)}")
        for row in reader:
            yield {name: str(row[name]) for name in columns}
    except csv.Error as error:
        raise ReadError(f"{table.name}:{reader.line_num}: {error}") from None


def _lines(path: Path) -> list[str]:
    """The lines of a text file of an archive.

    Raises:
        ReadError: it is not there, is no text, or is longer than any of these is.
    """
    try:
        if path.stat().st_size > _LONGEST_TEXT_BYTES:
            raise ReadError(f"{path.name}: is longer than any such file")
        raw = path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path.name}: {error.strerror or error}; is this archive the one that it should be?") from None
    try:
        return raw.decode("utf-8-sig").split("\n")[: -1 if raw.endswith(b"\n") else None]
    except UnicodeDecodeError:
        return raw.decode("latin-1").split("\n")[: -1 if raw.endswith(b"\n") else None]  # old VoxForge prompts


def _one(folder: Path, pattern: str) -> Path:
    """The one folder of that name.

    Raises:
        MissingDataError: it is not there.
    """
    found = sorted(each for each in folder.glob(pattern) if each.is_dir())
    if not found:
        raise MissingDataError(f"there is no folder {pattern} in it; is this archive the one that it should be?")
    return found[0]


def _below(folder: Path, name: str) -> Path:
    """The file of that name below the folder.

    Raises:
        ReadError: the name leads elsewhere.
    """
    parts = Path(name).parts
    too_long = len(name) > _LONGEST_PATH or any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name or too_long:
        raise ReadError(f"{name[:100]!r}: names no file of the corpus")
    return folder / name
