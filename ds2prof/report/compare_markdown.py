"""A comparison as Markdown for a pull request: the verdict, the gates, and tables to unfold."""

from __future__ import annotations

import re
from typing import Final

from ds2prof.analysis.compare import Comparison
from ds2prof.report import compare_rows as rows
from ds2prof.report.compare_rows import Grid
from ds2prof.report.text import cleaned

_MARKUP: Final = re.compile(r"[\\`*_{}\[\]|~<>&$]|[@#](?=\w)|:(?=[\w+-]+:)")
_TICKS: Final = re.compile(r"`+")
_HEADING: Final = {True: "a limit is broken", False: "no limit is broken"}


def compare_markdown(comparison: Comparison, *, top: int) -> str:
    """The comparison as Markdown of GitHub's kind; names are untrusted, and every sign with a meaning is escaped."""
    parts = [f"### ds2prof compare{_outcome(comparison)}", escaped(comparison.verdict)]
    if comparison.outcomes:
        lines = [f"- {escaped(line)}" for line in rows.gate_lines(comparison)]
        parts.append("\n".join([_grid(rows.gate_grid(comparison)), "", *lines]))
    if comparison.numbers:
        parts.append(_grid(rows.number_grid(comparison)))
    for table in comparison.tables:
        title = escaped(f"{rows.TITLES[table.answer.by]} of {rows.UNITS[table.unit]}")
        renamed = [f"- {escaped(line)}" for line in rows.renamed_lines(table, top=top)]
        body = "\n".join([_grid(rows.table_grid(table, top=top)), *([""] if renamed else []), *renamed])
        parts.append(f"<details><summary>{title}</summary>\n\n{body}\n\n</details>")
    lines = [f"- {escaped(line)}" for line in rows.sides_lines(comparison)]
    lines += [f"- warning: {escaped(line)}" for line in comparison.warnings]
    lines += [f"- {escaped(line)}" for line in rows.notes(comparison)]
    parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _outcome(comparison: Comparison) -> str:
    return f": {_HEADING[comparison.is_broken()]}" if comparison.outcomes else ""


def escaped(text: str) -> str:
    """The text so that Markdown shows it as it is: no markup, no HTML, no mention, no reference, no emoji."""
    return _MARKUP.sub(_disarmed, cleaned(text))


def _disarmed(found: re.Match[str]) -> str:
    """The sign as an entity, or behind a backslash; what GitHub makes a link or a picture of torn from what follows."""
    sign = found[0]
    if sign in "@#:":
        return f"{sign}<!-- -->"
    return f"&#{ord(sign)};" if sign in "<>&$" else f"\\{sign}"


def code(text: str) -> str:
    """The text as a span of code within a cell: nothing in it has a meaning."""
    plain = cleaned(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in _TICKS.findall(plain)), default=0))
    space = " " if "`" in plain else ""
    return f"{fence}{space}{plain}{space}{fence}"


def _grid(grid: Grid) -> str:
    """The grid; its first column, of names and limits, as code."""
    rule = [":--" if head in grid.left else "--:" for head in grid.heads]
    lines = [[escaped(head) or " " for head in grid.heads], rule]
    lines += [[code(row[0]), *(escaped(cell) for cell in row[1:])] for row in grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
