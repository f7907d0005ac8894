"""Columns of answers as cells: which unit, which label, which definition. Values stay beside the text in base units."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ds2prof import counters, units
from ds2prof.analysis.answers import Answer
from ds2prof.errors import Ds2profError
from ds2prof.report import headings
from ds2prof.report.html.model import Cell, Fact, Grid, Head, Row
from ds2prof.tables import Profile

DASH: Final = "\N{EN DASH}"
NAME_CHARACTERS: Final = 240
"""Names longer than this are cut in their middle: some run to kilobytes, and a page holds thousands."""
LINE_CHARACTERS: Final = 600
_INVISIBLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters, those that turn the direction of text or cannot be seen, and halves of pairs."""

_PIPE_LABELS: Final[Mapping[str, str]] = {
    "sm_throughput": "SM",
    "l2_throughput": "L2",
    "dram_throughput": "DRAM",
    "achieved_occupancy": "occupancy",
}
_COLUMNS: Final[Mapping[str, tuple[str, str | None, str]]] = {
    "name": ("Name", None, "text"),
    "class": ("Class", "class", "text"),
    "device": ("Device", None, "text"),
    "cause": ("Cause", "ledger", "text"),
    "phase": ("Phase", "phase", "text"),
    "layer": ("Layer", "layer", "text"),
    "iteration": ("Iteration", None, "text"),
    "calls": ("Calls", "calls", "count"),
    "launches": ("Launches", "calls", "count"),
    "dur_ns": ("Time", "dur_ns", "ns"),
    "mean_ns": ("Mean", "dur_ns", "ns"),
    "excl_ns": ("Exclusive", "excl_ns", "ns"),
    "share": ("Share", "share", "ratio"),
    "copy_dur_ns": ("Copies", "copy_dur_ns", "ns"),
    "host_dur_ns": ("On the host", "host_dur_ns", "ns"),
    "step_ns": ("Step", "step_ns", "ns"),
    "wall_ns": ("Time", "step_ns", "ns"),
    "samples": ("Samples", None, "count"),
    "audio_s": ("Audio", "throughput", "s"),
    "padded_s": ("Padded", "throughput", "s"),
    "loss": ("Loss", None, "number"),
    "pipe": ("Pipe", "utilization", "text"),
    "throughput": ("Of", "utilization", "text"),
    "stretch": ("Stretch", "matched", "text"),
    "utilization": ("While busy", "utilization", "ratio"),
    "effective_utilization": ("Effective", "effective_utilization", "ratio"),
    "coverage": ("Coverage", "coverage", "ratio"),
    "matched": ("Matched", "matched", "ratio"),
    "extrapolated": ("Extrapolated", "matched", "ratio"),
    "metric": ("Metric", None, "text"),
    "flop": ("FLOP", "flop", "flop"),
    "size_bytes": ("Bytes", "intensity", "bytes"),
    "intensity": ("FLOP/byte", "intensity", "number"),
    "flop_per_s": ("FLOP/s", "flop_per_s", "flop"),
    "attainable_ns": ("Attainable", "roof", "ns"),
    "roof": ("Of roof", "roof", "ratio"),
    "bound": ("Limited by", "roof", "text"),
    "gain_ns": ("Gain", "gain_ns", "ns"),
    "step_gain_ns": ("Gain a step", "gain_ns", "ns"),
    "gain_share": ("Gain of busy", "gain_ns", "ratio"),
    "group": ("By", None, "text"),
    "min_tensor_utilization": ("Tensor \N{GREATER-THAN OR EQUAL TO}", "bounds", "ratio"),
    "min_flop_utilization": ("FLOP \N{GREATER-THAN OR EQUAL TO}", "bounds", "ratio"),
    "min_dram_utilization": ("DRAM \N{GREATER-THAN OR EQUAL TO}", "bounds", "ratio"),
    "est_dram_utilization": ("Est. DRAM", "bounds", "ratio"),
    "flop_coverage": ("FLOP known", "coverage", "ratio"),
    "dram_coverage": ("DRAM known", "coverage", "ratio"),
    "est_sm_efficiency": ("Est. SM efficiency", "occupancy", "ratio"),
    "est_achieved_occupancy": ("Est. occupancy", "occupancy", "ratio"),
    "gpu_compute_utilization": ("GPU busy", "gpu_compute_utilization", "ratio"),
    "length_ns": ("Length", "window", "ns"),
    "definition": ("Stretch", None, "text"),
    "window_ns": ("Window", "window", "ns"),
    "window_source": ("Window from", "window", "text"),
    "rank": ("Rank", None, "text"),
    "file": ("File", None, "text"),
    "host": ("Host", None, "text"),
    "steps": ("Steps", None, "count"),
    "compute_ns": ("Compute", "ledger", "ns"),
    "communication_ns": ("Communication", "overlap", "ns"),
    "overlap": ("Overlap", "overlap", "ratio"),
    "exposed_communication_ns": ("Exposed comm.", "ledger", "ns"),
    "exposed_copy_ns": ("Exposed copies", "ledger", "ns"),
    "idle_ns": ("Idle", "ledger", "ns"),
    "wait_ns": ("Waits", "wait_ns", "ns"),
    "caused_wait_ns": ("Made others wait", "wait_ns", "ns"),
    "wait_error_ns": ("Error", "wait_ns", "ns"),
    "clock_offset_ns": ("Clock offset", "wait_ns", "ns"),
    "clock_error_ns": ("Clock error", "wait_ns", "ns"),
    "straggler": ("Came last", "wait_ns", "text"),
    "waiting": ("Waited", "wait_ns", "text"),
    "longest_wait_ns": ("Longest", "wait_ns", "ns"),
    "longest_in": ("In", None, "text"),
    "longest_collective": ("Number", None, "text"),
    "longest_iteration": ("Iteration", None, "text"),
    "min_dur_ns": ("Least", "dur_ns", "ns"),
    "max_dur_ns": ("Greatest", "dur_ns", "ns"),
    "batch_size": ("Batch", "batch_size", "count"),
    "precision": ("Precision", None, "text"),
    "tool": ("Tool", None, "text"),
    "busy_ns": ("Busy", "gpu_compute_utilization", "ns"),
    "samples_per_s": ("Samples/s", "throughput", "rate"),
    "audio_s_per_s": ("Audio s/s", "throughput", "rate"),
    "padded_s_per_s": ("Padded s/s", "throughput", "rate"),
    "mfu": ("MFU", "mfu", "ratio"),
    "hfu": ("HFU", "mfu", "ratio"),
    "model_flop": ("FLOP of the model", "mfu", "flop"),
    "hardware_flop": ("with padding", "mfu", "flop"),
    "peak_bytes": ("Peak memory", "memory", "bytes"),
    "kept_bytes": ("Kept", "memory", "bytes"),
    "moment": ("Moment", None, "text"),
    "entity": ("Of", None, "text"),
    "unit": ("Unit", None, "text"),
    "readings": ("Readings", "reading", "count"),
    "mean": ("Mean", "reading", "number"),
    "min": ("Least", "reading", "number"),
    "max": ("Greatest", "reading", "number"),
    "reason": ("Why", None, "text"),
    "cycles": ("Cycles", None, "count"),
}
"""Column -> (label, entry of the glossary, kind)."""


def cleaned(text: str) -> str:
    """The text with a mark in place of each character that steers, hides or turns what is read."""
    return _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


def named(text: str, *, limit: int = NAME_CHARACTERS) -> str:
    """An untrusted name for the page: cleaned, and cut in its middle where it is longer than ``limit`` characters."""
    made = cleaned(text)
    if len(made) <= limit:
        return made
    tail = limit // 3
    return f"{made[: limit - tail - 1]}\N{HORIZONTAL ELLIPSIS}{made[-tail:]}"


def _plural_count(value: float) -> str:
    return f"{value:,}"


_TEXTS: Final[Mapping[str, Callable[[Any], str]]] = {
    "count": _plural_count,
    "ns": units.format_ns_short,
    "ratio": lambda value: units.format_ratio(value, digits=1 if abs(value) >= 0.1 else 2),
    "flop": units.format_flop,
    "bytes": units.format_bytes,
    "s": lambda value: f"{value:,.2f} s",
    "rate": lambda value: f"{value:,.2f}",
    "number": lambda value: f"{value:,.4g}",
    "text": lambda value: named(str(value)),
}


def spec(column: str) -> tuple[str, str | None, str]:
    """(label, entry of the glossary, kind) of a column."""
    if column in _COLUMNS:
        return _COLUMNS[column]
    if column in counters.PIPES or column in _PIPE_LABELS:
        return _PIPE_LABELS.get(column, column), "utilization", "ratio"
    for pipe in counters.PIPES:
        if column == f"{pipe}_effective":
            return f"{pipe} effective", "effective_utilization", "ratio"
    plain = column.replace("_", " ")
    if column.endswith("_ns"):
        return plain[:-3], None, "ns"
    if column.endswith("_bytes"):
        return plain[:-6], "memory", "bytes"
    return plain, None, "text"


def text_of(column: str, value: Any) -> str:
    """A value of a column as it is read; a dash where unknown."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    return _TEXTS[spec(column)[2]](value)


def cell(column: str, value: Any, *, bar: bool = False, below: str = "") -> Cell:
    """The cell of a value; with ``bar`` the ratio is drawn beside it, too."""
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    length = min(max(float(value), 0.0), 1.0) if bar and value is not None else None
    return Cell(text_of(column, value), value, length, below)


def counted(count: int, what: str, plural: str = "") -> str:
    """A number of things: ``1 name``, ``2 names``."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def head(column: str, label: str | None = None) -> Head:
    """The heading of a column."""
    called, term, kind = spec(column)
    return Head(column, label or called, term, kind != "text")


def fact(name: str, value: Any, *, label: str | None = None) -> Fact:
    """A number by its name in the machine formats."""
    called, term, _ = spec(name)
    return Fact(label or called, text_of(name, value), name, value, term)


def word(label: str, text: object, *, term: str | None = None) -> Fact:
    """A fact that is no number."""
    return Fact(label, named(str(text), limit=400), term=term)


def total_text(name: str, totals: Mapping[str, Any]) -> str:
    """A total in words; of several devices a window is that of each, and what is a sum over them says so."""
    value, devices = totals[name], totals.get("devices") or ()
    if len(devices) > 1 and name == "window_ns":
        return headings.on_each(value, devices)
    several = len(devices) > 1 and name in ("window_busy_ns", "busy_ns")
    return text_of(name, value) + (f" on {len(devices)} devices together" if several else "")


def grid(
    ident: str,
    caption: str,
    answer: Answer,
    *,
    columns: Sequence[str],
    key: str | None = None,
    bars: Sequence[str] = (),
    top: int | None = None,
    nothing: str = "(outside any)",
    bounded: bool = False,
    folded: int = 0,
) -> Grid:
    """An answer's columns as a table; those without any value are left out, save the key.

    Args:
        ident: unique on the page.
        caption: what it shows.
        answer: the rows.
        columns: which columns, in order; those the answer lacks are passed over.
        key: the column that names a row; the first where none is given.
        bars: columns whose ratios are drawn, too.
        top: the first rows alone; the rest is said in words.
        nothing: what a row is called whose key is null.
        bounded: ``<column>_low`` and ``_high`` stand below the value.
        folded: rows behind this many are folded until asked for.
    """
    key = key or columns[0]
    shown = [
        name for name in columns if name in answer.columns and (name == key or _is_told(answer, name, bounded=bounded))
    ]
    count = len(answer) if top is None else min(top, len(answer))
    made = [
        [_of(name, answer, row, bars=bars, bounded=bounded) for name in shown]
        if answer.columns[key][row] is not None
        else [
            Cell(nothing, None) if name == key else _of(name, answer, row, bars=bars, bounded=bounded) for name in shown
        ]
        for row in range(count)
    ]
    left = len(answer) - count
    rest = f"{left:,} more rows are not shown here." if left else ""
    return Grid(ident, caption, [head(name) for name in shown], [Row(cells) for cells in made], rest, folded=folded)


def _is_told(answer: Answer, name: str, *, bounded: bool) -> bool:
    names = (name, f"{name}_low") if bounded else (name,)
    return any(value is not None for each in names for value in answer.columns.get(each, ()))


def _of(name: str, answer: Answer, row: int, *, bars: Sequence[str], bounded: bool) -> Cell:
    below = ""
    if bounded and f"{name}_low" in answer.columns:
        low, high = answer.columns[f"{name}_low"][row], answer.columns[f"{name}_high"][row]
        if low is not None and high is not None:
            below = f"{text_of(name, low)} to {text_of(name, high)}"
            if answer.columns[name][row] is None:
                return Cell(below, None)  # the bounds are all that is known
    return cell(name, answer.columns[name][row], bar=name in bars, below=below)


def of_window(answer: Answer) -> Answer:
    """Of estimates of occupancy, the rows of whole windows by our own definition: no single steps, no peer's."""
    columns = answer.columns
    kept = [
        row
        for row in range(len(answer))
        if columns["iteration"][row] is None and columns["definition"][row] == "window"
    ]
    return Answer(answer.by, {name: [values[row] for row in kept] for name, values in columns.items()}, answer.notes)


def without_lone(answer: Answer, column: str) -> Answer:
    """The answer without a column that says the same in each row."""
    if column not in answer.columns or len(set(answer.columns[column])) > 1:
        return answer
    return Answer(answer.by, {name: values for name, values in answer.columns.items() if name != column}, answer.notes)


def lacking(profile: Profile, error: Ds2profError) -> str:
    """What is missing, without the file's name before it."""
    return named(str(error).removeprefix(f"{profile.meta.file}: "), limit=LINE_CHARACTERS)


def said(lines: Sequence[str]) -> list[str]:
    """Notes for the page: names in them are those of the file."""
    return [named(line, limit=LINE_CHARACTERS) for line in lines]
