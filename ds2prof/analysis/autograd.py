"""Autograd's operators: which forward operator a backward one goes back to, by sequence number and thread.

PyTorch numbers what it records for the backward pass, on each thread for itself. An operator carries the number that
was next when it began; the backward operator carries the number of what was recorded, and, in its own traces, a number
of the forward thread (PyTorch's own count, not the system's). Of the operators with one number on one thread, the last
to begin before the backward operator is the one that was recorded: those around it began earlier.

PyTorch's traces tell this in the operators' arguments; ``torch.autograd.profiler.emit_nvtx`` in the names of ranges
(``aten::mm, seq = 12, op_id = 3``, ``MmBackward0, seq = 12``), where a backward operator is known by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.attribution import Work, lookup, on_thread_at_launch
from ds2prof.analysis.groups import combined
from ds2prof.tables import BoolArray, Column, IntArray, Profile, Table

EVALUATE: Final = "autograd::engine::evaluate_function: "
_BACKWARD: Final = re.compile(r"(?:.*[:>) ])?\w+Backwards?[0-9]*\Z|torch::autograd::\w+\Z", re.DOTALL)
_EMITTED: Final = re.compile(r"(?P<name>.{1,2000}?), (?:stashed )?seq ?= ?(?P<sequence>[0-9]{1,18})(?:,|\Z)", re.DOTALL)
_NONE: Final = -1


@dataclass(frozen=True)
class Operators:
    """Host operators as autograd sees them; columns of equal length, -1 where unknown.

    Attributes:
        spans: the rows of ``ops`` (or of ``ranges``) that they are.
        sequence: the number that each carries.
        forward_thread: PyTorch's number of the forward thread; 0 for all where the source tells backward operators by
            their names alone; -1 for what is no backward operator.
        is_backward: whether autograd ran it to compute gradients.
    """

    spans: Table
    sequence: IntArray
    forward_thread: IntArray
    is_backward: BoolArray

    def threads(self) -> IntArray:
        """A number for each operator's (process, thread)."""
        return combined([self.spans.ints("process", null=_NONE), self.spans.ints("thread", null=_NONE)])[0]


def operators(profile: Profile) -> Operators:
    """The operators with what autograd says of them: of the table ``ops``, else the ranges of ``emit_nvtx``."""
    return profile.derived("operators of autograd", lambda: _operators(profile))


def backward_operators(profile: Profile, work: Work) -> IntArray:
    """For each kernel or copy, the innermost backward operator (row of :func:`operators`) it was launched in, or -1."""
    return profile.derived(f"backward operators of {work}", lambda: _around(profile, work, numbered=False))


def forward_operators(profile: Profile, work: Work) -> IntArray:
    """For each kernel or copy that a backward operator launched, the forward operator it goes back to, or -1."""
    return profile.derived(f"forward operators of {work}", lambda: _forward(profile, work))


def recorded_for(profile: Profile) -> IntArray:
    """For each operator, the forward operator that it goes back to (both rows of :func:`operators`); -1 for none."""
    return profile.derived("forward operators", lambda: links(operators(profile)))


def _operators(profile: Profile) -> Operators:
    ops = profile.table("ops")
    if len(ops):
        sequence = np.where(ops.ints("sequence", null=_NONE) >= 0, ops.ints("sequence", null=_NONE), _NONE)
        threads = ops.ints("forward_thread", null=0)
        is_backward = (threads > 0) | _by_name(ops["name"], is_backward_name)
        return Operators(ops, sequence, np.where(threads > 0, threads, _NONE), is_backward)
    ranges = profile.table("ranges")
    names = ranges["name"].categories or ()
    found = [_EMITTED.match(name) for name in names]
    if not any(found):
        return Operators(Table("ops"), *(np.zeros(0, dtype=np.int64),) * 2, np.zeros(0, dtype=np.bool_))
    return _emitted(ranges, names, found)


def _emitted(ranges: Table, names: Sequence[str], found: Sequence[re.Match[str] | None]) -> Operators:
    """The operators among ranges: those with a number in their names, and backward ones without."""
    bare = [name if match is None else match["name"] for name, match in zip(names, found, strict=True)]
    backward = np.array([is_backward_name(name) for name in bare], dtype=np.bool_)
    numbers = np.array([_NONE if match is None else int(match["sequence"]) for match in found], dtype=np.int64)
    codes = ranges["name"].values
    timed = ranges["start_ns"].present & ranges["dur_ns"].present
    rows = np.flatnonzero((backward[codes] | (numbers[codes] >= 0)) & timed)
    is_backward = backward[codes[rows]]
    return Operators(ranges.take(rows), numbers[codes[rows]], np.where(is_backward, 0, _NONE), is_backward)


def is_backward_name(name: str) -> bool:
    """Whether an operator of this name is a node of the backward pass: ``MmBackward0``, not ``aten::gelu_backward``."""
    return name.startswith(EVALUATE) or bool(_BACKWARD.match(name))


def _by_name(names: Column, test: Callable[[str], bool]) -> BoolArray:
    hits = np.array([*(test(name) for name in names.categories or ()), False], dtype=np.bool_)
    found: BoolArray = hits[names.values]
    return found


def _around(profile: Profile, work: Work, *, numbered: bool) -> IntArray:
    """The innermost backward operator on the launching thread at each launch; ``numbered``: of those with a number."""
    found = operators(profile)
    rows = np.flatnonzero(found.is_backward & ((found.sequence >= 0) | (not numbered)))
    return on_thread_at_launch(profile, work, found.spans, rows)


def _forward(profile: Profile, work: Work) -> IntArray:
    around = _around(profile, work, numbered=True)
    return np.where(around >= 0, np.append(recorded_for(profile), _NONE)[around], _NONE)


def links(found: Operators) -> IntArray:
    """For each operator, the row of the forward operator that it goes back to; -1 for none and where it is uncertain.

    A forward thread is taken for certain where it alone has an operator for every number that goes back to it, or where
    no other thread has one of that number. Operators that the backward pass ran itself are no forward operators.
    """
    linked = np.full(len(found.sequence), _NONE, dtype=np.int64)
    threads = found.threads()
    backward = np.flatnonzero(found.is_backward & (found.sequence >= 0) & (found.forward_thread >= 0))
    forward = _candidates(found, backward)
    if not len(backward) or not len(forward):
        return linked
    thread = _threads_of(found, threads, backward, forward)
    known = thread >= 0
    backward, thread = backward[known], thread[known]
    starts, sequence = found.spans.ints("start_ns"), found.sequence
    codes, _ = combined(
        [np.concatenate((threads[forward], thread)), np.concatenate((sequence[forward], sequence[backward]))]
    )
    linked[backward] = _latest_before(
        codes[: len(forward)], starts[forward], codes[len(forward) :], starts[backward], rows=forward
    )
    return linked


def _latest_before(keys: IntArray, starts: IntArray, wanted: IntArray, before: IntArray, *, rows: IntArray) -> IntArray:
    """For each wanted key, the one of ``rows`` with that key that starts last before ``before``; -1 for none."""
    codes, _ = combined(
        [np.concatenate((keys, wanted)), np.concatenate((starts, before))]
    )  # in order of key, then time
    order = np.argsort(codes[: len(keys)], kind="stable")
    position = np.searchsorted(codes[: len(keys)][order], codes[len(keys) :]) - 1
    found = order[np.maximum(position, 0)]
    return np.where((position >= 0) & (keys[found] == wanted), rows[found], _NONE)


def _candidates(found: Operators, backward: IntArray) -> IntArray:
    """Rows that can be forward operators: numbered, asked for, and not run by the backward pass."""
    wanted = (found.sequence >= 0) & ~found.is_backward & np.isin(found.sequence, found.sequence[backward])
    rows = np.flatnonzero(wanted)
    spans = found.spans
    inner = spans.take(found.is_backward)
    keys = {name: spans.ints(name, null=_NONE)[rows] for name in ("process", "thread")}
    return rows[lookup(inner, spans.ints("start_ns")[rows], keys) < 0]


def _threads_of(found: Operators, threads: IntArray, backward: IntArray, forward: IntArray) -> IntArray:
    """For each backward operator, the number of the thread its forward operator ran on; -1 where that is uncertain."""
    process, sequence = found.spans.ints("process", null=_NONE), found.sequence
    keys, _ = combined([np.concatenate((of[forward], of[backward])) for of in (process, sequence)])
    _, pair_rows = combined([keys[: len(forward)], threads[forward]])
    pair_key, pair_thread = keys[: len(forward)][pair_rows], threads[forward][pair_rows]  # in order of the key
    asked, asked_rows = combined([keys[len(forward) :], found.forward_thread[backward]])
    wanted = keys[len(forward) :][asked_rows]
    group = combined([of[backward[asked_rows]] for of in (process, found.forward_thread)])[0]
    lo, hi = (np.searchsorted(pair_key, wanted, side=side) for side in ("left", "right"))
    count = hi - lo
    question = np.repeat(np.arange(len(wanted)), count)
    candidate = pair_thread[np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - lo, count)]
    whole = _only_thread(group[question], candidate, np.bincount(group, weights=count > 0).astype(np.int64))
    thread = np.where(count > 0, whole[group], _NONE)
    alone = (count[question] == 1) & (thread[question] < 0)
    thread[question[alone]] = candidate[alone]
    return thread[asked]


def _only_thread(group: IntArray, candidate: IntArray, numbers: IntArray) -> IntArray:
    """For each group, the thread that has an operator for all ``numbers`` of it, if one alone has; else -1."""
    only = np.full(len(numbers), _NONE, dtype=np.int64)
    if not len(group):
        return only
    codes, rows = combined([group, candidate])
    complete = rows[np.bincount(codes) == numbers[group[rows]]]
    single = np.bincount(group[complete], minlength=len(numbers))[group[complete]] == 1
    only[group[complete[single]]] = candidate[complete[single]]
    return only
