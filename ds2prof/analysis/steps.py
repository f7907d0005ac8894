"""Steps on the device: a step runs from the end of the last operation of the one before to the end of its own last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ds2prof.analysis.belonging import Belonging, number_of
from ds2prof.analysis.totals import rows_of
from ds2prof.analysis.windows import ends_ns, time_window
from ds2prof.tables import IntArray, Profile

_NEVER: Final = np.iinfo(np.int64).min
Step = tuple[int, int]
"""(start_ns, end_ns)"""


def whole_steps(profile: Profile, iterations: Belonging) -> list[Step | None]:
    """The stretch of each iteration over all devices; None for one that has none (:func:`_stretches`)."""
    return _stretches(profile, iterations, _last_ends(profile, iterations, None, everywhere=True))


def device_steps(profile: Profile, iterations: Belonging, device: int | None) -> list[Step | None]:
    """The stretch of each iteration on one device; None for one that has none (:func:`_stretches`)."""
    return _stretches(profile, iterations, _last_ends(profile, iterations, device, everywhere=False))


def _last_ends(profile: Profile, iterations: Belonging, device: int | None, *, everywhere: bool) -> IntArray:
    """The end of the last operation of each iteration; :data:`_NEVER` for one that launched nothing."""
    ends = np.full(len(iterations.keys) + 1, _NEVER)
    for table, places in (
        (profile.table("kernels"), iterations.kernels),
        (profile.table("copies"), iterations.copies),
    ):
        timed = table["start_ns"].present & table["dur_ns"].present
        rows = timed if everywhere else timed & rows_of(table, device)
        np.maximum.at(ends, places[rows], ends_ns(table)[rows])
    return ends[:-1]


def _stretches(profile: Profile, iterations: Belonging, ends: IntArray) -> list[Step | None]:
    """From end to end. The first step begins with the window.

    A step that launched nothing has none, and neither has the one behind it, one whose number does not follow that of
    the step before, or one that was over before that.
    """
    window = time_window(profile)
    numbers: Sequence[int | None] = [number_of(key) for key in iterations.keys]
    before = [_NEVER if window is None else window.start_ns]
    for number, following, end in zip(numbers, numbers[1:], ends.tolist(), strict=False):
        before.append(end if number is not None and following == number + 1 else _NEVER)
    return [(start, end) if end > start > _NEVER else None for start, end in zip(before, ends.tolist(), strict=False)]
