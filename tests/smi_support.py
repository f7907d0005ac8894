"""Stand-ins for nvidia-smi as drivers of several generations print it, and trees that stand in for a machine's files.

The forms are those of real reports; the values are made up.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.launch_support import executable

PYTHON_HERE = f"""#!/bin/sh
'''exec' "{sys.executable}" "$0" "$@"
' '''
"""
"""The head of a script for this Python, whatever its path holds: a shell runs line 2, Python reads it as a text."""


SLICE = """<mig_device><index>{index}</index><gpu_instance_id>{instance}</gpu_instance_id>
<compute_instance_id>0</compute_instance_id><device_attributes><shared><multiprocessor_count>{sms}</multiprocessor_count>
</shared></device_attributes><fb_memory_usage><total>{mib} MiB</total></fb_memory_usage></mig_device>"""
PROCESS = """<process_info><pid>{pid}</pid><type>{type}</type><process_name>{name}</process_name>
<used_memory>{mib} MiB</used_memory></process_info>"""
GPU = """<gpu id="00000000:0{ordinal}:00.0"><product_name>{name}</product_name>
<persistence_mode>{persistence}</persistence_mode>
<mig_mode><current_mig>{mig}</current_mig><pending_mig>{mig}</pending_mig></mig_mode>
<mig_devices>{slices}</mig_devices><uuid>{uuid}</uuid>
<gpu_virtualization_mode><virtualization_mode>{virtualization}</virtualization_mode></gpu_virtualization_mode>
<clocks_{reasons}_reasons><clocks_{reasons}_reason_gpu_idle>Active</clocks_{reasons}_reason_gpu_idle>
<clocks_{reasons}_reason_sw_power_cap>Not Active</clocks_{reasons}_reason_sw_power_cap>
<clocks_{reasons}_reason_hw_thermal_slowdown>{hot}</clocks_{reasons}_reason_hw_thermal_slowdown>
</clocks_{reasons}_reasons>
<fb_memory_usage><total>{mib} MiB</total><used>4 MiB</used></fb_memory_usage><compute_mode>{compute_mode}</compute_mode>
<temperature><gpu_temp>31 C</gpu_temp></temperature>
<{power}><{limit}>{watts} W</{limit}><default_power_limit>700.00 W</default_power_limit></{power}>
<clocks><sm_clock>345 MHz</sm_clock><mem_clock>2619 MHz</mem_clock></clocks>
<applications_clocks><graphics_clock>{application}</graphics_clock></applications_clocks>
<default_applications_clocks><graphics_clock>{default_application}</graphics_clock></default_applications_clocks>
<max_clocks><sm_clock>1980 MHz</sm_clock></max_clocks><processes>{processes}</processes></gpu>"""
NO_DRIVER = """NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest
NVIDIA driver is installed and running.
"""
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.113\n"


@dataclass(frozen=True)
class FakeGpu:
    """One GPU as a fake nvidia-smi tells of it."""

    name: str = "NVIDIA H100 80GB HBM3"
    capability: str = "9.0"
    mib: int = 81559
    mig: str = "Disabled"
    slices: tuple[tuple[str, int], ...] = ()
    """(profile, SMs) of each."""
    virtualization: str = "None"
    compute_mode: str = "Default"
    persistence: str = "Enabled"
    hot: bool = False
    watts: str = "700.00"
    application: str = "1980 MHz"
    default_application: str = "1980 MHz"
    processes: tuple[tuple[int, str, str], ...] = ()
    """(pid, type, name) of each."""


def uuid(ordinal: int) -> str:
    return f"GPU-00000000-0000-0000-0000-00000000000{ordinal}"


def report(gpus: tuple[FakeGpu, ...], *, driver: str, cuda: str) -> str:
    """What ``nvidia-smi -q -x`` of that driver prints."""
    major = int(driver.split(".")[0])
    parts = []
    for ordinal, gpu in enumerate(gpus):
        slices = "".join(
            SLICE.format(index=index, instance=index + 1, sms=sms, mib=9984)
            for index, (_, sms) in enumerate(gpu.slices)
        )
        processes = "".join(PROCESS.format(pid=pid, type=kind, name=name, mib=500) for pid, kind, name in gpu.processes)
        parts.append(
            GPU.format(
                **{**vars(gpu), "slices": slices or "None", "processes": processes},
                ordinal=ordinal,
                uuid=uuid(ordinal),
                reasons="event" if major >= 535 else "throttle",
                power="gpu_power_readings" if major >= 535 else "power_readings",
                limit="current_power_limit" if major >= 535 else "power_limit",
            )
            .replace(">True<", ">Active<")
            .replace(">False<", ">Not Active<")
        )
    head = (
        f'<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v{12 if major >= 530 else 11}.dtd">\n'
    )
    versions = f"<driver_version>{driver}</driver_version><cuda_version>{cuda}</cuda_version>"
    return f"{head}<nvidia_smi_log>{versions}{''.join(parts)}</nvidia_smi_log>\n"


def listing(gpus: tuple[FakeGpu, ...]) -> str:
    """What ``nvidia-smi -L`` prints."""
    lines = []
    for ordinal, gpu in enumerate(gpus):
        lines.append(f"GPU {ordinal}: {gpu.name} (UUID: {uuid(ordinal)})")
        lines += [
            f"  MIG {profile:<12} Device {index:>2}: (UUID: MIG-{ordinal}{index}-5a42)"
            for index, (profile, _) in enumerate(gpu.slices)
        ]
    return "\n".join(lines) + "\n"


def nvidia_smi(folder: Path, *gpus: FakeGpu, driver: str = "580.65.06", cuda: str = "13.0") -> Path:
    """A stand-in that answers as that driver's does, and knows no field that it does not know."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {
        "index": [str(ordinal) for ordinal in range(len(gpus))],
        "uuid": [uuid(ordinal) for ordinal in range(len(gpus))],
        "name": [gpu.name for gpu in gpus],
        "memory.total": [str(gpu.mib) for gpu in gpus],
    }
    if int(driver.split(".")[0]) >= 510:
        fields["compute_cap"] = [gpu.capability for gpu in gpus]
    answers = {"xml": report(gpus, driver=driver, cuda=cuda), "listing": listing(gpus), "fields": fields}
    (folder / "answers.json").write_text(json.dumps(answers))
    return executable(folder / "nvidia-smi", f"{PYTHON_HERE}{_SCRIPT}")


def failing(folder: Path, said: str, *, exit_code: int = 9) -> Path:
    """A stand-in that prints that and fails."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "said").write_text(said)
    return executable(folder / "nvidia-smi", f'#!/bin/sh\ncat "$(dirname "$0")/said"\nexit {exit_code}\n')


_SCRIPT = """
import json, pathlib, sys
answers = json.loads(pathlib.Path(__file__).with_name("answers.json").read_text())
asked = sys.argv[1:]
query = next((word.partition("=")[2] for word in asked if word.startswith("--query-gpu=")), None)
if "-x" in asked:
    print(answers["xml"])
elif asked == ["-L"]:
    print(answers["listing"], end="")
elif query:
    for field in query.split(","):
        if field not in answers["fields"]:
            print(f'Field "{field}" is not a valid field to query.')
            sys.exit(2)
    for row in zip(*(answers["fields"][field] for field in query.split(","))):
        print(", ".join(row))
else:
    sys.exit(1)
"""


@dataclass
class Tree:
    """A folder that stands in for the root of a machine's file system."""

    root: Path
    capabilities: str = "0000000000000000"
    files: dict[str, str] = field(default_factory=dict)

    @property
    def proc(self) -> Path:
        return self.root / "proc"

    def write(self, path: str, text: str = "") -> Tree:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return self

    def running(self, pid: int, name: str) -> Tree:
        return self.write(f"proc/{pid}/comm", f"{name}\n")

    def with_driver(self, version: str = "580.65.06", *, admin_only: int = 1, devices: bool = True) -> Tree:
        line = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Mar 5 2025\n"
        self.write("proc/driver/nvidia/version", line)
        self.write("proc/driver/nvidia/params", f"EnableMSI: 1\nRmProfilingAdminOnly: {admin_only}\n")
        for name in ("nvidiactl", "nvidia-uvm", "nvidia0") if devices else ():
            self.write(f"dev/{name}")
        return self


def tree(root: Path, *, capabilities: str = "00000000a80425fb") -> Tree:
    """A plain machine: Linux, no container, and the capabilities that docker gives its root when none are added."""
    made = Tree(root)
    made.write("proc/self/status", f"Name:\tpython\nCapEff:\t{capabilities}\n")
    made.write("proc/self/uid_map", "         0          0 4294967295\n")
    made.write("proc/self/mounts", "/dev/vda / ext4 rw 0 0\n")
    made.write("proc/1/cgroup", "0::/init.scope\n")
    made.write("proc/cpuinfo", "model name\t: A Processor\n")
    made.write("proc/sys/kernel/osrelease", "6.1.0-generic\n")
    made.write("proc/sys/kernel/perf_event_paranoid", "2\n")
    made.write("etc/os-release", 'NAME="Linux"\nPRETTY_NAME="A Linux 12"\n')
    return made
