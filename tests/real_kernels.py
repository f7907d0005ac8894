"""Kernel names of real traces, for the tests of names and classes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path


def kernel_times(path: Path) -> Counter[str]:
    """Kernel name -> its total duration in a trace."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        trace = json.load(lines)
    times: Counter[str] = Counter()
    for event in trace["traceEvents"]:
        if event.get("cat") == "kernel":
            times[event["name"]] += event["dur"]
    return times
