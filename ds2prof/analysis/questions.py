"""Which analysis answers which ``--by``, and which tables it needs, so that one pass over a file loads them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from ds2prof.analysis import (
    core,
    estimates,
    fp32,
    kernels,
    ledger,
    memory,
    phases,
    projections,
    ranks,
    rates,
    sampled_core,
    samples,
    sums,
    throughput,
    totals,
    waits,
)
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.estimates import allocations
from ds2prof.analysis.ledger_account import Per
from ds2prof.analysis.roofline import mfu
from ds2prof.analysis.roofline import tables as roofline
from ds2prof.analysis.uncertainty import iterations
from ds2prof.analysis.uncertainty.causes import idle_totals, ledger_rows
from ds2prof.analysis.uncertainty.pipes import with_intervals
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

RANGE_KEYS: Final = ("phase", "layer", "iteration")
KERNEL_KEYS: Final = ("name", "kernel", "launch", "class", "stream", "device")
METRIC: Final = "metric"
PER_OF: Final[Mapping[str, tuple[str, ...]]] = {
    ledger.BY: ("iteration", "phase"),
    **dict.fromkeys(roofline.KEYS, roofline.GROUPS),
    allocations.BY: (allocations.MOMENT,),
}
"""Key -> what its answer can be split, or grouped, by."""
KEYS: Final = (
    *roofline.KEYS,
    *("core", *KERNEL_KEYS[:4], *RANGE_KEYS, *KERNEL_KEYS[4:], *sums.KEYS, METRIC, memory.BY),
    *(rates.BY, fp32.BY, projections.BY, ledger.BY, waits.BY),
    *ranks.KEYS,
    *estimates.KEYS,
)


def tables_for(by: str | None) -> tuple[str, ...]:
    """The tables that the answer by ``by`` and the totals are made from (operators of a CPU run come on their own)."""
    wanted = [*totals.TABLES, *core.TABLES]
    if by in RANGE_KEYS:
        wanted += [*phases.TABLES, *iterations.TABLES]
    if by == "iteration":
        wanted += samples.TABLES
    if by in sums.KEYS:
        wanted.append(sums.TABLE_OF[by])
    if by in (METRIC, "core"):
        wanted += samples.TABLES
    wanted += phases.MORE.get(by or "", ())
    if by == projections.BY:
        wanted += projections.TABLES
    if by in roofline.KEYS:
        wanted += roofline.TABLES
    if by in (ledger.BY, waits.BY):
        wanted += ledger.TABLES
    if by in estimates.KEYS:
        wanted += estimates.TABLES_OF[by]
    if by in ranks.KEYS:
        return ranks.TABLES
    return tuple(dict.fromkeys([*wanted, *throughput.TABLES, *memory.TABLES]))


def answers(profile: Profile, by: str | None, *, screens: bool = False, per: str | None = None) -> list[Answer]:
    """The answer by ``by``; without it, by what suits the profile: core then name for ``screens``, else name.

    ``per`` is one of :data:`PER_OF`: it splits the ledger further, and says what the rows of others are.
    """
    if throughput.is_run_log(profile):
        if by not in (None, "iteration"):
            raise MissingDataError(f"{profile.meta.file}: a run log holds iterations alone; drop --by {by}")
        return [throughput.iterations(profile)]
    if by == memory.BY or memory.has_memory(profile):
        return memory.all_answers(profile) if screens and by is None else [memory.memory(profile, by)]
    if by is None and samples.has_samples(profile):
        return [samples.metrics(profile, each_core=not screens)]
    if by == fp32.BY:
        return fp32.fp32_tables(profile)
    if by == ledger.BY and not samples.has_samples(profile):
        return [ledger.idle_ledger(profile, per=cast("Per | None", per))]
    if by in roofline.KEYS and per is not None and not samples.has_samples(profile):
        return [roofline.answer(profile, by, per)]
    if by == allocations.BY and per is not None:
        return [allocations.moments(profile)]
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
    if by in estimates.KEYS:
        return estimates.answer(profile, by)
    if by == METRIC:
        return samples.metrics(profile)
    if by in sums.KEYS:
        return sums.sums(profile, by)
    if by == "core" and not core.has_counters(profile) and sampled_core.has_pipe_samples(profile):
        return sampled_core.sampled_utilization(profile)
    if samples.has_samples(profile):
        raise MissingDataError(f"{profile.meta.file}: no work of a device in it, but readings; drop --by {by}")
    if by in ranks.KEYS:
        return ranks.answer(ranks.run_of(ranks.lanes_of(profile)), by)
    if by == waits.BY:
        return waits.stream_waits(profile)
    if by == "core":
        return with_intervals(profile, core.core_utilization(profile))
    if by == rates.BY:
        return rates.throughput_means(profile)
    if by in roofline.KEYS:
        return roofline.answer(profile, by)
    if by == projections.BY:
        return projections.annotation_times(profile)
    if by == "iteration":
        return iterations.with_notes(profile, phases.range_times(profile, by), ledger=ledger_rows(profile))
    if by in RANGE_KEYS:
        return phases.range_times(profile, by)
    return kernels.kernel_times(profile, by)


def pipes(answer: Answer) -> Sequence[str]:
    """The columns of an answer that are utilizations of pipes, throughputs and occupancy."""
    return [name for name in answer.columns if name in rates.COLUMNS]


def is_of_iterations(by: str | None) -> bool:
    """Whether the totals of the answer hold what repeated iterations say."""
    return by in (*RANGE_KEYS, ledger.BY, waits.BY)


def totals_of(profile: Profile, by: str | None = None) -> dict[str, Any]:
    """The totals as plain values, with a session's other utilization, a run log's rates, what a sampler's file has.

    Where the answer is by iteration, phase, layer or a ledger, and of a run log, what repeated iterations say is among
    them; for others it would cost the reading of tables that they do without.
    """
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
    found.update(mfu.totals(profile))
    if is_of_iterations(by) or throughput.is_run_log(profile):
        found.update(iterations.totals(profile))
    if by == ledger.BY and not samples.has_samples(profile):
        found.update(idle_totals(profile))
    return found
