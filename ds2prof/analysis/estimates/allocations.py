"""Memory over time: what allocations and releases add up to, how high it stood, and what was running then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer
from ds2prof.analysis.attribution import lookup
from ds2prof.analysis.groups import combined
from ds2prof.analysis.windows import text_mask, timed
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile, Table

BY: Final = "allocation"
MOMENT: Final = "moment"
POINTS: Final = 1000
"""So many points of each allocator's timeline at most."""
TABLES: Final = ("allocations", "ops", "ranges", "api")
_UNCOUNTED: Final = ("pageable", "pinned")
"""Memory of the host, which stands beside that of a device under the same device."""
_NOTES: Final = (
    "peak: where the source states what its allocator had handed out, that; else the greatest sum of allocations less "
    "releases since the capture began, what was there before not counted",
    "during: the operator, else the range, else the call that was open on the allocating thread at the peak",
)
_HELD_NOTE: Final = (
    "held: where the source states what its allocator had handed out, that; else allocations less releases since the "
    "capture began, what was there before not counted"
)


@dataclass(frozen=True, eq=False)
class Timeline:
    """What one allocator held, in order of time.

    Attributes:
        device_type, device, kind: whose memory (kind: torch for the framework's allocator, else the driver's memory).
        rows: of the table of allocations.
        start_ns: of each allocation or release.
        held_bytes: after it.
        is_stated: whether the source states it, or it is the sum since the capture began.
    """

    device_type: str | None
    device: int | None
    kind: str | None
    rows: IntArray
    start_ns: IntArray
    held_bytes: IntArray
    is_stated: bool

    @property
    def peak(self) -> int:
        """Place of the highest value, the first of equal ones."""
        return int(self.held_bytes.argmax())


def timelines(profile: Profile) -> list[Timeline]:
    """The timeline of each allocator: device type, device and kind of memory; most rows first.

    Held = the allocator's own count after each event where every event states one, else the running sum of allocations
    less releases. Blind spots: a running sum starts at 0 with the capture, so that releases of what was there before
    may take it below; the framework's cache holds more of the device than it has handed out (``reserved_bytes``).
    """
    table = profile.table("allocations")
    if not len(table):
        return []
    kinds, types = table["kind"], table["device_type"]
    codes, firsts = combined(
        [kinds.values.astype(np.int64), types.values.astype(np.int64), table.ints("device", null=-1)]
    )
    found = []
    for code, first in enumerate(firsts.tolist()):
        rows = np.flatnonzero(codes == code)
        rows = rows[np.argsort(table.ints("start_ns")[rows], kind="stable")]
        one = table.take(np.array([first]))
        names = [one[name].tolist()[0] for name in ("device_type", "device", "kind")]
        found.append(_timeline(table, rows, *names))
    return sorted(found, key=lambda line: -len(line.rows))


def _timeline(table: Table, rows: IntArray, device_type: str | None, device: int | None, kind: str | None) -> Timeline:
    stated = table["allocated_bytes"].take(rows)
    is_stated = bool(stated.present.all()) and bool(stated.values.any())
    held = stated.values if is_stated else np.cumsum(table.ints("size_bytes")[rows])
    return Timeline(device_type, device, kind, rows, table.ints("start_ns")[rows], held, is_stated)


def reduced(line: Timeline, points: int) -> tuple[IntArray, IntArray]:
    """(times, held bytes) of at most ``points`` points that keep the peak: of equal stretches of time the highest.

    A stretch without an event has no point: what was held before holds on.
    """
    if len(line.start_ns) <= points:
        return line.start_ns, line.held_bytes
    begin, end = int(line.start_ns[0]), int(line.start_ns[-1])
    place = (line.start_ns - begin) * points // max(end - begin + 1, 1)
    order = np.lexsort((-line.held_bytes, place))
    chosen = np.sort(order[np.diff(place[order], prepend=-1) != 0])
    return line.start_ns[chosen], line.held_bytes[chosen]


def allocation_table(profile: Profile) -> Answer:
    """How high each allocator's memory stood, when, and what was open then.

    Raises:
        MissingDataError: no allocation was recorded.
    """
    found = timelines(profile)
    if not found:
        raise _nothing(profile)
    rows = [_row(profile, line) for line in found]
    columns: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    return Answer(BY, columns, _NOTES)


def moments(profile: Profile) -> Answer:
    """What each allocator held over time: a row for each event, of many the highest of each of :data:`POINTS` spans.

    Raises:
        MissingDataError: no allocation was recorded.
    """
    found = timelines(profile)
    if not found:
        raise _nothing(profile)
    begin_ns = min(int(line.start_ns[0]) for line in found)
    names = ("device_type", "device", "kind", "start_ns", "since_ns", "held_bytes")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for line in found:
        times, held = reduced(line, POINTS)
        whose = (line.device_type, line.device, line.kind)
        parts = (*([value] * len(times) for value in whose), times.tolist(), (times - begin_ns).tolist(), held.tolist())
        for name, values in zip(names, parts, strict=True):
            columns[name].extend(values)
    notes = [_HELD_NOTE]
    if any(len(line.rows) > POINTS for line in found):
        notes.append(f"of equal stretches of time, {POINTS:,} for an allocator, the highest value alone")
    return Answer(BY, columns, tuple(notes))


def _nothing(profile: Profile) -> MissingDataError:
    return MissingDataError(
        f"{profile.meta.file}: no allocations in this file; record them with profile_memory=True (torch.profiler) or "
        "--cuda-memory-usage=true (nsys)"
    )


def _row(profile: Profile, line: Timeline) -> dict[str, Any]:
    table = profile.table("allocations").take(line.rows)
    sizes = table.ints("size_bytes")
    reserved = table["reserved_bytes"]
    at_ns = int(line.start_ns[line.peak])
    return {
        "device_type": line.device_type,
        "device": line.device,
        "kind": line.kind,
        "allocations": int((sizes > 0).sum()),
        "releases": int((sizes < 0).sum()),
        "total_bytes": int(sizes[sizes > 0].sum()),
        "peak_bytes": int(line.held_bytes[line.peak]),
        "end_bytes": int(line.held_bytes[-1]),
        "reserved_bytes": int(reserved.values[reserved.present].max()) if reserved.present.any() else None,
        "peak_start_ns": at_ns,
        "since_ns": at_ns - int(profile.table("allocations").ints("start_ns").min()),
        "during": _open_at(profile, line),
    }


def _open_at(profile: Profile, line: Timeline) -> str | None:
    """What was open on the allocating thread at the peak."""
    table = profile.table("allocations")
    row = line.rows[line.peak : line.peak + 1]
    keys = {name: table.ints(name, null=-1)[row] for name in ("process", "thread") if table[name].present[row].all()}
    if not keys:
        return None
    for name in ("ops", "ranges", "api"):
        spans = timed(profile.table(name))
        if name == "api":
            spans = spans.take(~text_mask(spans, "domain", "sync", "backtrace"))
        found = lookup(spans, table.ints("start_ns")[row], keys) if len(spans) else np.array([-1])
        if found[0] >= 0:
            text: str | None = spans["name"].take(found).tolist()[0]
            return text
    return None
