"""A comparison for a terminal: the verdict, the numbers, the gates, what changed, and what qualifies it."""

from __future__ import annotations

from textwrap import wrap
from typing import Final

from ds2prof.analysis.compare import Comparison
from ds2prof.report import compare_rows as rows
from ds2prof.report.compare_rows import Grid
from ds2prof.report.text import cleaned, display_width, shortened

_LEAST_NAME: Final = 24


def compare_text(comparison: Comparison, *, top: int, width: int) -> str:
    """The comparison as text of at most ``width`` columns, ``top`` rows a table."""
    parts = ["\n".join(_folded(line, width) for line in rows.sides_lines(comparison))]
    grids = [rows.number_grid(comparison), *(rows.table_grid(table, top=top) for table in comparison.tables)]
    hidden = dict.fromkeys(name for grid in grids for name in _hidden(grid, width))
    parts.append(_folded(comparison.verdict, width, indent=""))
    if comparison.numbers:
        parts.append(drawn(rows.number_grid(comparison), width))
    if comparison.outcomes:
        lines = [drawn(rows.gate_grid(comparison), width)]
        parts.append("\n".join([*lines, *(_folded(line, width) for line in rows.gate_lines(comparison))]))
    for table in comparison.tables:
        title = f"{rows.TITLES[table.answer.by]} of {rows.UNITS[table.unit]}"
        lines = [_folded(title, width), drawn(rows.table_grid(table, top=top), width)]
        parts.append("\n".join([*lines, *(_folded(line, width) for line in rows.renamed_lines(table, top=top))]))
    notes = [_folded(f"note: {line}", width) for line in rows.notes(comparison)]
    if hidden:
        notes.append(_folded(f"hidden: {', '.join(hidden)} (widen the terminal, or --format csv)", width))
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def _folded(line: str, width: int, *, indent: str = "  ") -> str:
    lines = wrap(cleaned(line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def drawn(grid: Grid, width: int) -> str:
    """The grid's lines: columns that can be spared give way where it is narrow, then texts are cut or folded."""
    hidden = _hidden(grid, width)
    kept = [place for place, head in enumerate(grid.heads) if head not in hidden]
    widths = {place: _column_width(grid, place) for place in kept}
    excess = sum(widths.values()) + 2 * (len(widths) - 1) - width
    texts = sorted((place for place in kept if grid.heads[place] in grid.left), key=lambda place: -widths[place])
    for place in texts:
        cut = min(max(excess, 0), max(widths[place] - _LEAST_NAME, 0))
        widths[place] -= cut
        excess -= cut
    lines = [_line(grid, grid.heads, widths), "  ".join("-" * taken for taken in widths.values())]
    lines += [_line(grid, row, widths) for row in grid.rows]
    return "\n".join(line.rstrip() for line in lines)


def _hidden(grid: Grid, width: int) -> list[str]:
    """The columns that give way so that the grid fits, its texts as narrow as they may get."""
    hidden: list[str] = []
    for name in grid.spare:
        if _taken(grid, hidden) <= width:
            break
        hidden.append(name)
    return hidden


def _taken(grid: Grid, hidden: list[str]) -> int:
    """How wide the grid is without the hidden columns, its texts as narrow as they may get."""
    widths = []
    for place, head in enumerate(grid.heads):
        if head not in hidden:
            taken = _column_width(grid, place)
            widths.append(min(taken, _LEAST_NAME) if head in grid.left else taken)
    return sum(widths) + 2 * (len(widths) - 1)


def _column_width(grid: Grid, place: int) -> int:
    return max(display_width(text) for text in (grid.heads[place], *(row[place] for row in grid.rows)))


def _line(grid: Grid, cells: tuple[str, ...], widths: dict[int, int]) -> str:
    parts = []
    for place, taken in widths.items():
        text = shortened(cells[place], taken)
        space = " " * (taken - display_width(text))
        parts.append(text + space if grid.heads[place] in grid.left else space + text)
    return "  ".join(parts)
