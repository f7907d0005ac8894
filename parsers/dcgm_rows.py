"""From the lines of ``dcgmi dmon`` to samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.dcgm_fields import FIELDS, UNKNOWN, Field
from ds2prof.parsers.samples_gather import Metric, Rows, Samples
from ds2prof.parsers.samples_lines import Faults, blocks
from ds2prof.parsers.samples_units import number, numbers
from ds2prof.parsers.sources import Source
from ds2prof.tables import IntArray, Loaded, Meta, Table, checked, int_column

_UNIT_LINES: Final = (b"ID", b"Id")
_MAX_DEVICE_DIGITS: Final = 6
_MAX_NAMES: Final = 4096
_MAX_NAMED: Final = 12

Cells = Sequence[bytes]


@dataclass(eq=False)
class _Reading:
    """What has been read of a file so far."""

    faults: Faults
    samples: Samples = field(default_factory=Samples)
    heading: bytes = b""
    names: tuple[str, ...] = ()
    all_names: dict[str, None] = field(default_factory=dict)
    devices: set[int] = field(default_factory=set)
    rows: int = 0


def load(source: Source, form: str) -> Loaded:
    """The samples of the file, and the GPUs that it names."""
    reading = _Reading(Faults(source.name))
    for first, lines in blocks(source, reading.faults):
        rows: list[list[bytes]] = []
        start = first
        for at, line in enumerate(lines, start=first):
            bare = line.strip()
            if not bare.startswith(b"#"):
                words = bare.split()
                rows.append([] if words and words[0] in _UNIT_LINES else words)
            elif bare == reading.heading or not bare[1:].lstrip().startswith(b"Entity"):
                rows.append([])  # the same heading again, or a comment: the rows go on
            else:
                _take(rows, start, reading)
                rows, start = [], at + 1
                _heading(bare, reading)
        _take(rows, start, reading)
    warnings = reading.faults.warnings()
    if not reading.rows:
        warnings.append(f"{source.name}: no reading behind the headings; was the capture interrupted?")
    unknown = [name for name in reading.all_names if name not in FIELDS]
    if unknown:
        rest = f" and {len(unknown) - _MAX_NAMED:,} more" if len(unknown) > _MAX_NAMED else ""
        named = ", ".join(unknown[:_MAX_NAMED])
        warnings.append(f"{source.name}: the unit of {named}{rest} is not known; read as printed")
    tables = {"samples": reading.samples.table(), "kernels": Table("kernels")}
    if reading.devices:
        tables["devices"] = checked("devices", {"device": int_column(sorted(reading.devices))})
    return Loaded(_meta(source, form, reading), tables, tuple(warnings))


def _heading(line: bytes, reading: _Reading) -> None:
    """Take a line of names."""
    reading.heading = line
    reading.names = tuple(line[1:].decode("utf-8", "replace").split()[1:])
    if len(reading.all_names) < _MAX_NAMES:
        reading.all_names.update(dict.fromkeys(reading.names))


def _meta(source: Source, form: str, reading: _Reading) -> Meta:
    fields = {name: f"{FIELDS[name].name} ({FIELDS[name].number})" for name in reading.all_names if name in FIELDS}
    facts: dict[str, Any] = {"fields": fields, "rows": reading.rows}
    return Meta(file=source.name, tool="DCGM", format=form, dialect="dmon", times=None, facts=facts)


def _take(rows: list[list[bytes]], first: int, reading: _Reading) -> None:
    """Add rows, the first of which stands in line ``first``; rows of another width are left out."""
    width = len(reading.names) + 2  # an entity is two words
    numbered = [(at, row) for at, row in enumerate(rows, start=first) if row]
    fitting = [(at, row) for at, row in numbered if len(row) == width]
    wrong = [at for at, row in numbered if len(row) != width]
    if wrong:
        reading.faults.add(
            f"a line that is no entity with {width - 2} readings (cut off?); left out", line=wrong[0], count=len(wrong)
        )
    if fitting and reading.names:
        _readings(list(zip(*(row for _, row in fitting), strict=True)), fitting[0][0], reading)


def _readings(columns: list[Cells], line: int, reading: _Reading) -> None:
    """Add the readings of aligned columns, the first cells of which stand in ``line``."""
    kinds, ids, *cells = columns
    count = len(kinds)
    reading.rows += count
    device, codes = _entities(kinds, ids, reading)
    fields: list[Field] = [FIELDS.get(name, UNKNOWN) for name in reading.names]
    values = np.empty((count, len(fields)), dtype=np.float64)
    for place, (name, one_field) in enumerate(zip(reading.names, fields, strict=True)):
        values[:, place], strange = numbers(cells[place], one_field.unit)
        if strange:
            where = line + next(at for at, cell in enumerate(cells[place]) if number(cell, one_field.unit) is None)
            reading.faults.add(f"a cell under {name} that is no reading; left out", line=where, count=strange)
    metrics = [
        Metric(name, one_field.unit.name, one_field.aggregation)
        for name, one_field in zip(reading.names, fields, strict=True)
    ]
    reading.samples.add(metrics, values, Rows(count, device=device, device_known=device >= 0, entity=codes))


def _entities(kinds: Cells, ids: Cells, reading: _Reading) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """(device of each row, -1 for what is no GPU; code of its entity, -1 for a GPU)."""
    pairs = list(zip(kinds, ids, strict=True))
    device_of = {pair: _device(*pair) for pair in dict.fromkeys(pairs)}
    code_of = {
        pair: reading.samples.entities.code(None if device >= 0 else b" ".join(pair).decode("utf-8", "replace"))
        for pair, device in device_of.items()
    }
    reading.devices.update(device for device in device_of.values() if device >= 0)
    device = np.fromiter(map(device_of.__getitem__, pairs), dtype=np.int64, count=len(pairs))
    return device, np.fromiter(map(code_of.__getitem__, pairs), dtype=np.int32, count=len(pairs))


def _device(kind: bytes, one: bytes) -> int:
    """The number of a GPU; -1 for every other entity."""
    return int(one) if kind == b"GPU" and one.isdigit() and len(one) <= _MAX_DEVICE_DIGITS else -1
