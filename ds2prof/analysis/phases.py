"""Time by phase, iteration and layer: of device work by what launched it, of host runs by the ranges themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer
from ds2prof.analysis.groups import combined, device_shares_ns, known_sums, summed, time_columns
from ds2prof.analysis.intervals import innermost, self_shares_ns, union_ns
from ds2prof.analysis.windows import ends_ns, text_mask, time_window, timed
from ds2prof.config import PHASES
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile, Table

TABLES: Final = ("kernels", "copies", "api", "ranges", "spans")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_NEVER: Final = np.iinfo(np.int64).min
OUTSIDE: Final = None
"""The key of device work that no range of the kind claims."""


def range_times(profile: Profile, by: str) -> Answer:
    """Time by ``phase``, ``iteration`` or ``layer``.

    A kernel belongs to the innermost range of the kind that was open on its launching thread when it was launched, else
    to the one open in its process: autograd launches the backward's kernels from a thread of its own, where none is.
    Work that no range claims has a row with a null key. ``host_dur_ns`` is the ranges' own time on the host. In a run
    without a GPU the rows are the host ranges: ``dur_ns`` is their time, ``excl_ns`` less what is nested in them.

    Where the source has no times of ranges but tells with each launch which were open (Nsight Compute), that decides.

    Raises:
        MissingDataError: the file holds no range of the kind.
    """
    profile.require(*TABLES)
    if by in profile.table("kernels") and not len(profile.table("ranges")):
        return _told_answer(profile.table("kernels"), by)
    ranges = _ranges_of(profile, by)
    if profile.meta.domain == "cpu":
        return _host_answer(ranges, by)
    kernels = profile.table("kernels")
    owner = owners(kernels, profile.table("api"), ranges)
    keys = _ordered_keys(ranges, by)
    code_of = {key: code for code, key in enumerate(keys)}
    row_codes = np.array([code_of[value] for value in ranges["value"].tolist()] + [len(keys)], dtype=np.int64)
    codes = row_codes[owner]
    count = len(keys) + 1
    columns: dict[str, Sequence[Any]] = {by: [*_labels(keys, by), OUTSIDE]}
    columns["calls"] = np.bincount(codes, minlength=count).tolist()
    columns.update(time_columns(codes, count, durations=kernels["dur_ns"], shares=device_shares_ns(kernels)))
    copies = profile.table("copies")
    copy_codes = row_codes[owners(copies, profile.table("api"), ranges)]
    columns["copy_dur_ns"] = known_sums(copy_codes, copies["dur_ns"], count)
    columns["host_dur_ns"] = [*summed(row_codes[:-1], ranges.ints("dur_ns"), len(keys)).tolist(), None]
    if by == "iteration":
        columns["step_ns"] = [*_steps_ns(profile, ((kernels, codes), (copies, copy_codes)), keys), None]
    if not columns["calls"][-1] and columns["copy_dur_ns"][-1] == 0:
        columns = {name: values[:-1] for name, values in columns.items()}
    return Answer(by, columns, _unlinked_note(kernels, owner, by))


def _steps_ns(profile: Profile, work: Iterable[tuple[Table, IntArray]], keys: Sequence[str]) -> list[int | None]:
    """Device length of each step: from the end of the last operation of the step before to the end of its own last.

    The first step begins with the window. A step that launched nothing has none, and neither has the one behind it, or
    one whose number does not follow that of the row before.
    """
    ends = np.full(len(keys) + 1, _NEVER)
    for table, codes in work:
        np.maximum.at(ends, codes, ends_ns(table))
    window = time_window(profile)
    numbers = [_number(key) for key in keys]
    before = [_NEVER if window is None else window.start_ns]
    for number, following, end in zip(numbers, numbers[1:], ends.tolist(), strict=False):
        before.append(end if number is not None and following == number + 1 else _NEVER)
    return [end - start if end > start > _NEVER else None for start, end in zip(before, ends.tolist(), strict=False)]


def owners(kernels: Table, api: Table, ranges: Table) -> IntArray:
    """For each kernel or copy, the row of ``ranges`` that its launch belongs to; -1 for none, or no launch recorded."""
    launch = launch_rows(kernels, api)
    found = np.full(len(kernels), -1, dtype=np.int64)
    linked = np.flatnonzero(launch >= 0)
    at = launch[linked]
    times, threads, processes = (
        api.ints("start_ns")[at],
        api.ints("thread", null=-1)[at],
        api.ints("process", null=-1)[at],
    )
    found[linked] = _lookup(ranges, times, {"process": processes, "thread": threads})
    rest = linked[found[linked] < 0]
    still = found[linked] < 0
    found[rest] = _lookup(ranges, times[still], {"process": processes[still]})
    return found


def _lookup(ranges: Table, times: IntArray, keys: dict[str, IntArray]) -> IntArray:
    """The innermost range open at each time among those with the same key values."""
    found = np.full(len(times), -1, dtype=np.int64)
    both = [np.concatenate((values, ranges.ints(name, null=-1))) for name, values in keys.items()]
    codes, _ = combined(both)
    wanted, owned = codes[: len(times)], codes[len(times) :]
    for key in np.unique(owned).tolist():
        asked = np.flatnonzero(wanted == key)
        rows = np.flatnonzero(owned == key)
        if len(asked):
            part = ranges.take(rows)
            inner = innermost(part.ints("start_ns"), ends_ns(part), times[asked])
            found[asked] = np.where(inner >= 0, rows[inner], -1)
    return found


def launch_rows(kernels: Table, api: Table) -> IntArray:
    """For each kernel, the row of the api call that launched it, by (process, correlation); -1 where none is recorded.

    One launch may start many kernels (graphs). Where several calls carry one correlation id (a runtime call and the
    driver call inside it), the first to start is the launch.
    """
    found = np.full(len(kernels), -1, dtype=np.int64)
    linked = kernels["correlation"].present & (kernels.ints("correlation") > 0)
    calls = np.flatnonzero(api["correlation"].present & ~text_mask(api, "domain", "sync", "backtrace"))
    if not linked.any() or not len(calls):
        return found
    columns = ["correlation"]
    if kernels["process"].present.all() and api["process"].take(calls).present.all():
        columns.insert(0, "process")
    codes, _ = combined([np.concatenate((api.ints(name)[calls], kernels.ints(name)[linked])) for name in columns])
    keys, wanted = codes[: len(calls)], codes[len(calls) :]
    order = np.lexsort((api.ints("start_ns")[calls], keys))
    position = np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)
    first = order[position]
    found[linked] = np.where(keys[first] == wanted, calls[first], -1)
    return found


def _ranges_of(profile: Profile, kind: str) -> Table:
    ranges = profile.table("ranges")
    found = timed(ranges.take(text_mask(ranges, "kind", kind)))
    found = found.take(found["value"].present)
    if len(found):
        return found
    what = {
        "phase": "phases are the ranges 'ds2prof:phase:NAME' that train_profiling.py records",
        "layer": "layers are recorded by train_profiling.py --layers",
        "iteration": "iterations are 'ProfilerStep#N' or 'ds2prof:iteration:N' ranges",
    }[kind]
    raise MissingDataError(f"{profile.meta.file}: no {kind} ranges in this file; {what}")


def _ordered_keys(ranges: Table, by: str) -> list[str]:
    """The distinct values: iterations by number, phases in the order of a step, the rest by first start."""
    order = np.argsort(ranges.ints("start_ns"), kind="stable")
    return _in_order(ranges["value"].take(order).tolist(), by)


def _in_order(values: Iterable[str], by: str) -> list[str]:
    distinct = list(dict.fromkeys(values))
    if by == "iteration":
        return sorted(distinct, key=lambda value: (_number(value) is None, _number(value) or 0))
    if by == "phase":
        known = {phase: position for position, phase in enumerate(PHASES)}
        return sorted(distinct, key=lambda value: known.get(value, len(known)))
    return distinct


def _labels(keys: Sequence[str], by: str) -> list[str | int]:
    """The keys as they are shown: iterations are numbers, if all of them are."""
    numbers = [_number(key) for key in keys] if by == "iteration" else [None]
    return list(keys) if None in numbers else [number for number in numbers if number is not None]


def _number(key: str) -> int | None:
    """The number that an iteration's key is, if it is one that 64 bits hold."""
    return int(key) if _DIGITS.fullmatch(key) else None


def _host_answer(ranges: Table, by: str) -> Answer:
    keys = _ordered_keys(ranges, by)
    code_of = {key: code for code, key in enumerate(keys)}
    codes = np.array([code_of[value] for value in ranges["value"].tolist()], dtype=np.int64)
    starts, ends = ranges.ints("start_ns"), ends_ns(ranges)
    lanes, _ = combined([ranges.ints("process", null=-1), ranges.ints("thread", null=-1)])
    shares = (self_shares_ns(starts, ends, lanes), union_ns(starts, ends))
    columns: dict[str, Sequence[Any]] = {
        by: _labels(keys, by),
        "calls": np.bincount(codes, minlength=len(keys)).tolist(),
    }
    columns.update(time_columns(codes, len(keys), durations=ranges["dur_ns"], shares=shares))
    return Answer(by, columns)


def _told_answer(kernels: Table, by: str) -> Answer:
    """The launches' times by what the source tells with each of them."""
    told = kernels[by]
    keys = _in_order((text for text in told.tolist() if text is not None), by)
    place_of = {key: place for place, key in enumerate(keys)}
    places = np.array([*(place_of.get(text, len(keys)) for text in told.categories or ()), len(keys)], dtype=np.int64)
    codes = places[told.values]  # -1, of a launch without, is the last
    calls = summed(codes, kernels.ints("calls", null=1) if "calls" in kernels else np.ones_like(codes), len(keys) + 1)
    columns: dict[str, Sequence[Any]] = {by: [*_labels(keys, by), OUTSIDE], "calls": calls.tolist()}
    shares = device_shares_ns(kernels)
    columns.update(time_columns(codes, len(keys) + 1, durations=kernels["dur_ns"], shares=shares))
    if not columns["calls"][-1]:
        columns = {name: values[:-1] for name, values in columns.items()}
    return Answer(by, columns, _unlinked_note(kernels, np.where(codes == len(keys), -1, codes), by))


def _unlinked_note(kernels: Table, owner: IntArray, by: str) -> tuple[str, ...]:
    outside = owner < 0
    if not outside.any():
        return ()
    dur_ns = int(kernels.ints("dur_ns")[outside].sum())
    return (
        f"{int(outside.sum())} launches ({dur_ns} ns) belong to no {by}: no launch call or no open range was recorded",
    )
