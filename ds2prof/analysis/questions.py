"""Which analysis answers which ``--by``, and which tables it needs, so that one pass over a file loads them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ds2prof.analysis import core, kernels, phases, throughput, totals
from ds2prof.analysis.answers import Answer
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

RANGE_KEYS: Final = ("phase", "layer", "iteration")
KERNEL_KEYS: Final = ("name", "kernel", "launch", "class", "stream", "device")
KEYS: Final = ("core", *KERNEL_KEYS[:4], *RANGE_KEYS, *KERNEL_KEYS[4:])


def tables_for(by: str | None) -> tuple[str, ...]:
    """The tables that the answer by ``by`` and the totals are made from (operators of a CPU run come on their own)."""
    wanted = [*totals.TABLES, *core.TABLES]
    if by in RANGE_KEYS:
        wanted += phases.TABLES
    return tuple(dict.fromkeys([*wanted, *throughput.TABLES]))


def answers(profile: Profile, by: str | None, *, screens: bool = False) -> list[Answer]:
    """The answer by ``by``; without it, by what suits the profile: core then name for ``screens``, else name."""
    if throughput.is_run_log(profile):
        if by not in (None, "iteration"):
            raise MissingDataError(f"{profile.meta.file}: a run log holds iterations alone; drop --by {by}")
        return [throughput.iterations(profile)]
    if by is not None:
        return [_answer(profile, by)]
    if screens and profile.meta.domain == "gpu" and core.has_counters(profile):
        return [_answer(profile, "core"), _answer(profile, "name")]
    return [_answer(profile, "name")]


def _answer(profile: Profile, by: str) -> Answer:
    if by == "core":
        return core.core_utilization(profile)
    if by in RANGE_KEYS:
        return phases.range_times(profile, by)
    return kernels.kernel_times(profile, by)


def pipes(answer: Answer) -> Sequence[str]:
    """The columns of an answer that are pipe utilizations."""
    return [name for name in answer.columns if name in core.PIPES]


def totals_of(profile: Profile) -> dict[str, Any]:
    """The totals as plain values, with the rates of a run log."""
    found = totals.totals(profile).as_dict()
    if throughput.is_run_log(profile):
        found.update(throughput.throughput(profile))
    return found
