"""A sweep on a terminal: a row a point, figures with their spread, columns that fit the width."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.report.exports.markdown import escaped
from ds2prof.report.exports.sheets import unit_of
from ds2prof.report.text import cleaned, display_width, shortened

_HEADS: Final[Mapping[str, str]] = {
    "batch_size": "batch",
    "samples_per_s": "samples/s",
    "step_ns": "step",
    "audio_s_per_s": "audio s/s",
    "padded_s_per_s": "padded s/s",
    "gpu_compute_utilization": "GPU busy",
    "driver_utilization": "driver's",
    "mfu": "MFU",
    "hfu": "HFU",
    "peak_bytes": "peak",
    "reserved_bytes": "reserved",
    "state_bytes": "state",
    "activation_bytes": "activations",
    "device_used_bytes": "on device",
    "power_watt": "power",
    "relative": "relative",
    "rate_source": "rate from",
    "measurements": "files",
}
_SPARE: Final = (
    *("rate_source", "state_bytes", "hfu", "padded_s_per_s", "reserved_bytes", "measurements", "audio_s_per_s"),
    *("tma", "lsu", "alu", "xu", "fp64", "tc", "driver_utilization", "activation_bytes", "power_watt", "relative"),
    *("device_used_bytes", "fp16", "mfu", "fma", "tensor"),
)
"""Columns that give way, in this order, where the line is too long."""
_LEAST_TEXT: Final = 12
_FAR: Final = 0.25


def sweep_text(answer: Answer, *, title: str, width: int) -> str:
    """The sweep as lines of at most ``width`` columns where that is possible, its notes below."""
    cells = _cells(answer)
    hidden = _hide(cells, width)
    lines = [title, *_lines(cells), *_told_hidden(hidden, width)]
    for note in answer.notes:
        lines += textwrap.wrap(
            cleaned(note), width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    return "\n".join(lines)


def sweep_markdown(answer: Answer, *, title: str) -> str:
    """The sweep as a table for a pull request, every column of it."""
    cells = [list(map(escaped, column)) for column in _cells(answer).values()]
    rows = [f"| {' | '.join(row)} |" for row in zip(*cells, strict=True)]
    rule = f"|{' ---: |' * len(cells)}"
    return "\n".join(
        [f"### {escaped(title)}", "", rows[0], rule, *rows[1:], *(f"\n> {escaped(note)}" for note in answer.notes)]
    )


def _cells(answer: Answer) -> dict[str, list[str]]:
    """Column -> its heading and its cells; a figure with its bounds in one."""
    found = {}
    columns = answer.columns
    for name, values in columns.items():
        stem, unit = (name[: -len("_ns")], "_ns") if name.endswith("_ns") else (name, "")
        if stem.endswith(("_low", "_high")) and name != answer.by:
            continue
        lows = columns.get(f"{stem}_low{unit}", [None] * len(values))
        highs = columns.get(f"{stem}_high{unit}", [None] * len(values))
        write = _writer(name)
        rows = [_spread(write, *row) for row in zip(values, lows, highs, strict=True)]
        found[name] = [_HEADS.get(name, cleaned(name)), *rows]
    return found


def _spread(write: Callable[[Any], str], value: Any, low: float | None, high: float | None) -> str:
    """A figure; behind it half the width of its bounds in percent of it, or both where they are far apart."""
    if value is None:
        return "-"
    if low is None or high is None or not value:
        return write(value)
    half = (high - low) / 2 / abs(value)
    return f"{write(value)} ±{half:.1%}" if half < _FAR else f"{write(value)} ({write(low)} to {write(high)})"


def _writer(name: str) -> Callable[[Any], str]:
    unit = unit_of(name)
    if unit == "ns":
        return units.format_ns_short
    if unit == "byte":
        return units.format_bytes
    if unit == "ratio":
        return lambda value: units.format_ratio(value, digits=1)
    if unit == "watt":
        return lambda value: f"{value:.0f} W"
    return _plain


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return shortened(cleaned(str(value)), 2 * _LEAST_TEXT)


def _hide(cells: dict[str, list[str]], width: int) -> list[str]:
    """Take out columns until the line fits; the headings of those taken."""
    hidden = []
    for name in _SPARE:
        if _line_width(cells) <= width:
            break
        if name in cells:
            hidden.append(cells.pop(name)[0])
    return hidden


def _line_width(cells: Mapping[str, Sequence[str]]) -> int:
    return sum(max(map(display_width, column)) for column in cells.values()) + 2 * (len(cells) - 1)


def _told_hidden(hidden: Sequence[str], width: int) -> list[str]:
    if not hidden:
        return []
    told = f"hidden: {', '.join(hidden)} (widen the terminal, or --format csv)"
    return textwrap.wrap(told, width, subsequent_indent="    ", break_long_words=False)


def _lines(cells: Mapping[str, Sequence[str]]) -> list[str]:
    widths = [max(map(display_width, column)) for column in cells.values()]
    rows = list(zip(*cells.values(), strict=True))
    lines = ["  ".join(_right(cell, wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * wide for wide in widths), *lines[1:]]


def _right(cell: str, width: int) -> str:
    return " " * (width - display_width(cell)) + cell
