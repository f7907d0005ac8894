"""Time by phase, iteration and layer: of device work by what launched it, of host runs by the ranges themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import derived, rates
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.attribution import launches, ranges_of_kind
from ds2prof.analysis.belonging import Belonging, belonging, is_told, labels, ordered_keys
from ds2prof.analysis.groups import combined, kernel_shares_ns, known_sums, summed, time_columns
from ds2prof.analysis.intervals import self_shares_ns, union_ns
from ds2prof.analysis.steps import whole_steps
from ds2prof.analysis.windows import ends_ns, text_mask, timed
from ds2prof.errors import MissingDataError
from ds2prof.tables import BoolArray, IntArray, Profile, Table

TABLES: Final = ("kernels", "copies", "api", "ranges", "spans", *rates.TABLES)
MORE: Final[Mapping[str, tuple[str, ...]]] = {"phase": ("ops",), "layer": ("ops", "modules")}
"""What phases and layers need besides: what they can be derived from (:mod:`.derived`)."""
OUTSIDE: Final = None
"""The key of device work that no range of the kind claims."""


def range_times(profile: Profile, by: str) -> Answer:
    """Time by ``phase``, ``iteration`` or ``layer``.

    A kernel belongs to the innermost range of the kind that was open on its launching thread when it was launched, else
    to the one open in its process: autograd launches the backward's kernels from a thread of its own, where none is.
    Work that no range claims has a row with a null key. ``host_dur_ns`` is the ranges' own time on the host. In a run
    without a GPU the rows are the host ranges: ``dur_ns`` is their time, ``excl_ns`` less what is nested in them.
    What is not recorded is derived where it is certain: layers of backward operators, phases (:mod:`.derived`).

    Where the source has no times of ranges but tells with each launch which were open (Nsight Compute), that decides.
    Where it has counters, utilization and coverage stand beside the times (:mod:`.rates`).

    Raises:
        MissingDataError: the file holds no range of the kind, and nothing that it could be derived from.
    """
    profile.require(*TABLES, *MORE.get(by, ()))
    if is_told(profile, by):
        return _told_answer(profile, by)
    if profile.meta.domain == "cpu":
        return _host_answer(_ranges_of(profile, by), by)
    found = belonging(profile, by)
    if not found.is_derived or not found.keys:
        _ranges_of(profile, by)
    kernels, copies = profile.table("kernels"), profile.table("copies")
    keys = found.keys
    count = len(keys) + 1
    columns: dict[str, Sequence[Any]] = {by: [*labels(keys, by), OUTSIDE]}
    columns["calls"] = np.bincount(found.kernels, minlength=count).tolist()
    columns.update(time_columns(found.kernels, count, durations=kernels["dur_ns"], shares=kernel_shares_ns(profile)))
    columns["copy_dur_ns"] = known_sums(found.copies, copies["dur_ns"], count)
    columns["host_dur_ns"] = [*_host_ns(profile, found, by), None]
    if by == "iteration":
        columns["step_ns"] = [*_steps_ns(profile, found), None]
    columns.update(rates.grouped(profile, found.kernels, count))
    if not columns["calls"][-1] and columns["copy_dur_ns"][-1] == 0:
        columns = {name: values[:-1] for name, values in columns.items()}
    told = (
        ("host: the union of the operators and ranges that tell a phase",) if found.is_derived and by == "phase" else ()
    )
    notes = (*found.notes, *told, *rates.notes(profile), *_unlinked_note(profile, found.kernels == len(keys), by))
    return Answer(by, columns, notes)


def _host_ns(profile: Profile, found: Belonging, by: str) -> list[int]:
    """The ranges' own time for each key; of derived phases the union of the operators and ranges that tell them."""
    if found.is_derived and by == "layer":
        modules = profile.table("modules")
        place_of = {key: place for place, key in enumerate(found.keys)}
        count = len(found.keys)
        places = np.array([place_of.get(name, count) for name in modules["name"].categories or ()], dtype=np.int64)
        sums = summed(places[modules["name"].values], modules.ints("dur_ns"), count + 1)
        return [int(value) for value in sums[:-1]]
    if found.is_derived:
        host_ns = dict(zip(derived.PHASES, derived.phase_spans(profile).host_ns(), strict=True))
        return [host_ns[key] for key in found.keys]
    rows = ranges_of_kind(profile, by)
    sums = summed(found.ranges[rows], profile.table("ranges").ints("dur_ns")[rows], len(found.keys))
    return [int(value) for value in sums]


def _steps_ns(profile: Profile, found: Belonging) -> list[int | None]:
    """Device length of each step, over all devices; None where the step has none (:func:`steps.device_steps`)."""
    steps = whole_steps(profile, found)
    return [None if step is None else step[1] - step[0] for step in steps]


def _ranges_of(profile: Profile, kind: str) -> Table:
    ranges = profile.table("ranges")
    found = timed(ranges.take(text_mask(ranges, "kind", kind)))
    found = found.take(found["value"].present)
    if len(found):
        return found
    what = {
        "phase": "phases are the ranges 'ds2prof:phase:NAME' that train_profiling.py records; without "
        "them they are derived from autograd's operators, and none of those launched anything here",
        "layer": "layers are the ranges 'ds2prof:layer:NAME' that train_profiling.py --layers records, or the modules "
        "that PyTorch's profiler records with with_stack=True",
        "iteration": "iterations are 'ProfilerStep#N' or 'ds2prof:iteration:N' ranges",
    }[kind]
    raise MissingDataError(f"{profile.meta.file}: no {kind} ranges in this file; {what}")


def _host_answer(ranges: Table, by: str) -> Answer:
    keys, codes = ordered_keys(ranges, by)
    starts, ends = ranges.ints("start_ns"), ends_ns(ranges)
    lanes, _ = combined([ranges.ints("process", null=-1), ranges.ints("thread", null=-1)])
    shares = (self_shares_ns(starts, ends, lanes), union_ns(starts, ends))
    columns: dict[str, Sequence[Any]] = {
        by: labels(keys, by),
        "calls": np.bincount(codes, minlength=len(keys)).tolist(),
    }
    columns.update(time_columns(codes, len(keys), durations=ranges["dur_ns"], shares=shares))
    return Answer(by, columns)


def _told_answer(profile: Profile, by: str) -> Answer:
    """The launches' times by what the source tells with each of them."""
    kernels, found = profile.table("kernels"), belonging(profile, by)
    keys, codes = found.keys, found.kernels
    calls = summed(codes, kernels.ints("calls", null=1) if "calls" in kernels else np.ones_like(codes), len(keys) + 1)
    columns: dict[str, Sequence[Any]] = {by: [*labels(keys, by), OUTSIDE], "calls": calls.tolist()}
    shares = kernel_shares_ns(profile)
    columns.update(time_columns(codes, len(keys) + 1, durations=kernels["dur_ns"], shares=shares))
    columns.update(rates.grouped(profile, codes, len(keys) + 1))
    if not columns["calls"][-1]:
        columns = {name: values[:-1] for name, values in columns.items()}
    return Answer(by, columns, (*rates.notes(profile), *_unlinked_note(profile, codes == len(keys), by)))


def _unlinked_note(profile: Profile, outside: BoolArray, by: str) -> tuple[str, ...]:
    """How many launches belong to nothing, for how long, and which of the two reasons it has."""
    if not outside.any():
        return ()
    dur_ns = profile.table("kernels").ints("dur_ns")
    where = f"{_counted(outside, dur_ns)} belong{'s' if int(outside.sum()) == 1 else ''} to no {by}"
    if is_told(profile, by):
        return (f"{where}: no open range was recorded with it",)
    unlinked = outside & (launches(profile, "kernels") < 0)
    if not unlinked.any():
        return (f"{where}: none was open at the launch",)
    of_them = f"; of {_counted(unlinked, dur_ns)} the launch call is not in the file"
    return (f"{where}: no launch call or no open range was recorded{of_them}",)


def _counted(chosen: BoolArray, dur_ns: IntArray) -> str:
    count = int(chosen.sum())
    return f"{count:,} launch{'' if count == 1 else 'es'} ({units.format_ns_short(int(dur_ns[chosen].sum()))})"
