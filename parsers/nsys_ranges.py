"""NVTX in an Nsight Systems export: ranges and marks, with the domains and categories that they belong to.

``NVTX_EVENTS`` has a row per event, told apart by ``eventType``::

    34, 65   mark                                59, 70   range that was pushed and popped on one thread
    75       a domain is created, with its name  60, 71   range that was started, perhaps on another thread ended
    33       a category gets its name            39       a thread gets its name

(65, 70, 71 are those that were imported from text files.) A message is ``text``, or the text of ``textId`` where the
program registered it. The name of a range is ``domain:message``, as the tool prints it, and the message alone in the
default domain. A range that was never closed has no end in the file: its duration is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from ds2prof.parsers import sqlite_tables
from ds2prof.parsers.nsys_rows import MAX_DUR_NS, Export, aligned, in_reach, process_of, reals, thread_of
from ds2prof.parsers.nsys_strings import Strings, coded, filled, named, paired, value_pairs
from ds2prof.parsers.range_names import kinds_of_ranges
from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import Column, IntArray, deferred, null_column

EVENTS: Final = "NVTX_EVENTS"
MARKS: Final = (34, 65)
PUSHED: Final = (59, 70)
STARTED: Final = (60, 71)
CATEGORY, THREAD, DOMAIN = 33, 39, 75
NAMELESS: Final = "(range without a name)"
_INTS: Final = ("start", "end", "eventType", "globalTid", "endGlobalTid", "textId", "domainId", "category")
_MAX_NAMES: Final = 100_000
_WHOLE: Final = ("uint64Value", "int64Value", "uint32Value", "int32Value")
_REAL: Final = ("doubleValue", "floatValue")


@dataclass(frozen=True)
class Named:
    """What the program gave names to: (process, number) -> name; categories within a domain."""

    domains: dict[tuple[int, int], str] = field(default_factory=dict)
    categories: dict[tuple[int, int, int], str] = field(default_factory=dict)
    threads: dict[tuple[int, int], str] = field(default_factory=dict)


def range_columns(export: Export) -> Mapping[str, Column]:
    """The columns of the table ``ranges``."""
    database = export.database
    if not database.has(EVENTS, "start", "eventType"):
        return {}
    columns = database.columns(EVENTS, _INTS)
    total = len(columns["start"])
    aligned(database, EVENTS, columns.values(), total)
    rows = _usable(export, columns)
    if not len(rows):
        return {}
    taken = {name: column.take(rows) for name, column in columns.items()}
    names = nvtx_names(database)
    length = len(rows)
    absent = null_column("int", length)
    global_tids, numbers = taken.get("globalTid", absent), taken.get("domainId", absent)
    process, thread = process_of(global_tids), thread_of(global_tids)
    domain = _domains(process, numbers, names)
    name = paired(domain, _messages(export, taken, rows, total=total), _full_name)
    kinds = kinds_of_ranges(name.categories or ())
    ready = {
        "name": name,
        "kind": coded([kind for kind, _ in kinds], name.values),
        "value": coded([value for _, value in kinds], name.values),
        "domain": domain,
        "process": process,
        "thread": thread,
        "end_thread": thread_of(taken.get("endGlobalTid", absent)),
        "start_ns": Column(taken["start"].values + export.base_ns),
        "dur_ns": _durations(export, taken),
    }

    def make(wanted: str) -> Mapping[str, Column]:
        if wanted == "depth":
            return {"depth": _depths(taken)}
        if wanted == "category":
            return {"category": _categories(process, numbers, taken.get("category", absent), names)}
        with sqlite_tables.opened(export.source) as again:
            return {"payload": _payloads(again, total).take(rows)}

    return deferred(ready, ("depth", "category", "payload"), make)


def _usable(export: Export, columns: Mapping[str, Column]) -> IntArray:
    """The rows of ranges and marks that have a start, and no end that cannot be."""
    start, kinds = columns["start"], columns["eventType"]
    wanted = np.isin(kinds.values, (*MARKS, *PUSHED, *STARTED)) & kinds.present
    good = wanted & in_reach(start)
    export.warn(int((wanted & ~good).sum()), "range", "left out, no readable time")
    if "end" in columns:
        end = columns["end"]
        unreadable = good & end.present & ~in_reach(end)
        durations = end.values - start.values
        negative = good & end.present & ~unreadable & (durations < 0)
        long = good & end.present & ~unreadable & (durations > MAX_DUR_NS)
        export.warn(int(unreadable.sum()), "range", "left out, no readable time")
        export.warn(int(negative.sum()), "range", "left out, negative duration")
        export.warn(int(long.sum()), "range", "left out, longer than a week")
        good &= ~(unreadable | negative | long)
    return np.flatnonzero(good)


def _durations(export: Export, columns: Mapping[str, Column]) -> Column:
    """The duration of each range; null for marks and for ranges that were never closed."""
    end = columns.get("end", null_column("int", len(columns["start"])))
    is_mark = np.isin(columns["eventType"].values, MARKS)
    closed = end.present & ~is_mark
    export.warn(int((~closed & ~is_mark).sum()), "range", "never closed: how long it took is unknown")
    return Column(np.where(closed, end.values - columns["start"].values, 0), None if closed.all() else closed)


def _messages(export: Export, columns: Mapping[str, Column], rows: IntArray, *, total: int) -> Column:
    """The message of each event: the registered one, else the text that was given."""
    found = Column(np.full(len(rows), -1, dtype=np.int32), None, [])
    if "textId" in columns:
        found = export.strings.column(columns["textId"])
    if (found.values < 0).any() and export.database.has(EVENTS, "text"):
        given = export.database.texts(EVENTS, "text")
        aligned(export.database, EVENTS, [given], total)
        found = filled(found, given.take(rows))
    return filled(found, NAMELESS)


def _full_name(domain: str | None, message: str | None) -> str | None:
    return message if domain is None else f"{domain}:{message}"


def nvtx_names(database: Database) -> Named:
    """What the program gave names to; the first name of a domain or category, the last of a thread."""
    found = Named()
    for kind, global_tid, domain, category, text in _naming(database):
        if not isinstance(global_tid, int) or not isinstance(text, str):
            continue
        process, thread = (global_tid >> 24) & 0xFFFFFF, global_tid & 0xFFFFFF
        if kind == DOMAIN and isinstance(domain, int):
            found.domains.setdefault((process, domain), text)
        elif kind == CATEGORY and isinstance(category, int):
            number = domain if isinstance(domain, int) else 0
            found.categories.setdefault((process, number, category), text)
        elif kind == THREAD:
            found.threads[process, thread] = text
    return found


def _naming(database: Database) -> list[tuple[object, ...]]:
    """(event type, global thread, domain, category, text) of the events that give names, in order of time."""
    if not database.has(EVENTS, "start", "eventType"):
        return []
    there = [name if database.has(EVENTS, name) else "NULL" for name in ("globalTid", "domainId", "category")]
    text = "text" if database.has(EVENTS, "text") else "NULL"
    if database.has(EVENTS, "textId") and database.has("StringIds", "id", "value"):
        text = f"coalesce({text}, (SELECT value FROM StringIds WHERE id = textId))"  # noqa: S608
    return database.rows(
        f"SELECT eventType, {', '.join(there)}, {text} FROM {EVENTS} "  # noqa: S608
        f"WHERE eventType IN ({CATEGORY}, {THREAD}, {DOMAIN}) ORDER BY start LIMIT {_MAX_NAMES}"
    )


def _domains(process: Column, numbers: Column, names: Named) -> Column:
    """The name of each event's domain; null in the default one."""
    if not names.domains:
        return Column(np.full(len(numbers), -1, dtype=np.int32), None, [])
    processes, domains, codes = value_pairs(process, numbers)
    texts = [names.domains.get(pair) for pair in zip(processes, domains, strict=True)]
    return coded(texts, codes, numbers.valid)


def _categories(process: Column, domains: Column, categories: Column, names: Named) -> Column:
    """The name of each event's category, or its number where it has none; null for no category."""
    processes, numbers, codes = value_pairs(process, domains)
    place = Column(codes.astype(np.int64))
    places, found, pairs = value_pairs(place, categories)
    texts = [
        names.categories.get((processes[at], numbers[at], category), str(category)) if category else None
        for at, category in zip(places, found, strict=True)
    ]
    return coded(texts, pairs, categories.valid)


def _payloads(database: Database, length: int) -> Column:
    """The payload of each event as text; null where there is none."""
    found = Column(np.full(length, -1, dtype=np.int32), None, [])
    spares = []
    if database.has(EVENTS, "jsonText"):
        spares.append(database.texts(EVENTS, "jsonText"))
    for name, column in database.columns(EVENTS, ("jsonTextId", *_WHOLE)).items():
        is_text = name == "jsonTextId"
        spares.append(Strings(database).column(column) if is_text else named(column, partial(_whole, name)))
    for name in _REAL:
        if database.has(EVENTS, name):
            values = reals(database, EVENTS, name, length)
            texts = [None if np.isnan(value) else repr(value) for value in values.tolist()]
            spares.append(coded(texts, np.arange(length)))
    aligned(database, EVENTS, spares, length)
    for spare in spares:
        found = filled(found, spare)
    return found


def _whole(column: str, number: int) -> str:
    return str(number % (1 << 64)) if column == "uint64Value" else str(number)


def _depths(columns: Mapping[str, Column]) -> Column:
    """How many pushed ranges of its thread each pushed range lies in; null for others.

    Starts and ends of each thread are put in order, and the open ranges counted along them. At one instant the ends of
    earlier ranges come first.
    """
    length = len(columns["start"])
    rows = np.flatnonzero(np.isin(columns["eventType"].values, PUSHED))
    start = columns["start"].values[rows]
    end_column = columns.get("end", null_column("int", length)).take(rows)
    end = np.where(end_column.present, end_column.values, np.iinfo(np.int64).max)
    threads = columns.get("globalTid", null_column("int", length)).values[rows]
    order = np.lexsort((-end, start))
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows))
    is_later_end = end > start
    keys = (
        np.concatenate([2 * place, 2 * place + 1]),
        np.concatenate([np.ones(len(rows), dtype=np.bool_), ~is_later_end]),
        np.concatenate([start, end]),
        np.concatenate([threads, threads]),
    )
    sequence = np.lexsort(keys)
    steps = np.where(sequence < len(rows), 1, -1)
    open_then = np.empty(2 * len(rows), dtype=np.int64)
    open_then[sequence] = np.cumsum(steps)
    found, valid = np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.bool_)
    found[rows] = np.maximum(open_then[: len(rows)] - 1, 0)
    valid[rows] = True
    return Column(found, valid)
