"""A comparison's rows as cells of text, the same for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.compare import Comparison
from ds2prof.analysis.compare.changes import Table
from ds2prof.analysis.compare.fields import FIELDS
from ds2prof.analysis.compare.figures import Number
from ds2prof.analysis.compare.wording import NOISE_WORDS, shown
from ds2prof.report.text import cleaned

TITLES: Final[Mapping[str, str]] = {
    "ledger": "By cause of the ledger: busy, and idle by cause",
    "phase": "By phase: kernels' exclusive time",
    "layer": "By layer: kernels' exclusive time",
    "class": "By class: kernels' exclusive time",
    "name": "By kernel: exclusive time",
    "kernel": "By kernel's full name: exclusive time",
}
UNITS: Final[Mapping[str, str]] = {
    "step": "a step, mean over the devices",
    "window": "the window, mean over the devices",
    "capture": "the capture, sum of durations",
}
_PAIRINGS: Final[Mapping[str | None, str]] = {"renamed": "~", "new only": "+", "base only": "-"}
_MARKS: Final[Mapping[bool | None, str]] = {True: "yes", False: "no", None: "?"}


@dataclass(frozen=True)
class Grid:
    """Cells of text under headings: ``left`` are aligned so, ``spare`` give way in that order where it is narrow."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[str] = frozenset()
    spare: tuple[str, ...] = ()


def number_grid(comparison: Comparison) -> Grid:
    """The numbers of whole runs."""
    heads = ("number", "base", "new", "change", "95 % bounds", "beyond noise")
    rows = tuple((one.field, *_number_cells(one)) for one in comparison.numbers)
    return Grid(heads, rows, frozenset({"number"}), ("95 % bounds", "beyond noise"))


def _number_cells(one: Number) -> tuple[str, ...]:
    is_ratio = FIELDS[one.field].quantity == "ratio"
    change = signed(one.change, points=is_ratio)
    bounds = "-" if one.low is None else f"{_bare(one.low)} to {_bare(one.high)} {'pt' if is_ratio else '%'}"
    return shown(one.field, one.base), shown(one.field, one.new), change, bounds, _MARKS[one.beyond_noise]


def signed(change: float | None, *, points: bool = False) -> str:
    """A change in percent or points, with its sign; a dash where unknown."""
    return "-" if change is None else f"{_bare(change)} {'pt' if points else '%'}"


def _bare(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:+.2f}"


def gate_grid(comparison: Comparison) -> Grid:
    """The gates and what became of them."""
    heads = ("gate", "outcome", "base", "new", "change", "p")
    rows = []
    for one in comparison.outcomes:
        kind = one.gate.kind
        change = "-" if kind == "absolute" else signed(one.change, points=kind == "points")
        p_value = "-" if one.p_value is None else f"{one.p_value:.2g}"
        values = [shown(one.gate.field, value) for value in (one.base, one.new)]
        outcome = {"broken": "BROKEN", "held": "not broken", "unknown": "cannot be known"}[one.status]
        rows.append((one.gate.text, outcome, *values, change, p_value))
    return Grid(heads, tuple(rows), frozenset({"gate", "outcome"}), ("p", "base", "new"))


def gate_lines(comparison: Comparison) -> list[str]:
    """What each outcome rests on, a line each."""
    return [f"{one.gate.text}: {one.why or f'judged by {NOISE_WORDS[one.noise]}'}" for one in comparison.outcomes]


def table_grid(table: Table, *, top: int) -> Grid:
    """The rows of what changed, the rest of them as one row, and their sum."""
    by = table.answer.by
    rows = [row for row in table.answer.rows() if row["base_ns"] or row["new_ns"]]
    shown_rows, rest = rows[:top], rows[top:]
    cells = [_table_cells(row, by) for row in shown_rows]
    if rest:
        sums = {name: sum(row[name] for row in rest) for name in ("base_ns", "new_ns", "change_ns")}
        share = None if not table.change_ns else sums["change_ns"] / table.change_ns
        nothing = {"low_ns": None, "high_ns": None, "share": share, "beyond_noise": None}
        cells.append((*_table_cells({**nothing, **sums, by: f"({len(rest):,} more)"}, by)[:6], ""))
    whole = {**table.totals(), by: "sum", "share": 1.0 if table.change_ns else None}
    beyond = None if table.low_ns is None or table.high_ns is None else not table.low_ns <= 0 <= table.high_ns
    cells.append(_table_cells({**whole, "beyond_noise": beyond}, by))
    heads = (by, "base", "new", "change", "95 % bounds", "share", "beyond noise")
    return Grid(heads, tuple(cells), frozenset({by}), ("95 % bounds", "beyond noise", "base"))


def renamed_lines(table: Table, *, top: int) -> list[str]:
    """Which of the rows shown were taken for another name's, a line each."""
    if "pairing" not in table.answer.columns:
        return []
    by = table.answer.by
    return [
        f"{row[by]} was {row['base_name']} ({units.format_ratio(row['sureness'], digits=0)} sure)"
        for row in table.answer.head(top).rows()
        if row["pairing"] == "renamed"
    ]


def _table_cells(row: Mapping[str, Any], by: str) -> tuple[str, ...]:
    name = f"(outside any {by})" if row[by] is None else cleaned(str(row[by]))
    pairing = row.get("pairing")
    if pairing in _PAIRINGS:
        name = f"{_PAIRINGS[pairing]} {name}"
    return (
        name,
        units.format_ns_short(row["base_ns"]),
        units.format_ns_short(row["new_ns"]),
        units.format_ns_signed(row["change_ns"]),
        "0 ns" if row["low_ns"] == row["high_ns"] == 0 else units.format_ns_between(row["low_ns"], row["high_ns"]),
        units.format_ratio(row["share"], digits=1),
        _MARKS[row["beyond_noise"]],
    )


def sides_lines(comparison: Comparison) -> list[str]:
    """Which runs were compared, a line a side."""
    lines = []
    for name, runs in (("base", comparison.base), ("new", comparison.new)):
        ranks = max(len(run.parts) for run in runs)
        of = f" of {ranks} ranks" if ranks > 1 else ""
        count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}{of}"
        more = "" if len(runs) == 1 else f" and {len(runs) - 1} more"
        lines.append(cleaned(f"{name}: {count}, {runs[0].parts[0].meta.tool}: {runs[0].name}{more}"))
    return lines


def notes(comparison: Comparison) -> list[str]:
    """What the tables rest on."""
    lines: dict[str, None] = {}
    for table in comparison.tables:
        if table.frame.said():
            lines[table.frame.said()] = None
    for number in comparison.numbers:
        if number.paired and not comparison.tables:
            lines[number.paired] = None
    noise = {one.noise for one in comparison.numbers} | {one.noise for one in comparison.tables}
    if "iterations" in noise:
        lines["bounds are of one run's own iterations: how runs vary is not in them"] = None
    if any("pairing" in table.answer.columns for table in comparison.tables):
        lines["~ renamed, by class, operator, shapes, launches and words of the name; + new; - gone"] = None
    return list(lines)


def top_rows(rows: Sequence[Any], top: int | None, default: int) -> int:
    """How many rows are shown."""
    return min(len(rows), top or default)
