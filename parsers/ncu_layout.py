"""The columns of an Nsight Compute CSV: which page a header line begins, and how a row is cut into cells.

Cells are quoted by the tool and quotes within doubled; a header that went through a spreadsheet or pandas is bare. Text
may stand before the first quote of a header or row (progress lines and program output without a line end), and behind
its last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, NamedTuple

Page = Literal["long", "wide", "summary"]

_COLUMNS: Final = {
    "ID": "id",
    "Process ID": "process",
    "Process Name": "process_name",
    "Host Name": "host",
    "Kernel Name": "kernel",
    "Context": "context",
    "Stream": "stream",
    "Block Size": "block",
    "Grid Size": "grid",
    "Device": "device",
    "Device Id": "device",
    "CC": "cc",
    "Invocations": "calls",
    "Section Name": "section",
    "Body Item Label": "item",
    "Metric Name": "metric",
    "Metric Unit": "unit",
    "Metric Value": "value",
    "Average": "value",
}
_OTHERS: Final = frozenset(
    (
        *("Kernel Time", "Rule Name", "Rule Type", "Rule Description", "Estimated Speedup Type", "Estimated Speedup"),
        *("Minimum", "Maximum", "Domain"),
    )
)
_HEADER_REACH_BYTES: Final = 4096
_RULE: Final = (
    *("Rule Name", "Section Name", "Rule Type", "Rule Description"),
    *("Estimated Speedup Type", "Estimated Speedup"),
)
_NVTX: Final = ("Push/Pop_Range:", "Start/Stop_Range:")
"""How far before "Kernel Name" a header can begin: identity columns, and two NVTX columns of some hundred bytes."""

_QUOTED_LEAD: Final = re.compile(rb'"[^"]*",(?:"[^"]*",)*\Z')
_NUMBERED: Final = frozenset(("ID", "Process ID", "Device Id"))


@dataclass(frozen=True)
class Layout:
    """A header line, understood.

    Attributes:
        page: ``long`` (a metric a row), ``wide`` (a launch a row) or ``summary`` (a metric of a kernel a row).
        columns: the header's cells.
        quoted: whether cells are quoted, as the tool does.
        at: what a column is -> its place; only columns that are there.
    """

    page: Page
    columns: tuple[str, ...]
    quoted: bool
    at: dict[str, int] = field(repr=False)

    @cached_property
    def last_needed(self) -> int:
        """The place of the last cell that a row must have; rows of the details page leave out what follows it."""
        return len(self.columns) - 1 if self.page == "wide" else max(*self.at.values(), *self.nvtx_places)

    def fits(self, row: Row) -> bool:
        """Whether the row has the cells that a row of this page must have, and no more than the header."""
        count = len(row.cells)
        if row.is_ragged and (self.quoted or count > len(self.columns)):
            count -= 1
        return self.last_needed < count <= len(self.columns)

    @cached_property
    def tail(self) -> int | None:
        """The place where section, metric, unit and value begin if all else stands before them, else None."""
        order = [self.at[key] for key in ("section", "item", "metric", "unit", "value") if key in self.at]
        together = order == list(range(order[0], order[0] + len(order)))
        identity = max(place for key, place in self.at.items() if place not in order)
        return order[0] if self.page != "wide" and together and identity < order[0] else None

    @cached_property
    def row_start(self) -> re.Pattern[bytes]:
        """How a row begins: with the numbers that its first columns hold."""
        quote = rb'"' if self.quoted else rb'"?'
        first = [rb"\d+" if name in _NUMBERED else rb"[^\",\n]*" for name in self.columns[:2]]
        return re.compile(b"".join(quote + cell + quote + b"," for cell in first))

    @cached_property
    def glueable(self) -> bool:
        """Whether a row can be found behind other text in its line: it begins with two quoted numbers."""
        return self.quoted and self.columns[:2] == ("ID", "Process ID")

    @cached_property
    def metric_places(self) -> tuple[int, ...]:
        """The places of a wide page's metrics: what stands behind the kernel's name and is nothing else known."""
        known = set(self.at.values())
        return tuple(
            place
            for place, name in enumerate(self.columns)
            if place > self.at["kernel"] and place not in known and name and name not in _OTHERS
        )

    @cached_property
    def rule_places(self) -> tuple[int, ...]:
        """The places of a rule's name, section, type, description, and of its speedup's type and value; -1 for none."""
        return tuple(self.columns.index(name) if name in self.columns else -1 for name in _RULE)

    @cached_property
    def nvtx_places(self) -> tuple[int, ...]:
        """The places of the cells with push/pop and with start/end ranges; none where a page lacks either."""
        places = [place for part in _NVTX for place, name in enumerate(self.columns) if part in name]
        return tuple(places) if len(places) == len(_NVTX) else ()

    @cached_property
    def has_nvtx(self) -> bool:
        """Whether there are columns of NVTX ranges (two, named after what they print of them)."""
        return any("Range:" in name for name in self.columns)


def layout_of(columns: Sequence[str], *, quoted: bool) -> Layout | None:
    """The layout of these header cells; None if they head no page of Nsight Compute."""
    names = tuple(name.strip() for name in columns)
    at: dict[str, int] = {}
    for place, name in enumerate(names):
        if name in _COLUMNS:
            at.setdefault(_COLUMNS[name], place)
    if "kernel" not in at:
        return None
    if "metric" in at and "value" in at:
        page: Page = "summary" if "calls" in at and "Average" in names else "long"
        return Layout(page, names, quoted, at)
    layout = Layout("wide", names, quoted, {key: at[key] for key in at if key not in ("section", "metric", "unit")})
    return layout if any("__" in names[place] for place in layout.metric_places) else None


def find_header(line: bytes) -> tuple[bytes, Layout] | None:
    """What stands before a header in the line, and the header; None where the line holds none."""
    if b"Kernel Name" not in line:
        return None
    name = line.find(b'"Kernel Name"')
    if name < 0:
        cells = cut_row(line)
        layout = layout_of([_text(cell) for cell in cells.cells], quoted=False)
        return (b"", layout) if layout is not None else None
    lead = _QUOTED_LEAD.search(line[max(0, name - _HEADER_REACH_BYTES) : name])
    start = name if lead is None else name - len(lead.group())
    layout = layout_of([_text(cell) for cell in cut_row(line[start:]).cells], quoted=True)
    return (line[:start], layout) if layout is not None else None


def _text(cell: bytes) -> str:
    return cell.decode("utf-8", "replace")


class Row(NamedTuple):
    """A row, cut.

    Attributes:
        cells: without their quotes.
        end: where the row ended; what follows is other text.
        is_open: the last quote was never closed: the row goes on in the next line, or was cut.
        is_ragged: the row ends in a comma, so that its last cell is empty, or none.
        starts: where in the line each cell begins, its quote included; None if all cells are quoted and have no quotes.
    """

    cells: list[bytes]
    end: int
    is_open: bool = False
    is_ragged: bool = False
    starts: list[int] | None = None

    def start(self, place: int) -> int:
        """Where in the line a cell begins, its quote included."""
        if self.starts is not None:
            return self.starts[place]
        return len(b'","'.join(self.cells[:place])) + 3 if place else 0


def cut_row(line: bytes) -> Row:
    """The cells of a line that begins with a row."""
    cells = line.split(b'","')
    if line.count(b'"') == 2 * len(cells) and line.startswith(b'"'):
        cells[0] = cells[0][1:]
        last = cells[-1]
        if last.endswith(b'"'):
            cells[-1] = last[:-1]
            return Row(cells, len(line))
        if last.endswith(b'",'):
            cells[-1] = last[:-2]
            cells.append(b"")
            return Row(cells, len(line), is_ragged=True)
    return _cut_any(line)


def _cut_any(line: bytes) -> Row:
    cells: list[bytes] = []
    starts: list[int] = []
    at, size = 0, len(line)
    while True:
        if line[at : at + 1] == b'"':
            cell, end = _quoted(line, at + 1)
            if end < 0:
                return Row(cells, size, is_open=True, starts=starts)
        else:
            comma = line.find(b",", at)
            end = size if comma < 0 else comma
            cell = line[at:end]
        cells.append(cell)
        starts.append(at)
        if line[end : end + 1] != b",":
            return Row(cells, end, is_ragged=at == end == size, starts=starts)
        at = end + 1


def _quoted(line: bytes, begin: int) -> tuple[bytes, int]:
    """The cell that begins behind the quote, and where the line goes on; -1 if the quote is never closed."""
    at = begin
    while True:
        end = line.find(b'"', at)
        if end < 0:
            return b"", -1
        if line[end + 1 : end + 2] != b'"':
            break
        at = end + 2
    cell = line[begin:end]
    return (cell if at == begin else cell.replace(b'""', b'"')), end + 1
