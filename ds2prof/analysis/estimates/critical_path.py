"""The longest dependent chain through a step: what a step's length is made of, from its end back to its beginning.

Walked backward from the last operation: whatever it waited for last comes next (:mod:`.path_edges`). Each nanosecond of
the step is on the path once, so that its kinds sum to the step's length. Holistic Trace Analysis builds a graph of all
host operators instead and takes the longest path through it; here host time is one kind, split by the operators that
were open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer, ratio, ratios
from ds2prof.analysis.attribution import operators
from ds2prof.analysis.belonging import belonging, labels
from ds2prof.analysis.estimates.grouped import Names, name_rows, short_names
from ds2prof.analysis.estimates.path_edges import Work, work
from ds2prof.analysis.estimates.path_host import host_pieces, host_spans
from ds2prof.analysis.groups import combined, sorted_columns, summed
from ds2prof.analysis.steps import Step, whole_steps
from ds2prof.analysis.windows import time_window
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile

BY: Final = "path"
TABLES: Final = ("kernels", "copies", "api", "ops", "ranges", "spans")
KINDS: Final = ("compute", "communication", "copy", "queue", "launch", "sync", "host")
"""queue: from the end of the work waited for to the start of the next; launch: from when the launch was in to the start
of the work; sync: from the end of the work to the return of the host's wait for it; host: all else."""
_QUEUE, _LAUNCH, _SYNC, _HOST = 3, 4, 5, 6
_NO_STEPS: Final = (
    "no iterations in this file, so the path leads through all that was watched: start of CUDA, loading of libraries "
    "and warm-up are on it as time of the host"
)


@dataclass(frozen=True, eq=False)
class Path:
    """The critical path of one stretch, as segments.

    Attributes:
        iteration: the step, None where the stretch is the window.
        start_ns, end_ns: of the stretch.
        kind: of each segment, a place in :data:`KINDS`.
        operation: place in :class:`.path_edges.Work` of the operation that a segment is, or led to; behind the last
            operation that one, -1 where there is none.
        begin_ns, dur_ns: of each segment; they do not overlap, and sum to the stretch's length.
    """

    iteration: str | int | None
    start_ns: int
    end_ns: int
    kind: IntArray
    operation: IntArray
    begin_ns: IntArray
    dur_ns: IntArray


def paths(profile: Profile) -> list[Path]:
    """The critical path of each step, or of W where no steps are known.

    Blind spots: threads of the host depend on each other in ways that no trace tells (backward() waits for autograd's
    thread), so that host time before a thread's last wait for the device is host time, whichever thread took it; which
    stream waited for which event is inferred from the order of calls; a launch that the host made early, but that the
    full queue blocked, counts as the host's.
    """
    found = work(profile)
    return [_path(found, name, *stretch) for name, stretch in _stretches(profile)]


def shares(path: Path) -> dict[str, float | None]:
    """Share of the path by kind; sums to 1."""
    sums = summed(path.kind, path.dur_ns, len(KINDS)).tolist()
    return {kind: ratio(dur_ns, path.end_ns - path.start_ns) for kind, dur_ns in zip(KINDS, sums, strict=True)}


def path_table(profile: Profile) -> Answer:
    """What the critical paths of all steps are made of: kind and name, most first; they sum to the paths' length.

    Of work the name is the kernel's or copy's, of host time the operator (where there are none the call) that was open,
    none where nothing was; of launch time the operator (or call) that launched, of queue time the work that waited, of
    sync time the work before which the host waited.

    Raises:
        MissingDataError: no device work with times and calls.
    """
    found = work(profile) if profile.meta.times == "real" else None
    if found is None or not len(found) or not (found.call >= 0).any():
        raise MissingDataError(
            f"{profile.meta.file}: no device work with both its times and its calls; no path can be followed"
        )
    walked = paths(profile)
    if not walked:
        raise MissingDataError(f"{profile.meta.file}: neither a step nor a window to follow a path through")
    kind, operation, begin_ns, dur_ns = (
        np.concatenate([getattr(path, name) for path in walked]) for name in ("kind", "operation", "begin_ns", "dur_ns")
    )
    kind, dur_ns, codes, names = _pieces(
        profile, found, kind=kind, operation=operation, begin_ns=begin_ns, dur_ns=dur_ns
    )
    groups, rows = combined([kind, codes])
    sums = summed(groups, dur_ns, len(rows))
    length_ns = sum(path.end_ns - path.start_ns for path in walked)
    columns: dict[str, Sequence[Any]] = {
        "kind": [KINDS[place] for place in kind[rows].tolist()],
        "name": [names[code] for code in codes[rows].tolist()],
        "segments": np.bincount(groups, minlength=len(rows)).tolist(),
        "dur_ns": sums.tolist(),
        "share": ratios(sums, length_ns),
    }
    return Answer(BY, sorted_columns(columns, by=("dur_ns",)), _notes(walked, kind, dur_ns, length_ns))


def _stretches(profile: Profile) -> list[tuple[str | int | None, Step]]:
    iterations = belonging(profile, "iteration")
    steps = zip(labels(iterations.keys, "iteration"), whole_steps(profile, iterations), strict=True)
    found: list[tuple[str | int | None, Step]] = [(name, step) for name, step in steps if step is not None]
    window = time_window(profile)
    if found or window is None:
        return found
    return [(None, (window.start_ns, window.stop_ns))]


def _path(found: Work, name: str | int | None, start_ns: int, end_ns: int) -> Path:
    last = int(np.searchsorted(found.end_ns, end_ns, side="right")) - 1
    chain = _chain(found, last, start_ns)
    before, behind = found.before[chain], found.behind[chain]
    held = before >= 0
    reached = np.where(held, found.end_ns[before], found.launched_ns[chain])
    waits = ~held & (behind >= 0)
    freed = np.where(waits, found.freed_ns[chain], start_ns)
    # Of each operation, back in time: itself, what it waited for to begin, the host before that, the host's own wait.
    parts = [
        (found.kind[chain], found.end_ns[chain], found.start_ns[chain]),
        (np.where(held, _QUEUE, _LAUNCH), found.start_ns[chain], reached),
        (np.full(len(chain), _HOST), np.where(held, reached, found.launched_ns[chain]), np.where(held, reached, freed)),
        (np.full(len(chain), _SYNC), np.where(waits, freed, 0), np.where(waits, found.end_ns[behind], 0)),
    ]
    kind, upper, lower = (np.concatenate(column) for column in zip(*parts, strict=True))
    operation = np.tile(chain, len(parts))
    tail = chain[:1] if len(chain) else np.array([-1], dtype=np.int64)
    reached_ns = int(found.end_ns[chain[0]]) if len(chain) else start_ns
    kind, operation = np.append(kind, _HOST), np.append(operation, tail)
    upper, lower = np.append(upper, end_ns), np.append(lower, reached_ns)
    begins = np.maximum(lower, start_ns)
    lengths = np.maximum(np.minimum(upper, end_ns) - begins, 0)
    some = lengths > 0
    return Path(
        name, start_ns, end_ns, *(column[some].astype(np.int64) for column in (kind, operation, begins, lengths))
    )


def _chain(found: Work, last: int, start_ns: int) -> IntArray:
    """The operations on the path, the last first; each led to by the one behind it."""
    following = np.where(found.before >= 0, found.before, found.behind)
    first = int(np.searchsorted(found.end_ns, start_ns, side="right"))
    following = following[first : last + 1].tolist()
    chain = []
    place = last
    while place >= first:  # pointers alone are followed here, a hundred nanoseconds each
        chain.append(place)
        place = following[place - first]
    return np.array(chain, dtype=np.int64)


def _pieces(
    profile: Profile, found: Work, *, kind: IntArray, operation: IntArray, begin_ns: IntArray, dur_ns: IntArray
) -> tuple[IntArray, IntArray, IntArray, list[str | None]]:
    """(kind, ns, name code of each segment, the names); segments of the host are taken apart by what it did."""
    names = Names()
    codes = np.zeros(len(kind), dtype=np.int64)
    launch = np.flatnonzero(kind == _LAUNCH)
    codes[launch] = _callers(profile, found, operation[launch], names)
    works = np.flatnonzero((kind != _LAUNCH) & (kind != _HOST))
    codes[works] = _works(profile, found, operation[works], names)
    host, others = np.flatnonzero(kind == _HOST), np.flatnonzero(kind != _HOST)
    call = np.where(operation[host] >= 0, found.call[operation[host]], -1) if len(found) else np.full(len(host), -1)
    _, owner, lengths = host_pieces(profile, begin_ns[host], begin_ns[host] + dur_ns[host], call)
    did = host_spans(profile)["name"]
    return (
        np.concatenate((kind[others], np.full(len(owner), _HOST))),
        np.concatenate((dur_ns[others], lengths)),
        np.concatenate((codes[others], names.codes(did.categories or (), name_rows(did, owner)))),
        names.texts,
    )


def _works(profile: Profile, found: Work, places: IntArray, names: Names) -> IntArray:
    """The name of each operation: a kernel's short name, a copy's as it is."""
    codes, short = short_names(profile.table("kernels")["name"])
    copies = profile.table("copies")["name"]
    is_kernel, rows = found.is_kernel[places], found.row[places]
    result = np.zeros(len(places), dtype=np.int64)
    result[is_kernel] = names.codes(short, codes[rows[is_kernel]])
    result[~is_kernel] = names.codes(copies.categories or (), name_rows(copies, rows[~is_kernel]))
    return result


def _callers(profile: Profile, found: Work, places: IntArray, names: Names) -> IntArray:
    """The operator in which each was launched, else the call."""
    ops = np.full(len(places), -1, dtype=np.int64)
    is_kernel, rows = found.is_kernel[places], found.row[places]
    ops[is_kernel] = operators(profile, "kernels")[rows[is_kernel]]
    ops[~is_kernel] = operators(profile, "copies")[rows[~is_kernel]]
    by_operator, by_call = profile.table("ops")["name"], profile.table("api")["name"]
    operator = names.codes(by_operator.categories or (), name_rows(by_operator, ops))
    call = names.codes(by_call.categories or (), name_rows(by_call, found.call[places]))
    return np.where(operator > 0, operator, call)


def _notes(walked: Sequence[Path], kind: IntArray, dur_ns: IntArray, length_ns: int) -> tuple[str, ...]:
    sums: Mapping[str, int] = dict(zip(KINDS, summed(kind, dur_ns, len(KINDS)).tolist(), strict=True))
    parts = [f"{name} {100 * part / length_ns:.1f} %" for name, part in sums.items() if part]
    what = "the window" if walked[0].iteration is None else f"{len(walked)} step{'' if len(walked) == 1 else 's'}"
    whole = () if walked[0].iteration is not None else (_NO_STEPS,)
    return (
        f"critical path through {what}: {', '.join(parts)}",
        *whole,
        "queue: behind earlier work; launch: from the launch to the start of the work; sync: from the end of the work "
        "to the host's return; host: named by the innermost operator (or call) that was open",
    )
