"""What this machine has, which profilers work on it, and what is said where one does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.capture.choosing import choose
from ds2prof.capture.launchers import LAUNCHERS, Launcher, find_importer, find_tool, launcher, tool_version
from ds2prof.capture.provenance import DEFAULT_PRECISION, option, window_of
from ds2prof.config import STEMS, Window
from ds2prof.doctor.checks import refusal
from ds2prof.machine import Machine, clocks, find_machine, visible
from tests.launch_support import (
    H200,
    NEW,
    NO_GPU,
    OLD,
    SMI,
    V100,
    executable,
    stand_ins,
)


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH begins with the stand-ins."""
    return stand_ins(tmp_path / "stand ins")


def test_nvprof_is_refused_on_ampere_and_newer() -> None:
    machine = replace(NEW, cuda="12.0")
    said = refusal(launcher("nvprof"), machine, tool="nvprof")
    assert said is not None
    assert "compute capability 8.0 and newer, and NVIDIA H200 has 9.0; use nsys" in said


def test_nvprof_is_refused_from_cuda_13_on() -> None:
    said = refusal(launcher("nvprof"), replace(OLD, cuda="13.0"), tool="nvprof")
    assert said is not None
    assert "from CUDA 13.0 on" in said


def test_nvprof_is_allowed_on_volta() -> None:
    assert refusal(launcher("nvprof"), OLD, tool="nvprof") is None


def test_nvprof_is_tried_where_the_compute_capability_is_unknown() -> None:
    machine = replace(OLD, gpus=(replace(V100, compute_capability=None),))
    assert refusal(launcher("nvprof"), machine, tool="nvprof") is None


def test_of_several_hidden_versions_the_newest_is_taken(tmp_path: Path) -> None:
    for version in ("9.2", "12.10", "12.4"):
        (tmp_path / f"cuda-{version}").mkdir()
        executable(tmp_path / f"cuda-{version}" / "ncu", "")
    declared = replace(launcher("nsight"), hides_in=("$NOT_SET/bin", f"{tmp_path}/cuda-*"))
    assert find_tool(declared, {"PATH": ""}) == str(tmp_path / "cuda-12.10" / "ncu")


def test_a_tool_that_says_no_version_has_none(tmp_path: Path) -> None:
    assert tool_version(launcher("nsight"), str(executable(tmp_path / "ncu", "#!/bin/sh\necho hello\n"))) is None


def auto(machine: Machine, environ: dict[str, str], *, readable: tuple[str, ...] = ("nsys_rep",)) -> str:
    chosen = choose(machine, readable=readable, environ=environ)
    return f"{chosen.name}: {chosen.reason}"


def test_auto_takes_torch_on_the_cpu_without_a_gpu(tools: dict[str, str]) -> None:
    assert "no NVIDIA GPU" in auto(NO_GPU, tools)
    assert choose(NO_GPU, readable=(), environ=tools).name == "torch"


def test_auto_takes_torch_where_nsys_lacks_its_importer(tools: dict[str, str]) -> None:
    assert "lacks its importer" in auto(NEW, tools)


def test_auto_takes_nsys_where_its_reports_can_be_made_and_read(tools: dict[str, str]) -> None:
    executable(Path(tools["PATH"].split(":")[0]) / "QdstrmImporter", "")
    assert auto(NEW, tools).startswith("nsys: ")


def test_auto_takes_torch_where_no_parser_reads_nsys(tools: dict[str, str]) -> None:
    executable(Path(tools["PATH"].split(":")[0]) / "QdstrmImporter", "")
    assert auto(NEW, tools, readable=("ncu_csv",)).startswith("torch: ")


@pytest.mark.parametrize("permitted", [True, False, None])
def test_auto_speaks_of_counters_only_where_they_are_permitted(permitted: bool | None, tools: dict[str, str]) -> None:
    machine = replace(NEW, counters_permitted=permitted)
    assert choose(machine, readable=(), environ=tools).counters is (permitted is True)


def test_the_machine_is_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "nvidia-smi", SMI)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    machine = find_machine({}, proc=tmp_path)
    assert machine == Machine(gpus=(replace(H200, memory_bytes=143771 << 20),), driver="580.1.2", cuda="13.0")
    assert clocks() == [
        {
            "ordinal": 0,
            "sm_clock_hz": 1_980_000_000,
            "memory_clock_hz": 3_201_000_000,
            "max_sm_clock_hz": None,
            "temperature_c": 31,
        }
    ]


def test_an_old_nvidia_smi_leaves_the_compute_capability_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = '#!/bin/sh\ncase "$*" in *compute_cap*) exit 2;; *name*) echo "0, GPU-1, 16160, Tesla V100";; esac\n'
    executable(tmp_path / "nvidia-smi", old)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_machine({}, proc=tmp_path).gpus[0].compute_capability is None


def test_without_nvidia_smi_the_kernel_module_names_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    gpu = tmp_path / "driver" / "nvidia" / "gpus" / "0000:01:00.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t\t NVIDIA H200\nGPU UUID: \t GPU-0a1b\n")
    (tmp_path / "driver" / "nvidia" / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5\n"
    )
    machine = find_machine({}, proc=tmp_path)
    assert [(each.name, each.uuid) for each in machine.gpus] == [("NVIDIA H200", "GPU-0a1b")]
    assert machine.driver == "550.54.15"


def test_hidden_devices_are_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "nvidia-smi", SMI)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_machine({"CUDA_VISIBLE_DEVICES": ""}, proc=tmp_path).gpus == ()


@pytest.mark.parametrize(
    ("choice", "ordinals"),
    [(None, [0, 1]), ("1", [1]), ("1,0", [1, 0]), ("GPU-2", [1]), ("0,-1,1", [0]), ("-1", []), ("", [])],
)
def test_visible_devices_are_taken_in_order_up_to_the_first_that_is_none(
    choice: str | None, ordinals: list[int]
) -> None:
    gpus = (V100, replace(H200, ordinal=1))
    assert [gpu.ordinal for gpu in visible(gpus, choice)] == ordinals


@pytest.mark.parametrize(
    ("admin_only", "capabilities", "permitted"),
    [
        ("0", "0000000000000000", True),
        ("1", "0000000000000000", False),
        ("1", "000001ffffffffff", True),
        ("1", "0000000000200000", True),
        ("1", "00000000a80425fb", False),
        (None, "0000000000000000", None),
    ],
)
def test_counters_are_permitted_to_all_or_to_administrators(
    admin_only: str | None, capabilities: str, permitted: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(tmp_path / "nvidia-smi", SMI)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")
    if admin_only is not None:
        (tmp_path / "driver" / "nvidia").mkdir(parents=True)
        (tmp_path / "driver" / "nvidia" / "params").write_text(f"Other: 3\nRmProfilingAdminOnly: {admin_only}\n")
    assert find_machine({}, proc=tmp_path).counters_permitted is permitted


@given(before=st.lists(st.sampled_from(["--a", "1", "--b=2"])), value=st.text(min_size=1), after=st.just(["-x"]))
def test_the_last_value_of_an_option_counts(before: list[str], value: str, after: list[str]) -> None:
    assert option([*before, "--a", value, *after], "--a") == value
    assert option([*before, f"--a={value}", *after], "--a") == value


def test_the_environment_decides_the_window_before_the_options() -> None:
    program = ["python", "train_profiling.py", "--profile-start", "10", "--profile-stop", "20"]
    assert window_of(program, {}) == Window(10, 20)
    assert window_of(program, {"DS2PROF_PROFILE_STOP": "12"}) == Window(10, 12)
    assert window_of(["python", "train_profiling.py", "--window", "tbd-nsight"], {}) == Window(1, 2)
    assert window_of(["python", "other.py", "--profile-start", "1", "--profile-stop", "2"], {}) is None


def test_the_assumed_precision_is_the_training_scripts_default(root: Path) -> None:
    asked = [sys.executable, "train_profiling.py", "--help"]
    text = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=True).stdout
    section = " ".join(text.split("--precision")[1].split("--")[0].split())
    assert f"[default: {DEFAULT_PRECISION}]" in section


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_launcher_is_declared_in_full(name: str, root: Path) -> None:
    declared = yaml.safe_load((root / "profilers" / f"{name}.yaml").read_text())
    assert set(declared) <= {field.name for field in fields(Launcher)}
    known = launcher(name)
    assert known.name == name
    assert known.stem == STEMS[name]
    assert (root / "profilers" / f"{name}.sh").is_file()
    assert bool(known.tools) == bool(known.install)


def test_the_folder_of_launchers_holds_no_more_than_the_registry(root: Path) -> None:
    assert {path.stem for path in (root / "profilers").iterdir() if path.suffix in (".sh", ".yaml")} == set(LAUNCHERS)


def test_the_importer_of_the_nsys_inside_nsight_compute_is_found_in_its_desktop_folder(tmp_path: Path) -> None:
    host = tmp_path / "nsight-compute" / "2022.3" / "host"
    for folder in ("target-linux-x64", "linux-desktop-glibc_2_11_3-x64"):
        (host / folder).mkdir(parents=True)
    tool = executable(host / "target-linux-x64" / "nsys", "#!/bin/sh\n")
    importer = launcher("nsys").importer
    assert importer is not None
    assert find_importer(replace(importer, tool="Importer-of-a-test"), str(tool)) is None
    made = executable(host / "linux-desktop-glibc_2_11_3-x64" / "Importer-of-a-test", "#!/bin/sh\n")
    assert find_importer(replace(importer, tool="Importer-of-a-test"), str(tool)) == str(made.resolve())
