"""What the current launch was given so far: so that no metric counts twice, and a launch that begins anew is noticed."""

from __future__ import annotations

from ds2prof.parsers.ncu_gather import Gathered, Slot


class Given:
    """The slots and metrics of the current launch; of all launches if their rows are scattered.

    Args:
        gathered: where the counters are.
        scattered: launches come back to; a byte per launch and metric is kept then.
    """

    def __init__(self, gathered: Gathered, *, scattered: bool) -> None:
        self._to = gathered
        self._scattered = scattered
        self._launch = -1
        self._first = -1
        self._keys: set[int] = set()
        self._metrics: dict[int, Slot] = {}
        self._key_marks: dict[int, bytearray] = {}
        self._metric_marks: dict[int, bytearray] = {}

    def start(self, launch: int) -> None:
        """Another launch is the current one."""
        self._launch, self._first = launch, -1
        if self._keys:
            self._keys, self._metrics = set(), {}

    def took(self, slots: list[Slot]) -> None:
        """The launch was given these slots, none of which it had."""
        if slots and self._first < 0:
            self._first = slots[0].key
        for slot in slots:
            self._keys.add(slot.key)
            self._metrics.setdefault(slot.metric, slot)

    def again(self, slot: Slot) -> bool:
        """Whether this row begins the launch anew: it has it from the same place, and no page repeats it there.

        Details pages repeat a label within a section (three charts have a "Warp Occupancy"), but never their first row,
        nor one that ``--metrics`` asked for.
        """
        return self._has_key(slot) and (slot.command or self._first in (slot.key, -1))

    def has(self, slot: Slot) -> bool:
        """Whether the launch has this metric, from anywhere."""
        if self._scattered:
            return _marked(self._metric_marks, slot.metric, self._launch)
        return slot.metric in self._metrics

    def mark(self, slot: Slot) -> None:
        """The launch was given this slot."""
        if self._first < 0:
            self._first = slot.key
        if self._scattered:
            _mark(self._key_marks, slot.key, self._launch)
            _mark(self._metric_marks, slot.metric, self._launch)
        else:
            self._keys.add(slot.key)
            self._metrics.setdefault(slot.metric, slot)

    def compare(self, slot: Slot, text: bytes, number: int) -> None:
        """Remark a repeated metric whose values differ by more than what both were rounded by."""
        numbers, remarks = self._to.numbers, self._to.remarks
        first = self._metrics.get(slot.metric)
        value = numbers.read(text, slot.suffix, line=number, whole=slot.whole)
        if first is None or value is None or value != value:
            return
        known = self._value(first)
        digits = max(first.decimals, numbers.decimals(text))
        rounding = 10.0 ** (first.unit.exponent - digits) + 10.0 ** (slot.unit.exponent - digits)
        if first.pair != slot.pair or (known is not None and abs(known - value) > 0.5001 * rounding):
            remarks.conflicts += 1
            remarks.conflict_line = remarks.conflict_line or number
            remarks.conflict_metric = remarks.conflict_metric or slot.name

    def _has_key(self, slot: Slot) -> bool:
        if self._scattered:
            return _marked(self._key_marks, slot.key, self._launch)
        return slot.key in self._keys

    def _value(self, slot: Slot) -> float | None:
        """What the current launch was given for this slot; None if that was a null."""
        to = self._to
        if not to.run_launches or to.run_launches[-1] != self._launch:
            return None
        for row in range(len(to.values) - to.run_lengths[-1], len(to.values)):
            if to.pair_of[row] == slot.pair:
                value = to.values[row]
                return value if value == value else None
        return None


def _mark(marks: dict[int, bytearray], code: int, launch: int) -> None:
    launches = marks.setdefault(code, bytearray())
    launches.extend(bytes(max(0, launch + 1 - len(launches))))
    launches[launch] = 1


def _marked(marks: dict[int, bytearray], code: int, launch: int) -> bool:
    launches = marks.get(code, b"")
    return launch < len(launches) and bool(launches[launch])
