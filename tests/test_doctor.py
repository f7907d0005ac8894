"""``ds2prof doctor``: what it finds on machines in all sorts of condition, and how it says so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ds2prof.capture.launchers import LAUNCHERS, launcher
from ds2prof.cli.doctor import command
from ds2prof.doctor import SCHEMA, Report, examine
from ds2prof.doctor import examination as conditions
from ds2prof.doctor.examination import Place, condition
from ds2prof.doctor.finding import Finding
from ds2prof.doctor.installed import copies, toolkits
from ds2prof.machine import find_machine
from ds2prof.machine import nvidia_smi as smi
from ds2prof.machine.surroundings import Disk
from ds2prof.report.diagnosis import diagnosis
from tests.launch_support import executable, stand_ins
from tests.smi_support import MISMATCH, NO_DRIVER, FakeGpu, Tree, failing, nvidia_smi, tree

STATUSES = {"ok", "warn", "fail", "unknown"}
MIG = FakeGpu(mig="Enabled", slices=(("1g.10gb", 16), ("1c.3g.40gb", 16)))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the PATH begins with."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "bin"


@pytest.fixture
def box(tmp_path: Path) -> Tree:
    return tree(tmp_path / "root")


def place(box: Tree, **environ: str) -> Place:
    told = {**os.environ, **environ}
    return Place(find_machine(told, proc=box.proc), told, box.root, box.proc)


def findings(box: Tree, subject: str, **environ: str) -> list[Finding]:
    return [found for found in condition(place(box, **environ)) if found.subject == subject]


def examined(box: Tree, *names: str, **environ: str) -> Report:
    at = place(box, **environ)
    return examine(at.machine, names or LAUNCHERS, folder=box.root, environ=at.environ, proc=box.proc)


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def works(report: Report) -> dict[str, str]:
    return {capture.launcher.name: capture.works for capture in report.captures}


@pytest.mark.parametrize(
    ("said", "module", "status", "words"),
    [
        (None, None, "warn", "no NVIDIA driver is loaded"),
        (NO_DRIVER, None, "warn", "couldn't communicate with the NVIDIA driver"),
        (MISMATCH, "535.54.03", "fail", "do not fit its loaded kernel module 535.54.03"),
        (None, "535.54.03", "warn", "535.54.03 is loaded, but nvidia-smi is not here"),
        ("No devices were found\n", "535.54.03", "fail", "nvidia-smi fails (No devices were found)"),
        ("Failed to initialize NVML: Insufficient Permissions\n", "535.54.03", "fail", "Insufficient Permissions"),
    ],
)
def test_a_driver_in_trouble_is_told_with_what_to_do(
    said: str | None,
    module: str | None,
    status: str,
    words: str,
    tools: Path,
    box: Tree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if said is None:
        monkeypatch.setenv("PATH", str(tools))
    else:
        failing(tools, said)
    if module is not None:
        box.with_driver(module)
    (found,) = [each for each in findings(box, "driver") if each.id == "driver"]
    assert found.status == status
    assert words in found.what
    assert found.do


def test_a_hanging_nvidia_smi_is_a_finding(tools: Path, box: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.mkdir()
    executable(tools / "nvidia-smi", "#!/bin/sh\nsleep 600\n")
    monkeypatch.setattr(smi, "LIMIT_S", 0.3)
    (found,) = findings(box, "driver")
    assert found.status == "fail"
    assert "nvidia-smi does not answer" in found.what


@pytest.mark.parametrize(
    ("name", "capability", "words"),
    [
        (
            "NVIDIA H100 80GB HBM3",
            "9.0",
            "chip GH100, compute capability 9.0, 85.5 GB, MIG off, SM clock 345 of 1,980 MHz",
        ),
        ("NVIDIA GeForce RTX 3060", "8.6", "chip GA102 or GA103 or GA104 or GA106 or GA107"),
        ("NVIDIA Something", "13.0", "chip unknown, compute capability 13.0"),
    ],
)
def test_a_gpu_is_told_with_its_chip_and_state(name: str, capability: str, words: str, tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu(name=name, capability=capability))
    found = findings(box, "gpu 0")[0]
    assert words in found.what
    assert "700 W, 31 C, persistence on" in found.what
    assert found.facts["state"]["max_sm_clock_hz"] == 1_980_000_000


def test_slices_of_a_divided_gpu_are_told_with_their_sms(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, MIG)
    assert "MIG 1g.10gb (16 SMs), 1c.3g.40gb (16 SMs)" in findings(box, "gpu 0")[0].what


@pytest.mark.parametrize(
    ("gpu", "check", "words"),
    [
        (FakeGpu(hot=True), "clocks", "held down (hw_thermal_slowdown)"),
        (FakeGpu(watts="500.00"), "power-limit", "500 W, below the usual 700 W"),
        (FakeGpu(application="1200 MHz"), "application-clocks", "set to 1,200 MHz (the default is 1,980 MHz)"),
        (FakeGpu(processes=((7, "C", "python"),)), "occupied", "python (7)"),
        (FakeGpu(compute_mode="Exclusive_Process"), "compute-mode", "Exclusive_Process"),
    ],
)
def test_what_makes_durations_differ_is_told_of_each_gpu(
    gpu: FakeGpu, check: str, words: str, tools: Path, box: Tree
) -> None:
    nvidia_smi(tools, FakeGpu(), gpu)
    assert [found.id for found in findings(box, "gpu 0")] == ["gpu"]
    found = findings(box, "gpu 1")
    assert [each.id for each in found] == ["gpu", check]
    assert words in found[1].what
    assert found[1].status == "warn"


def test_numbers_of_unlike_gpus_are_said_to_depend_on_the_order(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu(), FakeGpu(name="NVIDIA A100-SXM4-80GB", capability="8.0"))
    (unsure,) = findings(box, "gpus", CUDA_VISIBLE_DEVICES="0")
    (sure,) = findings(box, "gpus", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert (unsure.status, sure.status) == ("warn", "ok")
    assert unsure.do == "export CUDA_DEVICE_ORDER=PCI_BUS_ID"
    assert "leaves 0 of 2 GPUs" in sure.what


@pytest.mark.parametrize(("container", "remedy"), [(False, "nvidia-modprobe -u -c 0"), (True, "--gpus all")])
def test_missing_device_files_are_named(container: bool, remedy: str, tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu())
    box.with_driver()
    assert [found.id for found in findings(box, "driver")] == ["driver"]
    (box.root / "dev" / "nvidia-uvm").unlink()
    if container:
        box.write(".dockerenv")
    found = findings(box, "driver")[1]
    assert (found.id, found.status) == ("device-files", "fail")
    assert "/dev/nvidia-uvm is missing" in found.what
    assert remedy in str(found.do)


def test_device_files_of_others_are_named(tools: Path, box: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tools, FakeGpu())
    box.with_driver()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "nvidia0" not in str(path) and real(path, mode))
    found = findings(box, "driver")[1]
    assert "/dev/nvidia0 cannot be opened by this user" in found.what


def test_forbidden_counters_are_told_in_the_words_of_a_capture(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu())
    report = examined(box.with_driver(), "nsight")
    machine = next(found for found in report.machine if found.id == "counters")
    capture = next(found for found in report.captures[0].findings if found.id == "counters")
    assert (machine.status, capture.status) == ("fail", "fail")
    assert machine.do == capture.do
    assert "NVreg_RestrictProfilingToAdminUsers=0" in str(machine.do)


def test_who_holds_counters_is_told(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu())
    box.with_driver(admin_only=0).running(41, "nv-hostengine")
    assert [found.id for found in findings(box, "counters")] == ["counters", "counters.held"]


def test_every_copy_of_a_profiler_is_told_with_its_version(tmp_path: Path) -> None:
    for version in ("2023.1", "2024.3"):
        (tmp_path / f"cuda-{version}").mkdir()
        executable(tmp_path / f"cuda-{version}" / "ncu", f"#!/bin/sh\necho Version {version}.0\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ncu").symlink_to(tmp_path / "cuda-2023.1" / "ncu")
    declared = replace(launcher("nsight"), hides_in=(f"{tmp_path}/cuda-*",))
    found = copies(declared, {"PATH": str(tmp_path / "bin")})
    assert [(each.version, each.on_path) for each in found] == [("2023.1.0", True), ("2024.3.0", False)]


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}', "12.4.1"),
        ("version.txt", "CUDA Version 10.2.89\n", "10.2.89"),
        ("version.json", "{broken", "11.8"),
    ],
)
def test_a_toolkit_says_its_version_in_one_of_three_ways(name: str, text: str, version: str, tmp_path: Path) -> None:
    (tmp_path / "cuda" / "bin").mkdir(parents=True)
    executable(tmp_path / "cuda" / "bin" / "nvcc", "#!/bin/sh\necho 'release 11.8, V11.8.89'\n")
    (tmp_path / "cuda" / name).write_text(text)
    (tmp_path / "cuda-link").symlink_to(tmp_path / "cuda")
    found = toolkits({"PATH": ""}, places=(f"{tmp_path}/cuda", f"{tmp_path}/cuda-*"))
    assert [(kit.path, kit.version) for kit in found] == [(str(tmp_path / "cuda"), version)]


def test_the_python_named_in_the_environment_is_the_one_looked_at(tools: Path, box: Tree) -> None:
    (found,) = findings(box, "python", DS2PROF_PYTHON=sys.executable)
    assert sys.executable in found.what
    assert found.facts["packages"]["numpy"]
    (missing,) = findings(box, "python", DS2PROF_PYTHON="/no/such/python")
    assert (missing.status, missing.what) == ("fail", "/no/such/python does not answer")


def test_little_room_is_told(tools: Path, box: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(folder: Path, **_: Any) -> Disk:
        return Disk(folder, 64 << 20, folder.name == "shm", True)

    monkeypatch.setattr(conditions.surroundings, "disk_of", small)
    found = findings(box, "disk")
    assert [(each.id, each.status) for each in found] == [
        ("disk.measurements", "warn"),
        ("disk.temporary", "warn"),
        ("disk.shared", "warn"),
    ]
    assert "--shm-size" in str(found[2].do)


def test_captures_work_partly_or_not_at_all(tools: Path, box: Tree) -> None:
    stand_ins(tools)
    executable(tools / "ncu", '#!/bin/sh\ncase "$1" in --list-chips) echo gh100;; *) echo Version 2025.1.0.0;; esac\n')
    executable(tools / "QdstrmImporter", "")
    nvidia_smi(tools, MIG)
    found = works(examined(box.with_driver(admin_only=0), "nsight", "nsys", "nvprof"))
    assert found == {"nsight": "partly", "nsys": "yes", "nvprof": "no"}


def test_a_passing_warning_leaves_a_capture_working_and_is_said_once(tools: Path, box: Tree) -> None:
    stand_ins(tools)
    executable(tools / "QdstrmImporter", "")
    nvidia_smi(tools, FakeGpu(processes=((7, "C", "a rival"),)))
    report = examined(box.with_driver(), "nsys")
    assert works(report) == {"nsys": "yes"}
    assert diagnosis(report, width=100).count("a rival") == 1
    assert str(report.document).count("a rival (7)") == 2


@pytest.mark.parametrize("width", [80, 200])
def test_the_text_fits_the_terminal(width: int, tools: Path, box: Tree) -> None:
    nvidia_smi(tools, replace(MIG, hot=True, watts="500.00"), FakeGpu(processes=((7, "C", "python"),)))
    box.with_driver().write(".dockerenv").running(41, "nv-hostengine")
    text = diagnosis(examined(box), width=width, auto="takes torch: because")
    long = [line for line in text.splitlines() if len(line) > width]
    assert [line for line in long if len(line.split()) > 2] == []  # a path stays whole
    assert [line for line in text.splitlines() if line and not line.startswith(" ")] == [
        "This machine",
        "Ways to capture",
        "What to use here",
    ]


def test_a_remedy_is_said_once(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu())
    text = " ".join(diagnosis(examined(box.with_driver(), "nsight", "nvprof"), width=100).split())
    assert text.count("/etc/modprobe.d/nvidia-profiling.conf") == 1
    assert text.count("use nsys for the timeline") == 1


def test_names_from_outside_cannot_steer_the_terminal(tools: Path, box: Tree) -> None:
    stand_ins(tools)
    nvidia_smi(tools, FakeGpu())
    box.with_driver().write("etc/os-release", 'PRETTY_NAME="evil\x1b[2J"\n')
    report = examined(box, "torch")
    assert "\x1b" not in diagnosis(report, width=80)
    assert "\x1b[3" in diagnosis(report, width=80, colour=True)


def test_json_has_the_documented_fields(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, MIG, FakeGpu())
    document = json.loads(json.dumps(examined(box.with_driver()).document))
    assert document["schema"] == SCHEMA == "ds2prof-doctor/1"
    assert set(document) == {"schema", "findings", "captures"}
    for found in document["findings"]:
        assert set(found) == {"id", "subject", "status", "what", "do", "facts"}
        assert found["status"] in STATUSES
    assert list(document["captures"]) == list(LAUNCHERS)
    for capture in document["captures"].values():
        assert set(capture) == {"works", "title", "gives", "tool", "version", "why", "do"}
        assert capture["works"] in ("yes", "partly", "no")
        assert (capture["why"] is None) is (capture["works"] == "yes")
    keys = [(found["id"], found["subject"]) for found in document["findings"]]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        ((), 0, ""),
        (("smi",), 0, ""),
        (("nsight",), 1, "ds2prof: nsight: does not work on this machine\n"),
        (("torch", "nsight", "nvprof"), 1, "ds2prof: nsight, nvprof: do not work on this machine\n"),
    ],
)
def test_the_exit_code_speaks_of_the_profilers_that_were_named(
    names: tuple[str, ...], code: int, said: str, tools: Path, root: Path
) -> None:
    failing(tools, NO_DRIVER)
    done = subprocess.run(
        [sys.executable, "-m", "ds2prof", "doctor", *names], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (code, said)
    assert "no NVIDIA GPU is visible here" in done.stdout


def test_an_unknown_profiler_is_wrong_usage() -> None:
    assert cli("perf").exit_code == 2


def test_json_on_the_command_line_is_one_object_of_what_was_asked(tools: Path) -> None:
    failing(tools, NO_DRIVER)
    document = json.loads(cli("--format", "json", "torch", "torch").output)
    assert list(document["captures"]) == ["torch"]


def test_the_doctor_loads_neither_torch_nor_a_gpu_library(root: Path) -> None:
    code = (
        "import sys; from ds2prof.cli import cli; cli.main(['doctor'], standalone_mode=False)\n"
        "maps = open('/proc/self/maps').read()\n"
        "print([name for name in ('torch', 'pandas', 'matplotlib') if name in sys.modules],"
        " [name for name in ('libcuda', 'libnvidia-ml', 'libtorch') if name in maps])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] []"


def test_every_finding_is_documented(root: Path) -> None:
    table = (root / "docs" / "DOCTOR.md").read_text(encoding="utf-8")
    modules = ("examination", "gpu_checks", "tool_checks")
    code = "\n".join((root / "ds2prof" / "doctor" / f"{name}.py").read_text(encoding="utf-8") for name in modules)
    ids = set(re.findall(r'(?:Finding\(|case\.found\(|found\()\s*"([a-z.-]+)"', code)) - STATUSES
    assert len(ids) > 20
    assert {each for each in ids if f"`{each}`" not in table} == set()
