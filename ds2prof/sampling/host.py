"""The host's memory and load, and which of its cores the program may use how much of."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from ds2prof.sampling.rows import MEAN, Row, fact

_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_BYTES_PER_KIB: Final = 1024


def facts(start_ns: int, *, cores: int, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> list[Row]:
    """How many cores are online, which of them the program may run on, and how many it is given the time of."""
    allowed = sorted(os.sched_getaffinity(0))
    found = [
        fact("cpu.count", cores, start_ns=start_ns),
        fact("cpu.allowed", ranges_text(allowed), start_ns=start_ns),
        fact("cpu.allowed_count", len(allowed), start_ns=start_ns),
    ]
    quota = quota_cores(proc=proc, cgroups=cgroups)
    if quota is not None:
        found.append(fact("cpu.quota_cores", quota, start_ns=start_ns))
    model = re.search(rb"(?m)^model name\s*:\s*(.+?)\s*$", _bytes(proc / "cpuinfo"))
    if model:
        found.append(fact("cpu.model", model.group(1).decode("utf-8", "replace"), start_ns=start_ns))
    return found


def rows(start_ns: int, *, proc: Path = _PROC) -> list[Row]:
    """Memory in use (what could not be had without swapping) and the load of the last minute."""
    found = []
    size_of = {
        name: int(kib) * _BYTES_PER_KIB
        for name, kib in re.findall(rb"(?m)^(MemTotal|MemAvailable):\s+(\d+) kB", _bytes(proc / "meminfo"))
    }
    if len(size_of) == 2:
        found.append(Row("host.memory_used", "byte", size_of[b"MemTotal"] - size_of[b"MemAvailable"], start_ns))
    load = _bytes(proc / "loadavg").split()
    with suppress(ValueError, IndexError):
        found.append(Row("host.load_1min", "count", float(load[0]), start_ns))
    return found


def ranges_text(numbers: Iterable[int]) -> str:
    """Ascending numbers as the kernel writes a list of cores, blanks between: ``0-3 8 10-11``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def quota_cores(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float | None:
    """How many cores' time the control groups of this process allow it; None where they do not limit it."""
    return min((quota for quota, _ in _quotas(proc, cgroups)), default=None)


class Quota:
    """How often the tightest quota of the control groups ran out: then all threads of the program stand still."""

    def __init__(self, *, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> None:
        found = sorted(_quotas(proc, cgroups))
        self._file = found[0][1] / "cpu.stat" if found else None
        self._before: tuple[int, int] | None = None
        self._start_ns = self._mono_ns = 0

    def rows(self, start_ns: int, mono_ns: int) -> list[Row]:
        """The share of the quota's own periods (mostly 100 ms) since the last call in which it ran out."""
        counts = dict(re.findall(rb"(?m)^(nr_periods|nr_throttled) (\d+)$", _bytes(self._file) if self._file else b""))
        if len(counts) < 2:
            return []
        now = (int(counts[b"nr_periods"]), int(counts[b"nr_throttled"]))
        before, self._before = self._before, now
        begin_ns, self._start_ns = self._start_ns, start_ns
        period_ns, self._mono_ns = mono_ns - self._mono_ns, mono_ns
        if before is None or now[0] <= before[0] or period_ns <= 0:
            return []
        share = (now[1] - before[1]) / (now[0] - before[0])
        return [Row("cpu.quota_exhausted", "ratio", share, begin_ns, period_ns, aggregation=MEAN)]


def _quotas(proc: Path, cgroups: Path) -> list[tuple[float, Path]]:
    """(cores, folder) of each control group around this process that has a quota."""
    return [(quota, folder) for folder in _folders(proc, cgroups) if (quota := _quota(folder)) is not None]


def _folders(proc: Path, cgroups: Path) -> Iterator[Path]:
    """The folders of this process's control groups and of those around them, of both versions."""
    for line in _bytes(proc / "self" / "cgroup").decode("utf-8", "replace").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = [cgroups / "cpu", cgroups / controllers] if controllers else [cgroups, cgroups / "unified"]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for root in roots:
            yield from (root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _quota(folder: Path) -> float | None:
    cells = _bytes(folder / "cpu.max").split()
    if len(cells) != 2:
        cells = [*_bytes(folder / "cpu.cfs_quota_us").split(), *_bytes(folder / "cpu.cfs_period_us").split()]
    if len(cells) != 2 or not (cells[0].isdigit() and cells[1].isdigit()) or not int(cells[1]):
        return None  # "max", or -1, is no limit
    return int(cells[0]) / int(cells[1])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
