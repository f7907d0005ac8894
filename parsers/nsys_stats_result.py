"""What one pass over the output of ``nsys stats`` brought, as tables, facts and warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ds2prof.errors import ReadError
from ds2prof.parsers import nsys_stats_host as host
from ds2prof.parsers import nsys_stats_tables as device
from ds2prof.parsers.nsys_stats_gather import Gathering
from ds2prof.parsers.nsys_stats_layouts import is_unread
from ds2prof.parsers.nsys_stats_lines import Scanner, batches
from ds2prof.parsers.nsys_stats_rows import Warnings
from ds2prof.parsers.nsys_stats_tables import Made
from ds2prof.parsers.sources import Source
from ds2prof.tables import Column, Loaded, Meta, checked

ROWS_AT_ONCE: Final = 1 << 10

BUILDERS: Final[Mapping[str, Callable[[Made], Mapping[str, Column]]]] = {
    "kernels": device.kernel_columns,
    "copies": device.copy_columns,
    "api": host.api_columns,
    "ranges": host.range_columns,
    "devices": device.device_columns,
    "threads": host.thread_columns,
}
"""Table -> what makes its columns."""


def loaded(source: Source, format_name: str, names: frozenset[str]) -> Loaded:
    """The named tables of the stream.

    Raises:
        ReadError: it holds no report that is read.
    """
    scanner, gathering = Scanner(), Gathering(names)
    with source.open() as stream:
        for rows in batches(scanner.scan(stream), ROWS_AT_ONCE):
            gathering.add(rows)
    _refuse_useless(source.name, scanner, gathering)
    made = Made([each for each in gathering.found if not is_unread(each.block.report or "")], Warnings())
    built = {name: checked(name, build(made)) for name, build in BUILDERS.items() if name in names}
    tables = {name: table for name, table in built.items() if len(table)}
    lines = [*_losses(scanner, gathering), *made.warnings.lines]
    meta = _meta(source.name, format_name, scanner, gathering, made)
    return Loaded(meta, tables, tuple(f"{source.name}: {line}" for line in lines))


def _refuse_useless(name: str, scanner: Scanner, gathering: Gathering) -> None:
    if any(each.block.layout.tables for each in gathering.found):
        return
    if gathering.found:
        raise ReadError(
            f"{name}: only kernels by NVTX range, where one within several ranges is counted several times; print "
            "another report with 'nsys stats -r cuda_gpu_trace,nvtx_pushpop_trace -f csv' (gputrace,nvtxpptrace until "
            "2022)"
        )
    reports = f" ({', '.join(list(scanner.reports)[:5])})" if scanner.reports else ""
    skipped = f"; the tool skipped {scanner.skipped} for want of data" if scanner.skipped else ""
    table = "with tables that have no rows" if scanner.tables else "without a table that is read"
    raise ReadError(
        f"{name}: output of Nsight Systems {table}{reports}{skipped}; print one with 'nsys stats -r cuda_gpu_trace "
        "-f csv' (gputrace until 2022)"
    )


def _losses(scanner: Scanner, gathering: Gathering) -> list[str]:
    warnings = Warnings()
    warnings.count(scanner.bad_rows, "row", "left out, without the cells that its header has")
    warnings.count(scanner.long_lines, "line", "left out, over a million characters long")
    warnings.count(gathering.dropped_rows, "row", "left out of a summary too long to be one")
    warnings.count(
        sum(each.bad_cells for each in gathering.found), "cell", "hold nothing that can be read; taken as unknown"
    )
    warnings.count(
        sum(each.clipped_names() for each in gathering.found), "name", "cut by the tool; print with -f csv to have all"
    )
    if scanner.cut_short:
        warnings.lines.append("ends within a line of a table; was it cut off?")
    if gathering.other_inputs:
        others = ", ".join(list(gathering.other_inputs)[:3])
        warnings.lines.append(f"holds the reports of several files; those of {others} are left out")
    return warnings.lines


def _meta(name: str, format_name: str, scanner: Scanner, gathering: Gathering, made: Made) -> Meta:
    facts: dict[str, Any] = {"used": made.used}
    found = [each.label for each in gathering.found]
    used = {label for labels in made.used.values() for label in labels}
    others = dict.fromkeys(label for label in (*found, *scanner.reports) if label not in used)
    if others:
        facts["other_reports"] = list(others)
    if (made.resolution_bytes or 1) > 1:
        facts["size_resolution_bytes"] = made.resolution_bytes
    source = next((each.block.input for each in gathering.found if each.block.input), None)
    if source:
        facts["input"] = source
    return Meta(
        file=name,
        tool="Nsight Systems",
        format=format_name,
        dialect=", ".join(dict.fromkeys(each.block.form for each in gathering.found)),
        time_resolution_ns=made.resolution_ns,
        facts=facts,
    )
