"""The launches of one file in the order in which the host made them, with what tells where they belong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ds2prof.analysis import attribution, core
from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.intervals import FloatArray
from ds2prof.tables import IntArray, Profile

TABLES = ("kernels", "copies", "api", "ranges", "spans", "counters", "devices", "samples")


@dataclass(frozen=True)
class Side:
    """Launches of one device of one file, in launch order.

    Attributes:
        rows: the row of ``kernels`` of each.
        keys: the key of each; -1 where it is no single kernel.
        iterations: the place of its iteration in ``names``; ``len(names)`` for none.
        names: the iterations of the file.
        streams: the stream of each; -1 where the file has none.
        lengths: how long each took: nanoseconds on the timeline, cycles in a counters file; NaN where unknown.
        by_host: whether the order is that of the calls; else that of the device.
    """

    rows: IntArray
    keys: IntArray
    iterations: IntArray
    names: tuple[str, ...]
    streams: IntArray
    lengths: FloatArray
    by_host: bool

    def of(self, chosen: IntArray) -> Side:
        """The launches at these positions."""
        return Side(
            self.rows[chosen],
            self.keys[chosen],
            self.iterations[chosen],
            self.names,
            self.streams[chosen],
            self.lengths[chosen],
            self.by_host,
        )


def timeline_side(profile: Profile, keys: IntArray, rows: IntArray) -> Side:
    """The launches ``rows`` of a timeline, in the order of the calls where each has one, else of their starts."""
    kernels, api = profile.table("kernels"), profile.table("api")
    starts = kernels.ints("start_ns")[rows]
    calls = attribution.launches(profile, "kernels")[rows]
    by_host = len(rows) > 0 and bool((calls >= 0).all()) and bool(api["start_ns"].present[calls].all())
    order = np.lexsort((starts, api.ints("start_ns")[calls]) if by_host else (starts,))
    found = belonging(profile, "iteration")
    told = bool((found.kernels[rows] < len(found.keys)).any())  # ranges without launch calls claim nothing
    names, places = (found.keys, found.kernels) if told else ((), np.zeros_like(found.kernels))
    lengths = kernels.ints("dur_ns").astype(np.float64)
    return _side(profile, keys, rows[order], (names, places, lengths), by_host=by_host)


def counters_side(profile: Profile, keys: IntArray, rows: IntArray) -> Side:
    """The launches ``rows`` of a counters file, in the order in which its tool numbers them.

    A launch that tells no iteration is of the one before it in its process: autograd launches the backward's kernels
    from a thread of its own, where the range of the iteration is not open.
    """
    kernels = profile.table("kernels")
    order = np.argsort(kernels.ints("order")[rows], kind="stable") if "order" in kernels else np.arange(len(rows))
    if "process" in kernels:  # numbers start again in each process
        order = np.lexsort((np.argsort(order), kernels.ints("process", null=-1)[rows]))
    found = belonging(profile, "iteration")
    told = (found.keys, found.kernels, core.launch_cycles(profile))
    side = _side(profile, keys, rows[order], told, by_host=True)
    return replace(side, iterations=_filled(side.iterations, len(side.names)))


def _side(
    profile: Profile,
    keys: IntArray,
    rows: IntArray,
    told: tuple[tuple[str, ...], IntArray, FloatArray],
    *,
    by_host: bool,
) -> Side:
    streams = profile.table("kernels").ints("stream", null=-1)[rows]
    return Side(rows, keys[rows], told[1][rows], told[0], streams, told[2][rows], by_host)


def _filled(iterations: IntArray, none: int) -> IntArray:
    """The places with those of ``none`` taken from the launch before; at the start, from the first that has one."""
    known = iterations != none
    if not known.any():
        return iterations
    last = np.maximum.accumulate(np.where(known, np.arange(len(iterations)), -1))
    return iterations[np.where(last >= 0, last, np.flatnonzero(known)[0])]
