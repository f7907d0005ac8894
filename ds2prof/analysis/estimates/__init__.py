"""What can be said without counters, and what a reader of timelines expects: each answer by one key.

Estimates are called so in their columns (``est_``). docs/ESTIMATES.md defines them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ds2prof.analysis.answers import Answer
from ds2prof.analysis.estimates import (
    allocations,
    bandwidth,
    bound_table,
    critical_path,
    energy,
    latencies,
    occupancy,
    queue_depth,
    waves,
)
from ds2prof.tables import Profile

_ANSWERS: Final[Mapping[str, Callable[[Profile], Answer]]] = {
    occupancy.BY: occupancy.occupancy,
    latencies.BY: latencies.latency_table,
    queue_depth.BY: queue_depth.queue_table,
    bandwidth.BY: bandwidth.bandwidth,
    waves.BY: waves.wave_table,
    allocations.BY: allocations.allocation_table,
    critical_path.BY: critical_path.path_table,
    energy.BY: energy.energy_table,
    bound_table.BY: bound_table.bound_table,
}
KEYS: Final = tuple(_ANSWERS)
TABLES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    module.BY: module.TABLES
    for module in (occupancy, latencies, queue_depth, bandwidth, waves, allocations, critical_path, energy, bound_table)
}
"""Key -> the tables that its answer is made from."""


def answer(profile: Profile, by: str) -> Answer:
    """The answer by one of :data:`KEYS`.

    Raises:
        MissingDataError: the profile lacks what the answer is made from.
    """
    return _ANSWERS[by](profile)
