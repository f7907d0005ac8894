"""Where the tables are in the output of ``nsys stats``, and their rows as cells: CSV, TSV, columns, boxes.

A table of columns has a line of dashes beneath its titles, whose gaps say where the columns are; that of a box has
crossings there. Cells are cut by position, since names hold spaces, commas and bars. What stands around the tables
(the program's own output, progress, notes of the tool) is passed over, but for the lines that say which report follows.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import BinaryIO, Final, Literal

from ds2prof.parsers.nsys_stats_layouts import Layout, Title, layout_of, titles_of

CHUNK_BYTES: Final = 1 << 17
MAX_LINE: Final = 1 << 20
_MAX_RECORD_LINES: Final = 32
_RECORDS_AFTER_QUOTE: Final = 8
_MAX_REPORTS: Final = 1000
_MAX_COLUMNS: Final = 100
_MAX_RULE: Final = 100_000

Form = Literal["csv", "tsv", "column", "table"]
Row = Sequence[str]

_REPORT: Final = re.compile(
    r"Processing \[(?P<input>[^\]]{0,1000})\] with \[(?:[^\]]{0,1000}[/\\])?(?P<script>\w{1,60})\.py\]"
    r"|Executing '(?P<executed>\w{1,60})' stats report"
    r"|\*\* (?P<heading>.{0,200}?) \((?P<report>\w{1,60})(?:[:,][^()]{0,60})?\):"
    r"|^\s*(?P<old>[A-Z][\w\- ]{2,60} Statistics)(?P<unit> \([\w ]{1,30}\))?:?\s*\Z"
)
_STARTS: Final = ('"', "Time", "Start", "Total", "API Start", "Name", "NVTX Range", "PID", "Range")
_NOT_A_ROW: Final = ("Processing [", "SKIPPED: ", "NOTICE: ", "WARNING: ", "ERROR: ", " ** ")
_STOPS: Final = (
    *_NOT_A_ROW,
    *('"Time', "Time (%)", "Time(%)", '"Start', "Start (", "Start(", '"Total', "Total (", "API Start", "NVTX Range,"),
    *("PID,TID", "Name,Projected", "Range,Style"),
)
"""How lines behind a table in CSV begin that are no rows of it: rows begin with a number, but for those of _NAMES."""
_NAMES: Final = ("name", "range", "nvtx range")
_FIRST: Final = itemgetter(0)
_OF_NUMBERS: Final = frozenset("0123456789-")
_DELIMITED: Final[tuple[tuple[str, Form], ...]] = ((",", "csv"), ("\t", "tsv"))
_BOX: Final = frozenset("+-\u2500\u2502\u250c\u252c\u2510\u251c\u253c\u2524\u2514\u2534\u2518\u2550\u256a\u255e\u2561")
_BARS: Final = ("|", "\u2502")
_JOINTS: Final = frozenset("+\u252c\u253c\u2534\u250c\u251c\u2514\u2510\u2524\u2518\u256a\u255e\u2561")


@dataclass(frozen=True)
class Block:
    """One printed table.

    Attributes:
        layout: what report it is.
        titles: of its columns.
        form: how it is printed.
        report: the report's name, where the text says it.
        input: the file that it is of, where the text says it.
        line: of its header, from 1.
    """

    layout: Layout
    titles: tuple[Title, ...]
    form: Form
    report: str | None
    input: str | None
    line: int


@dataclass(frozen=True)
class Rows:
    """Some rows of a block, each with as many cells as it has titles."""

    block: Block
    cells: Sequence[Row]


class Scanner:
    """Finds the tables in a stream of lines.

    Attributes:
        reports: the reports that the text names, in order.
        skipped: how many reports the tool says it left out for want of data.
        tables: how many tables of reports that are read began, with rows or without.
        bad_rows: how many rows do not have the cells that their header has.
        long_lines: how many lines were too long to be any of ours.
        cut_short: whether the stream ends within a table and a line.
    """

    def __init__(self) -> None:
        self.reports: dict[str, None] = {}
        self.skipped = 0
        self.tables = 0
        self.bad_rows = 0
        self.long_lines = 0
        self.cut_short = False
        self._block: Block | None = None
        self._spans: list[tuple[int, int]] = []
        self._report: str | None = None
        self._heading = ""
        self._input: str | None = None
        self._previous = ""
        self._records_at_once = MAX_LINE
        self._open: list[str] = []  # the lines so far of a record with a line break in it
        self._line = 0

    def scan(self, stream: BinaryIO) -> Iterator[Rows]:
        """The rows of all tables, in batches."""
        rest = ""
        for text in _decoded(stream):
            lines = (rest + text).split("\n")
            rest = lines.pop()
            if len(rest) > MAX_LINE:
                self.long_lines, rest = self.long_lines + 1, ""
            yield from self._taken(lines)
        self.cut_short = bool(rest) and self._block is not None and not rest.startswith(_NOT_A_ROW)
        yield from self._taken([rest])
        self.bad_rows += bool(self._open)

    def _taken(self, lines: list[str]) -> Iterator[Rows]:
        at = 0
        while at < len(lines):
            block = self._block
            if block is None:
                at = self._look(lines, at)
                continue
            read = self._records if block.form in ("csv", "tsv") else self._lines_of_columns
            at, cells = read(lines, at, block)
            if cells:
                yield Rows(block, cells)
        self._line += len(lines)

    # -- outside of tables

    def _look(self, lines: list[str], at: int) -> int:
        """Look for the next table from ``lines[at]`` on; where to go on."""
        for number in range(at, len(lines)):
            line = lines[number].rstrip()
            if not line:
                continue
            if self._begins(line, self._line + number + 1):
                return number + 1
            self._previous = line
        return len(lines)

    def _begins(self, line: str, number: int) -> bool:
        """Whether a table's rows follow this line; takes note of what it says."""
        if line.lstrip('"').startswith(_STARTS):
            for delimiter, form in _DELIMITED:
                if delimiter in line and self._opened(_record(line, delimiter), form, number):
                    return True
        spans = _spans(line)
        if spans:
            is_box = line.lstrip()[0] != "-"
            header = self._previous
            if self._opened([header[a:b] for a, b in spans], "table" if is_box else "column", number - 1):
                self._spans = spans
                return True
        elif "[" in line or "(" in line or "'" in line or "Statistics" in line or "SKIPPED" in line:
            self._note(line)
        return False

    def _opened(self, cells: Sequence[str], form: Form, number: int) -> bool:
        """Whether these are the titles of a report that is known; its block is then open."""
        if len(cells) > _MAX_COLUMNS:
            return False
        titles = titles_of(cells, heading=self._heading)
        layout = layout_of(titles)
        if layout is None:
            return False
        self._block = Block(layout, titles, form, self._report, self._input, number)
        self.tables += 1
        self._report, self._heading = None, ""
        return True

    def _note(self, line: str) -> None:
        if line.startswith("SKIPPED: "):
            self.skipped += 1
            return
        match = _REPORT.search(line[:2000])
        if match is None:
            return
        if match["input"] is not None:
            self._input = match["input"]
        self._heading = match["unit"] or ""
        self._report = match["script"] or match["executed"] or match["report"] or match["old"]
        if len(self.reports) < _MAX_REPORTS:
            self.reports[self._report] = None

    # -- CSV

    def _records(self, lines: list[str], at: int, block: Block) -> tuple[int, list[Row]]:
        """(where to go on, rows) of the CSV from ``lines[at]`` on, up to its end or that of the lines."""
        if self._open:
            return self._continued(lines, at, block)
        reach = min(len(lines), at + self._records_at_once)
        end = _end_of_records(lines, at, reach, is_named=block.titles[0].name in _NAMES)
        rows, count = self._parsed(lines[at:end], block)
        if at + count < end:
            self._open = [lines[at + count]]
            self._records_at_once = _RECORDS_AFTER_QUOTE  # an open quote costs what was read with it
            return at + count + 1, rows
        if end < reach:
            self._block = None
            end += not lines[end]
        return end, rows

    def _continued(self, lines: list[str], at: int, block: Block) -> tuple[int, list[Row]]:
        """As :meth:`_records`, behind a line whose quotes are still open."""
        while at < len(lines) and len(self._open) < _MAX_RECORD_LINES and not lines[at].startswith(_NOT_A_ROW):
            self._open.append(lines[at])
            at += 1
            if self._open[-1].count('"') % 2:
                record, self._open = _record("\n".join(self._open), _delimiter(block)), []
                return at, self._complete([record], block)
        if at == len(lines) and len(self._open) < _MAX_RECORD_LINES:
            return at, []
        again, self._open = self._open[1:], []
        self.bad_rows += 1
        lines[at:at] = again  # the quote was damage: what stands behind it are rows
        self._line -= len(again)
        return at, []

    def _parsed(self, lines: list[str], block: Block) -> tuple[list[Row], int]:
        """(rows, how many lines they are): all up to one that leaves a quote open."""
        delimiter = _delimiter(block)
        try:
            rows: list[Row] = list(csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            rows = [_record(line, delimiter) for line in lines]
        count = len(lines)
        if lines and (len(rows) != count or lines[-1].count('"') % 2):
            count = next((number for number, line in enumerate(lines) if line.count('"') % 2), count)
            rows = [_record(line, delimiter) for line in lines[:count]]
        return self._complete(rows, block), count

    def _complete(self, rows: list[Row], block: Block) -> list[Row]:
        """The rows with as many cells as there are titles; others are counted as bad."""
        width = len(block.titles)
        if set(map(len, rows)) <= {width}:
            return rows
        kept = [row for row in rows if len(row) == width]
        self.bad_rows += len(rows) - len(kept)
        return kept

    # -- columns and boxes

    def _lines_of_columns(self, lines: list[str], at: int, block: Block) -> tuple[int, list[Row]]:
        """(where to go on, rows) of a table of columns or a box, up to its end or that of the lines."""
        is_box = block.form == "table"
        rows: list[Row] = []
        for number in range(at, len(lines)):
            line = lines[number].rstrip()
            if not line or (is_box and not line.lstrip().startswith(_BARS)) or line.startswith(_NOT_A_ROW):
                self._block, self._previous = None, ""
                return number, rows
            row = _cut(line, self._spans)
            if row is None:
                self.bad_rows += 1
            else:
                rows.append(row)
        return len(lines), rows


def _decoded(stream: BinaryIO) -> Iterator[str]:
    """The stream's text in pieces; bytes that are no UTF-8 become replacement characters."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(errors="replace"), translate=True)
    while data := stream.read(CHUNK_BYTES):
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def _delimiter(block: Block) -> str:
    return "," if block.form == "csv" else "\t"


def _record(text: str, delimiter: str) -> list[str]:
    """The cells of one record; none where it is no CSV."""
    try:
        return next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter), [])
    except csv.Error:
        return []


def _end_of_records(lines: list[str], at: int, reach: int, *, is_named: bool) -> int:
    """Where the records from ``lines[at]`` to ``reach`` end: at an empty line, a note, or another table's header.

    They begin with a number, unless ``is_named``.
    """
    try:
        end = lines.index("", at, reach)
    except ValueError:
        end = reach
    if not is_named and set(map(_FIRST, lines[at:end])) <= _OF_NUMBERS:
        return end
    stops = _NOT_A_ROW if is_named else _STOPS
    return next((number for number in range(at, end) if lines[number].startswith(stops)), end)


def _spans(line: str) -> list[tuple[int, int]]:
    """Where the columns are, by the line beneath their titles; none if this is no such line."""
    stripped = line.strip()
    if not 5 <= len(stripped) <= _MAX_RULE or stripped[0] not in _BOX:
        return []
    if set(stripped) <= {"-", " "}:
        spans = [match.span() for match in re.finditer("-+", line)]
        return spans if len(spans) > 2 else []
    if not set(stripped) <= _BOX:
        return []
    joints = [number for number, character in enumerate(line) if character in _JOINTS]
    return [(a + 1, b) for a, b in pairwise(joints)] if len(joints) > 3 else []


def _cut(line: str, spans: Sequence[tuple[int, int]]) -> list[str] | None:
    """The cells of a line, cut where the columns are; by its wider gaps where it does not keep to them."""
    gaps = (line[b:a] for (_, b), (a, _) in pairwise(spans))
    if all(not gap.strip(" |\u2502") for gap in gaps) and not line[: spans[0][0]].strip(" |\u2502"):
        return [line[a:b].strip() for a, b in spans[:-1]] + [line[spans[-1][0] :].rstrip(" |\u2502").strip()]
    cells = re.split(r" {2,}", line.strip())
    return cells if len(cells) == len(spans) else None


def batches(found: Iterable[Rows], size: int) -> Iterator[Rows]:
    """The same rows in batches of at least ``size`` where a block has that many."""
    waiting: list[Row] = []
    block: Block | None = None
    for rows in found:
        if block is not None and (rows.block is not block or len(waiting) >= size):
            yield Rows(block, waiting)
            waiting = []
        block = rows.block
        waiting = [*waiting, *rows.cells] if waiting else list(rows.cells)
    if block is not None and waiting:
        yield Rows(block, waiting)
