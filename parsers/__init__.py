"""Readers of what profilers write: one module per file format, ``file -> Profile``.

A parser module has ``FORMAT`` (its name), ``sniff(head) -> bool`` (are these the first bytes of my format?) and
``parse(source) -> Profile``; its docstring is the grammar of the file. The format is found from the bytes, never from
the file's name. To add one: write the module, add its name to :data:`PARSERS`, add a golden folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from ds2prof.errors import ReadError, UnknownFormatError
from ds2prof.measurements import read_sidecar
from ds2prof.parsers import foreign
from ds2prof.parsers.sources import Progress, Source, find_sources
from ds2prof.tables import Profile

PARSERS: Final = (
    "ncu_csv",
    "dcgm_dmon",
    "dcgm_prometheus",
    "ds2prof_run",
    "log_cambricon",
    "log_deepmark",
    "log_mllog",
    "log_mlperf_ds2",
    "log_tbd",
    "memory_csv",
    "ncu_log",
    "ncu_rep",
    "nsys_rep",
    "nsys_sqlite",
    "nsys_stats",
    "nvprof_sqlite",
    "nvprof_text",
    "rocprof_csv",
    "rocprof_json",
    "samples_csv",
    "smi_csv",
    "smi_dmon",
    "torch_kineto",
)
"""The parser modules, asked in this order: first what is met most. Each is imported only when it is its turn."""


class Parser(Protocol):
    """What a parser module offers."""

    FORMAT: str

    def sniff(self, head: bytes) -> bool:
        """Whether a stream that begins with ``head`` (64 KiB, or all of it) is of this format."""

    def parse(self, source: Source) -> Profile:
        """The profile in the stream."""


def parser(name: str) -> Parser:
    """The parser module of that name."""
    return cast(Parser, import_module(f"ds2prof.parsers.{name}"))


def formats() -> tuple[str, ...]:
    """The names of the formats that can be read."""
    return tuple(parser(name).FORMAT for name in PARSERS)


def parse_source(source: Source) -> Profile:
    """The profile in one stream, by the first parser that knows its first bytes.

    Raises:
        UnknownFormatError: no parser does; the message says what the file is, where that can be told.
    """
    if not source.head:
        raise UnknownFormatError(f"{source.name}: empty; was the capture interrupted?")
    for name in PARSERS:
        candidate = parser(name)
        if candidate.sniff(source.head):
            return candidate.parse(source)
    raise UnknownFormatError(f"{source.name}: {foreign.explanation(source.head)}")


def read_all(
    path: str | Path,
    *,
    tables: Sequence[str] = ("kernels",),
    progress: Progress | None = None,
    refused: Callable[[ReadError], None] | None = None,
) -> Iterator[Profile]:
    """The profiles behind a path (a file, a folder, an archive of ranks, ``-``), ``tables`` loaded, sidecar merged.

    With ``refused``, that is told of each file of a folder or archive that cannot be read, and the others are given.

    Raises:
        ReadError: a file cannot be read as what it is, or is of no known format.
    """
    for source in find_sources(path, progress=progress):
        try:
            profile = parse_source(source)
            if source.path is not None:
                profile.attach_run(read_sidecar(source.path))
            profile.require(*tables)
        except ReadError as error:
            if refused is None:
                raise
            refused(error)
            continue
        yield profile


def read(path: str | Path, *, tables: Sequence[str] = ("kernels",)) -> Profile:
    """The profile in a file.

    Raises:
        ReadError: it cannot be read, or holds several profiles (:func:`read_all` gives them).
    """
    profiles = list(read_all(path, tables=tables))
    if len(profiles) != 1:
        raise ReadError(f"{path}: {len(profiles)} profiles; ds2prof.read_all gives each")
    return profiles[0]
