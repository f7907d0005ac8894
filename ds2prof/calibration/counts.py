"""Operators and launches of each iteration, from a trace of PyTorch's profiler, by the standard library alone.

The parsers do the same in bounded memory, but need a package that a machine which only captures may lack.
"""

from __future__ import annotations

import gzip
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from ds2prof.calibration import Counts
from ds2prof.config import range_kind

MAX_TRACE_BYTES: Final = 1 << 28
_CALLS: Final = ("cuda_runtime", "cuda_driver")
_DEVICE: Final = ("kernel", "gpu_memcpy", "gpu_memset")


class _Iteration(NamedTuple):
    start: Decimal
    end: Decimal
    number: int


def counted_plainly(trace: Path) -> Counts:
    """How many operators and launches each iteration of the trace has."""
    try:
        with gzip.open(trace) as stream:
            text = stream.read(MAX_TRACE_BYTES + 1)
        if len(text) > MAX_TRACE_BYTES:
            return Counts(reason="the trace is too long to be counted without the package msgspec")
        document = json.loads(text, parse_float=Decimal)
        events = [each for each in document["traceEvents"] if each.get("ph") == "X"]
        return _counts(events)
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Counts(reason="operators and launches were not counted: the trace is not whole")


def _counts(events: Sequence[Mapping[str, Any]]) -> Counts:
    iterations = sorted(_iterations(events))
    operators = [event["ts"] for event in events if event.get("cat") == "cpu_op"]
    launches = _launches(events)
    if not iterations:
        return Counts(reason="the trace names no iterations")
    return Counts(
        _by_iteration(operators, iterations) if operators else None,
        _by_iteration(launches, iterations) if launches else None,
        None if operators and launches else f"the trace has no {'launches' if operators else 'operators'}",
    )


def _iterations(events: Iterable[Mapping[str, Any]]) -> Iterable[_Iteration]:
    for event in events:
        named = range_kind(event["name"]) if event.get("cat") == "user_annotation" else None
        if named is not None and named[0] == "iteration":
            yield _Iteration(event["ts"], event["ts"] + event["dur"], int(named[1]))


def _launches(events: Iterable[Mapping[str, Any]]) -> list[Decimal]:
    """When the calls began that gave the device something to do."""
    calls: dict[int, Decimal] = {}
    used: set[int] = set()
    for event in events:
        correlation = (event.get("args") or {}).get("correlation")
        if not correlation:
            continue
        if event.get("cat") in _CALLS:
            calls[correlation] = min(event["ts"], calls.get(correlation, event["ts"]))
        elif event.get("cat") in _DEVICE:
            used.add(correlation)
    return [calls[correlation] for correlation in used & calls.keys()]


def _by_iteration(times: Iterable[Decimal], iterations: Sequence[_Iteration]) -> dict[int, int]:
    """How many of the times lie in each; iterations follow each other and do not overlap."""
    counts = dict.fromkeys((each.number for each in iterations), 0)
    starts = [each.start for each in iterations]
    for time in times:
        row = bisect_right(starts, time) - 1
        if row >= 0 and time < iterations[row].end:
            counts[iterations[row].number] += 1
    return counts
