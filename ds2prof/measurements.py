"""Measurements as files: their names, the sidecar beside each, and writing them whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, Final

from ds2prof.config import STEMS
from ds2prof.errors import CaptureError, ExistsError, UsageError

SIDECAR_SUFFIX: Final = ".meta.json"
SIDECAR_SCHEMA: Final = "ds2prof-meta/1"
LOG_SUFFIX: Final = ".log"
SNAPSHOT_SUFFIX: Final = ".snapshot.pickle"
"""PyTorch's own record of allocations, beside a memory capture. It is a pickle: never opened here."""
CALIBRATION_NAME: Final = "calibration.json"
"""What profilers cost on this machine, as ``ds2prof calibrate`` writes it into a folder of measurements."""
_TAG = re.compile(r"[A-Za-z0-9.-]+")
_TEMPORARY: Final = re.compile(r"\.([0-9a-f]{8})-(\d+)\.partial(?:\.|$)")
"""In the name of a temporary file: the machine and the process that writes it."""


def measurement_name(
    profiler: str,
    batch_size: int,
    *,
    extension: str,
    tag: str | None = None,
    rank: int | None = None,
    timestamp_s: int | None = None,
) -> str:
    """``STEM_bs<B>[_<tag>][_rank<r>].EXT``; with ``timestamp_s`` the stem is ``STEM_<timestamp>``, as nvprof's.

    Raises:
        UsageError: the tag holds something else than letters, digits, ``.`` and ``-``.
    """
    check_tag(tag)
    stem = STEMS[profiler] if timestamp_s is None else f"{STEMS[profiler]}_{timestamp_s}"
    tag_part = "" if tag is None else f"_{tag}"
    rank_part = "" if rank is None else f"_rank{rank}"
    return f"{stem}_bs{batch_size}{tag_part}{rank_part}.{extension}"


def check_tag(tag: str | None) -> None:
    """Nothing, if the tag can stand in a file name.

    Raises:
        UsageError: it holds something else than letters, digits, ``.`` and ``-``.
    """
    if tag is not None and not _TAG.fullmatch(tag):
        raise UsageError(f"--tag {tag!r}: only letters, digits, '.' and '-' can stand in a file name here")


def refuse_existing(path: Path, *, force: bool = False) -> None:
    """Nothing, if ``path`` may be written.

    Raises:
        ExistsError: it exists, and ``force`` was not given; or another process is about to write it.
        CaptureError: it is a folder.
    """
    if path.is_dir():
        raise CaptureError(f"{path}: is a folder; name the file to write")
    if path.exists() and not force:
        raise ExistsError(f"{path}: exists already; give another name (--tag NAME, -o FILE), or --force to replace it")
    writer = _writer(path)
    if writer is not None:
        raise ExistsError(f"{path}: is being written by another capture (process {writer}); give --tag NAME")


def make_room(path: Path) -> None:
    """Nothing; ``path``'s folder is there, its name leaves room for the sidecar's, and dead captures' files are gone.

    Raises:
        CaptureError: the folder cannot be made or written to, or the name is too long.
    """
    folder = path.parent
    longest = temporary_path(sidecar_path(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        longest.touch()
        longest.unlink()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise CaptureError(
                f"{path.name}: this name is too long here; a shorter one leaves room for others"
            ) from None
        raise CaptureError(f"{folder}: cannot be written to: {error.strerror}") from None
    remove_stale(folder)


def temporary_path(path: Path) -> Path:
    """A name in ``path``'s own folder, hidden, with ``path``'s full extension, that no other process uses."""
    name, _, extensions = path.name.partition(".")
    return path.with_name(f".{name}.{_machine()}-{os.getpid()}.partial.{extensions}")


def remove_stale(folder: Path) -> tuple[str, ...]:
    """The names of the temporary files that processes of this machine left which are no more; they are gone now."""
    removed = []
    for path in folder.glob(".*.partial*"):
        writer = _TEMPORARY.search(path.name)
        if writer is not None and writer[1] == _machine() and not _lives(int(writer[2])):
            with suppress(OSError):
                path.unlink()
                removed.append(path.name)
    return tuple(removed)


def place(partial: Path, path: Path, *, force: bool) -> None:
    """Nothing; ``partial`` has the name ``path`` now.

    Raises:
        ExistsError: another process wrote it meanwhile, and ``force`` was not given.
        OSError: it cannot be put there.
    """
    if force:
        partial.replace(path)
        return
    try:
        os.link(partial, path)  # unlike a rename it never replaces what is there
    except FileExistsError:
        raise ExistsError(f"{path}: was written by another capture meanwhile; give --tag NAME") from None
    except OSError:  # a file system without links
        refuse_existing(path)
        partial.replace(path)
    else:
        partial.unlink()


def _writer(path: Path) -> int | None:
    """The process of this machine, not ours, that has a temporary file for ``path``."""
    name, _, extensions = path.name.partition(".")
    for found in path.parent.glob(f".{escape(name)}.{_machine()}-*.partial.{escape(extensions)}*"):
        writer = _TEMPORARY.search(found.name)
        if writer is not None and int(writer[2]) != os.getpid() and _lives(int(writer[2])):
            return int(writer[2])
    return None


def _machine() -> str:
    """A few letters for this machine: process ids are its own, and a folder may be shared by several."""
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def refuse_input(output: Path | None, files: Iterable[str]) -> None:
    """Nothing, where the output is none of the files that were read: to replace a measurement would lose it.

    Raises:
        UsageError: it is one of them.
    """
    if output is None or not output.is_file():
        return
    own = os.path.realpath(output)
    if any(os.path.realpath(file) == own for file in files):
        raise UsageError(f"-o {output}: is one of the files to read; give another name")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes ``path``'s name when the block ends well and vanishes when it does not.

    A link stays and its target is replaced. What is no regular file (``/dev/stdout``, a pipe) is written to as it is:
    to rename over a device would destroy it.

    Raises:
        CaptureError: it is a folder, its folder cannot be made, or the file cannot be put in place.
    """
    target = _target(path)
    if target is None:
        yield path
        return
    partial = temporary_path(target)
    try:
        yield partial
        partial.replace(target)
    except FileNotFoundError:
        raise CaptureError(f"{path}: was not written") from None
    except OSError as error:
        if error.filename != str(partial):
            raise
        raise CaptureError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _target(path: Path) -> Path | None:
    """The regular file that ``path`` is or will be, in a folder that is there; None where it is a device or a pipe."""
    try:
        if path.is_dir():
            raise CaptureError(f"{path}: is a folder; name the file to write")
        if path.exists() and not path.is_file():
            return None
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaptureError(f"{path}: cannot be written: {error.strerror}") from None
    return target


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a measurement lies: the full file name with ``.meta.json`` behind it."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def write_sidecar(path: Path, facts: Mapping[str, Any]) -> Path:
    """The sidecar's path, written beside the measurement ``path``.

    Raises:
        CaptureError: it cannot be written.
    """
    import json

    target = sidecar_path(path)
    with written_whole(target) as partial:
        try:
            partial.write_text(json.dumps({"schema": SIDECAR_SCHEMA, **facts}, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CaptureError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def read_sidecar(path: Path, *, limit_bytes: int = 1 << 20) -> dict[str, Any] | None:
    """The facts of the sidecar beside ``path``; None where there is none or it is not one of ours."""
    target = sidecar_path(path)
    try:
        if target.stat().st_size > limit_bytes:
            return None
        import json  # most measurements of others have no sidecar

        facts = json.loads(target.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or facts.get("schema") != SIDECAR_SCHEMA:
        return None
    return facts


def is_measurement(path: Path) -> bool:
    """Whether a file in a folder is a measurement: not hidden, not beside one (sidecar, log...), not made of some."""
    from ds2prof.derived import is_derived

    name = path.name
    return (
        path.is_file()
        and not name.startswith(".")
        and name != CALIBRATION_NAME
        and not name.endswith((SIDECAR_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, ".qdstrm", ".md"))
        and not is_derived(path)
    )


def commit_of(folder: Path) -> str | None:
    """The git commit checked out in ``folder``, ``-dirty`` behind it where files differ; None outside a checkout."""
    import subprocess  # what only reads measurements does not wait for it

    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
