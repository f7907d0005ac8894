"""What the GPU tests hold ds2prof's answers against: the same quantities, worked out another way from the raw files."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_CYCLES = "gpc__cycles_elapsed.max"


NO_COUNTERS = ("ERR_NVGPUCTRPERM", "read hardware counters", "LibraryNotLoaded", "Profiling is not supported")
"""What is said where hardware counters cannot be read, whatever the program."""
INFERENCE = """
import sys
import torch

device = sys.argv[1]
model = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 8)).to(device).eval()
with torch.no_grad():
    for _ in range(4):
        found = model(torch.ones(64, 512, device=device))
print("inferred", tuple(found.shape), flush=True)
"""
"""A program that takes no optimizer step."""
TRAINING = """
import sys
import torch

device = sys.argv[1]
model = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 8)).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for step in range(4):
    optimizer.zero_grad()
    model(torch.ones(64, 512, device=device)).square().mean().backward()
    optimizer.step()
print("trained", flush=True)
"""
"""One that takes four."""


class Run(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def lacks_counters(self) -> bool:
        """Whether it failed since hardware counters cannot be read here."""
        return self.code != 0 and any(text in self.stdout + self.stderr for text in NO_COUNTERS)


def program(folder: Path, text: str, device: str) -> list[str]:
    """The command of a script that knows nothing of ds2prof, put into ``folder``."""
    script = folder / "script.py"
    script.write_text(text)
    return [sys.executable, str(script), device]


def iterations(path: Path) -> list[int]:
    """The iterations that a trace names, in the order of their times."""
    marks = [span for span in events(path, "user_annotation") if span.name.startswith("ds2prof:iteration:")]
    return [int(span.name.rpartition(":")[2]) for span in sorted(marks, key=lambda span: span.start_ns)]


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


def launched_in(path: Path) -> dict[int, int]:
    """Iteration -> kernels whose launch on the host lies inside of that iteration's range, by their correlations.

    The range counts, not the kernel's own time: the device runs behind the host. Kernels launched in none are -1.
    """
    packed = path.read_bytes()
    raw = gzip.decompress(packed) if path.suffix == ".gz" else packed
    rows = [row for row in json.loads(raw, parse_float=Decimal)["traceEvents"] if row.get("ph") == "X"]
    calls = {
        row["args"]["correlation"]: Decimal(row["ts"])
        for row in rows
        if row.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in row.get("args", {})
    }
    ranges = [
        (int(row["name"].rpartition(":")[2]), Decimal(row["ts"]), Decimal(row["ts"]) + Decimal(row["dur"]))
        for row in rows
        if row.get("cat") == "user_annotation" and row["name"].startswith("ds2prof:iteration:")
    ]
    found = dict.fromkeys([number for number, _, _ in ranges], 0)
    for row in rows:
        if row.get("cat") == "kernel":
            at = calls[row["args"]["correlation"]]
            inside = next((number for number, start, stop in ranges if start <= at < stop), -1)
            found[inside] = found.get(inside, 0) + 1
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


@contextmanager
def waiting_refused(torch: Any) -> Iterator[None]:
    """A context in which PyTorch raises where the host would wait for a CUDA device, as far as it notices.

    It notices copies from and to pageable memory, values that are asked for, and results whose size the device decides.
    Without such a device nothing is watched.
    """
    if not torch.cuda.is_available():
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
