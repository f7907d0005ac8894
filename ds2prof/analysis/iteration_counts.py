"""How much work the host handed out in each iteration: operators run and launches made."""

from __future__ import annotations

from typing import Final

import numpy as np

from ds2prof.analysis.attribution import launch_rows
from ds2prof.analysis.windows import ends_ns, text_mask, timed
from ds2prof.tables import IntArray, Profile, Table

TABLES: Final = ("ops", "kernels", "copies", "api", "ranges")


def operators(profile: Profile) -> dict[int, int] | None:
    """Iteration -> host operators that began in it, on any thread; None where the file has no operators or iterations.

    Nested operators count each: a profiler records each.
    """
    profile.require(*TABLES)
    iterations, ops = _iterations(profile), profile.table("ops")
    return _counted(ops.ints("start_ns"), iterations) if len(iterations) and len(ops) else None


def launches(profile: Profile) -> dict[int, int] | None:
    """Iteration -> calls begun in it that gave the device something to do; None where the file links none.

    A call that launches a graph of kernels counts once.
    """
    profile.require(*TABLES)
    iterations, api = _iterations(profile), profile.table("api")
    rows = [launch_rows(profile.table(name), api) for name in ("kernels", "copies")]
    calls = np.unique(np.concatenate(rows))
    calls = calls[calls >= 0]
    return _counted(api.ints("start_ns")[calls], iterations) if len(iterations) and len(calls) else None


def _iterations(profile: Profile) -> Table:
    """The ranges of the iterations, in order, those whose value is a number."""
    ranges = profile.table("ranges")
    found = timed(ranges.take(text_mask(ranges, "kind", "iteration")))
    found = found.take(np.array([str(value).isdigit() for value in found["value"].tolist()], dtype=bool))
    return found.take(np.argsort(found.ints("start_ns"), kind="stable"))


def _counted(times: IntArray, iterations: Table) -> dict[int, int]:
    """How many of the times lie in each iteration; iterations follow each other and do not overlap."""
    row = np.searchsorted(iterations.ints("start_ns"), times, side="right") - 1
    inside = (row >= 0) & (times < ends_ns(iterations)[row])
    counts = np.bincount(row[inside], minlength=len(iterations)).tolist()
    return {int(value): count for value, count in zip(iterations["value"].tolist(), counts, strict=True)}
