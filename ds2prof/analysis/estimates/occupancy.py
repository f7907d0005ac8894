"""How much of a device's SMs a timeline could have filled: estimated SM efficiency and achieved occupancy.

Estimates, from what every trace has: the grid of each launch and how long it ran. No counter stands behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.belonging import belonging, labels
from ds2prof.analysis.estimates.limits import residency
from ds2prof.analysis.estimates.plugin_steps import plugin_steps
from ds2prof.analysis.intervals import FloatArray, clipped, union_ns
from ds2prof.analysis.steps import Step, device_steps
from ds2prof.analysis.totals import by_device, rows_of
from ds2prof.analysis.windows import OPERATIONS, ends_ns, from_operations, time_window
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile

Definition = Literal["window", "plugin"]
BY: Final = "occupancy"
TABLES: Final = ("kernels", "copies", "api", "ranges", "spans", "devices")
_NOTES: Final = (
    "estimates from grids and times, no counters: est_sm_efficiency is the share of SM time that blocks could have "
    "filled, est_achieved_occupancy the mean over kernel time of the warps that fit",
    "window: our W and device steps; plugin: the retired TensorBoard plugin's steps, and the source's own rounded "
    "occupancy",
)
_ZERO_NOTE: Final = (
    "the source states an occupancy of 0 for {} of {} launches, which no kernel that ran has (Kineto does so above 48 "
    "KiB of shared memory a block, and rounds what is below 0.5 %); window: reckoned from the launch where it can be"
)


@dataclass(frozen=True, eq=False)
class Launches:
    """The launches of one device in order of their starts: when they ran and what of the device they could fill."""

    start_ns: IntArray
    end_ns: IntArray
    blocks_per_sm: FloatArray
    occupancy: FloatArray

    def between(self, start_ns: int, end_ns: int) -> Launches:
        """Those that can have run in [start, end): from the first that did to the last that began before its end."""
        low = int(np.searchsorted(np.maximum.accumulate(self.end_ns), start_ns, side="right"))
        rows = slice(low, max(int(np.searchsorted(self.start_ns, end_ns)), low))
        return Launches(self.start_ns[rows], self.end_ns[rows], self.blocks_per_sm[rows], self.occupancy[rows])


@dataclass(frozen=True)
class Estimate:
    """Estimates of one stretch of one device; None where nothing is known.

    Attributes:
        length_ns: of the stretch.
        busy_ns: union of its kernels.
        sm_efficiency, achieved_occupancy: ratios (:func:`estimate`).
        coverage: share of the kernels' time, overlaps counted each, whose blocks per SM and occupancy are known.
    """

    length_ns: int
    busy_ns: int
    sm_efficiency: float | None
    achieved_occupancy: float | None
    coverage: float | None


def estimate(launches: Launches, *, start_ns: int, end_ns: int) -> Estimate:
    """The estimates of one device in [start, end).

    Est. SM efficiency = sum over swept intervals of min(sum of blocks per SM of the kernels that run, 1) x length, over
    the stretch's length. Est. achieved occupancy = mean of the kernels' occupancy weighted by their time inside the
    stretch. Blind spots: a kernel counts its whole grid as resident from its first to its last nanosecond, and two
    kernels that run at once add up although one may wait for the other's blocks; a kernel whose blocks are unknown
    counts nothing (``coverage`` says how much that is).
    """
    launches = launches.between(start_ns, end_ns)
    starts, ends = clipped(launches.start_ns, launches.end_ns, lo_ns=start_ns, hi_ns=end_ns)
    durations = (ends - starts).astype(np.float64)
    known = ~np.isnan(launches.blocks_per_sm)
    filled_ns = swept_ns(starts[known], ends[known], launches.blocks_per_sm[known])
    weighed = ~np.isnan(launches.occupancy)
    weights = durations[weighed]
    whole = float(durations.sum())
    length_ns = end_ns - start_ns
    covered = float(durations[known & weighed].sum())
    occupied = float((weights * launches.occupancy[weighed]).sum())
    nothing = whole > 0 and not durations[known].any()
    return Estimate(
        length_ns=length_ns,
        busy_ns=union_ns(starts, ends),
        sm_efficiency=None if nothing else ratio(filled_ns, length_ns),
        achieved_occupancy=ratio(occupied, float(weights.sum())),
        coverage=ratio(covered, whole),
    )


def swept_ns(start_ns: IntArray, end_ns: IntArray, blocks_per_sm: FloatArray) -> float:
    """Sum over the stretches between starts and ends of min(sum of blocks per SM of what runs, 1) x their length."""
    # More than 1 counts as 1 in any sum, so that cutting each first keeps the running sums small and exact enough.
    weights = np.minimum(blocks_per_sm, 1.0)
    times = np.concatenate((start_ns, end_ns))
    order = np.argsort(times, kind="stable")
    steps = np.concatenate((weights, -weights))[order]
    filled = np.clip(np.cumsum(steps)[:-1], 0.0, 1.0)
    return float((filled * np.diff(times[order])).sum())


def occupancy(profile: Profile) -> Answer:
    """Est. SM efficiency and achieved occupancy of each device: over W, over each step, and as the plugin has them.

    Raises:
        MissingDataError: no kernels with times, or neither grids nor SMs that say what they could fill.
    """
    if not has_times(profile):
        raise MissingDataError(f"{profile.meta.file}: no kernels with real times; --by occupancy needs a timeline")
    rows = [*_rows(profile, "window"), *_rows(profile, "plugin")]
    if not any(row["est_sm_efficiency"] is not None for row in rows):
        raise MissingDataError(
            f"{profile.meta.file}: neither blocks per SM nor grids beside the number of SMs; no estimate can be made"
        )
    names = list(rows[0])
    columns = {name: [row[name] for row in rows] for name in names}
    return Answer(BY, columns, (*_NOTES, *_source_notes(profile)))


def has_times(profile: Profile) -> bool:
    """Whether every launch has a real start and duration, and there is one."""
    kernels = profile.table("kernels")
    known = kernels["start_ns"].present & kernels["dur_ns"].present
    return profile.meta.times == "real" and len(kernels) > 0 and bool(known.all())


def device_launches(profile: Profile, device: int | None, *, definition: Definition = "window") -> Launches:
    """The launches of a device with what they could fill.

    For ``plugin`` blocks per SM and occupancy are the source's own; for ``window`` they are reckoned from grid,
    registers and shared memory where that can be done, else the source's.
    """
    kernels = profile.table("kernels")
    mask = dict(by_device(kernels, profile.table("copies")))[device]
    given_blocks, given_occupancy = kernels["blocks_per_sm"].values, kernels["occupancy"].values
    if definition == "window":
        reckoned = residency(profile)
        given_blocks = np.where(np.isnan(reckoned.blocks_per_sm), given_blocks, reckoned.blocks_per_sm)
        achieved = reckoned.achieved
        achieved[np.isnan(reckoned.resident)] = np.nan
        given_occupancy = np.where(np.isnan(achieved), given_occupancy, achieved)
    order = np.argsort(kernels.ints("start_ns")[mask], kind="stable")
    return Launches(
        start_ns=kernels.ints("start_ns")[mask][order],
        end_ns=ends_ns(kernels)[mask][order],
        blocks_per_sm=given_blocks[mask][order],
        occupancy=given_occupancy[mask][order],
    )


def _rows(profile: Profile, definition: Definition) -> list[dict[str, Any]]:
    kernels, copies = profile.table("kernels"), profile.table("copies")
    rows = []
    for device, _ in by_device(kernels, copies):
        launches = device_launches(profile, device, definition=definition)
        for iteration, stretch in _stretches(profile, device, definition):
            found = estimate(launches, start_ns=stretch[0], end_ns=stretch[1])
            rows.append(
                {
                    "device": device,
                    "definition": definition,
                    "iteration": iteration,
                    "length_ns": found.length_ns,
                    "gpu_compute_utilization": ratio(found.busy_ns, found.length_ns),
                    "est_sm_efficiency": found.sm_efficiency,
                    "est_achieved_occupancy": found.achieved_occupancy,
                    "coverage": found.coverage,
                }
            )
    return rows


def _stretches(profile: Profile, device: int | None, definition: Definition) -> Sequence[tuple[str | int | None, Step]]:
    """(None, the whole), then (iteration, its stretch) for each that has one."""
    if definition == "plugin":
        starts, ends, names = plugin_steps(profile)
        if not len(starts):
            return []
        whole: Step | None = (int(starts[0]), int(ends[-1]))
        steps: list[Step | None] = list(zip(starts.tolist(), ends.tolist(), strict=True))
        shown = labels(names, "iteration")
    else:
        iterations = belonging(profile, "iteration")
        steps, shown = device_steps(profile, iterations, device), labels(iterations.keys, "iteration")
        whole = own_window(profile, device)
    each = [(name, step) for name, step in zip(shown, steps, strict=True) if step is not None and step[1] > step[0]]
    return [*([(None, whole)] if whole is not None and whole[1] > whole[0] else []), *each]


def own_window(profile: Profile, device: int | None) -> Step | None:
    """(start, end) of W; of a window that was only taken from the devices' operations, that of this device alone."""
    window = time_window(profile)
    if window is not None and window.source == OPERATIONS:
        kernels, copies = profile.table("kernels"), profile.table("copies")
        window = from_operations(kernels.take(rows_of(kernels, device)), copies.take(rows_of(copies, device)))
    return None if window is None else (window.start_ns, window.stop_ns)


def _source_notes(profile: Profile) -> tuple[str, ...]:
    kernels = profile.table("kernels")
    zero = int((kernels["occupancy"].values == 0).sum())
    missing = int(np.isnan(residency(profile).resident).sum())
    notes = [_ZERO_NOTE.format(zero, len(kernels))] if zero else []
    if missing and np.isnan(kernels["occupancy"].values).any():
        notes.append(f"{missing} of {len(kernels)} launches: the chip's limits or the launch's resources are not known")
    return tuple(notes)
