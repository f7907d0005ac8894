"""Checks of a capture that look at the driver and the GPUs: each gives a finding, or None."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ds2prof.devices import CAPABILITY_CHIPS, chips_of
from ds2prof.doctor.finding import Case, Finding, Status
from ds2prof.machine import Gpu, Machine
from ds2prof.machine.nvidia_smi import HARMLESS_REASONS, GpuState
from ds2prof.machine.surroundings import running, version_key

SETTING: Final = "NVreg_RestrictProfilingToAdminUsers"
"""The option of the driver's kernel module that keeps hardware counters for administrators."""
HOLDERS: Final = {
    "nv-hostengine": "DCGM",
    "dcgm-exporter": "DCGM",
    "dcgmi": "DCGM",
    "ncu": "Nsight Compute",
    "nv-nsight-cu-cli": "Nsight Compute",
    "nvprof": "nvprof",
    "nsys": "Nsight Systems",
}
"""Processes that may hold the counters of a GPU, which one session can hold at a time -> what they belong to."""
OLDEST_FOR_COUNTERS: Final = "7.0"
"""The compute capability from which on the profiling interface that ncu uses works."""
_POWER_REASONS: Final = frozenset({"sw_power_cap", "sync_boost"})
_HOST_SETTING: Final = (
    f"put `options nvidia {SETTING}=0` into /etc/modprobe.d/nvidia-profiling.conf, rebuild the initramfs "
    "(`update-initramfs -u -k all`, or `dracut --regenerate-all -f`) and reboot"
)
_WITHOUT: Final = "torch, nsys and smi work without"


def driver(case: Case) -> Finding | None:
    """Whether the driver answers at all: a broken one lists its GPUs in /proc all the same."""
    machine, reply = case.machine, case.machine.smi_trouble
    if reply is None or reply.state == "missing" or not (case.launcher.needs_gpu or machine.gpus):
        return None
    if reply.state == "hangs":
        what, do = "nvidia-smi does not answer, which is a driver in trouble", "look at `dmesg`; most often, reboot"
        return case.found("driver", "warn", what, do)
    status: Status = "fail" if case.launcher.needs_gpu else "warn"  # others can still look at the host
    if "mismatch" in reply.text:
        loaded = f" {machine.driver}" if machine.driver else ""
        what = f"the driver's libraries do not fit its loaded kernel module{loaded} (nvidia-smi: {reply.line})"
        return case.found("driver", status, what, "reboot, or unload and load the nvidia modules")
    if machine.gpus or machine.driver:
        what = f"the driver is loaded, but nvidia-smi fails ({reply.line})"
        return case.found("driver", status, what, "mend that first: CUDA programs fail alike")
    return None


def device_files(case: Case) -> Finding | None:
    """Whether the driver's files in /dev are there: GPUs that /proc or nvidia-smi tells of are out of reach without."""
    if not case.machine.gpus or case.machine.wsl:
        return None
    dev = case.proc.parent / "dev"
    missing = [f"/dev/{name}" for name in ("nvidiactl", "nvidia-uvm") if not (dev / name).exists()]
    if not missing:
        return None
    what = f"{', '.join(missing)} is missing: CUDA programs find no GPU"
    do = "load the driver's modules (`nvidia-modprobe -u -c=0`); in a container: start it with the GPUs"
    return case.found("device-files", "warn", what, do, {"missing": missing})


def gpu(case: Case) -> Finding | None:
    """Whether a GPU is visible, and what is left to see without one."""
    machine, needed = case.machine, case.launcher.needs_gpu
    if machine.gpus:
        names = ", ".join(gpu.name for gpu in machine.gpus)
        return case.found("gpu", "ok", f"it sees {names}", None, {"gpus": [gpu.ordinal for gpu in machine.gpus]})
    if machine.hidden:
        choice = case.environ.get("CUDA_VISIBLE_DEVICES", "")
        what = f"CUDA_VISIBLE_DEVICES={choice!r} hides every GPU that is here ({len(machine.hidden)})"
        return case.found("gpu", "fail" if needed else "warn", what, "unset it, or name a GPU that nvidia-smi lists")
    if needed:
        what = "no NVIDIA GPU is visible here, and it measures nothing else"
        return case.found("gpu", "fail", what, "torch works on the CPU")
    return case.found("gpu.none", "warn", "no NVIDIA GPU is visible here: it sees the host alone")


def mig_without_slice(case: Case) -> Finding | None:
    """Whether CUDA finds no device since a GPU is to be divided and is not."""
    undivided = [gpu for gpu in case.machine.gpus if gpu.mig and not gpu.slices and case.machine.state_of(gpu).uuid]
    if not undivided:
        return None
    others = len(undivided) < len(case.machine.gpus)
    what = f"MIG is on for {_listed(undivided)} and no slice was made, so that CUDA finds no device there"
    do = "make slices (`nvidia-smi mig -lgip` lists what fits, `nvidia-smi mig -cgi PROFILE -C` makes one), or end MIG"
    status: Status = "fail" if case.launcher.needs_gpu and not others else "warn"
    return case.found("mig.empty", status, what, f"{do}: `nvidia-smi -mig 0`")


def compute_mode(case: Case) -> Finding | None:
    """Whether the GPUs' compute mode lets a program in."""
    states = [(gpu, case.machine.state_of(gpu)) for gpu in case.machine.gpus]
    closed = [gpu for gpu, state in states if state.compute_mode == "Prohibited"]
    if closed:
        all_closed = len(closed) == len(states)
        status: Status = "fail" if all_closed and case.launcher.needs_gpu else "warn"
        what = f"the compute mode of {_listed(closed)} is Prohibited: no CUDA program runs there"
        return case.found("compute-mode", status, what, "as root: `nvidia-smi -c DEFAULT`")
    taken = [gpu for gpu, state in states if state.compute_mode == "Exclusive_Process" and state.occupants]
    if taken:
        what = f"the compute mode of {_listed(taken)} is Exclusive_Process, and another process is there"
        return case.found("compute-mode", "warn", what, "wait for it, or as root: `nvidia-smi -c DEFAULT`")
    return None


def capability(case: Case) -> Finding | None:
    """Whether the GPUs are too new for this profiler, or too old."""
    limit = case.launcher.below_compute_capability
    for gpu in case.machine.gpus:
        known = capability_of(gpu)
        if reaches(known, limit):
            what = f"it does not work on GPUs of compute capability {limit} and newer, and {_has(gpu)}"
            return case.found("capability", "fail", what, f"use {case.launcher.instead}")
        old = known is not None and not reaches(known, OLDEST_FOR_COUNTERS)
        if old and case.launcher.replays and not (case.tool or "").endswith("nv-nsight-cu-cli"):
            what = f"it reads counters from compute capability {OLDEST_FOR_COUNTERS} on, and {_has(gpu)}"
            return case.found("capability", "fail", what, "use nvprof")
    return None


def cuda(case: Case) -> Finding | None:
    """Whether the driver's CUDA is too new for this profiler."""
    limit = case.launcher.below_cuda
    if not reaches(case.machine.cuda, limit):
        return None
    what = f"it does not work from CUDA {limit} on, and the driver here is CUDA {case.machine.cuda}'s"
    return case.found("cuda", "fail", what, f"use {case.launcher.instead}")


def counters(case: Case) -> Finding | None:
    """Whether the driver lets this process read hardware counters."""
    machine = case.machine
    if not case.launcher.replays or not machine.gpus:
        return None
    facts = {"admin_only": machine.admin_only, "container": machine.container, "rootless": machine.rootless}
    if machine.counters_permitted:
        return case.found("counters", "ok", "hardware counters may be read here", None, facts)
    if machine.counters_permitted is False:
        what = "the driver lets only administrators read hardware counters, and this process is none"
        return case.found("counters", "fail", what, counters_remedy(machine), facts)
    if machine.wsl:
        what = "under WSL it is Windows that permits hardware counters, which cannot be seen from here"
        do = "NVIDIA Control Panel, Developer, Manage GPU Performance Counters: allow access to all users"
        return case.found("counters", "unknown", what, do, facts)
    what = "whether hardware counters may be read cannot be told: /proc/driver/nvidia/params is not to be seen here"
    return case.found(
        "counters", "unknown", what, f"if ncu reports ERR_NVGPUCTRPERM, {counters_remedy(machine)}", facts
    )


def counters_remedy(machine: Machine) -> str:
    """What to change so that hardware counters may be read, and what works without."""
    least = " (CAP_PERFMON is enough from driver 565 on)" if version_key(machine.driver) >= (565,) else ""
    on_host = f"on the host {_HOST_SETTING}"
    if machine.rootless or machine.container in ("apptainer", "lxc"):
        return f"{on_host} (privileges within this container do not count); {_WITHOUT}"
    if machine.container == "kubernetes":
        context = "securityContext: {capabilities: {add: [SYS_ADMIN]}}"
        return f"give the pod's container `{context}`{least} and run as root in it, or {on_host}; {_WITHOUT}"
    if machine.container is not None:
        start = "start the container with --cap-add=SYS_ADMIN"
        return f"{start}{least} and run as root in it, or {on_host}; {_WITHOUT}"
    return f"run as root, or let everybody read them: {_HOST_SETTING}; {_WITHOUT}"


def counters_held(case: Case) -> Finding | None:
    """Whether another program may hold the counters, which one session can have at a time."""
    if not case.launcher.replays or not case.machine.gpus:
        return None
    others = running(HOLDERS, proc=case.proc)
    if not others:
        return None
    named = ", ".join(f"{process.name} ({process.pid})" for process in others)
    what = f"{named} may hold the counters, which one program can have at a time"
    do = "wait until it has ended"
    if any(HOLDERS[process.name] == "DCGM" for process in others):
        do = "pause it around the capture: `dcgmi profile --pause`, afterwards `dcgmi profile --resume`"
    return case.found("counters.held", "warn", what, do, {"processes": [vars(process) for process in others]})


def mig(case: Case) -> Finding | None:
    """What a division of the GPU means for counters."""
    divided = [gpu for gpu in case.machine.gpus if gpu.mig and gpu.slices]
    if not case.launcher.replays or not divided:
        return None
    shared = sorted({piece.profile or "" for gpu in divided for piece in gpu.slices if piece.shared})
    if shared:
        what = f"{', '.join(shared)} shares its part of the GPU: what slices share (memory, L2) gives no counters there"
        return case.found("mig", "warn", what, "use a slice that has its GPU instance alone, such as 1g.10gb")
    what = f"{_listed(divided)} is divided: counters are of one slice, and clocks cannot be locked"
    return case.found("mig", "ok", what)


def virtual(case: Case) -> Finding | None:
    """Whether a GPU is a virtual one, whose counters the hypervisor gives or not."""
    shared = [gpu for gpu in case.machine.gpus if case.machine.state_of(gpu).virtualization == "VGPU"]
    if not shared or not (case.launcher.replays or case.launcher.name == "nsys"):
        return None
    what = f"{_listed(shared)} is a virtual GPU (vGPU): profilers see nothing unless its host enables profiling"
    return case.found("vgpu", "warn", what, "ask for the vGPU plugin's parameter enable_profiling=1")


def busy(case: Case) -> Finding | None:
    """Whether others use the GPUs, which shows in every duration."""
    found = [(gpu, case.machine.state_of(gpu).occupants) for gpu in case.machine.gpus]
    taken = [(gpu, occupants) for gpu, occupants in found if occupants]
    if not taken:
        return None
    first = ", ".join(f"{each.name} ({each.pid})" for each in taken[0][1][:3])
    more = " and others" if len(taken[0][1]) > 3 else ""
    others = f"other processes use {_listed([gpu for gpu, _ in taken])}: {first}{more}"
    what = f"{others}; durations will not be of this run alone"
    return case.found("gpu.busy", "warn", what, "measure when they have ended, or choose another GPU")


def throttled(case: Case) -> Finding | None:
    """Whether heat or a fault keeps the clocks down at this moment."""
    for gpu in case.machine.gpus:
        troubles = clock_troubles(case.machine.state_of(gpu))
        if troubles:
            what = f"the clock of {_listed([gpu])} is held down ({', '.join(troubles)})"
            return case.found("clocks", "warn", what, "cool it, or see to its power; compare no durations until then")
    return None


def clock_troubles(state: GpuState) -> list[str]:
    """The reasons for a lower clock that speak of heat or a fault."""
    return [reason for reason in state.clock_reasons if reason not in HARMLESS_REASONS | _POWER_REASONS]


def capability_of(gpu: Gpu) -> str | None:
    """The compute capability, which older drivers do not tell: then the one that all chips of that name have."""
    if gpu.compute_capability is not None:
        return gpu.compute_capability
    chips = set(chips_of(None, gpu.name))
    alike = [known for known, of_it in CAPABILITY_CHIPS.items() if chips and chips <= set(of_it)]
    return alike[0] if len(alike) == 1 else None


def reaches(version: str | None, limit: str | None) -> bool:
    """Whether a version is at least the limit; not where one of the two is unknown."""
    return version is not None and limit is not None and version_key(version) >= version_key(limit)


def _has(gpu: Gpu) -> str:
    return f"{gpu.name} has {capability_of(gpu)}"


def _listed(gpus: Iterable[Gpu]) -> str:
    """``GPU 0``, ``GPUs 0 and 2``."""
    numbers = [str(gpu.ordinal) for gpu in gpus]
    return f"GPU {numbers[0]}" if len(numbers) == 1 else f"GPUs {', '.join(numbers[:-1])} and {numbers[-1]}"
