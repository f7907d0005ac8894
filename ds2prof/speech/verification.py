"""Whether a corpus is the one it should be: a list of hashes, one per file, and what differs from it.

The ancestor compared the checksum of one archive of everything. An archive's bytes hold times, owners and an order,
so no two machines ever made the same one. Here each file has a line of its own, and only its bytes and its path
below the corpus's folder count::

    <sha256 in hexadecimal>  <path>

Lines are sorted by path. This is what ``sha256sum`` writes, so ``sha256sum -c`` reads it too. As there, a line begins
with a backslash where the path holds one or a line break, and these are written ``\\\\``, ``\\n`` and ``\\r``.

A folder's own list, ``SHA256SUMS``, says nothing of itself, and other lists of the folder leave it out as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds2prof.errors import Ds2profError, MissingDataError, ReadError
from ds2prof.measurements import written_whole
from ds2prof.speech.audio import promised_frames, read_samples, sound_of
from ds2prof.speech.manifests import Utterance
from ds2prof.speech.threads import in_threads
from ds2prof.speech.walking import files_below

HASHES_NAME: Final = "SHA256SUMS"
"""The list's name where none is given, in the corpus's own folder."""

_LINE: Final = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_ESCAPED: Final = {written: plain for plain, written in _ESCAPES.items()}
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
        unreadable: Listed and there, and cannot be read.
        extra: There, and not listed.
        same: How many are as listed.
        listed: How many the list names.
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unreadable: tuple[str, ...]
    extra: tuple[str, ...]
    same: int
    listed: int

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The differences by their names; files that cannot be read have a place only where there are some."""
        named = {"missing": self.missing, "changed": self.changed, "unreadable": self.unreadable, "extra": self.extra}
        return {kind: paths for kind, paths in named.items() if paths or kind != "unreadable"}

    @property
    def none(self) -> bool:
        """Whether the folder is what the list says."""
        return not any(self.kinds().values())


def hashes_of(folder: Path, *, leave_out: Iterable[Path] = (), progress: Progress | None = None) -> dict[str, str]:
    """Path below the folder -> sha256 of the file's bytes, for every file in it, sorted by path.

    Links are followed. The folder's own list is left out.

    Args:
        folder: The corpus.
        leave_out: More files that do not count, such as a list of another name.
        progress: Is told how many files are done, and how many there are.

    Raises:
        MissingDataError: there is no such folder, or no file in it.
        ReadError: a file cannot be read.
    """
    names = _names(folder, [*leave_out, folder / HASHES_NAME])
    if not names:
        raise MissingDataError(f"{folder}: holds no files")
    hashes: dict[str, str] = {}
    for name, found in _hashed(folder, names, progress):
        if isinstance(found, ReadError):
            raise found
        hashes[name] = found
    return hashes


def compared(folder: Path, path: Path, *, progress: Progress | None = None) -> Differences:
    """How a folder differs from the list in a file; a file that cannot be read is one of the differences.

    Raises:
        MissingDataError: there is no such folder.
        ReadError: the list cannot be read, or a folder cannot be looked into.
    """
    listed = read_hashes(path)
    own = [] if HASHES_NAME in listed else [folder / HASHES_NAME]
    names = _names(folder, [path, *own])
    found = {name: None if isinstance(each, ReadError) else each for name, each in _hashed(folder, names, progress)}
    return differences(listed, found)


def _names(folder: Path, leave_out: Iterable[Path]) -> list[str]:
    """The paths of a folder's files below it, sorted."""
    out = {path.resolve() for path in leave_out}
    named = {path.name for path in out}  # only these are worth a look at where they lead
    paths = (path for path in files_below(folder) if path.name not in named or path.resolve() not in out)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _hashed(folder: Path, names: Sequence[str], progress: Progress | None) -> Iterator[tuple[str, str | ReadError]]:
    """Each name with the sha256 of its file, or why there is none."""
    paths = [folder / name for name in names]
    for done, (name, found) in enumerate(zip(names, in_threads(_sha256, paths, threads=_READERS), strict=True), 1):
        if progress is not None:
            progress(done, len(names))
        yield name, found


def _sha256(path: Path) -> str | ReadError:
    found = hashlib.sha256()
    try:
        if not path.is_file():  # to open a pipe would wait for its writer
            return ReadError(f"{path}: is no regular file, or a link that leads to none")
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
    except OSError as error:
        return ReadError(f"{path}: cannot be read: {error.strerror}")
    return found.hexdigest()


def hash_lines(hashes: Mapping[str, str]) -> bytes:
    """The list as it stands in a file."""
    return "".join(_line(name, hashes[name]) for name in sorted(hashes)).encode("utf-8", "surrogateescape")


def _line(name: str, digest: str) -> str:
    escaped = "".join(_ESCAPES.get(each, each) for each in name)
    return f"{digest}  {name}\n" if escaped == name else f"\\{digest}  {escaped}\n"


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
            raw = file.read(_LONGEST_LIST_BYTES + 1)
    except OSError as error:
        raise ReadError(f"{path}: cannot read this list of hashes: {error.strerror}") from None
    if len(raw) > _LONGEST_LIST_BYTES:
        raise ReadError(f"{path}: is over a gibibyte, and no list of hashes")
    hashes: dict[str, str] = {}
    for number, line in enumerate(raw.decode("utf-8-sig", errors="surrogateescape").split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise ReadError(f"{path}:{number}: is not 'SHA256  PATH', as sha256sum writes it")
        found, name = match[2].lower(), (_plain(match[3]) if match[1] else match[3]).removeprefix("./")
        if name.startswith("/") or ".." in Path(name).parts:
            raise ReadError(f"{path}:{number}: {name[:80]} lies outside the corpus")
        if name in hashes:
            raise ReadError(f"{path}:{number}: {name[:80]} is listed twice")
        hashes[name] = found
    if not hashes:
        raise ReadError(f"{path}: lists no files")
    return hashes


def _plain(escaped: str) -> str:
    """A path as it is, from a line that begins with a backslash."""
    return re.sub(r"\\[\\nr]", lambda found: _ESCAPED[found[0]], escaped)


def differences(listed: Mapping[str, str], found: Mapping[str, str | None]) -> Differences:
    """How what was found in a folder differs from its list; None stands for a file that could not be read."""
    both = listed.keys() & found.keys()
    unreadable = tuple(sorted(name for name in both if found[name] is None))
    changed = tuple(sorted(name for name in both if found[name] not in (None, listed[name])))
    return Differences(
        missing=tuple(sorted(listed.keys() - found.keys())),
        changed=changed,
        unreadable=unreadable,
        extra=tuple(sorted(found.keys() - listed.keys())),
        same=len(both) - len(changed) - len(unreadable),
        listed=len(listed),
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
        frames = len(read_samples(utterance.audio, rate_hz))
        spoken = utterance.spoken()
    except Ds2profError as error:
        return str(error)
    dur_s, promised = frames / rate_hz, promised_frames(utterance.audio)
    if promised is not None and frames < promised:
        return f"{utterance.audio}: is cut off: its header says {promised / rate_hz:.3f} s, and {dur_s:.3f} s are there"
    if utterance.dur_s is not None and abs(dur_s - utterance.dur_s) > _DURATION_SLACK_S:
        return f"{utterance.audio}: the manifest says {utterance.dur_s:.3f} s, and it is {dur_s:.3f} s long"
    if not spoken:
        return f"{utterance.transcript or utterance.audio}: its transcript is empty"
    return None
