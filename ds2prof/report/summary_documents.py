"""A summary for machines and for pull requests: the JSON document, and Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.losses import as_answer
from ds2prof.analysis.summary import Summary
from ds2prof.report.documents import document
from ds2prof.report.summary_text import LOSSES, cost_text, next_commands
from ds2prof.report.text import cleaned
from ds2prof.tables import Meta

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def summary_document(meta: Meta, found: Summary, *, path: str, warnings: Sequence[str]) -> dict[str, Any]:
    """One JSON object of the schema ``ds2prof/1``: its rows are the losses, the rest of the summary beside them."""
    made = document(as_answer(found.losses), meta=meta, totals=found.totals, warnings=[*warnings, *found.notes])
    made["kind"] = found.kind
    for name in ("ledger", "classes", "pipes"):
        answer = getattr(found, name)
        made[name] = None if answer is None else answer.rows()
    made["missing"] = list(found.missing)
    made["next"] = [{"why": why, "command": command} for why, command in next_commands(found, path, meta=meta)]
    return made


def summary_markdown(meta: Meta, found: Summary, *, path: str, warnings: Sequence[str]) -> str:
    """The summary as GitHub's Markdown; whatever a file names is escaped."""
    lines = [f"### {escaped(meta.file)}", "", _first_line(meta, found.totals), ""]
    if found.losses:
        lines += ["| largest losses | cost | what |", "|---|---:|---|"]
        lines += [
            f"| {escaped(loss.name)} | {cost_text(loss)} | {escaped(loss.words)} (of {loss.of}) |"
            for loss in found.losses[:LOSSES]
        ]
        lines.append("")
    if found.pipes is not None:
        lines += ["| pipe | utilization | effective | coverage |", "|---|---:|---:|---:|"]
        lines += [_pipe(row) for row in found.pipes.rows()]
        lines.append("")
    lines += [
        f"- {why}: `{cleaned(command).replace('`', '')}`" for why, command in next_commands(found, path, meta=meta)
    ]
    lines += [f"- missing: {escaped(each)}" for each in found.missing]
    lines += [f"- note: {escaped(each)}" for each in found.notes]
    lines += [f"- **warning**: {escaped(each)}" for each in warnings]
    return "\n".join(lines)


def _first_line(meta: Meta, totals: Mapping[str, Any]) -> str:
    tool = escaped(" ".join(part for part in (meta.tool, meta.tool_version) if part))
    busy = totals.get("gpu_compute_utilization")
    if busy is None:
        return f"{tool}; how busy the device was is not known from this file"
    window = f"{units.format_ns(totals['window_ns'])}, {totals['window_source']}"
    return f"{tool}; GPU compute utilization **{units.format_ratio(busy)}** of the window ({window})"


def _pipe(row: Mapping[str, Any]) -> str:
    shares = (units.format_ratio(row[name]) for name in ("utilization", "effective_utilization", "coverage"))
    name = row["pipe"] if row["device"] in (None, 0) else f"{row['pipe']} of device {row['device']}"
    return f"| {escaped(name)} | {' | '.join(shares)} |"


def escaped(text: str) -> str:
    """The text with what Markdown (and HTML in it) would take for its own escaped."""
    return _SPECIAL.sub(r"\\\1", cleaned(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
