"""What one launch is recognised by in both files: canonical name, grid, block, shared memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.groups import combined
from ds2prof.demangled import Group, parse_items
from ds2prof.kernel_names import canonical_name
from ds2prof.mangled import demangled
from ds2prof.tables import BoolArray, IntArray, Table

SHAPE: Final = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z")
_Reader = Callable[[Table], IntArray]
_STATIC, _DYNAMIC, _SHARED = "static_shared_bytes", "dynamic_shared_bytes", "shared_bytes"
_PRINTED: Final = 10
"""Nsight Compute prints sizes from 1,000 bytes on in kilobytes with two decimals: the last digit is lost."""


@dataclass(frozen=True)
class Keys:
    """The key of each launch of both files, as codes of one numbering; -1 where a row is no single kernel.

    ``notes`` says what could not be part of the key, and why; ``parts`` what is, in words; ``share_names`` whether any
    name is in both files.
    """

    timeline: IntArray
    counters: IntArray
    notes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("name",)
    share_names: bool = True

    @property
    def meet(self) -> bool:
        """Whether any key is in both files."""
        own = self.counters[self.counters >= 0]
        return bool(np.isin(self.timeline[self.timeline >= 0], own).any())


def keys(timeline: Table, counters: Table) -> Keys:
    """The keys of all rows of two ``kernels`` tables.

    A key is the canonical name, the grid, the block, and the dynamic shared memory (static and dynamic together where
    one of the files does not tell them apart). What one of the files lacks altogether is left out on both sides.
    """
    names, notes = _names(timeline, counters)
    parts = [names]
    lacking = []
    for column in SHAPE:
        if _has(timeline, column) and _has(counters, column):
            parts.append(np.concatenate([table.ints(column, null=-1) for table in (timeline, counters)]))
        else:
            lacking.append(column.partition("_")[0])
    shared = _shared_readers(timeline, counters)
    if shared is None:
        lacking.append("shared memory")
    else:
        parts.append(np.concatenate((shared(timeline), shared(counters))))
    if lacking:
        notes.append(f"launches are matched without {' and '.join(dict.fromkeys(lacking))}: not in both files")
    codes, _ = combined(parts)
    codes = codes.copy()
    codes[~np.concatenate((single_kernels(timeline), single_kernels(counters)))] = -1
    share_names = bool(np.isin(names[: len(timeline)], names[len(timeline) :]).any())
    told = [part for part in ("name", "grid", "block", "shared memory") if part not in lacking]
    return Keys(codes[: len(timeline)], codes[len(timeline) :], tuple(notes), tuple(told), share_names)


def single_kernels(table: Table) -> BoolArray:
    """Mask of the rows that are of one kernel each: no graphs or ranges."""
    kinds = table["kind"]
    kernel = [code for code, text in enumerate(kinds.categories or ()) if text == "kernel"]
    return np.asarray((kinds.values < 0) | np.isin(kinds.values, kernel))


def matching_name(name: str) -> str:
    """The canonical name, of a mangled name too."""
    return canonical_name(demangled(name) or name)


def function_name(name: str) -> str:
    """The function's name alone, without namespaces and template arguments: what ``--print-kernel-base function`` has.

    >>> function_name("at::native::(anonymous namespace)::k<float, 4>")
    'k'
    """
    for item in reversed(parse_items(name) or []):
        if not isinstance(item, Group) and item[:1].isidentifier():
            return item
    return name


def _names(timeline: Table, counters: Table) -> tuple[IntArray, list[str]]:
    """(code of each row's name, those of the counters last; notes)."""
    used = [_used_names(table) for table in (timeline, counters)]
    plain = [_is_plain(of_side.values()) for of_side in used]
    notes = []
    if plain[0] != plain[1]:
        used = [{code: function_name(name) for code, name in of_side.items()} for of_side in used]
        notes.append("names are matched by function alone: one of the files has neither namespaces nor templates")
    code_of: dict[str, int] = {}
    found = []
    for table, of_side in zip((timeline, counters), used, strict=True):
        codes = np.full(len(table["name"].categories or ()) + 1, -1, dtype=np.int64)
        for place, name in of_side.items():
            codes[place] = code_of.setdefault(name, len(code_of))
        found.append(codes[table["name"].values])
    return np.concatenate(found), notes


def _used_names(table: Table) -> Mapping[int, str]:
    """Code of each name that rows have -> its canonical form."""
    column = table["name"]
    categories = column.categories or ()
    used = np.flatnonzero(np.bincount(column.values[column.values >= 0], minlength=len(categories)))
    return {code: matching_name(categories[code]) for code in used.tolist()}


def _is_plain(names: Iterable[str]) -> bool:
    """Whether no name has a namespace or template arguments."""
    return not any("<" in name or "::" in name for name in names)


def _has(table: Table, column: str) -> bool:
    return column in table and bool(table[column].present.any())


def _shared_readers(timeline: Table, counters: Table) -> _Reader | None:
    """How to read the shared memory that both files tell; None where one tells none."""
    sides = (timeline, counters)
    if all(_has(table, _DYNAMIC) for table in sides):
        return lambda table: printed(table.ints(_DYNAMIC, null=-1))
    if all(_has(table, _SHARED) or (_has(table, _STATIC) and _has(table, _DYNAMIC)) for table in sides):
        return lambda table: printed(_together(table))
    return None


def _together(table: Table) -> IntArray:
    """Static and dynamic shared memory of each launch; -1 where unknown. Each as it may have been printed."""
    if _has(table, _SHARED):
        return table.ints(_SHARED, null=-1)
    known = table[_STATIC].present & table[_DYNAMIC].present
    return np.where(known, table.ints(_STATIC) + table.ints(_DYNAMIC), -1)


def printed(size_bytes: IntArray) -> IntArray:
    """Sizes as precise as Nsight Compute prints them by default, so that 16,384 bytes and 16.38 Kbyte are one."""
    coarse = np.rint(size_bytes / _PRINTED).astype(np.int64) * _PRINTED
    return np.where(size_bytes < 1000, size_bytes, coarse)
