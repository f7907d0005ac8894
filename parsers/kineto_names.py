"""What names in a PyTorch trace mean: ranges, memory kinds, processes, threads."""

from __future__ import annotations

import re
from typing import Any, Final

from ds2prof.config import RANGE_DOMAIN
from ds2prof.parsers.kineto_columns import INT64_MAX
from ds2prof.parsers.kineto_events import Metadata
from ds2prof.parsers.range_names import kind_of_range

_NUMBER: Final = re.compile(r"(?:stream )?([0-9]{1,18}) ?\Z")
_MEMORY: Final = re.compile(r"\(([A-Za-z ]+?)(?: -> ([A-Za-z ]+))?\)\Z")
_UNKNOWN_MEMORY: Final = frozenset({"unknown", "unrecognized", "force int"})
MARKS: Final = ("ProfilerStep#", f"{RANGE_DOMAIN}:")


def is_range(name: str) -> bool:
    """Whether an operator of this name is a range: old releases wrote annotations as operators."""
    return name.startswith(MARKS) and kind_of_range(name)[0] != "user"


def memory_kinds(name: str) -> tuple[str | None, str | None]:
    """Where a copy reads and writes by its name (``Memcpy HtoD (Pageable -> Device)``); a set only writes."""
    found = _MEMORY.search(name)
    kinds = [text.lower() for text in found.groups() if text] if found else []
    known = [None if kind in _UNKNOWN_MEMORY else kind for kind in kinds]
    return (known[0], known[1]) if len(known) == 2 else (None, known[0] if known else None)


class Ids(dict[Any, int | None]):
    """A process or thread as the file has it -> its number; None for the text of something else (``Spans``)."""

    def __missing__(self, value: Any) -> int | None:
        if isinstance(value, str):
            found = _NUMBER.match(value)
            number = int(found[1]) if found else None
        else:
            number = value if isinstance(value, int) and 0 <= value <= INT64_MAX else None
        self[value] = number
        return number


class ProcessNames:
    """Processes and threads by the names that the trace gives them; those of devices are left out."""

    def __init__(self) -> None:
        self._ids = Ids()
        self._processes: dict[int, str] = {}
        self._labels: dict[int, str] = {}
        self._threads: dict[tuple[int, int], str] = {}

    def add(self, found: Metadata) -> None:
        """Take in one name."""
        process, thread = self._ids[found.process], self._ids[found.thread]
        if process is None:
            return
        if found.name == "process_name":
            self._processes[process] = _name(found, "name")
        elif found.name == "process_labels":
            self._labels[process] = _name(found, "labels")
        elif found.name == "thread_name" and thread is not None:
            self._threads[process, thread] = _name(found, "name")

    def processes(self) -> dict[int, str]:
        """The name of each host process."""
        return {process: name for process, name in self._processes.items() if self._is_host(process)}

    def threads(self) -> dict[tuple[int, int], str]:
        """The name of each thread of a host process."""
        return {key: name for key, name in self._threads.items() if self._is_host(key[0])}

    def _is_host(self, process: int) -> bool:
        """Whether a process is none of those that stand for devices, where the trace labels its processes."""
        return not self._labels or not self._labels.get(process, "GPU").startswith("GPU")


def _name(found: Metadata, key: str) -> str:
    value = found.arguments.get(key)
    return value.strip() if isinstance(value, str) else ""
