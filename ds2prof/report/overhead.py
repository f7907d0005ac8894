"""A calibration as text: what each profiler costs an iteration, an operator, a launch and the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, Final

from ds2prof import units
from ds2prof.report.text import cleaned

_WIDTH: Final = 80
_GAP: Final = "  "
_PER: Final = ("per_operator_ns", "per_launch_ns")
_INSIDE_HEADS: Final = ("mode", "per iteration", "interval", "share", "operator", "launch")
_OUTSIDE_HEADS: Final = ("mode", "to start", "to stop", "whole run", "interval", "undisturbed")
_UNDISTURBED: Final = "  undisturbed"


def overhead(calibration: Mapping[str, Any]) -> str:
    """The calibration for a terminal of 80 columns: two tables, and what qualifies them."""
    modes = [row for row in calibration["modes"] if row["per_iteration_ns"] is not None]
    parts = ["\n".join(_wrapped(line, "    ") for line in _heading(calibration))]
    if modes:
        parts.append(_aligned([_INSIDE_HEADS, *(line for row in modes for line in _inside(row))]))
        parts.append(_intervals(modes[0]))
        parts.append("Outside of the window\n" + _aligned([_OUTSIDE_HEADS, *map(_outside, modes)]))
    said = [note for row in calibration["modes"] for note in _notes(row)]
    return "\n\n".join([*parts, *(["\n".join(said)] if said else [])])


def _heading(calibration: Mapping[str, Any]) -> list[str]:
    """What was compared, and how far apart two runs are between which nothing was changed."""
    baseline = calibration["baseline"]
    apart, least = baseline["runs_differ_by_ns"], baseline["undisturbed_iteration_ns"]
    batch = None if calibration["batch_size"] is None else f"batch {calibration['batch_size']}"
    workload = [calibration["preset"] or calibration["program"], batch, calibration["precision"]]
    what = ", ".join(cleaned(str(word)) for word in (*workload, calibration["device_name"]) if word)
    undisturbed = "" if least is None else f" (undisturbed {units.format_ns_short(least)})"
    lines = [
        f"What profiling costs: {what}",
        f"  {calibration['iterations']} iterations, in {_times(calibration['repeats'])} without a profiler and as many "
        f"with each",
        f"  without one, an iteration takes {units.format_ns_short(baseline['iteration_ns']['value'])}{undisturbed}"
        f"{_work(calibration['counts'])}",
    ]
    if apart is not None:
        lines.append(f"  two runs without one differed by up to {units.format_ns_short(apart)} an iteration")
    return lines


def _times(repeats: int) -> str:
    return "1 run" if repeats == 1 else f"{repeats} runs"


def _work(counts: Mapping[str, Any]) -> str:
    """What an iteration consists of, as far as it was counted, and why not further."""
    known = [f"{counts[what]:,g} {what}" for what in ("operators", "launches") if counts[what] is not None]
    has = f" and has {' and '.join(known)}" if known else ""
    return f"{has}; {cleaned(counts['reason'])}" if counts["reason"] else has


def _inside(row: Mapping[str, Any]) -> list[list[str]]:
    """The line of a mode, and that of its undisturbed cost where there is one."""
    lines = [[cleaned(str(row["mode"])), *_cost(row)]]
    return [*lines, [_UNDISTURBED, *_cost(row["undisturbed"])]] if row["undisturbed"]["per_iteration_ns"] else lines


def _cost(costs: Mapping[str, Any]) -> list[str]:
    cost = costs["per_iteration_ns"]
    return [
        units.format_ns_signed(cost["value"]),
        units.format_ns_between(cost["low"], cost["high"]),
        f"{100 * costs['relative']['value']:+.1f} %",
        *(units.format_ns_signed(costs[name]["value"] if costs[name] else None) for name in _PER),
    ]


def _intervals(row: Mapping[str, Any]) -> str:
    """How sure the intervals are, and what they are of."""
    over_runs, least = row["per_iteration_ns"]["confidence"], row["undisturbed"]["per_iteration_ns"]
    if over_runs is None:
        return "One run of each gives no intervals."
    lines = [f"Interval: with {100 * over_runs:.0f} % it holds the true value, as far as runs differ by chance."]
    if least is not None and least["confidence"] is not None:
        lines.append("Undisturbed: the least that any run took, iteration by iteration; its interval,")
        lines.append(f"  of {100 * least['confidence']:.0f} %, is told by how the iterations differ.")
    return "\n".join(lines)


def _outside(row: Mapping[str, Any]) -> list[str]:
    run, least = row["per_run_ns"], row["undisturbed"]["per_run_ns"]
    return [
        cleaned(str(row["mode"])),
        units.format_ns_short(row["start_ns"]),
        units.format_ns_short(row["stop_ns"]),
        units.format_ns_signed(run["value"]),
        units.format_ns_between(run["low"], run["high"]),
        units.format_ns_signed(least["value"] if least else None),
    ]


def _notes(row: Mapping[str, Any]) -> list[str]:
    """What must be said of a mode besides its numbers."""
    said = row["reason"]
    if not said and row["within_noise"]:
        said = f"within the noise, its interval holds 0{_clearer(row['undisturbed']['per_iteration_ns'])}"
    return [_wrapped(cleaned(f"{row['mode']}: {said}"), "  ")] if said else []


def _clearer(least: Mapping[str, Any] | None) -> str:
    if least is None or least["low"] is None:
        return ""
    return "; undisturbed as well" if least["low"] <= 0 <= least["high"] else "; undisturbed it does not"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """The lines as columns, the first to the left and the others to the right, with a rule under the first line."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        _GAP.join([line[0].ljust(widths[0]), *(map(str.rjust, line[1:], widths[1:]))]).rstrip() for line in ruled
    )


def _wrapped(line: str, indent: str) -> str:
    """The line, broken between words where it is too long; paths and options stay whole."""
    return fill(line, _WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
