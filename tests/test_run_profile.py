"""``run_profile.sh``: what it refuses, which Python it takes, and the sweep that it starts."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ds2prof.cli import run_profile
from ds2prof.launch import InterruptedCaptureError
from ds2prof.machine import Machine
from ds2prof.measurements import read_sidecar
from tests.launch_support import NEW, NO_GPU, OLD, TRAINING, executable, stand_ins

# Prints its arguments where the real one would run the sweep; says what it lacks when it is asked for that.
FAKE_PYTHON = """#!/usr/bin/env bash
case ${2:-} in
    *find_spec*) echo "${FAKE_LACKS:-}" ;;
    *) shift 2; echo "$0 runs: $*" ;;
esac
"""
FAKE_ENVIRONMENT = """#!/usr/bin/env bash
echo "environment $2" >&2
mkdir -p "$1/bin"
cp "$FAKE_SOURCE" "$1/bin/python"
"""


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A project that holds ``run_profile.sh``, and stand-ins for all that it would start."""
    project = tmp_path / "a project"
    (project / "scripts").mkdir(parents=True)
    executable(project / "run_profile.sh", (root / "run_profile.sh").read_text())
    executable(project / "scripts" / "environment.sh", FAKE_ENVIRONMENT)
    executable(tmp_path / "stand-in", FAKE_PYTHON)
    return project


def shell(project: Path, *arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """``run_profile.sh``, where no Python is active or named unless ``environ`` says so."""
    plain = {
        "PATH": "/usr/bin:/bin",
        "FAKE_SOURCE": str(project.parent / "stand-in"),
        "HOME": str(project.parent),
        "VIRTUAL_ENV": str(project.parent / "none"),
    }
    return subprocess.run(
        ["bash", str(project / "run_profile.sh"), *arguments],
        env={**plain, **environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["--bogus"],
        ["torch", "--iterations", "5"],
        ["torch", "nsys"],
        ["--batch-sizes"],
        ["--batch-sizes", ""],
        ["--batch-sizes", "4 0"],
        ["--batch-sizes=4 x"],
        ["--tag", "a/b"],
    ],
)
def test_what_is_unknown_is_refused_before_anything_is_done(arguments: list[str], project: Path) -> None:
    done = shell(project, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("run_profile.sh: ")
    assert done.stderr.count("\n") == 1
    assert not (project / ".venv").exists()


def test_help_needs_no_python(project: Path) -> None:
    done = shell(project, "--help")
    assert done.returncode == 0
    assert "usage: bash run_profile.sh" in done.stdout
    assert not (project / ".venv").exists()


def test_every_mode_is_in_the_help(project: Path) -> None:
    text = shell(project, "--help").stdout
    (modes,) = [part for option in run_profile.command.params if option.name == "mode" for part in [option.type]]
    assert all(f"\n  {name} " in text for name in modes.to_info_dict()["choices"])


def test_the_named_python_is_used_as_it_is(project: Path) -> None:
    python = executable(project.parent / "my python", FAKE_PYTHON)
    done = shell(project, "torch", "--tag", "a", "--", "--seed", "2", DS2PROF_PYTHON=str(python))
    assert done.stdout == f"{python} runs: {project} torch --tag a -- --seed 2\n"
    assert done.stderr == ""


def test_a_named_python_that_lacks_something_is_refused(project: Path) -> None:
    python = executable(project.parent / "my python", FAKE_PYTHON)
    done = shell(project, DS2PROF_PYTHON=str(python), FAKE_LACKS="torch, click")
    assert done.returncode == 1
    assert "lacks torch, click" in done.stderr
    assert not (project / ".venv").exists()


def test_an_active_python_that_has_what_is_needed_is_used_as_it_is(project: Path) -> None:
    active = project.parent / "active"
    (active / "bin").mkdir(parents=True)
    python = executable(active / "bin" / "python", FAKE_PYTHON)
    done = shell(project, "nsys", VIRTUAL_ENV=str(active))
    assert done.stdout == f"{python} runs: {project} nsys\n"


def test_without_a_python_an_environment_is_made(project: Path) -> None:
    folder = project.parent / "bin"
    folder.mkdir()
    executable(folder / "python3", FAKE_PYTHON)
    done = shell(project, "torch", PATH=f"{folder}:/usr/bin:/bin", FAKE_LACKS="torch")
    assert done.stderr == "environment train\n"
    assert done.stdout == f"{project}/.venv/bin/python runs: {project} torch\n"


def test_printing_commands_needs_no_pytorch(project: Path) -> None:
    folder = project.parent / "bin"
    folder.mkdir()
    executable(folder / "python3", FAKE_PYTHON)
    done = shell(project, "torch", "--dry-run", PATH=f"{folder}:/usr/bin:/bin", FAKE_LACKS="torch")
    assert done.stderr == "environment \n"


def test_an_environment_that_cannot_be_made_ends_it(project: Path) -> None:
    executable(project / "scripts" / "environment.sh", "#!/bin/sh\nexit 1\n")
    folder = project.parent / "bin"
    folder.mkdir()
    executable(folder / "python3", FAKE_PYTHON)
    done = shell(project, PATH=f"{folder}:/usr/bin:/bin", FAKE_LACKS="torch")
    assert (done.returncode, done.stdout) == (1, "")


def test_it_runs_through_a_link_and_beside_another_ds2prof(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="missing tool: torch")
    (tmp_path / "ds2prof").mkdir()
    (tmp_path / "ds2prof" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    link = tmp_path / "linked.sh"
    link.symlink_to(root / "run_profile.sh")
    environ = {**os.environ, "DS2PROF_PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(link), "torch", "--dry-run"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(root / "train_profiling.py") in shlex.split(done.stdout)


class Sweeps:
    """The sweep in this process, with stand-ins for tools, training and summary."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.root = tmp_path / "root"
        self.root.mkdir()
        (self.root / "train_profiling.py").write_text(TRAINING)
        self.folder = self.root / "measurements"
        self.answered: list[list[str]] = []
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        self.tools = stand_ins(tmp_path / "stand ins")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PATH", self.tools["PATH"])
        monkeypatch.setattr(run_profile, "ROOT", self.root)
        monkeypatch.setattr(run_profile, "package_version", lambda name: "2.13.0")
        monkeypatch.setattr(run_profile, "_answered", lambda cli, arguments: self.answered.append(arguments))

    def __call__(self, *arguments: str, machine: Machine = OLD) -> tuple[int, str, str]:
        self._monkeypatch.setattr(run_profile, "find_machine", lambda: machine)
        code = run_profile.main(arguments)
        out, err = self._capfd.readouterr()
        return code, out, err

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweeps:
    for name in ("DS2PROF_PROFILE_START", "DS2PROF_PROFILE_STOP", "DS2PROF_MEASUREMENTS"):
        monkeypatch.delenv(name, raising=False)
    return Sweeps(tmp_path, monkeypatch, capfd)


def test_a_sweep_leaves_one_measurement_for_each_batch_size(sweep: Sweeps) -> None:
    code, _, said = sweep("nsight", "--batch-sizes", "4 8")
    assert code == 0
    names = {"nsight_bs4.csv", "nsight_bs8.csv"}
    assert sweep.names() == names | {f"{name}.meta.json" for name in names}
    assert "[1/2] nsight, batch 4: iteration 10 -> root/measurements/nsight_bs4.csv\n" in said
    assert "[2/2] nsight, batch 8: iteration 10 -> root/measurements/nsight_bs8.csv\n" in said


def test_each_measurement_gets_its_tables_and_all_of_them_one_summary(sweep: Sweeps) -> None:
    _, printed, _ = sweep("nsight", "--batch-sizes", "4 8")
    files = ["root/measurements/nsight_bs4.csv", "root/measurements/nsight_bs8.csv"]
    assert sweep.answered == [*(["parse", file, "--top", "12"] for file in files), ["summary", *files]]
    assert "training" not in printed


def test_the_tables_of_a_timeline_begin_with_its_phases(sweep: Sweeps) -> None:
    sweep("torch", machine=NO_GPU)
    file = "root/measurements/torch_bs4.json.gz"
    assert sweep.answered == [
        ["parse", file, "--by", "phase", "--top", "12"],
        ["parse", file, "--top", "12"],
        ["summary", file],
    ]


def test_several_batch_sizes_end_with_their_page_and_their_sweep(sweep: Sweeps) -> None:
    _, printed, _ = sweep("nsight", "--batch-sizes", "4 8")
    files = "root/measurements/nsight_bs4.csv root/measurements/nsight_bs8.csv"
    assert f"\n  ds2prof report {files} -o report.html\n" in printed
    assert f"\n  ds2prof sweep {files}\n" in printed


@pytest.mark.parametrize("installed", [True, False])
def test_a_shell_that_does_not_find_ds2prof_is_told_how_to_call_it(installed: bool, tmp_path: Path) -> None:
    folder = tmp_path / "my environment" / "bin"
    folder.mkdir(parents=True)
    if installed:
        for name in ("activate", "ds2prof"):
            (folder / name).touch()
    told = run_profile._how_to_call(folder / "python")
    assert told.startswith(f"first type: . '{folder}/activate'" if installed else f"'{folder}/python' -m ds2prof ")


def test_a_shell_that_finds_ds2prof_is_told_nothing(sweep: Sweeps) -> None:
    executable(Path(sweep.tools["PATH"].split(os.pathsep)[0]) / "ds2prof", "#!/bin/sh\n")
    _, printed, _ = sweep("torch", machine=NO_GPU)
    assert "on the path" not in printed


def test_files_that_cannot_be_read_yet_are_said_to_be_so(sweep: Sweeps) -> None:
    code, printed, _ = sweep("nvprof", "--batch-sizes", "4")
    assert code == 0
    assert re.fullmatch(
        r"\S+/profile_\d+_bs4\.nvvp: this version of ds2prof does not read nvprof's files; .*\n", printed
    )
    assert sweep.answered == []


def test_a_batch_size_that_fails_does_not_keep_the_others_from_being_captured(sweep: Sweeps) -> None:
    failing = sweep.root / "train_profiling.py"
    failing.write_text(TRAINING + "if value('--batch-size') == '8': sys.exit('out of memory')\n")
    code, _, said = sweep("nsight", "--batch-sizes", "4 8 16")
    assert code == 1
    assert {name for name in sweep.names() if name.endswith(".csv")} == {"nsight_bs4.csv", "nsight_bs16.csv"}
    assert "batch 8: nsight: the program ended with exit code 1 (out of memory)" in said
    assert said.endswith("run_profile.sh: 1 of 3 captures failed; see above\n")
    assert sweep.answered[-1] == ["summary", "root/measurements/nsight_bs4.csv", "root/measurements/nsight_bs16.csv"]


def test_an_existing_measurement_of_the_sweep_is_refused_before_the_first_capture(sweep: Sweeps) -> None:
    sweep.folder.mkdir()
    (sweep.folder / "nsight_bs8.csv").write_text("precious")
    code, _, said = sweep("nsight", "--batch-sizes", "4 8")
    assert code == 1
    assert said.startswith("run_profile.sh: root/measurements/nsight_bs8.csv: exists already")
    assert sweep.names() == {"nsight_bs8.csv"}


def test_a_tag_makes_room_beside_an_existing_measurement(sweep: Sweeps) -> None:
    sweep("nsight", "--batch-sizes", "4")
    code, _, _ = sweep("nsight", "--batch-sizes", "4", "--tag", "again")
    assert code == 0
    facts = read_sidecar(sweep.folder / "nsight_bs4_again.csv")
    assert facts is not None
    assert facts["tag"] == "again"


def test_force_replaces_what_is_there(sweep: Sweeps) -> None:
    sweep.folder.mkdir()
    (sweep.folder / "nsight_bs4.csv").write_text("old")
    code, _, _ = sweep("nsight", "--batch-sizes", "4", "--force")
    assert code == 0
    assert "ID" in (sweep.folder / "nsight_bs4.csv").read_text()


def test_without_arguments_the_time_is_the_tag(sweep: Sweeps) -> None:
    code, _, said = sweep(machine=NO_GPU)
    assert code == 0
    assert said.startswith("auto: torch: no NVIDIA GPU is visible here")
    (name,) = [name for name in sweep.names() if name.endswith(".json.gz")]
    assert re.fullmatch(r"torch_bs4_\d{8}-\d{6}\.json\.gz", name)


def test_training_options_come_last(sweep: Sweeps) -> None:
    _, printed, _ = sweep("nsight", "--batch-sizes", "4", "--dry-run", "--", "--preset", "tiny", "--layers")
    words = shlex.split(printed)
    assert words[words.index("--preset") + 1] == "tbd"
    assert words[-5:] == ["--preset", "tiny", "--layers", "--profiler", "external"]


@pytest.mark.parametrize("option", ["--batch-size=7", "--output", "--profiler", "--tag=x"])
def test_training_options_that_the_mode_decides_are_refused(option: str, sweep: Sweeps) -> None:
    code, _, said = sweep("torch", "--", option, "7")
    assert code == 2
    assert said.startswith(f"run_profile.sh: {option.partition('=')[0]}: ")


def test_a_window_named_in_the_training_options_replaces_the_default(sweep: Sweeps) -> None:
    _, printed, _ = sweep("nsight", "--batch-sizes", "4", "--dry-run", "--", "--window", "tbd-nsight")
    assert "--profile-start" not in printed


def test_the_window_of_the_environment_is_the_one_announced(sweep: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS2PROF_PROFILE_START", "2")
    monkeypatch.setenv("DS2PROF_PROFILE_STOP", "3")
    _, _, said = sweep("nsight", "--batch-sizes", "4")
    assert "iteration 2 ->" in said
    facts = read_sidecar(sweep.folder / "nsight_bs4.csv")
    assert facts is not None
    assert facts["window"] == {"start": 2, "stop": 3}


def test_a_dry_run_prints_the_sweep_of_a_gpu_machine_without_tool_or_gpu(
    sweep: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ds2prof.launch.find_tool", lambda declared, environ: None)
    code, printed, _ = sweep("nsight", "--dry-run", machine=NO_GPU)
    assert code == 0
    lines = [shlex.split(line) for line in printed.splitlines()]
    assert [line[line.index("--batch-size") + 1] for line in lines] == ["4", "8", "16", "24", "32"]
    assert all(line[:3] == ["env", "LC_ALL=C", "ncu"] for line in lines)
    assert sweep.names() == set()


def test_a_missing_tool_is_one_line_and_leaves_nothing(sweep: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ds2prof.launch.find_tool", lambda declared, environ: None)
    code, printed, said = sweep("nsys")
    assert (code, printed, said.count("\n")) == (1, "", 1)
    assert said.startswith("run_profile.sh: nsys: nsys is not on this machine; ")
    assert sweep.names() == set()


def test_a_missing_gpu_is_one_line_and_leaves_nothing(sweep: Sweeps) -> None:
    code, printed, said = sweep("nsight", machine=NO_GPU)
    assert (code, printed, said.count("\n")) == (1, "", 1)
    assert "no NVIDIA GPU is visible here" in said
    assert sweep.names() == set()


def test_training_that_is_told_to_stay_off_the_gpu_gets_the_defaults_without_one(sweep: Sweeps) -> None:
    _, printed, _ = sweep("torch", "--dry-run", "--", "--device", "cpu", machine=NEW)
    assert "--preset tiny --batch-size 4" in printed
    assert printed.count("\n") == 1


def test_a_gpu_gets_the_big_sweep(sweep: Sweeps) -> None:
    _, printed, _ = sweep("torch", "--dry-run", machine=NEW)
    assert printed.count("--preset tbd") == 5
    assert "--profile-start 100 --profile-stop 200" in printed


def test_a_gpu_is_no_use_to_a_pytorch_without_cuda(sweep: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_profile, "package_version", lambda name: "2.13.0+cpu")
    _, printed, said = sweep("torch", "--dry-run", machine=NEW)
    assert "PyTorch 2.13.0+cpu is built for the CPU, so the GPU stays unused" in said
    assert "--preset tiny" in printed


def test_an_interrupted_sweep_starts_no_further_capture(sweep: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def interrupted(planned: object, **_: object) -> None:
        started.append(planned)
        raise InterruptedCaptureError("nsight: SIGTERM ended it early", signum=signal.SIGTERM)

    monkeypatch.setattr(run_profile, "capture", interrupted)
    code, _, said = sweep("nsight", "--batch-sizes", "4 8")
    assert (code, len(started)) == (143, 1)
    assert said.endswith("run_profile.sh: nsight: SIGTERM ended it early\n")


@pytest.mark.slow
def test_typed_twice_without_arguments_it_prints_where_the_time_went(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="missing tool: torch")
    environ = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "DS2PROF_PYTHON": sys.executable,
        "DS2PROF_MEASUREMENTS": str(tmp_path / "my measurements"),
        "DS2PROF_PROFILE_START": "1",
        "DS2PROF_PROFILE_STOP": "2",
    }
    for _ in range(2):
        done = subprocess.run(
            ["bash", str(root / "run_profile.sh")],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "backward" in done.stdout
        assert "aten::" in done.stdout
        assert "Longest operators" in done.stdout
        assert "ds2prof report " in done.stdout
        assert "-o report.html\n" in done.stdout
    assert len(list((tmp_path / "my measurements").glob("torch_bs4_*.json.gz"))) == 2


def test_a_rank_writes_into_a_file_of_its_own(root: Path) -> None:
    who = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "DS2PROF_PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "run_profile.sh", "torch", "--dry-run"],
        cwd=root, env={**os.environ, **who}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith("torch_bs4_rank1.json.gz")
