"""The condition of this machine, finding by finding: system, driver, GPUs, counters, what is installed, disks."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from ds2prof.capture.launchers import LAUNCHERS, launcher
from ds2prof.devices import chips_of
from ds2prof.doctor.finding import Finding, Status
from ds2prof.doctor.gpu_checks import HOLDERS, capability_of, clock_troubles, counters_remedy
from ds2prof.doctor.installed import Tool, active_python, copies, python, toolkits
from ds2prof.doctor.tool_checks import SPARSE_FREE_BYTES, file_limit_bytes, in_memory, too_new_for
from ds2prof.machine import Gpu, Machine, surroundings
from ds2prof.machine.nvidia_smi import GpuState, find
from ds2prof.machine.surroundings import CAP_PERFMON, CAP_SYS_ADMIN, PROC, first_match, running, text_of
from ds2prof.units import BYTES_PER_MIB, HZ_PER_MHZ, format_bytes

NO_DRIVER_DO: Final = (
    "with a GPU in this machine: install NVIDIA's driver; in a container: start it with the GPUs (docker: --gpus all)"
)
SMALL_SHM_BYTES: Final = 1024 * BYTES_PER_MIB


@dataclass(frozen=True)
class Place:
    """Where the doctor looks.

    Attributes:
        machine: What was found of GPUs and driver.
        environ: The environment.
        folder: Where measurements go.
        proc: The folder to read as /proc; its parent is the root of the file system.
    """

    machine: Machine
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    folder: Path = Path("measurements")
    proc: Path = PROC


def condition(place: Place) -> list[Finding]:
    """All findings about the machine, in the order in which they are read best."""
    return [finding for part in _PARTS for finding in part(place)]


def system(place: Place) -> Iterator[Finding]:
    """The operating system, and what surrounds this process in it."""
    release = text_of(place.proc.parent / "etc" / "os-release")
    name = first_match(r'(?m)^PRETTY_NAME="?([^"\n]+)', release) or platform.system()
    kernel = text_of(place.proc / "sys" / "kernel" / "osrelease").strip() or platform.release()
    facts = {"system": name, "kernel": kernel, "architecture": platform.machine(), "wsl": place.machine.wsl}
    what = f"{name}, kernel {kernel}, {platform.machine()}{', under WSL' if place.machine.wsl else ''}"
    yield Finding("system", "system", "ok", what, None, {**facts, "cpus": os.cpu_count(), "cpu": place.machine.cpu})
    yield _privileges(place)


def _privileges(place: Place) -> Finding:
    held = surroundings.capabilities(place.proc)
    capable = {
        "CAP_SYS_ADMIN": None if held is None else bool(held >> CAP_SYS_ADMIN & 1),
        "CAP_PERFMON": None if held is None else bool(held >> CAP_PERFMON & 1),
    }
    kind = place.machine.container
    where = f"in a container ({kind}{', rootless' if place.machine.rootless else ''})" if kind else "not in a container"
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    has = [name for name, holds in capable.items() if holds]
    with_what = "capabilities unknown" if held is None else f"with {' and '.join(has)}" if has else "without privileges"
    paranoid = text_of(place.proc / "sys" / "kernel" / "perf_event_paranoid").strip()
    facts = {"container": kind, "rootless": place.machine.rootless, **capable, "uid": os.geteuid()}
    what = f"{where}, {who}, {with_what}"
    if paranoid:
        what += f"; perf_event_paranoid {paranoid}{' (nsys cannot sample the CPU)' if _more_than_2(paranoid) else ''}"
    return Finding("privileges", "process", "ok", what, None, {**facts, "perf_event_paranoid": paranoid or None})


def _more_than_2(paranoid: str) -> bool:
    return paranoid.isdecimal() and int(paranoid) > 2


def driver(place: Place) -> Iterator[Finding]:
    """The driver: whether it is loaded, answers, and which CUDA it goes up to."""
    machine, reply, path = place.machine, place.machine.smi_trouble, find(place.environ)
    facts = {"driver": machine.driver, "cuda": machine.cuda, "nvidia_smi": path}

    def found(status: Status, what: str, do: str | None = None) -> Finding:
        said = None if reply is None else {"state": reply.state, "said": reply.line}
        return Finding("driver", "driver", status, what, do, {**facts, "nvidia_smi_trouble": said})

    if reply is None:
        cuda = f", for CUDA up to {machine.cuda}" if machine.cuda else ""
        yield found("ok", f"{machine.driver or 'of an unknown version'}{cuda}")
    elif reply.state == "hangs":
        yield found(
            "fail", "nvidia-smi does not answer, which is a driver in trouble", "look at `dmesg`; mostly, reboot"
        )
    elif "mismatch" in reply.text:
        loaded = f" {machine.driver}" if machine.driver else ""
        what = f"its libraries do not fit its loaded kernel module{loaded} (nvidia-smi: {reply.line})"
        yield found("fail", what, "reboot, or unload and load the nvidia modules")
    elif machine.driver is None:
        tool = f"nvidia-smi is here, and finds none: {reply.line}" if path else "and no nvidia-smi is here"
        yield found("warn", f"no NVIDIA driver is loaded ({tool})", NO_DRIVER_DO)
    elif reply.state == "missing":
        what = f"{machine.driver} is loaded, but nvidia-smi is not here: chips, clocks and MIG cannot be told"
        yield found("warn", what, "put it on the PATH; in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility")
    else:
        what = f"{machine.driver} is loaded, but nvidia-smi fails ({reply.line or 'without a word'})"
        yield found("fail", what, "mend that first: CUDA programs fail alike")


def device_files(place: Place) -> Iterator[Finding]:
    """The driver's files in /dev, without which no program gets at a GPU."""
    machine = place.machine
    if machine.driver is None:
        return
    dev = place.proc.parent / "dev"
    names = ["dxg"] if machine.wsl else ["nvidiactl", "nvidia-uvm"]
    gpus = [] if machine.wsl else sorted(path.name for path in dev.glob("nvidia[0-9]*"))
    missing = [name for name in names if not _is_device(dev / name)]
    if not gpus and not machine.wsl:
        missing.append("nvidia0")
    closed = [name for name in (*names, *gpus) if name not in missing and not os.access(dev / name, os.R_OK | os.W_OK)]
    facts = {"missing": missing, "closed": closed, "gpus": gpus}
    if missing:
        do = "as root: `nvidia-modprobe -u -c 0`"
        if machine.container:
            do = "start the container with the GPUs (docker: --gpus all; kubernetes: a limit of nvidia.com/gpu)"
        what = f"{', '.join(f'/dev/{name}' for name in missing)} is missing: CUDA programs find no GPU"
        yield Finding("device-files", "driver", "fail", what, do, facts)
    elif closed:
        what = f"{', '.join(f'/dev/{name}' for name in closed)} cannot be opened by this user"
        do = "join the group that owns it (`ls -l /dev/nvidia*`), often video or render"
        yield Finding("device-files", "driver", "fail", what, do, facts)


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode) or path.is_file()  # a file: trees that stand in for /dev
    except OSError:
        return False


def gpus(place: Place) -> Iterator[Finding]:
    """Each GPU with its chip and state, and what ``CUDA_VISIBLE_DEVICES`` leaves of them."""
    machine = place.machine
    for gpu in machine.gpus:
        yield _gpu(gpu, machine.state_of(gpu))
        yield from _conditions(gpu, machine.state_of(gpu))
    yield from _visible(place)


def _gpu(gpu: Gpu, state: GpuState) -> Finding:
    chips = chips_of(gpu.compute_capability, gpu.name)
    capability = capability_of(gpu)
    parts = [
        f"chip {' or '.join(chips)}" if chips else "chip unknown",
        f"compute capability {capability}" if capability else "compute capability unknown",
        f"{format_bytes(gpu.memory_bytes)}" if gpu.memory_bytes else "",
        _slices(gpu),
        _clock(state),
        f"{state.power_limit_w:.0f} W" if state.power_limit_w else "",
        f"{state.temperature_c} C" if state.temperature_c is not None else "",
        "" if state.persistence is None else f"persistence {'on' if state.persistence else 'off'}",
    ]
    facts = {**asdict(gpu), "compute_capability": capability, "chips": list(chips), "state": asdict(state)}
    return Finding("gpu", f"gpu {gpu.ordinal}", "ok", f"{gpu.name}: {', '.join(filter(None, parts))}", None, facts)


def _slices(gpu: Gpu) -> str:
    if gpu.mig is None:
        return ""
    made = ", ".join(f"{piece.profile or 'slice'}{f' ({piece.sms} SMs)' if piece.sms else ''}" for piece in gpu.slices)
    return f"MIG {made or 'without a slice'}" if gpu.mig else "MIG off"


def _clock(state: GpuState) -> str:
    if state.sm_clock_hz is None:
        return ""
    most = f" of {state.max_sm_clock_hz // HZ_PER_MHZ:,}" if state.max_sm_clock_hz else ""
    return f"SM clock {state.sm_clock_hz // HZ_PER_MHZ:,}{most} MHz"


def _conditions(gpu: Gpu, state: GpuState) -> Iterator[Finding]:
    """What of a GPU's state makes its durations differ from those of another day."""
    subject = f"gpu {gpu.ordinal}"
    troubles = clock_troubles(state)
    if troubles:
        what = f"the clock is held down ({', '.join(troubles)})"
        yield Finding("clocks", subject, "warn", what, "cool it, or see to its power", {"reasons": list(troubles)})
    limit_w, default_w = state.power_limit_w, state.default_power_limit_w
    if limit_w is not None and default_w is not None and limit_w < default_w:
        what = f"the power limit is {limit_w:.0f} W, below the usual {default_w:.0f} W: clocks under load are lower"
        do = f"as root: `nvidia-smi -i {gpu.ordinal} -pl {default_w:.0f}`, or compare with runs at this limit alone"
        yield Finding("power-limit", subject, "warn", what, do, {"limit_w": limit_w, "default_w": default_w})
    asked, usual = state.application_clock_hz, state.default_application_clock_hz
    if asked is not None and usual is not None and asked != usual:
        what = f"application clocks are set to {asked // HZ_PER_MHZ:,} MHz (the default is {usual // HZ_PER_MHZ:,} MHz)"
        yield Finding("application-clocks", subject, "warn", what, f"`nvidia-smi -i {gpu.ordinal} -rac` ends that")
    if state.occupants:
        named = ", ".join(f"{each.name} ({each.pid})" for each in state.occupants)
        yield Finding("occupied", subject, "warn", f"other processes use it: {named}", "measure when they have ended")
    if state.compute_mode not in (None, "Default"):
        yield Finding(
            "compute-mode", subject, "warn", f"the compute mode is {state.compute_mode}", "nvidia-smi -c DEFAULT"
        )


def _visible(place: Place) -> Iterator[Finding]:
    choice = place.environ.get("CUDA_VISIBLE_DEVICES")
    machine = place.machine
    if choice is None or not (machine.gpus or machine.hidden):
        return
    left = ", ".join(str(gpu.ordinal) for gpu in machine.gpus) or "none"
    what = f"CUDA_VISIBLE_DEVICES={choice!r} leaves {left} of {len(machine.gpus) + len(machine.hidden)} GPUs"
    unlike = len({gpu.name for gpu in (*machine.gpus, *machine.hidden)}) > 1
    by_bus = place.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    facts = {"value": choice, "visible": [gpu.ordinal for gpu in machine.gpus]}
    if unlike and not by_bus and any(entry.strip().isdecimal() for entry in choice.split(",")):
        what += "; the GPUs differ, and CUDA counts the fastest first, not as nvidia-smi does"
        yield Finding("visible", "gpus", "warn", what, "export CUDA_DEVICE_ORDER=PCI_BUS_ID", facts)
        return
    yield Finding("visible", "gpus", "ok" if machine.gpus else "warn", what, None, facts)


def counters(place: Place) -> Iterator[Finding]:
    """Whether hardware counters may be read, and who else may hold them."""
    machine = place.machine
    if not machine.gpus and machine.driver is None:
        return
    facts = {"permitted": machine.counters_permitted, "admin_only": machine.admin_only}
    if machine.counters_permitted:
        yield Finding("counters", "counters", "ok", "hardware counters may be read", None, facts)
    elif machine.counters_permitted is False:
        what = "the driver lets only administrators read hardware counters (RmProfilingAdminOnly: 1)"
        yield Finding("counters", "counters", "fail", what, counters_remedy(machine), facts)
    else:
        yield Finding("counters", "counters", "unknown", "whether they may be read cannot be told here", None, facts)
    others = running(HOLDERS, proc=place.proc)
    if others:
        named = ", ".join(f"{process.name} ({process.pid})" for process in others)
        what = f"{named} may hold the counters, which one program can have at a time"
        yield Finding("counters.held", "counters", "warn", what, None, {"processes": [asdict(each) for each in others]})


def software(place: Place) -> Iterator[Finding]:
    """CUDA toolkits, the Python that training runs on, and every copy of each profiler."""
    kits = toolkits(place.environ)
    named = ", ".join(f"{kit.version or 'unknown version'} ({kit.path})" for kit in kits)
    facts = {"toolkits": [asdict(kit) for kit in kits]}
    yield Finding("toolkits", "cuda", "ok", f"toolkit {named}" if kits else "no CUDA toolkit is installed", None, facts)
    yield _python(place)
    for name in LAUNCHERS:
        found = copies(launcher(name), place.environ)
        if found:
            listed = "; ".join(_copy(each) for each in found)
            yield Finding("copies", name, "ok", listed, None, {"copies": [asdict(each) for each in found]})


def _copy(tool: Tool) -> str:
    where = tool.path if tool.on_path else f"{tool.path}, not on the PATH"
    return f"{tool.name} {tool.version or 'of unknown version'} ({where})"


def _python(place: Place) -> Finding:
    path = active_python(place.environ)
    found = python(path, place.environ)
    facts = asdict(found)
    if found.version is None:
        do = "name a Python that runs in DS2PROF_PYTHON"
        return Finding("python", "python", "fail", f"{path} does not answer", do, facts)
    have = [f"{name} {version}" for name, version in found.packages.items() if version]
    lacks = [name for name, version in found.packages.items() if not version]
    what = f"{found.version} ({path}): {', '.join(have) or 'none of the packages'}"
    what += f"; without {', '.join(lacks)}" if lacks else ""
    if found.packages.get("torch") is None:
        return Finding("python", "python", "warn", what, f"to train on it: {path} -m pip install torch", facts)
    what += f"; torch is built for {found.torch_build}"
    if place.machine.gpus and (found.torch_cuda is None or too_new_for(found.torch_cuda, place.machine.cuda)):
        do = "install a build of PyTorch for CUDA"
        if found.torch_cuda:
            what += f", and the driver ends at CUDA {place.machine.cuda}"
            do = "update the driver, or install an older build of PyTorch"
        return Finding("python", "python", "warn", what, do, facts)
    return Finding("python", "python", "ok", what, None, facts)


def disks(place: Place) -> Iterator[Finding]:
    """Room for measurements, for what profilers write on the way, and for what data loaders share."""
    temporary = surroundings.temporary_folder(place.environ)
    for check, folder in (("disk.measurements", place.folder), ("disk.temporary", temporary)):
        disk = surroundings.disk_of(folder, proc=place.proc)
        if disk is None:
            continue
        status: Status = "ok" if disk.free_bytes >= SPARSE_FREE_BYTES and disk.writable else "warn"
        what = f"{format_bytes(disk.free_bytes)} free in {folder}{in_memory(disk)}"
        what += "" if disk.writable else ", which this user cannot write to"
        facts = {"folder": str(folder), **{name: value for name, value in asdict(disk).items() if name != "folder"}}
        yield Finding(
            check, "disk", status, what, None if status == "ok" else "make room, or name another folder", facts
        )
    limit_bytes = file_limit_bytes()
    if limit_bytes is not None and limit_bytes < SPARSE_FREE_BYTES:
        what = f"no file may exceed {format_bytes(limit_bytes)} here (ulimit -f)"
        yield Finding("file-size", "disk", "warn", what, "ulimit -f unlimited", {"limit_bytes": limit_bytes})
    shared = surroundings.disk_of(place.proc.parent / "dev" / "shm", proc=place.proc)
    if shared is not None and shared.in_memory and shared.free_bytes < SMALL_SHM_BYTES:
        what = f"{format_bytes(shared.free_bytes)} free in /dev/shm: worker processes of a data loader die of it"
        do = "docker: --shm-size=8g or --ipc=host; else load without workers"
        yield Finding("disk.shared", "disk", "warn", what, do, {"free_bytes": shared.free_bytes})


_PARTS: Final[tuple[Callable[[Place], Iterable[Finding]], ...]] = (
    system,
    driver,
    device_files,
    gpus,
    counters,
    software,
    disks,
)
