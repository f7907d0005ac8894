"""The fields of ``nvidia-smi --query-gpu`` and ``--query-compute-apps``: what each is, and in which unit it comes.

A field is an identity (which device, which process, when), a property that stays (name, limits, modes: for the devices
table and ``meta.facts``), or a reading. Where neither header nor cell states a unit, the documented one holds.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.samples_gather import LAST, MEAN
from ds2prof.parsers.samples_units import Unit, unit_of

TIME: Final = frozenset(("timestamp", "time", "date"))
INDEX: Final = frozenset(("index", "gpu", "gpu_index"))
UUID: Final = frozenset(("uuid", "gpu_uuid"))
BUS_ID: Final = frozenset(("pci.bus_id", "gpu_bus_id"))
NAME: Final = frozenset(("name", "gpu_name"))
PROCESS: Final = frozenset(("pid",))
PROCESS_NAME: Final = frozenset(("process_name",))
DEVICE_NAMES: Final = UUID | BUS_ID | NAME
IDENTITIES: Final = TIME | INDEX | DEVICE_NAMES | PROCESS | PROCESS_NAME

_PROPERTY: Final = re.compile(
    r"memory\.total|count|.*serial|.*version.*|pci\..*|pcie\..*|pstate|compute_cap|display_\w+"
    r"|(?:persistence|compute|addressing)_mode|accounting\..*|(?:ecc|mig)\.mode\..*|(?:driver_model|gom)\..*"
    r"|clocks\.(?:max|applications|default_applications)\..*|power\.(?:management|limit|default_limit|min_limit|max_limit)"
    r"|enforced\.power\.limit|inforom\..*|.*_reasons\.(?:active|supported)|module_id|gpu_part_number|.*\.type"
)
"""Fields that are no readings: properties of a device or its set-up, performance states and PCIe links among them."""

_DEFAULT_UNITS: Final = (
    (re.compile(r"utilization\..*|fan\.speed|gpu_util.*|mem_util.*"), "%"),
    (re.compile(r"memory\..*|protected_memory\..*|used_(?:gpu_)?memory"), "MiB"),
    (re.compile(r"(?:.*\.)?power\..*"), "W"),
    (re.compile(r"temperature\..*"), "C"),
    (re.compile(r"clocks\..*"), "MHz"),
    (re.compile(r"clocks_(?:throttle|event)_reasons\..*"), "bool"),
    (re.compile(r"ecc\.errors\..*|retired_pages\..*|remapped_rows\..*|encoder\.stats\.sessionCount"), "#"),
)
"""(fields, their documented unit)."""

_MEASURES: Final = re.compile(
    r"(?:utilization|memory|power|temperature|clocks|fan|ecc|encoder|clocks_throttle_reasons|clocks_event_reasons)\.[\w.]+"
    r"|used_(?:gpu_)?memory"
)
_HEADING: Final = re.compile(r"([A-Za-z_][\w.]*)(?: ?\[([^\]]{1,16})\])?")


def heading(cell: str) -> tuple[str, str | None] | None:
    """(field, unit or None) of a cell of the header; None if it cannot be one."""
    found = _HEADING.fullmatch(cell.strip())
    return None if found is None else (found.group(1), found.group(2))


def is_measured(field: str) -> bool:
    """Whether a field is one that makes a list of fields a query of nvidia-smi."""
    return _MEASURES.fullmatch(field) is not None


def is_property(field: str) -> bool:
    """Whether a field states what stays, or what is no number."""
    return _PROPERTY.fullmatch(field) is not None


def field_unit(field: str, stated: str | None) -> Unit:
    """The unit of a field: the one that the header states, else the documented one."""
    if stated is not None:
        return unit_of(stated)
    return unit_of(next((unit for fields, unit in _DEFAULT_UNITS if fields.fullmatch(field)), ""))


def aggregation(field: str) -> str | None:
    """What a reading is of its period; None where that depends on the device or the field is not known.

    Utilization is a mean over the driver's own sample period, 1/6 to 1 second depending on the product. ``power.draw``
    is a mean over a second on some products and the last reading on others.
    """
    if field.startswith("utilization.") or field == "power.draw.average":
        return MEAN
    return LAST if field != "power.draw" and is_measured(field) else None


def header_of(line: bytes) -> tuple[tuple[str, str | None], ...] | None:
    """The (field, unit) of each column if the line is a header of nvidia-smi's fields, else None."""
    cells = [heading(cell) for cell in line.decode("utf-8", "replace").split(",")]
    fields = tuple(cell for cell in cells if cell is not None)
    if len(fields) < len(cells) or not any(is_measured(field) for field, _ in fields):
        return None
    return fields
