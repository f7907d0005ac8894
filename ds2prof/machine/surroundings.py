"""What surrounds this process as far as profilers care: containers, privileges, other profilers, disks.

All of it is read from ``/proc`` and a few marks in the file system, whose root can be another folder.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CAP_SYS_ADMIN: Final = 21
CAP_PERFMON: Final = 38
_MEMORY_BACKED: Final = ("tmpfs", "ramfs")
_CONTAINER_VARIABLES: Final = {
    "KUBERNETES_SERVICE_HOST": "kubernetes",
    "APPTAINER_CONTAINER": "apptainer",
    "SINGULARITY_CONTAINER": "apptainer",
}
_CONTAINER_MARKS: Final = {
    ".singularity.d": "apptainer",
    "run/.containerenv": "podman",
    ".dockerenv": "docker",
}
_CONTAINER_CGROUPS: Final = {"kubepods": "kubernetes", "libpod": "podman", "docker": "docker", "lxc": "lxc"}


@dataclass(frozen=True)
class Process:
    """A process that runs on this machine."""

    pid: int
    name: str


@dataclass(frozen=True)
class Disk:
    """The file system that a folder is on."""

    folder: Path
    free_bytes: int
    in_memory: bool
    """Whether what is written there takes main memory."""
    writable: bool


def container(environ: Mapping[str, str] = os.environ, *, proc: Path = PROC) -> str | None:
    """What kind of container this is: docker, podman, kubernetes, apptainer, lxc, another's own name; None for none."""
    for variable, kind in _CONTAINER_VARIABLES.items():
        if environ.get(variable):
            return kind
    cgroups = text_of(proc / "1" / "cgroup")
    if "kubepods" in cgroups:  # before the marks: its containers carry those of docker or podman as well
        return "kubernetes"
    for mark, kind in _CONTAINER_MARKS.items():
        if proc.parent.joinpath(mark).exists():
            return kind
    found = next((kind for word, kind in _CONTAINER_CGROUPS.items() if f"/{word}" in cgroups), None)
    return found or environ.get("container") or None


def is_wsl(proc: Path = PROC) -> bool:
    """Whether this is Linux inside Windows, where the driver is Windows' own."""
    return "microsoft" in text_of(proc / "sys" / "kernel" / "osrelease").lower()


def capabilities(proc: Path = PROC) -> int | None:
    """The effective capabilities of this process, a bit each; 0 inside a user namespace, where they count for nothing.

    The driver asks for capabilities on the whole machine. A rootless container has them within itself alone.
    """
    effective = first_match(r"(?m)^CapEff:\s*([0-9a-f]+)", text_of(proc / "self" / "status"))
    if effective is None:
        return None
    return 0 if in_user_namespace(proc) else int(effective, 16)


def in_user_namespace(proc: Path = PROC) -> bool:
    """Whether the user ids of this process are mapped: those of a rootless container are."""
    mapped = text_of(proc / "self" / "uid_map").split()
    return bool(mapped) and mapped != ["0", "0", "4294967295"]


def admin_only(proc: Path = PROC) -> bool | None:
    """Whether the driver keeps hardware counters for administrators; None where it does not say."""
    setting = first_match(r"(?m)^RmProfilingAdminOnly:\s*(\d+)", text_of(proc / "driver" / "nvidia" / "params"))
    return None if setting is None else setting != "0"


def kernel_module(proc: Path = PROC) -> str | None:
    """The version of the driver's kernel module that is loaded."""
    text = text_of(proc / "driver" / "nvidia" / "version")
    return first_match(r"Kernel Module[^\n]*?\s(\d+\.\d+(?:\.\d+)?)\s", text)


def running(names: Collection[str], *, proc: Path = PROC) -> list[Process]:
    """The processes with these names; the kernel keeps 15 characters of a name."""
    found = []
    for folder in proc.glob("[0-9]*"):
        name = text_of(folder / "comm").strip()
        if name in names and folder.name.isdecimal() and int(folder.name) != os.getpid():
            found.append(Process(int(folder.name), name))
    return sorted(found, key=lambda process: process.pid)


def temporary_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where programs with this environment put temporary files."""
    return Path(environ.get("TMPDIR") or ("/tmp" if environ is not os.environ else tempfile.gettempdir()))  # noqa: S108


def disk_of(folder: Path, *, proc: Path = PROC) -> Disk | None:
    """The disk that ``folder`` is on, or would be once it is made; None where that cannot be told."""
    try:
        place = folder.resolve()
        while not place.exists() and place != place.parent:
            place = place.parent
        free_bytes = shutil.disk_usage(place).free
        return Disk(folder, free_bytes, _file_system(place, proc) in _MEMORY_BACKED, os.access(place, os.W_OK))
    except (OSError, RuntimeError):  # the latter for a loop of links, before Python 3.13
        return None


def text_of(path: Path) -> str:
    """The text of a small file; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def first_match(pattern: str, text: str) -> str | None:
    """The first group of the first match; None without one."""
    found = re.search(pattern, text)
    return found.group(1) if found else None


def version_key(version: str | None) -> tuple[int, ...]:
    """The numerals of a version, fit for comparing; empty where it is unknown."""
    return tuple(int(part) for part in re.findall(r"\d+", version or ""))


def _file_system(place: Path, proc: Path) -> str:
    """The kind of the file system that holds ``place``: that of its longest mount point, the last if mounted twice."""
    kind, longest = "", -1
    for line in text_of(proc / "self" / "mounts").splitlines():
        fields = line.split()
        if len(fields) > 2 and len(fields[1]) >= longest and place.is_relative_to(_unescaped(fields[1])):
            kind, longest = fields[2], len(fields[1])
    return kind


def _unescaped(mount_point: str) -> str:
    """A mount point as the kernel means it: it writes blanks as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), mount_point)
