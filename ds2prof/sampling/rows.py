"""The file that is written: one reading a line, as the reader :mod:`ds2prof.parsers.samples_csv` describes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

COLUMNS: Final = ("start_ns", "period_ns", "device", "entity", "metric", "unit", "value", "aggregation")
LAST: Final = "last"
MEAN: Final = "mean"
FACT: Final = "fact"
MARK: Final = "mark"
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f,\"]")
_MAX_TEXT: Final = 400


class Row(NamedTuple):
    """One line. With a period it is about [start, start + period), without one about the moment ``start_ns``."""

    metric: str
    unit: str
    value: float | int | None
    start_ns: int
    period_ns: int | None = None
    device: int | None = None
    entity: str | None = None
    aggregation: str = LAST


def fact(name: str, value: float | str | None, *, start_ns: int, device: int | None = None) -> Row:
    """The row of what is said once: a number with its value, a text in the place of the entity."""
    if isinstance(value, str):
        return Row(name, "text", None, start_ns, None, device, value, FACT)
    return Row(name, "count", value, start_ns, None, device, None, FACT)


def line(row: Row) -> str:
    """The row as it is written."""
    cells = (
        row.start_ns,
        row.period_ns,
        row.device,
        None if row.entity is None else _UNFIT.sub(" ", row.entity)[:_MAX_TEXT],
        row.metric,
        row.unit,
        _numeral(row.value),
        row.aggregation,
    )
    return ",".join("" if cell is None else str(cell) for cell in cells) + "\n"


def _numeral(value: float | int | None) -> str:
    """Whole numbers in full, others with seven digits, which is more than any of the counters behind them has."""
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1 << 53:
        return str(int(value))
    return f"{value:.7g}"


class Writer:
    """Rows to a file, gathered in memory until :meth:`flush`. A file that takes no more does not stop the program."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._lines = [",".join(COLUMNS) + "\n"]
        self._is_closed = False
        self.error: OSError | None = None
        """Why nothing is written any more."""

    def add(self, rows: Iterable[Row]) -> None:
        """Takes rows."""
        if self.error is None:
            self._lines.extend(map(line, rows))

    def flush(self) -> None:
        """Writes what was gathered."""
        rest = memoryview("".join(self._lines).encode("utf-8", "replace"))
        self._lines.clear()
        try:
            while rest and self.error is None:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self.error = error

    def close(self) -> None:
        """Writes the rest; a second time does nothing."""
        if self._is_closed:
            return
        self.flush()
        self._is_closed = True
        try:
            os.close(self._file)
        except OSError as error:  # where a network's file system tells of a full disk
            self.error = self.error or error
