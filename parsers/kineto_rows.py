"""The rows of each table, built from a trace's events chunk by chunk.

A row of the device has the device's ordinal for a process in the file and the stream for a thread; neither is one, so
both stay null in the tables: one trace is one process, and a join on the correlation alone finds the launch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

from ds2prof.parsers.kineto_categories import ROLES
from ds2prof.parsers.kineto_columns import Codes, Floats, Ints, Step, Texts, Times, Triples, is_constant
from ds2prof.parsers.kineto_events import Event, EventDecoder
from ds2prof.parsers.kineto_names import Ids, memory_kinds
from ds2prof.parsers.range_names import kinds_of_ranges
from ds2prof.tables import Column

MaybeColumns = dict[str, Column | None]


class Rows:
    """A table of timed events that grows: what all such tables have in common."""

    def __init__(self, decoder: EventDecoder, step: Step | None = None) -> None:
        self.times = Times(step)
        self._decoder = decoder
        self._names = Texts()
        self._ids = Ids()
        self._ints: dict[str, Ints] = {}

    def add(self, events: list[Event]) -> None:
        """Append the events that have usable times."""
        events = self.times.add(events)
        if events:
            self._names.add([event.name for event in events])
            self._add(events)

    def _add(self, events: list[Event]) -> None:
        """Append what the table has besides names and times."""

    def columns(self, base_ns: int) -> dict[str, Column]:
        """The columns in the end; those without any value are left out."""
        names = self._names.column()
        assert names is not None
        found: MaybeColumns = {"name": names, **self.times.columns(base_ns), **self._columns(names)}
        found.update({name: ints.column() for name, ints in self._ints.items()})
        return {name: column for name, column in found.items() if column is not None}

    def _columns(self, names: Column) -> MaybeColumns:
        """What the table has besides names, times and ints."""
        return {}

    @property
    def too_large(self) -> int:
        """How many integers did not fit into 64 bits and are null therefore."""
        return sum(ints.too_large for ints in self._ints.values())

    def _int(self, name: str, values: Sequence[int | None], *, least: int = 0) -> None:
        if name not in self._ints:
            self._ints[name] = Ints(least=least)
        self._ints[name].add(values)

    def _numbers(self, values: list[Any]) -> list[int | None]:
        """Processes, threads or streams as numbers."""
        if is_constant(values):
            return [self._ids[values[0]]] * len(values)
        return values if set(map(type, values)) == {int} else list(map(self._ids.__getitem__, values))

    def _place(self, events: list[Event]) -> None:
        self._int("process", self._numbers([event.pid for event in events]))
        self._int("thread", self._numbers([event.tid for event in events]))

    def _device_place(self, events: list[Event], arguments: list[Any]) -> None:
        devices = [argument.device for argument in arguments]
        streams = self._numbers([argument.stream for argument in arguments])
        if None in devices:
            devices = _filled(devices, self._numbers([event.pid for event in events]))
        if None in streams:
            streams = _filled(streams, self._numbers([event.tid for event in events]))
        self._int("device", devices)
        self._int("stream", streams)
        self._int("context", [argument.context for argument in arguments])
        self._int("correlation", [argument.correlation for argument in arguments])

    def _external_id(self, arguments: list[Any]) -> None:
        found = [argument.external_id for argument in arguments]
        if None in found:
            found = _filled(found, [argument.old_external_id for argument in arguments])
        self._int("external_id", found, least=1)


class KernelRows(Rows):
    """Launches."""

    def __init__(self, decoder: EventDecoder, step: Step | None = None) -> None:
        super().__init__(decoder, step)
        self._grid, self._block = Triples(), Triples()
        self._blocks_per_sm = Floats()
        self._occupancy = Floats(most=100.0)

    def _add(self, events: list[Event]) -> None:
        arguments = [event.args for event in events]
        self._device_place(events, arguments)
        self._external_id(arguments)
        self._int("registers", [argument.registers for argument in arguments])
        self._int("shared_bytes", [argument.shared_bytes for argument in arguments])
        self._int("graph", [argument.graph for argument in arguments], least=1)
        self._int("graph_node", [argument.graph_node for argument in arguments], least=1)
        self._grid.add([argument.grid for argument in arguments])
        self._block.add([argument.block for argument in arguments])
        self._blocks_per_sm.add([argument.blocks_per_sm for argument in arguments])
        self._occupancy.add([argument.occupancy_percent for argument in arguments])

    def _columns(self, names: Column) -> MaybeColumns:
        return {
            "blocks_per_sm": self._blocks_per_sm.column(),
            "occupancy": self._occupancy.column(100.0),
            **self._grid.columns("grid"),
            **self._block.columns("block"),
        }


class CopyRows(Rows):
    """Copies and sets; where from and where to is told by their names: ``Memcpy HtoD (Pageable -> Device)``."""

    def __init__(self, decoder: EventDecoder, step: Step | None = None) -> None:
        super().__init__(decoder, step)
        self._kinds = Texts()

    def _add(self, events: list[Event]) -> None:
        arguments = [event.args for event in events]
        self._device_place(events, arguments)
        self._external_id(arguments)
        self._int("size_bytes", [argument.size_bytes for argument in arguments])
        self._kinds.add(kinds_of(self._decoder, events))

    def _columns(self, names: Column) -> MaybeColumns:
        return {
            "kind": self._kinds.column(),
            "source_kind": mapped(names, lambda name: memory_kinds(name)[0]),
            "destination_kind": mapped(names, lambda name: memory_kinds(name)[1]),
        }


class ApiRows(Rows):
    """Calls into the runtime and the driver, and what was waited for."""

    def __init__(self, decoder: EventDecoder, step: Step | None = None) -> None:
        super().__init__(decoder, step)
        self._domains = Texts()

    def _add(self, events: list[Event]) -> None:
        arguments = [event.args for event in events]
        domains = kinds_of(self._decoder, events)
        self._domains.add(domains)
        streams = [argument.stream for argument in arguments]
        if "sync" in domains:
            no_host = [domain == "sync" for domain in domains]
            self._int("process", _cleared(self._numbers([event.pid for event in events]), no_host))
            self._int("thread", _cleared(self._numbers([event.tid for event in events]), no_host))
        else:
            self._place(events)
        if isinstance(streams[0], str) or not is_constant(streams):  # HIP has addresses here
            streams = [stream if type(stream) is int else None for stream in streams]
        self._int("stream", streams)
        self._int("device", [argument.device for argument in arguments])
        self._int("correlation", [argument.correlation for argument in arguments])
        self._external_id(arguments)

    def _columns(self, names: Column) -> MaybeColumns:
        return {"domain": self._domains.column()}


class OpRows(Rows):
    """Host operators."""

    def __init__(self, decoder: EventDecoder, step: Step | None = None) -> None:
        super().__init__(decoder, step)
        self._shapes = Texts()
        self._dtypes = Texts()
        self._concrete = Texts()
        self._compact = _Compact()

    def _add(self, events: list[Event]) -> None:
        arguments = [event.args for event in events]
        self._place(events)
        self._external_id(arguments)
        self._int("sequence", [argument.sequence for argument in arguments])
        self._int("forward_thread", [argument.forward_thread for argument in arguments])
        self._shapes.add([self._compact[bytes(argument.shapes)] for argument in arguments])
        self._dtypes.add([self._compact[bytes(argument.dtypes)] for argument in arguments])
        self._concrete.add([self._compact[bytes(argument.concrete)] for argument in arguments])

    def _columns(self, names: Column) -> MaybeColumns:
        return {
            "shapes": self._shapes.column(),
            "dtypes": self._dtypes.column(),
            "concrete": self._concrete.column(),
        }


class RangeRows(Rows):
    """Annotations, profiler steps among them."""

    def _add(self, events: list[Event]) -> None:
        self._place(events)

    def _columns(self, names: Column) -> MaybeColumns:
        kind_of = dict(zip(names.categories or (), kinds_of_ranges(names.categories or ()), strict=True))
        return {
            "kind": mapped(names, lambda name: kind_of[name][0]),
            "value": mapped(names, lambda name: kind_of[name][1]),
        }


class OverheadRows(Rows):
    """Stretches that the profiler or the driver's loader took; their name is CUPTI's kind of overhead."""

    def _add(self, events: list[Event]) -> None:
        self._int("process", self._numbers([event.pid for event in events]))
        self._int("thread", self._numbers([event.tid for event in events]), least=1)

    def _columns(self, names: Column) -> MaybeColumns:
        return {"kind": names}


class SpanRows(Rows):
    """What the profiler states to have watched."""


class ProfiledRanges:
    """Launches under CUPTI's range profiler, with their counters.

    Kineto has no times for them (it deals out the span evenly), so they have none here.
    """

    def __init__(self) -> None:
        self._names = Texts()
        self._ids = Ids()
        self._devices = Ints()
        self._launches: list[int] = []
        self._metrics = Texts()
        self._values: list[float] = []
        self.count = 0

    def add(self, events: list[Event]) -> None:
        """Append the ranges."""
        self._names.add([event.name for event in events])
        self._devices.add([self._ids[event.pid] for event in events])
        for launch, event in enumerate(events, self.count):
            counters = {metric: value for metric, value in event.args.items() if _is_number(value)}
            self._launches += [launch] * len(counters)
            self._metrics.add(list(counters))
            self._values += [float(value) for value in counters.values()]
        self.count += len(events)

    def kernels(self) -> dict[str, Column]:
        """The columns of the table of kernels."""
        kinds = Column(np.zeros(self.count, dtype=np.int32), None, ["range"])
        found = {"name": self._names.column(), "kind": kinds, "device": self._devices.column()}
        return {name: column for name, column in found.items() if column is not None}

    def counters(self) -> dict[str, Column]:
        """The columns of the table of counters; the trace names no units, the metric does."""
        metrics = self._metrics.column()
        assert metrics is not None
        launches = Column(np.array(self._launches, dtype=np.int64))
        unit = mapped(metrics, lambda name: "inst" if "inst_executed" in name else "")
        values = Column(np.array(self._values, dtype=np.float64))
        return {"launch": launches, "metric": metrics, "unit": unit or metrics, "value": values}


class _Compact(dict[bytes, str | None]):
    """JSON as it stands in the file -> the same without blanks; None for nothing, and for what is no JSON after all."""

    def __missing__(self, raw: bytes) -> str | None:
        text = None
        if raw not in (b"", b"null"):
            with suppress(msgspec.DecodeError, RecursionError):
                text = msgspec.json.format(raw, indent=-1).decode("utf-8", "replace")
        self[raw] = text
        return text


def mapped(names: Column, text_of: Callable[[str], str | None]) -> Column | None:
    """The column of what each name stands for; None where none stands for anything."""
    codes = Codes()
    code_of = np.array([codes[text_of(name)] for name in names.categories or ()], dtype=np.int32)
    values = code_of[names.values] if len(code_of) else names.values
    return Column(values, None, list(codes)) if codes or not len(values) else None


def kinds_of(decoder: EventDecoder, events: list[Event]) -> list[str]:
    """The kind that each event's category stands for: ``memcpy``, ``driver``."""
    kinds = {record: ROLES[decoder.categories[record].name][1] for record in set(map(type, events))}
    if len(kinds) == 1:
        return list(kinds.values()) * len(events)
    return [kinds[type(event)] for event in events]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _filled(values: list[Any], others: Sequence[Any]) -> list[Any]:
    return [other if value is None else value for value, other in zip(values, others, strict=True)]


def _cleared(values: Sequence[Any], cleared: Sequence[bool]) -> list[Any]:
    return [None if clear else value for value, clear in zip(values, cleared, strict=True)]
