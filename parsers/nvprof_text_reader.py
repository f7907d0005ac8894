"""One pass over what nvprof printed: which lines say what the next rows are of, and which are rows."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import Final

from ds2prof.errors import ReadError
from ds2prof.parsers import nvprof_text_metrics, nvprof_text_sums, nvprof_text_trace
from ds2prof.parsers.nvprof_text_block import Block, device_of
from ds2prof.parsers.nvprof_text_gather import Gathered
from ds2prof.parsers.nvprof_text_layout import Layout, cells_of, layout_of, units_of
from ds2prof.parsers.nvprof_text_lines import Batch, batches
from ds2prof.parsers.nvprof_text_result import known_domain
from ds2prof.parsers.nvprof_text_result import loaded as result
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded

_PREFIX: Final = re.compile(r"==([0-9]{1,10}|====)==(?: (.*)|)", re.DOTALL)
_GLUED: Final = re.compile(
    r"==([0-9]{1,10}|====)== ((?:NVPROF is |Profiling |Metric result|Event result|NVTX result|API calls|Warning: |"
    r"Error: |Unified Memory |OpenACC ).*)"
)
"""A prefix behind what the program printed without a line end."""
_PROCESS: Final = re.compile(r"NVPROF is profiling process ([0-9]{1,10}), command: (.*)", re.DOTALL)
_PLACE: Final = re.compile(r'\s*(Device|Thread|Domain|Range) "(.*)"(?: \(id = ([0-9]{1,18})\))?\s*(?:Kernel: (.*))?')
_KERNEL: Final = re.compile(r"\s*Kernel: (.*\S)\s*")
_TITLE: Final = re.compile(r"([A-Z][\w /()]{2,60}(?:result.{0,20}|calls|Analysis|\((?:excl|incl)\))):?\s*")
_NOTHING: Final = re.compile(r"No [\w /]{3,30} were profiled(?: in this range)?\.")
_TOTAL: Final = re.compile(r"(Total [\w ]{3,30}): ([0-9]{1,15})\s*")
_DIGITS: Final = frozenset("0123456789")
_MAX_PENDING_CHARS: Final = 2 << 20
"""How much text of rows is held before it becomes columns."""
_MAX_MESSAGE_CHARS: Final = 300
_MAX_KEPT: Final = 256
_MAX_PROCESSES: Final = 1 << 16

_TELLING: Final = ("Time(%)", "Start", "Invocations", "Count", "Context", "Time")
"""Columns that hold a number in every row, as nothing that a program prints does in their place."""

_TAKERS: Final = {
    "trace": nvprof_text_trace.take,
    "summary": nvprof_text_sums.take,
    "unified": nvprof_text_sums.take_unified,
    "metrics": nvprof_text_metrics.take,
    "launches": nvprof_text_metrics.take_launches,
}
_CALLED: Final = {
    "trace": "trace",
    "summary": "summary",
    "unified": "unified memory",
    "metrics": "metrics",
    "launches": "metrics of launches",
}


def loaded(source: Source, form: str) -> Loaded:
    """All tables of the stream.

    Raises:
        ReadError: nvprof printed nothing but that it could not profile.
    """
    reader = _Reader()
    with source.open() as stream:
        for batch in batches(stream):
            reader.read(batch)
    reader.flush()
    gathered = reader.gathered
    errors = [message for message in gathered.remarks.messages if message.startswith("Error: ")]
    if not reader.tables and not gathered.remarks.empty and errors:
        raise ReadError(f"{source.name}: nvprof failed: {errors[0].removeprefix('Error: ')}; capture it again")
    return result(source.name, form, gathered)


class _Reader:
    """Lines in, columns out; what stands between is where the next rows belong."""

    def __init__(self) -> None:
        self.gathered = Gathered()
        self.tables = 0
        self._process: int | None = None
        self._title = "Profiling result"
        self._place: dict[str, str] = {}
        self._thread: int | None = None
        self._block: Block | None = None
        self._awaits_units = False
        self._pending_chars = 0

    def read(self, batch: Batch) -> None:
        """Read successive lines."""
        lines, number = batch.lines, batch.number
        if not batch.is_ended:
            self._read_last(lines[0], number)
        elif not self._read_at_once(lines, number):
            for line in lines:
                self._read(line, number)
                number += 1

    def flush(self) -> None:
        """Take the rows gathered so far into columns."""
        block = self._block
        if block is None or not block.rows:
            return
        if block.layout.kind in _TAKERS:
            _TAKERS[block.layout.kind](self.gathered, block)
        else:
            self.gathered.remarks.skip(len(block.rows))
        self._block, self._pending_chars = replace(block, rows=[]), 0

    def _read_at_once(self, lines: list[str], number: int) -> bool:
        """Read lines that are all rows of the open CSV table; False, with nothing read, if they are not."""
        block = self._block
        if block is None or not block.layout.is_csv or self._awaits_units or block.layout.kind != "trace":
            return False
        try:
            rows = list(csv.reader(lines))
        except csv.Error:
            return False
        if len(rows) != len(lines) or set(map(len, rows)) != {len(block.layout.columns)}:
            return False
        if not all(map(_DIGITS.__contains__, {row[0][:1] for row in rows})):
            return False
        self.flush()
        self._block = replace(block, line=number, rows=rows)
        self.flush()
        return True

    def _read_last(self, line: str, number: int) -> None:
        """The last line of a file, without a line end: a row may have lost its end, what it was cannot be told."""
        row = self._block is not None and cells_of(self._block.layout, line) is not None
        if not row or _PREFIX.match(line) or _NOTHING.match(line):
            self._read(line, number)
        self.gathered.remarks.cut = row

    def _read(self, line: str, number: int) -> None:
        found = _PREFIX.match(line) if "==" in line else None
        glued = _GLUED.search(line) if found is None and "== " in line else None
        if found is not None or glued is not None:
            said = found or glued
            assert said is not None
            self._said(said[1], said[2] or "")
            return
        layout = layout_of(line)
        if layout is not None:
            self._begin(layout)
        elif not self._row(line, number):
            self._other(line)

    # -- rows --------------------------------------------------------------------------------------------------------

    def _begin(self, layout: Layout) -> None:
        """A table begins."""
        self.flush()
        place = self._place
        self._block = Block(
            layout,
            ("",) * len(layout.columns),
            process=self._process,
            device=place.get("Device"),
            domain=known_domain(place.get("Domain", "")),
            thread=self._thread,
            in_range=self._title == "NVTX result",
            type=self._type(),
        )
        self._awaits_units = True
        if layout.kind in _CALLED:
            self.tables += 1
            form = "CSV" if layout.is_csv else "text"
            self.gathered.dialect.setdefault(f"{_CALLED[layout.kind]} as {form}")

    def _type(self) -> str:
        """What the rows of a summary without types are: the section says it."""
        if self._title.startswith(("API calls", "OpenACC", "OpenMP")):
            return self._title
        return "GPU activities"

    def _begin_rows(self, number: int) -> None:
        block = self._block
        if block is not None and not block.rows:
            block.line = number

    def _row(self, line: str, number: int) -> bool:
        """Take a line into the open table, if it is a row of it."""
        block = self._block
        if block is None or not line:
            return False
        if self._awaits_units:
            units = units_of(block.layout, line)
            if units is not None:
                block.units, self._awaits_units = units, False
                return True
        cells = cells_of(block.layout, line)
        if cells is None or not _is_row(block, cells):
            return False
        self._awaits_units = False
        self._begin_rows(number)
        block.rows.append(cells)
        self._pending_chars += len(line)
        if self._pending_chars >= _MAX_PENDING_CHARS:
            self.flush()
        return True

    # -- what stands between -----------------------------------------------------------------------------------------

    def _said(self, process: str, message: str) -> None:
        """A line of nvprof's own."""
        if process != "====":
            self._process = int(process)
            if len(self.gathered.processes) < _MAX_PROCESSES:
                self.gathered.processes.setdefault(self._process, None)
        profiled = _PROCESS.match(message)
        if profiled is not None and self._process is not None:
            self.gathered.processes[self._process] = profiled[2]
        elif message.startswith(("Warning: ", "Error: ")):
            if len(self.gathered.remarks.messages) < _MAX_KEPT:
                self.gathered.remarks.messages.setdefault(_clean(message))
        elif (title := _TITLE.fullmatch(message)) is not None:
            self._enter(title[1])
        else:
            self._other(message)

    def _enter(self, title: str) -> None:
        """A section begins."""
        self.flush()
        self._block, self._title, self._place, self._thread = None, title.rstrip(": "), {}, None

    def _other(self, line: str) -> None:
        """A line that is no row: what the next rows are of, or nothing that matters."""
        place = _PLACE.fullmatch(line)
        if place is not None:
            self._move(place[1], place[2], place[3])
            line = f"Kernel: {place[4]}" if place[4] else ""
        kernel = _KERNEL.fullmatch(line) if "Kernel: " in line else None
        if kernel is not None and self._block is not None and self._block.layout.kind == "metrics":
            self.flush()
            self._block.kernel = kernel[1]
        elif (nothing := _NOTHING.match(line)) is not None:
            self.gathered.remarks.empty.setdefault(nothing[0])
        elif self._title.startswith("Unified Memory") and (total := _TOTAL.fullmatch(line)) is not None:
            self.gathered.remarks.add_fact(total[1], int(total[2]))

    def _move(self, what: str, name: str, number: str | None) -> None:
        """The next rows are of this device, thread, domain or range."""
        self.flush()
        self._place[what] = name
        if what == "Device":
            device_of(self.gathered, name)
        if what == "Thread":
            self._thread = int(number) if number is not None else None
        block = self._block
        if what == "Device" and block is not None and block.layout.kind in ("metrics", "unified"):
            block.device, block.kernel = name, None
        else:
            self._block = None


def _is_row(block: Block, cells: list[str]) -> bool:
    """Whether cells that are as many as the table's columns are a row, and not something the program printed."""
    layout = block.layout
    telling = next(at for name in _TELLING if (at := layout.place(name)) is not None)
    return cells[telling].lstrip("-")[:1].isdigit()


def _clean(message: str) -> str:
    return " ".join(message.split())[:_MAX_MESSAGE_CHARS]
