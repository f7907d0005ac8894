"""xlsx: a workbook with a sheet for each table, and one before them that says what it is of.

Figures are numbers in base units, with formats for reading (a ratio is shown in percent). Texts are texts: a name that
begins with ``=``, ``+``, ``-`` or ``@`` is no formula, and is marked so that it becomes none when it is edited. A
workbook's numbers are doubles: whole numbers beyond 15 digits (times since the epoch) are written as text, exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ds2prof import __version__
from ds2prof.errors import Ds2profError, UsageError
from ds2prof.report.exports.comma_separated import harmless
from ds2prof.report.exports.sheets import Sheet, is_key, unit_of

MOST_ROWS: Final = 1_048_576 - 1
"""Rows of a sheet, less its heading."""
_MOST_TEXT: Final = 32_767
_LARGEST_EXACT: Final = 10**15
_NOT_IN_TITLES: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_MOST_TITLE: Final = 31
_FORMATS: Final = {"ratio": "0.00%", "ns": "#,##0", "byte": "#,##0", "s": "#,##0.000", "1/s": "#,##0.00"}


def write_xlsx(sheets: Sequence[Sheet], path: Path) -> None:
    """Nothing; the workbook is written, row by row.

    Raises:
        Ds2profError: openpyxl is not installed.
        UsageError: a table has more rows than a sheet can hold.
    """
    try:
        from openpyxl import Workbook
    except ImportError:
        raise Ds2profError('--to xlsx: needs openpyxl; pip install "ds2prof[report]"') from None
    for sheet in sheets:
        if len(sheet) > MOST_ROWS:
            raise UsageError(
                f"--to xlsx: {len(sheet):,} rows by {sheet.name}, a sheet holds {MOST_ROWS:,}; add --top, "
                "or export to parquet or csv"
            )
    book = Workbook(write_only=True)
    titles: set[str] = set()
    _fill_about(book.create_sheet(_title("about", titles)), sheets)
    for sheet in sheets:
        _fill(book.create_sheet(_title(_wanted_title(sheet, sheets), titles)), sheet)
    book.save(path)


def _wanted_title(sheet: Sheet, sheets: Sequence[Sheet]) -> str:
    files = {each.meta.file for each in sheets}
    return sheet.name if len(files) == 1 else f"{sheet.name} {Path(sheet.meta.file).name}"


def _title(wanted: str, taken: set[str]) -> str:
    """A title that a workbook takes: at most 31 characters, none of ``[]:*?/\\``, and none twice whatever its case."""
    plain = _NOT_IN_TITLES.sub("_", wanted).strip("'")[:_MOST_TITLE] or "table"
    found, number = plain, 1
    while found.lower() in taken:
        number += 1
        found = f"{plain[: _MOST_TITLE - len(str(number)) - 1]} {number}"
    taken.add(found.lower())
    return found


def _fill_about(page: Any, sheets: Sequence[Sheet]) -> None:
    page.column_dimensions["A"].width, page.column_dimensions["B"].width = 32, 100
    for name, value in _about(sheets):
        page.append([_cell(page, name, bold=value is None), _cell(page, value)])


def _about(sheets: Sequence[Sheet]) -> Iterator[tuple[str, Any]]:
    yield "ds2prof", __version__
    yield "units", "base units: ns, byte, ratio of 1 (shown in percent), per second; empty is unknown"
    seen: set[str] = set()
    for sheet in sheets:
        if sheet.meta.file in seen:
            continue
        seen.add(sheet.meta.file)
        yield "", None
        yield sheet.meta.file, None
        for name in ("tool", "tool_version", "format", "times", "clock", "rank"):
            yield name, getattr(sheet.meta, name)
        for name, value in sheet.totals.items():
            if isinstance(value, (int, float, str)):
                yield name, value
        for line in dict.fromkeys(line for each in sheets if each.meta is sheet.meta for line in each.warnings):
            yield "warning", line
    yield "", None
    for sheet in sheets:
        for note in sheet.notes:
            yield f"note on {sheet.name}", note


def _fill(page: Any, sheet: Sheet) -> None:
    from openpyxl.utils import get_column_letter

    page.freeze_panes = "A2"
    last = get_column_letter(max(len(sheet.columns), 1))
    page.auto_filter.ref = f"A1:{last}{len(sheet) + 1}"
    formats = []
    for place, name in enumerate(sheet.columns, 1):
        is_text = sheet.kind_of(name) == "text"
        page.column_dimensions[get_column_letter(place)].width = 60 if is_text and name == sheet.by else 18
        formats.append(None if is_text or is_key(name) else _FORMATS.get(unit_of(name) or "", None))
    page.append([_cell(page, name, bold=True) for name in sheet.columns])
    for chunk in sheet.chunks():
        for row in zip(*chunk.values(), strict=True):
            page.append([_cell(page, value, shown=shown) for value, shown in zip(row, formats, strict=True)])


def _cell(page: Any, value: Any, *, shown: str | None = None, bold: bool = False) -> Any:
    """A cell of the page: None for unknown, a text that cannot become a formula, or a number."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    is_text = isinstance(value, (str, bool)) or (isinstance(value, int) and abs(value) > _LARGEST_EXACT)
    made = WriteOnlyCell(page, _plain(str(value)) if is_text else value)
    if is_text:
        made.data_type = "s"  # it would take a text that begins with "=" for a formula
        if harmless(str(value)) != str(value):
            made.quotePrefix = True
    if shown is not None and not is_text:
        made.number_format = shown
    if bold:
        made.font = Font(bold=True)
    return made


def _plain(text: str) -> str:
    """The text without what a workbook cannot hold: control characters, lone halves of UTF-16, all beyond 32,767."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    whole = text.encode("utf-8", "backslashreplace").decode()
    return str(ILLEGAL_CHARACTERS_RE.sub("\N{REPLACEMENT CHARACTER}", whole))[:_MOST_TEXT]
