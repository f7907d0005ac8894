"""Archives, unpacked whole or not at all, and nowhere but into their own folder.

An archive is a stranger's. Its members' names may point elsewhere, it may hold links and devices, and a small one may
swell until the disk is full. So: names that leave the folder, devices and doubled names refuse the whole archive;
files are made anew with plain permissions; a symbolic link is never made, but a link to a regular file of the same
archive becomes a second name of it (TED-LIUM 3 has such links), and other links are left out and counted. How many
members, how large and how much larger than the archive it all may be is limited, while it is written and not by what
the archive claims. What a tolerant reader takes for an early end (a damaged header, a missing end) is damage here.

It is unpacked under the name ``FOLDER.unpacking`` and renamed at the end, so that a folder under its own name is whole.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final

from ds2prof.errors import ReadError
from ds2prof.speech.unpacking_folder import Limits, Out, RefusedError
from ds2prof.units import format_bytes

if TYPE_CHECKING:
    from typing_extensions import Self

_PIECE_BYTES: Final = 1 << 20
_HEADER_BYTES: Final = 1 << 20
"""No member's header is longer, its long names and extended attributes included."""
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
            out = Out(partial, archive.stat().st_size, limits or Limits(), show or (lambda files, size_bytes: None))
            _read(archive, out)
            out.join_links()
        except RefusedError as error:
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


def _read(archive: Path, out: Out) -> None:
    with archive.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            _zip(file, out)
            return
        try:
            with closing(_decompressed(file, head)) as stream:
                _tar(_Budgeted(stream), out, needs_end=stream is file)
        except _DAMAGE as error:
            raise RefusedError(f"is damaged or cut off ({error})") from None
        except OSError as error:
            if error.errno is None:  # the decompressors' own
                raise RefusedError(f"is damaged or cut off ({error})") from None
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
        raise RefusedError(f"is no tar, gzip, bzip2, xz or zip archive{page}")
    return file


class _Budgeted:
    """A stream that a header cannot read on from without end: tarfile holds headers in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.left: int | None = _HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            RefusedError: they belong to a header, and it has had enough.
        """
        piece = self._stream.read(size)
        if self.left is not None:
            self.left -= len(piece)
            if self.left < 0:
                raise RefusedError(f"has a header of over {format_bytes(_HEADER_BYTES)}")
        return piece


_ENDS: Final = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_NOTHING: Final = tarfile.EmptyHeaderError  # type: ignore[attr-defined]


class _Header(tarfile.TarInfo):
    """A member, read as strictly as a copy must be: tarfile takes a damaged header for the end of the archive."""

    needs_end = False

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next member.

        Raises:
            ValueError: what stands there is no header.
            HeaderError: the archive ends here.
        """
        try:
            return super().fromtarfile(archive)
        except _ENDS:
            raise
        except _NOTHING:
            if cls.needs_end:
                raise ValueError("the mark of its end is missing") from None
            raise
        except tarfile.HeaderError as error:
            raise ValueError(str(error)) from None


class _PlainHeader(_Header):
    """The same where no checksum of a compression vouches for the end: an archive must have its mark."""

    needs_end = True


def _tar(stream: _Budgeted, out: Out, *, needs_end: bool) -> None:
    kind = _PlainHeader if needs_end else _Header
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16, errorlevel=2, tarinfo=kind) as tar:  # type: ignore[call-overload]
        while True:
            stream.left = _HEADER_BYTES
            member = tar.next()
            if member is None:
                break
            tar.members = []  # it would keep all of them
            tar.pax_headers.clear()  # and what they say of all members to come
            out.count_beside(_HEADER_BYTES - stream.left)
            stream.left = None
            _take_member(tar, member, out)
    stream.left = None
    while piece := stream.read(_PIECE_BYTES):  # to the end, where the decompressor finds its checksum
        out.count_beside(len(piece))


def _take_member(tar: tarfile.TarFile, member: tarfile.TarInfo, out: Out) -> None:
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
        raise RefusedError(f"holds {member.name!r}, which is no plain file, folder or link")


def _zip(file: IO[bytes], out: Out) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                mode = member.external_attr >> 16
                if member.is_dir():
                    out.folder(member.filename)
                elif stat.S_ISLNK(mode):
                    out.leave_out(member.filename)
                elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise RefusedError(f"holds {member.filename!r}, which is no plain file, folder or link")
                elif member.flag_bits & 1:
                    raise RefusedError("is encrypted")
                else:
                    with archive.open(member) as stream:
                        out.file(member.filename, stream, member.file_size)
    except _DAMAGE as error:
        raise RefusedError(f"is damaged or cut off ({error})") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a directory that points before the file's beginning
            raise RefusedError("is damaged or cut off (it points out of itself)") from None
        raise
