"""torch.profiler as ds2prof uses it: lean or with detail, and its trace on disk, whole and small.

Lean is for durations: operators and kernels with their times and nothing else. Detail is for attribution: shapes,
modules, stacks, memory and synchronization, which slow down every step that they are recorded of. The training script
records through this module too.
"""

from __future__ import annotations

import errno
import gzip
import importlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import torch
from torch.profiler import ProfilerActivity, profile

_CHUNK_BYTES = 1 << 20
_OPERATOR = b'"cat": "cpu_op"'
_TAIL_BYTES = 1 << 20
_EVENTS = b'"traceEvents"'
_EVENTS_END = re.compile(rb'(?:\}|"traceEvents":\s*\[)\s*(\])')
"""The events' closing bracket. Members stand behind it: a few, or those that describe thousands of ranks."""


def profiler(activities: Sequence[ProfilerActivity], *, detail: bool, all_threads: bool = False) -> profile:
    """A profiler that has not been prepared yet.

    Args:
        activities: What is recorded.
        detail: Whether to record what attribution needs: shapes, modules and stacks, memory, synchronization.
        all_threads: Whether to record every thread of the process, as far as this version of torch can, and not only
            the one that starts the recording, with autograd's. Any thread may then end it.
    """
    return profile(
        activities=list(activities),
        record_shapes=detail,
        profile_memory=detail,
        with_stack=detail,
        with_modules=detail,
        experimental_config=_experimental(
            enable_cuda_sync_events=detail,
            profile_all_threads=all_threads,
            trace_only=not detail,  # no Python objects are made of the events, which nobody here would look at
        ),
    )


def knows_all_threads() -> bool:
    """Whether this version of torch can record all threads, and any of them end the recording."""
    return _experimental_known("profile_all_threads")


def _experimental(**wanted: bool) -> Any:
    """A configuration with what is wanted and known to this version of torch; each version knows other options."""
    kind = getattr(torch.profiler, "_ExperimentalConfig", None)
    if kind is None:
        return None
    return kind(**{name: value for name, value in wanted.items() if _experimental_known(name)})


def _experimental_known(name: str) -> bool:
    kind = getattr(torch.profiler, "_ExperimentalConfig", None)
    try:
        return kind is not None and kind(**{name: False}) is not None
    except TypeError:
        return False


@contextmanager
def quiet(*, on_gpu: bool) -> Iterator[None]:
    """Keeps Kineto from announcing its starts and stops on standard error, if it is first used in this context.

    The level for that is above its errors. With a GPU they are let through, since an error of CUPTI's explains a trace
    without kernels; without one none matters.
    """
    name = "KINETO_LOG_LEVEL"
    if on_gpu or name in os.environ:
        yield
        return
    os.environ[name] = "6"
    try:
        yield
    finally:
        del os.environ[name]  # or the program's children would inherit it


def export(done: profile, target: str, *, raw: str, renames: Sequence[tuple[str, str]] = ()) -> bool:
    """Whether the recording holds any operator; only then was it written to ``target``, compressed.

    Exported plain and compressed here: PyTorch's own way to a .gz takes ten times as long.

    Args:
        done: A profiler that was stopped. PyTorch exports it only once.
        target: Where the trace goes.
        raw: Where the plain trace lies meanwhile. A system's temporary folder may be too small for it.
        renames: Names of ranges as they are and as they shall be.

    Raises:
        OSError: it cannot be written.
    """
    try:
        done.export_chrome_trace(raw)
        _require_complete(raw)
        if not _holds(raw, _OPERATOR):
            return False
        compress(raw, target, renames=renames)
        return True
    finally:
        if os.path.exists(raw):
            os.unlink(raw)


def compress(source: str, target: str, *, renames: Sequence[tuple[str, str]] = ()) -> None:
    """Writes ``source``, gzipped, to ``target``, a piece at a time; with isal where it is installed, it is faster."""
    with open(source, "rb") as plain, _gzip_writer(target) as packed:
        if renames:
            packed.writelines(_renamed(plain, renames))
        else:
            shutil.copyfileobj(plain, packed, _CHUNK_BYTES)


def _renamed(lines: IO[bytes], renames: Sequence[tuple[str, str]]) -> Iterator[bytes]:
    """The lines, names in quotation marks replaced. Kineto writes no line breaks inside of an event's head."""
    pairs = [(f'"{old}"'.encode(), f'"{new}"'.encode()) for old, new in renames]
    for line in lines:
        for old, new in pairs:
            if old in line:
                line = line.replace(old, new)
        yield line


def _require_complete(path: str) -> None:
    """Nothing, if the trace ends as a trace does; Kineto takes no notice of a disk that is full.

    Raises:
        OSError: it ends early.
    """
    with open(path, "rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(size_bytes - _TAIL_BYTES, 0))
        tail = file.read()
    begin = tail.rfind(_EVENTS)
    if (begin < 0 and size_bytes <= _TAIL_BYTES) or not _ends_whole(tail, max(begin, 0)):
        raise OSError(errno.ENOSPC, "the trace ends early; is the disk full?")


def _ends_whole(tail: bytes, begin: int) -> bool:
    """Whether some closing bracket is followed by members of an object, and by the end of that and of the text.

    Brackets that close lists of objects are tried, the last one first. In the events there are next to none, and a text
    that breaks off has no such end behind them either.
    """
    text = tail.rstrip()
    if not text.endswith(b"}"):
        return False
    brackets = [found.start(1) for found in _EVENTS_END.finditer(text, begin)]
    return any(_is_object(b'{"":[' + text[at:]) for at in reversed(brackets))


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text.decode("utf-8", "replace"), strict=False), dict)
    except ValueError:
        return False


def _holds(path: str, words: bytes) -> bool:
    """Whether the words stand somewhere in a file."""
    with open(path, "rb") as file:
        before = b""
        for piece in iter(lambda: file.read(_CHUNK_BYTES), b""):
            if words in before + piece:
                return True
            before = piece[-len(words) :]
    return False


def _gzip_writer(target: str) -> IO[bytes]:
    try:
        opener: Any = importlib.import_module("isal.igzip").open
    except ImportError:
        opener = gzip.open
    writer: IO[bytes] = opener(target, "wb", compresslevel=1)
    return writer
