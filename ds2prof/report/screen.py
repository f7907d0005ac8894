"""What one profile looks like on a terminal: a heading with its totals, its tables, and what qualifies them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ds2prof import units
from ds2prof.analysis import questions
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
    if "samples_per_s" in totals:
        return _rate_lines(totals)
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
    return lines


def _rate_lines(totals: Mapping[str, Any]) -> list[str]:
    names = (("samples_per_s", "samples/s"), ("audio_s_per_s", "audio s/s"), ("padded_s_per_s", "padded s/s"))
    known = [f"{totals[key]:.2f} {label}" for key, label in names if totals[key] is not None]
    return ["throughput, no profiler, warm-up excluded: " + (", ".join(known) or "not known (the log was cut off)")]


def _section(meta: Meta, answer: Answer, *, top: int, width: int) -> str:
    what = "Host operators" if meta.domain == "cpu" else "Kernels"
    if answer.by in questions.RANGE_KEYS:
        what = "Host time" if meta.domain == "cpu" else "Kernels"
    if answer.by == "core":
        answer, top = _plain_metrics(answer), len(answer)
    lines = [
        _TITLES[answer.by].format(what=what),
        text.table(answer.head(top), width=width, ratios=questions.pipes(answer)),
    ]
    rest = _rest(answer, top)
    if rest:
        lines.append(rest)
    lines += [text.cleaned(f"note: {note}") for note in answer.notes]
    return "\n".join(lines)


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
