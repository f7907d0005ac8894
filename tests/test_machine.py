"""What nvidia-smi and /proc tell of a machine: several generations of drivers, MIG, containers, and broken drivers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ds2prof.machine import Machine, find_machine, surroundings, visible
from ds2prof.machine import nvidia_smi as smi
from ds2prof.machine.asking import Reply, ask
from ds2prof.machine.nvidia_smi import Slice, overview
from tests.launch_support import V100, executable
from tests.smi_support import MISMATCH, NO_DRIVER, FakeGpu, Tree, failing, nvidia_smi, tree, uuid

A100_MIG = FakeGpu(
    name="NVIDIA A100-SXM4-80GB", capability="8.0", mig="Enabled", slices=(("3g.40gb", 42), ("1c.3g.40gb", 14))
)
ALL = "000001ffffffffff"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the PATH begins with."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin"


@pytest.fixture
def box(tmp_path: Path) -> Tree:
    return tree(tmp_path / "root")


def machine(box: Tree, **environ: str) -> Machine:
    return find_machine(environ, proc=box.proc)


@pytest.mark.parametrize(
    ("driver", "cuda", "capability"),
    [
        ("418.126.02", "10.1", None),
        ("470.82.01", "11.4", None),
        ("535.54.03", "12.2", "9.0"),
        ("580.65.06", "13.0", "9.0"),
    ],
)
def test_drivers_of_four_generations_are_understood(
    driver: str, cuda: str, capability: str | None, tools: Path, box: Tree
) -> None:
    nvidia_smi(tools, FakeGpu(hot=True, processes=((7, "C", "python"), (8, "G", "Xorg"))), driver=driver, cuda=cuda)
    found = machine(box)
    assert (found.driver, found.cuda) == (driver, cuda)
    assert [(gpu.name, gpu.uuid, gpu.compute_capability) for gpu in found.gpus] == [
        ("NVIDIA H100 80GB HBM3", uuid(0), capability)
    ]
    state = found.state_of(found.gpus[0])
    assert state.clock_reasons == ("gpu_idle", "hw_thermal_slowdown")
    assert (state.power_limit_w, state.default_power_limit_w) == (700.0, 700.0)
    assert (state.sm_clock_hz, state.max_sm_clock_hz) == (345_000_000, 1_980_000_000)
    assert (state.mig, state.persistence, state.compute_mode) == (False, True, "Default")
    assert [(each.pid, each.name) for each in state.occupants] == [(7, "python")]


def test_what_a_driver_no_longer_tells_is_unknown(tools: Path) -> None:
    gone = "Requested functionality has been deprecated"
    nvidia_smi(tools, FakeGpu(application=gone, mig="N/A", persistence="[Insufficient Permissions]"))
    state = overview().states[0]
    assert (state.application_clock_hz, state.mig, state.persistence) == (None, None, None)


def test_the_slices_of_a_divided_gpu_have_their_names_sizes_and_uuids(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu(), A100_MIG)
    plain, divided = machine(box).gpus
    assert (plain.mig, plain.slices) == (False, ())
    assert divided.mig
    assert divided.slices == (
        Slice(0, "3g.40gb", "MIG-10-5a42", 42, 9984 << 20),
        Slice(1, "1c.3g.40gb", "MIG-11-5a42", 14, 9984 << 20),
    )
    assert [piece.shared for piece in divided.slices] == [False, True]


def test_a_chosen_slice_names_its_gpu_and_is_left_alone(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu(), A100_MIG)
    found = machine(box, CUDA_VISIBLE_DEVICES="MIG-11-5a42")
    assert [gpu.ordinal for gpu in found.gpus] == [1]
    assert [piece.profile for piece in found.gpus[0].slices] == ["1c.3g.40gb"]
    assert [gpu.ordinal for gpu in found.hidden] == [0]


def test_a_slice_named_as_before_driver_470_names_its_gpu(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu(), A100_MIG)
    gpus = machine(box).gpus
    assert [gpu.ordinal for gpu in visible(gpus, f"MIG-{uuid(1)}/2/0")] == [1]
    assert visible(gpus, "MIG-nothing") == ()


def test_the_sidecar_lists_slices_only_where_there_are_some(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu(), A100_MIG)
    plain, divided = machine(box).devices()
    assert not {"mig", "slices"} & set(plain)
    assert divided["slices"][0]["profile"] == "3g.40gb"


def test_gpus_that_are_hidden_are_known_to_be_here(tools: Path, box: Tree) -> None:
    nvidia_smi(tools, FakeGpu(), FakeGpu())
    found = machine(box, CUDA_VISIBLE_DEVICES="1")
    assert [gpu.ordinal for gpu in found.gpus] == [1]
    assert [gpu.ordinal for gpu in found.hidden] == [0]


@pytest.mark.parametrize(("said", "state"), [(NO_DRIVER, "fails"), (MISMATCH, "fails")])
def test_what_a_failing_nvidia_smi_says_is_kept(said: str, state: str, tools: Path, box: Tree) -> None:
    failing(tools, said)
    found = machine(box.with_driver("535.54.03"))
    assert found.smi_trouble is not None
    assert (found.smi_trouble.state, found.smi_trouble.text) == (state, said)
    assert found.driver == "535.54.03"


def test_a_hanging_nvidia_smi_is_asked_once_and_given_up(
    tools: Path, box: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.mkdir()
    executable(tools / "nvidia-smi", f"#!/bin/sh\necho asked >>{tools}/log\nsleep 600\n")
    monkeypatch.setattr(smi, "LIMIT_S", 0.3)
    found = machine(box)
    assert found.smi_trouble is not None
    assert found.smi_trouble.state == "hangs"
    assert (tools / "log").read_text().split() == ["asked"]


def test_a_question_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    script = executable(tmp_path / "hangs", f"#!/bin/sh\nsleep 600 &\necho $! >{tmp_path}/pid\nwait\n")
    assert ask([str(script)], limit_s=0.5).state == "hangs"
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def test_an_interrupted_question_leaves_no_process(tmp_path: Path) -> None:
    script = executable(tmp_path / "hangs", f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 600\n")
    code = (
        "import os, signal, threading, time, pathlib; from ds2prof.machine.asking import ask\n"
        f"pid = pathlib.Path({str(tmp_path / 'pid')!r})\n"
        "def interrupt():\n"
        "    while not (pid.exists() and pid.read_text()): time.sleep(0.02)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        f"ask([{str(script)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    assert not _runs(int((tmp_path / "pid").read_text()))


def _runs(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX"


def test_an_answer_that_is_no_xml_still_tells_the_versions(tools: Path) -> None:
    tools.mkdir()
    head = "| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 11.4 |"
    executable(tools / "nvidia-smi", f"#!/bin/sh\necho '{head}'\n")
    seen = overview()
    assert (seen.driver, seen.cuda, seen.states) == ("470.82.01", "11.4", ())


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200), tag=st.sampled_from(["clocks", "mig_devices", "processes", "fb_memory_usage"]))
def test_no_answer_of_nvidia_smi_is_too_odd_to_be_read(text: str, tag: str) -> None:
    inside = f"<{tag}>{escape(_CONTROL.sub('', text))}</{tag}>"
    gpu = f"<gpu>{inside}<uuid>{inside}</uuid></gpu>"
    report = f"<nvidia_smi_log><driver_version>{inside}</driver_version>{gpu}</nvidia_smi_log>"
    for answer in (text, report):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(smi, "query", lambda *_, said=answer: Reply("ok", said))
            assert len(overview().states) in (0, 1)
            assert isinstance(smi.rows("index,name")[0], list)


@given(choice=st.text(max_size=12))
@example(choice="²")
def test_no_choice_of_devices_is_too_odd_to_be_read(choice: str) -> None:
    assert set(visible((V100,), choice)) <= {V100}


@pytest.mark.parametrize(
    ("capabilities", "driver", "admin_only", "permitted"),
    [
        (ALL, "535.54.03", 1, True),
        ("0000004000000000", "580.65.06", 1, True),  # CAP_PERFMON
        ("0000004000000000", "535.54.03", 1, False),  # which drivers before 565 do not take
        ("00000000a80425fb", "580.65.06", 1, False),
        ("00000000a80425fb", "580.65.06", 0, True),
        ("00000000a80425fb", "410.48", 1, True),  # before the restriction
    ],
)
def test_whether_counters_are_permitted_depends_on_setting_capabilities_and_driver(
    capabilities: str, driver: str, admin_only: int, permitted: bool, tools: Path, tmp_path: Path
) -> None:
    nvidia_smi(tools, FakeGpu(), driver=driver)
    box = tree(tmp_path / "root", capabilities=capabilities).with_driver(driver, admin_only=admin_only)
    assert machine(box).counters_permitted is permitted


def test_capabilities_of_a_rootless_container_do_not_count(tools: Path, tmp_path: Path) -> None:
    nvidia_smi(tools, FakeGpu())
    box = tree(tmp_path / "root", capabilities=ALL).with_driver()
    box.write("proc/self/uid_map", "         0       1000          1\n")
    found = machine(box)
    assert found.rootless
    assert found.counters_permitted is False


def test_under_wsl_nobody_here_knows_whether_counters_are_permitted(tools: Path, tmp_path: Path) -> None:
    nvidia_smi(tools, FakeGpu())
    box = tree(tmp_path / "root", capabilities=ALL)
    box.write("proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    found = machine(box)
    assert found.wsl
    assert found.counters_permitted is None


@pytest.mark.parametrize(
    ("files", "environ", "kind"),
    [
        ({}, {}, None),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({"proc/1/cgroup": "0::/kubepods/burstable/pod1\n", ".dockerenv": ""}, {}, "kubernetes"),
        ({"proc/1/cgroup": "0::/machine.slice/libpod-1.scope\n"}, {}, "podman"),
        ({"proc/1/cgroup": "4:memory:/docker/0a1b\n"}, {}, "docker"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({}, {"APPTAINER_CONTAINER": "/image.sif"}, "apptainer"),
        ({}, {"container": "systemd-nspawn"}, "systemd-nspawn"),
    ],
)
def test_containers_are_known_by_their_marks(
    files: dict[str, str], environ: dict[str, str], kind: str | None, box: Tree
) -> None:
    for path, text in files.items():
        box.write(path, text)
    assert surroundings.container(environ, proc=box.proc) == kind


def test_processes_are_found_by_name(box: Tree) -> None:
    box.running(12, "ncu").running(3, "nv-hostengine").running(5, "bash")
    found = surroundings.running({"ncu", "nv-hostengine"}, proc=box.proc)
    assert [(process.pid, process.name) for process in found] == [(3, "nv-hostengine"), (12, "ncu")]


def test_a_folder_in_main_memory_is_known_as_such(box: Tree, tmp_path: Path) -> None:
    inside = tmp_path / "in memory"
    mounted = str(inside).replace(" ", "\\040")
    box.write("proc/self/mounts", f"/dev/vda / ext4 rw 0 0\ntmpfs {mounted} tmpfs rw 0 0\n")
    inside.mkdir()
    there, beside = (surroundings.disk_of(folder, proc=box.proc) for folder in (inside / "new", tmp_path))
    assert there is not None
    assert beside is not None
    assert (there.in_memory, beside.in_memory) == (True, False)


def test_the_disk_of_a_folder_to_come_is_that_of_the_nearest_one(tmp_path: Path) -> None:
    disk = surroundings.disk_of(tmp_path / "not" / "yet")
    assert disk is not None
    assert disk.free_bytes > 0
    assert disk.writable is os.access(tmp_path, os.W_OK)
