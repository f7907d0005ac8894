"""From the lines of ``nvidia-smi dmon`` and ``pmon`` to samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ds2prof.parsers import samples_clock
from ds2prof.parsers.samples_gather import LAST, MEAN, Metric, Rows, Samples
from ds2prof.parsers.samples_lines import Faults, blocks
from ds2prof.parsers.samples_units import Unit, number, numbers, says_nothing, unit_of
from ds2prof.parsers.sources import Source
from ds2prof.tables import BoolArray, IntArray, Loaded, Meta, Table, checked, int_column, text_column

_MEANS: Final = frozenset(
    (
        *("sm", "mem", "enc", "dec", "jpg", "ofa", "pviol", "rxpci", "txpci"),
        *("gract", "smutil", "smocc", "intact", "mmaact", "dfmaact", "hmmaact", "immaact", "dram"),
        *("fp64", "fp32", "fp16", "pcitx", "pcirx", "nvltx", "nvlrx"),
    )
)
"""Columns that are means over a period: the driver's own, or for ``--gpm-metrics`` that between two readings."""
_UNSTATED: Final = frozenset(("pwr",))
"""Columns whose aggregation depends on the product."""
_NOT_READINGS: Final = frozenset(("Date", "Time", "gpu", "pid", "type", "command"))

Cells = Sequence[bytes]


@dataclass(eq=False)
class _Reading:
    """What has been read of a file so far."""

    faults: Faults
    samples: Samples = field(default_factory=Samples)
    headings: set[bytes] = field(default_factory=set)
    names: tuple[str, ...] = ()
    units: tuple[Unit, ...] = ()
    clock: str | None = None
    processes: dict[int, str] = field(default_factory=dict)
    rows: int = 0


def load(source: Source, form: str) -> Loaded:
    """The samples and processes of the file."""
    reading = _Reading(Faults(source.name))
    for first, lines in blocks(source, reading.faults):
        rows: list[list[bytes]] = []
        start = first
        for at, line in enumerate(lines, start=first):
            if not line.lstrip().startswith(b"#"):
                rows.append(line.replace(b",", b" ").split())
            elif line.strip() in reading.headings:  # the same again: the rows go on
                rows.append([])
            else:
                _take(rows, start, reading)
                rows, start = [], at + 1
                _heading(line.strip(), reading)
        _take(rows, start, reading)
    warnings = reading.faults.warnings()
    if not reading.rows:
        warnings.append(f"{source.name}: no reading behind the headings; was the capture interrupted?")
    return Loaded(_meta(source, form, reading), _tables(reading), tuple(warnings))


def _meta(source: Source, form: str, reading: _Reading) -> Meta:
    return Meta(
        file=source.name,
        tool="nvidia-smi",
        format=form,
        dialect="pmon" if "pid" in reading.names else "dmon",
        times=None,
        clock=reading.clock,
        facts={"rows": reading.rows},
    )


def _tables(reading: _Reading) -> dict[str, Table]:
    tables = {"samples": reading.samples.table(), "kernels": Table("kernels")}
    if reading.processes:
        processes = reading.processes
        columns = {"process": int_column(list(processes)), "name": text_column(processes.values())}
        tables["processes"] = checked("processes", columns)
    return tables


def _heading(line: bytes, reading: _Reading) -> None:
    """Take a line of names, or the line of units below it."""
    words = line.decode("utf-8", "replace")[1:].replace(",", " ").split()
    if "gpu" in words:
        reading.headings = {line}
        if tuple(words) != reading.names:
            reading.names, reading.units = tuple(words), tuple(unit_of("") for _ in words)
        return
    reading.headings.add(line)
    if "Idx" in words and len(words) == len(reading.names):
        reading.units = tuple(unit_of(word.removeprefix("GPM:")) for word in words)


def _take(rows: list[list[bytes]], first: int, reading: _Reading) -> None:
    """Add rows, the first of which stands in line ``first``; rows of another width are left out."""
    width = len(reading.names)
    numbered = [(at, row) for at, row in enumerate(rows, start=first) if row]
    fitting = [row for _, row in numbered if len(row) == width]
    wrong = [at for at, row in numbered if len(row) != width]
    if wrong:
        reading.faults.add(
            f"a line without the {width} cells of its heading (cut off?); left out", line=wrong[0], count=len(wrong)
        )
    if fitting and width:
        _readings(list(zip(*fitting, strict=True)), next(at for at, row in numbered if len(row) == width), reading)


def _readings(columns: list[Cells], line: int, reading: _Reading) -> None:
    """Add the readings of aligned columns, the first cells of which stand in ``line``."""
    count = len(columns[0])
    reading.rows += count
    names = reading.names
    device, device_known = _ints(columns[names.index("gpu")])
    process, process_known = _processes(columns, reading)
    start_ns, known = _times(columns, line, reading)
    measured = [at for at, name in enumerate(names) if name not in _NOT_READINGS]
    values = np.empty((count, len(measured)), dtype=np.float64)
    for place, at in enumerate(measured):
        unit = reading.units[at]
        values[:, place], strange = numbers(columns[at], unit)
        if strange:
            where = line + next(at_row for at_row, cell in enumerate(columns[at]) if number(cell, unit) is None)
            reading.faults.add(f"a cell under {names[at]} that is no reading; left out", line=where, count=strange)
    metrics = [Metric(names[at], reading.units[at].name, _aggregation(names[at])) for at in measured]
    reading.samples.add(metrics, values, Rows(count, start_ns, known, device, device_known, process, process_known))


def _aggregation(name: str) -> str | None:
    if name in _UNSTATED:
        return None
    return MEAN if name in _MEANS else LAST


def _ints(cells: Cells) -> tuple[IntArray, BoolArray]:
    """(small whole numbers of the cells, which of them are any)."""
    value_of = {cell: int(cell) if cell.isdigit() and len(cell) < 10 else -1 for cell in set(cells)}
    found = np.fromiter(map(value_of.__getitem__, cells), dtype=np.int64, count=len(cells))
    return found, found >= 0


def _processes(columns: list[Cells], reading: _Reading) -> tuple[IntArray | None, BoolArray | None]:
    names = reading.names
    if "pid" not in names:
        return None, None
    found, known = _ints(columns[names.index("pid")])
    if "command" in names:
        for process, command in zip(found.tolist(), columns[names.index("command")], strict=True):
            text = command.decode("utf-8", "replace")
            if process >= 0 and not says_nothing(text):
                reading.processes.setdefault(process, text)
    return found, known


def _times(columns: list[Cells], line: int, reading: _Reading) -> tuple[IntArray | None, BoolArray | None]:
    """(times of the rows, which are known); None without both dates and times."""
    names = reading.names
    if "Time" not in names:
        return None, None
    if "Date" not in names:
        reading.faults.add("a time without a date (-o T); not kept: collect with -o DT", line=line)
        return None, None
    dates, clocks = columns[names.index("Date")], columns[names.index("Time")]
    times, known, clock = samples_clock.nanoseconds([b" ".join(pair) for pair in zip(dates, clocks, strict=True)])
    if clock == samples_clock.UNIX:
        known = np.zeros(len(times), dtype=np.bool_)
    else:
        reading.clock = reading.clock or clock
    if not known.all():
        reading.faults.add(
            "a date and time that cannot be read; the reading is kept without",
            line=line + int(np.argmin(known)),
            count=int(np.count_nonzero(~known)),
        )
    return times, known
