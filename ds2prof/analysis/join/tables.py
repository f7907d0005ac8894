"""The tables of a join: core utilization, utilization by a key, and what did not match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import core
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.belonging import belonging, labels
from ds2prof.analysis.groups import device_shares_ns, known_sums, sorted_columns, summed
from ds2prof.analysis.intervals import FloatArray, rounded_to_sum
from ds2prof.analysis.join.joined import Joined, OnDevice
from ds2prof.analysis.join.measure import Groups, Measured
from ds2prof.analysis.join.stretches import captured_ns, steps_ns, window_of
from ds2prof.analysis.join.work import DOUBTFUL, EXTRAPOLATED, MATCHED, UNMATCHED
from ds2prof.analysis.totals import rows_of
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class, short_name
from ds2prof.tables import BoolArray, Column, IntArray

BY: Final = ("core", "iteration", "phase", "layer", "name", "class")
RANGES: Final = ("iteration", "phase", "layer")
CAPTURED, WINDOW = "captured", "window"
_NO_KEY: Final = "no launch of this key in the counters file"
_LACKING: Final = "the counters file lacks this launch of the key, or its counters"
_HIDDEN: Final = "not one kernel: a graph whose contents the tool hid"
_OTHER_TIME: Final = "its like was captured, but took another time: other work"
_NOT_LEFT: Final = "no launch of this key is left on the timeline"
_REASONS: Final = (_NO_KEY, _LACKING, _HIDDEN, _OTHER_TIME, _NOT_LEFT)
_IMPOSSIBLE: Final = 1.0005
_MOST_OF_IT: Final = 0.5
_CORE: Final = (
    *("device", "stretch", "pipe", "utilization", "utilization_low", "utilization_high"),
    *("effective_utilization", "effective_utilization_low", "effective_utilization_high"),
    *("coverage", "matched", "extrapolated", "launches", "metric"),
)


def table(joined: Joined, by: str) -> Answer:
    """The answer by one of :data:`BY`."""
    return core_table(joined) if by == "core" else key_table(joined, by)


def core_table(joined: Joined) -> Answer:
    """Utilization of each pipe on each device, over what was captured and over the window.

    ``utilization`` = work / (SM clock x busy time) of the launches whose work is known: in the captured stretch the
    matched ones, in the window the extrapolated ones too. ``utilization_low`` and ``_high`` are the same of all
    launches there, if the others did nothing and if they kept the pipe at its peak. ``effective_utilization`` = work /
    (SM clock x length of the stretch), the others taken at the mean of the known; with its own bounds. ``matched`` and
    ``extrapolated``
    are shares of the busy time, ``coverage`` their sum. Blind spot: what a launch does was read under replay.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _CORE}
    notes = [*_little_known(joined), *joined.notes]
    for each in joined.devices:
        for row in _device_rows(joined, each, notes):
            for name, value in zip(columns, row, strict=True):
                columns[name].append(value)
    if CAPTURED in columns["stretch"] and WINDOW in columns["stretch"]:
        notes.append(
            "stretch captured: what the counters were read of; window: the launches outside of it taken to do what "
            "their like did (extrapolated), which an RNN's need not: one grid serves all lengths of a sequence"
        )
    return Answer("core", columns, (*notes, *_left_out(joined)))


def _device_rows(joined: Joined, each: OnDevice, notes: list[str]) -> list[tuple[Any, ...]]:
    """The rows of one device: of the captured stretch where that is not all, and of the window."""
    kernels = joined.timeline.table("kernels")
    on_device = rows_of(kernels, each.device)
    captured = on_device & joined.captured
    window = window_of(joined, each.device)
    stretches: list[tuple[str, Groups, int | None]] = []
    if captured.any() and not captured[on_device].all():
        groups = Groups(joined, np.where(captured, 0, -1), 1)
        stretches.append((CAPTURED, groups, captured_ns(joined, each.device, captured)))
    whole = Groups(joined, np.where(on_device, 0, -1), 1, window)
    stretches.append((WINDOW, whole, None if window is None else window.length_ns))
    found = []
    for stretch, groups, length_ns in stretches:
        for reading in joined.readings:
            shares = _shares(joined, groups, ~np.isnan(joined.work[reading.pipe].value))
            measured = groups.measured(reading.pipe, extrapolated=stretch == WINDOW)
            values = _values(measured, groups, np.array([np.nan if length_ns is None else float(length_ns)]))
            if measured.low[0] > _IMPOSSIBLE:
                notes.append(_impossible(reading.pipe, stretch))
            pipe_values = [column[0] for column in values]
            rest = (measured.launches.tolist()[0], reading.metric)
            found.append((each.device, stretch, reading.pipe, *pipe_values, *(s[0] for s in shares), *rest))
    return found


def _impossible(pipe: str, where: str) -> str:
    return (
        f"{pipe} ({where}): more work than the pipe can do in that time: the SM clock is too low, or these are not the "
        "launches that the counters were read of"
    )


def _values(measured: Measured, groups: Groups, length_ns: FloatArray) -> list[list[float | None]]:
    """utilization, low, high, and the three over a length; None where unknown or impossible."""
    possible = ~(measured.low > _IMPOSSIBLE)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = groups.busy_ns() / length_ns
    sides = [np.where(possible, side, np.nan) for side in (measured.utilization, measured.low, measured.high)]
    over = [np.minimum(side * scale, 1.0) for side in sides]
    return [Column(side).tolist() for side in (*sides, *over)]


def _shares(joined: Joined, groups: Groups, known: BoolArray | None = None) -> list[list[float | None]]:
    """coverage, and the matched and the extrapolated part of it: shares of the busy time of each group.

    ``known`` are the launches with work on the pipe that is asked for; all without.
    """
    state = joined.state if known is None else np.where(known, joined.state, UNMATCHED)
    state = state[groups.rows]
    busy = groups.busy_ns()
    parts = [groups.busy_ns(state == which) for which in (MATCHED, EXTRAPOLATED)]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [np.minimum(part / busy, 1.0) for part in (parts[0] + parts[1], *parts)]
    return [Column(share).tolist() for share in shares]


def key_table(joined: Joined, by: str) -> Answer:
    """Utilization by iteration, phase, layer, name or class, with matched and extrapolated launches together.

    A column of each pipe, with ``_low`` and ``_high`` as the bounds that unknown launches leave; by iteration
    ``_effective`` too, over the step on the device. Times as in the tables of a timeline.
    """
    kernels = joined.timeline.table("kernels")
    codes, shown = _keys(joined, by)
    count = len(shown)
    groups = Groups(joined, codes, count)
    columns: dict[str, Sequence[Any]] = {("name" if by == "class" else by): shown}
    columns["calls"] = np.bincount(codes, minlength=count).tolist()
    columns["dur_ns"] = known_sums(codes, kernels["dur_ns"], count)
    shares = device_shares_ns(kernels)
    assert shares is not None, "the join takes launches with times alone"
    exclusive = np.bincount(codes, weights=shares[0], minlength=count).astype(np.float64)
    columns["excl_ns"] = rounded_to_sum(exclusive, shares[1]).tolist()
    columns.update(zip(("coverage", "matched", "extrapolated"), _shares(joined, groups), strict=True))
    steps = np.append(steps_ns(joined), np.nan) if by == "iteration" else np.full(count, np.nan)
    notes = [*_little_known(joined), *joined.notes]
    for reading in joined.readings:
        measured = groups.measured(reading.pipe, extrapolated=True)
        if (measured.low > _IMPOSSIBLE).any():
            notes.append(_impossible(reading.pipe, f"{int((measured.low > _IMPOSSIBLE).sum())} rows"))
        values = _values(measured, groups, steps[:count])
        names = ("", "_low", "_high", *(("_effective",) if by == "iteration" else ()))
        columns.update({f"{reading.pipe}{name}": side for name, side in zip(names, values, strict=False)})
    if by in RANGES and not columns["calls"][-1]:
        columns = {name: values[:-1] for name, values in columns.items()}
    if by not in RANGES:
        columns = sorted_columns(columns, by=("excl_ns", "dur_ns"))
    return Answer(by, columns, (*notes, *_left_out(joined)))


def _keys(joined: Joined, by: str) -> tuple[IntArray, list[Any]]:
    """(group of each launch, what the groups are called); the last of a range kind is what belongs to none."""
    if by in RANGES:
        found = belonging(joined.timeline, by)
        if not found.keys:
            raise MissingDataError(f"{joined.timeline.meta.file}: no {by} ranges in this file; ask --by core or name")
        return found.kernels, [*labels(found.keys, by), None]
    names = joined.timeline.table("kernels")["name"]
    of = short_name if by == "name" else kernel_class
    code_of: dict[str, int] = {}
    used = np.flatnonzero(np.bincount(names.values, minlength=len(names.categories or ())))
    codes = np.zeros(len(names.categories or ()), dtype=np.int64)
    for code in used.tolist():
        codes[code] = code_of.setdefault(of((names.categories or ())[code]), len(code_of))
    return codes[names.values], list(code_of)


def unmatched(joined: Joined) -> Answer:
    """What has no counterpart, longest first: launches of the timeline, then those of the counters file.

    ``share`` is of the busy time on the timeline, of all cycles in the counters file.
    """
    kernels, others = joined.timeline.table("kernels"), joined.counters.table("kernels")
    shares = device_shares_ns(kernels)
    assert shares is not None, "the join takes launches with times alone"
    known = (joined.state == MATCHED) | (joined.state == EXTRAPOLATED)
    why = _reasons(joined)
    theirs = _listed("timeline", kernels["name"], np.flatnonzero(~known), why, kernels.ints("dur_ns"), shares[0])
    cycles = _cycles(joined)
    used = joined.used | _extrapolated_from(joined)
    own = _listed(
        "counters",
        others["name"],
        np.flatnonzero(~used),
        np.full(len(others), _REASONS.index(_NOT_LEFT)),
        np.rint(cycles).astype(np.int64),
        cycles,
    )
    names = ("file", "name", "launches", "dur_ns", "cycles", "share", "reason")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in [*theirs, *own]:
        for name in names:
            columns[name].append(row.get(name))
    return Answer("unmatched", columns)


def _listed(
    side: str, names: Column, rows: IntArray, why: IntArray, amounts: IntArray, parts: FloatArray
) -> list[dict[str, Any]]:
    """A row for each name and reason among ``rows``, the largest amount first."""
    found, of_row = np.unique(names.values[rows].astype(np.int64) * len(_REASONS) + why[rows], return_inverse=True)
    sums = summed(of_row, amounts[rows], len(found)).tolist()
    shares = np.bincount(of_row, weights=parts[rows], minlength=len(found)).tolist()
    counts = np.bincount(of_row, minlength=len(found)).tolist()
    whole = float(parts.sum())
    amount = "dur_ns" if side == "timeline" else "cycles"
    listed = [
        {
            "file": side,
            "name": short_name((names.categories or ())[code // len(_REASONS)]),
            "launches": counts[place],
            amount: sums[place],
            "share": ratio(shares[place], whole),
            "reason": _REASONS[code % len(_REASONS)],
        }
        for place, code in enumerate(found.tolist())
    ]
    return sorted(listed, key=lambda row: -row[amount])


def _reasons(joined: Joined) -> IntArray:
    """Why each launch of the timeline has no work, as far as it has none: its place in :data:`_REASONS`."""
    found = np.full(len(joined.state), _REASONS.index(_NO_KEY))
    for each in joined.devices:
        if each.found is None:
            continue
        side, own = each.found.timeline, each.found.counters
        shared = np.isin(side.keys, own.keys[own.keys >= 0])
        found[side.rows[shared]] = _REASONS.index(_LACKING)
        found[side.rows[side.keys < 0]] = _REASONS.index(_HIDDEN)
    found[joined.state == DOUBTFUL] = _REASONS.index(_OTHER_TIME)
    return found


def _cycles(joined: Joined) -> FloatArray:
    """Elapsed cycles of each row of the counters file; 0 where unknown."""
    return np.nan_to_num(core.launch_cycles(joined.counters))


def _extrapolated_from(joined: Joined) -> BoolArray:
    """Which rows of the counters file serve launches of their key alone, being of stretches the timeline lacks."""
    found = np.zeros(len(joined.used), dtype=np.bool_)
    for each in joined.devices:
        if each.found is None:
            continue
        side, own = each.found.timeline, each.found.counters
        extrapolated = side.keys[joined.state[side.rows] == EXTRAPOLATED]
        found[own.rows] |= ~each.found.counters_captured & np.isin(own.keys, extrapolated)
    return found


def _little_known(joined: Joined) -> list[str]:
    """A note where most of the busy time has no counters: what is said of the rest describes no run."""
    coverage = totals(joined)["coverage"]
    if coverage is None or coverage >= _MOST_OF_IT:
        return []
    return [
        f"only {units.format_ratio(coverage)} of the busy time has counters: are the two files of one program, batch "
        "size and precision?"
    ]


def _left_out(joined: Joined) -> list[str]:
    """What every reader of the numbers must know of the metrics."""
    lines = [f"{reading.pipe}: {reading.warning}" for reading in joined.readings if reading.warning]
    present = {reading.pipe for reading in joined.readings}
    lines += [
        f"{reading.pipe} work is part of {reading.subset_of}'s on this chip; never add the two"
        for reading in joined.readings
        if reading.subset_of in present
    ]
    return lines


def totals(joined: Joined) -> dict[str, Any]:
    """Launches and time by what is known of them, over the whole timeline; the clocks."""
    kernels = joined.timeline.table("kernels")
    shares = device_shares_ns(kernels)
    assert shares is not None, "the join takes launches with times alone"
    found: dict[str, Any] = {"launches": len(kernels), "counter_launches": len(joined.used), "busy_ns": shares[1]}
    parts = []
    for name, which in (("matched", MATCHED), ("extrapolated", EXTRAPOLATED), ("doubtful", DOUBTFUL)):
        chosen = joined.state == which
        found[f"{name}_launches"] = int(chosen.sum())
        parts.append(float(shares[0][chosen].sum()))
    found["unmatched_launches"] = len(kernels) - sum(found[f"{name}_launches"] for name in ("matched", "extrapolated"))
    unknown = shares[1] - parts[0] - parts[1]
    whole = rounded_to_sum(np.array([parts[0], parts[1], max(unknown, 0.0)]), shares[1]).tolist()
    found.update(zip(("matched_ns", "extrapolated_ns", "unmatched_ns"), whole, strict=True))
    for name, part_ns in zip(("matched", "extrapolated", "coverage"), (*whole[:2], whole[0] + whole[1]), strict=True):
        found[name] = ratio(part_ns, shares[1])
    found["counters_used"] = int(joined.used.sum())
    found["clocks"] = [{"device": each.device, **each.clock.as_dict()} for each in joined.devices]
    return found
