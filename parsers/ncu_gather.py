"""What the pages of an Nsight Compute CSV bring, gathered: counters a column each, devices, processes, remarks.

One row per launch and metric is kept, twelve bytes while it grows.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ds2prof.parsers.ncu_labels import metric_of
from ds2prof.parsers.ncu_launches import NULL, Launches
from ds2prof.parsers.ncu_rules import Rule, kind_of, ratio_of
from ds2prof.parsers.ncu_series import Series, cut_instances, is_series
from ds2prof.parsers.ncu_values import NAN, Numbers, Unit, is_whole, unit_of

COMMAND_LINE: Final = frozenset(("", "Command line profiler metrics"))
"""Sections whose rows are what ``--metrics`` asked for: each metric once."""

DURATIONS: Final = ("gpu__time_duration.sum", "gpu__time_duration.max", "gpu__time_duration.avg")
"""What a launch's duration is read from, the best first. The GPU is one unit, so that its rollups are all the same."""

SHARED: Final = {
    "static_shared_bytes": "launch__shared_mem_per_block_static",
    "dynamic_shared_bytes": "launch__shared_mem_per_block_dynamic",
}
"""Column of the kernels table -> the metric it is read from."""

_EXACT: Final = frozenset((*DURATIONS, *SHARED.values()))
_DEVICE_PREFIX: Final = "device__attribute_"
PERCENT: Final = re.compile(r"[._]pct(?:_of_peak_\w+)?\Z")
_MESSAGE: Final = re.compile(rb"==(?:ERROR|WARNING)== *([^\r\n]{1,400})")
_MAX_MESSAGES: Final = 1000
_NO_NUMBERS: Final = frozenset(("", "no data", "n/a"))


@dataclass
class Slot:
    """A kind of row: one label, in one section, in one unit.

    Attributes:
        key: the code of (section, item, label): what a launch can give once.
        metric: the code of the metric's name.
        pair: the code of (metric, base unit).
        unit: the base unit.
        name: the metric.
        suffix: what brings a numeral to the base unit.
        attribute: what it says of the device, where it is no counter.
        whole: its values can have no decimals.
        exacting: a duration or size that is wanted to the last digit, in a larger unit: digits may be lost.
        command: it was asked for by ``--metrics``.
        unit_text: the unit as printed.
        is_series: it is sampled within a launch, and no counter of it.
        decimals: how many digits stand behind the separator, where that was looked at; -1 before.
    """

    key: int
    metric: int
    pair: int
    unit: Unit
    name: str
    suffix: bytes
    attribute: str | None
    whole: bool
    exacting: bool
    command: bool
    unit_text: str
    is_series: bool
    decimals: int = -1


@dataclass
class Rounding:
    """Durations that were printed with fewer digits than nanoseconds need."""

    launches: int = 0
    step_ns: int = 1
    units: dict[str, None] = field(default_factory=dict)


@dataclass
class Remarks:
    """What was odd in the file, for warnings. Lines are those of the first sight; 0 is none."""

    damaged: int = 0
    damaged_line: int = 0
    cut: bool = False
    texts: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    conflicts: int = 0
    conflict_line: int = 0
    conflict_metric: str = ""
    messages: dict[str, None] = field(default_factory=dict)
    unitless: int = 0
    sections: dict[str, None] = field(default_factory=dict)
    items: bool = False
    rounding: Rounding = field(default_factory=Rounding)
    device_conflicts: int = 0
    negative: int = 0
    lone_series: dict[str, None] = field(default_factory=dict)
    lone_rules: int = 0

    def conflict(self, metric: str, line: int) -> None:
        """A value that differs from what an earlier row said of the same launch and metric."""
        self.conflicts += 1
        self.conflict_line = self.conflict_line or line
        self.conflict_metric = self.conflict_metric or metric

    def damage(self, line: int) -> None:
        """A row that cannot be understood."""
        self.damaged += 1
        self.damaged_line = self.damaged_line or line


class Gathered:
    """Everything that one pass over the file has brought so far.

    Attributes:
        numbers: reads the numerals.
        launches: the launches.
        remarks: what was odd.
        run_launches: the launches of the counters, one for each stretch of them.
        run_lengths: how many counters each stretch has.
        pair_of: the code in ``pairs`` of each counter.
        values: the value of each counter, in base units.
        is_unordered: a launch's counters do not stand in the order of ``pairs``, as they should.
        inexact: metric that is wanted to the last digit -> launches where the page has rounded it.
        devices: number -> what the page tells of the device.
        processes: number -> name and host.
        metrics: name -> code.
        pairs: (metric, base unit) -> code.
        rules: what rules say of launches.
        series: metrics sampled within launches.
    """

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.launches = Launches()
        self.remarks = Remarks()
        self.run_launches = array("i")
        self.run_lengths = array("i")
        self.pair_of = array("i")
        self.values = array("d")
        self.is_unordered = False
        self.inexact: dict[str, array[int]] = {}
        self.devices: dict[int, dict[str, str]] = {}
        self.processes: dict[int, tuple[str, str]] = {}
        self.metrics: dict[str, int] = {}
        self.pairs: dict[tuple[str, str], int] = {}
        self.rules: list[Rule] = []
        self.series: list[Series] = []
        self._keys: dict[tuple[str, str, str], int] = {}

    def slot(self, label: str, unit_text: str | None, *, section: str = "", item: str = "") -> Slot:
        """The slot of rows with these cells; ``unit_text`` is None where the page tells no units."""
        name = metric_of(section, item, label)
        if unit_text is None:
            self.remarks.unitless += 1
            unit_text = "%" if PERCENT.search(name) else ""
        unit = unit_of(unit_text)
        if section:
            self.remarks.sections.setdefault(section)
        self.remarks.items = self.remarks.items or bool(item)
        return Slot(
            key=self._keys.setdefault((section, item, label), len(self._keys)),
            metric=self.metrics.setdefault(name, len(self.metrics)),
            pair=self.pairs.setdefault((name, unit.name), len(self.pairs)),
            unit=unit,
            name=name,
            suffix=unit.suffix,
            attribute=name.removeprefix(_DEVICE_PREFIX) if name.startswith(_DEVICE_PREFIX) else None,
            whole=is_whole(name, unit),
            exacting=name in _EXACT and unit.exponent > 0,
            command=section in COMMAND_LINE,
            unit_text=unit_text,
            is_series=is_series(name),
        )

    def count(self, launch: int, slot: Slot, value: float) -> None:
        """Keep one counter of one launch."""
        self.pair_of.append(slot.pair)
        self.values.append(value)
        self.run_launches.append(launch)
        self.run_lengths.append(1)

    def keep(self, launches: range, pairs: array[int], values: array[float]) -> None:
        """Keep the counters of successive launches, which all have the same."""
        self.values.extend(values)
        self.pair_of.extend(pairs * len(launches))
        self.run_launches.extend(launches)
        self.run_lengths.extend(array("i", (len(pairs),)) * len(launches))

    def scalar(self, launch: int, slot: Slot, text: bytes, line: int) -> bytes | None:
        """The metric's own value in a cell that may list instances; None where it has none.

        A series has none that would be the launch's: its readings are kept where the cell lists them.
        """
        own, instances = cut_instances(text)
        if not slot.is_series:
            return own or None
        if instances:
            read = [self.numbers.read(instance, slot.suffix, line=line) for instance in instances]
            values = np.array([NAN if value is None else value for value in read])
            self.series.append(Series(launch, slot.name, slot.unit.name, values))
        elif own not in (b"", b"n/a", b"no data"):
            self.remarks.lone_series.setdefault(slot.name)
        return None

    def rule(self, launch: int, cells: Sequence[bytes], *, speedup: tuple[bytes, bytes]) -> None:
        """Keep what a rule says; ``cells`` are section, name, type and text, ``speedup`` its type and percent."""
        section, name, kind, text = (cell.decode("utf-8", "replace") for cell in cells)
        speedup_kind = speedup[0].decode("utf-8", "replace").strip().lower()
        self.rules.append(Rule(launch, section, name, kind_of(kind), text, speedup_kind or None, ratio_of(speedup[1])))

    def printed(self, slot: Slot, digits: int, launch: int) -> None:
        """Note with how many decimals an exacting value stands in the file; whole numbers are printed without."""
        lost = slot.unit.exponent - digits
        if digits == 0 or lost <= 0:
            return
        self.inexact.setdefault(slot.name, array("i")).append(launch)
        if slot.name in DURATIONS:
            rounding = self.remarks.rounding
            rounding.launches += 1
            rounding.step_ns = max(rounding.step_ns, 10**lost)
            rounding.units.setdefault(slot.unit_text)

    def not_a_number(self, slot: Slot, text: bytes, line: int) -> None:
        """Note a cell that should have held a number."""
        texts = self.remarks.texts
        seen, first, shown = texts.get(slot.metric, (0, line, text[:40].decode("utf-8", "replace")))
        texts[slot.metric] = (seen + 1, first, shown)

    def attribute(self, device: int, name: str, text: str) -> None:
        """Note what a page says of a device; the first says it."""
        if device != NULL and text not in _NO_NUMBERS:
            known = self.devices.setdefault(device, {}).setdefault(name, text)
            self.remarks.device_conflicts += known != text and name in ("cc", "display_name")

    def hear(self, text: bytes) -> bool:
        """Keep the tool's errors and warnings in text that is no row; False if the text looks torn off a row."""
        if b"==" in text:
            for message in _MESSAGE.findall(text) if len(self.remarks.messages) < _MAX_MESSAGES else ():
                self.remarks.messages.setdefault(message.decode("utf-8", "replace").strip())
            return True
        return b'"' not in text

    def process(self, process: int, name: bytes, host: bytes) -> None:
        """Note a process; the first row says what it is."""
        if process != NULL and process not in self.processes:
            self.processes[process] = (name.decode("utf-8", "replace"), host.decode("utf-8", "replace"))
