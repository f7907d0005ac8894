"""Captures of any program on a GPU: counters of what the window holds, memory to the byte, readings of the device."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ds2prof.capture.launchers import find_tool, launcher
from tests.gpu.support import Run, launches, memory_sums, utilization

pytestmark = pytest.mark.usefixtures("cuda")

TWO_LAUNCHES = """
import torch

values = torch.ones(1 << 24, device="cuda")
values.mul_(2)
values.mul_(2)
torch.cuda.synchronize()
torch.cuda.profiler.start()
values.add_(1)
values.sub_(3)
torch.cuda.synchronize()
torch.cuda.profiler.stop()
values.mul_(2)
torch.cuda.synchronize()
"""
STEPS = """
import torch

model = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 8)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for step in range(4):
    optimizer.zero_grad()
    model(torch.ones(64, 512, device="cuda")).square().mean().backward()
    optimizer.step()
    print("allocated", step, torch.cuda.memory_allocated(), flush=True)
"""
BUSY = """
import time
import torch

left = torch.randn(4096, 4096, device="cuda")
until_s = time.monotonic() + 4
while time.monotonic() < until_s:
    for _ in range(20):
        left @ left
    torch.cuda.synchronize()
"""


@pytest.fixture(scope="module")
def counters(gpu_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The counters of a program with two launches between cudaProfilerStart and Stop, and the metrics asked for."""
    if find_tool(launcher("nsight")) is None:
        pytest.skip("the tool ncu is not on this machine")
    folder = tmp_path_factory.mktemp("counters")
    script, path = folder / "two_launches.py", folder / "nsight.csv"
    script.write_text(TWO_LAUNCHES)
    words = ("run", "nsight", "--window", "api", "-o", str(path))
    planned = gpu_run(*words, "--dry-run", "--", sys.executable, str(script))
    assert planned.code == 0, planned.stderr
    done = gpu_run(*words, "--", sys.executable, str(script))
    if done.lacks_counters:
        pytest.skip(f"hardware counters cannot be read here: {done.stderr.strip().splitlines()[-1]}")
    assert done.code == 0, done.stderr
    words_run = shlex.split(planned.stdout)
    return path, words_run[words_run.index("--metrics") + 1]


def test_counters_are_those_of_the_launches_in_the_window(counters: tuple[Path, str]) -> None:
    assert len(launches(counters[0])) == 2


def test_every_launch_has_every_planned_metric(counters: tuple[Path, str]) -> None:
    path, planned = counters
    names = planned.split(",")
    assert "gpu__time_duration.sum" in names
    lacking = [name for row in launches(path) for name in names if not row.get(name, "").strip()]
    assert lacking == []


def test_core_utilization_is_the_mean_of_the_raw_percentages_weighted_by_cycles(
    counters: tuple[Path, str], gpu_run: Callable[..., Run]
) -> None:
    done = gpu_run("parse", str(counters[0]), "--by", "core", "--format", "json")
    assert done.code == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["rows"] if row["metric"].endswith("elapsed")]
    assert "fma" in {row["pipe"] for row in rows}
    raw = launches(counters[0])
    assert [row["utilization"] for row in rows] == pytest.approx([utilization(raw, row["metric"]) for row in rows])


def test_memory_by_use_sums_to_what_pytorch_has_allocated(gpu_run: Callable[..., Run], tmp_path: Path) -> None:
    script, path = tmp_path / "steps.py", tmp_path / "memory.csv"
    script.write_text(STEPS)
    done = gpu_run("run", "memory", "--window", "1:3", "-o", str(path), "--", sys.executable, str(script))
    assert done.code == 0, done.stderr
    parts, allocated = memory_sums(path)
    told = {int(step): int(size) for step, size in re.findall(r"allocated (\d) (\d+)", done.stdout)}
    on_gpu = {key: size for key, size in allocated.items() if key[2].startswith("cuda")}
    assert on_gpu
    assert {key: parts[key] for key in on_gpu} == on_gpu
    after = {key[0]: size for key, size in on_gpu.items() if key[1] == "after_step"}
    assert after == {step: told[step] for step in (1, 2)}


def test_a_busy_gpu_is_seen_by_sampling_beside_it(gpu_run: Callable[..., Run], tmp_path: Path) -> None:
    script, path = tmp_path / "busy.py", tmp_path / "smi.csv"
    script.write_text(BUSY)
    done = gpu_run("run", "smi", "-o", str(path), "--", sys.executable, str(script))
    assert done.code == 0, done.stderr
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    found = [float(row["value"]) for row in rows if row["metric"] == "utilization.gpu" and row["value"]]
    assert found
    assert max(found) > 0
