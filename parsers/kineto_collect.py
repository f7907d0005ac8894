"""One pass over a PyTorch trace: which events the asked tables need, and where each event goes."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Final

from ds2prof.parsers.json_stream import EventStream
from ds2prof.parsers.kineto_allocations import AllocationRows
from ds2prof.parsers.kineto_categories import ROLES, Role
from ds2prof.parsers.kineto_collectives import CollectiveRows
from ds2prof.parsers.kineto_columns import Step, Times
from ds2prof.parsers.kineto_events import Detail, Event, EventDecoder, Metadata, Other
from ds2prof.parsers.kineto_meta import Sample
from ds2prof.parsers.kineto_modules import ModuleRows
from ds2prof.parsers.kineto_names import MARKS, ProcessNames, is_range
from ds2prof.parsers.kineto_rows import (
    ApiRows,
    CopyRows,
    KernelRows,
    OpRows,
    OverheadRows,
    ProfiledRanges,
    RangeRows,
    Rows,
    SpanRows,
)
from ds2prof.parsers.kineto_samples import SampleRows
from ds2prof.parsers.sources import Source

ROWS: Final[Mapping[str, tuple[type[Rows] | type[SampleRows], tuple[Role, ...]]]] = {
    "kernels": (KernelRows, ("kernel",)),
    "copies": (CopyRows, ("copy",)),
    "api": (ApiRows, ("api",)),
    "ops": (OpRows, ("op",)),
    "ranges": (RangeRows, ("annotation", "op")),
    "overhead": (OverheadRows, ("overhead",)),
    "spans": (SpanRows, ("span",)),
    "collectives": (CollectiveRows, ("kernel",)),
    "samples": (SampleRows, ("sample",)),
    "allocations": (AllocationRows, ("allocation",)),
    "modules": (ModuleRows, ("module",)),
}
"""Table -> what builds it, and the roles of the events that it is built from."""

BATCH_EVENTS: Final = 8192
"""So many are turned into arrays at once, which has a cost of its own."""

_WITH_ARGUMENTS: Final[Mapping[str, Role]] = {
    "kernels": "kernel",
    "collectives": "kernel",
    "copies": "copy",
    "api": "api",
    "ops": "op",
    "samples": "sample",
    "allocations": "allocation",
}


def collect(source: Source, names: frozenset[str], *, chunk_bytes: int) -> tuple[Collector, EventStream[Event]]:
    """Everything the named tables need, and the stream that it came from, read to its end.

    Raises:
        ReadError: the stream holds no trace events.
    """
    collector = Collector(names)
    with source.open() as stream:
        events = EventStream(
            stream, source.name, decode=collector.decode, salvage=collector.salvage, chunk_bytes=chunk_bytes
        )
        pending: list[Event] = []
        for some in events:
            pending += some
            if len(pending) >= BATCH_EVENTS:
                collector.add(pending)
                pending = []
        collector.add(pending)
    return collector, events


def details(names: frozenset[str]) -> dict[Role, Detail]:
    """What has to be read of each role's events to build the named tables.

    The times of kernels are read in every pass, so that the time resolution does not depend on what was asked for.
    """
    found: dict[Role, Detail] = {"kernel": "times"}
    for table in sorted(names & ROWS.keys()):
        for role in ROWS[table][1]:
            found[role] = "names"
    for table in sorted(names & _WITH_ARGUMENTS.keys()):
        found[_WITH_ARGUMENTS[table]] = "full"
    if names & {"kernels", "counters"}:
        found["profiled_range"] = "full"
    return found


class Collector:
    """Takes in events and sorts them into tables.

    Attributes:
        rows: the asked tables of timed events.
        step: the step of the kernels' durations.
        profiled: launches under CUPTI's range profiler.
        processes: names of processes and threads.
        sample: what the text of the first events shows.
        counts: how many events of each category there were, read or not.
        others: how many events there were that fit no type, by category (where they have one) and phase.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self.decoder = EventDecoder(details(names), collectives="collectives" in names)
        self.step = Step()
        steps = {"kernels": self.step}
        self.rows = {table: ROWS[table][0](self.decoder, steps.get(table)) for table in ROWS if table in names}
        self.profiled = ProfiledRanges()
        self.processes = ProcessNames()
        self.sample = Sample()
        self.counts: Counter[str] = Counter()
        self.others: Counter[tuple[str | None, str | None]] = Counter()

    def decode(self, data: bytes) -> list[Event]:
        """The events in a JSON array."""
        events = self.decoder.decode(data)
        self.sample.look(data)
        return events

    def salvage(self, element: bytes) -> Event | None:
        """The event in one damaged element; None where nothing can be made of it."""
        self.sample.look(element)
        return self.decoder.salvage(element)

    def add(self, events: list[Event]) -> None:
        """Take in the next events."""
        sorted_events = _Sorted(events)
        for record, some in sorted_events.of_type.items():
            category = self.decoder.categories.get(record)
            if category is None:
                self._count_others(some)
                continue
            self.counts[category.name] += len(some)
            if category.role is not None and category.detail is not None:
                sorted_events.types.setdefault(category.role, []).append(record)
        for table, rows in self.rows.items():
            if chosen := sorted_events.of_table(table):
                rows.add(chosen)
        if "kernels" not in self.rows:
            Times(self.step).add(sorted_events.of_roles("kernel"))
        if ranges := sorted_events.of_roles("profiled_range"):
            self.profiled.add(ranges)

    def _count_others(self, events: list[Metadata | Other]) -> None:
        for event in events:
            if isinstance(event, Metadata):
                self.processes.add(event)
                self.others[None, "M"] += 1
                continue
            self.others[event.category, event.phase] += 1
            if event.category is not None:
                self.counts[event.category] += 1

    def count_of(self, *roles: Role) -> int:
        """How many events of the roles there were."""
        return sum(count for name, count in self.counts.items() if name in ROLES and ROLES[name][0] in roles)


class _Sorted:
    """Events by the type of their record; those of several types are in the file's order again."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self.of_type: defaultdict[Any, list[Event]] = defaultdict(list)
        for event in events:
            self.of_type[type(event)].append(event)
        self.types: dict[Role, list[Any]] = {}

    def of_roles(self, *roles: Role) -> list[Event]:
        wanted = [record for role in roles for record in self.types.get(role, ())]
        if len(wanted) < 2:
            return self.of_type[wanted[0]] if wanted else []
        return [event for event in self._events if type(event) in wanted]

    def of_table(self, table: str) -> list[Event]:
        if table not in ("ops", "ranges") or not self._ranges_among_ops:
            return self.of_roles("annotation") if table == "ranges" else self.of_roles(*ROWS[table][1])
        ranges = self._ranges_among_ops
        if table == "ops":
            return [event for event in self.of_roles("op") if id(event) not in ranges]
        ops = self.types["op"]
        return [event for event in self.of_roles("annotation", "op") if type(event) not in ops or id(event) in ranges]

    @functools.cached_property
    def _ranges_among_ops(self) -> set[int]:
        """The operators that are ranges, by identity."""
        return {id(event) for event in self.of_roles("op") if event.name.startswith(MARKS) and is_range(event.name)}
