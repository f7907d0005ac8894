"""One profile as sections of the page. What a file lacks for a section is said in a line, never filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import findings
from ds2prof.analysis.summary import COUNTERS, HOST, LOG, MEMORY, READINGS, SUMS, TIMELINE, Summary
from ds2prof.errors import MissingDataError
from ds2prof.report.html import charts, core_sections, kernel_tables, repeated_sections, rooflines, strips
from ds2prof.report.html.cells import fact, lacking, said, total_text, word
from ds2prof.report.html.model import Cell, Fact, Figure, Grid, Head, Row, Section
from ds2prof.report.html.words import CAUSES, MEANINGS, TOTALS
from ds2prof.tables import Profile

_HANDLED: Final[Mapping[str, tuple[str, ...]]] = {
    TIMELINE: ("facts", "ledger", "core", "phases", "kernels", "roofline", "iterations"),
    SUMS: ("facts", "ledger", "core", "kernels", "roofline"),
    COUNTERS: ("facts", "core", "phases", "kernels", "roofline", "ledger"),
    HOST: ("facts", "phases", "kernels", "roofline", "iterations"),
    LOG: ("facts", "iterations"),
    READINGS: ("facts", "core", "readings"),
    MEMORY: ("facts", "memory"),
}
"""Kind of profile -> the sections that it can have, in order."""


def sections(profile: Profile, found: Summary, *, ident: str) -> list[Section]:
    """The sections of one profile; ``ident`` begins their ids."""
    makers: Mapping[str, Callable[[], Section]] = {
        "facts": lambda: _facts(profile, found, f"{ident}-facts"),
        "ledger": lambda: _ledger(profile, found, f"{ident}-ledger"),
        "core": lambda: core_sections.core(profile, found, f"{ident}-core"),
        "phases": lambda: core_sections.phases_and_layers(profile, f"{ident}-phases"),
        "kernels": lambda: kernel_tables.section(profile, f"{ident}-kernels"),
        "roofline": lambda: rooflines.section(profile, f"{ident}-roofline"),
        "iterations": lambda: repeated_sections.iterations(profile, found, f"{ident}-iterations"),
        "readings": lambda: repeated_sections.readings(profile, f"{ident}-readings"),
        "memory": lambda: repeated_sections.memory(profile, f"{ident}-memory"),
    }
    return [makers[name]() for name in _HANDLED.get(found.kind, ("facts",))]


# ---- run facts


def _facts(profile: Profile, found: Summary, ident: str) -> Section:
    meta, totals = profile.meta, found.totals
    facts = [
        word("Tool", " ".join(part for part in (meta.tool, meta.tool_version) if part)),
        word("Format", f"{meta.format}{f' ({meta.dialect})' if meta.dialect else ''}"),
        *(word("Device", device) for device in _devices(profile, found)),
        *_total_facts(totals),
        *_run_facts(meta.run or {}),
    ]
    if meta.rank is not None:
        facts.insert(0, word("Rank", meta.rank))
    if meta.times == "replay":
        facts.append(word("Times", "of replayed launches, not of the run: they say nothing about idle time"))
    if meta.clock_control is not None:
        facts.append(word("Clock control", meta.clock_control))
    return Section(ident, "Run facts", facts=facts, notes=found.missing, terms=("window", "gpu_compute_utilization"))


def _devices(profile: Profile, found: Summary) -> list[str]:
    """The devices with their SMs: those that did work, all where none is known to."""
    devices = profile.table("devices")
    worked = {each["device"] for each in found.totals.get("devices") or ()} - {None}
    rows = zip(devices["device"].tolist(), devices["name"].tolist(), devices["sms"].tolist(), strict=True)
    return [
        f"{device}: {name}{f', {sms} SMs' if sms else ''}"
        for device, name, sms in rows
        if name and (not worked or device in worked)
    ]


_COUNTED: Final = ("launches", "copies", "readings")


def _total_facts(totals: Mapping[str, Any]) -> list[Fact]:
    made = []
    for name, label in TOTALS:
        value = totals.get(name)
        if value is None:
            continue
        text = f"{value:,}" if name in _COUNTED else total_text(name, totals)
        made.append(Fact(label, text, name, value, fact(name, value).term))
        if name == "window_ns":
            made.append(word("Window from", totals["window_source"], term="window"))
    return made


_RUN: Final = ("preset", "precision", "batch_size", "tag", "command", "started_utc", "dur_ns", "exit_code", "commit")
_RUN_LABELS: Final = {"dur_ns": "Whole run took", "started_utc": "Started (UTC)", "window": "Captured iterations"}


def _run_facts(run: Mapping[str, Any]) -> list[Fact]:
    """What the sidecar says of the run, plain values alone; versions and clocks as they stand there."""
    made = []
    for name in _RUN:
        value = run.get(name)
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            value = " ".join(map(str, value))
        label = _RUN_LABELS.get(name, name.replace("_", " ").capitalize())
        made.append(word(label, units.format_ns(value) if name == "dur_ns" and isinstance(value, int) else value))
    for name in ("versions", "window", "clocks"):
        value = run.get(name)
        told_there = _told(value) if isinstance(value, Mapping) else ""
        if told_there:
            made.append(word(_RUN_LABELS.get(name, name.capitalize()), told_there))
    return made


def _told(values: Mapping[str, Any]) -> str:
    """A mapping of the sidecar in words; a window of iterations by its first and last."""
    if values.keys() == {"start", "stop"} and all(isinstance(each, int) for each in values.values()):
        return f"{values['start']} to {values['stop'] - 1}"
    return ", ".join(f"{key} {each}" for key, each in values.items() if each is not None)


# ---- the ledger


def _ledger(profile: Profile, found: Summary, ident: str) -> Section:
    title = "Where the window went"
    if found.ledger is None:
        try:
            findings.findings(profile)
        except MissingDataError as error:
            return Section(ident, title, missing=lacking(profile, error), terms=("ledger",))
        return Section(ident, title, missing="no window to account for", terms=("ledger",))
    rows = found.ledger.rows()
    devices = list(dict.fromkeys(row["device"] for row in rows))
    by_device = [(device, {row["cause"]: row for row in rows if row["device"] == device}) for device in devices]
    bars = [
        (_device_name(device), {cause: (row["dur_ns"], row["share"] or 0.0) for cause, row in causes.items()})
        for device, causes in by_device
    ]
    figures: list[Figure] = [charts.ledger_bar(f"{ident}-bar", bars, titles=CAUSES)]
    figures += strips.strips(profile, f"{ident}-strip")
    grids = [_ledger_grid(f"{ident}-{place}", device, causes) for place, (device, causes) in enumerate(by_device)]
    facts = [fact("gpu_compute_utilization", found.totals["gpu_compute_utilization"])]
    lines = [line for line in found.ledger.notes if not line.startswith(tuple(findings.WORDS))]
    return Section(
        ident, title, facts=facts, figures=figures, grids=grids, notes=said(lines),
        terms=("ledger", "window", "share"),
    )  # fmt: skip


def _device_name(device: int | None) -> str:
    return "the device" if device is None else f"device {device}"


def _ledger_grid(ident: str, device: int | None, causes: Mapping[str, Mapping[str, Any]]) -> Grid:
    heads = [Head("cause", "Cause", "ledger", False), Head("meaning", "What it is", None, False)]
    heads += [Head("dur_ns", "Time", "dur_ns", True), Head("share", "Share of the window", "share", True)]
    rows = [
        Row(
            [
                Cell(CAUSES[cause], cause),
                Cell(MEANINGS[cause], ""),
                Cell(units.format_ns_short(row["dur_ns"]), row["dur_ns"]),
                Cell(units.format_ratio(row["share"]), row["share"], row["share"]),
            ]
        )
        for cause, row in causes.items()
        if row["dur_ns"]
    ]
    whole_ns = sum(row["dur_ns"] for row in causes.values())
    whole = sum(row["share"] or 0.0 for row in causes.values())
    last = [Cell("the window", "window"), Cell("all of it", ""), Cell(units.format_ns_short(whole_ns), whole_ns)]
    rows.append(Row([*last, Cell(units.format_ratio(round(whole, 12)), round(whole, 12))], "total"))
    return Grid(ident, f"Ledger of {_device_name(device)}: integer nanoseconds that sum to the window", heads, rows)
