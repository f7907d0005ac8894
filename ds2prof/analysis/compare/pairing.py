"""Which row of one side is which of the other: by name, and kernels that were renamed by class and shape.

A new version of a library, another tile or another compiler gives the same work another kernel. Among kernels that one
side alone has, those of one class are held against each other: by the operators that launched them and the shapes of
their inputs, grid, block, launches a step, and the words of their names. What one of the files does not tell is no
evidence. Pairs are taken one to one, the most alike first; a kernel that resembles a second one nearly as much is
taken for less sure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ds2prof.analysis.compare.breakdown import HOST_REST, REST, Breakdown
from ds2prof.analysis.compare.shapes import Shape

Pairing = Literal["same", "renamed", "base only", "new only"]
LEAST_SURE: Final = 0.5
"""Kernels that are less alike are not the same one renamed: one went, another came."""
_WEIGHTS: Final = {"operators": 0.4, "calls": 0.2, "grids": 0.15, "blocks": 0.1, "words": 0.15}
_NEARLY: Final = 0.1
_MOST_PAIRS: Final = 250_000


@dataclass(frozen=True)
class Row:
    """One row of a comparison: its label on both sides, None standing for work of no key.

    Attributes:
        base, new: place among the labels of each side; None where it is not there.
        label: what to show: the new name, of what is gone the old.
        old_label: the name before, where it is another.
        pairing: how the two were found to be one.
        sureness: of ``renamed``, 0..1: the weighted share of the evidence that agrees.
    """

    base: int | None
    new: int | None
    label: str | None
    old_label: str | None
    pairing: Pairing
    sureness: float | None = None


def paired(base: Breakdown, new: Breakdown) -> list[Row]:
    """The rows of both sides put together, those of the new side first."""
    place_of = {label: place for place, label in enumerate(base.labels)}
    rows = [
        Row(place_of.get(label), place, label, None, "same" if label in place_of else "new only")
        for place, label in enumerate(new.labels)
    ]
    fresh = [row.new for row in rows if row.base is None and row.new is not None]
    known = set(new.labels)
    gone = [place for place, label in enumerate(base.labels) if label not in known]
    found = _renamed(base, new, gone, fresh) if base.shapes is not None and new.shapes is not None else {}
    made = [_merged(row, base, found) for row in rows]
    kept = {place for place, _ in found.values()}
    return made + [Row(place, None, base.labels[place], None, "base only") for place in gone if place not in kept]


def _merged(row: Row, base: Breakdown, found: Mapping[int, tuple[int, float]]) -> Row:
    if row.new is None or row.new not in found:
        return row
    place, sureness = found[row.new]
    return Row(place, row.new, row.label, base.labels[place], "renamed", sureness)


def _renamed(
    base: Breakdown, new: Breakdown, gone: Sequence[int], fresh: Sequence[int]
) -> dict[int, tuple[int, float]]:
    """New place -> (old place, how sure), one to one, the most alike first."""
    candidates: dict[str, list[int]] = defaultdict(list)
    for place in gone:
        if base.classes is not None and base.labels[place] not in (REST, HOST_REST):
            candidates[base.classes[place]].append(place)
    likeness: dict[tuple[int, int], float] = {}
    for place in fresh:
        others = candidates.get(new.classes[place], []) if new.classes is not None else []
        if len(likeness) + len(others) > _MOST_PAIRS:  # names that differ throughout: nothing to learn from them
            break
        for other in others:
            likeness[other, place] = _alike(base, new, other, place)
    return _one_to_one(likeness)


def _one_to_one(likeness: Mapping[tuple[int, int], float]) -> dict[int, tuple[int, float]]:
    found: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    rivals: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (old, fresh), alike in likeness.items():
        rivals["old", old].append(alike)
        rivals["new", fresh].append(alike)
    for (old, fresh), alike in sorted(likeness.items(), key=lambda item: (-item[1], item[0])):
        if alike < LEAST_SURE:
            break
        if old in taken or fresh in found:
            continue
        near = sum(other > alike - _NEARLY for key in (("old", old), ("new", fresh)) for other in rivals[key]) - 1
        taken.add(old)
        found[fresh] = (old, round(alike / near, 3))
    return found


def _alike(base: Breakdown, new: Breakdown, old: int, fresh: int) -> float:
    """The share of the evidence that agrees, by weight; what one side does not tell is left out."""
    assert base.shapes is not None
    assert new.shapes is not None
    one, other = base.shapes[old], new.shapes[fresh]
    parts = {name: _overlap(getattr(one, name), getattr(other, name)) for name in ("operators", "grids", "blocks")}
    parts["words"] = _shared(one, other)
    if base.calls is not None and new.calls is not None:
        calls = float(base.calls[old]), float(new.calls[fresh])
        parts["calls"] = min(calls) / max(calls) if max(calls) else None
    known = {name: value for name, value in parts.items() if value is not None}
    weight = sum(_WEIGHTS[name] for name in known)
    return sum(_WEIGHTS[name] * value for name, value in known.items()) / weight if weight else 0.0


def _overlap(one: Mapping[Hashable, int], other: Mapping[Hashable, int]) -> float | None:
    """What part of the launches agree: the sum of the lesser shares; None where a side does not tell."""
    sums = sum(one.values()), sum(other.values())
    if not all(sums):
        return None
    return sum(min(count / sums[0], other[key] / sums[1]) for key, count in one.items() if key in other)


def _shared(one: Shape, other: Shape) -> float | None:
    both = one.words | other.words
    return len(one.words & other.words) / len(both) if both else None
