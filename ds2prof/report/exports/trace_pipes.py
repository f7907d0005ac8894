"""Utilization of each pipe by each launch of a timeline, for the counter tracks of a trace."""

from __future__ import annotations

import numpy as np

from ds2prof import units
from ds2prof.analysis import core
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.join import Joined, join
from ds2prof.analysis.totals import rows_of
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile


def own_pipes(profile: Profile) -> dict[str, FloatArray]:
    """Pipe -> utilization of each launch, where the timeline itself has counters; else nothing."""
    if profile.meta.times != "real" or not core.has_counters(profile):
        return {}
    return {reading.pipe: reading.values for reading in core.pipe_readings(profile)}


def joined_pipes(
    timeline: Profile, counters: Profile, *, sm_clock_hz: float | None = None, sampler: Profile | None = None
) -> tuple[dict[str, FloatArray], tuple[str, ...]]:
    """(pipe -> utilization of each launch of the timeline, notes of the join), by the counters of a replayed capture.

    Formula: work / (SM clock x time of the launch), work being cycles x share of peak of the matched launch or of those
    like it (docs/JOIN.md); NaN where nothing matches. Blind spot: a launch that shares the SMs with another runs longer
    than alone, and its rate is lower; their sum is what the chip did.

    Raises:
        MissingDataError: the two do not go together, or the SM clock of the timeline is not known.
    """
    found = join(timeline, counters, sm_clock_hz=sm_clock_hz, sampler=sampler)
    cycles = _clock_cycles(found)
    with np.errstate(divide="ignore", invalid="ignore"):
        pipes = {pipe: np.where(cycles > 0, work.value / cycles, np.nan) for pipe, work in found.work.items()}
    return pipes, found.notes


def _clock_cycles(found: Joined) -> FloatArray:
    """The cycles of the SM clock that each launch took on the timeline."""
    kernels = found.timeline.table("kernels")
    cycles = np.full(len(kernels), np.nan)
    for each in found.devices:
        if each.found is None:
            continue
        if each.clock.hz is None:
            raise MissingDataError(
                f"{found.timeline.meta.file}: the SM clock of device {each.device} is not known, so work is no "
                "utilization yet; give --sm-clock-mhz, or --clocks with a sampler's file of the same time"
            )
        rows = rows_of(kernels, each.device)
        cycles[rows] = kernels.ints("dur_ns")[rows] / units.NS_PER_S * each.clock.hz
    return cycles
