"""Measurements as files: their names, the sidecar beside each, and writing them whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ds2prof.config import STEMS
from ds2prof.errors import CaptureError, ExistsError, UsageError

SIDECAR_SUFFIX: Final = ".meta.json"
SIDECAR_SCHEMA: Final = "ds2prof-meta/1"
LOG_SUFFIX: Final = ".log"
_TAG = re.compile(r"[A-Za-z0-9.-]+")


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
    if tag is not None and not _TAG.fullmatch(tag):
        raise UsageError(f"--tag {tag!r}: only letters, digits, '.' and '-' can stand in a file name here")
    stem = STEMS[profiler] if timestamp_s is None else f"{STEMS[profiler]}_{timestamp_s}"
    tag_part = "" if tag is None else f"_{tag}"
    rank_part = "" if rank is None else f"_rank{rank}"
    return f"{stem}_bs{batch_size}{tag_part}{rank_part}.{extension}"


def refuse_existing(path: Path, *, force: bool = False) -> None:
    """Nothing, if ``path`` may be written.

    Raises:
        ExistsError: it exists, and ``force`` was not given.
    """
    if path.exists() and not force:
        raise ExistsError(f"{path}: exists already; give --tag NAME for a new name, or --force to replace it")


def temporary_path(path: Path) -> Path:
    """A name in ``path``'s own folder, hidden, with ``path``'s full extension, that no other process uses."""
    name, _, extensions = path.name.partition(".")
    return path.with_name(f".{name}.{os.getpid()}.partial.{extensions}")


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
    """The sidecar's path, written beside the measurement ``path``."""
    import json

    target = sidecar_path(path)
    with written_whole(target) as partial:
        partial.write_text(json.dumps({"schema": SIDECAR_SCHEMA, **facts}, indent=1) + "\n", encoding="utf-8")
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
    """Whether a file in a folder of measurements is one, and no sidecar, log, hidden file or raw nsys stream."""
    name = path.name
    return (
        path.is_file()
        and not name.startswith(".")
        and not name.endswith((SIDECAR_SUFFIX, LOG_SUFFIX, ".qdstrm", ".md"))
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
