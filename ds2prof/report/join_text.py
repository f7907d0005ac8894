"""A join for a terminal: what was joined, its table, what did not match, and what qualifies the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from textwrap import wrap
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.report import text
from ds2prof.tables import Meta

_TITLES: Final = {
    "core": "Core utilization on the timeline: share of each pipe's own peak, with bounds",
    "unmatched": "What did not match, longest first",
}
_RATIOS: Final = ("matched", "extrapolated", "low", "high", "effective low", "effective high")
_SHORT: Final = {
    "utilization_low": "low",
    "utilization_high": "high",
    "effective_utilization_low": "effective low",
    "effective_utilization_high": "effective high",
}
_UNMATCHED_SHOWN: Final = 10


def join_text(
    timeline: Meta,
    counters: Meta,
    *,
    answers: Sequence[Answer],
    totals: Mapping[str, Any],
    top: int,
    width: int,
) -> str:
    """The join as text of at most ``width`` columns: ``answers`` are the table asked for and what did not match."""
    parts = ["\n".join(_heading(timeline, counters, totals, width))]
    for answer in answers:
        if len(answer):
            parts.append(
                _section(answer, top=top if answer.by != "unmatched" else min(top, _UNMATCHED_SHOWN), width=width)
            )
    return "\n\n".join(parts)


def _heading(timeline: Meta, counters: Meta, totals: Mapping[str, Any], width: int) -> list[str]:
    lines = [f"{timeline.file}: {timeline.tool}, joined with the counters of {counters.file}: {counters.tool}"]
    lines.append(
        f"  {totals['launches']:,} launches, {units.format_ns(totals['busy_ns'])} busy: "
        f"{_part(totals, 'matched')}, {_part(totals, 'extrapolated')}, {_part(totals, 'unmatched')}"
    )
    lines.append(f"  {totals['counters_used']:,} of {totals['counter_launches']:,} launches with counters matched")
    return [part for line in lines for part in _folded(line, width)]


def _folded(line: str, width: int) -> list[str]:
    return wrap(text.cleaned(line), width, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False)


def _part(totals: Mapping[str, Any], name: str) -> str:
    share = units.format_ratio(totals[f"{name}_ns"] / totals["busy_ns"]) if totals["busy_ns"] else "-"
    return f"{totals[f'{name}_launches']:,} {name} ({share} of the time)"


def _section(answer: Answer, *, top: int, width: int) -> str:
    title = _TITLES.get(answer.by, f"Core utilization by {answer.by}, matched and extrapolated launches together")
    shown = Answer(answer.by, _plain(answer), answer.notes).head(top)
    lines = [title, *(_reasoned(shown, width) if answer.by == "unmatched" else _fitted(shown, width))]
    if len(answer) > top:
        lines.append(f"... {len(answer) - top:,} more; --top {len(answer)} shows all")
    for note in (*answer.notes, *_metrics(answer)):
        lines += _folded(f"note: {note}", width)
    return "\n".join(lines)


def _fitted(answer: Answer, width: int) -> list[str]:
    """The table, less the columns that can be spared where it is too wide: a bound never stands without the other."""
    hidden: list[str] = []
    lines = _table(answer, width)
    for names in _spared(answer):
        if not _is_too_wide(lines, width):
            break
        hidden += names
        kept = {name: values for name, values in answer.columns.items() if name not in hidden}
        lines = _table(Answer(answer.by, kept, answer.notes), width)
    if hidden:
        lines += _folded(f"hidden: {', '.join(hidden)} (widen the terminal, or --format csv)", width)
    return lines


def _table(answer: Answer, width: int) -> list[str]:
    ratios = [name for name in answer.columns if _is_ratio(name)]
    return text.table(answer, width=width, ratios=ratios).split("\n")


def _is_too_wide(lines: Sequence[str], width: int) -> bool:
    """Whether a table had to hide a column, or is still too wide."""
    return lines[-1].startswith("hidden: ") or any(text.display_width(line) > width for line in lines)


def _spared(answer: Answer) -> list[list[str]]:
    """The columns that can be done without, those that give way together, the first to give way first."""
    bounds = [[name[: -len("_low")], name] for name in answer.columns if name.endswith("_low")]
    effective = [name for name in answer.columns if name.endswith("_effective")]
    groups = [
        ["effective low", "effective high"],
        ["excl_ns"],
        ["matched", "extrapolated"],
        effective,
        ["launches"],
        ["effective_utilization"],
        *([f"{pipe}_low", f"{pipe}_high"] for pipe, _ in reversed(bounds)),
        ["calls"],
    ]
    shown = ([name for name in group if name in answer.columns] for group in groups)
    return [group for group in shown if group]


def _reasoned(answer: Answer, width: int) -> list[str]:
    """The table of what did not match; its reasons as letters that are explained below it where they do not fit."""
    lines = _table(answer, width)
    if not _is_too_wide(lines, width):
        return lines
    letter_of: dict[str, str] = {}
    for reason in answer.columns["reason"]:
        letter_of.setdefault(reason, ascii_lowercase[len(letter_of)])
    letters = [letter_of[reason] for reason in answer.columns["reason"]]
    lines = _table(Answer(answer.by, {**answer.columns, "reason": letters}, answer.notes), width)
    return lines + [line for reason, letter in letter_of.items() for line in _folded(f"{letter}: {reason}", width)]


def _is_ratio(name: str) -> bool:
    from ds2prof.analysis.core import PIPES

    return name in _RATIOS or name.partition("_")[0] in PIPES


def _plain(answer: Answer) -> dict[str, Sequence[Any]]:
    """The columns of a core table under shorter names, without those that say the same in each row."""
    columns = dict(answer.columns)
    if answer.by != "core":
        return columns
    for name in ("device", "stretch"):
        if len(set(columns[name])) < 2:
            del columns[name]
    if not any(columns["extrapolated"]):  # all that is known is matched then
        del columns["matched"], columns["extrapolated"]
    return {_SHORT.get(name, name): values for name, values in columns.items() if name != "metric"}


def _metrics(answer: Answer) -> list[str]:
    """What stands for each pipe of a core table."""
    if answer.by != "core":
        return []
    pairs = dict.fromkeys(zip(answer.columns["pipe"], answer.columns["metric"], strict=True))
    return ["; ".join(f"{pipe} is {metric}" for pipe, metric in pairs)] if pairs else []
