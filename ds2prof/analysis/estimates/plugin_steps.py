"""Steps as the retired TensorBoard plugin of PyTorch had them, to reproduce what it published.

A step of the plugin begins where the one before ended, but not before its own host range, and ends with its host range
or the last operation that was launched wholly inside that range, whichever is later. The first begins with its host
range, or with the end of the last operation launched outside all ranges that was over before the first step's own
operations began, whichever is later.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ds2prof.analysis.attribution import launches, ranges_of_kind
from ds2prof.analysis.windows import ends_ns
from ds2prof.tables import IntArray, Profile

_NEVER: Final = np.iinfo(np.int64).min
_LATE: Final = np.iinfo(np.int64).max


def plugin_steps(profile: Profile) -> tuple[IntArray, IntArray, list[str]]:
    """(start, end, name) of each step as the plugin has them, all devices together; no rows without step ranges."""
    ranges = profile.table("ranges")
    rows = ranges_of_kind(profile, "iteration")
    rows = rows[np.argsort(ranges.ints("start_ns")[rows], kind="stable")]
    begins, stops = ranges.ints("start_ns")[rows], ends_ns(ranges)[rows]
    names = ranges["value"].take(rows).tolist()
    if not len(rows):
        return begins, stops, names
    starts, ends, steps = _launched(profile, begins, stops)
    first, last = np.full(len(rows), _LATE), np.full(len(rows), _NEVER)
    inside = steps >= 0
    np.minimum.at(first, steps[inside], starts[inside])
    np.maximum.at(last, steps[inside], ends[inside])
    edge = int(begins[0])
    if inside.any() and first[0] != _LATE:
        before = ends[~inside & (ends < first[0])]
        edge = max([edge, *before.max(initial=edge, keepdims=True).tolist()])
    # Each step ends no earlier than it starts, and starts with the end of the one before: a running maximum.
    found_ends = np.maximum.accumulate(np.maximum(np.maximum(stops, last), edge))
    found_starts = np.maximum(begins, np.concatenate(([edge], found_ends[:-1])))
    return found_starts, np.maximum(found_ends, found_starts), names


def _launched(profile: Profile, begins: IntArray, stops: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """(start, end, step) of each device operation; -1 for one whose launch lies wholly inside no step's host range."""
    api = profile.table("api")
    calls, returns = api.ints("start_ns"), ends_ns(api)
    parts = []
    for work in ("kernels", "copies"):
        table, rows = profile.table(work), launches(profile, "kernels" if work == "kernels" else "copies")
        step = np.searchsorted(begins, calls[rows], side="right") - 1 if len(api) else np.full(len(rows), -1)
        inside = (rows >= 0) & (step >= 0) & (returns[rows] <= stops[step]) if len(api) else np.zeros(len(rows), bool)
        parts.append((table.ints("start_ns"), ends_ns(table), np.where(inside, step, -1)))
    starts, ends, steps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return starts, ends, steps
