"""What one profile looks like on a terminal: a heading with its totals, its tables, and what qualifies them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os.path import commonprefix
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import questions
from ds2prof.analysis.answers import Answer
from ds2prof.report import ledger_text, text
from ds2prof.report.estimate_words import TITLES
from ds2prof.report.headings import folded, readable
from ds2prof.report.headings import heading as heading
from ds2prof.report.paint import PLAIN, Paint
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
    "memory": "Memory, moment by moment",
    "rank": "Ranks of the run, each in its own window",
    "collective": "Collectives over ranks, the longest waits first",
    "straggler": "Who came last, and who waited for it",
    "ledger": "Where the window went: busy, and idle by cause",
    "wait": "Streams: busy, and what they waited for",
    "throughput": "Throughput and occupancy while kernels ran, weighted by cycles",
    "fp32": "Longest kernels {what} the average FP32 utilization",
    "roofline": "{what} and the roofs above them: work, rate, and what there is to gain",
    "gain": "What there is to gain: exclusive time less attainable time",
    "annotation": "Device work by the ranges of the host that launched it",
    **TITLES,
}
_ADD_UP: Final = ("name", "kernel", "class", "launch", "phase", "layer", "iteration", "stream", "device", "ledger")
"""Tables whose rows are parts of one whole: kernels, operators, or the window."""
_SUMMED: Final = ("calls", "dur_ns", "excl_ns", "share", "copy_dur_ns")


def screen(
    meta: Meta,
    answers: Sequence[Answer],
    *,
    totals: Mapping[str, Any],
    top: int,
    width: int,
    devices: Sequence[str],
    paint: Paint = PLAIN,
) -> str:
    """The profile as text of at most ``width`` columns, at most ``top`` rows a table."""
    parts = [heading(meta, totals, devices=devices, width=width, paint=paint)]
    parts += [_section(meta, answer, top=top, width=width, paint=paint) for answer in answers]
    return "\n\n".join(parts)


def _section(meta: Meta, answer: Answer, *, top: int, width: int, paint: Paint = PLAIN) -> str:
    what = "Host operators" if meta.domain == "cpu" else "Kernels"
    if answer.by == "fp32":
        what = next(iter(answer.columns["fp32"]), "on one side of")
    if answer.by in questions.RANGE_KEYS:
        what = "Host time" if meta.domain == "cpu" else "Kernels"
    if "allocated_bytes" in answer.columns or "kept_bytes" in answer.columns:
        what = "Memory at the peak" if answer.by == "layer" else "Peak of memory"
        answer = _of_one_place(answer)
    if answer.by == questions.METRIC:
        answer = _in_units(answer)
    if answer.by == "core":
        answer, top = _plain_metrics(answer), len(answer)
    is_log = answer.by == "iteration" and "wall_ns" in answer.columns
    if answer.by in ledger_text.KEYS:
        answer = ledger_text.shown(answer)
        top = len(answer) if "cause" in answer.columns else top
    if answer.by == "launch":
        answer = _since_first(answer)
    if answer.by == "rank":
        answer = plain_ranks(answer)
    title = "Iterations" if is_log else _TITLES[answer.by].format(what=what)
    if answer.by == "launch" and "calls" in answer.columns:
        title = f"{what} as the file has them, each row the sum of its calls"
    if answer.by == "core" and "readings" in answer.columns:
        title = "Effective utilization: share of each pipe's own peak, sampled over real time"
    seen = answer.head(top)
    ratios = [*questions.pipes(seen), *ledger_text.ratios(seen)]
    ends = footers(answer, top)
    lines = [
        *(paint("title", line) for line in folded([title], width)),
        text.table(seen, width=width, ratios=ratios, weights=ledger_text.weights(seen), footers=ends, paint=paint),
    ]
    rest = f"--top {len(answer)} shows all" if len(ends) > 1 else _rest(answer, top)
    if rest:
        lines.append(rest)
    lines += [paint("dim", line) for line in folded([text.cleaned(f"note: {note}") for note in answer.notes], width)]
    return "\n".join(lines)


def footers(answer: Answer, top: int) -> list[dict[str, Any]]:
    """The sums of the rows that are not shown and of all rows, for tables whose rows add up; else nothing.

    A column of which any row is unknown has no sum.
    """
    if answer.by not in _ADD_UP or len(answer) < 2 or "dur_ns" not in answer.columns:
        return []
    key = answer.by if answer.by in answer.columns and answer.by != "launch" else _first_text(answer)
    summed = [name for name in _SUMMED if name in answer.columns and None not in answer.columns[name]]
    if "dur_ns" not in summed or key is None:
        return []
    ends = []
    if len(answer) > top:
        ends.append({key: f"... {len(answer) - top:,} more", **_sums(answer, summed, top)})
    return [*ends, {key: "total", **_sums(answer, summed, 0)}]


def _sums(answer: Answer, names: Sequence[str], first: int) -> dict[str, Any]:
    return {name: sum(answer.columns[name][first:]) for name in names}


def _first_text(answer: Answer) -> str | None:
    return next((name for name in ("name", "cause") if name in answer.columns), None)


def _of_one_place(answer: Answer) -> Answer:
    """The answer without columns that say the same in each row: one device, one iteration; the heading has them."""
    plain = {
        name: values
        for name, values in answer.columns.items()
        if name == answer.by or name not in ("device", "iteration") or len(set(values)) > 1
    }
    return Answer(answer.by, plain, answer.notes)


def plain_ranks(answer: Answer) -> Answer:
    """The answer with its files named within the folder or archive of them all; no device that is the rank's number."""
    files = [str(file) for file in answer.columns["file"]]
    plain = {**answer.columns, "file": within(files)}
    if list(answer.columns["device"]) == list(answer.columns["rank"]):
        del plain["device"]
    return Answer(answer.by, plain, answer.notes)


def within(files: Iterable[str]) -> list[str]:
    """The files' names within the folder or archive that holds all of them."""
    names = list(files)
    shared = commonprefix([_folder(file) for file in names])  # noqa: RUF071 - archives too; cut to a folder below
    return [file[len(_folder(shared)) :] for file in names]


def _folder(file: str) -> str:
    """What stands before a file's own name: a folder, or an archive and the folder in it."""
    return file[: max(file.rfind("/"), file.rfind(":")) + 1]


def _since_first(answer: Answer) -> Answer:
    """The launches with their starts counted from the earliest: a clock's own count takes half the line."""
    starts = [start for start in answer.columns.get("start_ns", ()) if start is not None]
    if not starts:
        return answer
    first_ns = min(starts)
    since = [None if start is None else start - first_ns for start in answer.columns["start_ns"]]
    columns = {("since_ns" if name == "start_ns" else name): values for name, values in answer.columns.items()}
    note = "start: since the first launch; --format csv and json have the clock's own count"
    return Answer(answer.by, {**columns, "since_ns": since}, (*answer.notes, note))


def _in_units(answer: Answer) -> Answer:
    """The answer with its values written for reading, units in the cells; no column of units then."""
    names = answer.columns["unit"]
    plain = dict(answer.columns)
    for column in ("mean", "min", "max"):
        plain[column] = [
            None if value is None else readable(value, unit)
            for value, unit in zip(answer.columns[column], names, strict=True)
        ]
    del plain["unit"]
    return Answer(answer.by, plain, answer.notes)


def _plain_metrics(answer: Answer) -> Answer:
    """The answer with the submetric that all its metrics share said once, in a note."""
    metrics = [str(metric) for metric in answer.columns["metric"]]
    ends = {metric.partition(".")[2] for metric in metrics}
    if len(ends) != 1 or ends == {""}:
        return answer
    plain = {**answer.columns, "metric": [metric.partition(".")[0] for metric in metrics]}
    return Answer(answer.by, plain, (f"each metric is the one named, .{ends.pop()}", *answer.notes))


def _rest(answer: Answer, top: int) -> str:
    """A line for the rows that were left out."""
    left = len(answer) - top
    if left <= 0:
        return ""
    together = "kept_bytes" not in answer.columns or len(set(answer.columns.get("device", ()))) < 2  # else each its own
    shares = [share for share in answer.columns.get("share", ())[top:] if share is not None and together]
    part = f", {units.format_ratio(sum(shares))}" if shares else ""
    return f"... {left:,} more{part}; --top {len(answer)} shows all"
