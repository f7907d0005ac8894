"""Checks of a capture that look at what is installed and at the disks: each gives a finding, or None."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

from ds2prof.capture.launchers import find_importer
from ds2prof.devices import chips_of
from ds2prof.doctor.finding import Case, Finding, Status
from ds2prof.doctor.installed import active_python, listed_chips, python, python_of, version_of
from ds2prof.machine.surroundings import Disk, disk_of, temporary_folder, text_of, version_key
from ds2prof.units import BYTES_PER_MIB, format_bytes

LEAST_FREE_BYTES: Final = 64 * BYTES_PER_MIB
"""A capture is refused where less is free: not even a short one would fit."""
SPARSE_FREE_BYTES: Final = 2048 * BYTES_PER_MIB
"""Below this, a capture is warned of: long ones take gigabytes."""
NEEDS_TORCH: Final = frozenset({"torch", "memory"})
LAST_NSYS_WITHOUT_NEW_NVTX: Final = (2022, 4)
"""The nsys in which ranges of newer nvtx packages were seen to be lost; older ones are taken to lose them too."""
FIRST_NVTX_LOST: Final = (0, 2, 12)
LOCK_FILE: Final = "nsight-compute-lock"


def tool(case: Case) -> Finding | None:
    """Whether the profiler's executable is here."""
    declared = case.launcher
    if not declared.tools:
        return None
    if case.tool is None:
        what = f"{' or '.join(declared.tools)} is not on this machine"
        return case.found("tool", "fail", what, declared.install)
    version = version_of(case.tool, declared.version)
    name = f"{Path(case.tool).name} {version}" if version else Path(case.tool).name
    return case.found("tool", "ok", f"{name} ({case.tool})", None, {"path": case.tool, "version": version})


def importer(case: Case) -> Finding | None:
    """Whether a profiler whose report another program makes has that program."""
    declared = case.launcher.importer
    if declared is None or case.tool is None or find_importer(declared, case.tool, case.environ) is not None:
        return None
    what = f"the nsys here ({case.tool}) lacks its importer {declared.tool}: captures end as {declared.left} files"
    do = "install the whole of Nsight Systems, or import them where it is; torch works without"
    return case.found("importer", "warn", what, do)


def chip(case: Case) -> Finding | None:
    """Whether this version of Nsight Compute knows the chips that are here."""
    if not case.launcher.replays or case.tool is None or not case.machine.gpus:
        return None
    listed = listed_chips(case.tool) or frozenset()
    for gpu in case.machine.gpus if listed else ():
        chips = chips_of(gpu.compute_capability, gpu.name)
        if chips and listed.isdisjoint(chips):
            version = version_of(case.tool, case.launcher.version)
            what = f"Nsight Compute {version or 'here'} does not know the chip of {gpu.name} ({' or '.join(chips)})"
            do = "install a version that names it in `ncu --list-chips`, the newest for a new chip; nsys works without"
            return case.found("chip", "fail", what, do, {"chips": list(chips), "listed": sorted(listed)})
    return None


def lock(case: Case) -> Finding | None:
    """Whether ncu's lock file is somebody else's, which ends ncu before it begins."""
    if not case.launcher.replays:
        return None
    path = temporary_folder(case.environ) / LOCK_FILE
    try:
        owner = path.stat().st_uid
    except OSError:
        return None
    if not os.access(path, os.W_OK):
        what = f"{path} belongs to another user (uid {owner}), and ncu must write it"
        return case.found("lock", "fail", what, "set TMPDIR to a folder of your own, or have that file removed")
    # Linux keeps even root from opening what another user made in a folder that everybody writes to.
    protected = text_of(case.proc / "sys" / "fs" / "protected_regular").strip() not in ("", "0")
    if owner != os.geteuid() and protected and path.parent.stat().st_mode & 0o1002 == 0o1002:
        what = f"{path} belongs to another user (uid {owner}), and this system may keep ncu from opening it"
        return case.found("lock", "warn", what, "if ncu reports a lock that failed, set TMPDIR to a folder of your own")
    return None


def nvtx(case: Case) -> Finding | None:
    """Whether the nvtx package of the program's Python is one whose ranges this nsys loses."""
    if case.launcher.name != "nsys" or case.tool is None:
        return None
    version = version_of(case.tool, case.launcher.version)
    if version is None or version_key(version)[:2] > LAST_NSYS_WITHOUT_NEW_NVTX:
        return None
    path = _python(case)
    installed = python(path, case.environ).packages.get("nvtx") if path else None
    if installed is None or version_key(installed) < FIRST_NVTX_LOST:
        return None
    what = (
        f"nsys {version} records no range of the nvtx package {installed} (seen with nsys 2022.4.2 and nvtx 0.2.12 on)"
    )
    do = f"{path} -m pip install 'nvtx<=0.2.11', or take a newer nsys; kernels and calls are recorded all the same"
    return case.found("nvtx", "warn", what, do, {"nsys": version, "nvtx": installed})


def torch(case: Case) -> Finding | None:
    """Whether the Python has a PyTorch, and one for the GPUs that are here.

    A program's Python may start another one, so that nothing is refused for what it lacks.
    """
    path = _python(case) if case.launcher.name in NEEDS_TORCH else None
    found = python(path, case.environ) if path else None
    if found is None or found.version is None:
        return None
    version = found.packages.get("torch")
    status: Status = "warn" if case.program else "fail"
    if version is None:
        do = f"{path} -m pip install torch, or name another Python in DS2PROF_PYTHON"
        return case.found("torch", status, f"{path} has no PyTorch", do)
    facts = {"torch": version, "torch_cuda": found.torch_cuda}
    built = f"PyTorch {version}, built for {found.torch_build}"
    if case.machine.gpus and found.torch_cuda is None:
        what = f"{path} has {built}: it does not see the GPU"
        return case.found("torch", "warn", what, "install a build of PyTorch for CUDA", facts)
    if too_new_for(found.torch_cuda, case.machine.cuda):
        what = f"{path} has {built}, and the driver here ends at CUDA {case.machine.cuda}: it finds no GPU"
        return case.found("torch", "warn", what, "update the driver, or install an older build of PyTorch", facts)
    return case.found("torch", "ok", built, None, {"python": path, **facts})


def too_new_for(built: str | None, driver: str | None) -> bool:
    """Whether a program built for that CUDA cannot run on a driver of this one: what counts is the major version."""
    return bool(built and driver) and version_key(built)[:1] > version_key(driver)[:1]


def disk(case: Case) -> Finding | None:
    """Whether the measurement, and what the profiler writes on the way, has room."""
    places = [] if case.folder is None else [disk_of(case.folder, proc=case.proc)]
    if case.launcher.tools:  # ncu and nsys keep their raw streams there until the end
        places.append(disk_of(temporary_folder(case.environ), proc=case.proc))
    narrow = min((place for place in places if place is not None), key=lambda place: place.free_bytes, default=None)
    if narrow is None or narrow.free_bytes >= SPARSE_FREE_BYTES:
        return None
    status: Status = "fail" if narrow.free_bytes < LEAST_FREE_BYTES else "warn"
    what = f"{format_bytes(narrow.free_bytes)} are free in {narrow.folder}{in_memory(narrow)}"
    do = "make room"
    if case.launcher.tools and narrow.folder == temporary_folder(case.environ):
        do = "make room, or set TMPDIR to a folder with more: the profiler's raw data goes there first"
    return case.found("disk", status, what, do, {"folder": str(narrow.folder), "free_bytes": narrow.free_bytes})


def in_memory(place: Disk) -> str:
    """What is to be added about a folder whose files are kept in main memory."""
    return ", whose files are kept in main memory" if place.in_memory else ""


def file_size(case: Case) -> Finding | None:
    """Whether a limit on the size of files would cut the measurement."""
    limit_bytes = file_limit_bytes()
    if limit_bytes is None or limit_bytes >= SPARSE_FREE_BYTES:
        return None
    status: Status = "fail" if limit_bytes < LEAST_FREE_BYTES else "warn"
    what = f"no file may exceed {format_bytes(limit_bytes)} here (ulimit -f)"
    return case.found("file-size", status, what, "ulimit -f unlimited", {"limit_bytes": limit_bytes})


def file_limit_bytes() -> int | None:
    """The size that files of this process and its children may have; None where any."""
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit_bytes == resource.RLIM_INFINITY else limit_bytes


def _python(case: Case) -> str | None:
    """The Python that is asked about: the program's, or without a program the one that training runs on."""
    return python_of(case.program, case.environ) if case.program else active_python(case.environ)
