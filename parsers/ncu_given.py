"""What a launch was given so far: no metric counts twice, and a launch that begins anew is noticed."""

from __future__ import annotations

from typing import Literal

from ds2prof.parsers.ncu_gather import Gathered, Slot

Verdict = Literal["new", "repeated", "anew"]
"""Of a row: the launch has not got this metric; it has; or it has it from the same place, where no page repeats it.

Details pages repeat a label within a section (three charts have a "Warp Occupancy"), but never their first row, nor one
that ``--metrics`` asked for.
"""


class Given:
    """What the current launch was given.

    Args:
        gathered: where the counters are.
    """

    def __init__(self, gathered: Gathered) -> None:
        self._to = gathered
        self._launch = -1
        self._first = -1
        self._keys: set[int] = set()
        self._metrics: dict[int, Slot] = {}

    def start(self, launch: int, slots: list[Slot]) -> None:
        """Another launch is the current one, and was given these slots."""
        self._launch, self._first = launch, slots[0].key if slots else -1
        self._keys = {slot.key for slot in slots}
        self._metrics = {slot.metric: slot for slot in slots}

    def take(self, slot: Slot) -> Verdict:
        """Whether the launch gets something new by this row; if so, it has it from now on."""
        if slot.key in self._keys:
            return "anew" if slot.command or slot.key == self._first else "repeated"
        self._keys.add(slot.key)
        if slot.metric in self._metrics:
            return "repeated"
        self._metrics[slot.metric] = slot
        if self._first < 0:
            self._first = slot.key
        return "new"

    def compare(self, slot: Slot, text: bytes, number: int) -> None:
        """Remark a repeated metric whose values differ by more than what both were rounded by."""
        numbers, remarks = self._to.numbers, self._to.remarks
        first = self._metrics.get(slot.metric)
        value = numbers.read(text, slot.suffix, line=number, whole=slot.whole)
        if first is None or value is None or value != value or (first.key == slot.key and "__" not in slot.name):
            return  # a label that stands for several metrics of its section is not known to be any
        known = self._value(first)
        rounding = _step(first, first.decimals) + _step(slot, numbers.decimals(text))
        if first.pair != slot.pair or (known is not None and abs(known - value) > 0.5001 * rounding):
            remarks.conflict(slot.name, number)

    def _value(self, slot: Slot) -> float | None:
        """What the current launch was given for this slot; None if that was a null, or is not at hand."""
        to = self._to
        row = len(to.values)
        for run in range(len(to.run_launches) - 1, -1, -1):
            if to.run_launches[run] != self._launch:
                break
            row -= to.run_lengths[run]
        while row < len(to.values) and to.pair_of[row] != slot.pair:
            row += 1
        value = to.values[row] if row < len(to.values) else float("nan")
        return value if value == value else None


def _step(slot: Slot, digits: int) -> float:
    """By how much values with this many decimals differ at least; 0 for none, for whole numbers are printed without."""
    return 10.0 ** (slot.unit.exponent - digits) if digits > 0 else 0.0


class GivenToAll(Given):
    """What each launch was given, where launches are come back to: a byte per launch and metric."""

    def __init__(self, gathered: Gathered) -> None:
        super().__init__(gathered)
        self._key_marks: dict[int, bytearray] = {}
        self._metric_marks: dict[int, bytearray] = {}

    def take(self, slot: Slot) -> Verdict:
        """Whether the launch gets something new by this row; if so, it has it from now on."""
        if self._first < 0:
            self._first = slot.key
        if not _mark(self._key_marks, slot.key, self._launch):
            return "anew" if slot.command or slot.key == self._first else "repeated"
        self._metrics.setdefault(slot.metric, slot)
        return "new" if _mark(self._metric_marks, slot.metric, self._launch) else "repeated"


def _mark(marks: dict[int, bytearray], code: int, launch: int) -> bool:
    """Mark the launch; False if it was."""
    launches = marks.setdefault(code, bytearray())
    launches.extend(bytes(max(0, launch + 1 - len(launches))))
    if launches[launch]:
        return False
    launches[launch] = 1
    return True
