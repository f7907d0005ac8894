"""Kernels (operators of a CPU run) by name: sortable, filterable, searchable, each name with what it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import kernels, rates
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.roofline import tables as roofline
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import short_name
from ds2prof.report.html.cells import cell, counted, head, lacking, named, said
from ds2prof.report.html.model import Cell, Grid, Row, Section, Variant
from ds2prof.tables import Profile

MOST_NAMES: Final = 1000
"""Rows of the table; the rest are one row, so that columns add up all the same."""
MOST_VARIANTS: Final = 4
_FOLDED: Final = 40
_COLUMNS: Final = ("name", "class", "calls", "dur_ns", "mean_ns", "excl_ns", "share")
_ADDED: Final = ("calls", "dur_ns", "excl_ns", "share")
_ROOF: Final = ("roof", "bound", "gain_ns")


def section(profile: Profile, ident: str) -> Section:
    """The section of kernels by name."""
    what = "Host operators" if profile.meta.domain == "cpu" else "Kernels"
    terms = ("excl_ns", "dur_ns", "share", "class", "calls", "utilization", "roof", "gain_ns")
    try:
        answer = kernels.kernel_times(profile, "name")
    except MissingDataError as error:
        return Section(ident, what, missing=lacking(profile, error), terms=terms)
    if not len(answer):
        return Section(ident, what, missing="none in this file; was the window open while work was launched?")
    full = _full_names(profile)
    made = table(f"{ident}-table", f"{what} by name", answer, full=full, roofs=_roofs(profile))
    times = (sum(answer.columns["calls"]), *(("launch", "launches") if what == "Kernels" else ("call", "calls")))
    lead = f"{counted(len(answer), 'name')}, {counted(*times)}."
    return Section(ident, what, lead=lead, grids=[made], notes=said(answer.notes), terms=terms)


def table(
    ident: str,
    caption: str,
    answer: Answer,
    *,
    full: Mapping[str, Sequence[Variant]],
    roofs: Mapping[str, Mapping[str, Any]],
) -> Grid:
    """The answer by name as a table, its columns with pipes and roofs where there are any."""
    pipes = [name for name in (*rates.COLUMNS, "coverage") if name in answer.columns]
    roofed = [name for name in _ROOF if any(row.get(name) is not None for row in roofs.values())]
    columns = [name for name in (*_COLUMNS, *pipes) if _is_known(answer, name)]
    if "excl_ns" in columns and list(answer.columns["excl_ns"]) == list(answer.columns["dur_ns"]):
        columns.remove("excl_ns")  # nothing ran beside another
    rows = [_row(row, columns, roofed, full=full, roofs=roofs) for row in answer.head(MOST_NAMES).rows()]
    rest = ""
    left = answer.rows()[MOST_NAMES:]
    if left:
        rows.append(_sum_row(f"({counted(len(left), 'further name')})", left, [*columns, *roofed], group="rest"))
        rest = f"{counted(len(left), 'further name')} summed in one row; all: ds2prof parse FILE --by name --format csv"
    rows.append(_sum_row(f"all {counted(len(answer), 'name')}", answer.rows(), [*columns, *roofed], group="total"))
    groups = list(dict.fromkeys(row.group for row in rows if row.group not in ("", "rest", "total")))
    return Grid(ident, caption, [head(name) for name in (*columns, *roofed)], rows, rest, groups, _FOLDED)


def _is_known(answer: Answer, name: str) -> bool:
    name = "dur_ns" if name == "mean_ns" else name
    return name in answer.columns and any(value is not None for value in answer.columns[name])


def _row(
    row: Mapping[str, Any],
    columns: Sequence[str],
    roofed: Sequence[str],
    *,
    full: Mapping[str, Sequence[Variant]],
    roofs: Mapping[str, Mapping[str, Any]],
) -> Row:
    variants = full.get(row["name"], ())
    name = Cell(named(row["name"]), row["name"], variants=() if _says_no_more(row["name"], variants) else variants)
    values = {**row, "mean_ns": _mean(row)}
    cells = [name if each == "name" else cell(each, values[each], bar=each == "share") for each in columns]
    beneath = roofs.get(row["name"], {})
    cells += [cell(each, beneath.get(each)) for each in roofed]
    return Row(cells, row.get("class") or "", row.get("share"))


def _says_no_more(name: str, variants: Sequence[Variant]) -> bool:
    return len(variants) == 1 and variants[0].name == named(name)


def _mean(row: Mapping[str, Any]) -> float | None:
    return row["dur_ns"] / row["calls"] if row["dur_ns"] is not None and row["calls"] else None


def _sum_row(label: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, group: str) -> Row:
    """The sums of some rows, in the columns that can be added up."""
    cells = []
    for name in columns:
        values = [row.get(name) for row in rows]
        if name == "name":
            cells.append(Cell(label, label))
        elif name in _ADDED and None not in values:
            cells.append(cell(name, fsum(value or 0.0 for value in values) if name == "share" else sum(values)))
        else:
            cells.append(Cell("", None))
    return Row(cells, group, None)


def _full_names(profile: Profile) -> dict[str, list[Variant]]:
    """Short name -> the full names behind it, the longest in time first."""
    found: dict[str, list[Variant]] = {}
    for row in kernels.kernel_times(profile, "kernel").rows():
        of_name = found.setdefault(short_name(row["name"]), [])
        if len(of_name) < MOST_VARIANTS:
            text = units.format_ns_short(row["dur_ns"])
            of_name.append(Variant(named(row["name"]), row["calls"], row["dur_ns"], text))
        elif len(of_name) == MOST_VARIANTS:
            of_name.append(Variant("and more", 0, None, ""))
    return found


def _roofs(profile: Profile) -> dict[str, Mapping[str, Any]]:
    if profile.meta.domain == "cpu":
        return {}
    try:
        return {row["name"]: row for row in roofline.roofline(profile).rows()}
    except MissingDataError:
        return {}
