"""Results in a limited number of files of limited size: archives that are the same bytes whenever their files are.

An archive is a ``.tar.gz`` whose files are compressed one by one, each as a gzip member of its own with its tar header;
one behind the other they are one gzip stream. So the size of an archive is known exactly before it is written, a file
is compressed once however often archives are arranged anew, and what fits is decided by the most valuable file first.

There are three kinds, by who reads them: ``measurements`` (``ds2prof parse`` takes the archive as it is), ``reports``
(those for which NVIDIA's tools or libraries are needed), ``records`` (logs, checks and sidecars). Unpacked into one
folder they are what a campaign without size limits writes.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from ds2prof.measurements import CALIBRATION_NAME, SIDECAR_SUFFIX, temporary_path
from gpu_campaign.plan import MEASUREMENTS, RECORDS, REPORTS

ARCHIVE_BYTES: Final = 15 << 20
"""No archive is larger."""
KINDS: Final = (RECORDS, MEASUREMENTS, REPORTS)
UNPACKED: Final = ("campaign.json", "summary.txt")
"""What lies beside the archives."""
LEAST_FILES: Final = len(UNPACKED) + len(KINDS)
_UNPACKED_BYTES: Final = 1 << 20
"""What is kept free for them."""
_BLOCK_BYTES: Final = 512
_CHUNK_BYTES: Final = 1 << 20
_SNAPSHOT: Final = ".pickle"
"""PyTorch's own snapshot of its memory, which lies beside the measurement and is read by PyTorch's tools alone."""
_PACKED: Final = (".gz", ".ncu-rep", ".nsys-rep")
"""Endings of what is compressed already."""
_END: Final = gzip.compress(bytes(2 * _BLOCK_BYTES), 9, mtime=0)


@dataclass(frozen=True)
class Sizes:
    """What the output folder may hold."""

    files: int | None = None
    total_bytes: int | None = None

    @property
    def limited(self) -> bool:
        """Whether results are packed at all."""
        return self.files is not None or self.total_bytes is not None


@dataclass(frozen=True)
class Wanted:
    """A file that is to be packed; 0 is the priority of what goes last."""

    name: str
    priority: int


@dataclass(frozen=True)
class Member:
    """A file, compressed as a part of an archive."""

    wanted: Wanted
    packed: Path
    packed_bytes: int
    stamp: tuple[int, int]
    """Size and time of change of the file when it was compressed."""

    @property
    def kind(self) -> str:
        """The kind of archive that it goes to: records hold what is no measurement, for all of an archive is read."""
        name = self.wanted.name
        if name.endswith((SIDECAR_SUFFIX, f"/{CALIBRATION_NAME}")):
            return RECORDS
        return REPORTS if name.endswith(_SNAPSHOT) else name.partition("/")[0]


@dataclass
class Archive:
    """An archive in the making."""

    kind: str
    members: list[Member] = field(default_factory=list)
    size_bytes: int = len(_END)

    def add(self, member: Member) -> None:
        """Takes a member in."""
        self.members.append(member)
        self.size_bytes += member.packed_bytes


class Packer:
    """Packs the files of a working folder into archives in an output folder, as often as it is asked.

    Args:
        work: Where the files lie, in a folder for each kind.
        output: Where the archives go.
        sizes: What fits there.
    """

    def __init__(self, work: Path, output: Path, sizes: Sizes) -> None:
        self._work = work
        self._output = output
        self._sizes = sizes
        self._members: dict[str, Member] = {}

    def pack(self, wanted: Iterable[Wanted]) -> dict[str, Any]:
        """What is in which archive and what did not fit, as campaign.json holds it; the archives are in place then."""
        members = [self._member(each) for each in wanted]
        archives, dropped = placed(members, self._sizes)
        names: dict[str, Archive] = {}
        for kind in KINDS:
            of_kind = [archive for archive in archives if archive.kind == kind]
            names.update({f"{kind}-{number}.tar.gz": archive for number, archive in enumerate(of_kind, start=1)})
        for name, archive in names.items():
            _write(self._output / name, archive)
        for path in self._output.glob("*.tar.gz"):
            if path.name not in names:
                path.unlink()
        return {"archives": [_facts(name, archive) for name, archive in names.items()], "dropped": dropped}

    def _member(self, wanted: Wanted) -> Member:
        """The compressed file; made anew only if the file has changed."""
        path = self._work / wanted.name
        stamp = (path.stat().st_size, path.stat().st_mtime_ns)
        known = self._members.get(wanted.name)
        if known is not None and known.stamp == stamp:
            return known
        packed = self._work / ".packed" / wanted.name.replace("/", "__")
        packed.parent.mkdir(exist_ok=True)
        _compress(path, wanted.name, packed, level=1 if path.name.endswith(_PACKED) else 6)
        if packed.stat().st_size > ARCHIVE_BYTES - len(_END):
            _compress_harder(path, wanted.name, packed)
        self._members[wanted.name] = Member(wanted, packed, packed.stat().st_size, stamp)
        return self._members[wanted.name]


def placed(members: Sequence[Member], sizes: Sizes) -> tuple[list[Archive], list[dict[str, Any]]]:
    """Archives that keep the limits, and what has no place in them with the reason; the most valuable comes first.

    One archive of each kind is kept free, so that no kind is crowded out by another's many files.
    """
    archives_left = None if sizes.files is None else sizes.files - len(UNPACKED)
    bytes_left = None if sizes.total_bytes is None else sizes.total_bytes - _UNPACKED_BYTES
    archives: list[Archive] = []
    dropped: list[dict[str, Any]] = []
    kinds = {member.kind for member in members}
    for member in sorted(members, key=lambda each: (each.wanted.priority, each.wanted.name)):
        there = {archive.kind for archive in archives}
        spare = None if archives_left is None else archives_left - len(archives) - len(kinds - there - {member.kind})
        reason = _misfit(member, archives, spare=spare, bytes_left=bytes_left)
        if reason is not None:
            dropped.append({"file": member.wanted.name, "packed_bytes": member.packed_bytes, "reason": reason})
            continue
        before = sum(archive.size_bytes for archive in archives)
        _archive_for(member, archives).add(member)
        if bytes_left is not None:
            bytes_left -= sum(archive.size_bytes for archive in archives) - before
    return archives, dropped


def _misfit(member: Member, archives: Sequence[Archive], *, spare: int | None, bytes_left: int | None) -> str | None:
    """Why a file has no place; None where it has."""
    if member.packed_bytes > ARCHIVE_BYTES - len(_END):
        return f"packed it is larger than the {ARCHIVE_BYTES >> 20} MiB of an archive"
    fits = any(_fits(member, archive) for archive in archives)
    cost = member.packed_bytes + (0 if fits else len(_END))
    if bytes_left is not None and cost > bytes_left:
        return "--max-mib: what is worth more fills it"
    if not fits and spare is not None and spare < 1:
        return "--max-files: what is worth more fills the archives"
    return None


def _fits(member: Member, archive: Archive) -> bool:
    return archive.kind == member.kind and archive.size_bytes + member.packed_bytes <= ARCHIVE_BYTES


def _archive_for(member: Member, archives: list[Archive]) -> Archive:
    """The first archive with room, or a new one."""
    for archive in archives:
        if _fits(member, archive):
            return archive
    archives.append(Archive(member.kind))
    return archives[-1]


def _compress(path: Path, name: str, packed: Path, *, level: int) -> None:
    """Writes the file with its tar header and padding as one gzip member; times and owners are left out."""
    header = tarfile.TarInfo(name)
    header.size = path.stat().st_size
    with (
        path.open("rb") as stream,
        packed.open("wb") as target,
        gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=level, mtime=0) as member,
    ):
        member.write(header.tobuf(tarfile.USTAR_FORMAT))
        shutil.copyfileobj(stream, member, _CHUNK_BYTES)
        member.write(bytes(-header.size % _BLOCK_BYTES))


def _compress_harder(path: Path, name: str, packed: Path) -> None:
    """Like :func:`_compress` for what came out too large; a trace, which is packed in haste, is packed anew first."""
    if not path.name.endswith(".gz"):
        _compress(path, name, packed, level=9)
        return
    harder = packed.with_name(packed.name + ".gz")
    with (
        gzip.open(path, "rb") as stream,
        harder.open("wb") as target,
        gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=9, mtime=0) as member,
    ):
        shutil.copyfileobj(stream, member, _CHUNK_BYTES)
    _compress(harder, name, packed, level=1)
    harder.unlink()


def _write(path: Path, archive: Archive) -> None:
    """Puts an archive in place, whole; one that holds the same already stays."""
    ordered = sorted(archive.members, key=lambda member: member.wanted.name)
    if (
        path.exists()
        and path.stat().st_size == archive.size_bytes
        and _checksum([path]) == _checksum([member.packed for member in ordered], _END)
    ):
        return
    partial = temporary_path(path)
    with partial.open("wb") as target:
        for member in ordered:
            _append(member.packed, target)
        target.write(_END)
        target.flush()
        os.fsync(target.fileno())
    partial.replace(path)


def _append(path: Path, target: BinaryIO) -> None:
    with path.open("rb") as stream:
        shutil.copyfileobj(stream, target, _CHUNK_BYTES)


def _checksum(paths: Sequence[Path], end: bytes = b"") -> int:
    found = 0
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                found = zlib.crc32(chunk, found)
    return zlib.crc32(end, found)


def _facts(name: str, archive: Archive) -> Mapping[str, Any]:
    files = sorted(member.wanted.name for member in archive.members)
    return {"file": name, "size_bytes": archive.size_bytes, "files": files}
