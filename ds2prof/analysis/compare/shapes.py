"""What is known of a kernel besides its name: its launch shapes and the operators that launched it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np

from ds2prof.analysis.attribution import operators
from ds2prof.analysis.groups import combined
from ds2prof.tables import IntArray, Profile

_DENSE: Final = 1 << 22
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


@dataclass(frozen=True)
class Shape:
    """Of one kernel: counts of launches by what they were launched with; empty where the source does not tell.

    Attributes:
        grids, blocks: by (x, y, z).
        operators: by (operator, shapes of its inputs).
        words: of its name, in lower case.
    """

    grids: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    blocks: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    operators: Mapping[tuple[str, str], int] = field(default_factory=dict)
    words: frozenset[str] = frozenset()


def shapes_of(profile: Profile, group_of_name: IntArray, names: Sequence[str]) -> tuple[Shape, ...]:
    """The shape of each group of kernels.

    Args:
        profile: whose kernels.
        group_of_name: for each distinct name of the table, its group.
        names: of the groups.
    """
    found = profile.derived("launch shapes by name", lambda: _by_name(profile))
    merged = [_merged(each, group_of_name, len(names)) for each in found]
    words = [frozenset(word.lower() for word in _WORD.findall(name)) for name in names]
    return tuple(Shape(*each) for each in zip(*merged, words, strict=True))


_Counts = list[dict[Any, int]]


def _by_name(profile: Profile) -> tuple[_Counts, _Counts, _Counts]:
    """For each distinct name: launches by grid, by block, by operator."""
    names = profile.table("kernels")["name"]
    codes, count = names.values.astype(np.int64), len(names.categories or ())
    grids, blocks = (
        _counted(profile, codes, count, [f"{what}_{axis}" for axis in "xyz"]) for what in ("grid", "block")
    )
    return grids, blocks, _operators(profile, codes, count)


def _merged(counts: _Counts, group_of_name: IntArray, groups: int) -> _Counts:
    found: _Counts = [{} for _ in range(groups)]
    for group, each in zip(group_of_name.tolist(), counts, strict=True):
        for key, launches in each.items():
            found[group][key] = found[group].get(key, 0) + launches
    return found


def _counted(profile: Profile, codes: IntArray, count: int, columns: Sequence[str]) -> _Counts:
    """For each name, launches by the values of some columns, where all of these are known."""
    table = profile.table("kernels")
    found: _Counts = [{} for _ in range(count)]
    if any(column not in table for column in columns):
        return found
    present = np.logical_and.reduce([table[column].present for column in columns])
    rows = slice(None) if present.all() else np.flatnonzero(present)
    values = [codes[rows], *(table.ints(column)[rows] for column in columns)]
    if len(values[0]):
        distinct, counts = _distinct(values)
        for code, *shape, launches in np.column_stack((*distinct, counts)).tolist():
            found[code][tuple(shape)] = launches
    return found


def _distinct(values: Sequence[IntArray]) -> tuple[list[IntArray], IntArray]:
    """(the distinct combinations, a column each; how often each is there)."""
    least = [int(each.min()) for each in values]
    spans = [int(each.max()) - low + 1 for each, low in zip(values, least, strict=True)]
    if prod(spans) >= 1 << 62:
        codes, first = combined(values)
        return [each[first] for each in values], np.bincount(codes)
    packed = np.zeros(len(values[0]), dtype=np.int64)
    for each, low, span in zip(values, least, spans, strict=True):
        packed *= span
        packed += each - low
    keys, counts = np.unique(packed, return_counts=True) if prod(spans) > _DENSE else _dense(packed)
    columns = []
    for low, span in zip(least[::-1], spans[::-1], strict=True):
        columns.append(keys % span + low)
        keys = keys // span
    return columns[::-1], counts


def _dense(packed: IntArray) -> tuple[IntArray, IntArray]:
    counts = np.bincount(packed)
    keys = np.flatnonzero(counts)
    return keys, counts[keys]


def _operators(profile: Profile, codes: IntArray, count: int) -> _Counts:
    """For each name, launches by the innermost operator at the launch and the shapes of its inputs."""
    found: _Counts = [{} for _ in range(count)]
    ops = profile.table("ops")
    if not len(ops):
        return found
    at = operators(profile, "kernels")
    rows = np.flatnonzero(at >= 0)
    if not len(rows):
        return found
    names, shapes = ops["name"], ops["shapes"]
    of = at[rows]
    distinct, counts = _distinct([codes[rows], names.values[of].astype(np.int64), shapes.values[of].astype(np.int64)])
    for code, name, shape, launches in np.column_stack((*distinct, counts)).tolist():
        text = (shapes.categories or ())[shape] if shape >= 0 else ""
        found[code][(names.categories or ())[name], text] = launches
    return found
