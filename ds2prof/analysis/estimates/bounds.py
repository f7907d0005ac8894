"""What use of the tensor pipes and of DRAM a launch must have made at least, where no counter may be read.

Pure arithmetic on arrays: what a launch had to compute and to move comes from a model of its operator, the peaks from
the table of devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ds2prof.analysis.answers import ratio
from ds2prof.analysis.intervals import FloatArray


@dataclass(frozen=True, eq=False)
class Bounds:
    """Least use of each launch and of all together; ratios of the peak, NaN or None where not known.

    Attributes:
        tensor, dram: of each launch, while it ran.
        dram_bytes: what each launch moved at least.
        tensor_busy, dram_busy: of all launches over all their time: what is not known adds time and no work.
        coverage: share of the time of the launches whose work is known, FLOP and bytes.
        impossible: launches whose bound is above 1: a model or a peak is wrong there, and they are NaN above.
    """

    tensor: FloatArray
    dram: FloatArray
    dram_bytes: FloatArray
    tensor_busy: float | None
    dram_busy: float | None
    coverage: tuple[float | None, float | None]
    impossible: int


def lower_bounds(
    dur_ns: FloatArray,
    *,
    flop: FloatArray,
    compulsory_bytes: FloatArray,
    peak_flop_per_s: FloatArray | float | None,
    peak_bytes_per_s: float | None,
    l2_bytes: int | None,
) -> Bounds:
    """Lower bounds of tensor and DRAM use.

    Tensor use of a launch >= FLOP / (peak x time). DRAM traffic >= max(compulsory bytes - size of L2, 0), its use that
    over (peak x time): what an earlier launch left in the cache need not be read again, what this one left there need
    not be written yet. Blind spots: the FLOP must be those that the tensor pipes did, at the peak of their type; a
    chip that boosts above the clock of its stated peak makes the bound too high by that much; L2 may hold what a launch
    reads and what it writes only once, so that the bytes are those of one launch, never of many added up.

    Args:
        dur_ns: time of each launch.
        flop: that the tensor pipes had to do; NaN where not known.
        compulsory_bytes: inputs once and outputs once; NaN where not known.
        peak_flop_per_s: of the tensor pipes, one for all or one for each launch; None or NaN where not known.
        peak_bytes_per_s: of DRAM; None where not known.
        l2_bytes: size of the L2 cache; None where not known, and then no traffic is certain.
    """
    time_s = np.where(dur_ns > 0, dur_ns, np.nan) / 1e9
    tensor_peak = np.broadcast_to(np.asarray(np.nan if peak_flop_per_s is None else peak_flop_per_s), time_s.shape)
    cache = np.inf if l2_bytes is None else float(l2_bytes)
    moved = np.where(np.isnan(compulsory_bytes), np.nan, np.maximum(compulsory_bytes - cache, 0.0))
    tensor = flop / (tensor_peak * time_s)
    dram = moved / ((np.nan if peak_bytes_per_s is None else peak_bytes_per_s) * time_s)
    wrong = (tensor > 1.0) | (dram > 1.0)
    tensor, dram = np.where(tensor > 1.0, np.nan, tensor), np.where(dram > 1.0, np.nan, dram)
    return Bounds(
        tensor=tensor,
        dram=dram,
        dram_bytes=moved,
        tensor_busy=_over_all(tensor, dur_ns),
        dram_busy=_over_all(dram, dur_ns),
        coverage=(_covered(tensor, dur_ns), _covered(dram, dur_ns)),
        impossible=int(wrong.sum()),
    )


def _over_all(use: FloatArray, dur_ns: FloatArray) -> float | None:
    """Use over all launches' time, those not known counting as 0; None where none is known."""
    return ratio(float(np.nansum(use * dur_ns)), float(dur_ns.sum())) if (~np.isnan(use)).any() else None


def _covered(use: FloatArray, dur_ns: FloatArray) -> float | None:
    return ratio(float(dur_ns[~np.isnan(use)].sum()), float(dur_ns.sum()))
