"""Nsight Compute CSV: what ``ncu --csv`` and its forerunner ``nv-nsight-cu-cli`` print, in every dialect since 2019.

Grammar, a line each unless a quoted cell holds line ends::

    file     := (noise | page)*
    noise    := what the program printed, and the tool's own "==PROF==", "==WARNING==", "==ERROR==" lines
    page     := long | wide | summary                         the second header of a file begins another run
    long     := noise? header (noise? row | rule | noise)*    --page details: one metric of one launch a row
    wide     := noise? header units? (noise? row | noise)*    --page raw: one launch a row, a column a metric
    summary  := noise? header (row | noise)*                  --print-summary: a metric of all launches of a kernel
    header   := "ID","Process ID","Process Name","Host Name",NVTX*,"Kernel Name",...
    row      := cell ("," cell)* ","?                         a row may lack the cells behind its value
    rule     := a row without metric

Columns are found by name. They came and went: "Kernel Time" (to 2022), "Block Size", "Grid Size", "Device", "CC"
(since), rule columns, estimated speedups (2024), "Body Item Label" (2025), two NVTX columns named after what they hold.
Noise can stand before a header or row in its line. Text may be UTF-16 or have CRLF; numerals are in the locale of the
machine (see ``ncu_values``); a details page has labels in place of metrics (see ``ncu_labels``).

A launch is (process, ID) up to the next header. Its rows may stand anywhere (a sorted file); a row that gives it what
it has from the same place begins another launch of that ID. A metric given in several sections counts once, the first.

Times are those of replayed launches, so there is no start and no window. A page with scaled units has rounded
durations; a warning says by how much, and that ``--print-units base`` has them whole.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ds2prof.errors import ReadError, UnknownFormatError
from ds2prof.parsers import foreign, forked, ncu_log_lines, ncu_remarks
from ds2prof.parsers.ncu_block import Block
from ds2prof.parsers.ncu_gather import Gathered
from ds2prof.parsers.ncu_layout import Layout, cut_row, find_header
from ds2prof.parsers.ncu_lines import MAX_LINE_BYTES, Piece, Readable, as_utf8, pieces
from ds2prof.parsers.ncu_long import LongPage, ScatteredError
from ds2prof.parsers.ncu_parts import LEAST_BYTES, Stretch, read_in_parts
from ds2prof.parsers.ncu_tables import tables_of
from ds2prof.parsers.ncu_values import CommaDecimalsError, Numbers, Witness
from ds2prof.parsers.ncu_wide import WidePage
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "ncu-csv"

_TOOL_LINE: Final = re.compile(rb'(?m)^[^"\n]*==(?:PROF|WARNING|ERROR)== ')
"""A line of the tool's own. JSON that quotes one has a quote before it."""

_MAX_OPEN_LINES: Final = 64
"""How many lines a row may go on for while a quote is open: kernel names and rule texts have few."""


def sniff(head: bytes) -> bool:
    """Whether there is a header, or a line of the tool's own: its header may stand far behind a program's output."""
    text = as_utf8(head)
    if b"Kernel Name" in text and any(find_header(line) is not None for line in text.splitlines()):
        return True
    return _TOOL_LINE.search(text) is not None and not ncu_log_lines.is_log(text)


def parse(source: Source) -> Profile:
    """The profile of the launches in the file: kernels, counters, samples, rules, devices, processes.

    Raises:
        UnknownFormatError: the file is a text log of the tool with neither CSV nor pages.
        ReadError: nothing was profiled, the locale contradicts itself, or a line is endless.
    """
    loaded = lru_cache(maxsize=1)(lambda: _loaded(source))
    return Profile(lambda _: loaded())


def _loaded(source: Source) -> Loaded:
    """The tables; a log whose first bytes hold messages alone may go on with pages as text, and no CSV."""
    try:
        return load(source)
    except UnknownFormatError:
        from ds2prof.parsers import ncu_log  # it reads what is no CSV by making it one, with this module

        return ncu_log.load(source)


def load(source: Source) -> Loaded:
    """The tables of a file that is CSV.

    Raises:
        UnknownFormatError: it holds no header of a page.
        ReadError: nothing was profiled, the locale contradicts itself, or a line is endless.
    """
    comma: Witness | None = None
    scattered = False
    while True:
        reader = _Reader(source.name, comma=comma, scattered=scattered)
        try:
            reader.read(source)
            doubt = reader.gathered.numbers.settle()
        except CommaDecimalsError as error:
            assert comma is None
            comma = error.witness
        except ScatteredError:
            assert not scattered
            scattered = True
        else:
            break
    _check(source, reader)
    tables = tables_of(reader.gathered)
    return Loaded(
        ncu_remarks.meta_of(source, reader.layouts, reader.gathered, comma=comma is not None),
        tables,
        ncu_remarks.warnings_of(source.name, reader.layouts, reader.gathered, tables=tables, doubt=doubt),
    )


def _check(source: Source, reader: _Reader) -> None:
    """Refuse a file without launches, saying what it is instead."""
    if len(reader.gathered.launches):
        return
    name, messages = source.name, reader.gathered.remarks.messages
    if any("ERR_NVGPUCTRPERM" in message for message in messages):
        raise ReadError(
            f"{name}: Nsight Compute was not permitted to read the GPU's counters (ERR_NVGPUCTRPERM), so there are "
            "none; ask for the permission, or capture with 'bash run_profile.sh torch'"
        )
    if any("No kernels were profiled" in message for message in messages):
        raise ReadError(
            f"{name}: Nsight Compute profiled no kernel; was the profiled stretch reached, and is "
            "'--target-processes all' given where a child process launches them?"
        )
    if not reader.layouts:
        raise UnknownFormatError(f"{name}: {foreign.explanation(as_utf8(source.head))}")
    if any(layout.page == "summary" and "Domain" in layout.columns for layout in reader.layouts):
        raise ReadError(
            f"{name}: a summary per NVTX range counts a launch in each range around it; "
            "export with --print-summary per-kernel, or without"
        )
    damaged = reader.gathered.remarks.damaged_line
    where = f"{name}:{damaged}: no whole row" if damaged else f"{name}: no row"
    raise ReadError(f"{where} under the header of an Nsight Compute CSV; was the capture interrupted?")


class _Reader:
    """One pass over the file: finds headers, gives lines to the page they begin, and listens to the noise between."""

    def __init__(self, name: str, *, comma: Witness | None, scattered: bool) -> None:
        self.gathered = Gathered(Numbers(name, comma=comma))
        self.layouts: list[Layout] = []
        self._name = name
        self._scattered = scattered
        self._page: LongPage | WidePage | None = None
        self._open: list[bytes] = []
        self._open_line = 0
        self._line = 1

    def read(self, source: Source) -> None:
        """Read all of it, a large file on several processors."""
        size_bytes = source.size_bytes if source.is_plain else None
        processes = forked.processors() if (size_bytes or 0) >= LEAST_BYTES and not self._scattered else 1
        with source.open() as stream:
            if processes > 1 and size_bytes is not None:
                read_in_parts(self, stream, size_bytes, processes=processes)
            else:
                self.read_on(stream)
        if self._open:
            self.gathered.remarks.cut = True

    def read_on(self, stream: Readable) -> None:
        """Read the next bytes of the file, which end where a line does, or the file."""
        for piece in pieces(stream, self._name, line=self._line):
            if piece.is_ended:
                self._read(piece)
            else:
                self._read_last(piece)
            self._line = piece.line

    @property
    def block(self) -> Block | None:
        """The rows that launches have here, once that is known and their numerals are beyond doubt."""
        page = self._page if isinstance(self._page, LongPage) and self.gathered.numbers.plain else None
        return None if page is None else page.block

    def take(self, stretch: Stretch) -> bool:
        """Take over launches that come next; False if they are to be read."""
        if self._open or not isinstance(self._page, LongPage) or not self._page.take(stretch):
            return False
        self._line += len(stretch.codes) * (len(stretch.values) // len(stretch.codes))
        return True

    def _read(self, piece: Piece) -> None:
        while not piece.is_read:
            if self._page is not None and not self._open and self._page.feed(piece):
                return
            line = piece.peek()
            self._other(line, piece.line)
            piece.skip(line)

    def _read_last(self, piece: Piece) -> None:
        """The last line of a file that does not end in a line end: what is not surely whole is cut off."""
        remarks, layout, line = self.gathered.remarks, self._page.layout if self._page is not None else None, piece.body
        if layout is None or self._open or not line.startswith(b'"'):
            remarks.cut = layout is not None and not layout.quoted and layout.row_start.match(line) is not None
            if not remarks.cut:
                self._read(piece)
            return
        row = cut_row(line)
        remarks.cut = row.is_open or not layout.quoted or not layout.fits(row)
        if not remarks.cut:
            self._read(piece)

    def _other(self, line: bytes, number: int) -> None:
        """A line that is no whole row of the current page."""
        if self._open:
            self._continue(line, number)
            return
        header = find_header(line)
        if header is not None:
            self.gathered.hear(header[0])
            self._begin(header[1])
            return
        layout = self._page.layout if self._page is not None else None
        row = layout.row_start.search(line) if layout is not None else None
        if layout is None or row is None or (row.start() and not layout.glueable):
            self.gathered.hear(line)
            if layout is not None and line.startswith(b'"') and layout.fits(cut_row(line)):
                self.gathered.remarks.damage(number)
            return
        self.gathered.hear(line[: row.start()])
        self._row(line[row.start() :], number)

    def _row(self, line: bytes, number: int) -> None:
        """A row, or the beginning of one whose quotes are not all closed."""
        assert self._page is not None
        if not self._page.read(line, number):
            self._open, self._open_line = [line], number

    def _begin(self, layout: Layout) -> None:
        self.layouts.append(layout)
        self.gathered.launches.forget()
        if layout.page == "summary" and "Domain" in layout.columns:
            self._page = None
        elif layout.page == "wide":
            self._page = WidePage(layout, self.gathered)
        else:
            self._page = LongPage(layout, self.gathered, scattered=self._scattered)

    def _continue(self, line: bytes, number: int) -> None:
        """A line while a quote is open: the row goes on, or was cut and this is something else."""
        assert self._page is not None
        whole = b"\n".join((*self._open, line))
        cut = self._page.layout.row_start.match(line) or len(self._open) >= _MAX_OPEN_LINES
        if cut or len(whole) > MAX_LINE_BYTES or find_header(line) is not None:
            self.gathered.remarks.damage(self._open_line)
            self._open = []
            if self._page.read(line, number):
                return
            self._other(line, number)
        elif cut_row(whole).is_open:
            self._open.append(line)
        else:
            self._open = []
            self._row(whole, self._open_line)
