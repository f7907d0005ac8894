"""Calls and time by name of what is no kernel: copies, calls of the runtime, driver and libraries, ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.groups import combined, known_sums, sorted_columns, summed
from ds2prof.analysis.intervals import FloatArray
from ds2prof.errors import MissingDataError
from ds2prof.tables import Column, IntArray, Profile, Table

TABLE_OF: Final[Mapping[str, str]] = {"copy": "copies", "api": "api", "range": "ranges"}
KEYS: Final = tuple(TABLE_OF)
_GROUPED: Final[Mapping[str, tuple[str, ...]]] = {
    "copy": ("name",),
    "api": ("name", "domain"),
    "range": ("name", "domain", "kind"),
}
_NESTED: Final = (
    "times include what is nested in them, and concurrent threads count each: they do not add up to a stretch"
)
_MISSING: Final[Mapping[str, str]] = {
    "copy": "no copies and no sets",
    "api": "no calls of the runtime, the driver or a library",
    "range": "no ranges (NVTX, record_function, annotations)",
}
_AGAIN: Final[Mapping[str, str]] = {
    "backtrace": "domain backtrace: the same calls once more, recorded with their backtraces; no share",
    "sync": "domain sync: waits as CUPTI saw them, beside the calls that asked for them; no share",
}
"""Domains of rows that tell once more what others tell -> the note that says so."""


def first_with_rows(profile: Profile) -> str | None:
    """The first of the keys of which the profile has rows."""
    return next((key for key in KEYS if len(profile.table(TABLE_OF[key]))), None)


def sums(profile: Profile, by: str) -> Answer:
    """Calls, sum, least and greatest duration of ``copy``, ``api`` or ``range`` by name; of copies the bytes as well.

    ``share`` is of the summed durations, and null for calls that are told twice. Marks have no duration and count as
    calls alone.

    Raises:
        MissingDataError: the profile has no such rows.
    """
    table = profile.table(TABLE_OF[by])
    if not len(table):
        raise MissingDataError(f"{profile.meta.file}: {_MISSING[by]} in this file; drop --by {by}")
    codes, rows = combined([_codes(table, name) for name in _GROUPED[by]])
    count = len(rows)
    first = table.take(rows)
    columns: dict[str, Sequence[Any]] = {
        name: first[name].tolist() for name in _GROUPED[by] if name == "name" or first[name].present.any()
    }
    columns["calls"] = summed(codes, table.ints("calls", null=1) if "calls" in table else _ones(table), count).tolist()
    if by == "copy":
        columns["size_bytes"] = known_sums(codes, table["size_bytes"], count)
    dur_ns = _sums(codes, table["dur_ns"], count)
    columns["dur_ns"] = dur_ns
    columns["min_dur_ns"] = _extremes(codes, table, count, "min_dur_ns")
    columns["max_dur_ns"] = _extremes(codes, table, count, "max_dur_ns")
    domains = columns.get("domain", [None] * count)
    columns["share"] = _shares(dur_ns, [domain not in _AGAIN for domain in domains])
    notes = () if by == "copy" else (_NESTED, *(note for domain, note in _AGAIN.items() if domain in domains))
    return Answer(by, sorted_columns(columns, by=("dur_ns", "calls")), notes)


def _shares(dur_ns: Sequence[int | None], told_once: Sequence[bool]) -> list[float | None]:
    """The share of each in the sum of those that are told once; null for the others, and where nothing took time."""
    whole = sum(value or 0 for value, once in zip(dur_ns, told_once, strict=True) if once)
    return [ratio(value or 0, whole) if once else None for value, once in zip(dur_ns, told_once, strict=True)]


def _ones(table: Table) -> IntArray:
    return np.ones(len(table), dtype=np.int64)


def _codes(table: Table, name: str) -> IntArray:
    return table[name].values.astype(np.int64)


def _sums(codes: IntArray, column: Column, count: int) -> list[int | None]:
    """Sums of what is known; None for a group of which no duration is."""
    present = column.present
    sums = summed(codes, np.where(present, column.values, 0), count).tolist()
    known = np.bincount(codes[present], minlength=count) > 0
    return [value if some else None for value, some in zip(sums, known.tolist(), strict=True)]


def _extremes(codes: IntArray, table: Table, count: int, name: str) -> list[int | None]:
    """The least (or greatest) single duration of each group; None where only sums were kept."""
    stated, single = table[name], table["dur_ns"]
    is_single = single.present & (table.ints("calls", null=1) == 1)
    values: FloatArray | IntArray = np.where(stated.present, stated.values, single.values)
    usable = stated.present | is_single
    least = name.startswith("min")
    found = np.full(count, np.iinfo(np.int64).max if least else -1, dtype=np.int64)
    (np.minimum if least else np.maximum).at(found, codes[usable], values[usable])
    lacking = np.bincount(codes[~usable & single.present], minlength=count) > 0
    known = np.bincount(codes[usable], minlength=count) > 0
    return [
        value if some and not lack else None
        for value, some, lack in zip(found.tolist(), known.tolist(), lacking.tolist(), strict=True)
    ]
