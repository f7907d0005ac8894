"""The long pages of an Nsight Compute CSV: details (a metric a row) and summaries (a metric of a kernel a row).

A launch whose rows are those of the launch before is read at a stroke (see ``ncu_block``). A row of the current launch
is cut before its last cell and the rest looked up; only what is still unknown is cut into cells.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.ncu_block import Block, BlockRow, Blocks, Style
from ds2prof.parsers.ncu_gather import Gathered, Slot
from ds2prof.parsers.ncu_given import Given, GivenToAll
from ds2prof.parsers.ncu_identity import Identities
from ds2prof.parsers.ncu_launches import NULL, Traits
from ds2prof.parsers.ncu_layout import Layout, Row, cut_row
from ds2prof.parsers.ncu_lines import Piece
from ds2prof.parsers.ncu_parts import Stretch
from ds2prof.parsers.ncu_split import Split

_QUOTE, _COMMA = b'",'
_NEVER: Final = b"\n"
"""A beginning that no line has."""

_LETTER: Final = re.compile(rb"[A-Za-z]")
_MAX_MET: Final = 1 << 12
_MAX_REACH: Final = 1 << 12
"""How many launches are matched before any is looked at; few where looking breaks off."""
_LEAST_SPLIT_BYTES: Final = 16 << 10
_MAX_PATIENCE: Final = 31
"""How many pieces are passed over, at most, before splitting is tried again where it failed."""


class ScatteredError(Exception):
    """The rows of a launch do not stand together: the file must be read again with that known. Caught by the reader."""


class LongPage:
    """Reads the rows under one header of a long page.

    Args:
        layout: the header.
        gathered: where the rows go.
        scattered: rows of one launch may stand anywhere; slower, and found out by :class:`ScatteredError`.
    """

    def __init__(self, layout: Layout, gathered: Gathered, *, scattered: bool) -> None:
        self.layout = layout
        self._to = gathered
        self._scattered = scattered
        self._is_quick = layout.quoted and layout.tail is not None and not scattered
        self._identities = Identities(layout, gathered)
        self._given = GivenToAll(gathered) if scattered else Given(gathered)
        self._slots: dict[bytes, Slot] = {}
        self._groups: dict[int, int] = {}
        self._launch, self._order, self._code = -1, NULL, -1
        self._traits: Traits | None = None
        self._prefix, self._style = _NEVER, Style()
        self._blocks = Blocks((layout.tail or 0) - 1)
        self._block: Block | None = None
        self._reach = _MAX_REACH
        self._patience = self._passed_over = 0
        self._met: dict[bytes, tuple[int, int]] = {}
        self._rows: list[BlockRow] = []
        self._is_regular = False

    def feed(self, piece: Piece) -> bool:
        """Read rows as far as there are any; False at a line that is not a whole row of this page."""
        while not piece.is_read:
            goes_on = piece.body.startswith(self._prefix, piece.at)
            if not goes_on and self._block is not None and (self._to.numbers.plain or self._block.is_neutral):
                size = self._read_launches(piece, self._block)
                if piece.is_read or (size > len(piece.body) - piece.at and not piece.is_last):
                    return True
            line = piece.peek()
            if not self.read(line, piece.line):
                return False
            piece.skip(line)
        return True

    def read(self, line: bytes, number: int) -> bool:
        """Read one row; False if the line is none, or is not closed."""
        return self._read_known(line, number) or self._read_any(line, number)

    def _read_launches(self, piece: Piece, block: Block) -> int:
        """Read whole launches at a stroke, as long as each has the same rows, and an ID that is new to its process.

        Returns:
            How many bytes the last of them takes, 0 if there was none.
        """
        found = self._split(piece, block) or block.matched(piece.body, piece.at, most=self._reach)
        if found is None:
            return 0
        met = [self._met.get(cells) or self._meet(cells, block) for cells in found.cells]
        first = len(self._to.launches)
        count = self._to.launches.add_all(found.orders, met)
        self._reach = min(2 * self._reach, _MAX_REACH) if count == len(met) else 1
        if not count:
            return 0
        self._to.keep(range(first, first + count), block.pairs, found.values(count))
        extent = found.extent(count)
        piece.line += extent.lines
        piece.at += extent.size_bytes
        self._prefix = b'"%d",%b' % (found.orders[count - 1], found.cells[count - 1])
        self._start(first + count - 1, found.orders[count - 1], met[count - 1][0], slots=block.slots)
        return extent.last_bytes

    @property
    def block(self) -> Block | None:
        """The rows that launches have here, once that is known."""
        return self._block

    def take(self, stretch: Stretch) -> bool:
        """Take over launches that were cut out with :attr:`block`; False if they do not go on from what is known."""
        block, orders = self._block, stretch.orders
        if block is None or len(block.slots) * len(orders) != len(stretch.values):
            return False
        distinct = [self._met.get(cells) or self._meet(cells, block) for cells in stretch.cells]
        met = [distinct[code] for code in stretch.codes]
        first_cells, last_cells = stretch.cells[stretch.codes[0]], stretch.cells[stretch.codes[-1]]
        if b'"%d",%b' % (orders[0], first_cells) == self._prefix or not self._to.launches.are_new(orders, met):
            return False
        first = len(self._to.launches)
        self._to.launches.add_all(orders, met)
        self._to.keep(range(first, first + len(orders)), block.pairs, stretch.values)
        self._prefix = b'"%d",%b' % (orders[-1], last_cells)
        self._start(first + len(orders) - 1, orders[-1], met[-1][0], slots=block.slots)
        return True

    def _split(self, piece: Piece, block: Block) -> Split | None:
        """The launches of a large piece that is regular to its end."""
        if block.splitter is None or self._reach < _MAX_REACH or len(piece.body) - piece.at < _LEAST_SPLIT_BYTES:
            return None
        if self._passed_over:
            self._passed_over -= 1
            return None
        found = block.splitter.split(piece.body, piece.at, groups=self._to.numbers.plain)
        self._patience = 0 if found is not None else min(2 * self._patience + 1, _MAX_PATIENCE)
        self._passed_over = self._patience
        return found

    def _meet(self, cells: bytes, block: Block) -> tuple[int, int]:
        """Code and process of the traits of a launch, whose cells up to the section were not met before."""
        identity = self._identities.of(cut_row(b'"0",' + cells).cells) if block.is_identity(cells) else None
        if identity is None:
            return -1, NULL
        if len(self._met) >= _MAX_MET:
            self._met.clear()
        _, traits = identity
        self._met[cells] = met = (self._to.launches.code(traits), traits.process)
        return met

    def _read_known(self, line: bytes, number: int) -> bool:
        """Read a row of the current launch whose cells but the value were met before."""
        if not line.startswith(self._prefix) or not line.endswith(self._style.ending):
            return False
        begin, end = len(self._prefix), len(line) - len(self._style.ending)
        value = line.rfind(b'","', begin, end) + 3
        tail, text = line[begin:value], line[value:end]
        slot = self._slots.get(tail)
        if slot is None or _QUOTE in text:
            return False
        self._give(slot, tail, text, number)
        return True

    def _read_any(self, line: bytes, number: int) -> bool:
        """Read any row; False if the line is none, or is not closed."""
        if not self.layout.row_start.match(line):
            return False
        row = cut_row(line)
        if row.is_open:
            return False
        layout, cells = self.layout, row.cells
        if not layout.fits(row) or not self._to.hear(line[row.end :]):
            self._to.remarks.damage(number)
        elif not cells[layout.at["metric"]] and "Rule Name" in layout.columns:
            self._rule(cells)
        else:
            identity = self._identities.of(cells)
            if identity is None or not _LETTER.search(cells[layout.at["metric"]]):
                self._to.remarks.damage(number)
            else:
                self._turn_to(*identity)
                tail = self._remember(line, row) if self._is_quick else b""
                self._give(self._slot(cells, tail), tail, cells[layout.at["value"]], number)
        return True

    def _rule(self, cells: list[bytes]) -> None:
        """Keep what a rule says of its launch."""
        identity = self._identities.of(cells)
        name, section, kind, text, speedup_kind, speedup = (
            cells[place] if 0 <= place < len(cells) else b"" for place in self.layout.rule_places
        )
        if identity is None or not name:
            return
        launch = self._to.launches.find_named(*identity)
        if launch is None:
            self._to.remarks.lone_rules += 1
            return
        self._to.rule(launch, (section, name, kind, text), speedup=(speedup_kind, speedup))

    def _remember(self, line: bytes, row: Row) -> bytes:
        """Note how the rows of this launch begin and end; this row's cells from the section to its value."""
        layout = self.layout
        assert layout.tail is not None
        begin, value = row.start(layout.tail), row.start(layout.at["value"]) + 1
        self._prefix = line[:begin]
        if row.starts is not None:
            self._style = self._style._replace(is_escaped=True)
        text = row.cells[layout.at["value"]]
        if row.end == len(line) and _QUOTE not in text:
            self._style = self._style._replace(ending=line[value + len(text) :])
        return line[begin:value]

    def _slot(self, cells: list[bytes], tail: bytes) -> Slot:
        at = self.layout.at
        key = tail or b"\x00".join(cells[at[name]] for name in ("section", "item", "metric", "unit") if name in at)
        slot = self._slots.get(key)
        if slot is None:
            section, item, label, unit = (
                cells[at[name]].decode("utf-8", "replace").strip() if name in at else None
                for name in ("section", "item", "metric", "unit")
            )
            slot = self._slots[key] = self._to.slot(label or "", unit, section=section or "", item=item or "")
        return slot

    def _turn_to(self, order: int, traits: Traits) -> None:
        """Make this the current launch: the one it was, one met before, or a new one."""
        launches = self._to.launches
        code = launches.code(traits)
        if self._launch >= 0 and order == self._order and launches.is_same(code, self._code):
            return
        found = self._groups.get(code) if self.layout.page == "summary" else launches.find(order, code)
        if found is None:
            self._begin(order, code)
        elif self._scattered:
            self._start(found, order, code)
        else:
            raise ScatteredError

    def _begin(self, order: int, code: int) -> None:
        """A new launch; the rows of the one before show what is to be expected."""
        if self._is_regular:
            self._block = self._blocks.block(self._rows, self._style) or self._block
        launch = self._to.launches.add(order, code)
        if self.layout.page == "summary":
            self._groups[code] = launch
        self._start(launch, order, code)
        self._is_regular = self._is_quick and self.layout.glueable

    def _start(self, launch: int, order: int, code: int, *, slots: list[Slot] | None = None) -> None:
        self._launch, self._order, self._code = launch, order, code
        self._given.start(launch, slots or [])
        self._rows = []
        self._is_regular = False

    def _give(self, slot: Slot, tail: bytes, text: bytes, number: int) -> None:
        """Give the current launch this metric, unless it has it; if it has it from the same place, begin another."""
        verdict = self._given.take(slot)
        if verdict == "anew":
            self._begin(self._order, self._code)
            verdict = self._given.take(slot)
        if verdict == "repeated":
            self._given.compare(slot, text, number)
            self._is_regular = False
        elif slot.attribute is not None:
            device = self._to.launches.traits(self._code).device
            self._to.attribute(device, slot.attribute, text.decode("utf-8", "replace"))
            self._is_regular = False
        else:
            self._keep(slot, tail, text, number)

    def _keep(self, slot: Slot, tail: bytes, text: bytes, number: int) -> None:
        to = self._to
        if slot.is_series or text.endswith(b")"):
            self._is_regular = False
            scalar = to.scalar(self._launch, slot, text, number)
            if scalar is None:
                return
            text = scalar
        value = to.numbers.read(text, slot.suffix, line=number, whole=slot.whole)
        if value is None:
            to.not_a_number(slot, text, number)
            self._is_regular = False
            return
        to.count(self._launch, slot, value)
        is_nothing = value != value
        if slot.exacting and not is_nothing:
            to.printed(slot, to.numbers.decimals(text), self._launch)
        if slot.whole or slot.decimals < 0:
            slot.decimals = max(slot.decimals, to.numbers.decimals(text))
        if slot.exacting or (is_nothing and not text.isalnum() and text != b"n/a"):
            self._is_regular = False
        if self._is_regular:
            is_whole = slot.whole and not slot.decimals
            self._rows.append(BlockRow(tail, slot, text if is_nothing else None, is_whole))
            if _COMMA in text and is_whole:
                self._style = self._style._replace(groups_whole=True)
            elif _COMMA in text:
                self._style = self._style._replace(groups_others=True)
