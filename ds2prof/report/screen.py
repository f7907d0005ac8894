"""What one profile looks like on a terminal: a heading with its totals, its tables, and what qualifies them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import questions, throughput
from ds2prof.analysis.answers import Answer
from ds2prof.report import text
from ds2prof.tables import Meta

_TITLES = {
    "core": "Core utilization: share of each pipe's own peak while kernels ran, weighted by cycles",
    "name": "{what} by name",
    "kernel": "{what} by full name",
    "class": "{what} by class",
    "launch": "{what}, one row a launch",
    "phase": "{what} by phase",
    "layer": "{what} by layer",
    "iteration": "{what} by iteration",
    "stream": "{what} by stream",
    "device": "{what} by device",
    "copy": "Copies by name",
    "api": "Calls by name",
    "range": "Ranges by name",
    "metric": "Sampled readings by metric",
}


def screen(
    meta: Meta, answers: Sequence[Answer], *, totals: Mapping[str, Any], top: int, width: int, devices: Sequence[str]
) -> str:
    """The profile as text of at most ``width`` columns, at most ``top`` rows a table."""
    parts = [heading(meta, totals, devices=devices)]
    parts += [_section(meta, answer, top=top, width=width) for answer in answers]
    return "\n\n".join(parts)


def heading(meta: Meta, totals: Mapping[str, Any], *, devices: Sequence[str] = ()) -> str:
    """File, tool and totals, a line each."""
    tool = " ".join(part for part in (meta.tool, meta.tool_version) if part)
    rank = "" if meta.rank is None else f", rank {meta.rank}"
    lines = [text.cleaned(f"{meta.file}: {tool}{rank}")]
    if devices:
        lines.append(f"  device: {text.cleaned(', '.join(devices))}")
    lines += [f"  {line}" for line in _total_lines(meta, totals)]
    return "\n".join(lines)


def _total_lines(meta: Meta, totals: Mapping[str, Any]) -> list[str]:
    if "samples_per_s" in totals or "iterations" in totals:
        return _run_lines(meta, totals)
    if "readings" in totals:
        return _reading_lines(totals)
    if meta.domain == "cpu":
        return ["CPU run: no GPU work in this file; the tables are of host operators and ranges"]
    if totals["launches"] is None:
        return ["no launches were recorded"]
    work = f"{totals['launches']:,} launch{'' if totals['launches'] == 1 else 'es'}"
    if totals["kernel_dur_ns"] is not None:
        work += f", {units.format_ns(totals['kernel_dur_ns'])} of kernels"
    if totals["busy_ns"] is not None:
        work += f", {units.format_ns(totals['busy_ns'])} busy"
    if totals["copies"]:
        work += f"; {totals['copies']:,} copies and sets, {units.format_ns(totals['copy_dur_ns'])}"
    lines = [work]
    if meta.times == "replay":
        lines.append("times are of replayed launches, not of the run: they say nothing about idle time")
    elif totals["window_ns"] is not None:
        share = units.format_ratio(totals["gpu_compute_utilization"])
        window = f"{units.format_ns(totals['window_ns'])}, {totals['window_source']}"
        lines.append(f"GPU compute utilization {share} of the window ({window})")
    if totals.get("utilization_less_overhead") is not None:
        share = units.format_ratio(totals["utilization_less_overhead"])
        rest = units.format_ns(totals["window_less_overhead_ns"])
        lines.append(f"  or {share} of it less the profiler's own overhead ({rest})")
    return lines


def _run_lines(meta: Meta, totals: Mapping[str, Any]) -> list[str]:
    """What a log of a run comes to: its rates, and for one of another system its iterations and their mean."""
    own = meta.tool == throughput.OWN_TOOL
    lines = []
    if "samples_per_s" in totals:
        names = (("samples_per_s", "samples/s"), ("audio_s_per_s", "audio s/s"), ("padded_s_per_s", "padded s/s"))
        known = [f"{totals[key]:.2f} {label}" for key, label in names if totals[key] is not None]
        what = "throughput, no profiler, warm-up excluded: " if own else "throughput, as it is stated there: "
        lines.append(what + (", ".join(known) or "not known (the log was cut off)"))
    if not own and totals.get("iterations"):
        mean = "not known" if totals["wall_ns"] is None else units.format_ns(totals["wall_ns"] / totals["iterations"])
        lines.append(f"{totals['iterations']:,} iterations, mean {mean} as printed, warm-up included")
    return lines


def _reading_lines(totals: Mapping[str, Any]) -> list[str]:
    devices = totals["sampled_devices"]
    where = f" of {devices:,} device{'' if devices == 1 else 's'}" if devices else ""
    span = f" in {units.format_ns(totals['sampled_ns'])}" if totals["sampled_ns"] else ""
    metrics = f"{totals['metrics']:,} metric{'' if totals['metrics'] == 1 else 's'}"
    readings = f"{totals['readings']:,} reading{'' if totals['readings'] == 1 else 's'}"
    return [f"{readings} of {metrics}{where}{span}; no launches in this file"]


def _section(meta: Meta, answer: Answer, *, top: int, width: int) -> str:
    what = "Host operators" if meta.domain == "cpu" else "Kernels"
    if answer.by in questions.RANGE_KEYS:
        what = "Host time" if meta.domain == "cpu" else "Kernels"
    if answer.by == questions.METRIC:
        answer = _in_units(answer)
    if answer.by == "core":
        answer, top = _plain_metrics(answer), len(answer)
    is_log = answer.by == "iteration" and "wall_ns" in answer.columns
    lines = [
        "Iterations" if is_log else _TITLES[answer.by].format(what=what),
        text.table(answer.head(top), width=width, ratios=questions.pipes(answer)),
    ]
    rest = _rest(answer, top)
    if rest:
        lines.append(rest)
    lines += [text.cleaned(f"note: {note}") for note in answer.notes]
    return "\n".join(lines)


_FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    "ratio": units.format_ratio,
    "byte": units.format_bytes,
    "byte/s": lambda rate: f"{units.format_bytes(rate)}/s",
    "ns": units.format_ns,
    "hertz": lambda rate: f"{rate / units.HZ_PER_MHZ:,.0f} MHz",
    "watt": lambda power: f"{power:.1f} W",
    "joule": lambda energy: f"{energy:,.1f} J",
    "celsius": lambda degrees: f"{degrees:.1f} C",
}
"""How a value in that base unit is written for reading; others stand beside their unit."""


def _in_units(answer: Answer) -> Answer:
    """The answer with its values written for reading, units in the cells; no column of units then."""
    names = answer.columns["unit"]
    plain = dict(answer.columns)
    for column in ("mean", "min", "max"):
        plain[column] = [
            None if value is None else _readable(value, unit)
            for value, unit in zip(answer.columns[column], names, strict=True)
        ]
    del plain["unit"]
    return Answer(answer.by, plain, answer.notes)


def _readable(value: float, unit: str) -> str:
    if unit in _FORMATS:
        return _FORMATS[unit](value)
    numeral = f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"
    return numeral if unit in ("unknown", "count") else f"{numeral} {unit}"


def _plain_metrics(answer: Answer) -> Answer:
    """The answer with the submetric that all its metrics share said once, in a note."""
    metrics = [str(metric) for metric in answer.columns["metric"]]
    ends = {metric.partition(".")[2] for metric in metrics}
    if len(ends) != 1:
        return answer
    plain = {**answer.columns, "metric": [metric.partition(".")[0] for metric in metrics]}
    return Answer(answer.by, plain, (f"each metric is the one named, .{ends.pop()}", *answer.notes))


def _rest(answer: Answer, top: int) -> str:
    """A line for the rows that were left out."""
    left = len(answer) - top
    if left <= 0:
        return ""
    shares = [share for share in answer.columns.get("share", ())[top:] if share is not None]
    part = f", {units.format_ratio(sum(shares))}" if shares else ""
    return f"... {left:,} more{part}; --top {len(answer)} shows all"
