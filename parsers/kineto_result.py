"""What a pass over a PyTorch trace ends in: checked tables, the file's own account of itself, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ds2prof.errors import ReadError
from ds2prof.parsers import kineto_meta
from ds2prof.parsers.json_stream import EventStream
from ds2prof.parsers.kineto_categories import ROLES, UNREAD_DEVICE_WORK, Role
from ds2prof.parsers.kineto_collect import Collector
from ds2prof.parsers.kineto_events import Event
from ds2prof.parsers.repeated_calls import repeated_calls
from ds2prof.tables import Column, Loaded, Meta, Table, checked, int_column, text_column

TOOL: Final = "PyTorch profiler"
_GPU_ROLES: Final[tuple[Role, ...]] = ("kernel", "copy", "api", "profiled_range", "sample")
_WORK_ROLES: Final[tuple[Role, ...]] = (*_GPU_ROLES, "op", "annotation")
_OPEN_PHASES: Final = ("B", "E", "b", "e")


def loaded(name: str, format_name: str, names: frozenset[str], found: Collector, events: EventStream[Event]) -> Loaded:
    """The named tables of the trace ``name``, what it says of itself, and warnings.

    Raises:
        ReadError: nothing in the trace tells of a PyTorch run.
    """
    _refuse_foreign(name, found, events)
    document, damage = _document(events)
    base_ns = kineto_meta.base_ns(document)
    tables = {
        table: checked(table, columns)
        for table, columns in _columns(found, document, base_ns=base_ns or 0)
        if table in names
    }
    warnings = [*_stream_warnings(found, events), *damage, *_row_warnings(found), *_repeats(tables)]
    meta = _meta(name, format_name, found, document, is_list=events.document is None)
    return Loaded(
        meta,
        {table: tables.get(table, Table(table)) for table in sorted(names)},
        tuple(f"{name}: {warning}" for warning in warnings),
    )


def _refuse_foreign(name: str, found: Collector, events: EventStream[Event]) -> None:
    if found.count_of(*_WORK_ROLES):
        return
    if events.cut_at is not None:
        raise ReadError(f"{name}: ends before its first operator or launch; was the export interrupted?")
    counts = _event_counts(found)
    total = sum(counts.values()) + events.lost
    kinds = sorted(counts)[:8]
    shown = ", ".join("".join(char if char.isprintable() else "?" for char in kind[:40]) for kind in kinds)
    what = f"{total} trace events, none of an operator, a launch or an annotation ({shown})"
    raise ReadError(f"{name}: {what if total else 'a trace without events'}; record one with torch.profiler")


def _document(events: EventStream[Event]) -> tuple[Mapping[str, Any], list[str]]:
    """The object around the events, and what is damaged about it."""
    if events.document is None or events.head is None:
        return {}, []
    document = kineto_meta.read_document(events.document)
    if document is not None:
        return document, []
    document = kineto_meta.read_document(events.head)
    if document is not None:
        return document, ["damaged behind its events: what stands there, often the base of all times, is lost"]
    return {}, ["the metadata around the events is damaged: devices, rank and the base of all times are lost"]


def _columns(found: Collector, document: Mapping[str, Any], *, base_ns: int) -> Iterator[tuple[str, dict[str, Column]]]:
    """(table, its columns) of every table that has rows."""
    for table, rows in found.rows.items():
        columns = rows.columns(base_ns)
        if len(next(iter(columns.values()), ())):
            yield table, columns
    if found.profiled.count and not found.count_of("kernel"):
        yield "kernels", found.profiled.kernels()
        yield "counters", found.profiled.counters()
    yield "devices", kineto_meta.device_columns(document)
    processes = found.processes.processes()
    yield (
        "processes",
        {
            "process": int_column(list(processes)),
            "name": text_column(processes.values()),
            "host": text_column([kineto_meta.host(document)] * len(processes)),
            "rank": int_column([kineto_meta.rank(document)] * len(processes)),
        },
    )
    threads = found.processes.threads()
    yield (
        "threads",
        {
            "process": int_column([process for process, _ in threads]),
            "thread": int_column([thread for _, thread in threads]),
            "name": text_column(threads.values()),
        },
    )


def _stream_warnings(found: Collector, events: EventStream[Event]) -> Iterator[str]:
    if events.cut_at is not None:
        kept = _counted(sum(_event_counts(found).values()), "whole event")
        yield (
            f"ends inside its list of events; kept: {kept}, lost: what began at byte {events.cut_at}, and the metadata "
            "behind the events"
        )
    if events.lost:
        yield f"{_counted(events.lost, 'event')} left out that cannot be decoded, the first at byte {events.lost_at}"
    if events.trailing_bytes:
        yield f"not read: {_counted(events.trailing_bytes, 'byte')} behind the list of events"


def _row_warnings(found: Collector) -> Iterator[str]:
    for table, rows in found.rows.items():
        for reason, count in rows.times.left_out.items():
            if count:
                yield f"{table}: {_counted(count, 'row')} left out, {reason}"
        if rows.too_large:
            yield f"{table}: {_counted(rows.too_large, 'integer')} beyond 64 bits read as null"
    for category, what in UNREAD_DEVICE_WORK.items():
        if found.counts[category]:
            yield f"not read by this version: {_counted(found.counts[category], 'event')} of {category} ({what})"
    if found.profiled.count and found.count_of("kernel"):
        yield f"{_counted(found.profiled.count, 'launch')} under CUPTI's range profiler left out, beside the kernels"
    halves = sum(
        count for (category, phase), count in found.others.items() if category in ROLES and phase in _OPEN_PHASES
    )
    if halves:
        yield f"not read: {_counted(halves, 'event')} that only begin or end; torch.profiler writes whole ones"


def _repeats(tables: Mapping[str, Table]) -> Iterator[str]:
    if "api" in tables and (repeated := repeated_calls(tables["api"])):
        yield repeated


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('ch') else 's'}"


def _meta(name: str, format_name: str, found: Collector, document: Mapping[str, Any], *, is_list: bool) -> Meta:
    replayed = found.count_of("profiled_range") > 0 and not found.count_of("kernel")
    based = kineto_meta.base_ns(document) is not None
    return Meta(
        file=name,
        tool=kineto_meta.origin(document) or TOOL,
        format=format_name,
        dialect=_dialect(found, is_list),
        tool_version=kineto_meta.tool_version(document),
        domain="gpu" if found.count_of(*_GPU_ROLES) else "cpu",
        times="replay" if replayed else "real",
        time_resolution_ns=found.step.ns or (1 if found.sample.fractions else 1_000),
        clock="unix" if based or found.sample.since_epoch else None,
        rank=kineto_meta.rank(document),
        facts={**kineto_meta.facts(document), "events": _event_counts(found)},
    )


def _dialect(found: Collector, is_list: bool) -> str:
    old = any(category[:1].isupper() and category != "Trace" for category in found.counts if category in ROLES)
    form = "list" if is_list else "object"
    precision = "fractional" if found.sample.fractions else "whole"
    return f"{form}, {'old' if old else 'new'} categories, {precision} microseconds"


def _event_counts(found: Collector) -> dict[str, int]:
    """How many events of each category there are; of those without one, of each phase."""
    counts = dict(found.counts)
    for (category, phase), count in found.others.items():
        if category is None:
            key = f"phase {phase}" if phase else "no event"
            counts[key] = counts.get(key, 0) + count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
