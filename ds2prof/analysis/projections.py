"""Device work by the ranges of the host that launched it: NVTX, record_function, annotations, projected on the device.

What Nsight Systems calls the GPU projection of a range: the operations whose launch calls began inside it on its own
thread, from the start of the first to the end of the last, whatever ran between. Ranges nest, so ``dur_ns`` and
``projected_ns`` hold what is nested in them; ``excl_ns`` gives each instant of the device to the innermost range alone
and sums to the busy time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

import numpy as np

from ds2prof.analysis import rates
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.attribution import launches, on_thread_at_launch
from ds2prof.analysis.core import calls_of
from ds2prof.analysis.groups import combined, device_shares_ns, sorted_columns, summed, time_columns
from ds2prof.analysis.intervals import parents
from ds2prof.analysis.windows import ends_ns
from ds2prof.errors import MissingDataError
from ds2prof.tables import BoolArray, IntArray, Profile, Table

BY: Final = "annotation"
TABLES: Final = ("kernels", "copies", "api", "ranges", *rates.TABLES)
_LAST: Final = np.iinfo(np.int64).max
_NOTE: Final = (
    "time and projected include what is nested; exclusive goes to the innermost range and sums to the busy time"
)


def annotation_times(profile: Profile) -> Answer:
    """Kernels and copies by the name of the range that they were launched in.

    ``ranges`` is how many of that name launched anything; ``calls`` and ``dur_ns`` are of the kernels launched in them,
    nested ranges included; ``projected_ns`` sums each range's stretch on the device, first start to last end of its
    kernels and copies; ``excl_ns`` and the shares of pipes are of what was launched in the range itself. Kernels that
    no range claims have a row with a null name. Blind spot: ranges that overlap on one thread without nesting count for
    what began last; a range that another thread ended is taken for its own thread's.

    Raises:
        MissingDataError: no kernel or no range was recorded.
    """
    profile.require(*TABLES)
    kernels, ranges = profile.table("kernels"), profile.table("ranges")
    rows = np.flatnonzero(ranges["start_ns"].present & ranges["dur_ns"].present)
    if not len(rows) or not len(kernels):
        what = "no ranges (NVTX, record_function, annotations)" if len(kernels) else "no kernels"
        raise MissingDataError(f"{profile.meta.file}: {what} in this file; drop --by {BY}")
    names, domains = ranges["name"].take(rows), ranges["domain"].take(rows)
    codes, first = combined([names.values.astype(np.int64), domains.values.astype(np.int64)])
    columns: dict[str, Sequence[Any]] = {BY: [*names.take(first).tolist(), None]}
    if domains.present.any():
        columns["domain"] = [*domains.take(first).tolist(), None]
    owner = on_thread_at_launch(profile, "kernels", ranges, rows)
    columns |= _sums(profile, rows, codes, outside=owner < 0)
    place = np.full(len(ranges) + 1, len(first), dtype=np.int64)
    place[rows] = codes
    own = time_columns(place[owner], len(first) + 1, durations=kernels["dur_ns"], shares=device_shares_ns(kernels))
    columns |= {name: own[name] for name in ("excl_ns", "share")} | rates.grouped(profile, place[owner], len(first) + 1)
    worked = [*(bool(count) for count in columns["ranges"][:-1]), bool((owner < 0).any())]
    columns = {name: list(compress(values, worked)) for name, values in columns.items()}
    notes = (_NOTE, *rates.notes(profile), *_notes(profile, owner < 0))
    return Answer(BY, sorted_columns(columns, by=("excl_ns", "dur_ns")), notes)


def _sums(profile: Profile, rows: IntArray, codes: IntArray, *, outside: BoolArray) -> dict[str, Sequence[Any]]:
    """The columns that hold what is nested in the ranges; the last row is of kernels that are in none."""
    kernels, count = profile.table("kernels"), int(codes.max()) + 1
    inside = _Projection(profile, rows)
    dur_ns = kernels["dur_ns"]
    times: list[int | None] = [
        *summed(codes, inside.dur_ns, count).tolist(),
        int(kernels.ints("dur_ns")[outside].sum()),
    ]
    host_ns = summed(codes, profile.table("ranges").ints("dur_ns")[rows], count)
    return {
        "ranges": [*np.bincount(codes[inside.operations > 0], minlength=count).tolist(), None],
        "calls": [*summed(codes, inside.kernels, count).tolist(), int(calls_of(profile)[outside].sum())],
        "dur_ns": times if dur_ns.present.all() else [None] * len(times),
        "projected_ns": [*summed(codes, inside.length_ns, count).tolist(), None],
        "host_dur_ns": [*host_ns.tolist(), None],
    }


def _notes(profile: Profile, outside: BoolArray) -> tuple[str, ...]:
    if not outside.any():
        return ()
    unlinked = int((outside & (launches(profile, "kernels") < 0)).sum())
    lost = f"; of {unlinked:,} the launch call is not in the file" if unlinked else ""
    return (
        f"{int(outside.sum()):,} launches belong to no range of their own thread{lost} (autograd runs the backward "
        "pass on one where ranges are seldom open; --by phase finds it)",
    )


class _Projection:
    """What the chosen ranges launched, nested ranges included: operations, kernels, their time, the stretch they span.

    Attributes:
        operations, kernels, dur_ns, length_ns: of each range: kernels and copies, kernels alone, the sum of these, from
            the first start to the last end of all operations (0 without any).
    """

    def __init__(self, profile: Profile, rows: IntArray) -> None:
        ranges = profile.table("ranges")
        place = np.full(len(ranges) + 1, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        self.operations, self.kernels, self.dur_ns = (np.zeros(len(rows), dtype=np.int64) for _ in range(3))
        starts, ends = np.full(len(rows), _LAST), np.full(len(rows), -_LAST)
        for work in ("kernels", "copies"):
            table = profile.table(work)
            at = place[on_thread_at_launch(profile, work, ranges, rows)]
            claimed = at >= 0
            at = at[claimed]
            np.add.at(self.operations, at, 1)
            timed = table["start_ns"].present[claimed]
            np.minimum.at(starts, at[timed], table.ints("start_ns")[claimed][timed])
            np.maximum.at(ends, at[timed], ends_ns(table)[claimed][timed])
            if work == "kernels":
                np.add.at(self.kernels, at, calls_of(profile)[claimed])
                np.add.at(self.dur_ns, at, table.ints("dur_ns")[claimed])
        self._raise(ranges.take(rows), starts, ends)
        self.length_ns = np.where(ends >= starts, ends - starts, 0)

    def _raise(self, ranges: Table, starts: IntArray, ends: IntArray) -> None:
        """Add what each range holds to the ranges around it, innermost level first."""
        for level, parent in _levels(ranges):
            np.minimum.at(starts, parent, starts[level])
            np.maximum.at(ends, parent, ends[level])
            for values in (self.operations, self.kernels, self.dur_ns):
                np.add.at(values, parent, values[level])


def _levels(ranges: Table) -> list[tuple[IntArray, IntArray]]:
    """(rows of ranges inside others, the row around each), one pair for each depth of nesting, the deepest first."""
    lanes, _ = combined([ranges.ints("process", null=-1), ranges.ints("thread", null=-1)])
    parent = np.full(len(lanes), -1, dtype=np.int64)
    starts, ends = ranges.ints("start_ns"), ends_ns(ranges)
    for lane in np.unique(lanes).tolist():
        rows = np.flatnonzero(lanes == lane)
        inner = parents(starts[rows], ends[rows])
        parent[rows] = np.where(inner >= 0, rows[inner], -1)
    levels = []
    rows = np.flatnonzero(parent < 0)
    while len(rows):
        rows = np.flatnonzero(np.isin(parent, rows))
        levels.append((rows, parent[rows]))
    return levels[:-1][::-1]
