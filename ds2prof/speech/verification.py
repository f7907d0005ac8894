"""Whether a corpus is the one it should be: a list of hashes, one per file, and what differs from it.

The ancestor compared the checksum of one archive of everything. An archive's bytes hold times, owners and an order,
so no two machines ever made the same one. Here each file has a line of its own, and only its bytes and its path
below the corpus's folder count::

    <sha256 in hexadecimal>  <path>

Lines are sorted by path. This is what ``sha256sum`` writes, so ``sha256sum -c`` reads it too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds2prof.errors import Ds2profError, MissingDataError, ReadError
from ds2prof.measurements import written_whole
from ds2prof.speech.audio import read_samples, sound_of
from ds2prof.speech.manifests import Utterance
from ds2prof.speech.threads import in_threads

HASHES_NAME: Final = "SHA256SUMS"
"""The list's name where none is given, in the corpus's own folder."""

_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_LONGEST_LIST_BYTES: Final = 1 << 30
_CHUNK_BYTES: Final = 1 << 20
_READERS: Final = 4
_DURATION_SLACK_S: Final = 0.05
"""Headers of compressed files are right to a packet."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Differences:
    """How a folder differs from its list; paths relative to the folder, sorted.

    Attributes:
        missing: Listed, and not there.
        changed: There, with other bytes.
        extra: There, and not listed.
        same: How many are as listed.
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]
    same: int

    @property
    def none(self) -> bool:
        """Whether the folder is what the list says."""
        return not (self.missing or self.changed or self.extra)


def hashes_of(folder: Path, *, leave_out: Iterable[Path] = (), progress: Progress | None = None) -> dict[str, str]:
    """Path below the folder -> sha256 of the file's bytes, for every file in it, sorted by path.

    Links are followed where they lead to files. Names that cannot stand in a line are refused.

    Args:
        folder: The corpus.
        leave_out: Files that do not count, such as the list itself.
        progress: Is told how many files are done, and how many there are.

    Raises:
        MissingDataError: there is no such folder, or no file in it.
        ReadError: a file cannot be read.
    """
    names = _names(folder, leave_out)
    if not names:
        raise MissingDataError(f"{folder}: holds no files")
    hashes: dict[str, str] = {}
    paths = [folder / name for name in names]
    for name, found in zip(names, in_threads(_sha256, paths, threads=_READERS), strict=True):
        hashes[name] = found
        if progress is not None:
            progress(len(hashes), len(names))
    return hashes


def _names(folder: Path, leave_out: Iterable[Path]) -> list[str]:
    if not folder.is_dir():
        raise MissingDataError(f"{folder}: is no folder")
    out = {path.resolve() for path in leave_out}
    paths = (Path(where) / name for where, _, names in os.walk(folder, onerror=_refuse) for name in names)
    names = sorted(path.relative_to(folder).as_posix() for path in paths if path.resolve() not in out)
    for name in names:
        if "\n" in name or "\r" in name:
            raise ReadError(f"{folder}: a file's name holds a line break ({name!r}); rename it")
    return names


def _refuse(error: OSError) -> None:
    """A folder that cannot be looked into is no empty one.

    Raises:
        ReadError: always.
    """
    raise ReadError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    return found.hexdigest()


def hash_lines(hashes: Mapping[str, str]) -> bytes:
    """The list as it stands in a file."""
    lines = (f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return "".join(lines).encode("utf-8", "surrogateescape")


def write_hashes(path: Path, hashes: Mapping[str, str]) -> None:
    """Writes the list, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_bytes(hash_lines(hashes))


def read_hashes(path: Path) -> dict[str, str]:
    """Path -> sha256, from a list.

    Raises:
        ReadError: a line is none of a list's, or names a file twice or outside the folder.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_LIST_BYTES).decode("utf-8", errors="surrogateescape")
    except OSError as error:
        raise ReadError(f"{path}: cannot read this list of hashes: {error.strerror}") from None
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ReadError(f"{path}:{number}: is not 'SHA256  PATH', as sha256sum writes it")
        found, name = match[1], match[2].removeprefix("./")
        if name.startswith("/") or ".." in Path(name).parts:
            raise ReadError(f"{path}:{number}: {name[:80]} lies outside the corpus")
        if name in hashes:
            raise ReadError(f"{path}:{number}: {name[:80]} is listed twice")
        hashes[name] = found
    if not hashes:
        raise ReadError(f"{path}: lists no files")
    return hashes


def differences(folder: Path, listed: Mapping[str, str], found: Mapping[str, str]) -> Differences:
    """How what was found in a folder differs from its list."""
    both = listed.keys() & found.keys()
    changed = tuple(sorted(name for name in both if listed[name] != found[name]))
    return Differences(
        missing=tuple(sorted(listed.keys() - found.keys())),
        changed=changed,
        extra=tuple(sorted(found.keys() - listed.keys())),
        same=len(both) - len(changed),
    )


def unreadable(utterances: Sequence[Utterance], *, progress: Progress | None = None) -> Iterator[str]:
    """What is wrong with the utterances of a manifest, a line each: all sound is decoded, all transcripts are read."""
    for number, found in enumerate(in_threads(_fault, utterances, threads=_READERS)):
        if found is not None:
            yield found
        if progress is not None:
            progress(number + 1, len(utterances))


def _fault(utterance: Utterance) -> str | None:
    try:
        rate_hz = sound_of(utterance.audio).sample_rate_hz
        dur_s = len(read_samples(utterance.audio, rate_hz)) / rate_hz
        spoken = utterance.spoken()
    except Ds2profError as error:
        return str(error)
    if utterance.dur_s is not None and abs(dur_s - utterance.dur_s) > _DURATION_SLACK_S:
        return f"{utterance.audio}: the manifest says {utterance.dur_s:.3f} s, and it is {dur_s:.3f} s long"
    if not spoken:
        return f"{utterance.transcript or utterance.audio}: its transcript is empty"
    return None
