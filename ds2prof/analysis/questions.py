"""Which analysis answers which ``--by``, and which tables it needs, so that one pass over a file loads them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ds2prof.analysis import core, kernels, memory, phases, samples, sums, throughput, totals
from ds2prof.analysis.answers import Answer
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

RANGE_KEYS: Final = ("phase", "layer", "iteration")
KERNEL_KEYS: Final = ("name", "kernel", "launch", "class", "stream", "device")
METRIC: Final = "metric"
KEYS: Final = ("core", *KERNEL_KEYS[:4], *RANGE_KEYS, *KERNEL_KEYS[4:], *sums.KEYS, METRIC, memory.BY)


def tables_for(by: str | None) -> tuple[str, ...]:
    """The tables that the answer by ``by`` and the totals are made from (operators of a CPU run come on their own)."""
    wanted = [*totals.TABLES, *core.TABLES]
    if by in RANGE_KEYS:
        wanted += phases.TABLES
    if by in sums.KEYS:
        wanted.append(sums.TABLE_OF[by])
    if by == METRIC:
        wanted += samples.TABLES
    return tuple(dict.fromkeys([*wanted, *throughput.TABLES, *memory.TABLES]))


def answers(profile: Profile, by: str | None, *, screens: bool = False) -> list[Answer]:
    """The answer by ``by``; without it, by what suits the profile: core then name for ``screens``, else name."""
    if throughput.is_run_log(profile):
        if by not in (None, "iteration"):
            raise MissingDataError(f"{profile.meta.file}: a run log holds iterations alone; drop --by {by}")
        return [throughput.iterations(profile)]
    if by == memory.BY or memory.has_memory(profile):
        return memory.all_answers(profile) if screens and by is None else [memory.memory(profile, by)]
    if by is None and samples.has_samples(profile):
        return [samples.metrics(profile, each_core=not screens)]
    if by is not None:
        return [_answer(profile, by)]
    if screens and profile.meta.domain == "gpu" and core.has_counters(profile):
        return [_answer(profile, "core"), _answer(profile, "name")]
    return [_answer(profile, _default(profile))]


def _default(profile: Profile) -> str:
    """By name of kernels (or operators); where there are none, by name of whatever there is."""
    if len(profile.table("kernels")) or (profile.meta.domain == "cpu" and len(profile.table("ops"))):
        return "name"
    return sums.first_with_rows(profile) or "name"


def _answer(profile: Profile, by: str) -> Answer:
    if by == METRIC:
        return samples.metrics(profile)
    if by in sums.KEYS:
        return sums.sums(profile, by)
    if samples.has_samples(profile):
        raise MissingDataError(f"{profile.meta.file}: no work of a device in it, but readings; drop --by {by}")
    if by == "core":
        return core.core_utilization(profile)
    if by in RANGE_KEYS:
        return phases.range_times(profile, by)
    return kernels.kernel_times(profile, by)


def pipes(answer: Answer) -> Sequence[str]:
    """The columns of an answer that are pipe utilizations."""
    return [name for name in answer.columns if name in core.PIPES]


def totals_of(profile: Profile) -> dict[str, Any]:
    """The totals as plain values, with a session's other utilization, a run log's rates, what a sampler's file has."""
    found = totals.totals(profile).as_dict()
    found.update(totals.less_overhead(profile, found))
    if throughput.is_run_log(profile):
        found.update(throughput.log_totals(profile))
    elif memory.has_memory(profile):
        found.update(memory.totals(profile))
    elif samples.has_samples(profile):
        found.update(samples.totals(profile))
    if throughput.has_rates(profile):
        found.update(throughput.throughput(profile))
    return found
