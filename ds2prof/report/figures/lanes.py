"""The lanes of a timeline strip: what each row of the picture holds, as time per pixel and kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.attribution import ranges_of_kind
from ds2prof.analysis.belonging import ordered_keys
from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import FloatArray, clipped, parents, union_ns
from ds2prof.analysis.windows import TimeWindow, ends_ns, time_window, timed
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class, op_class
from ds2prof.report.figures.canvas import plain
from ds2prof.report.figures.pixels import covered_ns, edges_ns
from ds2prof.report.style import role_of
from ds2prof.tables import Column, IntArray, Profile, Table

Times = tuple[IntArray, IntArray]
"""When each of several things began and ended."""
TABLES: Final = ("kernels", "copies", "ranges", "api", "spans", "ops")
MOST_LANES: Final = 10
"""Streams (or threads) with a lane of their own, the busiest; the rest shares one."""
MOST_PHASES: Final = 9
PIXELS: Final = 1000


@dataclass(frozen=True, eq=False)
class Lane:
    """One row of the picture.

    Attributes:
        label: what stands beside it.
        ns_of: role of a colour -> the time that it takes of each pixel, ns.
        busy: share of the window in which anything of the lane was open; None where that is not worth saying.
        texts: (middle, text) of what is written into the lane.
    """

    label: str
    ns_of: Mapping[str, FloatArray]
    busy: float | None = None
    texts: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True, eq=False)
class Strip:
    """The picture: its lanes from the top down, the pixels' edges, and where the stretch of time was taken from."""

    lanes: Sequence[Lane]
    edges_ns: IntArray
    source: str


def strip(profile: Profile, *, pixels: int = PIXELS) -> Strip:
    """Iterations, phases, streams and copies of the window (of a CPU run: the threads' outermost operators).

    Raises:
        MissingDataError: nothing in the file has a real time.
    """
    profile.require(*TABLES)
    window = _window(profile)
    edges = edges_ns(window.start_ns, window.stop_ns, pixels)
    lanes = [*_iteration_lanes(profile, edges), *_phase_lanes(profile, edges)]
    if profile.meta.domain == "cpu":
        lanes += _thread_lanes(profile, edges)
    else:
        lanes += _stream_lanes(profile, edges)
        copies = timed(profile.table("copies"))
        if len(copies):
            lanes.append(_lane("copies", _times(copies), np.zeros(len(copies), dtype=np.int64), ("class_copy",), edges))
    return Strip(lanes, edges, window.source)


def _window(profile: Profile) -> TimeWindow:
    found = time_window(profile)
    if found is None and profile.meta.domain == "cpu" and profile.meta.times == "real":
        operators = timed(profile.table("ops"))
        if len(operators):
            stop_ns = int(ends_ns(operators).max())
            found = TimeWindow(int(operators.ints("start_ns").min()), stop_ns, "host operators")
    if found is None or found.length_ns <= 0:
        raise MissingDataError(
            f"{profile.meta.file}: no real times in this file, so no timeline; capture with nsys or torch"
        )
    return found


def _iteration_lanes(profile: Profile, edges: IntArray) -> list[Lane]:
    """The host's iterations on one lane, in two shades by turns."""
    ranges = profile.table("ranges").take(ranges_of_kind(profile, "iteration"))
    if not len(ranges):
        return []
    keys, places = ordered_keys(ranges, "iteration")
    lane = _lane("iterations (host)", _times(ranges), places % 2, ("series_8", "series_rest"), edges, busy=False)
    return [Lane(lane.label, lane.ns_of, None, _middles(ranges, keys, places, edges))]


def _phase_lanes(profile: Profile, edges: IntArray) -> list[Lane]:
    """A lane for each phase of the host: in one colour, since the classes of kernels have the others."""
    ranges = profile.table("ranges").take(ranges_of_kind(profile, "phase"))
    if not len(ranges):
        return []
    keys, places = ordered_keys(ranges, "phase")
    made = []
    for place, key in enumerate(keys[:MOST_PHASES]):
        own = ranges.take(places == place)
        label = f"{plain(key, 20)} (host)"
        made.append(_lane(label, _times(own), np.zeros(len(own), dtype=np.int64), ("ink_soft",), edges))
    return made


def _times(table: Table) -> Times:
    return table.ints("start_ns"), ends_ns(table)


def _middles(ranges: Table, keys: Sequence[str], places: IntArray, edges: IntArray) -> list[tuple[float, str]]:
    """The number of each iteration that is wide enough to hold it."""
    starts, stops = clipped(ranges.ints("start_ns"), ends_ns(ranges), lo_ns=int(edges[0]), hi_ns=int(edges[-1]))
    wide = (stops - starts) > 0.03 * float(edges[-1] - edges[0])
    first = np.unique(places[wide], return_index=True)[1]
    rows = np.flatnonzero(wide)[first].tolist()
    return [((float(starts[row]) + float(stops[row])) / 2, plain(keys[int(places[row])], 12)) for row in rows]


def _lane(
    label: str, times: Times, codes: IntArray, roles: Sequence[str], edges: IntArray, *, busy: bool = True
) -> Lane:
    """The lane of what was open at these times; ``codes`` is the place of each one's role in ``roles``."""
    starts, stops = times
    distinct = list(dict.fromkeys(roles))
    place_of = np.array([distinct.index(role) for role in roles], dtype=np.int64)
    sums = covered_ns(starts, stops, place_of[codes], len(distinct), edges)
    sums = sums / np.maximum(sums.sum(axis=0) / np.diff(edges), 1.0)  # what overlaps shares the pixel
    share = None
    if busy:
        inside: tuple[IntArray, IntArray] = clipped(starts, stops, lo_ns=int(edges[0]), hi_ns=int(edges[-1]))
        share = union_ns(*inside) / float(edges[-1] - edges[0])
    return Lane(label, {role: sums[place] for place, role in enumerate(distinct) if sums[place].any()}, share)


def _stream_lanes(profile: Profile, edges: IntArray) -> list[Lane]:
    kernels = timed(profile.table("kernels"))
    if not len(kernels):
        return []
    names = [("device", kernels["device"]), ("stream", kernels["stream"])]
    devices = _varies(kernels["device"])

    def label(values: Sequence[int | None]) -> str:
        device, stream = values
        text = "stream not stated" if stream is None else f"stream {stream}"
        return f"device {device}, {text}" if devices else text

    return _own_lanes(kernels, names, label, kernel_class, edges)


def _varies(column: Column) -> bool:
    values = column.values[column.present]
    return bool(len(values)) and int(values.min()) != int(values.max())


def _thread_lanes(profile: Profile, edges: IntArray) -> list[Lane]:
    """The threads of a CPU run, each with its outermost operators."""
    operators = timed(profile.table("ops"))
    if not len(operators):
        return []
    names = [("process", operators["process"]), ("thread", operators["thread"])]
    lanes, _ = combined([operators.ints(name, null=-1) for name, _ in names])
    outermost = np.zeros(len(operators), dtype=np.bool_)
    for lane in np.unique(lanes).tolist():
        rows = np.flatnonzero(lanes == lane)
        outermost[rows] = parents(operators.ints("start_ns")[rows], ends_ns(operators)[rows]) < 0
    operators = operators.take(outermost)
    names = [("process", operators["process"]), ("thread", operators["thread"])]
    return _own_lanes(operators, names, lambda values: f"thread {values[1]}", op_class, edges)


def _own_lanes(
    table: Table,
    keys: Sequence[tuple[str, Column]],
    label: Callable[[Sequence[int | None]], str],
    class_of: Callable[[str], str],
    edges: IntArray,
) -> list[Lane]:
    """A lane for each combination of keys, the busiest ones in the order of their numbers; one for the rest."""
    parts = [part for name, column in keys for part in (table.ints(name), column.present.astype(np.int64))]
    groups, rows = combined(parts)
    count = len(rows)
    roles = [role_of("class", class_of(name)) for name in table["name"].categories or ()]
    codes = table["name"].values.astype(np.int64)
    times = np.bincount(groups, weights=table.ints("dur_ns"), minlength=count)
    chosen = sorted(np.argsort(-times, kind="stable")[:MOST_LANES].tolist())
    values = [column.take(rows).tolist() for _, column in keys]
    starts, stops = _times(table)
    made = []
    for group in chosen:
        mask = groups == group
        own = starts[mask], stops[mask]
        made.append(_lane(label([column[group] for column in values]), own, codes[mask], roles, edges))
    if count > len(chosen):
        mask = ~np.isin(groups, chosen)
        own = starts[mask], stops[mask]
        made.append(_lane(f"{count - len(chosen)} others", own, codes[mask], roles, edges))
    return made
