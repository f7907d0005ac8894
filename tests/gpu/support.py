"""What the GPU tests hold ds2prof's answers against: the same quantities, worked out another way from the raw files."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_CYCLES = "gpc__cycles_elapsed.max"


class Run(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    stdout: str
    stderr: str


class Span(NamedTuple):
    """An event with a duration, in nanoseconds."""

    name: str
    start_ns: int
    stop_ns: int
    device: Any


def ds2prof(*words: str) -> list[str]:
    """A command of the checkout, run by this Python."""
    return [sys.executable, "-m", "ds2prof", *words]


def events(path: Path, category: str) -> list[Span]:
    """The events of a category in a trace; times pass from decimal text to integers without a double."""
    packed = path.read_bytes()
    raw = gzip.decompress(packed) if path.suffix == ".gz" else packed
    rows = json.loads(raw, parse_float=Decimal)["traceEvents"]
    found = []
    for row in rows:
        if row.get("ph") == "X" and row.get("cat") == category:
            start_ns, dur_ns = int(Decimal(row["ts"]) * 1000), int(Decimal(row["dur"]) * 1000)
            found.append(Span(row["name"], start_ns, start_ns + dur_ns, row.get("args", {}).get("device")))
    return found


def busy_ns(kernels: list[Span]) -> int:
    """The time in which at least one kernel ran, summed over devices: a sweep over starts and ends."""
    total = 0
    for device in {kernel.device for kernel in kernels}:
        edges = [(kernel.start_ns, 1) for kernel in kernels if kernel.device == device]
        edges += [(kernel.stop_ns, -1) for kernel in kernels if kernel.device == device]
        running, since = 0, 0
        for at, step in sorted(edges):
            if running == 0 and step == 1:
                since = at
            running += step
            if running == 0:
                total += at - since
    return total


def launches(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV of Nsight Compute's raw page, its row of units and its messages left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith('"ID",'))
    return [row for row in csv.DictReader(lines[start:]) if row["ID"].isdigit()]


def utilization(rows: list[dict[str, str]], metric: str) -> float:
    """The mean of a metric in percent over launches, weighted by their cycles, as a ratio."""
    read = [(float(row[_CYCLES]), float(row[metric])) for row in rows]
    return sum(cycles * percent for cycles, percent in read) / sum(cycles for cycles, _ in read) / 100


def memory_sums(path: Path) -> tuple[dict[tuple[int, str, str], int], dict[tuple[int, str, str], int]]:
    """(sum of what a device's memory was used for, what its allocator counted) by iteration, moment and device."""
    parts: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    allocated = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(line for line in stream if not line.startswith("#")):
            key = (int(row["iteration"]), row["moment"], row["device"])
            if row["category"] == "allocated":
                allocated[key] = int(row["size_bytes"])
            elif row["category"] not in ("reserved", "device_used"):
                parts[key] += int(row["size_bytes"])
    moments = {key: size for key, size in allocated.items() if not key[1].startswith("layer_")}
    return {key: parts[key] for key in moments}, moments
