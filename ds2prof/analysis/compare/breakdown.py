"""A run's time taken apart by one key, iteration by iteration, so that the rows sum to the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from ds2prof.analysis import groups, kernels
from ds2prof.analysis.attribution import ranges_of_kind
from ds2prof.analysis.belonging import belonging, labels, ordered_keys
from ds2prof.analysis.compare.decisions import Sample
from ds2prof.analysis.compare.frames import Series
from ds2prof.analysis.compare.pieces import Pieces, pieces_of
from ds2prof.analysis.compare.shapes import Shape, shapes_of
from ds2prof.analysis.host_timelines import CAUSES
from ds2prof.analysis.intervals import FloatArray, self_shares_ns
from ds2prof.analysis.join.keys import matching_name
from ds2prof.analysis.ledger_account import account, step_cuts
from ds2prof.analysis.ledger_sets import check_times, device_window, worked_devices
from ds2prof.analysis.uncertainty.iterations import Iterations
from ds2prof.analysis.windows import ends_ns
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class, op_class, short_name
from ds2prof.tables import IntArray, Profile

By = Literal["ledger", "phase", "class", "layer", "name", "kernel"]
BY: Final[tuple[By, ...]] = ("ledger", "phase", "class", "layer", "name", "kernel")
Unit = Literal["step", "window", "capture"]
REST: Final = "(no kernel runs)"
"""The row of what lies between the kernels: idle time and copies that nothing hides."""
HOST_REST: Final = "(outside)"
"""The same of a run without a GPU: the host's time in no operator or range of the table."""
_MOST_CELLS: Final = 1 << 25
_KERNEL_KEYS: Final[Mapping[By, Callable[[str], str]]] = {
    "class": kernel_class,
    "name": short_name,
    "kernel": matching_name,
}
_RANGE_KEYS: Final[tuple[By, ...]] = ("phase", "layer")


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The time of a unit by one key.

    Attributes:
        unit: what a row of ``times`` is: a ``step`` on the device (of a run without a GPU, on the host), the
            ``window``, the ``capture`` (the sum of its kernels' durations, where there are no times).
        labels: the keys; None is work that belongs to none.
        times_ns: of shape (units, keys): exclusive time, a mean over the devices. A row's sum is the unit's length.
        calls: launches of each key in a unit, on average; None where they are not counted.
        classes: of each key, where keys are kernels.
        shapes: what is known of each key besides its name, where keys are kernels.
        keys, lengths: iterations' numbers and padded lengths, as of :class:`.Series`.
    """

    unit: Unit
    labels: tuple[str | None, ...]
    times_ns: FloatArray
    calls: FloatArray | None = None
    classes: tuple[str, ...] | None = None
    shapes: tuple[Shape, ...] | None = None
    keys: tuple[str | int, ...] | None = None
    lengths: FloatArray | None = None

    @classmethod
    def mean(cls, ranks: Sequence[Breakdown]) -> Breakdown:
        """The mean over ranks, of the iterations that all have."""
        if len(ranks) == 1:
            return ranks[0]
        names = tuple(dict.fromkeys(label for one in ranks for label in one.labels))
        rows = _shared_rows(ranks)
        times = np.zeros((len(rows[0]), len(names)))
        calls = np.zeros(len(names))
        known: dict[str | None, tuple[str, Shape]] = {}
        for one, row in zip(ranks, rows, strict=True):
            columns = np.array([names.index(label) for label in one.labels], dtype=np.int64)
            times[:, columns] += one.times_ns[row] / len(ranks)
            calls[columns] += (0 if one.calls is None else one.calls) / len(ranks)
            if one.classes is not None and one.shapes is not None:
                for label, kind, shape in zip(one.labels, one.classes, one.shapes, strict=True):
                    known.setdefault(label, (kind, shape))
        first = ranks[0]
        return replace(
            first,
            labels=names,
            times_ns=times,
            calls=None if first.calls is None else calls,
            classes=tuple(known[name][0] for name in names) if known else None,
            shapes=tuple(known[name][1] for name in names) if known else None,
            keys=None if first.keys is None else tuple(first.keys[row] for row in rows[0].tolist()),
            lengths=None if first.lengths is None else first.lengths[rows[0]],
        )


def _shared_rows(ranks: Sequence[Breakdown]) -> list[IntArray]:
    if any(one.keys is None for one in ranks):
        return [np.arange(len(one.times_ns)) for one in ranks]
    places = [{key: row for row, key in enumerate(one.keys or ())} for one in ranks]
    shared = [key for key in places[0] if all(key in place for place in places)]
    if not shared:
        raise MissingDataError("the ranks of a run have no iteration in common; capture all of them in one window")
    return [np.array([place[key] for key in shared], dtype=np.int64) for place in places]


def whole_of(found: Breakdown) -> Series:
    """The length of each unit."""
    return Series(Sample(found.times_ns.sum(axis=1)[:, None]), found.keys, found.lengths)


def breakdowns(profile: Profile, found: Iterations | None) -> dict[str, Breakdown]:
    """All breakdowns that the profile has times for, by key."""
    if profile.meta.domain == "cpu":
        return _of_host(profile, found) if found is not None else {}
    if not len(profile.table("kernels")):
        return {}
    try:
        check_times(profile)
    except MissingDataError:
        return _of_sums(profile)
    return _of_steps(profile, found) if found is not None else _of_window(profile)


@dataclass(frozen=True, eq=False)
class _Units:
    """The units of a profile, and which part of which row ran in which.

    Attributes:
        unit: what a unit is.
        length_ns: of each, a sum over the devices.
        devices: how many.
        pieces: the parts.
        keys: iterations' numbers.
    """

    unit: Unit
    length_ns: FloatArray
    devices: int
    pieces: Pieces
    keys: tuple[str | int, ...] | None = None


def _of_steps(profile: Profile, found: Iterations) -> dict[str, Breakdown]:
    """By step on the device: from the end of the last operation of the one before to the end of its own last."""
    own = belonging(profile, "iteration")
    devices = worked_devices(profile)
    if not own.keys:
        return _of_window(profile)
    accounts = np.stack([account(profile, device, "iteration").sums_ns[:-1] for device in devices])
    counted = dict(zip(found.keys, found.counted.tolist(), strict=True))
    keys = labels(own.keys, "iteration")
    used = np.array([counted.get(key, False) for key in keys], dtype=np.bool_) & (accounts.sum(axis=2) > 0).all(axis=0)
    if not used.any():
        return _of_window(profile)
    place_of = np.full(len(keys) + 1, -1, dtype=np.int64)
    place_of[:-1][used] = np.arange(int(used.sum()))
    parts = []
    for device in devices:
        cuts = step_cuts(profile, own, device, device_window(profile, device))
        parts.append(pieces_of(profile, device, cuts.times_ns, place_of[cuts.group]))
    causes = accounts.sum(axis=0)[used] / len(devices)
    chosen = tuple(key for key, use in zip(keys, used.tolist(), strict=True) if use)
    lengths = accounts.sum(axis=(0, 2))[used].astype(np.float64)
    units = _Units("step", lengths, len(devices), Pieces.joined(parts), chosen)
    return {"ledger": Breakdown("step", tuple(CAUSES), causes, keys=chosen), **_by_kernels(profile, units)}


def _of_window(profile: Profile) -> dict[str, Breakdown]:
    """Of the whole window, where there are no iterations."""
    devices = worked_devices(profile)
    accounts = np.stack([account(profile, device).sums_ns.sum(axis=0) for device in devices])
    parts = []
    for device in devices:
        window = device_window(profile, device)
        parts.append(pieces_of(profile, device, np.array([window.start_ns, window.stop_ns]), np.zeros(1, np.int64)))
    length = np.array([float(accounts.sum())])
    units = _Units("window", length, len(devices), Pieces.joined(parts))
    causes = accounts.sum(axis=0)[None, :] / len(devices)
    return {"ledger": Breakdown("window", tuple(CAUSES), causes), **_by_kernels(profile, units)}


def _of_sums(profile: Profile) -> dict[str, Breakdown]:
    """Of the summed durations of a replayed capture, or of a source that keeps sums."""
    table = profile.table("kernels")
    if not table["dur_ns"].present.all():
        return {}
    dur_ns = table.ints("dur_ns")
    return _by_kernels(profile, _Units("capture", np.array([float(dur_ns.sum())]), 1, Pieces.whole(dur_ns)))


def _by_kernels(profile: Profile, units: _Units) -> dict[str, Breakdown]:
    """By class, name, full name, phase and layer of the kernels; what no kernel fills has a row of its own."""
    table = profile.table("kernels")
    calls = table.ints("calls", null=1) if "calls" in table else np.ones(len(table), dtype=np.int64)
    made: dict[str, Breakdown] = {}
    for by, label in _KERNEL_KEYS.items():
        group_of_name, names = _named(profile, label)
        made[by] = _filled(units, group_of_name[table["name"].values], names, calls)
        if by != "class":
            classes = _classes(profile, group_of_name, len(names))
            none = () if units.unit == "capture" else ("",)
            shapes = shapes_of(profile, group_of_name, names)
            made[by] = replace(made[by], classes=(*classes, *none), shapes=(*shapes, *(Shape() for _ in none)))
    for kind in _RANGE_KEYS:
        own = belonging(profile, kind)
        if own.keys:
            made[kind] = _filled(units, own.kernels, (*own.keys, None), calls)
    return made


def _filled(units: _Units, codes: IntArray, names: Sequence[str | None], calls: IntArray) -> Breakdown:
    count, number, pieces = len(names), len(units.length_ns), units.pieces
    own = codes[pieces.row]
    cells: FloatArray
    if number * count > _MOST_CELLS:  # more than can be held: the mean unit alone
        cells = np.asarray(np.bincount(own, weights=pieces.share_ns, minlength=count)[None, :] / number, np.float64)
        length, keys = units.length_ns.mean(keepdims=True), None
    else:
        at = pieces.unit * count + own
        cells = np.asarray(np.bincount(at, weights=pieces.share_ns, minlength=number * count), dtype=np.float64)
        cells, length, keys = cells.reshape(number, count), units.length_ns, units.keys
    begun = pieces.row[pieces.is_first]
    each = np.bincount(codes[begun], weights=calls[begun], minlength=count) / number / units.devices
    times = cells / units.devices
    length = length / units.devices
    found = Breakdown(units.unit, tuple(names), times, each, keys=keys)
    if units.unit == "capture":
        return found
    rest = (length - times.sum(axis=1))[:, None]
    return replace(found, labels=(*names, REST), times_ns=np.hstack((times, rest)), calls=np.append(each, 0.0))


def _named(profile: Profile, label: Callable[[str], str]) -> tuple[IntArray, tuple[str, ...]]:
    """(the place of each distinct name's label, the labels); names that no kernel has stand at place 0."""
    names = profile.table("kernels")["name"]
    categories = names.categories or ()
    used = np.flatnonzero(np.bincount(names.values, minlength=len(categories)))
    label_of = [label(categories[code]) for code in used.tolist()]
    distinct = {text: place for place, text in enumerate(dict.fromkeys(label_of))}
    group_of_name = np.zeros(len(categories), dtype=np.int64)
    group_of_name[used] = [distinct[text] for text in label_of]
    return group_of_name, tuple(distinct)


def _classes(profile: Profile, group_of_name: IntArray, count: int) -> tuple[str, ...]:
    names = profile.table("kernels")["name"]
    used = np.flatnonzero(np.bincount(names.values, minlength=len(group_of_name)))
    one_of = np.zeros(count, dtype=np.int64)
    one_of[group_of_name[used]] = used
    return tuple(kernel_class((names.categories or ())[code]) for code in one_of.tolist())


def _of_host(profile: Profile, found: Iterations) -> dict[str, Breakdown]:
    """Of a run without a GPU: the host's own time of operators, and of the ranges of phases and layers."""
    if found.starts_ns is None or found.stops_ns is None or not found.counted.any():
        return {}
    ops = profile.table("ops")
    made: dict[str, Breakdown] = {}
    if len(ops):
        shares, _ = kernels.operator_shares_ns(ops)
        texts = ops["name"].categories or ()
        for by, label in (("class", op_class), ("name", str)):
            distinct = tuple(dict.fromkeys(label(text) for text in texts))
            place = {text: code for code, text in enumerate(distinct)}
            codes = np.array([place[label(text)] for text in texts], dtype=np.int64)[ops["name"].values]
            made[by] = _hosted(found, ops.ints("start_ns"), codes, distinct, shares)
    for kind in _RANGE_KEYS:
        ranges = profile.table("ranges").take(ranges_of_kind(profile, kind))
        if len(ranges):
            keys, codes = ordered_keys(ranges, kind)
            lanes, _ = groups.combined([ranges.ints("process", null=-1), ranges.ints("thread", null=-1)])
            shares = self_shares_ns(ranges.ints("start_ns"), ends_ns(ranges), lanes)
            made[kind] = _hosted(found, ranges.ints("start_ns"), codes, keys, shares)
    return made


def _hosted(
    found: Iterations, starts_ns: IntArray, codes: IntArray, names: Sequence[str], shares: FloatArray
) -> Breakdown:
    """By the iteration on the host in which each operator or range began."""
    assert found.starts_ns is not None
    assert found.stops_ns is not None
    rows = np.flatnonzero(found.counted)
    at = np.searchsorted(found.starts_ns, starts_ns, side="right") - 1
    at = np.where((at >= 0) & (starts_ns < found.stops_ns[at]), at, len(found.keys))
    place_of = np.full(len(found.keys) + 1, -1, dtype=np.int64)
    place_of[rows] = np.arange(len(rows))
    inside = np.flatnonzero(place_of[at] >= 0)
    pieces = Pieces(inside, place_of[at][inside], shares[inside], np.ones(len(inside), dtype=np.bool_))
    keys = tuple(found.keys[row] for row in rows.tolist())
    units = _Units("step", found.times_ns[rows], 1, pieces, keys)
    made = _filled(units, codes, names, np.ones(len(codes), dtype=np.int64))
    return replace(made, labels=(*made.labels[:-1], HOST_REST))
