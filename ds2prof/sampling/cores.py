"""How busy the host is, as a whole and core by core: ``/proc/stat``.

Busy is user, nice, system, irq and softirq; time that the hypervisor took (steal) and time in which an idle core had
input or output outstanding (iowait) are rows of their own. Blind spots: the kernel counts in ticks (10 ms nearly
everywhere), which at a period of 100 ms is a step of 10 %; what lies beyond a whole period is carried into the next
one, so that no reading exceeds 1 and their sum is exact to a tick. Two threads on one physical core count as two cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from ds2prof.sampling.rows import MEAN, Row

_BUSY: Final = (0, 1, 2, 5, 6)
"""Columns of a line: user nice system idle iowait irq softirq steal guest guest_nice; user and nice hold the guests."""
_IOWAIT: Final = 4
_STEAL: Final = 7
_LINE_BYTES: Final = 256
_MAX_CARRIED_TICKS: Final = 3
_NS_PER_S: Final = 1_000_000_000


class Ticks(NamedTuple):
    """What one line of ``/proc/stat`` counts."""

    busy: int
    iowait: int
    steal: int


def ticks_in(text: bytes) -> Iterator[tuple[str, Ticks]]:
    """(``cpu`` for the host or ``cpu3`` for a core, its ticks) for each line of processors."""
    for line in text.split(b"\n"):
        if not line.startswith(b"cpu"):
            return
        name, *cells = line.split()
        if len(cells) <= _STEAL or not all(map(bytes.isdigit, cells)):  # cut off, or a kernel before 2.6.11
            continue
        counts = list(map(int, cells))
        yield name.decode("ascii", "replace"), Ticks(sum(counts[at] for at in _BUSY), counts[_IOWAIT], counts[_STEAL])


class Share:
    """Ticks of each period as a share of it, at most 1: what lies beyond is carried into the next period.

    Args:
        tick_ns: the length of a tick.
        lanes: how many cores the ticks come from.
    """

    def __init__(self, tick_ns: int, *, lanes: int = 1) -> None:
        self._tick_ns = tick_ns
        self._lanes = lanes
        self._carried_ns = 0

    def __call__(self, ticks: int, period_ns: int) -> float:
        """The share of the period; 0 where a counter was set back."""
        room_ns = self._lanes * period_ns
        busy_ns = max(0, ticks) * self._tick_ns + self._carried_ns
        self._carried_ns = min(max(0, busy_ns - room_ns), _MAX_CARRIED_TICKS * self._lanes * self._tick_ns)
        return min(busy_ns, room_ns) / room_ns


class _Counter:
    """One line over time."""

    def __init__(self, tick_ns: int, *, lanes: int, entity: str | None, start_ns: int, mono_ns: int) -> None:
        self.before: Ticks | None = None
        self.start_ns = start_ns
        self.mono_ns = mono_ns
        self._entity = entity
        self._shares = [Share(tick_ns, lanes=lanes) for _ in Ticks._fields]

    def rows(self, ticks: Ticks, start_ns: int, mono_ns: int) -> list[Row]:
        """The readings of the time since the last ones: for a core how busy it was, for the host all three."""
        before, begin_ns, period_ns = self.before, self.start_ns, mono_ns - self.mono_ns
        if before is not None and period_ns <= 0:
            return []
        self.before, self.start_ns, self.mono_ns = ticks, start_ns, mono_ns
        if before is None:
            return []
        names = ("cpu.utilization", "cpu.iowait", "cpu.steal") if self._entity is None else ("cpu.utilization",)
        return [
            Row(name, "ratio", share(now - then, period_ns), begin_ns, period_ns, None, self._entity, MEAN)
            for name, share, now, then in zip(names, self._shares, ticks, before, strict=False)
        ]


class Cores:
    """Readings of the host and of each core.

    Args:
        path: ``/proc/stat``, kept open: a core that goes offline leaves it, and comes back with its counts.
    """

    def __init__(self, path: str = "/proc/stat", *, tick_hz: int | None = None) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._tick_ns = _NS_PER_S // (tick_hz or os.sysconf("SC_CLK_TCK"))
        self._counters: dict[str, _Counter] = {}
        self._bytes = _LINE_BYTES * 8
        self.count = sum(name != "cpu" for name, _ in ticks_in(self._text()))
        """How many cores are online at the start."""

    def _text(self) -> bytes:
        text = os.pread(self._file, self._bytes, 0)
        while len(text) == self._bytes and b"\nintr" not in text:  # so many cores; interrupts are not read
            self._bytes *= 2
            text = os.pread(self._file, self._bytes, 0)
        return text

    def rows(self, start_ns: int, mono_ns: int, *, each: bool) -> list[Row]:
        """The readings of the time since the last call: of the host, and with ``each`` of every core.

        Args:
            start_ns: this moment, Unix time.
            mono_ns: this moment, monotonic.
            each: whether each core is read, the last time of which may be longer ago.
        """
        found: list[Row] = []
        for name, ticks in ticks_in(self._text()):
            if name == "cpu":
                found += self._of("cpu", ticks, start_ns, mono_ns, lanes=max(1, self.count))
            elif each:
                found += self._of(name, ticks, start_ns, mono_ns, lanes=1)
            else:
                break
        return found

    def _of(self, name: str, ticks: Ticks, start_ns: int, mono_ns: int, *, lanes: int) -> list[Row]:
        counter = self._counters.get(name)
        if counter is None:
            entity = None if name == "cpu" else f"core {name[3:]}"
            counter = _Counter(self._tick_ns, lanes=lanes, entity=entity, start_ns=start_ns, mono_ns=mono_ns)
            self._counters[name] = counter
        return counter.rows(ticks, start_ns, mono_ns)

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)
