"""What ds2prof loads into programs that know nothing of it, on a GPU: their kernels, and the steps asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ds2prof.capture.launchers import find_tool, launcher
from tests.gpu.support import INFERENCE, TRAINING, Run, events, iterations, launched_in, launches, program

pytestmark = pytest.mark.usefixtures("cuda")


@pytest.fixture(scope="module")
def first_steps(gpu_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of the first two optimizer steps."""
    folder = tmp_path_factory.mktemp("first_steps")
    path = folder / "torch.json.gz"
    done = gpu_run("run", "torch", "--window", "0:2", "-o", str(path), "--", *program(folder, TRAINING, "cuda"))
    assert done.code == 0, done.stderr
    assert "trained" in done.stdout
    return path


def test_a_program_without_optimizer_steps_has_its_kernels_recorded(
    gpu_run: Callable[..., Run], tmp_path: Path
) -> None:
    path = tmp_path / "torch.json.gz"
    done = gpu_run("run", "torch", "-o", str(path), "--", *program(tmp_path, INFERENCE, "cuda"))
    assert done.code == 0, done.stderr
    assert "inferred (64, 8)" in done.stdout
    kernels = events(path, "kernel")
    assert len(kernels) >= 4 * 3, "two products and an activation, four times"
    assert all(kernel.stop_ns > kernel.start_ns for kernel in kernels)


def test_the_steps_asked_for_are_named_and_each_launched_kernels(first_steps: Path) -> None:
    assert iterations(first_steps) == [0, 1]
    counted = launched_in(first_steps)
    assert counted[0] > 0
    assert counted[1] > 0


def test_no_kernel_of_a_later_step_is_recorded(first_steps: Path) -> None:
    counted = launched_in(first_steps)
    assert sum(counted.values()) < 3 * max(counted[0], counted[1])


def test_kernels_are_read_as_those_of_their_iterations(first_steps: Path, gpu_run: Callable[..., Run]) -> None:
    pytest.importorskip("msgspec")
    done = gpu_run("parse", str(first_steps), "--by", "iteration", "--format", "json")
    assert done.code == 0, done.stderr
    read = {row["iteration"]: row["calls"] for row in json.loads(done.stdout)["rows"] if row["iteration"] is not None}
    counted = launched_in(first_steps)
    assert {int(number): calls for number, calls in read.items()} == {number: counted[number] for number in (0, 1)}


@pytest.mark.parametrize(("start", "stop"), [(1, 2), (0, 1)])
def test_counters_of_one_step_are_read_from_a_program_that_knows_no_window(
    start: int, stop: int, gpu_run: Callable[..., Run], tmp_path: Path
) -> None:
    if find_tool(launcher("nsight")) is None:
        pytest.skip("the tool ncu is not on this machine")
    path, window = tmp_path / "nsight.csv", f"{start}:{stop}"
    done = gpu_run("run", "nsight", "--window", window, "-o", str(path), "--", *program(tmp_path, TRAINING, "cuda"))
    if done.lacks_counters:
        pytest.skip(f"hardware counters cannot be read here: {done.stderr.strip().splitlines()[-1]}")
    assert done.code == 0, done.stderr
    assert "trained" in done.stdout, "the program goes on behind the window"
    rows = launches(path)
    assert rows
    assert all(row["Kernel Name"] for row in rows)
    facts = json.loads(path.with_name(f"{path.name}.meta.json").read_text())
    assert facts["window"] == {"start": start, "stop": stop}
