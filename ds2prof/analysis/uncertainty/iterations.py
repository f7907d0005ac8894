"""What repeated iterations say of a timeline or a run log: the mean step, its interval, and that of the utilization."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.attribution import ranges_of_kind
from ds2prof.analysis.belonging import labels, ordered_keys
from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.totals import by_device
from ds2prof.analysis.uncertainty import strata as lengths
from ds2prof.analysis.uncertainty.bootstrap import Interval, interval
from ds2prof.analysis.uncertainty.clocks import clock_changes
from ds2prof.analysis.uncertainty.covered import covered_before
from ds2prof.analysis.uncertainty.outliers import Outlier, outliers
from ds2prof.analysis.uncertainty.warmup import WarmUp, does_once, warm_up
from ds2prof.analysis.windows import ends_ns, timed
from ds2prof.tables import BoolArray, IntArray, Profile

TABLES: Final = ("ranges", "iterations", "kernels", "copies", "api", "overhead")
_MOST_NAMED: Final = 5
_LENGTHS: Final = "padded lengths of its iterations, laid beside"
RATES: Final = ("samples", "audio_s", "padded_s")
Ledger = Callable[[], Iterable[Mapping[str, Any]]]
"""Gives rows with ``iteration``, ``cause`` and ``dur_ns``."""


@dataclass(frozen=True)
class Iterations:
    """The iterations of one file, in order, and which of them count.

    Attributes:
        keys: their numbers (or texts).
        times_ns: the host's time of each; NaN where unknown.
        starts_ns, stops_ns: when each was, where the file tells; None for a run log.
        warm: what of the beginning is left out.
        counted: which count: not warm-up, with a time, inside of the fenced stretch where there is one.
        strata: the group of like padded length of each.
        has_lengths: whether padded lengths are known.
    """

    keys: Sequence[str | int]
    times_ns: FloatArray
    starts_ns: IntArray | None
    stops_ns: IntArray | None
    warm: WarmUp
    counted: BoolArray
    strata: IntArray
    has_lengths: bool

    def mean(self) -> Interval:
        """The mean host time of those that count, with its interval."""
        return interval(self.times_ns[self.counted], strata=self.strata[self.counted], bounds=(0.0, np.inf))

    def outliers(self, ledger: Mapping[str, Sequence[float]] | None = None) -> tuple[tuple[str | int, Outlier], ...]:
        """(key, what is odd) of those that count; ``ledger`` has a time for each iteration of the file."""
        rows = np.flatnonzero(self.counted)
        causes = {cause: np.asarray(times)[rows] for cause, times in (ledger or {}).items()}
        found = outliers(self.times_ns[rows], strata=self.strata[rows], ledger=causes)
        return tuple((self.keys[int(rows[one.place])], one) for one in found)


def iterations_of(profile: Profile, *, padded: Mapping[int, float] | None = None) -> Iterations | None:
    """The iterations of a timeline (its ranges) or a run log; None where the file has none with times.

    A timeline's iteration takes as long as its range on the host; where several processes have one, as long as the
    slowest. What lies between two ranges is in none.

    Args:
        profile: the file.
        padded: iteration -> padded seconds of a sample, from the run log of the same training; a run log has its own.
    """
    if padded is not None:
        return _iterations(profile, padded)
    return profile.derived("iterations that repeat", lambda: _iterations(profile, None))


def _iterations(profile: Profile, padded: Mapping[int, float] | None) -> Iterations | None:
    profile.require("ranges", "iterations")
    if len(profile.table("iterations")):
        return _of_log(profile)
    if profile.meta.times == "replay" or not len(ranges_of_kind(profile, "iteration")):
        return None
    return _of_timeline(profile, _laid(profile) if padded is None else padded)


def lay_lengths(profile: Profile, padded: Mapping[int, float]) -> None:
    """Give a timeline padded lengths (:func:`padded_of`), before anything is asked about its iterations."""
    profile.derived(_LENGTHS, lambda: dict(padded))


def _laid(profile: Profile) -> dict[int, float]:
    """What :func:`lay_lengths` gave."""
    nothing: dict[int, float] = {}
    return profile.derived(_LENGTHS, lambda: nothing)


def padded_of(log: Profile) -> dict[int, float]:
    """Iteration -> padded seconds of a sample, of a run log."""
    numbers = log.table("iterations")["iteration"].tolist()
    found = zip(numbers, lengths.padded_lengths(log).tolist(), strict=True)
    return {number: length for number, length in found if number is not None and length == length}  # NaN is not itself


def _of_log(profile: Profile) -> Iterations:
    table = profile.table("iterations")
    known = table["wall_ns"].present
    times = np.where(known, table.ints("wall_ns"), np.nan)
    keys, length = table["iteration"].tolist(), lengths.padded_lengths(profile)
    counted, stated = _fenced(profile, table.ints("iteration"))
    counted &= known
    warm = warm_up(times[known], stated=stated, lengths=length[known])
    if stated is None and warm.count:
        last = int(np.flatnonzero(known)[warm.count - 1])  # among all rows, those without a time too
        warm = replace(warm, count=last + 1)
        counted[: last + 1] = False
    return _kept(keys, times, (None, None), warm, counted, length)


def _fenced(profile: Profile, numbers: IntArray) -> tuple[BoolArray, int | None]:
    """(which iterations lie in the fenced stretch, how many lie before it); (all, what the header says) without one."""
    stretch: Mapping[str, Any] = profile.meta.facts.get("stretch") or {}
    first, stop = stretch.get("first"), stretch.get("stop")
    if isinstance(first, int) and isinstance(stop, int):
        return np.asarray((numbers >= first) & (numbers < stop), dtype=np.bool_), int((numbers < first).sum())
    stated = profile.meta.facts.get("warmup")
    if isinstance(stated, int):
        return np.asarray(np.arange(len(numbers)) >= stated, dtype=np.bool_), stated
    return np.ones(len(numbers), dtype=np.bool_), None


def _of_timeline(profile: Profile, padded: Mapping[int, float]) -> Iterations:
    texts, starts, stops, times = _host_steps(profile)
    keys = labels(texts, "iteration")
    length = np.array([padded.get(key, np.nan) if isinstance(key, int) else np.nan for key in keys], dtype=np.float64)
    warm = warm_up(times, lengths=length, once=does_once(profile, starts, stops))
    counted = np.arange(len(keys)) >= warm.count
    return _kept(keys, times.astype(np.float64), (starts, stops), warm, counted, length)


def _kept(
    keys: Sequence[str | int],
    times: FloatArray,
    spans: tuple[IntArray | None, IntArray | None],
    warm: WarmUp,
    counted: BoolArray,
    length: FloatArray,
) -> Iterations:
    strata = np.zeros(len(times), dtype=np.int64)
    strata[counted] = lengths.length_strata(length[counted])
    has_lengths = bool(np.isfinite(length[counted]).any())
    return Iterations(keys, times, *spans, warm, counted, strata, has_lengths)


def _host_steps(profile: Profile) -> tuple[tuple[str, ...], IntArray, IntArray, IntArray]:
    """(value, first start, last end, longest duration in any process) of each iteration, in order."""
    ranges = profile.table("ranges").take(ranges_of_kind(profile, "iteration"))
    texts, places = ordered_keys(ranges, "iteration")
    codes, _ = combined([ranges.ints("process", null=-1), places])
    # A tool may tell one iteration several times in a process, one within the other: the longest is all of it.
    order = np.lexsort((-ranges.ints("dur_ns"), codes))
    first = np.flatnonzero(np.diff(codes[order], prepend=-1))
    rows = order[first]
    starts = np.full(len(texts), np.iinfo(np.int64).max)
    stops, times = np.full(len(texts), np.iinfo(np.int64).min), np.zeros(len(texts), dtype=np.int64)
    np.minimum.at(starts, places[rows], ranges.ints("start_ns")[rows])
    np.maximum.at(stops, places[rows], ends_ns(ranges)[rows])
    np.maximum.at(times, places[rows], ranges.ints("dur_ns")[rows])
    return texts, starts, stops, times


def utilization(profile: Profile) -> Interval | None:
    """GPU compute utilization over the iterations that count; None where device or iterations have no times.

    Formula: sum over iterations and devices of the union of kernels inside the iteration's range on the host / sum of
    those ranges. The device runs behind the host, so that a kernel may count for the iteration after its own; nothing
    is lost or counted twice by that. Blind spot: that of GPU compute utilization; work between the ranges is in none.
    """
    found = iterations_of(profile)
    parts = None if found is None else busy_parts(profile, found)
    if found is None or parts is None:
        return None
    (busy, whole), kept = parts, found.counted
    return interval(busy[kept], wholes=whole[kept], strata=found.strata[kept], bounds=(0.0, 1.0))


def busy_parts(profile: Profile, found: Iterations) -> tuple[IntArray, IntArray] | None:
    """(ns in which kernels ran, ns of the iteration) of each iteration, over all devices: what the ratio is made of.

    None where device or iterations have no times.
    """
    if found.starts_ns is None or found.stops_ns is None or profile.meta.times != "real":
        return None
    kernels = profile.table("kernels")
    if not len(kernels) or timed(kernels) is not kernels:
        return None
    starts, stops = found.starts_ns, found.stops_ns.copy()
    stops[:-1] = np.where(starts[1:] > starts[:-1], np.minimum(stops[:-1], starts[1:]), stops[:-1])
    busy, devices = np.zeros(len(starts), dtype=np.int64), by_device(kernels, profile.table("copies"))
    for _, mask in devices:
        own = kernels if mask.all() else kernels.take(mask)
        begins, ends = own.ints("start_ns"), ends_ns(own)
        busy += covered_before(begins, ends, stops) - covered_before(begins, ends, starts)
    return busy, (stops - starts) * len(devices)


def rates(profile: Profile, found: Iterations) -> dict[str, Interval]:
    """samples/s, audio and padded s/s of a run log over the iterations that count; nothing where a profiler looked on.

    The iterations' times are the host's; only their sum over the fenced stretch is the device's too. An iteration by
    itself may end before its work does, which makes neighbours differ in opposite directions.
    """
    if profile.meta.facts.get("profiler") is not None or not profile.meta.facts.get("stretch"):
        return {}
    table, kept = profile.table("iterations"), found.counted
    times = found.times_ns[kept] / units.NS_PER_S
    made = {}
    for name in RATES:
        column = table[name]
        values = np.where(column.present, column.values, np.nan)[kept]
        if np.isfinite(values).any():
            made[f"{name}_per_s"] = interval(values, wholes=times, strata=found.strata[kept], bounds=(0.0, np.inf))
    return made


def totals(profile: Profile) -> dict[str, Any]:
    """``step_ns`` (mean host time of an iteration, warm-up excluded) and ``intervals``: of it, and of other totals.

    Empty for files without iterations that have times.
    """
    found = iterations_of(profile)
    if found is None or not found.counted.any():
        return {}
    step = found.mean()
    intervals = {"step_ns": step}
    if found.starts_ns is None:
        intervals |= rates(profile, found)
    else:
        busy = utilization(profile)
        intervals |= {} if busy is None else {"gpu_compute_utilization": busy}
    return {
        "step_ns": step.value,
        "warm_up_iterations": found.warm.count,
        "intervals": {name: one.as_dict() for name, one in intervals.items()},
    }


def notes(profile: Profile, *, ledger: Ledger | None = None) -> tuple[str, ...]:
    """What a reader of the iterations must know: how the interval was made, warm-up, outliers, clocks that changed.

    Args:
        profile: a timeline or run log.
        ledger: gives the rows of the idle ledger by iteration; it is asked where an iteration is odd, and not else.
    """
    found = iterations_of(profile)
    if found is None or not found.counted.any():
        return ()
    lines = [made_how(found), found.warm.said(found.keys)]
    odd = found.outliers()
    if odd and ledger is not None:
        odd = found.outliers(by_iteration(ledger(), found.keys))
    lines += [one.said(key) for key, one in odd[:_MOST_NAMED]]
    lines += [f"outliers: {len(odd) - _MOST_NAMED} more iterations"] if len(odd) > _MOST_NAMED else []
    if found.starts_ns is not None:
        lines += clock_changes(profile).notes()
    return tuple(line for line in lines if line)


def made_how(found: Iterations) -> str:
    """In words, what the mean step rests on."""
    step = found.mean()
    mean = f"step: mean {units.format_ns_short(step.value)} on the host"
    if step.kind == "single":
        return f"{mean}, one iteration gives no interval"
    between = f"{units.format_ns_short(step.low)} to {units.format_ns_short(step.high)}"
    if step.kind == "range":
        return f"{mean}, {between} in {step.count} iterations, too few for an interval"
    blocks = f"blocks of {step.block}" if step.block != 1 else "one at a time"
    groups = lengths.said(found.strata[found.counted], known=found.has_lengths)
    how = f"bootstrap over {step.count} iterations, {blocks}, {groups}"
    return f"{mean}, {between} with {units.format_ratio(step.level, digits=0)} ({how})"


def by_iteration(rows: Iterable[Mapping[str, Any]], keys: Sequence[str | int]) -> dict[str, list[float]]:
    """Cause -> its time in each of the iterations ``keys``, of a ledger's rows (``iteration``, ``cause``, ``dur_ns``).

    Devices are summed. NaN for an iteration that has no row at all.
    """
    place = {key: position for position, key in enumerate(keys)}
    told = [row for row in rows if row["iteration"] in place and row["dur_ns"] is not None]
    has_rows = {row["iteration"] for row in told}
    nothing = [0 if key in has_rows else nan for key in keys]
    found: dict[str, list[float]] = {cause: list(nothing) for cause in dict.fromkeys(row["cause"] for row in told)}
    for row in told:
        found[row["cause"]][place[row["iteration"]]] += row["dur_ns"]
    return found


def with_notes(profile: Profile, answer: Answer, *, ledger: Ledger | None = None) -> Answer:
    """An answer by iteration with the notes of :func:`notes` behind its own."""
    return Answer(answer.by, answer.columns, (*answer.notes, *notes(profile, ledger=ledger)))
