"""What the samplers print as a unit and as a reading: spellings to base units, numerals to doubles, and ways to say no.

A power of ten is written behind the numeral before it becomes a double, so that every value is the double nearest to
what the file says; a binary multiple is exact. The samplers' ``MiB``, and the ``MB`` in which ``nvidia-smi dmon`` and
DCGM state framebuffer sizes, are 2**20 bytes; a rate in ``MB/s`` is taken at its word, 10**6 bytes per second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

UNKNOWN: Final = "unknown"
"""The unit of a reading whose unit neither the file nor the tool's documentation states."""
MAX_NUMERAL: Final = 40
_MEBI: Final = 1 << 20
_LOOKED_AT: Final = 1000
_MAX_PLAIN_DIGITS: Final = 15
_FEW: Final = 4
"""Distinct cells are few below this part of a column."""


@dataclass(frozen=True)
class Unit:
    """A base unit, and how far the printed one is from it: ``numeral * 10**exponent * factor``."""

    name: str
    exponent: int = 0
    factor: int = 1


_UNITS: Final = {
    "%": Unit("ratio", -2),
    "B": Unit("byte"),
    "KiB": Unit("byte", 0, 1 << 10),
    "MiB": Unit("byte", 0, _MEBI),
    "MB": Unit("byte", 0, _MEBI),
    "GiB": Unit("byte", 0, 1 << 30),
    "B/s": Unit("byte/s"),
    "KB/s": Unit("byte/s", 3),
    "MB/s": Unit("byte/s", 6),
    "GB/s": Unit("byte/s", 9),
    "MHz": Unit("hertz", 6),
    "mW": Unit("watt", -3),
    "W": Unit("watt"),
    "C": Unit("celsius"),
    "mJ": Unit("joule", -3),
    "J": Unit("joule"),
    "us": Unit("ns", 3),
    "ms": Unit("ns", 6),
    "s": Unit("ns", 9),
    "errs": Unit("count"),
    "#": Unit("count"),
    "bool": Unit("ratio"),
    "": Unit(UNKNOWN),
}
"""Unit as printed -> base unit."""

_NOTHING: Final = frozenset(
    ("", "-", "--", "n/a", "na", "nan", "not supported", "unknown error", "not available", "err!", "none", "no data")
)


def unit_of(text: str) -> Unit:
    """The base unit of a unit as printed; a spelling that is not known is its own base unit."""
    return _UNITS.get(text) or Unit(text)


def says_nothing(text: str) -> bool:
    """Whether a cell says that there is no reading: ``N/A``, ``[N/A]``, ``[Not Supported]``, ``[GPU is lost]``."""
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        return True
    return bare.lower() in _NOTHING


def number(cell: bytes, unit: Unit) -> float | None:
    """The reading in the base unit; NaN where the cell says that there is none; None where it is no number.

    A unit in the cell itself (``22 %``, ``841 MiB``) counts for more than that of the column.
    """
    text = cell.decode("utf-8", "replace").strip()
    if says_nothing(text):
        return math.nan
    numeral, _, spelled = text.partition(" ")
    if len(numeral) > MAX_NUMERAL or "_" in numeral or not numeral.isascii():
        return None
    if spelled:
        own = unit_of(spelled.strip())
        if unit.name not in (UNKNOWN, own.name):
            return _flag(text)
        unit = own
    try:
        value = float(f"{numeral}e{unit.exponent}" if unit.exponent else numeral) * unit.factor
    except ValueError:
        return _flag(text)
    return value if math.isfinite(value) else None


def _flag(text: str) -> float | None:
    """1 for ``Active``, 0 for ``Not Active``: the reasons for which clocks are held back."""
    return {"active": 1.0, "not active": 0.0}.get(text.lower())


def numbers(cells: Sequence[bytes], unit: Unit) -> tuple[npt.NDArray[np.float64], int]:
    """(the readings of a column of cells in the base unit, how many cells were neither number nor absence).

    A column of nothing but plain numerals with one unit is converted as a whole. Of any other, distinct cells are
    looked at once: samplers print few digits, and repeat themselves.
    """
    distinct = set(cells)
    plain = _plain(cells, unit) if len(distinct) > len(cells) // _FEW else None
    if plain is not None:
        return plain, 0
    value_of: dict[bytes, float] = {}
    strange: set[bytes] = set()
    for cell in distinct:
        value = number(cell, unit)
        if value is None:
            strange.add(cell)
        value_of[cell] = math.nan if value is None else value
    found = np.fromiter(map(value_of.__getitem__, cells), dtype=np.float64, count=len(cells))
    return found, sum(map(strange.__contains__, cells)) if strange else 0


def _plain(cells: Sequence[bytes], unit: Unit) -> npt.NDArray[np.float64] | None:
    """The readings if all cells are plain numerals, with the same unit or with none; None otherwise."""
    spelled = cells[0].strip().partition(b" ")[2] if cells else b""
    text = b"\n".join(cells) + b"\n"
    if spelled:
        if unit_of(spelled.decode("utf-8", "replace")) != unit or text.count(b" " + spelled + b"\n") != len(cells):
            return None
        text = text.replace(b" " + spelled + b"\n", b"\n")
    if text.translate(None, b" 0123456789.\n"):
        return None
    numerals = text.split(b"\n")[:-1]
    if len(max(numerals, key=len)) > _MAX_PLAIN_DIGITS:
        return None
    try:
        found = np.fromiter(map(float, numerals), dtype=np.float64, count=len(cells))
    except ValueError:
        return None
    return _scaled(found, unit)


def _scaled(found: npt.NDArray[np.float64], unit: Unit) -> npt.NDArray[np.float64] | None:
    """The numbers in the base unit; None where that could differ from the double nearest to the text.

    Scaled by a power of ten, a whole number gives the same double as its text would.
    """
    if unit.exponent == 0:
        return found * unit.factor
    if (found != np.floor(found)).any():
        return None
    power = 10.0 ** abs(unit.exponent)
    return (found * power if unit.exponent > 0 else found / power) * unit.factor


def unit_in(cells: Sequence[bytes]) -> Unit | None:
    """The unit that the first cell with one carries; None where the first cells have none."""
    for cell in cells[:_LOOKED_AT]:
        numeral, _, spelled = cell.decode("utf-8", "replace").strip().partition(" ")
        if spelled and numeral[:1].isdigit():
            return unit_of(spelled.strip())
    return None


def finite(value: object) -> float | None:
    """A number out of JSON as a double; None for what is none, is not finite, or is beyond doubles."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
