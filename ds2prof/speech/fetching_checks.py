"""What a downloaded file must be: of the kind that its name says, and of the digest that is known of it."""

from __future__ import annotations

import gzip
import hashlib
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 1 << 20
_NOTE_BYTES: Final = 1 << 16
_LINE: Final = re.compile(r"([0-9a-f]{64})[ *]")
_KINDS: Final = (
    ((".tar.gz", ".tgz"), 0, b"\x1f\x8b", "gzip archive"),
    ((".tar.bz2",), 0, b"BZh", "bzip2 archive"),
    ((".tar.xz",), 0, b"\xfd7zXZ\x00", "xz archive"),
    ((".zip",), 0, b"PK", "zip archive"),
    ((".tar",), 257, b"ustar", "tar archive"),
)
"""Endings of names, where the mark of the kind lies, the mark, and what it is called."""


class DigestError(Exception):
    """A file is not what it should be."""


@dataclass(frozen=True)
class Digests:
    """What is published of a file's contents, in hexadecimal."""

    sha256: str | None = None
    md5: str | None = None

    @property
    def known(self) -> bool:
        """Whether anything is published."""
        return self.sha256 is not None or self.md5 is not None


def check_kind(path: Path, *, name: str | None = None) -> None:
    """Nothing; the file begins as one of its kind does. A file of a kind that is not known here passes.

    Args:
        path: The file.
        name: The name that tells its kind, where that is not its own.

    Raises:
        DigestError: it begins otherwise: a login page, for example.
    """
    for endings, offset, mark, called in _KINDS:
        if (name or path.name).lower().endswith(endings):
            with path.open("rb") as file:
                head = file.read(offset + len(mark))
            if head[offset:] != mark:
                page = ", but a web page" if head.lstrip()[:1] == b"<" else ""
                raise DigestError(f"is no {called}{page}")
            return


def verify(path: Path, published: Digests, *, remembered: Path | None = None) -> str:
    """The file's SHA-256; the file has the published digests, or where none is published, that of the first time.

    Args:
        path: The file.
        published: Its digests; each that is known must fit.
        remembered: The name beside which the digest of the first time lies, or is written now.

    Raises:
        DigestError: it has another one.
    """
    found = digests_of(path)
    sha256 = found.sha256 or ""
    for kind, is_now, should_be in (
        ("SHA-256", found.sha256, published.sha256),
        ("MD5", found.md5, published.md5),
    ):
        if should_be is not None and is_now != should_be:
            raise DigestError(f"its {kind} is {is_now}, published is {should_be}")
    if published.known or remembered is None:
        return sha256
    first = trusted(remembered)
    if first is None:
        _check_whole(path, remembered.name)
        write_note(_note(remembered), f"{sha256}  {remembered.name}\n")
    elif sha256 != first:
        note = _note(remembered).name
        raise DigestError(
            f"its SHA-256 is {sha256}, the first time it was {first} "
            f"(where the change is known to be right, remove {note})"
        )
    return sha256


def digests_of(path: Path) -> Digests:
    """Both digests of the file, from one reading."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            sha256.update(piece)
            md5.update(piece)
    return Digests(sha256.hexdigest(), md5.hexdigest())


def trusted(path: Path) -> str | None:
    """The SHA-256 that the file had the first time; None where there was no first time.

    Raises:
        DigestError: the note of it is damaged.
    """
    note = _note(path)
    text = read_note(note)
    if text is None:
        return None
    found = _LINE.match(text)
    if found is None:
        raise DigestError(f"{note.name} beside it holds no SHA-256; remove that file to trust the archive as it is")
    return found[1]


def _check_whole(path: Path, name: str) -> None:
    """Nothing; an archive that nothing else vouches for can be read to its end, and its own checksums fit.

    Raises:
        DigestError: it cannot: it is damaged, or a part of one.
    """
    try:
        if name.lower().endswith((".tar.gz", ".tgz")):
            with gzip.open(path) as file:
                while file.read(_PIECE_BYTES):
                    pass
        elif name.lower().endswith(".zip") and not zipfile.is_zipfile(path):
            raise DigestError("is no whole zip archive")
    except (OSError, EOFError, zlib.error) as error:
        raise DigestError(f"is damaged or not whole: {error}") from None


def read_note(path: Path) -> str | None:
    """What a small file beside a download says; None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(_NOTE_BYTES).decode("utf-8", "replace")


def write_note(path: Path, text: str) -> None:
    """Writes a small file beside a download, whole, and never through a link that lies there."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    with partial.open("x", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
