"""Manifests: which sound files make a corpus, what is said in them and how long they are.

Three forms are read, and told apart by their first character, not by their name:

``csv``
    No header; one utterance a line: ``AUDIO,TRANSCRIPT`` as deepspeech.pytorch and MLPerf's DeepSpeech2 have it, or
    ``AUDIO,TRANSCRIPT,SECONDS``. ``TRANSCRIPT`` is a text file. Both readers take the first two fields and let the
    third be, so a file with durations serves them too; ``csv-two-columns`` leaves them out for others.
``json``
    ``{"root_path": FOLDER, "samples": [{"wav_path": AUDIO, "transcript_path": TRANSCRIPT, "duration_s": SECONDS}]}``,
    deepspeech.pytorch's from version 3 on, with the duration as a field of ours that may be missing.
``rnnt``
    ``[{"transcript": TEXT, "files": [{"fname": AUDIO}], "original_duration": SECONDS}]``, NVIDIA's RNN-T: the last of
    ``files`` is meant, and the transcript stands in the manifest itself.

A relative path is relative to the manifest's folder (in ``json`` to ``root_path``, and that to the manifest's folder),
so a corpus can be moved whole. The ancestors took it from the folder they were started in: for them, write absolute
paths.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ds2prof.errors import Ds2profError, MissingDataError, ReadError, UsageError
from ds2prof.measurements import written_whole
from ds2prof.speech.audio import duration_s
from ds2prof.speech.threads import in_threads

FORMS: Final = ("csv", "csv-two-columns", "json", "rnnt")
_LONGEST_MANIFEST_BYTES: Final = 1 << 30
_LONGEST_TRANSCRIPT_BYTES: Final = 1 << 20
_NAMES: Final = "surrogateescape"
"""The names of files are bytes, and some old corpora's are no UTF-8: those pass through as they are."""
_HEADER_READERS: Final = 8
"""Threads that read headers: it is waiting for disks, most of all."""

Progress = Callable[[int, int], None]
"""Is told how many are done and how many there are."""


@dataclass(frozen=True)
class Utterance:
    """A piece of speech and what is said in it.

    Attributes:
        audio: Its sound file.
        transcript: The text file that says what is said; None where ``text`` does, or nothing.
        text: What is said.
        dur_s: How long it is; None where nobody has looked.
    """

    audio: Path
    transcript: Path | None = None
    text: str | None = None
    dur_s: float | None = None

    def spoken(self) -> str:
        """What is said, from the transcript's file where it does not stand here.

        Raises:
            ReadError: that file cannot be read as UTF-8 text.
            MissingDataError: there is no transcript.
        """
        if self.text is not None:
            return self.text
        if self.transcript is None:
            raise MissingDataError(f"{self.audio}: has no transcript")
        return read_transcript(self.transcript)


def read_transcript(path: Path) -> str:
    """The text in a transcript's file, without white space at its ends.

    Raises:
        ReadError: it cannot be read as UTF-8 text, or is longer than a mebibyte.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST_TRANSCRIPT_BYTES + 1)
        if len(raw) > _LONGEST_TRANSCRIPT_BYTES:
            raise ReadError(f"{path}: is too long for the transcript of an utterance")
        return raw.decode("utf-8-sig").strip()
    except OSError as error:
        raise ReadError(f"{path}: cannot read this transcript: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ReadError(f"{path}: is not UTF-8 text") from None


def read_manifest(path: Path) -> list[Utterance]:
    """The utterances of a manifest, in its order.

    Raises:
        ReadError: it is in none of the three forms; the line or sample is named.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ReadError(f"{path}: cannot read this manifest: {error.strerror}") from None
    if len(raw) > _LONGEST_MANIFEST_BYTES:
        raise ReadError(f"{path}: is over a gibibyte, and no manifest")
    text = raw.decode("utf-8-sig", errors=_NAMES)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ReadError(f"{path}:{line}: holds a zero byte; a manifest is text in UTF-8")
    readers = {"{": _from_json, "[": _from_rnnt}
    utterances = list(readers.get(text.lstrip()[:1], _from_csv)(text, path))
    if not utterances:
        raise ReadError(f"{path}: names no utterance")
    return utterances


def _from_csv(text: str, path: Path) -> Iterator[Utterance]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in lines:
            if any(field.strip() for field in row):
                yield _from_row(row, path.parent, f"{path}:{lines.line_num}")
    except csv.Error as error:
        raise ReadError(f"{path}:{lines.line_num}: is not CSV: {error}") from None


def _from_row(row: Sequence[str], folder: Path, where: str) -> Utterance:
    if len(row) not in (2, 3) or not all(row[:2]):
        fault = f"has {len(row)} field{'s' * (len(row) != 1)}" if len(row) not in (2, 3) else "leaves one empty"
        raise ReadError(f"{where}: a line is AUDIO,TRANSCRIPT or AUDIO,TRANSCRIPT,SECONDS, and this {fault}")
    dur_s = _seconds(row[2], where) if len(row) == 3 and row[2].strip() else None
    return Utterance(_path(folder, row[0], where), _path(folder, row[1], where), dur_s=dur_s)


def _from_json(text: str, path: Path) -> Iterator[Utterance]:
    listed = _parsed(text, path)
    samples, root = listed.get("samples"), listed.get("root_path", ".")
    if not isinstance(samples, list) or not isinstance(root, str):
        raise ReadError(f'{path}: a manifest in JSON is {{"root_path": FOLDER, "samples": [...]}}')
    folder = _path(path.parent, root or ".", f"{path}: root_path")
    for number, sample in enumerate(samples):
        where = f"{path}: sample {number}"
        if not isinstance(sample, dict):
            raise ReadError(f"{where}: is not an object with wav_path and transcript_path")
        given = sample.get("duration_s")
        yield Utterance(
            _path(folder, _text(sample, "wav_path", where), where),
            _path(folder, _text(sample, "transcript_path", where), where),
            dur_s=None if given is None else _seconds(given, where),
        )


def _from_rnnt(text: str, path: Path) -> Iterator[Utterance]:
    for number, entry in enumerate(_parsed(text, path)):
        where = f"{path}: entry {number}"
        files = entry.get("files") if isinstance(entry, dict) else None
        if not isinstance(files, list) or not files or not isinstance(files[-1], dict):
            raise ReadError(f'{where}: is not {{"transcript": TEXT, "files": [{{"fname": AUDIO}}], ...}}')
        given = entry.get("original_duration")
        yield Utterance(
            _path(path.parent, _text(files[-1], "fname", where), where),
            text=_text(entry, "transcript", where, empty=True),
            dur_s=None if given is None else _seconds(given, where),
        )


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ReadError(f"{path}{line}: is not JSON: {error}") from None
    except RecursionError:
        raise ReadError(f"{path}: is nested too deeply for a manifest") from None


def _text(entry: dict[str, Any], key: str, where: str, *, empty: bool = False) -> str:
    found = entry.get(key)
    if not isinstance(found, str) or not (found or empty):
        raise ReadError(f"{where}: has no {key}")
    try:
        found.encode("utf-8", errors=_NAMES)
    except UnicodeEncodeError:
        raise ReadError(f"{where}: its {key} holds half a character") from None
    return found


def _seconds(given: Any, where: str) -> float:
    """A duration, positive and finite."""
    try:
        dur_s = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else math.nan
    except (ValueError, OverflowError):
        dur_s = math.nan
    if not 0 < dur_s < math.inf:
        raise ReadError(f"{where}: {str(given)[:40]!r} is no duration in seconds")
    return dur_s


def _path(folder: Path, name: str, where: str) -> Path:
    if "\0" in name:
        raise ReadError(f"{where}: a path cannot hold a zero byte")
    return folder / name


def write_manifest(
    path: Path, utterances: Sequence[Utterance], *, form: str | None = None, absolute: bool = False
) -> None:
    """Writes the utterances to a manifest, whole or not at all.

    Args:
        path: The manifest.
        utterances: In this order.
        form: One of :data:`FORMS`; None is ``csv``, or where the name ends in ``.json`` ``json``, and then ``rnnt`` if
            transcripts have no files of their own.
        absolute: Absolute paths throughout; else those below the manifest's folder are relative to it.

    Raises:
        UsageError: a form that keeps transcripts in files is asked for and a transcript has none.
        CaptureError: the file cannot be written.
    """
    form = form or _default_form(path, utterances)
    assert form in FORMS, form
    place = _Place(os.path.join(_absolute(path.parent), ""), absolute=absolute)  # noqa: PTH118
    if form != "rnnt":
        _require_files(utterances, form)
    if form in ("json", "rnnt"):
        text = (_as_json if form == "json" else _as_rnnt)(utterances, place)
    else:
        text = _as_csv(utterances, place, durations=form == "csv")
    with written_whole(path) as partial:
        partial.write_bytes(text.encode("utf-8", errors=_NAMES))


def _default_form(path: Path, utterances: Iterable[Utterance]) -> str:
    if path.suffix.lower() != ".json":
        return "csv"
    return "json" if all(utterance.transcript is not None for utterance in utterances) else "rnnt"


@dataclass(frozen=True)
class _Place:
    """Where a manifest lies, with a slash at the end; it decides how the manifest names a path."""

    folder: str
    absolute: bool

    def name(self, path: Path) -> str:
        """The path as the manifest gives it."""
        whole = _absolute(path)
        if self.absolute or not whole.startswith(self.folder):
            return whole
        name = whole[len(self.folder) :]
        plain = name[:1].isalnum() or name[:1] in "._-"
        return name if plain else f"./{name}"  # a first line that begins with a bracket would be taken for JSON


def _absolute(path: Path) -> str:
    """The path from the root on; links on the way stay, for a corpus may well be made of them."""
    return os.path.abspath(path)  # noqa: PTH100


def _require_files(utterances: Iterable[Utterance], form: str) -> None:
    for utterance in utterances:
        if utterance.transcript is None:
            raise UsageError(
                f"{utterance.audio}: its transcript lies in no file of its own, as the form {form} needs it; "
                "take the form rnnt"
            )


def _as_csv(utterances: Sequence[Utterance], place: _Place, *, durations: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for utterance in utterances:
        assert utterance.transcript is not None
        row = [place.name(utterance.audio), place.name(utterance.transcript)]
        _refuse_names(row, "\r\n" if durations else '\r\n,"')
        writer.writerow([*row, repr(utterance.dur_s)] if durations and utterance.dur_s is not None else row)
    return text.getvalue()


def _refuse_names(row: Sequence[str], characters: str) -> None:
    """Nothing, if no name holds one of the characters, at which a reader of this form would cut it."""
    for name in row:
        if any(each in name for each in characters):
            raise UsageError(f"{name!r}: such a name cannot stand in this form; rename the file, or take the form json")


def _as_json(utterances: Sequence[Utterance], place: _Place) -> str:
    samples = []
    for utterance in utterances:
        assert utterance.transcript is not None
        sample: dict[str, Any] = {
            "wav_path": place.name(utterance.audio),
            "transcript_path": place.name(utterance.transcript),
        }
        samples.append(sample if utterance.dur_s is None else {**sample, "duration_s": utterance.dur_s})
    root = _absolute(Path(place.folder)) if place.absolute else "."
    return json.dumps({"root_path": root, "samples": samples}, indent=1, ensure_ascii=False) + "\n"


def _as_rnnt(utterances: Sequence[Utterance], place: _Place) -> str:
    listed = []
    for utterance in utterances:
        entry: dict[str, Any] = {
            "transcript": utterance.spoken(),
            "files": [{"fname": place.name(utterance.audio)}],
        }
        listed.append(entry if utterance.dur_s is None else {**entry, "original_duration": utterance.dur_s})
    return json.dumps(listed, indent=1, ensure_ascii=False) + "\n"


def measured(utterances: Sequence[Utterance], *, progress: Progress | None = None) -> tuple[list[Utterance], list[str]]:
    """The utterances with their durations, read from the files' headers where unknown, and what could not be read.

    An utterance whose sound cannot be read is left out; the second part says why, a line each.
    """
    found: list[Utterance] = []
    faults: list[str] = []
    unknown = (utterance for utterance in utterances if utterance.dur_s is None)
    looked_up = in_threads(_with_duration, unknown, threads=_HEADER_READERS)
    for number, utterance in enumerate(utterances):
        result = next(looked_up) if utterance.dur_s is None else utterance
        if isinstance(result, Utterance):
            found.append(result)
        else:
            faults.append(str(result))
        if progress is not None:
            progress(number + 1, len(utterances))
    return found, faults


def _with_duration(utterance: Utterance) -> Utterance | Ds2profError:
    try:
        return replace(utterance, dur_s=duration_s(utterance.audio))
    except ReadError as error:
        return error


def durations_of(utterances: Sequence[Utterance], *, progress: Progress | None = None) -> list[float]:
    """How long each utterance is, in seconds; headers are read where the manifest does not say it.

    Raises:
        ReadError: a sound file cannot be read.
    """
    found, faults = measured(utterances, progress=progress)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ReadError(f"{faults[0]}{more}")
    return [utterance.dur_s for utterance in found if utterance.dur_s is not None]


def by_duration(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The utterances, shortest first; equal ones by their names. Their durations must be known."""
    return sorted(utterances, key=lambda utterance: (utterance.dur_s, str(utterance.audio)))


def pruned(
    utterances: Iterable[Utterance], *, min_s: float | None = None, max_s: float | None = None
) -> list[Utterance]:
    """The utterances of ``min_s`` to ``max_s`` seconds, both included. Their durations must be known."""
    low, high = (0.0 if min_s is None else min_s), (math.inf if max_s is None else max_s)
    return [utterance for utterance in utterances if utterance.dur_s is not None and low <= utterance.dur_s <= high]


def merged(manifests: Iterable[Iterable[Utterance]]) -> tuple[list[Utterance], int]:
    """All their utterances, each sound file once, and how many were left out because they had been there before."""
    kept: dict[str, Utterance] = {}
    repeated = 0
    for manifest in manifests:
        for utterance in manifest:
            key = _absolute(utterance.audio)
            repeated += key in kept
            kept.setdefault(key, utterance)
    return list(kept.values()), repeated
