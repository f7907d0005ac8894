"""What the host did in the stretches of a critical path that are its own: split by the operators that were open."""

from __future__ import annotations

import numpy as np

from ds2prof.analysis.attribution import lookup
from ds2prof.analysis.estimates.grouped import distinct
from ds2prof.analysis.intervals import merged
from ds2prof.analysis.windows import ends_ns, text_mask, timed
from ds2prof.tables import BoolArray, IntArray, Profile, Table


def host_spans(profile: Profile) -> Table:
    """What tells what the host did: operators, where there are none the calls."""
    ops = timed(profile.table("ops"))
    if len(ops):
        return ops
    api = timed(profile.table("api"))
    return api.take(~text_mask(api, "domain", "sync", "backtrace"))


def host_pieces(profile: Profile, begin_ns: IntArray, end_ns: IntArray, call: IntArray) -> tuple[IntArray, ...]:
    """(segment, row of :func:`host_spans` or -1, ns) of each piece of the host's segments; pieces sum to the segments.

    A piece belongs to what began last of all that was open on the thread of the segment's launch; where nothing was
    open there, in its process: autograd's thread has nothing to show while forward runs on another.
    """
    spans, api = host_spans(profile), profile.table("api")
    everything = np.arange(len(spans))[_touched(spans, begin_ns, end_ns)]
    spans = spans.take(everything)
    edges = distinct(spans.ints("start_ns"), ends_ns(spans))
    low, high = np.searchsorted(edges, begin_ns, side="right"), np.searchsorted(edges, end_ns, side="left")
    counts = np.maximum(high - low, 0) + 1
    segment = np.repeat(np.arange(len(begin_ns)), counts)
    number = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.append(edges, 0)
    starts = np.where(number == 0, begin_ns[segment], padded[np.maximum(low[segment] + number - 1, 0)])
    ends = np.where(
        number == counts[segment] - 1, end_ns[segment], padded[np.minimum(low[segment] + number, len(edges))]
    )
    rows = call[segment]
    known = rows >= 0
    place = (
        {name: np.where(known, api.ints(name, null=-1)[rows], -1) for name in ("process", "thread")} if len(api) else {}
    )
    owner = lookup(spans, starts, place) if place and len(spans) else np.full(len(segment), -1, dtype=np.int64)
    rest = np.flatnonzero(owner < 0)
    if place and len(spans) and len(rest):
        owner[rest] = lookup(spans, starts[rest], {"process": place["process"][rest]})
    inside = owner >= 0
    owner[inside] = everything[owner[inside]]
    return segment, owner, ends - starts


def _touched(spans: Table, begin_ns: IntArray, end_ns: IntArray) -> BoolArray:
    """Mask of the spans that some segment overlaps; the others need not be looked at."""
    begins, ends = merged(begin_ns, end_ns)
    if not len(begins):
        return np.zeros(len(spans), dtype=np.bool_)
    place = np.searchsorted(ends, spans.ints("start_ns"), side="right")
    following = begins[np.minimum(place, len(begins) - 1)]
    return np.asarray((place < len(begins)) & (following < ends_ns(spans)))
