"""Archives, unpacked whole or not at all, and nowhere but into their own folder.

An archive is a stranger's. Its members' names may point elsewhere, it may hold links and devices, and a small one may
swell until the disk is full. So: names that leave the folder, devices and doubled names refuse the whole archive;
files are made anew with plain permissions; a link is never made, but one that names a regular file of the same archive
becomes a copy of it (TED-LIUM 3 has such links), and other links are left out and counted. How many members, how large
and how much larger than the archive it all may be is limited, while it is written and not by what the archive claims.

It is unpacked under the name ``FOLDER.unpacking`` and renamed at the end, so that a folder under its own name is whole.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ds2prof.errors import ReadError
from ds2prof.units import format_bytes

_PIECE_BYTES: Final = 1 << 20
_HEADER_BYTES: Final = 1 << 24
"""No member's header is longer, its long names and extended attributes included."""
_RATIO_FROM_BYTES: Final = 1 << 26
"""Below this much, no ratio is a bomb."""
_DAMAGE: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)
"""What the readers of archives raise over damaged ones: more than they promise."""


@dataclass(frozen=True)
class Limits:
    """What an archive may become.

    Attributes:
        members: So many files, folders and links at most. (The largest LibriSpeech archive has 150,000.)
        member_bytes: The largest file.
        total_bytes: All files together.
        ratio: How much larger than the archive they may be together. Speech shrinks to a half or a tenth.
    """

    members: int = 5_000_000
    member_bytes: int = 50 * 10**9
    total_bytes: int = 500 * 10**9
    ratio: float = 100.0


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        folder: Where it lies.
        files: How many files there are.
        size_bytes: How large they are together.
        left_out: The names of links that lead to no file of the archive, the first hundred.
        left_out_count: How many there are.
    """

    folder: Path
    files: int
    size_bytes: int
    left_out: tuple[str, ...] = ()
    left_out_count: int = 0


class _RefusedError(Exception):
    """The archive is not one that is unpacked; the message says why, without its name."""


def unpack(
    archive: Path, folder: Path, *, limits: Limits | None = None, show: Callable[[int, int], None] | None = None
) -> Unpacked:
    """What the archive holds, in ``folder``, which is replaced if it is there.

    Args:
        archive: A tar archive, plain or compressed by gzip, bzip2 or xz, or a zip archive; its first bytes tell which.
        folder: Where to.
        limits: What it may become.
        show: Is told how many files and bytes are out.

    Raises:
        ReadError: it is damaged, cut off, none of these kinds, or does what an archive of speech has no reason to do.
        OSError: the disk is full or cannot be written to.
    """
    partial = folder.with_name(folder.name + ".unpacking")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        try:
            out = _Out(partial, archive.stat().st_size, limits or Limits(), show or (lambda files, size_bytes: None))
            _read(archive, out)
            out.join_links()
        except _RefusedError as error:
            raise ReadError(f"{archive}: {error}; it was not unpacked") from None
        except FileNotFoundError:
            raise ReadError(f"{archive}: there is no such file") from None
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Unpacked(folder, out.files, out.size_bytes, tuple(out.left_out), out.left_out_count)


def _read(archive: Path, out: _Out) -> None:
    with archive.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            _zip(file, out)
            return
        try:
            with closing(_decompressed(file, head)) as stream:
                _tar(_Budgeted(stream), out)
        except _DAMAGE as error:
            raise _RefusedError(f"is damaged or cut off ({error})") from None
        except OSError as error:
            if error.errno is None:  # the decompressors' own
                raise _RefusedError(f"is damaged or cut off ({error})") from None
            raise


def _decompressed(file: IO[bytes], head: bytes) -> IO[bytes]:
    if head[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if head[:3] == b"BZh":
        return bz2.BZ2File(file)
    if head[:6] == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(file)
    if head[257:262] != b"ustar":
        page = ", but perhaps a web page" if head.lstrip()[:1] == b"<" else ""
        raise _RefusedError(f"is no tar, gzip, bzip2, xz or zip archive{page}")
    return file


class _Budgeted:
    """A stream that a header cannot read on from without end: tarfile holds headers in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.left: int | None = _HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            _RefusedError: they belong to a header, and it has had enough.
        """
        piece = self._stream.read(size)
        if self.left is not None:
            self.left -= len(piece)
            if self.left < 0:
                raise _RefusedError(f"has a header of over {format_bytes(_HEADER_BYTES)}")
        return piece


def _tar(stream: _Budgeted, out: _Out) -> None:
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16, errorlevel=2) as tar:  # type: ignore[call-overload]
        while True:
            stream.left = _HEADER_BYTES
            member = tar.next()
            if member is None:
                break
            tar.members = []  # it would keep all of them
            stream.left = None
            _take_member(tar, member, out)
    stream.left = None
    while stream.read(_PIECE_BYTES):  # to the end, where the decompressor finds its checksum
        out.check_time_to_stop(_PIECE_BYTES)


def _take_member(tar: tarfile.TarFile, member: tarfile.TarInfo, out: _Out) -> None:
    if member.isdir():
        out.folder(member.name)
    elif member.issym():
        out.link(member.name, str(PurePosixPath(member.name).parent / member.linkname))
    elif member.islnk():
        out.link(member.name, member.linkname)
    elif member.isreg() and not member.issparse():
        stream = tar.extractfile(member)
        assert stream is not None
        out.file(member.name, stream, member.size)
    else:
        raise _RefusedError(f"holds {member.name!r}, which is no plain file, folder or link")


def _zip(file: IO[bytes], out: _Out) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                mode = member.external_attr >> 16
                if member.is_dir():
                    out.folder(member.filename)
                elif stat.S_ISLNK(mode):
                    out.leave_out(member.filename)
                elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise _RefusedError(f"holds {member.filename!r}, which is no plain file, folder or link")
                elif member.flag_bits & 1:
                    raise _RefusedError("is encrypted")
                else:
                    with archive.open(member) as stream:
                        out.file(member.filename, stream, member.file_size)
    except _DAMAGE as error:
        raise _RefusedError(f"is damaged or cut off ({error})") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a directory that points before the file's beginning
            raise _RefusedError("is damaged or cut off (it points out of itself)") from None
        raise


class _Out:
    """The folder that is filled, and what is in it so far."""

    def __init__(self, folder: Path, archive_bytes: int, limits: Limits, show: Callable[[int, int], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._allowed_bytes = min(limits.total_bytes, max(int(archive_bytes * limits.ratio), _RATIO_FROM_BYTES))
        self._show = show
        self._members = 0
        self._links: list[tuple[str, Path, str]] = []
        self._behind_bytes = 0
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
            _RefusedError: it has another size, or a limit is reached.
        """
        path = self._place(name)
        if size_bytes > self._limits.member_bytes:
            raise _RefusedError(f"holds {name!r} of {format_bytes(size_bytes)}, more than a file may have")
        self._make(path.parent)
        written = 0
        try:
            with path.open("xb") as file:
                while piece := stream.read(_PIECE_BYTES):
                    written += len(piece)
                    self._grow(len(piece))
                    file.write(piece)
        except FileExistsError:
            raise _RefusedError(f"holds {name!r} twice") from None
        if written != size_bytes:
            raise _RefusedError(f"is cut off: {name!r} has {written} of {size_bytes} bytes")
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
            except _RefusedError:
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

    def check_time_to_stop(self, size_bytes: int) -> None:
        """Nothing, as long as what stands behind the last member is not endless.

        Raises:
            _RefusedError: it is.
        """
        self._behind_bytes += size_bytes
        if self._behind_bytes > self._allowed_bytes:
            raise _RefusedError("goes on without end behind its last file")

    def _note(self, name: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < 100:
            self.left_out.append(name)

    def _place(self, name: str, *, may_be_top: bool = False) -> Path:
        self._members += 1
        if self._members > self._limits.members:
            raise _RefusedError(f"holds more than {self._limits.members:,} members")
        return self._folder / _inside(name, may_be_top=may_be_top)

    def _make(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _RefusedError(f"holds {path.name!r} as a file and as a folder") from None

    def _grow(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        if self.size_bytes > self._allowed_bytes:
            raise _RefusedError(
                f"would become larger than {format_bytes(self._allowed_bytes)}, which is no longer speech but a bomb"
            )


def _inside(name: str, *, may_be_top: bool = False) -> PurePosixPath:
    """The member's path below the folder.

    Raises:
        _RefusedError: it is absolute, leaves the folder, or holds what no name of a file here has.
    """
    path = PurePosixPath(name)
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or (not parts and not may_be_top):
        raise _RefusedError(f"holds {name!r}, which lies outside of its folder")
    if "\0" in name or "\\" in name or any(len(os.fsencode(part)) > 255 for part in _encodable(parts, name)):
        raise _RefusedError(f"holds {name[:100]!r}, which can be no file's name")
    if len(parts) > 64:
        raise _RefusedError(f"holds folders in folders, {len(parts)} deep")
    return PurePosixPath(*parts)


def _encodable(parts: list[str], name: str) -> Iterator[str]:
    for part in parts:
        try:
            os.fsencode(part)
        except UnicodeEncodeError:
            raise _RefusedError(f"holds {name[:100]!r}, which can be no file's name") from None
        yield part
