"""From blocks of lines of our own sampler to tables: columns converted as wholes, facts and marks set apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof import units
from ds2prof.devices import chip_of
from ds2prof.parsers.samples_csv import HEADER
from ds2prof.parsers.samples_lines import Faults, blocks
from ds2prof.parsers.sources import Source
from ds2prof.tables import (
    BoolArray,
    Column,
    IntArray,
    Loaded,
    Meta,
    Table,
    Texts,
    checked,
    int_column,
    text_column,
)

WIDTH: Final = HEADER.count(b",") + 1
FACT: Final = "fact"
MARK: Final = "mark"
_WEEK_NS: Final = 7 * 86_400 * units.NS_PER_S
_INTS: Final = ("start_ns", "period_ns", "device")
_TEXTS: Final = ("entity", "metric", "unit", "aggregation")
_PLACES: Final = {name: at for at, name in enumerate(HEADER.decode().split(","))}
_MAX_DIGITS: Final = 18
"""Of an integer; Unix nanoseconds have nineteen until 2286 and are told apart by their value."""
_MAX_INT: Final = (1 << 63) - 1
_BROKEN: Final = -2
_MAX_FACTS: Final = 10_000
_HELD_BACK: Final = "held_back."
_UNITS: Final = {
    **dict.fromkeys(("cpu.utilization", "cpu.iowait", "cpu.steal", "cpu.quota_exhausted"), "ratio"),
    **dict.fromkeys(("utilization.gpu", "utilization.memory", "program.busiest_thread"), "ratio"),
    **dict.fromkeys(("program.cpu", "sampler.cpu"), "cores"),
    **dict.fromkeys(("host.load_1min", "program.processes", "program.threads", "pstate"), "count"),
    **dict.fromkeys(("host.memory_used", "program.resident", "program.pss", "memory.used"), "byte"),
    **dict.fromkeys(("power.draw", "power.mean"), "watt"),
    **dict.fromkeys(("clocks.current.sm", "clocks.current.memory"), "hertz"),
    "temperature.gpu": "celsius",
    _HELD_BACK: "ratio",
}
"""Metric -> its unit, for answers are made of them by their names; the last stands for all that begin so."""


@dataclass(frozen=True)
class Said:
    """A row that is no reading."""

    name: str
    at_ns: int | None
    device: int | None
    text: str | None
    value: float | None


@dataclass(eq=False)
class Reading:
    """What has been read of a file so far."""

    faults: Faults
    texts: dict[str, Texts] = field(default_factory=lambda: {name: Texts() for name in _TEXTS})
    parts: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)
    facts: list[Said] = field(default_factory=list)
    marks: list[Said] = field(default_factory=list)

    def keep(self, name: str, part: npt.NDArray[Any]) -> None:
        """Takes a block's part of a column."""
        self.parts.setdefault(name, []).append(part)


def load(source: Source, form: str) -> Loaded:
    """The tables of the file."""
    reading = Reading(Faults(source.name))
    for first, lines in blocks(source, reading.faults):
        numbers, rows = _whole_rows(lines, first, reading)
        if rows:
            _take(rows, numbers, reading)
    facts = _named(reading.facts)
    tables = {
        "samples": _samples(reading),
        "ranges": _windows(reading.marks, reading.faults),
        **_devices(reading.facts),
        **_program(facts),
        "kernels": Table("kernels"),
    }
    return Loaded(_meta(source, form, facts), tables, (*reading.faults.warnings(), *_warnings(source, facts)))


def _whole_rows(lines: list[bytes], first: int, reading: Reading) -> tuple[list[int], list[bytes]]:
    """(numbers, lines) of those with as many cells as the header, which is left out wherever it stands."""
    found = [(number, line) for number, line in enumerate(lines, start=first) if line.count(b",") == WIDTH - 1]
    if len(found) < len(lines):
        wrong = [at for at, line in enumerate(lines, start=first) if line.count(b",") != WIDTH - 1 and line.strip()]
        for number in wrong:
            reading.faults.add(f"a line without the {WIDTH} cells of the header (cut off?); left out", line=number)
    whole = [(number, line) for number, line in found if line != HEADER]
    return [number for number, _ in whole], [line for _, line in whole]


def _take(rows: list[bytes], numbers: list[int], reading: Reading) -> None:
    """Adds the rows that stand in lines of these numbers."""
    cells = b",".join(rows).split(b",")
    columns = {name: cells[at::WIDTH] for name, at in _PLACES.items()}
    numbered = {name: _ints(columns[name]) for name in _INTS}
    ints = {name: (np.maximum(found, 0), found >= 0) for name, found in numbered.items()}
    values = _floats(columns["value"])
    codes = {name: _codes(columns[name], reading.texts[name]) for name in _TEXTS}
    broken = np.any([found == _BROKEN for found in numbered.values()], axis=0)
    _complain(broken, "a start, period or device that is no whole number; left out", numbers, reading)
    apart = _apart(codes["aggregation"], reading.texts["aggregation"])
    foreign = _foreign(codes, reading.texts) & ~apart & ~broken
    _complain(foreign, "a reading in another unit than its metric has; left out", numbers, reading)
    apart &= ~broken
    _set_apart(np.flatnonzero(apart), ints, values, codes, reading)
    told = ~np.isnan(values) & (codes["metric"] >= 0) & (codes["unit"] >= 0)
    _complain(~told & ~apart & ~broken, "a row without a metric, a unit or a value; left out", numbers, reading)
    usable = told & ~apart & ~broken & ~foreign
    _bound_periods(*ints["period_ns"])
    reading.keep("value", values[usable])
    for name, (found, known) in ints.items():
        reading.keep(name, found[usable])
        reading.keep(f"{name} known", known[usable])
    for name in _TEXTS:
        reading.keep(name, codes[name][usable])


def _complain(rows: BoolArray, what: str, numbers: list[int], reading: Reading) -> None:
    """Counts a fault of those rows."""
    found = np.flatnonzero(rows)
    if len(found):
        reading.faults.add(what, line=numbers[int(found[0])], count=len(found))


def _foreign(codes: dict[str, npt.NDArray[np.int32]], texts: dict[str, Texts]) -> BoolArray:
    """Mask of the rows in a unit that their metric does not have."""
    unit_of = {text: code for code, text in enumerate(texts["unit"].categories)}
    names = texts["metric"].categories
    found = np.zeros(len(codes["metric"]), dtype=np.bool_)
    for code in np.unique(codes["metric"]).tolist():
        unit = _unit(names[code]) if code >= 0 else None
        if unit is not None:
            found |= (codes["metric"] == code) & (codes["unit"] >= 0) & (codes["unit"] != unit_of.get(unit, -1))
    return found


def _unit(metric: str) -> str | None:
    """The unit that a metric has; None where any will do."""
    return _UNITS.get(_HELD_BACK if metric.startswith(_HELD_BACK) else metric)


def _bound_periods(period_ns: IntArray, known: BoolArray) -> None:
    """A period that is none, or over a week, is not known."""
    known &= (period_ns > 0) & (period_ns <= _WEEK_NS)


def _ints(cells: Sequence[bytes]) -> IntArray:
    """The whole numbers of the cells; none passes through a double."""
    value_of = {cell: _int(cell) for cell in set(cells)}
    return np.fromiter(map(value_of.__getitem__, cells), dtype=np.int64, count=len(cells))


def _int(cell: bytes) -> int:
    """The number; -1 for an empty cell, -2 for what is none."""
    if not cell.isdigit() or len(cell) > _MAX_DIGITS + 1:
        return _BROKEN if cell else -1
    value = int(cell)
    return value if value <= _MAX_INT else _BROKEN


def _floats(cells: Sequence[bytes]) -> npt.NDArray[np.float64]:
    """The values; NaN for what is none."""
    value_of = {cell: _float(cell) for cell in set(cells)}
    return np.fromiter(map(value_of.__getitem__, cells), dtype=np.float64, count=len(cells))


def _float(cell: bytes) -> float:
    try:
        value = float(cell) if b"_" not in cell and len(cell) <= 40 else np.nan
    except ValueError:
        return float(np.nan)
    return float(value if np.isfinite(value) else np.nan)


def _codes(cells: Sequence[bytes], texts: Texts) -> npt.NDArray[np.int32]:
    code_of = {cell: texts.code(cell.decode("utf-8", "replace") or None) for cell in dict.fromkeys(cells)}
    return np.fromiter(map(code_of.__getitem__, cells), dtype=np.int32, count=len(cells))


def _apart(codes: npt.NDArray[np.int32], texts: Texts) -> BoolArray:
    """Mask of the rows that are facts or marks."""
    wanted = [code for code, text in enumerate(texts.categories) if text in (FACT, MARK)]
    return np.isin(codes, wanted)


def _set_apart(
    rows: IntArray,
    ints: dict[str, tuple[IntArray, BoolArray]],
    values: npt.NDArray[np.float64],
    codes: dict[str, npt.NDArray[np.int32]],
    reading: Reading,
) -> None:
    """Adds the facts and marks in those rows."""
    room = max(0, 2 * _MAX_FACTS - len(reading.facts) - len(reading.marks))
    if not len(rows) or not room:
        return
    categories = {name: reading.texts[name].categories for name in _TEXTS}
    for row in rows[:room].tolist():
        texts = {name: categories[name][code] if (code := int(codes[name][row])) >= 0 else None for name in _TEXTS}
        whole = {name: int(found[row]) if known[row] else None for name, (found, known) in ints.items()}
        value = None if np.isnan(values[row]) else float(values[row])
        said = Said(texts["metric"] or "", whole["start_ns"], whole["device"], texts["entity"], value)
        (reading.facts if texts["aggregation"] == FACT else reading.marks).append(said)


def _samples(reading: Reading) -> Table:
    if not reading.parts:
        return Table("samples")
    whole = {name: np.concatenate(parts) for name, parts in reading.parts.items()}
    columns = {"value": Column(whole["value"].astype(np.float64, copy=False))}
    for name in _TEXTS:
        columns[name] = Column(whole[name].astype(np.int32, copy=False), None, reading.texts[name].categories)
    for name in _INTS:
        known = whole[f"{name} known"]
        columns[name] = Column(whole[name].astype(np.int64, copy=False), None if known.all() else known)
    required = ("metric", "unit", "value")
    return checked("samples", {name: one for name, one in columns.items() if name in required or one.present.any()})


def _windows(marks: Sequence[Said], faults: Faults) -> Table:
    """A range for each opening with the closing that follows it in the same process."""
    opened: dict[str | None, Said] = {}
    found: list[tuple[Said, Said]] = []
    unfit = 0
    for mark in sorted(marks, key=lambda mark: mark.at_ns or 0):
        if mark.name == "window.open":
            unfit += mark.text in opened
            opened[mark.text] = mark
        elif mark.name == "window.closed" and mark.text in opened:
            found.append((opened.pop(mark.text), mark))
        else:
            unfit += 1
    if unfit or opened:
        faults.add("a window was opened and not closed, or closed and not opened; it is not one", line=1)
    pairs = [(first, last) for first, last in found if _length_ns(first, last) is not None]
    if not pairs:
        return Table("ranges")
    values = [f"{first.value or 0:.0f}-{last.value or 0:.0f}" for first, last in pairs]
    return checked(
        "ranges",
        {
            "name": text_column([f"ds2prof:window:{value}" for value in values]),
            "kind": text_column(["window"] * len(pairs)),
            "value": text_column(values),
            "domain": text_column(["ds2prof"] * len(pairs)),
            "process": int_column([_process(first) for first, _ in pairs]),
            "start_ns": int_column([first.at_ns for first, _ in pairs]),
            "dur_ns": int_column([_length_ns(first, last) for first, last in pairs]),
        },
    )


def _process(mark: Said) -> int | None:
    """The process that left a mark."""
    number = _int((mark.text or "").encode())
    return number if number >= 0 else None


def _length_ns(first: Said, last: Said) -> int | None:
    """How long a window was; None where that cannot be."""
    if first.at_ns is None or last.at_ns is None:
        return None
    length_ns = last.at_ns - first.at_ns
    return length_ns if 0 < length_ns <= _WEEK_NS else None


def _named(facts: Sequence[Said]) -> dict[str, Any]:
    """Facts that are of no device, by name: a text or a number, the last that was said; of ``gpu.trouble`` all."""
    found: dict[str, Any] = {}
    for said in facts:
        if said.device is not None:
            continue
        value = said.text if said.text is not None else _plain(said.value)
        if said.name == "gpu.trouble":
            found.setdefault(said.name, []).append(value)
        else:
            found[said.name] = value
    return found


def _plain(value: float | None) -> float | int | None:
    """Whole numbers as such."""
    return int(value) if value is not None and value.is_integer() and abs(value) < 1 << 53 else value


def _devices(facts: Sequence[Said]) -> dict[str, Table]:
    """The GPUs that were sampled."""
    said: dict[int, dict[str, Any]] = {}
    for one in facts:
        if one.device is not None:
            of_device = said.setdefault(one.device, {})
            of_device[one.name] = one.text if one.text is not None else _plain(one.value)
    if not said:
        return {}
    numbers = sorted(said)
    names = [_text(said[number].get("gpu.name")) for number in numbers]
    columns = {
        "device": int_column(numbers),
        "name": text_column(names),
        "vendor": text_column(["NVIDIA"] * len(numbers)),
        "chip": text_column([chip_of(None, name) if name else None for name in names]),
        "uuid": text_column([_text(said[number].get("gpu.uuid")) for number in numbers]),
        "memory_bytes": int_column([_whole(said[number].get("gpu.memory_bytes")) for number in numbers]),
    }
    return {"devices": checked("devices", columns)}


def _program(facts: dict[str, Any]) -> dict[str, Table]:
    """The program that was sampled beside."""
    process = _whole(facts.get("program.process"))
    if process is None:
        return {}
    columns = {
        "process": int_column([process]),
        "name": text_column([_text(facts.get("program.name"))]),
        "host": text_column([_text(facts.get("host.name"))]),
        "rank": int_column([_whole(facts.get("program.rank"))]),
    }
    return {"processes": checked("processes", columns)}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _meta(source: Source, form: str, facts: dict[str, Any]) -> Meta:
    return Meta(
        file=source.name,
        tool="ds2prof sampler",
        tool_version=_text(facts.get("sampler.version")),
        format=form,
        dialect=_text(facts.get("gpu.source")) or "host alone",
        times=None,
        clock="unix",
        rank=_whole(facts.get("program.rank")),
        facts=facts,
    )


def _warnings(source: Source, facts: dict[str, Any]) -> list[str]:
    """What the sampler itself could not do."""
    found = []
    if "sampler.end" not in facts:
        found.append(f"{source.name}: its end is missing; the sampler was ended, and what came after is not there")
    trouble = "; ".join(map(str, facts.get("gpu.trouble", ())))
    if facts.get("gpu.readings") == 0:
        found.append(f"{source.name}: no GPU was sampled ({trouble or 'none was asked for'})")
    elif trouble:
        found.append(f"{source.name}: readings of the GPUs have gaps ({trouble})")
    return found
