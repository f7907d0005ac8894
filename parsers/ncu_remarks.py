"""What an Nsight Compute CSV says of itself, and the warnings about what was lost or doubtful in reading it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from ds2prof.parsers.ncu_gather import COMMAND_LINE, Gathered
from ds2prof.parsers.ncu_layout import Layout
from ds2prof.parsers.ncu_lines import encoding_of
from ds2prof.parsers.sources import Source
from ds2prof.tables import Meta, Table

_MAX_MESSAGES: Final = 8
_PAGES: Final = {"long": "details", "wide": "raw", "summary": "summary per kernel"}


def meta_of(source: Source, layouts: list[Layout], gathered: Gathered, *, comma: bool) -> Meta:
    """What is known of the file: dialect, sections."""
    sections = list(gathered.remarks.sections)
    return Meta(
        file=source.name,
        tool="Nsight Compute",
        format="ncu-csv",
        dialect=", ".join(dict.fromkeys(_dialect(source, layouts, sections, comma=comma))),
        times="replay",
        facts={"sections": sections} if sections else {},
    )


def _dialect(source: Source, layouts: list[Layout], sections: list[str], *, comma: bool) -> Iterator[str]:
    for layout in layouts:
        asked = layout.page == "long" and not set(sections) - COMMAND_LINE
        yield "metrics" if asked else _PAGES[layout.page]
        if layout.has_nvtx:
            yield "NVTX"
        if "Rule Name" in layout.columns:
            yield "rules"
        if not layout.quoted:
            yield "without quotes"
    if comma:
        yield "decimal comma"
    if encoding_of(source.head) != "utf-8":
        yield "UTF-16"


def warnings_of(
    name: str, layouts: list[Layout], gathered: Gathered, *, tables: Mapping[str, Table], doubt: str | None
) -> tuple[str, ...]:
    """The warnings, a line each."""
    found = [*_lost(name, layouts, gathered, tables), *_doubtful(name, gathered, tables)]
    if any(layout.page == "summary" for layout in layouts):
        found.append(
            f"{name}: a summary; its counters are means over the launches of a kernel, and weighting them by cycles is "
            "an approximation unless those are alike"
        )
    if doubt is not None:
        found.append(doubt)
    messages = list(gathered.remarks.messages)
    found += [f"{name}: Nsight Compute: {message}" for message in messages[:_MAX_MESSAGES]]
    if len(messages) > _MAX_MESSAGES:
        found.append(f"{name}: Nsight Compute: {len(messages) - _MAX_MESSAGES} more messages in the file")
    return tuple(found)


def _lost(name: str, layouts: list[Layout], gathered: Gathered, tables: Mapping[str, Table]) -> Iterator[str]:
    remarks, rounding = gathered.remarks, gathered.remarks.rounding
    if rounding.launches:
        yield (
            f"{name}: {rounding.launches} of {len(gathered.launches)} durations are rounded, for this page prints them "
            f"in {' or '.join(rounding.units)} (steps of up to {rounding.step_ns:,} ns); --print-units base prints "
            "whole nanoseconds"
        )
    if remarks.damaged:
        rows = "1 damaged row" if remarks.damaged == 1 else f"{remarks.damaged:,} damaged rows"
        yield f"{name}:{remarks.damaged_line}: {rows} left out"
    if remarks.cut:
        yield f"{name}: ends within a row, which is left out; was the capture interrupted?"
    elif layouts[-1].page == "long" and _ends_short(tables):
        yield f"{name}: the last launch has fewer metrics than any other; was the capture interrupted?"
    if remarks.negative:
        durations = "1 negative duration" if remarks.negative == 1 else f"{remarks.negative:,} negative durations"
        yield f"{name}: {durations} left out"
    if remarks.lone_series:
        count = "1 metric" if len(remarks.lone_series) == 1 else f"{len(remarks.lone_series):,} metrics"
        yield (
            f"{name}: {count} sampled within launches (first met: {next(iter(remarks.lone_series))}) without the "
            "samples, left out; the report has them, or print them with --print-metric-instances values"
        )
    if remarks.lone_rules:
        rules = "1 rule" if remarks.lone_rules == 1 else f"{remarks.lone_rules:,} rules"
        yield f"{name}: {rules} before the metrics of their launch left out"
    if remarks.unitless:
        yield f"{name}: the page tells no units: percentages are told by name, durations are left out"


def _ends_short(tables: Mapping[str, Table]) -> bool:
    counts = np.bincount(tables["counters"]["launch"].values, minlength=len(tables["kernels"]))
    return len(counts) > 1 and bool(counts[-1] < counts[:-1].min())


def _doubtful(name: str, gathered: Gathered, tables: Mapping[str, Table]) -> Iterator[str]:
    remarks = gathered.remarks
    if remarks.conflicts:
        rows = "1 value differs" if remarks.conflicts == 1 else f"{remarks.conflicts:,} values differ"
        yield (
            f"{name}:{remarks.conflict_line}: {rows} from what an earlier row says of the same launch (first met: "
            f"{remarks.conflict_metric}); the earlier one counts"
        )
    metrics, names = tables["counters"]["metric"], list(gathered.metrics)
    present = metrics.values[tables["counters"]["value"].present]
    counted = {(metrics.categories or ())[code] for code in np.flatnonzero(np.bincount(present)).tolist()}
    for metric, (count, line, text) in remarks.texts.items():
        if names[metric] in counted:
            yield f'{name}:{line}: {count} values of {names[metric]} are no numbers ("{text}"); left out'
    if gathered.launches.restarts:
        times = "once" if gathered.launches.restarts == 1 else f"{gathered.launches.restarts:,} times"
        yield (
            f"{name}: the IDs of a process begin anew without a header ({times}); what follows is kept as launches of "
            "their own"
        )
    if remarks.device_conflicts:
        yield f"{name}: one device number stands for different devices; the first is shown"
