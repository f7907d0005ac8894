"""A program that knows nothing of ds2prof is calibrated: its optimizer steps are timed with a profiler and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="no torch, the tool that trains")

from click.testing import CliRunner

from ds2prof.calibration.runs import MODES, ProgramRuns, run_log_in, timing_environment
from ds2prof.cli.calibrate import command
from ds2prof.config import Window
from ds2prof.errors import CaptureError
from tests.launch_support import NO_GPU, QUICK

SCRIPT = """
import os, time, torch
weight = torch.zeros(4, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
for step in range(int(os.environ.get("STEPS", 6))):
    optimizer.zero_grad()
    weight.square().sum().backward()
    if step == 3:
        time.sleep(0.2)
    optimizer.step()
"""
MODE = {mode.name: mode for mode in MODES}
pytestmark = pytest.mark.slow


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT)
    return path


def timed_script(script, tmp_path, **environ):
    told = {**os.environ, **timing_environment({}, run_log=tmp_path / "run.{process}.jsonl"), **environ}
    return subprocess.run([sys.executable, str(script)], env=told, capture_output=True, text=True, check=False)


def test_every_step_but_the_first_is_timed(script, tmp_path):
    done = timed_script(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    [log] = tmp_path.glob("run*.jsonl")
    header, walls_ns = run_log_in(log)
    assert header == {"schema": "ds2prof-run/1", "profiler": None}
    assert list(walls_ns) == [1, 2, 3, 4, 5]
    assert max(walls_ns, key=walls_ns.__getitem__) == 3
    assert walls_ns[3] >= 200_000_000


@pytest.mark.long
def test_a_program_that_takes_no_step_leaves_no_log(script, tmp_path):
    assert timed_script(script, tmp_path, STEPS="0").returncode == 0
    assert list(tmp_path.glob("*run*")) == []


@pytest.mark.long
def test_a_log_that_cannot_be_written_does_not_harm_the_program(script, tmp_path):
    done = timed_script(script, tmp_path, DS2PROF_INJECT_RUN_LOG=str(tmp_path / "missing" / "log"))
    assert done.returncode == 0
    assert "recording failed" in done.stderr


def runs_of(script, tmp_path, **environ):
    inside = tmp_path / "inside"
    inside.mkdir()
    program = (sys.executable, str(script))
    told = {**os.environ, **environ}
    return ProgramRuns(program, Window(2, 5), inside, tmp_path / "calibration", NO_GPU, environ=told, patience=QUICK)


@pytest.mark.parametrize(
    "name", ["torch", *(pytest.param(name, marks=pytest.mark.long) for name in (None, "torch-detail", "memory", "smi"))]
)
def test_steps_are_timed_in_every_mode(name, script, tmp_path):
    found = runs_of(script, tmp_path)(name and MODE[name])
    assert list(found.timed.walls_ns) == [2, 3, 4]
    assert found.timed.walls_ns[3] >= 200_000_000
    assert (found.captured is None) is (name is None)


@pytest.mark.long
def test_a_program_that_takes_too_few_steps_is_told_how_many(script, tmp_path):
    with pytest.raises(CaptureError, match="it has to take 5"):
        runs_of(script, tmp_path, STEPS="4")(None)


@pytest.mark.long
def test_a_program_without_optimizer_steps_cannot_be_timed(script, tmp_path):
    with pytest.raises(CaptureError, match="no optimizer step was timed"):
        runs_of(script, tmp_path, STEPS="0")(None)


def test_any_script_is_calibrated(script, tmp_path):
    target = tmp_path / "m" / "calibration.json"
    options = ["torch", "--repeats", "1", "--warmup", "2", "--iterations", "3", "-o", str(target)]
    result = CliRunner().invoke(command, [*options, "--", sys.executable, str(script)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(target.read_text())
    assert (found["program"], found["preset"], found["batch_size"]) == ("mine.py", None, None)
    assert found["counts"]["operators"] > 5
    assert found["modes"][0]["samples"] == 3
    assert found["modes"][0]["identity"]["command"] == [sys.executable, str(script)]
    assert list(target.parent.iterdir()) == [target]
