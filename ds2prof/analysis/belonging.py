"""Which iteration, phase or layer each kernel and each copy belongs to, whatever the source told it by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis import attribution, derived
from ds2prof.config import PHASES
from ds2prof.tables import IntArray, Profile, Table

_DIGITS: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Belonging:
    """The keys of one kind (iteration, phase, layer) and what belongs to each.

    Attributes:
        keys: the distinct values, iterations by number, phases in the order of a step, the rest by first start.
        kernels, copies, ranges: for each row of the table, the place of its key in ``keys``; ``len(keys)`` for none.
        notes: what of it is derived rather than recorded, a line each.
        is_derived: whether the program recorded no such range, and all of it is (:mod:`.derived`).
    """

    keys: tuple[str, ...]
    kernels: IntArray
    copies: IntArray
    ranges: IntArray
    notes: tuple[str, ...] = ()
    is_derived: bool = False


def belonging(profile: Profile, kind: str) -> Belonging:
    """What belongs to which iteration, phase or layer.

    By the ranges that were open at a launch (:mod:`.attribution`): on its own thread, else, for the layer of a backward
    operator, those in which its forward operator ran, else in its process. Where the source has no times of ranges but
    tells with each launch which were open (Nsight Compute), that decides. Phases that a program does not record are
    derived as far as they are certain (:mod:`.derived`).
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
    if not len(rows) and profile.meta.domain == "gpu" and kind == "phase":
        return _derived_phases(profile)
    if not len(rows) and profile.meta.domain == "gpu" and kind == "layer" and len(profile.table("modules")):
        return _with_backward(profile, _modules(profile))
    keys, places = ordered_keys(ranges.take(rows), kind)
    of_ranges = np.full(len(ranges) + 1, len(keys), dtype=np.int64)
    of_ranges[rows] = places
    found = Belonging(
        keys,
        of_ranges[attribution.owners(profile, "kernels", kind)],
        of_ranges[attribution.owners(profile, "copies", kind)],
        of_ranges[:-1],
    )
    return _with_backward(profile, found) if kind == "layer" and len(rows) else found


def _derived_phases(profile: Profile) -> Belonging:
    """Derived phases, those that any work belongs to; none where nothing tells them."""
    kernels, copies = (derived.phases(profile, work) for work in ("kernels", "copies"))
    used = [place for place in range(len(derived.PHASES)) if (kernels == place).any() or (copies == place).any()]
    place_of = np.full(len(derived.PHASES) + 1, len(used), dtype=np.int64)
    place_of[used] = np.arange(len(used))
    keys = tuple(derived.PHASES[place] for place in used)
    nothing = np.full(len(profile.table("ranges")), len(keys), dtype=np.int64)
    notes = (derived.PHASE_NOTE,) if keys else ()
    return Belonging(keys, place_of[kernels], place_of[copies], nothing, notes, bool(keys))


def _modules(profile: Profile) -> Belonging:
    """The modules in which work was launched, in order of their first call."""
    modules = profile.table("modules")
    names = np.append(modules["name"].values, -1).astype(np.int64)
    kernels, copies = (names[derived.own_modules(profile, work)] for work in ("kernels", "copies"))
    order = np.argsort(modules.ints("start_ns"), kind="stable")
    used = np.isin(names[order], np.concatenate((kernels, copies)))
    codes = list(dict.fromkeys(names[order][used].tolist()))
    texts = modules["name"].categories or ()
    place_of = np.full(len(texts) + 1, len(codes), dtype=np.int64)
    place_of[codes] = np.arange(len(codes))
    nothing = np.full(len(profile.table("ranges")), len(codes), dtype=np.int64)
    keys = tuple(texts[code] for code in codes)
    return Belonging(keys, place_of[kernels], place_of[copies], nothing, (derived.MODULE_NOTE,), is_derived=True)


def _with_backward(profile: Profile, found: Belonging) -> Belonging:
    """The same with the layers of backward operators, where no layer was open on their own threads."""
    keys = list(found.keys)
    places: list[IntArray] = []
    count = 0
    recorded_of: dict[attribution.Work, IntArray] = {"kernels": found.kernels, "copies": found.copies}
    for work, recorded in recorded_of.items():
        codes, names = derived.layers(profile, work)
        chosen = (codes >= 0) & (_own_layers(profile, work, found) < 0)
        keys += [names[code] for code in np.unique(codes[chosen]).tolist() if names[code] not in keys]
        place_of = {key: place for place, key in enumerate(keys)}
        table = np.array([*(place_of.get(name, -1) for name in names), -1], dtype=np.int64)
        places.append(np.where(chosen, table[codes], np.where(recorded < len(found.keys), recorded, -1)))
        count += int(chosen.sum())
    none = len(keys)
    kernels, copies = (np.where(place < 0, none, place) for place in places)
    ranges = np.where(found.ranges < len(found.keys), found.ranges, none)
    notes = (*found.notes, *((derived.LAYER_NOTE.format(count),) if count else ()))
    return Belonging(tuple(keys), kernels, copies, ranges, notes, found.is_derived)


def _own_layers(profile: Profile, work: attribution.Work, found: Belonging) -> IntArray:
    """For each piece of work, the range (or the module) open on its own thread at its launch, or -1."""
    return derived.own_modules(profile, work) if found.is_derived else attribution.own_owners(profile, work, "layer")


def _told(profile: Profile, kind: str) -> Belonging:
    told = profile.table("kernels")[kind]
    keys = in_order((text for text in told.tolist() if text is not None), kind)
    place_of = {key: place for place, key in enumerate(keys)}
    places = np.array([*(place_of.get(text, len(keys)) for text in told.categories or ()), len(keys)], dtype=np.int64)
    nothing = np.full(len(profile.table("copies")), len(keys), dtype=np.int64)
    return Belonging(keys, places[told.values], nothing, np.zeros(0, dtype=np.int64))
