"""What device work belongs to: the call that launched it, the operator it ran in, the ranges that were open.

A launch is found by (process, correlation). It belongs to the innermost range of a kind that was open on its own thread
when it was launched, else to the one open in its process: autograd launches the backward's kernels from a thread of its
own, where no range is open. All functions give row numbers of whole tables, -1 for none, and are worked out once per
profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import innermost
from ds2prof.analysis.windows import ends_ns, text_mask
from ds2prof.tables import BoolArray, IntArray, Profile, Table

Work = Literal["kernels", "copies"]
TABLES: Final = ("kernels", "copies", "api", "ops", "ranges")


def launches(profile: Profile, work: Work) -> IntArray:
    """For each kernel or copy, the row of ``api`` that launched it; -1 where none is recorded."""
    return profile.derived(f"launches of {work}", lambda: launch_rows(profile.table(work), profile.table("api")))


def owners(profile: Profile, work: Work, kind: str) -> IntArray:
    """For each kernel or copy, the row of ``ranges`` of a kind (iteration, phase, layer) that was open at its launch.

    The innermost on the launching thread, else in its process. What follows from autograd's sequence numbers beside it
    is in :func:`ds2prof.analysis.belonging.belonging`.
    """
    return profile.derived(f"{kind} of {work}", lambda: _owners(profile, work, kind))


def own_owners(profile: Profile, work: Work, kind: str) -> IntArray:
    """As :func:`owners`, but of ranges on the launching thread alone."""
    return profile.derived(f"own {kind} of {work}", lambda: _own_owners(profile, work, kind))


def operators(profile: Profile, work: Work) -> IntArray:
    """For each kernel or copy, the row of ``ops`` that launched it: the innermost on its thread at the launch."""
    return profile.derived(f"operators of {work}", lambda: _operators(profile, work))


def ranges_of_kind(profile: Profile, kind: str) -> IntArray:
    """Rows of ``ranges`` of the kind that have a value, a start and an end."""
    ranges = profile.table("ranges")
    usable = ranges["start_ns"].present & ranges["dur_ns"].present & ranges["value"].present
    return np.flatnonzero(usable & text_mask(ranges, "kind", kind))


def _owners(profile: Profile, work: Work, kind: str) -> IntArray:
    found = own_owners(profile, work, kind).copy()
    rest = np.flatnonzero((found < 0) & (launches(profile, work) >= 0))
    found[rest] = _open_at_launch(
        profile, work, profile.table("ranges"), ranges_of_kind(profile, kind), of=rest, keys=("process",)
    )
    return found


def _own_owners(profile: Profile, work: Work, kind: str) -> IntArray:
    return on_thread_at_launch(profile, work, profile.table("ranges"), ranges_of_kind(profile, kind))


def _operators(profile: Profile, work: Work) -> IntArray:
    ops = profile.table("ops")
    return on_thread_at_launch(profile, work, ops, np.arange(len(ops)))


def on_thread_at_launch(profile: Profile, work: Work, spans: Table, rows: IntArray) -> IntArray:
    """For each kernel or copy, the innermost of these rows of ``spans`` open on its thread at its launch, or -1."""
    found = np.full(len(profile.table(work)), -1, dtype=np.int64)
    linked = np.flatnonzero(launches(profile, work) >= 0)
    found[linked] = _open_at_launch(profile, work, spans, rows, of=linked, keys=("process", "thread"))
    return found


def _open_at_launch(
    profile: Profile, work: Work, spans: Table, rows: IntArray, *, of: IntArray, keys: tuple[str, ...]
) -> IntArray:
    """The innermost of the chosen rows of ``spans``, with equal keys, open at the launch of each of the work's rows."""
    if not len(rows) or not len(of):
        return np.full(len(of), -1, dtype=np.int64)
    api, at = profile.table("api"), launches(profile, work)[of]
    wanted = {name: api.ints(name, null=-1)[at] for name in keys}
    inside = lookup(spans.take(rows), api.ints("start_ns")[at], wanted)
    return np.where(inside >= 0, rows[inside], -1)


def lookup(spans: Table, times_ns: IntArray, keys: Mapping[str, IntArray]) -> IntArray:
    """For each time, the row of the innermost of ``spans`` that is open then and has the same key values; -1 for none.

    Args:
        spans: a table with starts and durations.
        times_ns: when.
        keys: column of ``spans`` -> the value asked for at each time.
    """
    found = np.full(len(times_ns), -1, dtype=np.int64)
    both = [np.concatenate((values, spans.ints(name, null=-1))) for name, values in keys.items()]
    codes, _ = combined(both)
    wanted, owned = codes[: len(times_ns)], codes[len(times_ns) :]
    for key in np.unique(owned).tolist():
        asked, rows = _rows(wanted == key), _rows(owned == key)
        if len(asked):
            part = spans.take(rows)
            inner = innermost(part.ints("start_ns"), ends_ns(part), times_ns[asked])
            found[asked] = np.where(inner >= 0, rows[inner], -1)
    return found


def _rows(mask: BoolArray) -> IntArray:
    return np.flatnonzero(mask)


def launch_rows(work: Table, api: Table) -> IntArray:
    """For each row of work, the row of ``api`` that launched it, by (process, correlation); -1 where none is recorded.

    One launch may start many kernels (graphs). Where several calls carry one correlation id (a runtime call and the
    driver call inside it), the first to start is the launch.
    """
    found = np.full(len(work), -1, dtype=np.int64)
    linked = work["correlation"].present & (work.ints("correlation") > 0)
    calls = np.flatnonzero(api["correlation"].present & ~text_mask(api, "domain", "sync", "backtrace"))
    if not linked.any() or not len(calls):
        return found
    columns = ["correlation"]
    if work["process"].present.all() and api["process"].take(calls).present.all():
        columns.insert(0, "process")
    keys, wanted = _codes([(api.ints(name)[calls], work.ints(name)[linked]) for name in columns])
    latest_first = np.argsort(api.ints("start_ns")[calls], kind="stable")[::-1]
    first = np.full(max(int(keys.max()), int(wanted.max())) + 1, -1, dtype=np.int64)
    first[keys[latest_first]] = calls[latest_first]  # of those with one key, what is written last stays
    found[linked] = first[wanted]
    return found


def _codes(columns: Sequence[tuple[IntArray, IntArray]]) -> tuple[IntArray, IntArray]:
    """Codes from 0 on, of two tables' rows, that are equal where all columns are.

    Ids that lie close together stand for themselves.
    """
    spans = [(min(int(a.min()), int(b.min())), max(int(a.max()), int(b.max()))) for a, b in columns]
    varying = [place for place, (least, most) in enumerate(spans) if least != most]
    if len(varying) == 1:
        (of_calls, of_work), (least, most) = columns[varying[0]], spans[varying[0]]
        if most - least < 4 * (len(of_calls) + len(of_work)):
            return of_calls - least, of_work - least
    codes, _ = combined([np.concatenate(pair) for pair in columns])
    count = len(columns[0][0])
    return codes[:count], codes[count:]
