"""The long pages of an Nsight Compute CSV: details (a metric a row) and summaries (a metric of a kernel a row).

The rows of one launch share everything up to the section, and launches give the same metrics in the same order. So a
row is first compared with what is expected (two ``startswith``), and only its value is cut out; the first row of the next
launch is known by its ID and by what launches before it had in common. A row that differs is cut before its last cell and
looked up; only what is still unknown is cut into cells.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from ds2prof.parsers.ncu_gather import Gathered, Slot
from ds2prof.parsers.ncu_given import Given
from ds2prof.parsers.ncu_identity import Identities
from ds2prof.parsers.ncu_launches import NULL, Traits
from ds2prof.parsers.ncu_layout import Layout, Row, cut_row
from ds2prof.parsers.ncu_plan import END, NEVER, Plan

_QUOTE, _COMMA = b'",'
_MAX_KNOWN: Final = 1 << 14


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
        self._quick = layout.quoted and layout.tail is not None and not scattered
        self._identities = Identities(layout, gathered)
        self._slots: dict[bytes, Slot] = {}
        self._groups: dict[int, int] = {}
        self._known_traits: dict[bytes, tuple[int, Traits]] = {}
        self._given = Given(gathered, scattered=scattered)
        self._plan = Plan()
        self._order = NULL
        self._code = -1
        self._traits: Traits | None = None
        self._launch = -1
        self._prefix = NEVER
        self._ending = b'"'
        self._id_end = 2
        self._next = 0  # row of the plan that is due
        self._counted = 0  # row of the plan up to which what the quick loop kept is accounted for

    def feed(self, lines: list[bytes], start: int, first: int) -> int:
        """Read rows from ``lines[start:]``; the index of the first line that is not a whole row of this page.

        Slices are compared here, for they take half the time of ``startswith`` and ``endswith``.

        Args:
            lines: a batch.
            start: where to begin in it.
            first: the line number of the batch's first line.
        """
        numbers, rows, keep = self._to.numbers, self._plan.rows, self._to.values.append
        prefix, ending, place = self._prefix, self._ending, self._next
        size, cut = len(prefix), -len(ending)
        tail, length, read = rows[place] if numbers.plain else END
        for index, line in enumerate(islice(lines, start, None), start):
            known = line[:size] == prefix
            if not known:
                self._next = place
                known = self._turn_quickly(line)
                if known:
                    prefix, place = self._prefix, 0
                    size = len(prefix)
                    tail, length, read = rows[0] if numbers.plain else END
            value = size + length
            if known and line[size:value] == tail and line[cut:] == ending:
                text = line[value:cut]
                if _COMMA in text:
                    text = _ungrouped(text)
                try:
                    keep(read(text))
                except (ValueError, OverflowError):
                    pass
                else:
                    place += 1
                    tail, length, read = rows[place]
                    continue
            self._next = place
            self._account(is_over=False)
            if not self._known(line, first + index) and not self._unknown(line, first + index):
                return index
            prefix, ending, place = self._prefix, self._ending, self._next
            size, cut = len(prefix), -len(ending)
            tail, length, read = rows[place] if numbers.plain else END
        self._next = place
        self._account(is_over=False)
        return len(lines)

    def _account(self, *, is_over: bool) -> None:
        """Write down launch and metric of the values that the quick loop kept; what it gave, if the launch goes on."""
        begin, end = self._counted, self._next
        if end > begin:
            self._to.pair_of.extend(self._plan.pairs[begin:end])
            self._to.ran(self._launch, end - begin)
            self._counted = end
            if not is_over:
                self._given.took(self._plan.slots[begin:end])

    def _turn_quickly(self, line: bytes) -> bool:
        """Begin the next launch, if all of this row was seen before but its ID, the next in its process, and its value."""
        if line[self._id_end : self._id_end + 1] != b'"':
            self._id_end = line.find(b'"', 1)
        id_end, tail, ending = self._id_end, self._plan.rows[0].tail, self._ending
        value = line.rfind(b'"', 0, -len(ending)) + 1
        begin, order = value - len(tail), line[1:id_end]
        known = self._known_traits.get(line[id_end:begin])
        if known is None or line[begin:value] != tail or line[-len(ending) :] != ending or not order.isdigit():
            return False
        self._account(is_over=True)
        code, traits = known
        launch = self._to.launches.add_next(int(order), code, traits.process)
        if launch < 0:
            return False
        self._prefix = line[:begin]
        self._start(launch, int(order), code, traits)
        return True

    def _known(self, line: bytes, number: int) -> bool:
        """Read a row of the current launch whose cells but the value were met before."""
        if not line.startswith(self._prefix) or not line.endswith(self._ending):
            return False
        begin, end = len(self._prefix), len(line) - len(self._ending)
        value = line.rfind(b'","', begin, end) + 3
        tail, text = line[begin:value], line[value:end]
        slot = self._slots.get(tail)
        if slot is None or _QUOTE in text:
            return False
        self._give(slot, tail, text, number)
        return True

    def _unknown(self, line: bytes, number: int) -> bool:
        """Read any row; False if the line is none, or is not closed."""
        if not self.layout.row_start.match(line):
            return False
        row = cut_row(line)
        if row.is_open:
            return False
        layout, cells = self.layout, row.cells
        if not layout.fits(row) or not self._to.hear(line[row.end :]):
            self._to.remarks.damage(number)
        elif not cells[layout.at["metric"]]:
            self._to.remarks.rules += 1
        else:
            identity = self._identities.of(cells)
            if identity is None:
                self._to.remarks.damage(number)
            else:
                self._turn_to(*identity)
                tail = self._remember(line, row) if self._quick else b""
                self._give(self._slot(cells, tail), tail, cells[layout.at["value"]], number)
        return True

    def _remember(self, line: bytes, row: Row) -> bytes:
        """Note how the rows of this launch begin and end; this row's cells from the section to its value."""
        layout = self.layout
        assert layout.tail is not None
        assert self._traits is not None
        begin, value = row.start(layout.tail), row.start(layout.at["value"]) + 1
        self._prefix = line[:begin]
        text = row.cells[layout.at["value"]]
        if row.end == len(line) and _QUOTE not in text:
            self._ending = line[value + len(text) :]
        if layout.glueable and row.starts is None:
            if len(self._known_traits) >= _MAX_KNOWN:
                self._known_traits.clear()
            self._known_traits[line[len(row.cells[0]) + 1 : begin]] = (self._code, self._traits)
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
        if order == self._order and traits == self._traits:
            return
        code = self._to.launches.code(traits)
        found = self._groups.get(code) if self.layout.page == "summary" else self._to.launches.find(order, code)
        if found is None:
            self._begin(order, code, traits)
        elif self._scattered:
            self._start(found, order, code, traits)
        else:
            raise ScatteredError

    def _begin(self, order: int, code: int, traits: Traits) -> None:
        launch = self._groups[code] = self._to.launches.add(order, code)
        if self.layout.page != "summary":
            self._groups.clear()
        self._start(launch, order, code, traits)

    def _start(self, launch: int, order: int, code: int, traits: Traits) -> None:
        self._launch, self._order, self._code, self._traits = launch, order, code, traits
        self._next = self._counted = 0
        self._given.start(launch)

    def _give(self, slot: Slot, tail: bytes, text: bytes, number: int) -> None:
        """Give the current launch this metric, unless it has it; if it has it from the same place, begin another."""
        if self._given.again(slot):
            assert self._traits is not None
            self._begin(self._order, self._code, self._traits)
        repeated = self._given.has(slot)
        if repeated:
            self._given.compare(slot, text, number)
        else:
            self._keep(slot, text, number)
        self._given.mark(slot)
        if self._quick:
            special = repeated or slot.exacting or slot.attribute is not None
            self._next = self._counted = self._plan.learn(slot, tail, self._next, special=special)

    def _keep(self, slot: Slot, text: bytes, number: int) -> None:
        to = self._to
        if slot.attribute is not None:
            assert self._traits is not None
            to.attribute(self._traits.device, slot.attribute, text.decode("utf-8", "replace"))
            return
        value = to.numbers.read(text, slot.suffix, line=number, whole=slot.whole)
        if value is None:
            to.not_a_number(slot, text, number)
            return
        digits = to.numbers.decimals(text)
        slot.decimals = max(slot.decimals, digits)
        if slot.exacting and value == value:
            to.printed(slot, digits, self._launch)
        to.count(self._launch, slot, value)


def _ungrouped(text: bytes) -> bytes:
    """The numeral without the commas that group its digits in threes; nothing for any other use of commas."""
    digits = text.replace(b",", b"")
    if text[-4] == _COMMA and digits.isdigit() and len(text) - len(digits) == (len(digits) - 1) // 3:
        return digits
    whole, _, fraction = text.partition(b".")
    if fraction and _COMMA in whole and _COMMA not in fraction:
        return _ungrouped(whole) + b"." + fraction
    return b""
