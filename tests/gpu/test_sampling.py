"""The sampler beside work whose extent is known, through both of those who tell about GPUs."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.support import ROOT

_GIB = 1 << 30
_WORK = f"""
import os, time, torch
held = torch.zeros({_GIB}, dtype=torch.uint8, device="cuda")
a = torch.randn(4096, 4096, device="cuda")
torch.cuda.synchronize()
def mark(word, n):
    with open(os.environ["DS2PROF_STATUS"], "a") as lines:
        lines.write(f"{{word}} {{os.getpid()}} {{n}} {{time.time_ns()}}\\n")
mark("open", 0)
until = time.monotonic() + 5
while time.monotonic() < until:
    for _ in range(20):
        b = a @ a
    torch.cuda.synchronize()
mark("closed", 1)
"""


def sampled(folder: Path, source: str) -> dict[str, list[float]]:
    """Metric -> its readings of the GPU that worked, inside the window but for its first second."""
    out = folder / f"{source}.csv"
    sampler = ROOT / "ds2prof" / "sampling" / "__main__.py"
    words = [sys.executable, "-I", "-S", str(sampler), "--gpu", source, "--output", str(out), "--"]
    subprocess.run([*words, sys.executable, "-c", _WORK], check=True, timeout=120)
    with out.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    begin, end = (
        next(int(row["start_ns"]) for row in rows if row["metric"] == f"window.{word}") for word in ("open", "closed")
    )
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["device"] and not row["entity"] and begin + 10**9 <= int(row["start_ns"]) < end:
            found.setdefault(f"{row['device']} {row['metric']}", []).append(float(row["value"]))
    busiest = max((key for key in found if key.endswith(" memory.used")), key=lambda key: max(found[key])).split()[0]
    return {key.split()[1]: values for key, values in found.items() if key.split()[0] == busiest}


@pytest.fixture(scope="module")
def both(cuda: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[float]]]:
    folder = tmp_path_factory.mktemp("sampling")
    return {source: sampled(folder, source) for source in ("nvml", "nvidia-smi")}


@pytest.mark.parametrize("source", ["nvml", "nvidia-smi"])
def test_readings_are_in_base_units(both, source):
    found = both[source]
    assert _GIB <= max(found["memory.used"]) < 1 << 40
    assert 0 <= min(found["utilization.memory"]) <= max(found["utilization.memory"]) <= 1
    assert 100e6 < max(found["clocks.current.sm"]) < 5e9
    assert 10 < max(found["power.draw"]) < 3000
    assert 10 < max(found["temperature.gpu"]) < 120


@pytest.mark.parametrize("source", ["nvml", "nvidia-smi"])
def test_a_gpu_that_computes_without_a_break_is_used_in_full(both, source):
    values = sorted(both[source]["utilization.gpu"])
    assert values[len(values) // 2] >= 0.9


def test_both_sources_see_the_same_memory(both):
    first, second = (max(both[source]["memory.used"]) for source in ("nvml", "nvidia-smi"))
    assert abs(first - second) <= 64 << 20


def test_power_by_the_counter_of_energy_is_near_what_is_drawn(both):
    found = both["nvml"]
    if "power.mean" not in found:
        pytest.skip("this GPU has no counter of energy")
    drawn, mean = (sum(found[name]) / len(found[name]) for name in ("power.draw", "power.mean"))
    assert 0.5 * drawn <= mean <= 2 * drawn
