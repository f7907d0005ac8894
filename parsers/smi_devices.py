"""Which device and process a row of nvidia-smi's CSV belongs to, and what the rows state of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ds2prof import devices as chips
from ds2prof.parsers import smi_fields
from ds2prof.parsers.samples_units import says_nothing, unit_of
from ds2prof.tables import BoolArray, Column, IntArray, Table, checked, int_column, text_column

_MAX_VALUES: Final = 16
"""How many values of one property are kept."""
_NUMBERED: Final = "devices are numbered in the order of their {}s in the file, which has no index column"


@dataclass(eq=False)
class Devices:
    """The devices and processes of a file, and the properties that its rows state."""

    _stated: dict[int | None, dict[str, dict[str, None]]] = field(default_factory=dict)
    _number_of: dict[bytes, int] = field(default_factory=dict)
    _process_names: dict[int, str] = field(default_factory=dict)
    _numbering: str | None = None

    def of_rows(
        self, columns: Sequence[list[bytes]], fields: Sequence[str]
    ) -> tuple[IntArray | None, BoolArray | None]:
        """(the device of each row, where it is known); None if no column tells devices apart."""
        at = _place(fields, smi_fields.INDEX)
        if at is not None:
            return _ints(columns[at])
        at = next((at for names in (smi_fields.UUID, smi_fields.BUS_ID) for at in _places(fields, names)), None)
        if at is None:
            return None, None
        self._numbering = _NUMBERED.format(fields[at])
        number_of = self._number_of
        for cell in dict.fromkeys(columns[at]):
            if not says_nothing(cell.decode("utf-8", "replace")):
                number_of.setdefault(cell.strip(), len(number_of))
        numbers = {cell: number_of.get(cell.strip(), -1) for cell in set(columns[at])}
        found = np.fromiter(map(numbers.__getitem__, columns[at]), dtype=np.int64, count=len(columns[at]))
        return found, found >= 0

    def processes_of_rows(
        self, columns: Sequence[list[bytes]], fields: Sequence[str]
    ) -> tuple[IntArray | None, BoolArray | None]:
        """(the process of each row, where it is known); None if the rows are not of processes."""
        at, name_at = _place(fields, smi_fields.PROCESS), _place(fields, smi_fields.PROCESS_NAME)
        if at is None:
            return None, None
        found, known = _ints(columns[at])
        if name_at is not None:
            for process, name in dict.fromkeys(
                zip(found[known].tolist(), _compressed(columns[name_at], known), strict=True)
            ):
                text = name.decode("utf-8", "replace").strip()
                if not says_nothing(text):
                    self._process_names.setdefault(process, text)
        return found, known

    def state(self, name: str, cells: list[bytes], device: IntArray | None, known: BoolArray | None) -> None:
        """Take what a column of properties says of the devices of its rows."""
        keys: Sequence[int | None] = [None] * len(cells)
        if device is not None and known is not None:
            keys = [one if sure else None for one, sure in zip(device.tolist(), known.tolist(), strict=True)]
        for key, cell in dict.fromkeys(zip(keys, cells, strict=True)):
            text = cell.decode("utf-8", "replace").strip()
            values = self._stated.setdefault(key, {}).setdefault(name, {})
            if not says_nothing(text) and len(values) < _MAX_VALUES:
                values[text] = None

    def facts(self) -> dict[str, Any]:
        """Properties that are no columns of the devices table: a text, or a list where there were several."""
        found: dict[str, dict[str, None]] = {}
        for stated in self._stated.values():
            for name, values in stated.items():
                found.setdefault(name, {}).update(values)
        facts: dict[str, Any] = {}
        for name, values in found.items():
            if values and (None in self._stated or name not in _IN_TABLE):
                facts[name] = list(values) if len(values) > 1 else next(iter(values))
        if self._numbering is not None:
            facts["device_numbering"] = self._numbering
        return facts

    def tables(self) -> dict[str, Table]:
        """The devices and the processes."""
        numbers = sorted(key for key in self._stated if key is not None)
        tables = {"devices": Table("devices"), "processes": Table("processes")}
        if numbers:
            tables["devices"] = checked("devices", self._device_columns(numbers))
        if self._process_names:
            names = self._process_names
            tables["processes"] = checked(
                "processes", {"process": int_column(list(names)), "name": text_column(names.values())}
            )
        return tables

    def _device_columns(self, numbers: list[int]) -> dict[str, Column]:
        names = [self._one(number, smi_fields.NAME) for number in numbers]
        capabilities = [self._one(number, frozenset(("compute_cap",))) for number in numbers]
        return {
            "device": int_column(numbers),
            "name": text_column(names),
            "vendor": text_column(["NVIDIA"] * len(numbers)),
            "chip": text_column([chips.chip_of(cc, name) for cc, name in zip(capabilities, names, strict=True)]),
            "compute_capability": text_column(capabilities),
            "uuid": text_column([self._one(number, smi_fields.UUID) for number in numbers]),
            "bus_id": text_column([self._one(number, smi_fields.BUS_ID) for number in numbers]),
            "memory_bytes": int_column([self._scaled(number, "memory.total", "MiB") for number in numbers]),
            "sm_clock_hz": int_column([self._scaled(number, "clocks.max.sm", "MHz") for number in numbers]),
        }

    def _one(self, device: int, names: frozenset[str]) -> str | None:
        """The property under one of the names; None where it is not stated or not the same in all rows."""
        for name in names:
            values = self._stated[device].get(name, {})
            if len(values) == 1:
                return next(iter(values))
        return None

    def _scaled(self, device: int, name: str, unit: str) -> int | None:
        """A property that is a whole number of ``unit``, in the base unit."""
        text = (self._one(device, frozenset((name,))) or "").removesuffix(unit).strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            return None
        base = unit_of(unit)
        return int(text) * base.factor * int(10**base.exponent)


_IN_TABLE: Final = frozenset(
    (*smi_fields.NAME, *smi_fields.UUID, *smi_fields.BUS_ID, "memory.total", "clocks.max.sm", "compute_cap")
)


def _places(fields: Sequence[str], names: frozenset[str]) -> list[int]:
    return [at for at, name in enumerate(fields) if name in names]


def _place(fields: Sequence[str], names: frozenset[str]) -> int | None:
    return next(iter(_places(fields, names)), None)


def _compressed(cells: list[bytes], known: BoolArray) -> list[bytes]:
    return [cell for cell, sure in zip(cells, known.tolist(), strict=True) if sure]


def _ints(cells: list[bytes]) -> tuple[IntArray, BoolArray]:
    """(small whole numbers of the cells, which of them are any)."""
    value_of = {cell: int(cell) if cell.strip().isdigit() and len(cell.strip()) < 10 else -1 for cell in set(cells)}
    found = np.fromiter(map(value_of.__getitem__, cells), dtype=np.int64, count=len(cells))
    return found, found >= 0
