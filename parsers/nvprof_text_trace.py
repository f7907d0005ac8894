"""Rows of nvprof's traces, one activity each: launches, copies, calls, and the edges of ranges."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from ds2prof.parsers.nvprof_text_block import (
    Block,
    copy_kind,
    device_of,
    devices_of,
    domain_of,
    id_of,
    is_copy,
    note_step,
    plausible,
    sizes_of,
    times_of,
)
from ds2prof.parsers.nvprof_text_gather import TRACE, Gathered
from ds2prof.parsers.nvprof_text_layout import without_correlation
from ds2prof.parsers.nvprof_text_values import mapped, nullable, wholes
from ds2prof.tables import Column, IntArray

Maker = Callable[[Gathered, Block, Sequence[str]], dict[str, Column]]

_GRID: Final = re.compile(r"\(([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,10})\)")
_MEMORY: Final = frozenset(("pageable", "pinned", "device", "array", "managed"))
_EDGES: Final = ("[Range start] ", "[Range end] ", "[Marker] ")
_ABSENT: Final = frozenset(("", "-"))
_LAUNCH, _COPY, _CALL, _EDGE, _OTHER = range(5)
_MAX_START_NS: Final = 1 << 62
_SIZES: Final = {
    "static_shared_bytes": ("Static SMem", "SSMem"),
    "dynamic_shared_bytes": ("Dynamic SMem", "DSMem"),
}


def take(gathered: Gathered, block: Block) -> None:
    """Take the rows of a trace into what is gathered."""
    kinds = _kinds(block)
    gathered.remarks.skip(int((kinds == _OTHER).sum()))
    _take_edges(gathered, block.among(kinds == _EDGE))
    for kind, (table, make) in _TABLES.items():
        if (kinds == kind).any():
            _take_activities(gathered, block.among(kinds == kind), table, make)


def _kinds(block: Block) -> IntArray:
    """For each row what it is."""
    kinds = mapped(block.texts("Name"), _kind).values
    grids = block.column("Grid X", "Grid Size")
    if grids is None:
        return kinds
    return np.where(mapped(grids[0], lambda grid: grid not in _ABSENT).values, _LAUNCH, kinds)


def _kind(name: str) -> int:
    """What an activity without a grid is."""
    if not name.startswith("["):
        return _CALL
    if is_copy(name):
        return _COPY
    return _EDGE if name.startswith(_EDGES) else _OTHER


def _take_edges(gathered: Gathered, block: Block) -> None:
    """Take where ranges begin and end."""
    if block.rows:
        starts, names = times_of(block, "Start"), block.texts("Name")
        for row in np.flatnonzero(starts.valid).tolist():
            gathered.marks.append((block.process, names[row], int(starts.values[row])))


def _take_activities(gathered: Gathered, block: Block, table: str, make: Maker) -> None:
    starts, durations = times_of(block, "Start"), times_of(block, "Duration")
    placed = starts.valid & (starts.values >= 0) & (starts.values < _MAX_START_NS)
    gathered.remarks.count("rows without a readable start", int((~placed).sum()), block.line)
    sound = plausible(gathered, block, durations, calls=None, among=placed)
    if not sound.any():
        return
    note_step(gathered, starts, durations)
    names, correlations = _names(block)
    columns = {"start_ns": starts.column, "dur_ns": durations.column, **make(gathered, block, names)}
    if correlations is not None:
        columns["correlation"] = correlations
    if not sound.all():
        columns = {name: column.take(sound) for name, column in columns.items()}
    gathered.rows[table].add(block.process, TRACE, columns)


def _names(block: Block) -> tuple[Sequence[str], Column | None]:
    """The names, and the correlation ids, which a text table has behind the kernels' names."""
    names = block.texts("Name")
    found = block.column("Correlation_ID")
    if found is not None:
        return names, wholes(found[0])
    if block.layout.is_csv:
        return names, None
    split = [without_correlation(name) for name in names]
    numbers = nullable([number for _, number in split])
    return [name for name, _ in split], numbers if numbers.present.any() else None


def _launches(gathered: Gathered, block: Block, names: Sequence[str]) -> dict[str, Column]:
    columns = {"name": gathered.rows["kernels"].texts("name", names), **_places(gathered, block)}
    for what in ("Grid", "Block"):
        columns.update(_dimensions(block, what))
    registers = block.column("Registers Per Thread", "Regs")
    if registers is not None:
        columns["registers"] = wholes(registers[0])
    for column, headings in _SIZES.items():
        found = sizes_of(gathered, block, *headings)
        if found is not None:
            columns[column] = found
    return columns


def _dimensions(block: Block, what: str) -> dict[str, Column]:
    """Three columns of a grid or block, out of three columns or one."""
    found = [block.column(f"{what} {axis}") for axis in "XYZ"]
    names = [f"{what.lower()}_{axis}" for axis in "xyz"]
    if None not in found:
        return {name: wholes(column[0]) for name, column in zip(names, found, strict=True) if column is not None}
    together = block.column(f"{what} Size")
    if together is None:
        return {}
    return {name: mapped(together[0], partial(_side, place)) for place, name in enumerate(names, start=1)}


def _side(place: int, cell: str) -> int | None:
    """One side of a grid or block as a text table has it."""
    found = _GRID.fullmatch(cell)
    return int(found[place]) if found else None


def _places(gathered: Gathered, block: Block) -> dict[str, Column]:
    """Device, context and stream."""
    columns = {name.lower(): mapped(block.texts(name), id_of) for name in ("Context", "Stream")}
    return {"device": devices_of(gathered, block), **columns}


def _copies(gathered: Gathered, block: Block, names: Sequence[str]) -> dict[str, Column]:
    rows = gathered.rows["copies"]
    columns = {"name": rows.texts("name", names), "kind": rows.texts("kind", map(copy_kind, names))}
    columns.update(_places(gathered, block))
    found = [size for name in ("Size", "Unified Memory") if (size := sizes_of(gathered, block, name)) is not None]
    if found:
        columns["size_bytes"] = _first(found[0], found[-1])
    columns.update(_memories(gathered, block, names))
    for column, heading in (("source_device", "Src Dev"), ("destination_device", "Dst Dev")):
        if block.layout.place(heading) is not None:
            columns[column] = mapped(block.texts(heading), partial(device_of, gathered))
    return columns


def _memories(gathered: Gathered, block: Block, names: Sequence[str]) -> dict[str, Column]:
    """The kinds of memory at both ends; that of a set stands in the source's column, though it is written."""
    rows = gathered.rows["copies"]
    pairs = zip(block.texts("SrcMemType"), block.texts("DstMemType"), names, strict=True)
    ends = [
        ("", source) if copy_kind(name) == "memset" and end in _ABSENT else (source, end) for source, end, name in pairs
    ]
    known = [tuple(cell.lower() if cell.lower() in _MEMORY else None for cell in end) for end in ends]
    return {
        "source_kind": rows.texts("source_kind", (source for source, _ in known)),
        "destination_kind": rows.texts("destination_kind", (end for _, end in known)),
    }


def _first(one: Column, other: Column) -> Column:
    """The values of one column, and where it is null those of another."""
    valid = one.present | other.present
    return Column(np.where(one.present, one.values, other.values), None if valid.all() else valid)


def _calls(gathered: Gathered, block: Block, names: Sequence[str]) -> dict[str, Column]:
    rows = gathered.rows["api"]
    return {"name": rows.texts("name", names), "domain": rows.texts("domain", map(domain_of, names))}


_TABLES: Final[Mapping[int, tuple[str, Maker]]] = {
    _LAUNCH: ("kernels", _launches),
    _COPY: ("copies", _copies),
    _CALL: ("api", _calls),
}
"""What an activity is -> the table it goes to, and what makes its columns."""
