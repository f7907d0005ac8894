"""What the program and all that it started take of the host: processor time, memory, and its busiest thread.

Processes are found by their parents, and kept until they end even where they get another parent. Time of a child that
has ended comes back as its parent's time of waited-for children, so that it counts once. Blind spots: what a child took
before it was first seen (half a second, longer where thousands of processes run) counts in the period in which it is;
memory that processes share counts in each of them as ``resident``, and once in all as ``pss``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ds2prof.sampling.rows import MEAN, Row

_PROC: Final = Path("/proc")
_NS_PER_S: Final = 1_000_000_000
_BYTES_PER_KIB: Final = 1024
_STAT_BYTES: Final = 2048
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MAX_PROCESSES: Final = 400
"""How many are followed: each is an open file."""


class Stat(NamedTuple):
    """What ``/proc/PID/stat`` says."""

    parent: int
    ticks: int
    """Of its own threads, and of its children that it has waited for."""
    resident_pages: int
    threads: int


def stat_in(text: bytes) -> Stat | None:
    """What the line says; None for one that is empty, as that of a process that has ended."""
    fields = text.rpartition(b")")[2].split()  # the name in front of them may hold anything
    if len(fields) < 22 or fields[0] in (b"X", b"x"):
        return None
    own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return Stat(int(fields[1]), own + children, int(fields[21]), int(fields[17]))


def descendants(roots: Iterable[int], parent_of: Mapping[int, int]) -> set[int]:
    """The processes and all that came of them."""
    children: dict[int, list[int]] = {}
    for process, parent in parent_of.items():
        children.setdefault(parent, []).append(process)
    waiting = list(roots)
    found = set(waiting)
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found.update(new)
        waiting += new
    return found


@dataclass
class Tree:
    """The program's processes.

    Attributes:
        root: the program.
        proc: where the kernel tells of processes.
        tick_ns: the length of the ticks that it counts in.
    """

    root: int
    proc: Path = _PROC
    tick_ns: int = field(default_factory=lambda: _NS_PER_S // os.sysconf("SC_CLK_TCK"))
    _files: dict[int, int] = field(default_factory=dict)
    _parent_of: dict[int, int] = field(default_factory=dict)
    _last: dict[int, Stat] = field(default_factory=dict)
    _run_ns: dict[tuple[int, int], int] = field(default_factory=dict)
    _mono_ns: int | None = None
    _threads_mono_ns: int | None = None
    _threads_start_ns: int = 0
    _start_ns: int = 0

    def begin(self, start_ns: int, mono_ns: int) -> None:
        """Takes note that the program begins now: what it takes counts from here."""
        self._start_ns, self._mono_ns = start_ns, mono_ns

    def find(self) -> None:
        """Looks for processes that are new; of one that was seen before, the parent is known."""
        there = {int(name) for name in os.listdir(self.proc) if name.isdigit()}  # noqa: PTH208 - they may be thousands
        self._parent_of = {process: parent for process, parent in self._parent_of.items() if process in there}
        for process in there - self._parent_of.keys():
            with suppress(OSError):
                found = stat_in((self.proc / str(process) / "stat").read_bytes())
                if found is not None:
                    self._parent_of[process] = found.parent
        for process in sorted(descendants((self.root, *self._files), self._parent_of) - self._files.keys()):
            if len(self._files) >= _MAX_PROCESSES:
                return
            with suppress(OSError):
                self._files[process] = os.open(self.proc / str(process) / "stat", os.O_RDONLY | os.O_CLOEXEC)

    def rows(self, start_ns: int, mono_ns: int) -> list[Row]:
        """Cores that the program kept busy since the last call (1.0 is one whole core)."""
        now = dict(self._stats())
        before, self._last = self._last, now
        begin_ns, self._start_ns = self._start_ns, start_ns
        begin_mono_ns, self._mono_ns = self._mono_ns, mono_ns
        if not now or begin_mono_ns is None or mono_ns <= begin_mono_ns:
            return []
        period_ns = mono_ns - begin_mono_ns
        cores = spent(before, now) * self.tick_ns / period_ns
        return [Row("program.cpu", "cores", cores, begin_ns, period_ns, aggregation=MEAN)]

    def _stats(self) -> Iterator[tuple[int, Stat]]:
        """What is known of each process that is still there; a file of one that has ended is let go of."""
        for process, file in tuple(self._files.items()):
            found = None
            with suppress(OSError):
                found = stat_in(os.pread(file, _STAT_BYTES, 0))
            if found is None:
                os.close(self._files.pop(process))
            else:
                yield process, found

    def thread_rows(self, start_ns: int, mono_ns: int) -> list[Row]:
        """How much of a core the busiest thread of the program took since the last call.

        At 1 the program waits for one thread, however idle the other cores are; which thread that is may change from
        one period to the next.
        """
        now = {key: run_ns for process in self._files for key, run_ns in self._threads(process)}
        before, self._run_ns = self._run_ns, now
        begin_ns, self._threads_start_ns = self._threads_start_ns, start_ns
        begin_mono_ns, self._threads_mono_ns = self._threads_mono_ns, mono_ns
        spent_ns = [run_ns - before[key] for key, run_ns in now.items() if key in before]
        if begin_mono_ns is None or mono_ns <= begin_mono_ns or not spent_ns:
            return []
        period_ns = mono_ns - begin_mono_ns
        share = min(1.0, max(0, *spent_ns, 0) / period_ns)
        return [Row("program.busiest_thread", "ratio", share, begin_ns, period_ns, aggregation=MEAN)]

    def _threads(self, process: int) -> Iterator[tuple[tuple[int, int], int]]:
        """((process, thread), nanoseconds that it ran) for each thread."""
        folder = self.proc / str(process) / "task"
        with suppress(OSError):
            for thread in os.listdir(folder):  # noqa: PTH208 - the same
                with suppress(OSError):
                    cells = (folder / thread / "schedstat").read_bytes().split()
                    if cells and cells[0].isdigit():
                        yield (process, int(thread)), int(cells[0])

    def census_rows(self, start_ns: int) -> list[Row]:
        """How many processes and threads the program is now, and its memory."""
        now = self._last.values()
        if not now:
            return []
        sizes = [size for process in self._files if (size := _pss(self.proc / str(process))) is not None]
        return [
            Row("program.processes", "count", len(now), start_ns),
            Row("program.threads", "count", sum(stat.threads for stat in now), start_ns),
            Row("program.resident", "byte", sum(stat.resident_pages for stat in now) * _PAGE_BYTES, start_ns),
            *([Row("program.pss", "byte", sum(sizes), start_ns)] if sizes else []),
        ]

    def close(self) -> None:
        """Lets go of all files."""
        while self._files:
            os.close(self._files.popitem()[1])


def spent(before: Mapping[int, Stat], now: Mapping[int, Stat]) -> int:
    """Ticks that passed between two looks at a tree.

    One that has gone took its ticks along, and its parent has got them; one whose parent did not wait for it is lost.
    """
    return max(0, sum(stat.ticks for stat in now.values()) - sum(stat.ticks for stat in before.values()))


def _pss(folder: Path) -> int | None:
    with suppress(OSError):
        for line in (folder / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * _BYTES_PER_KIB
    return None
