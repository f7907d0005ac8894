"""The tables that nvprof prints: which header begins which, and how a line of one comes apart into cells.

A CSV header has its names in quotes (without, where a spreadsheet wrote it again). A text header has them two spaces or
more apart, and so have its rows; only names contain a space, never two.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Final, Literal

from ds2prof.parsers.nvprof_text_values import UNITS

Kind = Literal["summary", "trace", "metrics", "launches", "unified", "other"]
"""summary: calls by name; trace: activities one by one; metrics: of all launches of a kernel; launches: metrics of each
launch; unified: migrations of unified memory; other: a table that is known, and not read."""

_NEEDED: Final[tuple[tuple[frozenset[str], Kind], ...]] = (
    (frozenset(("Time", "Avg", "Min", "Max", "Name")), "summary"),
    (frozenset(("Start", "Duration", "Name")), "trace"),
    (frozenset(("Invocations", "Metric Name", "Avg")), "metrics"),
    (frozenset(("Invocations", "Event Name", "Avg")), "metrics"),
    (frozenset(("Device", "Context", "Stream", "Kernel")), "launches"),
    (frozenset(("Count", "Avg Size", "Total Size", "Total Time")), "unified"),
    (frozenset(("Time(%)", "Time", "Name")), "other"),
)
_FIRST: Final = ("Type", "Time(%)", "Start", "Invocations", "Device", "Count")
"""What can stand first in a header."""
_GAP: Final = re.compile(r"\s{2,}")
_CALLS: Final = ("Calls", "Calls (host)", "Calls (device)")
_MAX_HEADER_CHARS: Final = 1 << 16
_CORRELATION: Final = re.compile(r"(.*\S) \[([0-9]{1,18})\]", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """A table's header.

    Attributes:
        kind: which table.
        columns: their names, stripped.
        is_csv: cells are separated by commas.
        header: the line.
    """

    kind: Kind
    columns: tuple[str, ...]
    is_csv: bool
    header: str

    @property
    def is_certain(self) -> bool:
        """Whether nobody but nvprof prints such a header."""
        if self.kind == "summary":
            return "Time(%)" in self.columns
        if self.kind == "trace":
            return not self.is_csv or not {"Correlation_ID", "Grid X"}.isdisjoint(self.columns)
        return self.kind != "other"

    def place(self, column: str) -> int | None:
        """Where the column stands; None where it does not."""
        return self.columns.index(column) if column in self.columns else None


def layout_of(line: str) -> Layout | None:
    """The table that the line begins; None if it is no header."""
    if not line.lstrip(' "').startswith(_FIRST) or len(line) > _MAX_HEADER_CHARS:
        return None
    is_csv = "," in line
    columns = tuple(cell.strip() for cell in (_csv_cells(line) or ()) if is_csv) if is_csv else _text_columns(line)
    if columns[-1:] == ("",):  # the name's column of the unified memory table has none
        columns = (*columns[:-1], "Name")
    kind = next((kind for needed, kind in _NEEDED if needed <= set(columns)), None)
    if kind == "summary" and not set(columns) & set(_CALLS):
        kind = "other"
    if kind is None or len(set(columns)) != len(columns):
        return None
    return Layout(kind, columns, is_csv, line)


def _text_columns(line: str) -> tuple[str, ...]:
    return tuple(name.rstrip("*") for name in _GAP.split(line.strip()))


def _csv_cells(line: str) -> list[str] | None:
    try:
        return next(csv.reader([line]), None)
    except csv.Error:
        return None


def units_of(layout: Layout, line: str) -> tuple[str, ...] | None:
    """The units of the columns, if the line is a row of nothing else; empty text where a column has none."""
    if layout.is_csv:
        cells = [cell.strip() for cell in line.split(",")]
        return tuple(cells) if len(cells) == len(layout.columns) and set(cells) <= UNITS | {""} else None
    found = {match.end(): match[0] for match in re.finditer(r"\S+", line[:_MAX_HEADER_CHARS])}
    if not found or not set(found.values()) <= UNITS:
        return None
    return tuple(found.get(match.end(), "") for match in re.finditer(r"\S+(?: \S+)*", layout.header))


def cells_of(layout: Layout, line: str) -> list[str] | None:
    """The cells of a row, one for each column; None if the line is no row of this table."""
    return _csv_row(layout, line) if layout.is_csv else _text_row(layout, line)


def _csv_row(layout: Layout, line: str) -> list[str] | None:
    cells, count = _csv_cells(line), len(layout.columns)
    if cells is not None and len(cells) == count:
        return cells
    at = layout.place("Name")
    if at is None or line.count(",") < count - 1:
        return None
    return _around_the_name(line, before=at, behind=count - at - 1)


def _around_the_name(line: str, *, before: int, behind: int) -> list[str] | None:
    """The cells of a row whose name has commas or quotes that are not escaped."""
    head, tail = line.split(",", before), line.rsplit(",", behind)[1:]
    name = head[before]
    for cell in reversed(tail):
        name = name[: len(name) - len(cell) - 1]
    cells = [cell.strip('" ') for cell in head[:before]]
    return [*cells, name.strip().removeprefix('"').removesuffix('"'), *(cell.strip('" ') for cell in tail)]


def _text_row(layout: Layout, line: str) -> list[str] | None:
    stripped, count = line.strip(), len(layout.columns)
    if layout.columns[0] == "Type" and not _GAP.split(stripped, maxsplit=1)[0].endswith(":"):
        cells = ["", *_GAP.split(stripped, maxsplit=count - 2)]
    else:
        cells = _GAP.split(stripped, maxsplit=count - 1)
    return cells if len(cells) == count else None


def without_correlation(name: str) -> tuple[str, int | None]:
    """A kernel's name in a text table and the correlation id behind it."""
    found = _CORRELATION.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, None)
