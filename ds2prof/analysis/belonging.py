"""Which iteration, phase or layer each kernel and each copy belongs to, whatever the source told it by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis import attribution
from ds2prof.config import PHASES
from ds2prof.tables import IntArray, Profile, Table

_DIGITS: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Belonging:
    """The keys of one kind (iteration, phase, layer) and what belongs to each.

    Attributes:
        keys: the distinct values, iterations by number, phases in the order of a step, the rest by first start.
        kernels, copies, ranges: for each row of the table, the place of its key in ``keys``; ``len(keys)`` for none.
    """

    keys: tuple[str, ...]
    kernels: IntArray
    copies: IntArray
    ranges: IntArray


def belonging(profile: Profile, kind: str) -> Belonging:
    """What belongs to which iteration, phase or layer.

    By the ranges that were open at a launch (:mod:`.attribution`); where the source has no times of ranges but tells
    with each launch which were open (Nsight Compute), that decides.
    """
    return profile.derived(f"belonging to {kind}", lambda: _belonging(profile, kind))


def is_told(profile: Profile, kind: str) -> bool:
    """Whether the source tells the ranges with each launch, and has no times of them."""
    return kind in profile.table("kernels") and not len(profile.table("ranges"))


def labels(keys: Sequence[str], by: str) -> list[str | int]:
    """The keys as they are shown: iterations are numbers, if all of them are."""
    numbers = [number_of(key) for key in keys] if by == "iteration" else [None]
    return list(keys) if None in numbers else [number for number in numbers if number is not None]


def number_of(key: str) -> int | None:
    """The number that an iteration's key is, if it is one that 64 bits hold."""
    return int(key) if _DIGITS.fullmatch(key) else None


def ordered_keys(ranges: Table, by: str) -> tuple[tuple[str, ...], IntArray]:
    """(the distinct values in order, for each row the place of its value)."""
    order = np.argsort(ranges.ints("start_ns"), kind="stable")
    keys = in_order(ranges["value"].take(order).tolist(), by)
    place_of = {key: place for place, key in enumerate(keys)}
    categories = ranges["value"].categories or ()
    places = np.array([*(place_of.get(text, len(keys)) for text in categories), len(keys)], dtype=np.int64)
    return keys, places[ranges["value"].values]


def in_order(values: Iterable[str], by: str) -> tuple[str, ...]:
    """The distinct values: iterations by number, phases in the order of a step, the rest as they come."""
    distinct = list(dict.fromkeys(values))
    if by == "iteration":
        distinct.sort(key=lambda value: (number_of(value) is None, number_of(value) or 0))
    if by == "phase":
        known = {phase: position for position, phase in enumerate(PHASES)}
        distinct.sort(key=lambda value: known.get(value, len(known)))
    return tuple(distinct)


def _belonging(profile: Profile, kind: str) -> Belonging:
    if is_told(profile, kind):
        return _told(profile, kind)
    ranges = profile.table("ranges")
    rows = attribution.ranges_of_kind(profile, kind)
    keys, places = ordered_keys(ranges.take(rows), kind)
    of_ranges = np.full(len(ranges) + 1, len(keys), dtype=np.int64)
    of_ranges[rows] = places
    kernels, copies = (of_ranges[attribution.owners(profile, work, kind)] for work in ("kernels", "copies"))
    return Belonging(keys, kernels, copies, of_ranges[:-1])


def _told(profile: Profile, kind: str) -> Belonging:
    told = profile.table("kernels")[kind]
    keys = in_order((text for text in told.tolist() if text is not None), kind)
    place_of = {key: place for place, key in enumerate(keys)}
    places = np.array([*(place_of.get(text, len(keys)) for text in told.categories or ()), len(keys)], dtype=np.int64)
    nothing = np.full(len(profile.table("copies")), len(keys), dtype=np.int64)
    return Belonging(keys, places[told.values], nothing, np.zeros(0, dtype=np.int64))
