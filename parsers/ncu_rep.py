"""Nsight Compute reports: ``.ncu-rep`` and its forerunner ``.nsight-cuprof-report``, of every version since CUDA 10.0.

The container is walked here first (grammar in ``ncu_rep_container``), so that a report that is cut short or damaged is
refused with the place. The values are then read by NVIDIA's own library, the package ``ncu-report``, which is an extra
(``ds2prof[ncu]``): metrics are stored without their units, which only the library knows. It is native code, so it runs
in processes of its own (``ncu_rep_process``).

What a report gives is what the raw page of ``ncu --import`` prints of it, in base units, without rounding: one launch
a result, in file order. A result is a kernel, or a range, a graph or a command list that was profiled as one. Metrics
that are sampled within a launch (``pmsampling:``, ``warpsampling:``) are rows of the table of samples, their times on
the GPU's own clock, each pass of the replay with its own. Other metrics with instances (by opcode, by address) give
their own value alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ds2prof.errors import ReadError
from ds2prof.parsers.ncu_rep_container import KNOWN_VERSION, MAGIC, Container, walk
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Meta, Profile, Table

FORMAT: Final = "ncu-rep"

_TOOL: Final = "Nsight Compute Target"
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_CACHE_CONTROL: Final = re.compile(r"--cache-control[ =](\w{1,16})")
_TABLES_OF: Final[Mapping[str, str]] = {"rules": "rules", "samples": "samples", "kernels": "nvtx"}
"""Table -> the part of a result that it is made of, besides its metrics."""


def sniff(head: bytes) -> bool:
    """Whether the stream begins as a report does."""
    return head.startswith(MAGIC)


def parse(source: Source) -> Profile:
    """The profile of the results in the report: kernels, counters, samples, rules, devices, processes.

    Raises:
        ReadError: the report is cut short or damaged, holds no result, or the package that reads it is missing.
    """
    return Profile(lambda names: _loaded(source, names))


def _loaded(source: Source, names: frozenset[str]) -> Loaded:
    with source.file() as path:
        container = walk(path, source.name)
        if not container.results:
            raise ReadError(
                f"{source.name}: an Nsight Compute report without results; was the profiled stretch reached?"
            )
        tables, warnings = _read(path, source.name, container, names)
    return Loaded(_meta(source, container), tables, (*_doubts(source.name, container), *warnings))


def _read(
    path: Path, name: str, container: Container, names: frozenset[str]
) -> tuple[Mapping[str, Table], tuple[str, ...]]:
    from ds2prof.parsers import ncu_rep_process
    from ds2prof.parsers.ncu_rep_tables import Collected, metrics_for

    library = ncu_rep_process.library_folder()
    if library is None:
        raise ReadError(
            f"{name}: {_description(container)}; to read it, pip install 'ds2prof[ncu]', or export it: "
            "ncu --import FILE --csv --page raw --print-units base > FILE.csv"
        )
    wanted = ncu_rep_process.Wanted(
        parts=tuple(part for table, part in _TABLES_OF.items() if table in names), only=metrics_for(names)
    )
    collected = Collected(name, container)
    for answered in ncu_rep_process.answers(path, name, container, library=library, wanted=wanted):
        collected.add(answered)
    if collected.is_empty:
        raise ReadError(f"{name}: {_description(container)}, of which NVIDIA's library reads none; is it damaged?")
    return collected.tables(names), collected.warnings()


def _description(container: Container) -> str:
    count = len(container.results)
    version = _tool_version(container)
    tool = "Nsight Compute" if version is None else f"Nsight Compute {version}"
    return f"a report of {tool} with {count:,} launch{'es' if count != 1 else ''}"


def _tool_version(container: Container) -> str | None:
    found = _VERSION.match(container.tools.get(_TOOL, ""))
    return found.group() if found else None


def _meta(source: Source, container: Container) -> Meta:
    locked = {result.is_locked for result in container.results if result.is_locked is not None}
    cache = _CACHE_CONTROL.findall(container.command)
    facts = {tool: _printable(version) for tool, version in container.tools.items() if tool != _TOOL}
    command = {"command": _printable(container.command)} if container.command else {}
    return Meta(
        file=source.name,
        tool="Nsight Compute",
        format=FORMAT,
        dialect=f"container {container.version}",
        tool_version=_tool_version(container),
        times="replay",
        clock_control=("base" if locked.pop() else "none") if len(locked) == 1 else None,
        cache_control=cache[-1] if cache else None,
        facts={**{_printable(tool): version for tool, version in facts.items()}, **command},
    )


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").strip()


def _doubts(name: str, container: Container) -> Iterator[str]:
    if container.version != KNOWN_VERSION:
        yield f"{name}: version {container.version} of the report's container; only {KNOWN_VERSION} is known here"
    if container.odd_names:
        yield f"{name}: {container.odd_names} metrics whose names are damaged are left out"
    if len({result.is_locked for result in container.results if result.is_locked is not None}) > 1:
        yield f"{name}: the clocks were locked for some launches only; their times do not compare"
