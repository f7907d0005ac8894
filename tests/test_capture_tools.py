"""Captures by the real Nsight Systems, Nsight Compute and nvprof on a machine without a GPU."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import pytest

from ds2prof.capture.launchers import find_importer, find_tool, launcher
from ds2prof.machine import find_machine
from ds2prof.parsers import read
from tests.launch_support import SMI, executable

pytest.importorskip("torch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(find_machine().gpus), reason="tool: this is about machines without a GPU"),
]
Text = TypeVar("Text", str, bytes)
STEPS = """
import sys
import torch
weight = torch.zeros(8, 8, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
for step in range(8):
    (weight @ torch.ones(8)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
print("all steps done", flush=True)
"""


def need(name: str) -> None:
    tool = find_tool(launcher(name))
    if tool is None:
        pytest.skip(f"tool: {name} is not installed")
    importer = launcher(name).importer
    if importer is not None and find_importer(importer, tool) is None:
        pytest.skip(f"tool: the importer of {name} is not installed")


def need_old_nvtx() -> None:
    """Nsight Systems 2022.4 sees no range of newer ones."""
    if tuple(int(part) for part in metadata.version("nvtx").split(".")[:3]) > (0, 2, 11):
        pytest.skip("tool: this nsys may not see the ranges of this nvtx")


def ended(start: Callable[[], subprocess.CompletedProcess[Text]]) -> subprocess.CompletedProcess[Text]:
    """How the capture ended; of a second one where nsys's own processes did not find each other, as happens to it."""
    done = start()
    lost = "Local Endpoint is not available"
    words = done.stderr if isinstance(done.stderr, str) else done.stderr.decode(errors="replace")
    logs = [Path(found).read_text(errors="replace") for found in re.findall(r"the output is in (\S+\.log)", words)]
    return start() if any(lost in text for text in (words, *logs)) else done


def run_under(
    name: str, *words: str, folder: Path, root: Path, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return ended(
        lambda: subprocess.run(
            [sys.executable, "-m", "ds2prof", "run", name, *words],
            cwd=root,
            env={**os.environ, "DS2PROF_MEASUREMENTS": str(folder), "OMP_NUM_THREADS": "1", **(environ or {})},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    )


def training(*more: str) -> list[str]:
    return ["--", sys.executable, "train_profiling.py", "--preset", "tiny", "--batch-size", "2", *more]


def test_nsys_captures_the_training_loop_at_the_asked_iterations(tmp_path: Path, root: Path) -> None:
    need("nsys")
    need_old_nvtx()
    window = ["--profile-start", "2", "--profile-stop", "4", "--iterations", "6", "--keep-going"]
    done = run_under("nsys", *training(*window), folder=tmp_path, root=root)
    assert done.returncode == 0, done.stderr
    profile = read(tmp_path / "nsys_bs2.nsys-rep")
    ranges = profile.table("ranges").to_pandas()
    ours = ranges[ranges["domain"] == "ds2prof"]
    assert sorted(ours[ours["kind"] == "iteration"]["value"]) == ["2", "3"]
    assert list(ours[ours["kind"] == "window"]["value"]) == ["2-4"]
    phases = ours[ours["kind"] == "phase"]
    assert dict(phases["value"].astype(str).value_counts()) == dict.fromkeys(
        ("data", "h2d", "forward", "loss", "backward", "clip", "optimizer"), 2
    )
    window_row = ours[ours["kind"] == "window"].iloc[0]
    ends = phases["start_ns"] + phases["dur_ns"]
    assert window_row["start_ns"] <= phases["start_ns"].min()
    assert ends.max() <= window_row["start_ns"] + window_row["dur_ns"]
    facts = json.loads((tmp_path / "nsys_bs2.nsys-rep.meta.json").read_text())
    assert facts["window"] == {"start": 2, "stop": 4}
    assert facts["settings"]["capture_range"] == "nvtx"
    assert {path.name for path in tmp_path.iterdir()} == {"nsys_bs2.nsys-rep", "nsys_bs2.nsys-rep.meta.json"}


def test_nsys_captures_steps_of_a_script_that_knows_nothing_of_it(tmp_path: Path, root: Path) -> None:
    need("nsys")
    need_old_nvtx()
    script = tmp_path / "plain" / "plain.py"
    script.parent.mkdir()
    script.write_text(STEPS)
    folder = tmp_path / "measurements"
    done = run_under("nsys", "--window", "2:5", "--", sys.executable, str(script), folder=folder, root=root)
    assert done.returncode == 0, done.stderr
    assert "all steps done" in done.stdout
    ranges = read(folder / "nsys_plain.nsys-rep").table("ranges").to_pandas()
    iterations = ranges[(ranges["domain"] == "ds2prof") & (ranges["kind"] == "iteration")]
    assert sorted(iterations["value"]) == ["2", "3", "4"]


def test_a_window_that_never_opens_is_said_in_one_line(tmp_path: Path, root: Path) -> None:
    need("nsys")
    done = run_under("nsys", "-o", str(tmp_path / "x.nsys-rep"), "--window", "nvtx:never", "--", "true",
                     folder=tmp_path, root=root)  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ds2prof: nsys: ")
    assert "the window never opened" in last
    assert {path.name for path in tmp_path.iterdir()} == {"x.nsys-rep.log"}


@pytest.mark.parametrize("name", ["nsight", "nvprof"])
def test_without_a_gpu_the_others_are_refused_in_one_line_of_ours(name: str, tmp_path: Path, root: Path) -> None:
    need(name)
    done = run_under(name, *training(), folder=tmp_path, root=root)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"ds2prof: {name}: no NVIDIA GPU is visible here")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "ending"), [("nsight", "csv"), ("nvprof", "nvvp")])
def test_where_the_gpu_turns_out_to_be_no_use_one_line_of_ours_ends_it(
    name: str, ending: str, tmp_path: Path, root: Path
) -> None:
    """An nvidia-smi that speaks of a GPU gets the real tools started, which then find none."""
    need(name)
    (tmp_path / "bin").mkdir()
    old = SMI.replace("9.0, NVIDIA H200", "7.0, Tesla V100-SXM2-16GB").replace(
        "CUDA Version: 13.0", "CUDA Version: 11.8"
    )
    executable(tmp_path / "bin" / "nvidia-smi", old)
    folder = tmp_path / "measurements"
    output = folder / f"x.{ending}"
    environ = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    true = shutil.which("true") or "true"
    done = run_under(name, "-o", str(output), "--", true, folder=folder, root=root, environ=environ)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ds2prof: {name}: ")
    assert "no measurement was written" in last
    assert {path.name for path in folder.iterdir()} == {f"x.{ending}.log"}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("nsight", ["--kernel-name", "regex:(("], "Invalid regex provided to --kernel option"),
        ("nsight", ["--launch-count", "abc"], "(the argument ('abc') for option '--launch-count' is invalid)"),
        ("nsight", ["--replay-mode", "bogus"], "(the argument for option '--replay-mode' is invalid)"),
        (
            "nsight",
            ["--launch-count", "3", "--tool-option", "--launch-count=4"],
            "(option '--launch-count' cannot be specified more than once)",
        ),
        ("nsight", ["--tool-option", "--bogus"], "(unrecognised option '--bogus')"),
        ("nsys", ["--trace", "bogus"], "(Illegal --trace argument 'bogus')"),
        ("nsys", ["--tool-option", "--bogus"], "(unrecognised option '--bogus')"),
        (
            "nsys",
            ["--nvtx-domain-include", "a", "--nvtx-domain-exclude", "b"],
            "(Warning: Specify either an NVTX domain include or exclude list.)",
        ),
        ("nvprof", ["--tool-option", "--bogus"], "(Encountered invalid option : --bogus)"),
    ],
)
def test_what_a_tool_will_not_take_is_said_in_its_own_words(
    name: str, words: list[str], said: str, tmp_path: Path, root: Path
) -> None:
    need(name)
    (tmp_path / "bin").mkdir()
    machine = SMI if name != "nvprof" else SMI.replace("9.0, NVIDIA H200", "7.0, Tesla V100-SXM2-16GB")
    executable(tmp_path / "bin" / "nvidia-smi", machine.replace("CUDA Version: 13.0", "CUDA Version: 11.8"))
    ending = {"nsight": "csv", "nsys": "nsys-rep", "nvprof": "nvvp"}[name]
    environ = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    more = ["--window", "all", *words, "-o", str(tmp_path / f"x.{ending}"), "--", "true"]
    done = run_under(name, *more, folder=tmp_path, root=root, environ=environ)
    assert done.returncode == 1
    assert said in done.stderr.strip().splitlines()[-1]


def test_what_a_program_writes_under_nsys_reaches_the_next_one_byte_for_byte(tmp_path: Path, root: Path) -> None:
    need("nsys")
    printed = b"a\n\x00\xff Generated:\n Generating 'x'\nno end of a line"
    (tmp_path / "printed").write_bytes(printed)
    output = tmp_path / "x.nsys-rep"
    command = [sys.executable, "-m", "ds2prof", "run", "nsys", "--window", "all", "-o", str(output), "--"]
    program = ["bash", "-c", 'cat "$1"; echo trouble >&2', "_", str(tmp_path / "printed")]
    done = ended(lambda: subprocess.run([*command, *program], cwd=root, capture_output=True, check=False, timeout=240))
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "trouble"
    assert [line for line in lines[1:] if not line.startswith(str(output))] == []
