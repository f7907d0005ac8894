"""What the next rows of a launch will be, learned from the launches before it."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final, NamedTuple

from ds2prof.parsers.ncu_gather import Slot

NEVER: Final = b"\n"
"""A beginning that no line has."""

_MEMO_SIZE: Final = 1 << 14


class Memo(dict[bytes, float]):
    """Numeral -> value in base units. Percentages with two decimals come again and again."""

    def __init__(self, suffix: bytes) -> None:
        self._suffix = suffix

    def __missing__(self, text: bytes) -> float:
        value = float(text + self._suffix)
        if len(self) < _MEMO_SIZE:
            self[text] = value
        return value


class Expected(NamedTuple):
    """One row: its cells from the section to the quote before the value, where they end, and what reads the value."""

    tail: bytes
    size: int
    read: Callable[[bytes], float]


END: Final = Expected(NEVER, 1, float)


class Plan:
    """The rows of a launch in the order they were met in, which is that of the launches to come.

    Attributes:
        rows: what each row should begin with; :data:`END` closes them. Changed in place.
        slots: the slot of each.
        pairs: the code of each that its counter is kept under.
    """

    def __init__(self) -> None:
        self.rows: list[Expected] = [END]
        self.slots: list[Slot] = []
        self.pairs = array("i")
        self._places: dict[int, int] = {}
        self._memos: dict[bytes, Memo] = {}

    def learn(self, slot: Slot, tail: bytes, at: int, *, special: bool) -> int:
        """Expect this row, which was met where row ``at`` was due; the place of the row that is due then.

        A row that is expected further on was reached by leaving out those before it. One that is not expected at all
        takes the place of all that follow. A ``special`` row needs a closer look each time and never matches.
        """
        row = END if special else Expected(tail, len(tail), self._reading(slot))
        place = self._places.get(slot.key)
        if place is None:
            for gone in self.slots[at:]:
                self._places.pop(gone.key, None)
            self._places[slot.key] = at
            self.slots[at:], self.rows[at:], self.pairs[at:] = [slot], [row, END], array("i", [slot.pair])
            return at + 1
        if place >= at:
            self.slots[place], self.rows[place], self.pairs[place] = slot, row, slot.pair
            return place + 1
        return at

    def _reading(self, slot: Slot) -> Callable[[bytes], float]:
        if slot.whole and not slot.decimals:
            return int
        memo = self._memos.get(slot.suffix)
        if memo is None:
            memo = self._memos[slot.suffix] = Memo(slot.suffix)
        return memo.__getitem__
