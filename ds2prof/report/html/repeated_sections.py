"""What repeats, and what was read beside it: iterations with their spread, sampled readings, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ds2prof.analysis import questions
from ds2prof.analysis.summary import Summary
from ds2prof.analysis.uncertainty.iterations import iterations_of, notes
from ds2prof.errors import MissingDataError
from ds2prof.report.headings import readable
from ds2prof.report.html import charts
from ds2prof.report.html.cells import grid, lacking, named, said, text_of
from ds2prof.report.html.core_sections import FOLDED, PIPES, TIMES
from ds2prof.report.html.model import Cell, Fact, Figure, Head, Row, Section
from ds2prof.report.html.words import TOTALS
from ds2prof.tables import Profile

_MOST_ITERATIONS: Final = 400
_MOST_READINGS: Final = 200
_MOST_LAYERS: Final = 400
_READ: Final = ("mean", "min", "max")


def iterations(profile: Profile, found: Summary, ident: str) -> Section:
    """The section of iterations: each, their mean with its interval, warm-up and outliers."""
    title = "Iterations"
    terms = ("step_ns", "interval", "warm_up")
    try:
        answer = questions.answers(profile, "iteration")[0]
    except MissingDataError as error:
        return Section(ident, title, missing=lacking(profile, error), terms=terms)
    repeated = iterations_of(profile)
    figures: list[Figure] = []
    intervals = found.totals.get("intervals") or {}
    if repeated is not None and len(repeated.keys) > 1 and not any(time != time for time in repeated.times_ns.tolist()):
        place_of = {key: place for place, key in enumerate(repeated.keys)}
        figures.append(
            charts.iteration_times(
                f"{ident}-times",
                [named(str(key), limit=40) for key in repeated.keys],
                repeated.times_ns.tolist(),
                warm=repeated.warm.count,
                odd=[place_of[key] for key, _ in repeated.outliers()],
                mean=intervals.get("step_ns"),
            )
        )
    facts = [_interval_fact(name, one) for name, one in intervals.items()]
    columns = ("iteration", *TIMES, "step_ns", "wall_ns", "samples", "audio_s", "padded_s", "loss", *PIPES)
    made = grid(
        f"{ident}-table", "Each iteration", answer, columns=[name for name in columns if name in answer.columns],
        top=_MOST_ITERATIONS, folded=FOLDED, nothing="(outside any iteration)",
    )  # fmt: skip
    lines = said(notes(profile)) or said(answer.notes)
    return Section(ident, title, facts=facts, figures=figures, grids=[made], notes=lines, terms=terms)


def _interval_fact(name: str, one: Mapping[str, Any]) -> Fact:
    """A mean over iterations with its bounds, where it has any."""
    label = dict(TOTALS).get(name, name)
    if one["low"] is None or one["high"] is None:
        return Fact(label, text_of(name, one["value"]), name, one["value"], "interval")
    low, high = (Fact(end, text_of(name, one[end]), f"{name}_{end}", one[end]) for end in ("low", "high"))
    count = f"{one['iterations']} iterations"
    how = f"95 % interval of {count}" if one["kind"] == "interval" else f"least and greatest of {count}"
    return Fact(label, text_of(name, one["value"]), name, one["value"], "interval", (low, high), how)


# ---- readings and memory


def readings(profile: Profile, ident: str) -> Section:
    """The section of what a sampler read, by metric."""
    title = "Sampled readings"
    try:
        answer = questions.answers(profile, questions.METRIC)[0]
    except MissingDataError as error:
        return Section(ident, title, missing=lacking(profile, error), terms=("reading",))
    columns = ("metric", "device", "entity", "readings", "mean", "min", "max")
    made = grid(f"{ident}-table", "By metric", answer, columns=columns, top=_MOST_READINGS)
    rows = [_with_units(row, made.heads, unit) for row, unit in zip(made.rows, answer.columns["unit"], strict=False)]
    return Section(ident, title, grids=[replace(made, rows=rows)], notes=said(answer.notes), terms=("reading",))


def _with_units(row: Row, heads: Sequence[Head], unit: str | None) -> Row:
    """The row of a metric with its values as they are read in its unit."""

    def told(cell: Cell, head: Head) -> Cell:
        is_read = head.name in _READ and cell.value is not None
        return replace(cell, text=readable(cell.value, unit or "unknown")) if is_read else cell

    return replace(row, cells=[told(cell, head) for cell, head in zip(row.cells, heads, strict=True)])


def memory(profile: Profile, ident: str) -> Section:
    """The section of memory: the peak by layer, and moments of the iteration."""
    title = "Memory"
    grids = []
    lines: list[str] = []
    for place, answer in enumerate(questions.answers(profile, None, screens=True)):
        columns = [name for name, values in answer.columns.items() if any(values)]
        key = answer.by if answer.by in answer.columns else columns[0]
        if key == "memory" and "moment" in columns:
            key = "moment"
        ordered = (key, *(name for name in columns if name != key))
        caption = "Peak, by layer" if answer.by == "layer" else "Moments and peaks"
        grids.append(grid(f"{ident}-{place}", caption, answer, columns=ordered, key=key, top=_MOST_LAYERS))
        lines += said(answer.notes)
    return Section(ident, title, grids=grids, notes=lines, terms=("memory",))
