"""Several summaries together: a line each, and the ranks of one run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ds2prof import units
from ds2prof.analysis import summary as summaries
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.losses import Loss
from ds2prof.analysis.summary import Summary
from ds2prof.report import headings, screen, text
from ds2prof.report.paint import PLAIN, Paint
from ds2prof.report.summary_text import cost_text
from ds2prof.tables import Meta


def overview(rows: Sequence[tuple[Meta, Summary]], *, width: int, paint: Paint = PLAIN) -> str:
    """Several profiles in one table: what each is, how busy, and its dearest loss."""
    names = screen.within(meta.file for meta, _ in rows)
    first = [found.losses[0] if found.losses else None for _, found in rows]
    most = "longest operator" if all(found.kind == summaries.HOST for _, found in rows) else "largest loss"
    columns: dict[str, Sequence[Any]] = {
        "file": names,
        "rank": [meta.rank for meta, _ in rows],
        "tool": [meta.tool for meta, _ in rows],
        "busy": [_ratio(found.totals.get("gpu_compute_utilization")) for _, found in rows],
        "window": [_window(found) for _, found in rows],
        most: [None if loss is None else _named(loss) for loss in first],
        "cost": [None if loss is None else cost_text(loss).strip() for loss in first],
    }
    made = text.table(
        Answer("file", columns), width=width, paint=paint, right=("busy", "cost", "window"), spare=("tool", "window")
    )
    return "\n".join([paint("title", f"{len(rows)} profiles, and the {most} of each"), made])


def _ratio(share: float | None) -> str | None:
    return None if share is None else units.format_ratio(share)


def _window(found: Summary) -> str | None:
    """The window, that of one device where several have it; it is their sum where they differ."""
    length_ns, devices = found.totals.get("window_ns"), found.totals.get("devices") or ()
    if length_ns is None:
        return None
    if len(devices) < 2 or len({device["window_ns"] for device in devices}) > 1:
        return units.format_ns_short(length_ns)
    return f"{len(devices)} x {units.format_ns_short(length_ns / len(devices))}"


def _named(loss: Loss) -> str:
    if (loss.kind, loss.name) == ("idle", "host"):
        return "host-bound"
    return loss.name.replace("_", " ") if loss.kind == "idle" else text.shortened(loss.name, 21)


def run_text(
    ranks: Answer, totals: Mapping[str, Any], *, paths: Sequence[str], width: int, paint: Paint = PLAIN
) -> str:
    """The ranks of one run: their time, what they waited, and the commands that say for whom."""
    lines = [paint("title", "One run"), *headings.folded([f"  {line}" for line in headings.rank_lines(totals)], width)]
    shown = screen.plain_ranks(ranks)
    lines += [text.table(shown, width=width, paint=paint)]
    lines += [paint("dim", line) for note in ranks.notes for line in headings.folded([f"note: {note}"], width)]
    lines += ["", paint("key", "Look next"), "  who came last, and who waited for it"]
    named = [shlex.quote(text.cleaned(path)) for path in paths]
    command = ["ds2prof parse", *named, "--by straggler"]
    if sum(map(len, command)) + len(command) + 3 <= width:
        return "\n".join([*lines, f"    {paint('command', ' '.join(command))}"])
    broken = " \\\n      ".join(paint("command", part) for part in command)
    return "\n".join([*lines, f"    {broken}"])
