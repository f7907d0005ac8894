"""The tables of an Nsight Compute report, from what NVIDIA's library answers for each result."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.ncu_gather import DURATIONS, PERCENT, Gathered
from ds2prof.parsers.ncu_launches import NULL, Traits
from ds2prof.parsers.ncu_nvtx import Open
from ds2prof.parsers.ncu_rep_container import Container
from ds2prof.parsers.ncu_rep_process import Answered, ResultFacts, RuleFacts
from ds2prof.parsers.ncu_rules import Rule, plain
from ds2prof.parsers.ncu_series import Series
from ds2prof.parsers.ncu_tables import KERNEL_METRICS, tables_of
from ds2prof.parsers.ncu_values import Numbers, unit_of
from ds2prof.tables import Table, checked, text_column

_INTERVAL: Final = "profiler__pmsampler_interval"
_INTERVALS: Final = tuple(f"{_INTERVAL}{ending}" for ending in ("", "_time", "_ns", "_time_ns"))
_RULE_KINDS: Final[Mapping[int, str]] = {1: "info", 2: "optimization", 3: "warning", 4: "error"}
"""The library's number for the kind of a message -> kind; 0 is a rule that has nothing to object."""

_SPEEDUP_KINDS: Final[Mapping[int, str]] = {1: "local", 2: "global"}


def metrics_for(names: frozenset[str]) -> tuple[str, ...]:
    """The metrics that these tables are made of; none stands for all."""
    return () if "counters" in names else (*sorted(KERNEL_METRICS), *_INTERVALS)


FloatArray = npt.NDArray[np.float64]


class _Layout(NamedTuple):
    """What the values of a result mean: the code of each counter, and how many powers of ten it is from base units."""

    pairs: npt.NDArray[np.intc]
    exponents: npt.NDArray[np.int64]
    interval: int


class Collected:
    """Takes in the results of a report, one after the other."""

    def __init__(self, name: str, container: Container) -> None:
        self._name = name
        self._container = container
        self._to = Gathered(Numbers(name))
        self._layouts: dict[tuple[int, float | None], _Layout] = {}
        self._kinds: list[str | None] = []
        self._mangled: list[str | None] = []
        self._unexpected = 0
        self._odd_times = 0
        for process, (program, host) in container.processes.items():
            self._to.process(process, _bytes(program), _bytes(host))

    def add(self, answered: Answered) -> None:
        """Take in the next result."""
        facts = answered.facts
        place = len(self._to.launches)
        launch = self._to.launches.add(place, self._to.launches.code(self._traits(facts, place)))
        self._kinds.append(None if facts.kind in (None, "kernel") else facts.kind)
        self._mangled.append(facts.mangled if facts.mangled and facts.mangled != facts.name else None)
        self._unexpected += not facts.is_expected
        layout = self._layout(answered)
        values = _scaled(answered.values, layout.exponents)
        present = np.isfinite(values)
        pairs = layout.pairs[present]
        kept = array("d", values[present].tobytes())
        self._to.keep(range(launch, launch + 1), array("i", pairs.tobytes()), kept)
        for attribute, text in (facts.attributes or {}).items():
            self._to.attribute(_device(facts), attribute, text)
        self._to.rules += [_rule(launch, rule) for rule in facts.rules]
        self._series(launch, answered, layout)

    @property
    def is_empty(self) -> bool:
        """Whether there was no result."""
        return not self._kinds

    def tables(self, names: frozenset[str]) -> dict[str, Table]:
        """The tables that were asked for; another may lack what was not read for it."""
        self._to.is_unordered = len(self._layouts) > 1
        found = tables_of(self._to)
        columns = {name: column for name, column in found["kernels"].columns.items() if name != "kind"}
        for name, texts in (("kind", self._kinds), ("mangled_name", self._mangled)):
            if any(text is not None for text in texts):
                columns[name] = text_column(texts)
        found["kernels"] = checked("kernels", columns)
        return {name: table for name, table in found.items() if name in names}

    def warnings(self) -> tuple[str, ...]:
        """What was lost or doubtful."""
        found = []
        lost = len(self._container.results) - len(self._to.launches)
        if lost:
            found.append(f"{self._name}: {lost} of {len(self._container.results)} results could not be read; left out")
        if self._unexpected:
            found.append(
                f"{self._name}: {self._unexpected} results are not in the order of the file; their process is not known"
            )
        if self._odd_times:
            found.append(f"{self._name}: {self._odd_times} series of samples run backwards; their times are left out")
        if self._to.remarks.negative:
            found.append(f"{self._name}: {self._to.remarks.negative} negative durations left out")
        if self._to.remarks.device_conflicts:
            found.append(f"{self._name}: one device number stands for different devices; the first is shown")
        return tuple(found)

    def _traits(self, facts: ResultFacts, place: int) -> Traits:
        known = self._container.results[place] if facts.is_expected else None
        open_ranges: Open = (*facts.started, *facts.pushed)
        return Traits(
            name=self._to.launches.name_code(_bytes(facts.name or facts.mangled or "?")),
            process=_or_null(known and known.process),
            context=_or_null(known and known.context),
            stream=_or_null(known and known.stream),
            device=_device(facts),
            grid=self._triple(known and known.grid),
            block=self._triple(known and known.block),
            calls=NULL,
            nvtx=self._to.launches.ranges_code(open_ranges),
        )

    def _triple(self, sides: tuple[int, ...] | None) -> int:
        return NULL if not sides or len(sides) != 3 else self._to.launches.triple_code(b"(%d, %d, %d)" % sides)

    def _layout(self, answered: Answered) -> _Layout:
        key = (answered.facts.layout, answered.facts.device)
        known = self._layouts.get(key)
        if known is None:
            units = [_unit(metric, unit) for metric, unit in zip(answered.metrics, answered.units, strict=True)]
            slots = [self._to.slot(metric, unit) for metric, unit in zip(answered.metrics, units, strict=True)]
            intervals = [at for at, slot in enumerate(slots) if slot.name in _INTERVALS and slot.unit.name == "ns"]
            known = self._layouts[key] = _Layout(
                np.array([slot.pair for slot in slots], dtype=np.intc),
                np.array([slot.unit.exponent for slot in slots], dtype=np.int64),
                intervals[0] if intervals else -1,
            )
        return known

    def _series(self, launch: int, answered: Answered, layout: _Layout) -> None:
        period = _whole(answered.values[layout.interval]) if layout.interval >= 0 else None
        for one, readings, times in answered.series:
            unit = unit_of(_unit(one.name, one.unit))
            if times is not None and bool((np.diff(times) < 0).any()):
                times = None
                self._odd_times += 1
            values = _scaled(readings, np.array(unit.exponent))
            self._to.series.append(Series(launch, one.name, unit.name, values, times, period))


def _scaled(values: FloatArray, exponents: npt.NDArray[np.int64]) -> FloatArray:
    """The values in base units: a power of ten below 10**22 is exact, so that each is the double nearest to it."""
    down, up = 10.0 ** np.maximum(-exponents, 0), 10.0 ** np.maximum(exponents, 0)
    return np.asarray(values / down * up)


def _unit(metric: str, unit: str) -> str:
    """The metric's unit; where the library knows none (a chip newer than itself), as its name has it."""
    if unit:
        return unit
    if metric in DURATIONS:
        return "ns"
    return "%" if PERCENT.search(metric) else ""


def _or_null(number: int | None) -> int:
    return NULL if number is None else number


def _device(facts: ResultFacts) -> int:
    return NULL if facts.device is None or not 0 <= facts.device < 1 << 31 else int(facts.device)


def _whole(value: float) -> int | None:
    return round(value) if 0 < value < float(1 << 53) else None


def _rule(launch: int, facts: RuleFacts) -> Rule:
    return Rule(
        launch,
        facts.section,
        facts.name,
        _RULE_KINDS.get(facts.kind),
        plain(facts.text),
        _SPEEDUP_KINDS.get(facts.speedup_kind),
        None if facts.percent is None else facts.percent / 100,
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
