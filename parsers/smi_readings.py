"""From blocks of lines of nvidia-smi's CSV to samples: rows split by columns, each column converted as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import methodcaller
from typing import Any, Final

import numpy as np

from ds2prof.parsers import samples_clock, smi_fields
from ds2prof.parsers.samples_gather import Metric, Rows, Samples
from ds2prof.parsers.samples_lines import Faults, blocks
from ds2prof.parsers.samples_units import UNKNOWN, Unit, number, numbers, unit_in
from ds2prof.parsers.smi_devices import Devices
from ds2prof.parsers.sources import Source
from ds2prof.tables import BoolArray, IntArray, Loaded, Meta, Table

_COMMAS: Final = methodcaller("count", b",")
_UUID: Final = re.compile(rb"\s*(?:GPU|MIG)-[0-9a-f-]{8,64}\s*")
_BUS_ID: Final = re.compile(rb"\s*[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d\s*")

Column = list[bytes]


@dataclass(eq=False)
class Layout:
    """The columns under one header.

    Attributes:
        fields: what each column is called.
        units: the unit of each column; looked up in the first block's cells where no other source has it.
        texts: columns that hold no numbers although their names are not those of properties.
    """

    fields: tuple[str, ...]
    units: list[Unit]
    texts: set[int] = field(default_factory=set)
    settled: bool = False

    def place(self, names: frozenset[str]) -> int | None:
        """The first column with one of the names."""
        return next((at for at, name in enumerate(self.fields) if name in names), None)

    def measured(self) -> list[int]:
        """The columns that hold readings."""
        identities = smi_fields.IDENTITIES
        return [
            at
            for at, name in enumerate(self.fields)
            if name not in identities and not smi_fields.is_property(name) and at not in self.texts
        ]

    def properties(self) -> list[int]:
        """The columns that state properties, those that name a device among them."""
        return [
            at
            for at, name in enumerate(self.fields)
            if name in smi_fields.DEVICE_NAMES or smi_fields.is_property(name) or at in self.texts
        ]


@dataclass(eq=False)
class Reading:
    """What has been read of a file so far."""

    faults: Faults
    samples: Samples = field(default_factory=Samples)
    devices: Devices = field(default_factory=Devices)
    clock: str | None = None
    layout: Layout | None = None
    header: bytes | None = None
    rows: int = 0
    noheader: bool = False


def load(source: Source, form: str) -> Loaded:
    """The samples, devices and processes of the file."""
    reading = Reading(Faults(source.name))
    for first, lines in blocks(source, reading.faults):
        for rows in _sections(lines, reading):
            _take(rows, lines, first, reading)
    warnings = reading.faults.warnings()
    if not reading.rows:
        warnings.append(f"{source.name}: no reading behind the header; was the capture interrupted?")
    if reading.noheader:
        warnings.append(
            f"{source.name}:1: no header (noheader): columns are named by their places; put the header of the query in "
            "front of the file"
        )
    tables = {"samples": reading.samples.table(), **reading.devices.tables(), "kernels": Table("kernels")}
    return Loaded(_meta(source, form, reading), tables, tuple(warnings))


def _meta(source: Source, form: str, reading: Reading) -> Meta:
    fields = reading.layout.fields if reading.layout is not None else ()
    dialect = "query-compute-apps" if "pid" in fields else "query-gpu"
    facts: dict[str, Any] = {**reading.devices.facts(), "rows": reading.rows}
    return Meta(
        file=source.name,
        tool="nvidia-smi",
        format=form,
        dialect=f"{dialect}, noheader" if reading.noheader else dialect,
        times=None,
        clock=reading.clock,
        facts=facts,
    )


def _sections(lines: list[bytes], reading: Reading) -> Iterator[list[bytes]]:
    """The rows of the block, one list for each header that holds; ``reading.layout`` is theirs when they are given."""
    words = {line for line in lines if line[:1].isalpha() or line[:1].isspace()}
    headers = {line for line in words if smi_fields.header_of(line) is not None}
    if reading.layout is None and lines and not (lines[0] in headers or _leading_blank(lines, headers)):
        reading.layout, reading.noheader = _layout_of_row(next(filter(None, lines), b"")), True
    if headers <= {reading.header}:
        yield [line for line in lines if line and line not in headers]
        return
    rows: list[bytes] = []
    for line in lines:
        if line not in headers:
            rows.append(line)
        elif line != reading.header:
            yield [row for row in rows if row]
            rows = []
            _start(line, reading)
    yield [row for row in rows if row]


def _leading_blank(lines: list[bytes], headers: set[bytes]) -> bool:
    """Whether nothing but blank lines stands before the first header."""
    return next((line for line in lines if line.strip()), b"") in headers


def _start(header: bytes, reading: Reading) -> None:
    """Take a new header."""
    fields = smi_fields.header_of(header)
    assert fields is not None
    reading.header = header
    reading.layout = Layout(
        tuple(name for name, _ in fields), [smi_fields.field_unit(name, unit) for name, unit in fields]
    )


def _layout_of_row(row: bytes) -> Layout:
    """The columns of a file that begins with a row: by the form of its cells where that tells, else by their places."""
    fields = []
    for at, cell in enumerate(row.split(b","), start=1):
        forms = ((samples_clock.is_clock, "timestamp"), (_UUID.fullmatch, "uuid"), (_BUS_ID.fullmatch, "pci.bus_id"))
        fields.append(next((name for matches, name in forms if matches(cell)), f"column {at}"))
    return Layout(tuple(fields), [smi_fields.field_unit("", None)] * len(fields))


def _take(rows: list[bytes], lines: list[bytes], first: int, reading: Reading) -> None:
    """Add the readings of rows under one header."""
    layout = reading.layout
    if layout is None or not rows:
        return
    width = len(layout.fields)
    fits = [commas == width - 1 for commas in map(_COMMAS, rows)]
    if not all(fits):
        wrong = [row for row, fit in zip(rows, fits, strict=True) if not fit and not row.isspace()]
        rows = list(compress(rows, fits))
        if wrong:
            reading.faults.add(
                f"a line without the {width} cells of its header (cut off?); left out",
                line=first + lines.index(wrong[0]),
                count=len(wrong),
            )
    if not rows:
        return
    cells = b",".join(rows).split(b",")
    _readings([cells[at::width] for at in range(width)], layout, first + lines.index(rows[0]), reading)


def _readings(columns: list[Column], layout: Layout, line: int, reading: Reading) -> None:
    """Add the readings of aligned columns, the first cells of which stand in ``line``."""
    count = len(columns[0])
    reading.rows += count
    if not layout.settled:
        _settle(layout, columns)
    start_ns, known = _times(columns, layout, line, reading)
    device, device_known = reading.devices.of_rows(columns, layout.fields)
    process, process_known = reading.devices.processes_of_rows(columns, layout.fields)
    for at in layout.properties():
        reading.devices.state(layout.fields[at], columns[at], device, device_known)
    measured = layout.measured()
    values = np.empty((count, len(measured)), dtype=np.float64)
    for place, at in enumerate(measured):
        values[:, place], strange = numbers(columns[at], layout.units[at])
        if strange:
            what = f"a cell under {layout.fields[at]} that is no reading; left out"
            reading.faults.add(what, line=line + _first_strange(columns[at], layout.units[at]), count=strange)
    metrics = [
        Metric(layout.fields[at], layout.units[at].name, smi_fields.aggregation(layout.fields[at])) for at in measured
    ]
    rows = Rows(count, start_ns, known, device, device_known, process, process_known)
    reading.samples.add(metrics, values, rows)


def _first_strange(cells: Sequence[bytes], unit: Unit) -> int:
    return next(at for at, cell in enumerate(cells) if number(cell, unit) is None)


def _settle(layout: Layout, columns: list[Column]) -> None:
    """Find what the header leaves open in the first rows: units of cells, and columns of texts."""
    for at in layout.measured():
        if layout.units[at].name == UNKNOWN:
            layout.units[at] = unit_in(columns[at]) or layout.units[at]
        if all(number(cell, layout.units[at]) is None for cell in set(columns[at])):
            layout.texts.add(at)
    layout.settled = True


def _times(
    columns: list[Column], layout: Layout, line: int, reading: Reading
) -> tuple[IntArray | None, BoolArray | None]:
    """(times of the rows, which are known); None without a column of them."""
    at = layout.place(smi_fields.TIME)
    if at is None:
        return None, None
    times, known, clock = samples_clock.nanoseconds(columns[at])
    reading.clock = reading.clock or clock
    if clock is not None and clock != reading.clock:
        known = np.zeros(len(times), dtype=np.bool_)
    if not known.all():
        unknown = int(np.count_nonzero(~known))
        reading.faults.add(
            f"a {layout.fields[at]} that is no time of this file's clock; the reading is kept without",
            line=line + int(np.argmin(known)),
            count=unknown,
        )
    return times, known
