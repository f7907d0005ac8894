"""Markdown for pull requests: a heading, what it comes to, a table for each key; GitHub's dialect.

Names are code spans, so that none of them is a link, a mention, a tag or a second column; a long one is cut in its
middle. Figures have units for reading: the exact ones are in the other forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import IO, Any, Final

from ds2prof import units
from ds2prof.report.exports.sheets import Sheet, is_key, unit_of
from ds2prof.report.headings import heading
from ds2prof.report.text import cleaned, shortened

DEFAULT_TOP: Final = 20
_NAME_WIDTH: Final = 80
_SPECIAL: Final = re.compile(r"(?<=www)\.|(?<=:)//|[\\`*_{}\[\]#!|~<>&@$]")
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*")
_TICKS: Final = re.compile(r"`+")
_WIDE: Final = 10_000
_FILE_WIDTH: Final = 120


def write_markdown(sheets: Sequence[Sheet], out: IO[str], *, top: int | None = None) -> None:
    """Nothing; the sheets are written, at most ``top`` rows each (20 unless told)."""
    last = None
    for sheet in sheets:
        if sheet.meta is not last:
            out.writelines(_about(sheet))
            last = sheet.meta
        out.writelines(_table(sheet, top or DEFAULT_TOP))


def _about(sheet: Sheet) -> list[str]:
    lines = heading(sheet.meta, sheet.totals, width=_WIDE).split("\n")[1:] if sheet.totals else []
    tool = " ".join(part for part in (sheet.meta.tool, sheet.meta.tool_version) if part)
    rank = "" if sheet.meta.rank is None else f", rank {sheet.meta.rank}"
    told = [f"### ds2prof: {code(PurePath(sheet.meta.file).name, width=_FILE_WIDTH)}, {escaped(tool)}{rank}\n\n"]
    told += [f"- {escaped(line.strip())}\n" for line in lines]
    told += [f"- warning: {escaped(line)}\n" for line in sheet.warnings]
    return [*told, "\n"] if len(told) > 1 else told


def _table(sheet: Sheet, top: int) -> list[str]:
    names = [name for name in sheet.columns if sheet.kind_of(name) != "null" or name == sheet.by]
    chunk = next(sheet.chunks(max(top, 1)))
    texts = {name: sheet.kind_of(name) == "text" for name in names}
    cells = [[_cell(name)(value) for value in chunk[name][:top]] for name in names]
    lines = [f"**by {escaped(sheet.name)}**\n\n", _line([escaped(name) for name in names])]
    lines.append(_line([":---" if texts[name] else "---:" for name in names]))
    lines += [_line(row) for row in zip(*cells, strict=True)]
    if len(sheet) > top:
        lines.append(f"\n{len(sheet) - top:,} more rows are left out (`--top N` for N of them).\n")
    lines += [f"\n> {escaped(note)}\n" for note in sheet.notes]
    return [*lines, "\n"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _cell(column: str) -> Callable[[Any], str]:
    """How a column's values are written."""
    unit = unit_of(column)
    figure: dict[str | None, Callable[[Any], str]] = {
        "ns": units.format_ns_short,
        "ratio": units.format_ratio,
        "byte": units.format_bytes,
        "byte/s": lambda value: f"{units.format_bytes(value)}/s",
    }
    written = figure.get(None if column.endswith("start_ns") else unit, _plain)

    def cell(value: Any) -> str:
        if value is None:
            return "-" if not is_key(column) else ""
        return code(value) if isinstance(value, str) else escaped(written(value))

    return cell


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < _WIDE else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def escaped(text: str) -> str:
    """The text with every character that Markdown or HTML would take for more than itself escaped."""
    plain = cleaned(" ".join(text.split()))
    named = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;", "//": "&#47;&#47;"}
    return " ".join(
        word if _IDENTIFIER.fullmatch(word) else _SPECIAL.sub(lambda found: named.get(found[0], f"\\{found[0]}"), word)
        for word in plain.split(" ")
    )


def code(text: str, *, width: int = _NAME_WIDTH) -> str:
    """The text as a code span that it cannot leave, on one line and in one cell."""
    plain = shortened(cleaned(" ".join(text.split())), width) or " "
    fence = "`" * (max((len(ticks) for ticks in _TICKS.findall(plain)), default=0) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{space}{plain}{space}{fence}".replace("|", "\\|")
