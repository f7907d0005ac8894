"""A second reader of Chrome traces, written from the format's own description and sharing no code with ds2prof.

It reads as a viewer does: events sorted by time and otherwise in the file's order, slices stacked on their rows, arrows
bound to the innermost slice that is open at their time, the last value of a counter.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass
class Slice:
    name: str
    category: str
    row: tuple[Any, Any]
    start_ns: int
    end_ns: int
    args: dict[str, Any]
    depth: int = -1
    parent: Slice | None = None


@dataclass
class Trace:
    head: dict[str, Any]
    slices: list[Slice] = field(default_factory=list)
    misplaced: list[Slice] = field(default_factory=list)
    arrows: list[tuple[Slice | None, Slice | None]] = field(default_factory=list)
    counters: dict[tuple[Any, str, str], list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    process_names: dict[Any, str] = field(default_factory=dict)
    process_labels: dict[Any, str] = field(default_factory=dict)
    process_order: dict[Any, int] = field(default_factory=dict)
    thread_names: dict[tuple[Any, Any], str] = field(default_factory=dict)
    thread_order: dict[tuple[Any, Any], int] = field(default_factory=dict)

    def of(self, *categories: str) -> list[Slice]:
        return [each for each in self.slices if each.category in categories]


def read_trace(path: Path) -> Trace:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    assert data.isascii()
    document = json.loads(data, parse_float=Decimal)
    events = document.pop("traceEvents")
    trace = Trace(document)
    base_ns = int(document.get("baseTimeNanoseconds", 0))
    for event in events:
        if event["ph"] == "M":
            _take_name(trace, event)
    timed = [event for event in events if event["ph"] != "M"]
    timed.sort(key=lambda event: Decimal(event["ts"]))  # stable: the file's order decides what begins together
    _stack(trace, [event for event in timed if event["ph"] == "X"], base_ns)
    _bind(trace, [event for event in timed if event["ph"] in "sf"], base_ns)
    for event in timed:
        if event["ph"] == "C":
            for series, value in event["args"].items():
                key = (event["pid"], event["name"], series)
                trace.counters[key].append((base_ns + _ns(event["ts"]), float(value)))
    assert {event["ph"] for event in events} <= set("MXsfC")
    return trace


def _ns(microseconds: Any) -> int:
    ns = Decimal(microseconds) * 1000
    assert ns == int(ns), f"{microseconds} us is no whole nanosecond"
    return int(ns)


def _take_name(trace: Trace, event: dict[str, Any]) -> None:
    row = (event["pid"], event["tid"])
    into: dict[str, tuple[dict[Any, Any], Any, str]] = {
        "process_name": (trace.process_names, event["pid"], "name"),
        "process_labels": (trace.process_labels, event["pid"], "labels"),
        "process_sort_index": (trace.process_order, event["pid"], "sort_index"),
        "thread_name": (trace.thread_names, row, "name"),
        "thread_sort_index": (trace.thread_order, row, "sort_index"),
    }
    if event["name"] in into:
        table, key, argument = into[event["name"]]
        table[key] = event["args"][argument]


def _stack(trace: Trace, events: list[dict[str, Any]], base_ns: int) -> None:
    open_on: dict[Any, list[Slice]] = defaultdict(list)
    for event in events:
        start = base_ns + _ns(event["ts"])
        row = (event["pid"], event["tid"])
        made = Slice(event["name"], event["cat"], row, start, start + _ns(event["dur"]), event["args"])
        stack = open_on[row]
        while stack and stack[-1].end_ns <= start:
            stack.pop()
        if stack and made.end_ns > stack[-1].end_ns:
            trace.misplaced.append(made)
        made.depth, made.parent = len(stack), stack[-1] if stack else None
        stack.append(made)
        trace.slices.append(made)


def _bind(trace: Trace, events: list[dict[str, Any]], base_ns: int) -> None:
    on_row: dict[Any, list[Slice]] = defaultdict(list)
    beginning: dict[Any, Slice] = {}
    for each in trace.slices:
        on_row[each.row].append(each)
        beginning[each.row, each.start_ns] = each  # of those that begin together the innermost comes last
    ends: dict[Any, dict[str, Slice | None]] = defaultdict(dict)
    for event in events:
        at = base_ns + _ns(event["ts"])
        assert event["ph"] == "s" or event["bp"] == "e"  # else it would bind to the next slice, not the enclosing one
        row = (event["pid"], event["tid"])
        found = beginning.get((row, at))
        if found is None:
            found = next((each for each in reversed(on_row[row]) if each.start_ns <= at <= each.end_ns), None)
        assert event["ph"] not in ends[event["id"]], f"two ends of one arrow: {event['id']}"
        ends[event["id"]][event["ph"]] = found
    trace.arrows = [(pair.get("s"), pair.get("f")) for pair in ends.values()]
