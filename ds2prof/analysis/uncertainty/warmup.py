"""Which iterations at the beginning are warm-up, and why: one rule for timelines, run logs and whatever rests on them.

1. What the file states is warm-up is excluded: a run log's iterations before its fenced stretch (``--warmup``).
2. Else the iterations at the beginning are excluded for as long as each one

   - lies above the median of the second half by more than 3.5 scaled MADs of it (MAD x 1.4826 is the standard deviation
     of a normal distribution) and by more than 5 %, or
   - spent more than 1 % of its time on what is done once, where the file shows it: loading modules and compiling
     kernels, choosing algorithms.

   The first half is the most that can be excluded. Fewer than six iterations have no second half to compare with:
   there only the second condition counts.

Blind spot: a slow iteration behind a usual one is an outlier, not warm-up; clocks and caches that take longer than half
of the iterations to settle are not seen. Where the lengths of iterations are known, times are compared per second of
padded speech, so that a long batch at the beginning is no warm-up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof import units
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.uncertainty.covered import covered_before
from ds2prof.analysis.windows import CUDA_OVERHEADS, ends_ns, text_mask, timed
from ds2prof.tables import BoolArray, IntArray, Profile

TABLES: Final = ("ranges", "api", "overhead")
SCALE: Final = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""
MADS: Final = 3.5
LEAST_EXCESS: Final = 0.05
LEAST_ITERATIONS: Final = 6
ONCE_SHARE: Final = 0.01
_ONCE_CALLS: Final = re.compile(
    r"(?:cu|cuda|hip)(?:Module|Library)Load\w*|(?:cudnn|miopen)Find\w*|(?:nvrtc|hiprtc)CompileProgram|cuLinkComplete"
)


@dataclass(frozen=True)
class WarmUp:
    """How many iterations at the beginning do not count, and by what they were told.

    ``source`` is ``stated``, ``detected`` (slow, or at work on what is done once) or ``none``. ``known`` of them showed
    something that is done once.
    """

    count: int
    source: str
    known: int = 0

    def said(self, keys: Sequence[object]) -> str:
        """In words, for iterations with those keys; empty where there is none."""
        if not self.count:
            return ""
        last = "" if self.count == 1 else f" to {keys[self.count - 1]}"
        which = f"iteration{'' if self.count == 1 else 's'} {keys[0]}{last}"
        if self.source == "stated":
            return f"warm-up: {which} excluded, as the file states"
        least = units.format_ratio(LEAST_EXCESS, digits=0)
        why = f"above the median of the second half by {MADS:g} scaled MADs and {least}"
        once = "loading modules, compiling or choosing algorithms"
        if self.known == self.count:
            return f"warm-up: {which} excluded ({once})"
        return f"warm-up: {which} excluded ({why}{f', or {once}' if self.known else ''})"


def warm_up(
    times: Sequence[float] | FloatArray | IntArray,
    *,
    stated: int | None = None,
    lengths: FloatArray | None = None,
    once: BoolArray | None = None,
) -> WarmUp:
    """How many of the first iterations are warm-up, by the rule of this module.

    Args:
        times: of each iteration, in the order of time.
        stated: how many the file states to be warm-up.
        lengths: padded seconds of each, where all are known.
        once: which of them show work that is done once (:func:`does_once`).
    """
    if stated is not None:
        count = min(max(stated, 0), len(times))
        return WarmUp(count, "stated" if count else "none")
    values = np.asarray(times, dtype=np.float64)
    marked = np.zeros(len(values), dtype=np.bool_) if once is None else once
    is_warm = marked | _is_slow(values, lengths)
    most = len(values) // 2
    steady = np.flatnonzero(~is_warm[:most])
    count = int(steady[0]) if len(steady) else most
    return WarmUp(count, "detected" if count else "none", int(marked[:count].sum()))


def _is_slow(values: FloatArray, lengths: FloatArray | None) -> BoolArray:
    """Which lie above what the second half has."""
    if lengths is not None and len(lengths) and bool((np.isfinite(lengths) & (lengths > 0)).all()):
        values = values / lengths
    if len(values) < LEAST_ITERATIONS:
        return np.zeros(len(values), dtype=np.bool_)
    median, spread = middle(values[len(values) // 2 :])
    return np.asarray(values > median + max(MADS * spread, LEAST_EXCESS * median), dtype=np.bool_)


def middle(values: FloatArray) -> tuple[float, float]:
    """(median, scaled median absolute deviation from it)."""
    median = float(np.median(values))
    return median, SCALE * float(np.median(np.abs(values - median)))


def does_once(profile: Profile, starts_ns: IntArray, stops_ns: IntArray) -> BoolArray:
    """Which of the stretches spent over 1 % of their time on loading modules, compiling kernels or choosing algorithms.

    By the calls that do it (``cuModuleLoad``, ``cudnnFind``, ...) and the overhead that CUPTI tells of CUDA's own, as a
    union over all threads.
    """
    profile.require(*TABLES)
    overhead, api = timed(profile.table("overhead")), timed(profile.table("api"))
    overhead = overhead.take(text_mask(overhead, "name", *CUDA_OVERHEADS))
    names = [name for name in api["name"].categories or () if _ONCE_CALLS.match(name)]
    api = api.take(text_mask(api, "name", *names))
    starts = np.concatenate((overhead.ints("start_ns"), api.ints("start_ns")))
    ends = np.concatenate((ends_ns(overhead), ends_ns(api)))
    spent_ns = covered_before(starts, ends, stops_ns) - covered_before(starts, ends, starts_ns)
    return np.asarray(spent_ns > ONCE_SHARE * (stops_ns - starts_ns), dtype=np.bool_)
