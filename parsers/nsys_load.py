"""One pass over an Nsight Systems export: the tables that were asked for, meta, warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ds2prof.errors import ReadError
from ds2prof.parsers import nsys_meta, sqlite_tables
from ds2prof.parsers.nsys_allocations import allocation_columns
from ds2prof.parsers.nsys_api import api_columns
from ds2prof.parsers.nsys_copies import copy_columns
from ds2prof.parsers.nsys_devices import Gpus
from ds2prof.parsers.nsys_kernels import kernel_columns
from ds2prof.parsers.nsys_overhead import overhead_columns
from ds2prof.parsers.nsys_ranges import range_columns
from ds2prof.parsers.nsys_rows import Export
from ds2prof.parsers.nsys_samples import sample_columns
from ds2prof.parsers.nsys_strings import Strings
from ds2prof.parsers.sources import Source
from ds2prof.parsers.sqlite_tables import Database
from ds2prof.tables import Column, Loaded, Meta, checked

KNOWN = ("StringIds", "TARGET_INFO_GPU", "ThreadNames", "ProcessStreams", "ANALYSIS_DETAILS", "NVTX_EVENTS", "OSRT_API")
Builder = Callable[[], Mapping[str, Column]]


def loaded(source: Source, format_name: str, names: frozenset[str]) -> Loaded:
    """The named tables of the export in ``source``.

    Raises:
        ReadError: the file is damaged, or holds none of the tool's tables.
    """
    with sqlite_tables.opened(source) as database:
        _refuse_foreign(database)
        exported = nsys_meta.statements(database)
        clock = nsys_meta.clock(database, exported)
        gpus = Gpus(database)
        export = Export(source, database, Strings(database), clock.base_ns, gpus.devices, gpus.is_plain)
        builders = _builders(export, gpus, clock)
        tables = {name: checked(name, build()) for name, build in builders.items() if name in names}
        meta = _meta(source.name, format_name, database, exported, clock)
        warnings = [*nsys_meta.losses(database), *export.warnings]
    return Loaded(meta, tables, tuple(f"{source.name}: {warning}" for warning in warnings))


def _refuse_foreign(database: Database) -> None:
    if not any(name in database.tables for name in KNOWN) and not any(
        name.startswith("CUPTI_ACTIVITY_KIND_") for name in database.tables
    ):
        raise ReadError(
            f"{database.name}: an SQLite file without any table of Nsight Systems; export the report again with "
            "'nsys export --type sqlite'"
        )


def _builders(export: Export, gpus: Gpus, clock: nsys_meta.Clock) -> dict[str, Builder]:
    """Table -> what makes its columns."""
    database = export.database
    return {
        "kernels": lambda: kernel_columns(export),
        "copies": lambda: copy_columns(export),
        "api": lambda: api_columns(export),
        "ranges": lambda: range_columns(export),
        "samples": lambda: sample_columns(export, gpus),
        "overhead": lambda: overhead_columns(export),
        "allocations": lambda: allocation_columns(export),
        "spans": lambda: nsys_meta.span_columns(database, clock),
        "devices": gpus.columns,
        "processes": lambda: nsys_meta.process_columns(database),
        "threads": lambda: nsys_meta.thread_columns(database),
    }


def _meta(name: str, format_name: str, database: Database, exported: Mapping[str, str], clock: nsys_meta.Clock) -> Meta:
    return Meta(
        file=name,
        tool=nsys_meta.TOOL,
        format=format_name,
        dialect=nsys_meta.dialect(exported),
        tool_version=exported.get("EXPORT_PRODUCT_VERSION"),
        domain="gpu" if nsys_meta.domain_is_gpu(database) else "cpu",
        time_resolution_ns=nsys_meta.resolution_ns(database),
        clock=clock.name,
        facts=nsys_meta.facts(database, exported, clock),
    )
