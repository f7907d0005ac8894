"""The tables of a run: by rank, by collective, by straggler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.groups import combined, summed
from ds2prof.analysis.ranks.clocks import MIN_COLLECTIVES
from ds2prof.analysis.ranks.communication import NONE, SYMMETRIC
from ds2prof.analysis.ranks.runs import Run
from ds2prof.tables import BoolArray, IntArray


def answer(run: Run, by: str) -> Answer:
    """The table of a run by one of :data:`KEYS`."""
    return _ANSWERS[by](run)


def by_rank(run: Run) -> Answer:
    """A row for each rank: its device's time in its window, what it waited for others, how far its clock is off.

    ``overlap`` is length(communication and compute) / length(communication), as HTA has it, within the window and
    unrounded. ``compute_ns``, both exposed parts and ``idle_ns`` sum to ``window_ns``. ``wait_ns`` is what it waited in
    collectives for the last to come, ``caused_wait_ns`` what others waited for it; waits below the alignment's error
    are in neither. Blind spot: each rank's window is its own, and communication that waits counts as communication.
    """
    lanes, waits, clocks = run.lanes, run.waits, run.clocks
    count = len(lanes)
    zero = np.zeros(count, dtype=np.int64)
    error_ns = clocks.error_ns(np.arange(count), clocks.reference)
    is_known = run.can_be_named.tolist()
    waited, caused = (
        [value if known else None for value, known in zip(sums.tolist(), is_known, strict=True)]
        for sums in (summed(waits.waiting, waits.wait_ns, count), summed(waits.straggler, waits.wait_ns, count))
    )
    placed = clocks.matches > 0
    columns: dict[str, Sequence[Any]] = {
        "rank": run.labels,
        "file": [lane.file for lane in lanes],
        "host": [lane.host for lane in lanes],
        "device": [lane.device for lane in lanes],
        "window_ns": [lane.window.length_ns for lane in lanes],
        "window_source": [lane.window.source for lane in lanes],
        "steps": [lane.steps or None for lane in lanes],
        "step_ns": [lane.step_ns for lane in lanes],
        "compute_ns": [lane.sums.compute_ns for lane in lanes],
        "communication_ns": [lane.sums.communication_ns for lane in lanes],
        "overlap": [lane.sums.overlap for lane in lanes],
        "exposed_communication_ns": [lane.sums.exposed_communication_ns for lane in lanes],
        "exposed_copy_ns": [lane.sums.exposed_copy_ns for lane in lanes],
        "idle_ns": [lane.sums.idle_ns for lane in lanes],
        "wait_ns": waited,
        "caused_wait_ns": caused,
        "clock_offset_ns": _where(placed, clocks.offset_ns if count else zero),
        "clock_error_ns": _where(placed & (error_ns >= 0) & (clocks.spread_ns >= 0), error_ns),
    }
    return Answer("rank", columns, (*_rank_notes(run), *_notes(run)))


def by_collective(run: Run) -> Answer:
    """A row for each matched collective, those that cost most waiting first, then in order of time.

    ``transfer_ns`` is the shortest duration over the ranks: that of the last to come, who waits for nobody; None where
    ranks are missing or somebody could leave before. ``skew_ns`` is from the first start to the last, after alignment.
    ``last_rank`` is named where all ranks are in the files, nobody could leave before the last came, and it came later
    than the one before it by more than the error.
    """
    found, each = run.events, run.collectives
    wait_ns = summed(run.waits.collective, run.waits.wait_ns, len(each))
    order = np.lexsort((each.first_start_ns, -wait_ns))
    row = each.row[order]
    known = each.error_ns[order] >= 0
    iterations = [found.iterations[code] if code >= 0 else None for code in found.iteration[row].tolist()]
    last = each.last_is_known[order].tolist()
    columns: dict[str, Sequence[Any]] = {
        "collective": order.tolist(),
        "name": [found.kinds[code] for code in found.kind[row].tolist()],
        "group": [found.groups[code].partition(":")[0] or None for code in found.group[row].tolist()],
        "sequence": _where(found.sequence[row] >= 0, found.sequence[row]),
        "iteration": iterations,
        "ranks": each.ranks[order].tolist(),
        "group_size": _where(found.group_size[row] >= 0, found.group_size[row]),
        "in_bytes": _where(found.in_bytes[row] >= 0, found.in_bytes[row]),
        "transfer_ns": _where((each.is_symmetric & each.is_whole)[order], each.transfer_ns[order]),
        "max_dur_ns": each.longest_ns[order].tolist(),
        "skew_ns": _where(known, each.skew_ns[order]),
        "skew_error_ns": _where(known, each.error_ns[order]),
        "last_rank": [
            run.labels[lane] if is_known else None
            for lane, is_known in zip(each.last[order].tolist(), last, strict=True)
        ],
        "wait_ns": _where(known & (each.is_symmetric & each.is_whole)[order], wait_ns[order]),
    }
    return Answer("collective", columns, tuple(_notes(run)))


def by_straggler(run: Run) -> Answer:
    """A row for each rank that came last and each that waited for it, the costliest first.

    A wait is from the start of the one that waits to the start of the last to come, after alignment; those no longer
    than the error of the two clocks name nobody and are not summed. ``wait_error_ns`` is the sum of their errors.
    """
    waits, found = run.waits, run.events
    pairs, first = combined([waits.straggler, waits.waiting])
    count = int(pairs.max(initial=NONE)) + 1
    first = np.unique(pairs, return_index=True)[1]
    total = summed(pairs, waits.wait_ns, count)
    by_length = np.lexsort((waits.wait_ns, pairs))
    longest = by_length[np.cumsum(np.bincount(pairs, minlength=count)) - 1]
    order = np.argsort(-total, kind="stable")
    worst = longest[order]
    row = run.collectives.row[waits.collective[worst]]
    columns: dict[str, Sequence[Any]] = {
        "straggler": [run.labels[lane] for lane in waits.straggler[first[order]].tolist()],
        "waiting": [run.labels[lane] for lane in waits.waiting[first[order]].tolist()],
        "calls": np.bincount(pairs, minlength=count)[order].tolist(),
        "wait_ns": total[order].tolist(),
        "wait_error_ns": summed(pairs, waits.error_ns, count)[order].tolist(),
        "longest_wait_ns": waits.wait_ns[worst].tolist(),
        "longest_in": [found.kinds[code] for code in found.kind[row].tolist()],
        "longest_collective": waits.collective[worst].tolist(),
        "longest_iteration": [found.iterations[code] if code >= 0 else None for code in found.iteration[row].tolist()],
    }
    return Answer("straggler", columns, (*([] if len(total) else [_why_nobody(run)]), *_notes(run)))


def _why_nobody(run: Run) -> str:
    each = run.collectives
    if not bool((each.is_symmetric & each.is_whole).any()):
        return "no straggler can be named: no collective of all its ranks was matched that nobody leaves early"
    if not bool((run.clocks.spread_ns >= 0).any()):
        return "no straggler can be named: the error of the clocks' alignment is not known"
    return "no straggler: no wait is longer than the error of the clocks' alignment"


_ANSWERS: Final[Mapping[str, Callable[[Run], Answer]]] = {
    "rank": by_rank,
    "collective": by_collective,
    "straggler": by_straggler,
}
KEYS: Final = tuple(_ANSWERS)


def run_totals(run: Run) -> dict[str, Any]:
    """What the run comes to: sums over ranks, and how far its clocks could be aligned."""
    sums = [lane.sums for lane in run.lanes]
    communication_ns = sum(each.communication_ns for each in sums)
    clocks = run.clocks
    error_ns = clocks.error_ns(np.arange(len(run.lanes)), clocks.reference)[clocks.spread_ns >= 0]
    return {
        "ranks": len(run.lanes),
        "files": len({lane.file for lane in run.lanes}),
        "world_size": max((lane.world_size for lane in run.lanes if lane.world_size is not None), default=None),
        "window_ns": sum(lane.window.length_ns for lane in run.lanes),
        "communication_ns": communication_ns,
        "exposed_communication_ns": sum(each.exposed_communication_ns for each in sums),
        "overlap": ratio(sum(each.overlapped_ns for each in sums), communication_ns),
        "communication_kernels": len(run.events),
        "matched_kernels": int((run.events.collective >= 0).sum()),
        "matched_collectives": len(run.collectives),
        "wait_ns": int(run.waits.wait_ns.sum()) if bool(run.can_be_named.any()) else None,
        "clock_error_ns": int(error_ns.max()) if len(error_ns) else None,
    }


def _where(known: BoolArray, values: IntArray) -> list[int | None]:
    return [value if is_known else None for value, is_known in zip(values.tolist(), known.tolist(), strict=True)]


def _rank_notes(run: Run) -> list[str]:
    sources = sorted({lane.window.source for lane in run.lanes})
    if len(sources) > 1:
        return [f"windows are of unequal sources ({', '.join(sources)}): shares of them do not compare"]
    return []


def _unmatched(run: Run) -> list[str]:
    """How many communication kernels are in no collective of several ranks, and what would change that."""
    found = run.events
    left = len(found) - int((found.collective >= 0).sum())
    if not len(found):
        return ["no collective to match: no communication kernel (NCCL, RCCL) is in these files"]
    if len(run.lanes) == 1:
        return ["one rank alone: to match its collectives and find who waited for whom, give the files of all ranks"]
    if not left:
        return []
    note = f"{left:,} of {len(found):,} communication kernels matched none of another rank and are in no wait"
    if left == len(found):
        note += ": ranks that number or count their collectives differently cannot be matched (are all of one run?)"
    return [note]


def _notes(run: Run) -> list[str]:
    notes = []
    if run.by_place and len(run.lanes) > 1:
        what = "a file does not tell its rank" if None in (lane.rank for lane in run.lanes) else "a rank comes twice"
        notes.append(f"ranks are places in the order of the files and their devices: {what}")
    each, clocks, found = run.collectives, run.clocks, run.events
    notes += _unmatched(run)
    if not len(each):
        return notes
    if bool((clocks.spread_ns >= 0).any()):
        notes.append(
            "clocks are aligned by the ends of collectives that all ranks leave together; errors hold for 95 % of them"
        )
    unsure = int(((clocks.matches > 0) & (clocks.spread_ns < 0)).sum())
    if unsure:
        notes.append(f"{unsure} ranks share fewer than {MIN_COLLECTIVES} such collectives: error unknown, nobody named")
    partial = int((~each.is_whole).sum())
    if partial:
        notes.append(f"{partial} of {len(each)} collectives lack ranks or have one twice: who came last is not known")
    if run.waits.below:
        notes.append(f"{run.waits.below} waits are no longer than the error of the alignment and name nobody")
    others = int((~each.is_symmetric).sum())
    if others:
        which = ", ".join(sorted({found.kinds[code] for code in found.kind[each.row[~each.is_symmetric]].tolist()}))
        notes.append(f"{others} collectives ({which}) are none of {', '.join(sorted(SYMMETRIC))}: no wait can be told")
    return notes
