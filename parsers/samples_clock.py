"""When a sampler took its readings: timestamps of a clock without a time zone, and seconds since the epoch.

``2024/01/05 12:34:56.789`` (nvidia-smi), ``2024-01-05T12:34:56`` (home-made) and ``20240105 12:34:56`` (dmon) are read
off the wall clock of the machine: nanoseconds since its own 1970-01-01 00:00, which is no moment in time as long as the
zone is unknown. A numeral is seconds since the epoch if it has up to 11 digits before its point, milliseconds up to 14,
microseconds up to 17, else nanoseconds. All are exact: none passes through a double.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof import units
from ds2prof.tables import BoolArray, IntArray

UNIX: Final = "unix"
LOCAL: Final = "local time"
_CIVIL: Final = re.compile(
    rb"\s*(\d{4})[-/]?(\d\d)[-/]?(\d\d)[T ]\s*(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s*", re.ASCII
)
_EPOCH: Final = re.compile(rb"\s*(\d{1,19})(?:\.(\d{1,9}))?\s*", re.ASCII)
_MAX_MS: Final = (1 << 63) // units.NS_PER_MS
_SHAPE: Final = b"0000/00/00 00:00:00.000"
"""What nvidia-smi writes; a column of nothing else is converted whole."""


def is_clock(cell: bytes) -> bool:
    """Whether a cell is a date with a time."""
    return _CIVIL.fullmatch(cell) is not None


def nanoseconds(cells: Sequence[bytes]) -> tuple[IntArray, BoolArray, str | None]:
    """(times, which of them are known, what they count from): None if no cell is a time.

    A column holds times of one clock: numerals among dates are not known, and the other way about.
    """
    whole = _shaped(cells)
    if whole is not None:
        return whole, np.ones(len(whole), dtype=np.bool_), LOCAL
    clock = _clock_of(cells)
    convert = {LOCAL: _civil_ns, UNIX: _epoch_ns, None: _no_time}[clock]
    ns_of = {cell: convert(cell) for cell in set(cells)}
    times = [ns_of[cell] for cell in cells]
    known = np.array([time is not None for time in times], dtype=np.bool_)
    return np.array([time or 0 for time in times], dtype=np.int64), known, clock


def _shaped(cells: Sequence[bytes]) -> IntArray | None:
    """Times of a column that holds nothing but nvidia-smi's timestamps; None where it holds anything else."""
    stripped = [cell.strip() for cell in cells]
    if not cells or set(map(len, stripped)) != {len(_SHAPE)}:
        return None
    found = np.frombuffer(b"".join(stripped), dtype=np.uint8).reshape(len(cells), len(_SHAPE))
    shape = np.frombuffer(_SHAPE, dtype=np.uint8)
    digits = shape == ord("0")
    if (found[:, ~digits] != shape[~digits]).any() or ((found[:, digits] < 48) | (found[:, digits] > 57)).any():
        return None
    written = found.copy()
    written[:, [4, 7]] = ord("-")
    written[:, 10] = ord("T")
    return _as_ns(written.view(f"S{len(_SHAPE)}").ravel())


def _as_ns(written: npt.NDArray[np.bytes_]) -> IntArray | None:
    try:
        ms = written.astype("datetime64[ms]").astype(np.int64)
    except ValueError:  # a thirteenth month
        return None
    return ms * units.NS_PER_MS if ms.min() >= 0 and ms.max() < _MAX_MS else None


def _clock_of(cells: Sequence[bytes]) -> str | None:
    for cell in cells:
        if _CIVIL.fullmatch(cell):
            return LOCAL
        if _EPOCH.fullmatch(cell):
            return UNIX
    return None


def _no_time(_: bytes) -> int | None:
    return None


def _civil_ns(cell: bytes) -> int | None:
    found = _CIVIL.fullmatch(cell)
    if found is None:
        return None
    year, month, day, hour, minute, second = (part.decode() for part in found.groups()[:6])
    try:
        at = np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}:{second}", "s")
    except ValueError:
        return None
    fraction = (found.group(7) or b"0").decode()
    ns = int(at.astype(np.int64)) * units.NS_PER_S + int(fraction.ljust(9, "0"))
    return ns if 0 <= ns < 1 << 63 else None


def _epoch_ns(cell: bytes) -> int | None:
    found = _EPOCH.fullmatch(cell)
    if found is None:
        return None
    whole = len(found.group(1))
    step = next((step for digits, step in ((11, 9), (14, 6), (17, 3)) if whole <= digits), 0)
    ns = units.ns_from_decimal(cell.strip().decode(), ns_per_unit=10**step)
    return ns if ns < 1 << 63 else None
