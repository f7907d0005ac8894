"""Where bytes come from: a path, a folder, standard input, gzip, tar; opened read-only and bounded.

A :class:`Source` is one stream that a parser can open more than once. ``find_sources(path)`` gives those behind a name:
one for a file, several for a folder or an archive of ranks. Nothing is ever written beside the input: what cannot be
read twice (standard input, a member of an archive) is spooled to an unnamed temporary file. Modules
that packed or spooled streams alone need are imported where such a stream is met.
"""

from __future__ import annotations

import io
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from ds2prof.errors import ReadError
from ds2prof.measurements import is_measurement

if TYPE_CHECKING:
    import tempfile

HEAD_BYTES: Final = 64 << 10
MAX_STREAM_BYTES: Final = 64 << 30
"""What one stream may hold unpacked. Parsers stream, so that a bomb costs time, not memory; this bounds the time."""
MAX_MEMBERS: Final = 4096
_SPOOL_BYTES: Final = 32 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_DIGITS: Final = re.compile(r"(\d+)")

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Source:
    """One stream of bytes with a name to show.

    Attributes:
        name: for messages; a member of an archive stands behind a colon.
        head: the first 64 KiB, unpacked; all of a shorter stream.
        path: the file that holds it, where there is one.
        size_bytes: of the file on disk (packed, if it is), for progress; None where unknown.
        is_plain: whether ``path`` holds just these bytes, neither packed nor among others.
    """

    name: str
    head: bytes = field(repr=False)
    opener: Callable[[], BinaryIO] = field(repr=False)
    path: Path | None = None
    size_bytes: int | None = None
    is_plain: bool = False

    def open(self) -> BinaryIO:
        """The stream from its first byte. The caller closes it."""
        return self.opener()

    @contextmanager
    def file(self) -> Iterator[Path]:
        """A file with these bytes, for libraries that take no stream: the source's own, or a private copy until exit.

        Raises:
            ReadError: the stream cannot be read, or there is no room for the copy.
        """
        if self.is_plain and self.path is not None:
            yield self.path
            return
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory(prefix="ds2prof-") as folder:
            copy = Path(folder) / "unpacked"
            try:
                with self.open() as stream, copy.open("wb") as file:
                    shutil.copyfileobj(stream, file, 1 << 20)
            except OSError as error:
                raise ReadError(f"{self.name}: cannot be unpacked into {folder}: {error.strerror}") from None
            yield copy


def find_sources(path: str | Path, *, progress: Progress | None = None) -> Iterator[Source]:
    """The streams behind a path, ``-`` being standard input; ``progress`` is told the bytes read from disk.

    Raises:
        ReadError: there is no such file, it cannot be opened, or the folder holds no measurement.
    """
    if str(path) == "-":
        yield from _unpacked(_spooled(sys.stdin.buffer, "standard input"), "standard input", None)
        return
    if not str(path):
        raise ReadError("'': no file is named (an unset variable?)")
    path = Path(path)
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        yield from _folder(path, progress)
    elif stat.S_ISREG(mode):
        yield from _unpacked(lambda: _opened(path, progress), str(path), path)
    else:  # a pipe, such as the shell's <(command), can be read once only
        with _opened(path, progress) as stream:
            opener = _spooled(stream, str(path))
        yield from _unpacked(opener, str(path), None)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}") from None


def _folder(folder: Path, progress: Progress | None) -> Iterator[Source]:
    try:
        found = sorted((path for path in folder.iterdir() if is_measurement(path)), key=lambda p: natural_key(p.name))
    except OSError as error:
        raise ReadError(f"{folder}: cannot be read: {error.strerror}") from None
    if not found:
        raise ReadError(
            f"{folder}: no measurement in this folder (exports and reports are passed over); run 'bash run_profile.sh' "
            "to make one"
        )
    for path in found:
        yield from _unpacked(lambda path=path: _opened(path, progress), str(path), path)  # type: ignore[misc]


def natural_key(name: str) -> list[tuple[int, str]]:
    """A sort key that puts ``rank2`` before ``rank10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(name)]


def _opened(path: Path, progress: Progress | None) -> BinaryIO:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened: {error.strerror}") from None
    return stream if progress is None else cast(BinaryIO, io.BufferedReader(_Counted(stream, progress), 1 << 20))


class _Counted(io.RawIOBase):
    """A file that tells ``progress`` what was read from it."""

    def __init__(self, stream: BinaryIO, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        count = cast(io.RawIOBase, self._stream).readinto(buffer) or 0
        self._progress(count)
        return count

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; what is passed over on the way forward counts as read."""
        before = self._stream.tell()
        at = self._stream.seek(offset, whence)
        self._progress(max(at - before, 0))
        return at

    def tell(self) -> int:
        return self._stream.tell()

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        self._stream.close()
        super().close()


def _unpacked(
    opener: Callable[[], BinaryIO], name: str, path: Path | None, *, is_member: bool = False
) -> Iterator[Source]:
    """The sources in one file: itself, unpacked if gzip, or each member if tar."""
    head = _head(opener, name)
    is_plain = path is not None and not head.startswith(_GZIP_MAGIC) and not is_member
    if head.startswith(_GZIP_MAGIC):
        packed = opener

        def opener() -> BinaryIO:
            return _gunzipped(packed, name)

        head = _head(opener, name)
    if head[257:262] == b"ustar":
        yield from _members(opener, name, path)
        return
    size_bytes = path.stat().st_size if path is not None else None
    yield Source(name, head, opener, path, size_bytes, is_plain)


def _head(opener: Callable[[], BinaryIO], name: str) -> bytes:
    with opener() as stream:
        try:
            return stream.read(HEAD_BYTES)
        except (OSError, EOFError) as error:
            raise ReadError(f"{name}: cannot be read: {error}") from None


def _gunzipped(opener: Callable[[], BinaryIO], name: str) -> BinaryIO:
    packed = opener()
    try:
        from isal import igzip
    except ImportError:
        return cast(BinaryIO, io.BufferedReader(_Gunzipped(_plain_gzip(packed), packed, name), 1 << 20))
    stream = igzip.IGzipFile(fileobj=packed, mode="rb")  # type: ignore[no-untyped-call]
    return cast(BinaryIO, io.BufferedReader(_Gunzipped(stream, packed, name, reopen=opener), 1 << 20))


def _plain_gzip(packed: BinaryIO) -> io.BufferedIOBase:
    import gzip

    return gzip.GzipFile(fileobj=packed, mode="rb")


class _Gunzipped(io.RawIOBase):
    """The unpacked bytes of a gzip stream, bounded; damage behind the first bytes reads as an early end.

    ``truncated`` of the stream cannot be asked through a BufferedReader, so that the parser sees the early end itself:
    its grammar is then incomplete, which it reports.

    At an early end isal drops what it unpacked last. With ``reopen`` the bytes behind those already given are then read
    again by Python's own gzip, so that the same file reads alike with isal and without.
    """

    def __init__(
        self,
        stream: io.BufferedIOBase,
        packed: BinaryIO,
        name: str,
        *,
        reopen: Callable[[], BinaryIO] | None = None,
    ) -> None:
        self._stream = stream
        self._packed = packed
        self._name = name
        self._reopen = reopen
        self._read_bytes = 0
        self._known_bytes = 0  # given already, and to be passed over

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self._unpacked(len(buffer))
        self._read_bytes += len(data)
        if self._read_bytes > MAX_STREAM_BYTES:
            raise ReadError(f"{self._name}: more than {MAX_STREAM_BYTES >> 30} GiB unpacked; refused")
        buffer[: len(data)] = data
        return len(data)

    def _unpacked(self, size: int) -> bytes:
        """The next bytes, up to ``size``; none at the end."""
        try:
            while (known := self._known_bytes) and (data := self._stream.read1(min(known, size))):
                self._known_bytes -= len(data)
            return self._stream.read1(size)
        except EOFError:
            if self._reopen is None and not self._read_bytes:
                raise ReadError(f"{self._name}: damaged gzip after 0 bytes: it ends there") from None
            if self._reopen is None:
                return b""
        except (OSError, ValueError) as error:
            raise ReadError(f"{self._name}: damaged gzip after {self._read_bytes} bytes: {error}") from None
        except Exception as error:  # zlib.error and isal's own have no common base
            raise ReadError(f"{self._name}: damaged gzip after {self._read_bytes} bytes: {error}") from None
        self._start_again(self._reopen)
        return self._unpacked(size)

    def _start_again(self, reopen: Callable[[], BinaryIO]) -> None:
        self._stream.close()
        self._packed.close()
        self._packed, self._reopen = reopen(), None
        self._stream = _plain_gzip(self._packed)
        self._known_bytes = self._read_bytes

    def close(self) -> None:
        self._stream.close()
        self._packed.close()
        super().close()


def _spooled(stream: BinaryIO, name: str) -> Callable[[], BinaryIO]:
    """An opener of the stream's bytes, which are kept in memory or an unnamed file."""
    import shutil
    import tempfile

    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115  closed with its last reader
    shutil.copyfileobj(stream, spool, 1 << 20)
    if spool.tell() == 0:
        raise ReadError(f"{name}: empty")
    return lambda: cast(BinaryIO, io.BufferedReader(_Spool(spool), 1 << 20))


class _Spool(io.RawIOBase):
    """A reader with a position of its own over a shared spool."""

    def __init__(self, spool: tempfile.SpooledTemporaryFile[bytes]) -> None:
        self._spool = spool
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        self._spool.seek(self._position)
        data = self._spool.read(len(buffer))
        self._position += len(data)
        buffer[: len(data)] = data
        return len(data)


def _members(opener: Callable[[], BinaryIO], name: str, path: Path | None) -> Iterator[Source]:
    """One source per regular file of a tar, in natural order of their names."""
    import tarfile

    spools: list[tuple[str, Callable[[], BinaryIO]]] = []
    try:
        with opener() as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isfile() or Path(member.name).name.startswith("."):
                    continue
                if len(spools) == MAX_MEMBERS:
                    raise ReadError(f"{name}: more than {MAX_MEMBERS} files in this archive; unpack it first")
                content = archive.extractfile(member)
                assert content is not None
                spools.append((f"{name}:{member.name}", _spooled(cast(BinaryIO, content), member.name)))
    except (tarfile.TarError, EOFError) as error:
        raise ReadError(f"{name}: damaged tar archive: {error}") from None
    if not spools:
        raise ReadError(f"{name}: an archive without files")
    for member_name, member_opener in sorted(spools, key=lambda item: natural_key(item[0])):
        yield from _unpacked(member_opener, member_name, path, is_member=True)
