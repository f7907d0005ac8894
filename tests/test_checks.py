"""What speaks against a capture on a machine, in the words that captures and the doctor share."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ds2prof.capture.launchers import LAUNCHERS, launcher
from ds2prof.doctor import installed, tool_checks
from ds2prof.doctor.checks import CHECKS, findings, refusal, warnings_for
from ds2prof.doctor.finding import Case, Finding
from ds2prof.machine import Gpu, Machine
from ds2prof.machine.asking import Reply
from ds2prof.machine.nvidia_smi import GpuState, Occupant, Slice
from ds2prof.machine.surroundings import Disk
from tests.launch_support import H200, NEW, NO_GPU, OLD, V100, executable
from tests.smi_support import MISMATCH, NO_DRIVER, Tree, tree

FORBIDDEN = replace(NEW, counters_permitted=False, admin_only=True)
OWN = "run as root, or let everybody read them"
SETTING = "options nvidia NVreg_RestrictProfilingToAdminUsers=0"
MODPROBE = "/etc/modprobe.d/nvidia-profiling.conf"
BLACKWELL = Gpu(0, "NVIDIA B200", "GPU-3", "10.0", 1 << 37)
SPARE = {"PATH": os.environ["PATH"]}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Answers of tools are remembered by their path."""
    yield
    for remembered in (installed.version_of, installed.listed_chips, installed._python):
        remembered.cache_clear()


@pytest.fixture
def box(tmp_path: Path) -> Tree:
    made = tree(tmp_path / "root")
    for name in ("nvidiactl", "nvidia-uvm", "nvidia0"):
        made.write(f"dev/{name}", "")
    return made


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with a temporary folder of its own."""
    (tmp_path / "tmp").mkdir()
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp")}


def ncu(folder: Path, *, chips: str = "gv100, gh100", version: str = "2024.3.1.0") -> str:
    text = f'case "$1" in --version) echo "Version {version} (build 1)";; --list-chips) echo "{chips}";; esac'
    return str(executable(folder / "ncu", f"#!/bin/sh\n{text}\n"))


def nsys(folder: Path, *, version: str) -> str:
    return str(executable(folder / "nsys", f'#!/bin/sh\necho "NVIDIA Nsight Systems version {version}-1"\n'))


def a_python(folder: Path, *, torch: str = "", cuda: str = "None", **packages: str | None) -> str:
    """A stand-in for a Python, which answers what a real one with these packages does."""
    said = {
        "version": "3.11.7",
        "packages": {**dict.fromkeys(installed.PACKAGES), "torch": torch or None, **packages},
        "torch_version_py": f"__version__ = '{torch}'\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n",
    }
    (folder / "said").write_text(json.dumps(said))
    return str(executable(folder / "python3", '#!/bin/sh\ncat "$(dirname "$0")/said"\n'))


def found(name: str, machine: Machine, check: str, *, tool: str | None = None, **more: object) -> Finding | None:
    """What one check finds about a capture; None where it says nothing."""
    case = Case(launcher(name), machine, tool, **more)  # type: ignore[arg-type]
    return next((each for each in findings(case) if each.id == check), None)


def with_state(state: GpuState, gpu: Gpu = H200) -> Machine:
    return replace(
        NEW, gpus=(replace(gpu, mig=state.mig, slices=state.slices),), states=(replace(state, uuid=gpu.uuid),)
    )


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_launcher_can_be_checked_on_every_machine(name: str, environ: dict[str, str], tmp_path: Path) -> None:
    tool = ncu(tmp_path) if launcher(name).tools else None
    for machine in (NEW, OLD, NO_GPU, FORBIDDEN, replace(NO_GPU, smi_trouble=Reply("hangs"), hidden=(V100,))):
        case = Case(launcher(name), machine, tool, tmp_path, environ)
        for each in findings(case):
            assert each.subject == name
            assert each.what
            assert "\n" not in each.line
            assert each.do or each.status in ("ok", "warn")


def test_the_registry_names_each_check_once() -> None:
    assert len(set(CHECKS)) == len(CHECKS)


def test_a_missing_tool_is_named_with_where_to_get_it() -> None:
    said = refusal(launcher("nsight"), NEW, tool=None)
    assert said is not None
    assert said.startswith("nsight: ncu or nv-nsight-cu-cli is not on this machine; install NVIDIA Nsight Compute")


def test_nothing_speaks_against_a_capture_where_all_is_well(box: Tree, tmp_path: Path, environ: dict[str, str]) -> None:
    asked = {"tool": ncu(tmp_path), "folder": tmp_path, "environ": environ, "proc": box.proc}
    assert refusal(launcher("nsight"), NEW, **asked) is None
    assert warnings_for(launcher("nsight"), NEW, **asked) == []


def test_missing_files_of_the_driver_are_warned_of(box: Tree, tmp_path: Path, environ: dict[str, str]) -> None:
    (box.root / "dev" / "nvidia-uvm").unlink()
    said = warnings_for(launcher("nsight"), NEW, tool=ncu(tmp_path), folder=tmp_path, environ=environ, proc=box.proc)
    assert ["/dev/nvidia-uvm is missing: CUDA programs find no GPU" in line for line in said] == [True]


def test_what_measures_gpus_alone_is_refused_without_one(tmp_path: Path) -> None:
    said = refusal(launcher("nsight"), NO_GPU, tool=ncu(tmp_path))
    assert said == "nsight: no NVIDIA GPU is visible here, and it measures nothing else; torch works on the CPU"


def test_without_a_driver_the_gpu_is_missed_and_not_the_driver(tmp_path: Path) -> None:
    machine = replace(NO_GPU, smi_trouble=Reply("fails", NO_DRIVER))
    said = refusal(launcher("nsight"), machine, tool=ncu(tmp_path))
    assert said is not None
    assert "no NVIDIA GPU is visible here" in said


def test_nsys_sees_the_host_without_a_gpu_and_nobody_is_warned(tmp_path: Path, environ: dict[str, str]) -> None:
    tool = nsys(tmp_path, version="2025.1.1.1")
    executable(tmp_path / "QdstrmImporter", "")
    declared = replace(launcher("nsys"), needs_gpu=False)
    assert refusal(declared, NO_GPU, tool=tool, environ=environ) is None
    assert warnings_for(declared, NO_GPU, tool=tool, environ=environ) == []


def test_hidden_gpus_are_told_from_missing_ones(tmp_path: Path) -> None:
    machine = replace(NEW, gpus=(), hidden=(H200,))
    said = refusal(launcher("nsight"), machine, tool=ncu(tmp_path), environ={"CUDA_VISIBLE_DEVICES": "-1"})
    assert said is not None
    assert "CUDA_VISIBLE_DEVICES='-1' hides every GPU that is here (1)" in said
    said_to_torch = warnings_for(launcher("torch"), machine, tool=None, environ={"CUDA_VISIBLE_DEVICES": "-1"})
    assert any("hides every GPU" in line for line in said_to_torch)


def test_a_driver_whose_libraries_do_not_fit_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    machine = replace(NEW, driver="535.54.03", smi_trouble=Reply("fails", MISMATCH))
    said = refusal(launcher("nsight"), machine, tool=ncu(tmp_path))
    assert said is not None
    assert "do not fit its loaded kernel module 535.54.03" in said
    assert "NVML library version: 535.113" in said
    assert "; reboot" in said
    assert refusal(launcher("torch"), machine, tool=None, environ=environ) is None
    assert any("do not fit" in line for line in warnings_for(launcher("torch"), machine, tool=None, environ=environ))


def test_a_driver_that_does_not_answer_is_warned_of(box: Tree, tmp_path: Path, environ: dict[str, str]) -> None:
    machine = replace(NEW, smi_trouble=Reply("hangs"))
    assert refusal(launcher("nsight"), machine, tool=ncu(tmp_path), environ=environ) is None
    said = warnings_for(launcher("nsight"), machine, tool=ncu(tmp_path), environ=environ, proc=box.proc)
    assert ["nvidia-smi does not answer" in line for line in said] == [True]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (FORBIDDEN, (OWN, SETTING, MODPROBE, "update-initramfs -u -k all", "torch, nsys and smi work without")),
        (replace(FORBIDDEN, container="docker"), ("--cap-add=SYS_ADMIN", "CAP_PERFMON", SETTING)),
        (replace(FORBIDDEN, container="kubernetes"), ("securityContext: {capabilities: {add: [SYS_ADMIN]}}", SETTING)),
        (replace(FORBIDDEN, container="apptainer"), (f"on the host put `{SETTING}`", "do not count")),
        (replace(FORBIDDEN, container="podman", rootless=True), (f"on the host put `{SETTING}`", "do not count")),
    ],
)
def test_forbidden_counters_are_refused_with_the_setting_to_change(
    machine: Machine, words: tuple[str, ...], tmp_path: Path
) -> None:
    said = refusal(launcher("nsight"), machine, tool=ncu(tmp_path))
    assert said is not None
    assert said.startswith("nsight: the driver lets only administrators read hardware counters")
    assert [word for word in words if word not in said] == []
    assert "\n" not in said


def test_a_check_that_is_wrong_can_be_skipped_and_is_then_a_warning(tmp_path: Path, environ: dict[str, str]) -> None:
    skipping = {**environ, "DS2PROF_SKIP_CHECKS": "chip, counters"}
    assert refusal(launcher("nsight"), FORBIDDEN, tool=ncu(tmp_path), environ=skipping) is None
    said = warnings_for(launcher("nsight"), FORBIDDEN, tool=ncu(tmp_path), environ=skipping)
    assert any("only administrators" in line for line in said)
    assert refusal(launcher("nsight"), NO_GPU, tool=ncu(tmp_path), environ=skipping) is not None


def test_a_rootless_container_is_not_told_to_add_capabilities(tmp_path: Path) -> None:
    said = refusal(launcher("nsight"), replace(FORBIDDEN, container="podman", rootless=True), tool=ncu(tmp_path))
    assert said is not None
    assert "--cap-add" not in said


def test_cap_perfmon_is_offered_only_where_the_driver_takes_it(tmp_path: Path) -> None:
    machine = replace(FORBIDDEN, container="docker", driver="535.54.03")
    said = refusal(launcher("nsight"), machine, tool=ncu(tmp_path))
    assert said is not None
    assert "PERFMON" not in said


@pytest.mark.parametrize("name", ["nsys", "torch", "smi"])
def test_what_reads_no_counters_needs_no_permission(name: str, tmp_path: Path, environ: dict[str, str]) -> None:
    tool = nsys(tmp_path, version="2025.1.1.1") if name == "nsys" else sys.executable
    assert refusal(launcher(name), FORBIDDEN, tool=tool, environ=environ) is None


def test_permission_that_cannot_be_told_is_a_doubt_and_no_refusal(
    box: Tree, tmp_path: Path, environ: dict[str, str]
) -> None:
    machine = replace(NEW, counters_permitted=None)
    assert refusal(launcher("nsight"), machine, tool=ncu(tmp_path), environ=environ) is None
    said = warnings_for(launcher("nsight"), machine, tool=ncu(tmp_path), environ=environ, proc=box.proc)
    assert ["cannot be told" in line and SETTING in line for line in said] == [True]


def test_under_wsl_windows_is_named_as_who_permits(tmp_path: Path) -> None:
    machine = replace(NEW, counters_permitted=None, wsl=True)
    each = found("nsight", machine, "counters", tool=ncu(tmp_path))
    assert each is not None
    assert each.status == "unknown"
    assert "NVIDIA Control Panel" in str(each.do)


def test_an_ncu_that_does_not_know_the_chip_is_refused(tmp_path: Path) -> None:
    said = refusal(launcher("nsight"), replace(NEW, gpus=(BLACKWELL,)), tool=ncu(tmp_path, version="2022.3.0.0"))
    assert said is not None
    assert "Nsight Compute 2022.3.0.0 does not know the chip of NVIDIA B200 (GB100)" in said


@pytest.mark.parametrize(
    ("gpu", "chips"),
    [
        (replace(BLACKWELL, name="NVIDIA RTX 3060", compute_capability="8.6"), "ga104, ga106"),  # one of several
        (replace(BLACKWELL, name="a GPU of tomorrow", compute_capability="13.0"), "gh100"),  # of an unknown chip
        (BLACKWELL, "usage: ncu [options]"),  # an ncu that lists no chips
    ],
)
def test_a_chip_is_refused_only_where_it_is_known_to_be_missing(gpu: Gpu, chips: str, tmp_path: Path) -> None:
    assert found("nsight", replace(NEW, gpus=(gpu,)), "chip", tool=ncu(tmp_path, chips=chips)) is None


def test_gpus_before_volta_are_sent_to_nvprof(tmp_path: Path) -> None:
    pascal = Gpu(0, "Tesla P100-PCIE-16GB", "GPU-4", "6.0", 1 << 34)
    said = refusal(launcher("nsight"), replace(OLD, gpus=(pascal,)), tool=ncu(tmp_path))
    assert said is not None
    assert "from compute capability 7.0 on, and Tesla P100-PCIE-16GB has 6.0; use nvprof" in said


def test_a_capability_that_an_old_driver_does_not_tell_follows_from_the_name() -> None:
    ampere = Gpu(0, "NVIDIA A100-SXM4-80GB", "GPU-5", None, 1 << 36)
    said = refusal(launcher("nvprof"), replace(OLD, gpus=(ampere,)), tool="nvprof")
    assert said is not None
    assert "NVIDIA A100-SXM4-80GB has 8.0" in said


@pytest.mark.parametrize(("name", "remedy"), [("nv-hostengine", "dcgmi profile --pause"), ("ncu", "wait until it")])
def test_who_may_hold_the_counters_is_named(name: str, remedy: str, box: Tree, tmp_path: Path) -> None:
    box.running(41, name)
    each = found("nsight", NEW, "counters.held", tool=ncu(tmp_path), proc=box.proc)
    assert each is not None
    assert each.status == "warn"
    assert f"{name} (41)" in each.what
    assert remedy in str(each.do)


def test_a_divided_gpu_without_slices_is_refused(tmp_path: Path) -> None:
    said = refusal(launcher("nsight"), with_state(GpuState(mig=True)), tool=ncu(tmp_path))
    assert said is not None
    assert "MIG is on for GPU 0 and no slice was made" in said
    assert "nvidia-smi mig -cgi" in said


def test_slices_that_share_are_warned_of_and_others_are_not(tmp_path: Path) -> None:
    alone, sharing = Slice(0, "1g.10gb", "MIG-1"), Slice(1, "1c.3g.40gb", "MIG-2")
    statuses = []
    for slices in ((alone,), (alone, sharing)):
        each = found("nsight", with_state(GpuState(mig=True, slices=slices)), "mig", tool=ncu(tmp_path))
        assert each is not None
        statuses.append(each.status)
    assert statuses == ["ok", "warn"]


def test_a_virtual_gpu_is_warned_of_where_profilers_need_its_host(tmp_path: Path) -> None:
    machine = with_state(GpuState(virtualization="VGPU"))
    assert "enable_profiling=1" in str(found("nsight", machine, "vgpu", tool=ncu(tmp_path)))
    assert found("torch", with_state(GpuState(virtualization="Pass-Through")), "vgpu") is None


def test_a_closed_gpu_is_refused(tmp_path: Path) -> None:
    said = refusal(launcher("nsight"), with_state(GpuState(compute_mode="Prohibited")), tool=ncu(tmp_path))
    assert said is not None
    assert "compute mode of GPU 0 is Prohibited" in said


def test_a_gpu_for_one_process_is_warned_of_only_when_taken() -> None:
    free = with_state(GpuState(compute_mode="Exclusive_Process"))
    taken = with_state(GpuState(compute_mode="Exclusive_Process", occupants=(Occupant(7, "python"),)))
    assert found("torch", free, "compute-mode") is None
    assert "Exclusive_Process" in str(found("torch", taken, "compute-mode"))


def test_other_processes_and_heat_are_warned_of() -> None:
    state = GpuState(occupants=(Occupant(7, "python"),), clock_reasons=("gpu_idle", "sw_thermal_slowdown"))
    said = warnings_for(launcher("smi"), with_state(state), tool=sys.executable)
    assert any("other processes use GPU 0: python (7)" in line for line in said)
    assert any("held down (sw_thermal_slowdown)" in line for line in said)


@pytest.mark.parametrize("reason", ["gpu_idle", "sw_power_cap", "applications_clocks_setting"])
def test_a_clock_that_is_low_for_usual_reasons_is_not_warned_of(reason: str) -> None:
    assert found("torch", with_state(GpuState(clock_reasons=(reason,))), "clocks") is None


@pytest.mark.parametrize(
    ("version", "package", "lost"),
    [("2022.4.2.1", "0.2.12", True), ("2022.4.2.1", "0.2.11", False), ("2021.3.2.4", "0.2.14", True)],
)
def test_an_old_nsys_that_loses_the_ranges_of_a_new_nvtx_is_warned_of(
    version: str, package: str, lost: bool, tmp_path: Path, environ: dict[str, str]
) -> None:
    python = a_python(tmp_path, nvtx=package)
    tool = nsys(tmp_path, version=version)
    each = found("nsys", NEW, "nvtx", tool=tool, environ=environ, program=(python, "train.py"))
    assert (each is not None) is lost
    if each is not None:
        assert each.status == "warn"
        assert f"{python} -m pip install 'nvtx<=0.2.11'" in str(each.do)


def test_a_newer_nsys_is_not_said_to_lose_ranges(tmp_path: Path, environ: dict[str, str]) -> None:
    program = (a_python(tmp_path, nvtx="0.2.14"), "train.py")
    tool = nsys(tmp_path, version="2024.1.1.59")
    assert found("nsys", NEW, "nvtx", tool=tool, environ=environ, program=program) is None


def test_an_nsys_without_its_importer_is_warned_of(tmp_path: Path, environ: dict[str, str]) -> None:
    tool = nsys(tmp_path, version="2025.1.1.1")
    assert ".qdstrm" in str(found("nsys", NEW, "importer", tool=tool, environ=environ))
    executable(tmp_path / "QdstrmImporter", "")
    assert found("nsys", NEW, "importer", tool=tool, environ=environ) is None


def test_a_python_without_pytorch_fails_alone_and_is_a_doubt_in_a_command(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    python = a_python(tmp_path)
    asked = {**environ, "DS2PROF_PYTHON": python}
    alone = found("torch", NEW, "torch", environ=asked)
    in_command = found("torch", NEW, "torch", environ=environ, program=(python, "launch.py"))
    assert [each and each.status for each in (alone, in_command)] == ["fail", "warn"]


@pytest.mark.parametrize(
    ("build", "cuda", "words"),
    [
        ("2.13.0+cpu", "None", "does not see the GPU"),
        ("2.13.0+cu140", "'14.0'", "the driver here ends at CUDA 13.0"),
        ("2.13.0", "'13.2'", "built for CUDA 13.2"),  # minor versions do not matter
    ],
)
def test_pytorch_is_held_against_the_gpu_and_the_driver(
    build: str, cuda: str, words: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    program = (a_python(tmp_path, torch=build, cuda=cuda), "train.py")
    each = found("torch", NEW, "torch", environ=environ, program=program)
    assert each is not None
    assert words in each.what
    assert each.status == ("ok" if "13.2" in cuda else "warn")


def test_a_command_that_is_no_python_is_not_asked_for_packages(environ: dict[str, str]) -> None:
    assert found("torch", NEW, "torch", environ=environ, program=("bash", "run.sh")) is None


def test_a_script_is_held_against_the_python_of_its_first_line(tmp_path: Path, environ: dict[str, str]) -> None:
    python = a_python(tmp_path)
    script = executable(tmp_path / "trainer", f"#!{python}\nimport torch\n")
    each = found("torch", NEW, "torch", environ=environ, program=(str(script),))
    assert each is not None
    assert f"{python} has no PyTorch" in each.what


@pytest.mark.parametrize(("free_mib", "status"), [(10, "fail"), (500, "warn"), (5000, None)])
def test_little_room_is_warned_of_and_none_is_refused(
    free_mib: int, status: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_checks, "disk_of", lambda folder, proc: Disk(folder, free_mib << 20, False, True))
    each = found("torch", NEW, "disk", folder=tmp_path)
    assert (each and each.status) == status
    assert (refusal(launcher("smi"), NEW, tool=sys.executable, folder=tmp_path) is None) is (status != "fail")


def test_the_temporary_folder_of_a_profiler_needs_room_too(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Path(environ["TMPDIR"])
    rooms = {small: Disk(small, 1 << 20, True, True), tmp_path: Disk(tmp_path, 1 << 40, False, True)}
    monkeypatch.setattr(tool_checks, "disk_of", lambda folder, proc: rooms[folder])
    each = found("nsys", NEW, "disk", tool=nsys(tmp_path, version="2025.1"), folder=tmp_path, environ=environ)
    assert each is not None
    assert each.status == "fail"
    assert f"free in {small}, whose files are kept in main memory" in each.what
    assert "set TMPDIR" in str(each.do)
    assert found("torch", NEW, "disk", folder=tmp_path, environ=environ) is None


def test_a_limit_on_the_size_of_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
    said = refusal(launcher("smi"), NEW, tool=sys.executable)
    assert said is not None
    assert "no file may exceed 1.0 MB here (ulimit -f)" in said


def test_a_lock_of_ncu_that_cannot_be_written_is_refused(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Path(environ["TMPDIR"]) / "nsight-compute-lock"
    assert refusal(launcher("nsight"), NEW, tool=ncu(tmp_path), environ=environ) is None
    lock.touch()
    assert refusal(launcher("nsight"), NEW, tool=ncu(tmp_path), environ=environ) is None
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != lock and real(path, mode))
    said = refusal(launcher("nsight"), NEW, tool=ncu(tmp_path), environ=environ)
    assert said is not None
    assert f"{lock} belongs to another user" in said
    assert "set TMPDIR to a folder of your own" in said


def test_a_lock_that_linux_may_protect_is_a_doubt(
    box: Tree, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(environ["TMPDIR"])
    folder.chmod(0o1777)
    (folder / "nsight-compute-lock").touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    unprotected = found("nsight", NEW, "lock", tool=ncu(tmp_path), environ=environ, proc=box.proc)
    box.write("proc/sys/fs/protected_regular", "2\n")
    each = found("nsight", NEW, "lock", tool=ncu(tmp_path), environ=environ, proc=box.proc)
    assert unprotected is None
    assert each is not None
    assert each.status == "warn"


def test_the_first_failure_spares_the_checks_behind_it(tmp_path: Path) -> None:
    tool = executable(tmp_path / "ncu", f"#!/bin/sh\nif [ $1 = --list-chips ]; then touch {tmp_path}/asked; fi\n")
    for machine, asked in ((with_state(GpuState(mig=True)), False), (NEW, True)):
        refusal(launcher("nsight"), machine, tool=str(tool))
        assert (tmp_path / "asked").exists() is asked


@pytest.mark.skipif(shutil.which("ncu") is None, reason="the tool ncu is not installed")
def test_the_real_ncu_lists_its_chips() -> None:
    listed = installed.listed_chips(str(shutil.which("ncu")))
    assert listed is not None
    assert "GH100" in listed


@pytest.mark.skipif(shutil.which("nsys") is None, reason="the tool nsys is not installed")
def test_the_real_nsys_is_found_with_its_version() -> None:
    found_copies = installed.copies(launcher("nsys"))
    assert found_copies[0].on_path
    assert int(str(found_copies[0].version).split(".")[0]) >= 2018
