"""What rocprofv3's JSON ends in: checked tables, the file's own account of itself, warnings."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ds2prof.errors import ReadError
from ds2prof.parsers.repeated_calls import repeated_calls
from ds2prof.parsers.rocprof_names import Names, device_columns
from ds2prof.parsers.rocprof_records import Call, Copy, Counted, Damage, Dispatch, Process, document
from ds2prof.parsers.rocprof_rows import CallRows, CopyRows, CounterRows, KernelRows, RangeRows, Rows
from ds2prof.parsers.sources import Source
from ds2prof.tables import Column, Loaded, Meta, Table, checked, int_column, text_column

TOOL: Final = "rocprofv3"
DISPATCHES: Final = ("kernel_dispatch", "kernel_dispatches")
"""What the array of kernels is called; the second name is the older one."""
API_DOMAINS: Final = {
    "hip_api": "runtime",
    "hsa_api": "driver",
    "rccl_api": "rccl",
    "rocdecode_api": "rocdecode",
    "rocjpeg_api": "rocjpeg",
}
"""Array of calls -> their domain."""
UNREAD: Final = {
    "pc_sample_host_trap": "sampled program counters",
    "pc_sample_stochastic": "sampled program counters",
    "scratch_memory": "scratch memory",
}
"""Arrays that are not read although they tell of the device's work."""
_MAX_SHOWN: Final = 200


def loaded(source: Source, format_name: str, names: frozenset[str]) -> Loaded:
    """The named tables of the file, what it says of itself, and warnings.

    Raises:
        ReadError: the document is damaged, or holds no process.
    """
    with source.file() as path:
        return _Reading(source.name, _processes(path, source.name), names).loaded(format_name)


def _processes(path: Path, name: str) -> list[Process]:
    """The processes in the file, their arrays still in place: the mapping lives as long as one of them."""
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ReadError(f"{name}: cannot be read: {error}") from None
    found = document(data)
    if found is None:
        raise ReadError(f"{name}: rocprofv3's results, damaged or cut off; was the run interrupted?")
    if not found:
        raise ReadError(f"{name}: rocprofv3's results of no process; was anything traced?")
    return found


class _Reading:
    """One pass over the processes of a file."""

    def __init__(self, name: str, processes: list[Process], wanted: frozenset[str]) -> None:
        self._name = name
        self._processes = processes
        self._wanted = wanted
        self._damage = Damage(name)
        self._names = [Names(process, self._damage) for process in processes]
        self._left_out: list[str] = []

    def loaded(self, format_name: str) -> Loaded:
        tables = {
            table: checked(table, columns)
            for table, columns in self._tables()
            if table in self._wanted and len(next(iter(columns.values()), ()))
        }
        warnings = [*self._lost(), *self._left_out, *self._unread()]
        if "api" in tables and (repeated := repeated_calls(tables["api"])):
            warnings.append(repeated)
        return Loaded(
            self._meta(format_name),
            {table: tables.get(table, Table(table)) for table in sorted(self._wanted)},
            tuple(f"{self._name}: {warning}" for warning in warnings),
        )

    def _tables(self) -> Iterator[tuple[str, dict[str, Column]]]:
        if self._wanted & {"kernels", "counters"}:
            yield from self._kernels()
        if "copies" in self._wanted:
            copies = CopyRows()
            for names, records in self._records(Copy, "memory_copy"):
                copies.add(records, names)
            yield "copies", self._columns("copies", copies)
        if "api" in self._wanted:
            calls = CallRows()
            for part, domain in API_DOMAINS.items():
                for names, records in self._records(Call, part):
                    calls.add(records, names, domain=domain)
            yield "api", self._columns("api", calls)
        if "ranges" in self._wanted:
            ranges = RangeRows()
            for names, records in self._records(Call, "marker_api"):
                ranges.add(records, names)
            yield "ranges", self._columns("ranges", ranges)
        yield "devices", device_columns(self._names)
        yield "processes", self._process_columns()
        yield "spans", self._span_columns()

    def _kernels(self) -> Iterator[tuple[str, dict[str, Column]]]:
        """The launches that were traced, of a process without any those that were counted; and the counters."""
        kernels, counters = KernelRows(), CounterRows()
        for process, names in zip(self._processes, self._names, strict=True):
            traced = 0
            for part in DISPATCHES:
                for records in self._damage.many(_raw(process.buffer_records, part), Dispatch, part=part):
                    kernels.add(records, names)
                    traced += len(records)
            if traced and "counters" not in self._wanted:
                continue
            part = "counter_collection"
            for counted in self._damage.many(_raw(process.callback_records, part), Counted, part=part):
                counters.add(counted, names)
                if not traced:
                    kernels.add([record.dispatch_data for record in counted], names)
        columns = self._columns("kernels", kernels)
        yield "kernels", columns
        if columns and "counters" in self._wanted:
            table = Table("kernels", columns)
            keys = zip(table["process"].tolist(), table["order"].tolist(), strict=True)
            yield "counters", counters.columns({key: row for row, key in enumerate(keys)})
        if counters.no_number:
            what = _counted(counters.no_number, "reading")
            self._left_out.append(f"counters: {what} left out: no number, or of a counter without a name")

    def _records(self, kind: type[Any], part: str) -> Iterator[tuple[Names, list[Any]]]:
        for process, names in zip(self._processes, self._names, strict=True):
            for records in self._damage.many(_raw(process.buffer_records, part), kind, part=part):
                yield names, records

    def _columns(self, table: str, rows: Rows) -> dict[str, Column]:
        columns = rows.columns()
        self._left_out += [
            f"{table}: {_counted(count, 'row')} left out, {reason}" for reason, count in rows.left_out.items() if count
        ]
        if rows.too_large:
            self._left_out.append(f"{table}: {_counted(rows.too_large, 'integer')} beyond 64 bits read as null")
        return columns

    def _process_columns(self) -> dict[str, Column]:
        known = {names.process: names.metadata for names in self._names if names.process is not None}
        return {
            "process": int_column(list(known)),
            "name": text_column([" ".join(found.command)[:_MAX_SHOWN] or None for found in known.values()]),
            "host": text_column([found.node.hostname or None for found in known.values()]),
        }

    def _span_columns(self) -> dict[str, Column]:
        found = [
            (names.process, names.metadata.init_time, names.metadata.fini_time)
            for names in self._names
            if names.metadata.init_time and names.metadata.fini_time
        ]
        found = [(process, start, end) for process, start, end in found if 0 < (start or 0) <= (end or 0) < 1 << 63]
        return {
            "name": text_column([TOOL] * len(found)),
            "process": int_column([process for process, _, _ in found]),
            "start_ns": int_column([start for _, start, _ in found]),
            "dur_ns": int_column([(end or 0) - (start or 0) for _, start, end in found]),
        }

    def _lost(self) -> Iterator[str]:
        for part, count in self._damage.lost.items():
            yield f"{part}: {_counted(count, 'record')} left out that cannot be read"

    def _unread(self) -> Iterator[str]:
        for part, what in UNREAD.items():
            if any(_is_filled(_raw(process.buffer_records, part)) for process in self._processes):
                yield f"not read by this version: {part} ({what})"

    def _meta(self, format_name: str) -> Meta:
        filled = sorted(
            {part for process in self._processes for part, raw in process.buffer_records.items() if _is_filled(raw)}
        )
        return Meta(
            file=self._name,
            tool=TOOL,
            format=format_name,
            dialect=f"JSON, {_counted(len(self._processes), 'process')}",
            clock="boot",
            facts={"command": " ".join(self._names[0].metadata.command)[:_MAX_SHOWN], "records": ", ".join(filled)},
        )


def _raw(parts: dict[str, msgspec.Raw], part: str) -> msgspec.Raw:
    return parts.get(part, msgspec.Raw())


def _is_filled(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:64]).split() not in ([], [b"[]"], [b"[", b"]"], [b"null"])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
