"""CSV: one table, base units, a heading, unknown is empty.

A spreadsheet that opens a CSV runs cells that begin with ``=``, ``+``, ``-`` or ``@`` as formulas. Names of kernels and
ranges are untrusted, so a text that begins so (or with a tab or a line's end) gets an apostrophe before it, which
spreadsheets take for "this is text". Numbers stay as they are. ``ds2prof parse --format csv`` changes nothing.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from typing import IO, Any, Final

from ds2prof.report.exports.sheets import Sheet

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(sheets: Sequence[Sheet], out: IO[str]) -> None:
    """Nothing; the sheets, all by one key, are written as one table with a ``file`` column where there are several.

    Args:
        sheets: of one or more profiles.
        out: opened with ``newline=""``.
    """
    names = list(dict.fromkeys(name for sheet in sheets for name in sheet.columns))
    many = len(sheets) > 1
    writer = csv.writer(_Lines(out), lineterminator="\r\n")
    writer.writerow([*(["file"] if many else []), *names])
    for sheet in sheets:
        for chunk in sheet.chunks():
            count = len(next(iter(chunk.values()), []))
            columns = [[_cell(value) for value in chunk[name]] if name in chunk else [""] * count for name in names]
            leading = [[_cell(sheet.meta.file)] * count] if many else []
            writer.writerows(zip(*leading, *columns, strict=True))


class _Lines:
    """Takes rows that end in CR LF, so that the writer quotes both inside of a cell, and ends them in LF."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, row: str) -> int:
        """Write one row."""
        return self._out.write(row.removesuffix("\r\n") + "\n")


def _cell(value: Any) -> Any:
    """The value as it stands in the file; unknown and what is no number are empty."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return harmless(value) if isinstance(value, str) else value


def harmless(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
