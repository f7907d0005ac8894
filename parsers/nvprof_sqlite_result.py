"""What reading an nvprof file ends in: checked tables, the file's own account of itself, warnings."""

from __future__ import annotations

from typing import Final

from ds2prof.errors import ReadError
from ds2prof.parsers import nvprof_sqlite_about as about
from ds2prof.parsers import nvprof_sqlite_counters, nvprof_sqlite_host, nvprof_sqlite_samples, nvprof_sqlite_work
from ds2prof.parsers.nvprof_sqlite_rows import PREFIX, Columns, Losses, Strings
from ds2prof.parsers.sources import Source
from ds2prof.parsers.sqlite_tables import Database, opened
from ds2prof.tables import Column, Loaded, Meta, Table, checked, int_column, null_column, text_column

TOOL: Final = "nvprof"
_UNREAD: Final = {
    "UNIFIED_MEMORY_COUNTER": "of unified memory (migrations, page faults)",
    "MEM_DECOMPRESS": "of decompressions",
    "DEVICE_GRAPH_TRACE": "of graphs that kernels launched",
}
"""Device work that this reader leaves out."""


def loaded(source: Source, format_name: str, names: frozenset[str]) -> Loaded:
    """The named tables of the file, what it says of itself, and warnings."""
    with opened(source) as database:
        _refuse_foreign(database)
        reading = _Reading(database)
        tables = {name: checked(name, columns) for name in sorted(names) if (columns := reading.columns(name))}
        meta = _meta(database, format_name, reading)
        warnings = [*_warnings(database, reading), *reading.losses.lines()]
    return Loaded(
        meta,
        {name: tables.get(name, Table(name)) for name in sorted(names)},
        tuple(f"{source.name}: {warning}" for warning in warnings),
    )


def _refuse_foreign(database: Database) -> None:
    if "StringTable" in database.tables or any(name.startswith(PREFIX) for name in database.tables):
        return
    if "profStringTable" in database.tables:
        raise ReadError(
            f"{database.name}: samples of the processor that nvprof took (--cpu-profiling), without any GPU work; "
            "'nvprof -i FILE' prints them"
        )
    raise ReadError(f"{database.name}: an SQLite database without nvprof's tables; was the copy interrupted?")


class _Reading:
    """One file while its tables are read: what they share is read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._strings = Strings(database)
        self._kernels: Columns | None = None
        self._has_kernels = False
        self._processes: nvprof_sqlite_work.Processes | None = None
        self.time_ns = about.a_time(database)
        self.losses = Losses()

    def columns(self, name: str) -> Columns | None:
        """The columns of one table; None where the file has no such rows."""
        database, losses = self._database, self.losses
        if name == "kernels":
            return self.kernels()
        if name == "copies":
            return nvprof_sqlite_work.copies(database, process_of=self._process_of, losses=losses)
        if name == "api":
            return nvprof_sqlite_host.api(database, about.contexts(database), losses=losses)
        if name == "ranges":
            return nvprof_sqlite_host.ranges(database, self._strings, losses=losses)
        if name == "overhead":
            return nvprof_sqlite_host.overhead(database, losses=losses)
        if name == "counters":
            return self._counters()
        if name == "samples":
            return nvprof_sqlite_samples.samples(database, losses=losses)
        return self._surroundings(name)

    def _surroundings(self, name: str) -> Columns | None:
        if name == "devices":
            return about.device_columns(self._database, self._strings)
        if name == "processes":
            return about.process_columns(self._database, self._strings)
        if name == "threads":
            return about.thread_columns(self._database, self._strings)
        return self._spans() if name == "spans" else None

    def kernels(self) -> Columns | None:
        """The columns of the kernels table."""
        if not self._has_kernels:
            self._has_kernels = True
            self._kernels = nvprof_sqlite_work.kernels(
                self._database, self._strings, process_of=self._process_of, losses=self.losses
            )
        return self._kernels

    def _process_of(self, correlations: Column) -> Column:
        if self._processes is None:
            self._processes = nvprof_sqlite_work.Processes(self._database, about.processes(self._database))
        return self._processes.of(correlations)

    def _counters(self) -> Columns | None:
        if not nvprof_sqlite_counters.has_counters(self._database):
            return None
        columns = self.kernels()
        launches = columns["correlation"] if columns else null_column("int", 0)
        return nvprof_sqlite_counters.counters(self._database, launches, losses=self.losses)

    def _spans(self) -> Columns | None:
        found = about.session(self._database)
        if found is None:
            return None
        return {
            "name": text_column([about.SESSION]),
            "start_ns": int_column([found.start_ns]),
            "dur_ns": int_column([found.stop_ns - found.start_ns]),
        }


def _meta(database: Database, format_name: str, reading: _Reading) -> Meta:
    version = about.version(database)
    replayed = _is_replayed(database)
    mode = "metrics" if replayed else "timeline"
    return Meta(
        file=database.name,
        tool=TOOL,
        format=format_name,
        dialect=f"{mode}, schema {version}" if version is not None else mode,
        times="replay" if replayed else "real",
        clock=_clock(reading.time_ns),
    )


def _is_replayed(database: Database) -> bool:
    return nvprof_sqlite_counters.has_counters(database) and not _has_rows(database, "CONCURRENT_KERNEL")


def _has_rows(database: Database, kind: str) -> bool:
    table = PREFIX + kind
    return table in database.tables and bool(database.rows(f"SELECT 1 FROM {table} LIMIT 1"))  # noqa: S608


def _clock(time_ns: int | None) -> str | None:
    if time_ns is None:
        return None
    return "unix" if time_ns >= about.EPOCH_FLOOR_NS else "boot"


def _warnings(database: Database, reading: _Reading) -> list[str]:
    found = []
    if reading.time_ns is None:
        found.append(
            "empty: nvprof recorded no kernel, copy, call or marker (was the profiler started in the program, "
            "and the right process profiled?)"
        )
    elif not _has_rows(database, "DEVICE"):
        found.append("the file names no device: its SMs, clocks and memory are not known")
    unread = {**{PREFIX + kind: what for kind, what in _UNREAD.items()}, "collHit": "of the processor's samples"}
    for table, what in unread.items():
        count = database.count(table)
        if count:
            found.append(f"not read by this version: {count} {'row' if count == 1 else 'rows'} {what}")
    return found
