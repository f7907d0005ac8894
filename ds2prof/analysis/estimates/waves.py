"""Waves of blocks over the SMs, and what the last, partly filled one leaves empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer
from ds2prof.analysis.estimates.grouped import short_names, weighted_means
from ds2prof.analysis.estimates.limits import Residency, residency
from ds2prof.analysis.groups import known_sums, sorted_columns
from ds2prof.analysis.intervals import FloatArray
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

BY: Final = "wave"
TABLES: Final = ("kernels", "devices")
_NOTE: Final = (
    "means over launches, weighted by their time; tail_loss: share of block slots, over all waves, that stay empty: "
    "what equal blocks would lose to the last wave; resident blocks by the chip's limits, shared memory at its largest"
)


def waves(found: Residency) -> FloatArray:
    """Waves of each launch: blocks / (SMs x most resident blocks of an SM), as Nsight Compute's; NaN where unknown."""
    return np.asarray(found.blocks / (found.sms * found.resident))


def tail_loss(count: FloatArray) -> FloatArray:
    """Share of all block slots that stay empty: 1 - waves / ceil(waves).

    Blind spot: it holds for blocks of equal length that all start at once; short kernels overlap with the next one, and
    a block scheduler that hands out blocks as others end has no waves to speak of.
    """
    return np.asarray(1.0 - count / np.ceil(count))


def wave_table(profile: Profile) -> Answer:
    """Waves, empty part of the last wave and tail loss by short name; theoretical occupancy beside them.

    Raises:
        MissingDataError: of no launch are grid, resources and the chip's limits known.
    """
    kernels, found = profile.table("kernels"), residency(profile)
    count_of = waves(found)
    if np.isnan(count_of).all():
        raise MissingDataError(
            f"{profile.meta.file}: no launch with grid, registers and shared memory on a chip whose limits are known"
        )
    codes, names = short_names(kernels["name"])
    count = len(names)
    durations = kernels.ints("dur_ns")
    weights = np.maximum(durations, 1).astype(np.float64)
    columns: dict[str, Sequence[Any]] = {
        "name": names,
        "launches": np.bincount(codes, minlength=count).tolist(),
        "dur_ns": known_sums(codes, kernels["dur_ns"], count),
    }
    measures = {
        "waves": count_of,
        "last_wave_empty": np.ceil(count_of) - count_of,
        "tail_loss": tail_loss(count_of),
        "resident_blocks": found.resident,
        "theoretical_occupancy": found.theoretical,
    }
    columns.update({name: weighted_means(codes, values, weights, count) for name, values in measures.items()})
    unknown = int(np.isnan(count_of).sum())
    notes = (_NOTE, *([f"{unknown} of {len(kernels)} launches: not known, and left out"] if unknown else []))
    return Answer(BY, sorted_columns(columns, by=("dur_ns", "launches")), notes)
