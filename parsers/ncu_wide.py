"""The wide pages of an Nsight Compute CSV (``--page raw``): a launch a row, a metric a column, units above."""

from __future__ import annotations

import re
from array import array
from operator import add
from typing import Final

from ds2prof.parsers.ncu_gather import Gathered, Slot
from ds2prof.parsers.ncu_identity import Identities
from ds2prof.parsers.ncu_launches import NULL, Traits, number
from ds2prof.parsers.ncu_layout import Layout, cut_row
from ds2prof.parsers.ncu_lines import Piece

_NAMED_UNIT: Final = re.compile(r"(.*\S) (?:\(([^()]*)\)|\[([^\[\]]*)\])")
"""Some exporters write the unit behind the metric's name instead of in a row of its own."""

_DEVICE_NUMBERS: Final = ("launch__device_id", "device__attribute_device_index")


class WidePage:
    """Reads the rows under one header of a wide page.

    Args:
        layout: the header.
        gathered: where the rows go.
    """

    def __init__(self, layout: Layout, gathered: Gathered) -> None:
        self.layout = layout
        self._to = gathered
        self._identities = Identities(layout, gathered)
        self._has_units = False
        self._attributes: dict[int, Slot] = {}
        self._slow: dict[int, Slot] = {}
        self._quick: dict[int, Slot] = {}
        self._suffixes: list[bytes] = []
        self._pairs = array("i")
        self._device_places = [layout.columns.index(name) for name in _DEVICE_NUMBERS if name in layout.columns]

    def feed(self, piece: Piece) -> bool:
        """Read rows as far as there are any; False at a line that is not a whole row of this page."""
        while not piece.is_read:
            line = piece.peek()
            if not self.read(line, piece.line):
                return False
            piece.skip(line)
        return True

    def read(self, line: bytes, line_number: int) -> bool:
        """Read one row; False if the line is none, or is not closed."""
        if not self._has_units and line.startswith((b'"",', b",")):
            return self._read_units(cut_row(line).cells)
        if not self.layout.row_start.match(line):
            return False
        row = cut_row(line)
        if row.is_open:
            return False
        if not self.layout.fits(row) or not self._to.hear(line[row.end :]):
            self._to.remarks.damage(line_number)
            return True
        identity = self._identities.of(row.cells)
        if identity is None:
            self._to.remarks.damage(line_number)
            return True
        if not self._has_units:
            self._set_units(None)
        order, traits = identity
        launch = self._to.launches.add(order, self._to.launches.code(self._with_device(traits, row.cells)))
        self._counters(launch, row.cells, line_number)
        return True

    def _read_units(self, cells: list[bytes]) -> bool:
        if len(cells) != len(self.layout.columns) or cells[self.layout.at["kernel"]]:
            return False
        self._set_units([cell.decode("utf-8", "replace").strip() for cell in cells])
        return True

    def _set_units(self, units: list[str] | None) -> None:
        seen: set[str] = set()
        for place in self.layout.metric_places:
            label = self.layout.columns[place]
            unit = None if units is None else units[place]
            named = _NAMED_UNIT.fullmatch(label) if units is None else None
            if named is not None:
                label, unit = named.group(1), named.group(2) or named.group(3) or ""
            if label in seen:
                continue
            seen.add(label)
            slot = self._to.slot(label, unit)
            (self._slow if slot.attribute is None else self._attributes)[place] = slot
        self._quick = {place: slot for place, slot in self._slow.items() if not (slot.exacting or slot.is_series)}
        self._slow = {place: slot for place, slot in self._slow.items() if place not in self._quick}
        self._has_units = True
        self._line_up()

    def _line_up(self) -> None:
        """Prepare what is the same for all rows: the quick columns' suffixes and codes."""
        self._suffixes = [slot.suffix for slot in self._quick.values()]
        self._pairs = array("i", (slot.pair for slot in self._quick.values()))

    def _with_device(self, traits: Traits, cells: list[bytes]) -> Traits:
        """The traits with a device, where the page tells it in a metric; notes what the page tells of the device."""
        places = iter(self._device_places)
        while traits.device == NULL and (place := next(places, None)) is not None:
            traits = traits._replace(device=number(cells[place]))
        known = self._to.devices.get(traits.device, {})
        if self._attributes and not known.keys() - {"cc"}:
            for place, slot in self._attributes.items():
                assert slot.attribute is not None
                self._to.attribute(traits.device, slot.attribute, cells[place].decode("utf-8", "replace"))
        return traits

    def _counters(self, launch: int, cells: list[bytes], line_number: int) -> None:
        to = self._to
        if to.numbers.plain:
            try:
                values = array("d", map(float, map(add, map(cells.__getitem__, self._quick), self._suffixes)))
            except ValueError:
                self._slow_down(cells)
                self._counters(launch, cells, line_number)
                return
            to.keep(range(launch, launch + 1), self._pairs, values)
        for place, slot in self._slow.items() if to.numbers.plain else (*self._quick.items(), *self._slow.items()):
            if cells[place]:
                self._counter(launch, slot, cells[place], line_number)

    def _counter(self, launch: int, slot: Slot, text: bytes, line_number: int) -> None:
        to = self._to
        if slot.is_series or text.endswith(b")"):
            scalar = to.scalar(launch, slot, text, line_number)
            if scalar is None:
                return
            text = scalar
        value = to.numbers.read(text, slot.suffix, line=line_number, whole=slot.whole)
        if value is None:
            to.not_a_number(slot, text, line_number)
            return
        if slot.exacting and value == value:
            to.printed(slot, to.numbers.decimals(text), launch)
        to.count(launch, slot, value)
        to.is_unordered = to.is_unordered or bool(self._quick)

    def _slow_down(self, cells: list[bytes]) -> None:
        """Take the columns out of the quick ones whose cells are no plain numerals: text, empty, grouped digits."""
        for place, slot in tuple(self._quick.items()):
            try:
                float(cells[place] + slot.suffix)
            except ValueError:
                self._slow[place] = self._quick.pop(place)
        self._line_up()
