"""What is asked of a GPU, and how the answer becomes readings.

Names are those of ``nvidia-smi --query-gpu``, whichever of the two sources answers; the reasons that hold clocks back
are called ``held_back.*`` in the file. Some readings are kept as they come; those that move slowly, and the reasons,
are gathered for about a second (:class:`Slow`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ds2prof.sampling.rows import LAST, MEAN, Row

_BYTES_PER_MIB: Final = 1 << 20
_HZ_PER_MHZ: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
REASONS: Final = {
    "sw_power_cap": ("power_cap", 0x4),
    "hw_slowdown": ("hw_slowdown", 0x8),
    "sw_thermal_slowdown": ("sw_thermal", 0x20),
    "hw_thermal_slowdown": ("hw_thermal", 0x40),
    "hw_power_brake_slowdown": ("power_brake", 0x80),
}
"""The reasons that slow a GPU that has work to do -> their name in the file, their bit in NVML."""
REASON: Final = "clocks_event_reasons."
OLD_REASON: Final = "clocks_throttle_reasons."
"""The same before driver 535."""
HELD_BACK: Final = "held_back."


@dataclass(frozen=True)
class Field:
    """One quantity: what nvidia-smi prints times ``scale`` is in ``unit``."""

    name: str
    unit: str
    scale: float = 1
    slow: bool = False
    mean: bool = False
    """Whether a reading is a mean over the driver's own period, or (slow) gathered as one."""
    metric: str = ""
    """What it is called in the file, where that is not its name."""


FIELDS: Final = (
    Field("utilization.gpu", "ratio", 0.01, mean=True),
    Field("utilization.memory", "ratio", 0.01, mean=True),
    Field("memory.used", "byte", _BYTES_PER_MIB),
    Field("power.draw", "watt"),
    Field("clocks.current.sm", "hertz", _HZ_PER_MHZ),
    Field("clocks.current.memory", "hertz", _HZ_PER_MHZ, slow=True),
    Field("temperature.gpu", "celsius", slow=True),
    Field("pstate", "count", slow=True),
    *(
        Field(REASON + reason, "ratio", slow=True, mean=True, metric=HELD_BACK + name)
        for reason, (name, _) in REASONS.items()
    ),
)
"""Of both sources. NVML has bytes, hertz and ratios made of its own units before they come here: nothing is rounded."""
ENERGY: Final = "total_energy_consumption"
"""NVML's counter of joules; from two readings of it comes the mean power between them."""


@dataclass(frozen=True)
class Reading:
    """What was read of one device at one moment, in base units."""

    start_ns: int
    device: int
    values: Mapping[str, float]
    entity: str | None = None


def number_in(cell: str) -> float | None:
    """The number in a cell as nvidia-smi prints it: ``71.20``, ``P2``, ``Active``; None for ``[N/A]`` and the like."""
    flag = {"Active": 1.0, "Not Active": 0.0}.get(cell)
    if flag is not None:
        return flag
    digits = cell[1:] if cell[:1] == "P" else cell
    if not digits.replace(".", "", 1).isdecimal() or len(digits) > 30:
        return None
    return float(digits)


def quick_rows(reading: Reading) -> Iterator[Row]:
    """The readings that are kept as they come."""
    for one in FIELDS:
        value = reading.values.get(one.name)
        if not one.slow and value is not None:
            yield _row(reading, one, value)


def _row(reading: Reading, one: Field, value: float, period_ns: int | None = None) -> Row:
    kind = MEAN if one.mean else LAST
    return Row(
        one.metric or one.name, one.unit, value, reading.start_ns, period_ns, reading.device, reading.entity, kind
    )


@dataclass
class _Gathered:
    """What was read of one device since its last slow rows."""

    begin_ns: int
    latest: dict[str, float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    energy: tuple[int, float] | None = None
    """When the counter of energy was read last, and what it said."""


class Slow:
    """Readings gathered until they are asked for: the share of time of each reason, the last of the others."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, str | None], _Gathered] = {}
        self._energy: dict[tuple[int, str | None], tuple[int, float]] = {}

    def add(self, reading: Reading) -> None:
        """Takes what is slow of a reading."""
        key = (reading.device, reading.entity)
        gathered = self._of.setdefault(key, _Gathered(reading.start_ns))
        for one in FIELDS:
            value = reading.values.get(one.name)
            if one.slow and value is not None:
                gathered.latest[one.name] = value
                gathered.sums[one.name] = gathered.sums.get(one.name, 0.0) + value
                gathered.counts[one.name] = gathered.counts.get(one.name, 0) + 1
        if ENERGY in reading.values:
            gathered.energy = (reading.start_ns, reading.values[ENERGY])

    def rows(self, now_ns: int) -> Iterator[Row]:
        """The readings of the time since the last call."""
        for key, gathered in self._of.items():
            at = Reading(gathered.begin_ns, key[0], {}, key[1])
            for one in FIELDS:
                if one.name not in gathered.counts:
                    continue
                if one.mean:
                    mean = gathered.sums[one.name] / gathered.counts[one.name]
                    yield _row(at, one, mean, max(1, now_ns - gathered.begin_ns))
                else:
                    yield _row(Reading(now_ns, key[0], {}, key[1]), one, gathered.latest[one.name])
            yield from self._power(key, gathered)
        self._of = {key: _Gathered(now_ns) for key in self._of}

    def _power(self, key: tuple[int, str | None], gathered: _Gathered) -> Iterator[Row]:
        """Mean power from the counter of energy, exact where ``power.draw`` is a sample or a mean of the driver's."""
        if gathered.energy is None:
            return
        now_ns, joules = gathered.energy
        begin_ns, before = self._energy.get(key, gathered.energy)
        self._energy[key] = gathered.energy
        if now_ns > begin_ns and joules >= before:
            watts = (joules - before) * _NS_PER_S / (now_ns - begin_ns)
            yield Row("power.mean", "watt", watts, begin_ns, now_ns - begin_ns, key[0], key[1], MEAN)
