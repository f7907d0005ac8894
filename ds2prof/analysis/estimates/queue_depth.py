"""How many launches wait in each stream: launched, and not started yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.attribution import launches
from ds2prof.analysis.estimates.grouped import distinct
from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.windows import ends_ns, time_window
from ds2prof.errors import MissingDataError
from ds2prof.tables import BoolArray, IntArray, Profile

BY: Final = "queue"
TABLES: Final = ("kernels", "copies", "api", "ranges", "spans")
FULL: Final = 1024
"""So many launches wait in a stream before the call that would add one blocks."""
Definition = Literal["returned", "called"]


@dataclass(frozen=True, eq=False)
class Waits:
    """What waited in a stream: entered and left the queue, ns, and which stream."""

    device: IntArray
    stream: IntArray
    entered_ns: IntArray
    left_ns: IntArray

    def take(self, rows: IntArray | BoolArray) -> Waits:
        """The chosen rows."""
        return Waits(self.device[rows], self.stream[rows], self.entered_ns[rows], self.left_ns[rows])


def waits(profile: Profile, *, definition: Definition = "returned") -> Waits:
    """What waited: kernels, copies and sets with known calls, of a graph's work on a stream the first alone.

    ``returned``: in the queue from the return of the call to the start on the device, not at all where it started
    before. ``called``: from the start of the call, and each piece of a graph's work by itself, as Holistic Trace
    Analysis counts.
    """
    api = profile.table("api")
    parts = []
    for work in ("kernels", "copies"):
        table, calls = profile.table(work), launches(profile, "kernels" if work == "kernels" else "copies")
        rows = np.flatnonzero((calls >= 0) & table["start_ns"].present)
        began, call = table.ints("start_ns")[rows], calls[rows]
        entered = (api.ints("start_ns") if definition == "called" else ends_ns(api))[call]
        columns = (table.ints("device", null=-1), table.ints("stream", null=-1))
        parts.append((*(column[rows] for column in columns), np.minimum(entered, began), began, call))
    device, stream, entered, left, call = (np.concatenate(column) for column in zip(*parts, strict=True))
    found = Waits(device, stream, entered, left)
    return found if definition == "called" else found.take(_firsts(found, call))


def _firsts(found: Waits, call: IntArray) -> IntArray:
    """Of the work that one call put into one stream, the row that started first."""
    codes, _ = combined([found.device, found.stream, call]) if len(call) else (call, call)
    order = np.lexsort((found.left_ns, codes))
    return np.sort(order[np.diff(codes[order], prepend=-1) != 0])


def depths(entered_ns: IntArray, left_ns: IntArray) -> tuple[IntArray, IntArray]:
    """(times, depth from each time on): what enters and leaves at one time changes the depth at once."""
    times = distinct(entered_ns, left_ns)
    change = np.bincount(np.searchsorted(times, entered_ns), minlength=len(times))
    change = change - np.bincount(np.searchsorted(times, left_ns), minlength=len(times))
    return times, np.cumsum(change)


def mean_and_full(
    times_ns: IntArray, depth: IntArray, *, start_ns: int, end_ns: int, full: int = FULL
) -> tuple[float | None, int]:
    """(mean depth over [start, end), ns of it with ``full`` or more waiting)."""
    edges = np.clip(np.concatenate((times_ns, [end_ns])), start_ns, end_ns)
    lengths = np.diff(edges)
    weighed: FloatArray = lengths.astype(np.float64) * depth
    return ratio(float(weighed.sum()), end_ns - start_ns), int(lengths[depth >= full].sum())


def queue_table(profile: Profile) -> Answer:
    """The queue of each stream: how deep at most, on average over W, and how long 1,024 or more waited.

    Depth = work whose call has returned and that has not started. Blind spots: launches before the capture began do not
    count although they may be waiting; the limit of 1,024 is that of current drivers, nowhere promised; a whole graph
    counts as one.

    Raises:
        MissingDataError: no work in the file has both its call and its times.
    """
    found, called = waits(profile), waits(profile, definition="called")
    window = time_window(profile)
    if window is None or not len(found.device):
        raise MissingDataError(f"{profile.meta.file}: no work with both its call and its times; record the CUDA calls")
    rows = []
    codes, one_of_each = combined([found.device, found.stream])
    for code, example in enumerate(one_of_each.tolist()):
        own = found.take(codes == code)
        device, stream = int(found.device[example]), int(found.stream[example])
        other = called.take((called.device == device) & (called.stream == stream))
        times, depth = depths(own.entered_ns, own.left_ns)
        mean, full_ns = mean_and_full(times, depth, start_ns=window.start_ns, end_ns=window.stop_ns)
        deepest = depths(other.entered_ns, other.left_ns)[1]
        rows.append(
            {
                "device": device if device >= 0 else None,
                "stream": stream if stream >= 0 else None,
                "launches": len(own.device),
                "max_depth": int(depth.max()),
                "mean_depth": mean,
                "full_ns": full_ns,
                "share": ratio(full_ns, window.length_ns),
                "max_called_depth": int(deepest.max()),
            }
        )
    columns: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    return Answer(BY, columns, _NOTES)


_NOTES: Final = (
    "depth: launched (the call has returned) and not started; mean over the window; full: time with 1,024 or more "
    "waiting, where further launches block the host; share: of the window",
    "max_called_depth: the same from the start of the call, each of a graph's kernels by itself, as Holistic Trace "
    "Analysis counts",
)
