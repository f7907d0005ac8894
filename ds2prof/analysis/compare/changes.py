"""What changed, by one key: a row each, with its interval; the changes sum to that of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.compare.breakdown import Breakdown, By, whole_of
from ds2prof.analysis.compare.decisions import Noise, Sample, apart, difference, holm, reach
from ds2prof.analysis.compare.frames import Frame, Series, framed
from ds2prof.analysis.compare.pairing import Row, paired
from ds2prof.analysis.compare.runs import Run
from ds2prof.analysis.intervals import FloatArray
from ds2prof.errors import MissingDataError

_HOW: Final[Mapping[str, str]] = {
    "phase": "phases are 'ds2prof:phase:NAME' ranges, or follow from autograd's operators",
    "layer": "layers are 'ds2prof:layer:NAME' ranges (--layers), or PyTorch's modules (with_stack=True)",
    "ledger": "the ledger needs a timeline of a GPU (ds2prof run nsys or torch)",
}


@dataclass(frozen=True)
class Table:
    """What changed, by one key.

    Attributes:
        answer: the rows, the largest change first.
        unit: what the times are of: step, window, capture.
        base_ns, new_ns, change_ns: of the whole; the rows' sum to them.
        low_ns, high_ns: bounds of the change with 95 %; None where the noise is not known.
        noise: what the bounds rest on.
        frame: how iterations were paired.
    """

    answer: Answer
    unit: str
    base_ns: float
    new_ns: float
    change_ns: float
    low_ns: float | None
    high_ns: float | None
    noise: Noise
    frame: Frame

    def totals(self) -> dict[str, Any]:
        """The whole, as plain values."""
        names = ("unit", "base_ns", "new_ns", "change_ns", "low_ns", "high_ns", "noise")
        return {name: getattr(self, name) for name in names}


def keys_of(base: Sequence[Run], new: Sequence[Run]) -> list[str]:
    """By what the time of all runs can be taken apart, in the same unit."""
    runs = [*base, *new]
    keys = [key for key in runs[0].by if all(key in run.by for run in runs)]
    return [key for key in keys if len({run.by[key].unit for run in runs}) == 1]


def table(base: Sequence[Run], new: Sequence[Run], by: By) -> Table:
    """What changed by ``by`` between the runs of two sides.

    Times are exclusive: where kernels run together each instant is shared out, so that the rows sum to the unit's
    length exactly. ``share`` is of the change of the whole; ``beyond_noise`` says whether a row's change is not
    noise, with Holm's rule over the rows of the table at 5 %, and is null where the noise is not known.

    Raises:
        MissingDataError: a run's time cannot be taken apart so.
    """
    if by not in keys_of(base, new):
        raise MissingDataError(_why_not(base, new, by))
    sides = [_side([run.by[by] for run in runs]) for runs in (base, new)]
    rows = paired(sides[0], sides[1])
    series = [[_arranged(run.by[by], side, rows, place) for run in runs] for side, runs, place in ((sides[0], base, 0), (sides[1], new, 1))]  # fmt: skip  # noqa: E501
    frame, *samples = framed(*series)
    found = difference(samples[0], samples[1], paired=frame.is_paired)
    sums = [[Sample(run.parts.sum(axis=1)[:, None]) for run in side] for side in samples]
    whole = difference(sums[0], sums[1], paired=frame.is_paired)
    change, half = float(whole.distance[0]), float(reach(whole)[0])
    known = bool(np.isfinite(half))
    answer = Answer(by, _columns(by, rows, sides, found=found, halves=reach(found), change=change))
    return Table(
        answer,
        sides[1].unit,
        float(whole.base[0]),
        float(whole.new[0]),
        change,
        change - half if known else None,
        change + half if known else None,
        found.noise,
        frame,
    )


def _why_not(base: Sequence[Run], new: Sequence[Run], by: str) -> str:
    for run in (*base, *new):
        if not run.by:
            return f"{run.name}: cannot be taken apart by {by}: it has no times of kernels or operators"
        if by not in run.by:
            return f"{run.name}: cannot be taken apart by {by}{f'; {_HOW[by]}' if by in _HOW else ''}"
    units = sorted({run.by[by].unit for run in (*base, *new)})
    return f"{base[0].name}: times of a {' and of a '.join(units)} cannot be compared; mark the iterations in all files"


def _side(runs: Sequence[Breakdown]) -> Breakdown:
    """The labels of all runs of a side together, with mean launches."""
    if len(runs) == 1:
        return runs[0]
    names = tuple(dict.fromkeys(label for run in runs for label in run.labels))
    place_of = {name: place for place, name in enumerate(names)}
    calls = np.zeros(len(names))
    known: dict[str | None, tuple[Any, Any]] = {}
    for run in runs:
        for place, label in enumerate(run.labels):
            calls[place_of[label]] += 0.0 if run.calls is None else run.calls[place] / len(runs)
            if run.classes is not None and run.shapes is not None:
                known.setdefault(label, (run.classes[place], run.shapes[place]))
    return Breakdown(
        runs[0].unit,
        names,
        np.zeros((0, len(names))),
        None if runs[0].calls is None else calls,
        tuple(known[name][0] for name in names) if known else None,
        tuple(known[name][1] for name in names) if known else None,
    )


def _arranged(run: Breakdown, side: Breakdown, rows: Sequence[Row], place: int) -> Series:
    """The run's times with a column for each row; what it does not have took no time."""
    own = {label: column for column, label in enumerate(run.labels)}
    labels = [None if at is None else (side.labels[at],) for at in ((row.base, row.new)[place] for row in rows)]
    columns = [len(own) if label is None else own.get(label[0], len(own)) for label in labels]
    padded = np.hstack((run.times_ns, np.zeros((len(run.times_ns), 1))))
    whole = whole_of(run)
    return Series(Sample(padded[:, columns]), whole.keys, whole.lengths)


def _columns(
    by: str, rows: Sequence[Row], sides: Sequence[Breakdown], *, found: Any, halves: FloatArray, change: float
) -> dict[str, Sequence[Any]]:
    order = np.lexsort((-found.new, -np.abs(found.distance))).tolist()
    known = np.isfinite(halves)
    beyond = holm(apart(found))
    kept = [rows[place] for place in order]
    columns: dict[str, Sequence[Any]] = {by: [row.label for row in kept]}
    if sides[1].classes is not None:
        columns["class"] = [_class(row, sides) for row in kept]
    calls = [side.calls for side in sides]
    for of_side, place, name in zip(calls, (0, 1), ("base_calls", "new_calls"), strict=True):
        if of_side is not None and all(one is not None for one in calls):
            places = [(row.base, row.new)[place] for row in kept]
            columns[name] = [0.0 if at is None else round(float(of_side[at]), 6) for at in places]
    columns["base_ns"] = [float(found.base[place]) for place in order]
    columns["new_ns"] = [float(found.new[place]) for place in order]
    columns["change_ns"] = [float(found.new[place] - found.base[place]) for place in order]
    columns["low_ns"] = [float(found.distance[place] - halves[place]) if known[place] else None for place in order]
    columns["high_ns"] = [float(found.distance[place] + halves[place]) if known[place] else None for place in order]
    columns["change"] = [ratio(float(found.distance[place]), float(found.base[place])) for place in order]
    columns["share"] = [ratio(float(found.distance[place]), change) for place in order]
    columns["beyond_noise"] = [bool(beyond[place]) if known[place] else None for place in order]
    if any(row.pairing != "same" for row in kept):
        columns["pairing"] = [row.pairing for row in kept]
        columns["base_name"] = [row.old_label for row in kept]
        columns["sureness"] = [row.sureness for row in kept]
    return columns


def _class(row: Row, sides: Sequence[Breakdown]) -> str | None:
    side, place = (1, row.new) if row.new is not None else (0, row.base)
    classes = sides[side].classes
    return (classes[place] or None) if classes is not None and place is not None else None
