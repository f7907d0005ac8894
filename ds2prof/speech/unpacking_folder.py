"""The folder that an archive is unpacked to: which names may be in it, and how much of everything.

What is here knows nothing of archives' formats; :mod:`ds2prof.speech.unpacking` reads them.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ds2prof.units import format_bytes

_PIECE_BYTES: Final = 1 << 20
_UNWRITABLE: Final = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
"""What a file system answers to a name that it cannot hold."""


@dataclass(frozen=True)
class Limits:
    """What an archive may become.

    Attributes:
        members: So many files, folders and links at most. (The largest LibriSpeech archive has 150,000.)
        member_bytes: The largest file.
        total_bytes: All files together.
        ratio: How much larger than the archive they may be together. Speech shrinks to a half or a tenth.
        harmless_bytes: Below this much, no ratio is a bomb.
    """

    members: int = 5_000_000
    member_bytes: int = 50 * 10**9
    total_bytes: int = 500 * 10**9
    ratio: float = 100.0
    harmless_bytes: int = 1 << 26


class RefusedError(Exception):
    """The archive is not one that is unpacked; the message says why, without its name."""


class Out:
    """The folder that is filled, and what is in it so far."""

    def __init__(self, folder: Path, archive_bytes: int, limits: Limits, show: Callable[[int, int], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._allowed_bytes = min(limits.total_bytes, max(int(archive_bytes * limits.ratio), limits.harmless_bytes))
        self._show = show
        self._members = 0
        self._links: list[tuple[str, Path, str]] = []
        self._beside_bytes = 0
        self.files = 0
        self.size_bytes = 0
        self.left_out: list[str] = []
        self.left_out_count = 0

    def folder(self, name: str) -> None:
        """Makes a folder."""
        path = self._place(name, may_be_top=True)
        self._make(path)

    def file(self, name: str, stream: IO[bytes], size_bytes: int) -> None:
        """Writes a file of that size.

        Raises:
            RefusedError: it has another size, or a limit is reached.
        """
        path = self._place(name)
        if size_bytes > self._limits.member_bytes:
            raise RefusedError(f"holds {name!r} of {format_bytes(size_bytes)}, more than a file may have")
        self._make(path.parent)
        written = 0
        with _created(path, name) as file:
            while piece := stream.read(_PIECE_BYTES):
                written += len(piece)
                self._grow(len(piece))
                file.write(piece)
        if written != size_bytes:
            raise RefusedError(f"is cut off: {name!r} has {written} of {size_bytes} bytes")
        self.files += 1
        self._show(self.files, self.size_bytes)

    def link(self, name: str, target: str) -> None:
        """Remembers a link until all files are there."""
        self._links.append((name, self._place(name), target))

    def leave_out(self, name: str) -> None:
        """Counts a link that is not followed."""
        self._place(name)
        self._note(name)

    def join_links(self) -> None:
        """Makes each link to a regular file of the archive a second name of that file."""
        for name, path, target in self._links:
            try:
                found = self._folder / _inside(os.path.normpath(target))
            except RefusedError:
                self._note(name)
                continue
            if not found.is_file() or path.exists():
                self._note(name)
                continue
            self._make(path.parent)
            try:
                os.link(found, path)
            except OSError:  # a file system without links
                self._grow(found.stat().st_size)
                shutil.copyfile(found, path)
            self.files += 1

    def count_beside(self, size_bytes: int) -> None:
        """Nothing, as long as headers and what stands behind the last member are not endless.

        Raises:
            RefusedError: they are.
        """
        self._beside_bytes += size_bytes
        if self._beside_bytes > self._allowed_bytes:
            raise RefusedError("goes on without end beside its files")

    def _note(self, name: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < 100:
            self.left_out.append(name)

    def _place(self, name: str, *, may_be_top: bool = False) -> Path:
        self._members += 1
        if self._members > self._limits.members:
            raise RefusedError(f"holds more than {self._limits.members:,} members")
        return self._folder / _inside(name, may_be_top=may_be_top)

    def _make(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise RefusedError(f"holds {path.name!r} as a file and as a folder") from None
        except OSError as error:
            raise _unwritable(path.name, error) from None

    def _grow(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        if self.size_bytes > self._allowed_bytes:
            raise RefusedError(
                f"would become larger than {format_bytes(self._allowed_bytes)}, which is no longer speech but a bomb"
            )


def _created(path: Path, name: str) -> IO[bytes]:
    """The file, which was not there."""
    try:
        return path.open("xb")
    except FileExistsError:
        raise RefusedError(f"holds {name[:100]!r} twice") from None
    except OSError as error:
        raise _unwritable(name, error) from None


def _unwritable(name: str, error: OSError) -> OSError | RefusedError:
    """The error, as the archive's fault where the file system cannot hold such a name."""
    if error.errno not in _UNWRITABLE:
        return error
    return RefusedError(f"holds {name[:100]!r}, which can be no file's name here ({error.strerror})")


def _inside(name: str, *, may_be_top: bool = False) -> PurePosixPath:
    """The member's path below the folder.

    Raises:
        RefusedError: it is absolute, leaves the folder, or holds what no name of a file here has.
    """
    path = PurePosixPath(name)
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or (not parts and not may_be_top):
        raise RefusedError(f"holds {name!r}, which lies outside of its folder")
    if "\0" in name or "\\" in name or any(len(os.fsencode(part)) > 255 for part in _encodable(parts, name)):
        raise RefusedError(f"holds {name[:100]!r}, which can be no file's name")
    if len(parts) > 64:
        raise RefusedError(f"holds folders in folders, {len(parts)} deep")
    return PurePosixPath(*parts)


def _encodable(parts: list[str], name: str) -> Iterator[str]:
    for part in parts:
        try:
            os.fsencode(part)
        except UnicodeEncodeError:
            raise RefusedError(f"holds {name[:100]!r}, which can be no file's name") from None
        yield part
