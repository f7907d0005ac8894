"""What this machine has that matters for a capture: GPUs, driver, and whether hardware counters may be read.

Everything is asked from the outside (nvidia-smi, /proc), without loading CUDA or torch: a profiler must find the
devices untouched, and reading a laptop's files must not need a driver.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ds2prof.machine import nvidia_smi, surroundings
from ds2prof.machine.asking import Reply
from ds2prof.machine.nvidia_smi import GpuState, Slice
from ds2prof.machine.surroundings import CAP_PERFMON, CAP_SYS_ADMIN, PROC, first_match, text_of, version_key
from ds2prof.units import BYTES_PER_MIB, HZ_PER_MHZ

_RESTRICTS_SINCE: Final = (418, 43)
"""The driver that began to keep counters for administrators."""
_PERFMON_SINCE: Final = (565,)
"""The driver that began to take CAP_PERFMON for enough."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU that this process may use."""

    ordinal: int
    """As nvidia-smi counts, by PCI bus; CUDA counts so too only with CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    name: str
    uuid: str | None
    compute_capability: str | None
    memory_bytes: int | None
    mig: bool | None = None
    """Whether it is divided (MIG mode); None where it cannot be, or that is unknown."""
    slices: tuple[Slice, ...] = ()
    """Its MIG devices, those that ``CUDA_VISIBLE_DEVICES`` leaves."""


@dataclass(frozen=True)
class Machine:
    """What was found. ``counters_permitted`` is None where that cannot be told."""

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    """The newest CUDA version that the driver offers."""
    counters_permitted: bool | None = None
    cpu: str | None = None
    hidden: tuple[Gpu, ...] = ()
    """GPUs that are here and that ``CUDA_VISIBLE_DEVICES`` leaves out."""
    states: tuple[GpuState, ...] = ()
    smi_trouble: Reply | None = None
    """What nvidia-smi said instead of an answer; None where it answers."""
    admin_only: bool | None = None
    """Whether the driver keeps hardware counters for administrators."""
    container: str | None = None
    rootless: bool = False
    """Whether the privileges that this process has end with its container."""
    wsl: bool = False

    def devices(self, *, cpu_only: bool = False) -> list[dict[str, Any]]:
        """The devices as the sidecar lists them: the GPUs, else the CPU."""
        if self.gpus and not cpu_only:
            return [{"device": "cuda", **_known(gpu)} for gpu in self.gpus]
        return [{"device": "cpu", "name": self.cpu, "threads": os.cpu_count()}]

    def state_of(self, gpu: Gpu) -> GpuState:
        """What nvidia-smi reports of that GPU; all unknown where it reports nothing."""
        alike = (state for state in self.states if state.uuid is not None and state.uuid == gpu.uuid)
        return next(alike, GpuState())


def find_machine(environ: Mapping[str, str] = os.environ, *, proc: Path = PROC) -> Machine:
    """What this machine has, as far as ``CUDA_VISIBLE_DEVICES`` lets a program see it.

    Args:
        environ: the environment of the program.
        proc: the folder to read as /proc; its parent is the root of the file system.
    """
    present, trouble = _smi_gpus()
    seen = nvidia_smi.overview() if present else nvidia_smi.Overview()
    driver = seen.driver or surroundings.kernel_module(proc)
    present = [_with_slices(gpu, seen.states) for gpu in present or _proc_gpus(proc)]
    left = visible(present, environ.get("CUDA_VISIBLE_DEVICES"))
    kept = {gpu.ordinal for gpu in left}
    return Machine(
        gpus=left,
        driver=driver,
        cuda=seen.cuda,
        counters_permitted=_counters_permitted(proc, driver) if present else None,
        cpu=first_match(r"(?m)^model name\s*:\s*(.+?)\s*$", text_of(proc / "cpuinfo")),
        hidden=tuple(gpu for gpu in present if gpu.ordinal not in kept),
        states=seen.states,
        smi_trouble=trouble,
        admin_only=surroundings.admin_only(proc),
        container=surroundings.container(environ, proc=proc),
        rootless=surroundings.in_user_namespace(proc),
        wsl=surroundings.is_wsl(proc),
    )


def visible(gpus: Sequence[Gpu], choice: str | None) -> tuple[Gpu, ...]:
    """The GPUs that a value of ``CUDA_VISIBLE_DEVICES`` leaves: CUDA stops at the first entry that names none."""
    if choice is None:
        return tuple(gpus)
    left: list[Gpu] = []
    for entry in choice.split(","):
        found = _named(gpus, entry.strip())
        if found is None:
            break
        left.append(found)
    return tuple(left)


def clocks() -> list[dict[str, Any]] | None:
    """The clocks of every GPU at this moment, with its temperature; None where they cannot be read."""
    rows, _ = nvidia_smi.rows("index,clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu")
    return [
        {
            "ordinal": _scaled(ordinal),
            "sm_clock_hz": _scaled(sm, HZ_PER_MHZ),
            "memory_clock_hz": _scaled(memory, HZ_PER_MHZ),
            "max_sm_clock_hz": _scaled(max_sm, HZ_PER_MHZ),
            "temperature_c": _scaled(celsius),
        }
        for ordinal, sm, memory, max_sm, celsius in rows
    ] or None


def _known(gpu: Gpu) -> dict[str, Any]:
    """The GPU's fields, those of MIG left out where there is no MIG."""
    facts = asdict(gpu)
    if not gpu.mig:
        del facts["mig"], facts["slices"]
    return facts


def _named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    if entry.isdecimal():
        return next((gpu for gpu in gpus if gpu.ordinal == int(entry)), None)
    if entry.startswith("MIG-"):
        return _cut_from(gpus, entry)
    return next((gpu for gpu in gpus if entry.startswith("GPU-") and (gpu.uuid or "").startswith(entry)), None)


def _cut_from(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    """The GPU that a MIG device is cut from, with that slice alone.

    ``MIG-<uuid>`` names the slice, ``MIG-GPU-<uuid>/<instance>/<instance>`` (drivers before 470) names its GPU.
    """
    for gpu in gpus:
        chosen = tuple(piece for piece in gpu.slices if piece.uuid == entry)
        if chosen:
            return replace(gpu, slices=chosen)
        if gpu.uuid is not None and entry.startswith(f"MIG-{gpu.uuid}/"):
            return gpu
    return gpus[0] if len(gpus) == 1 and not gpus[0].slices else None


def _smi_gpus() -> tuple[list[Gpu], Reply | None]:
    """The GPUs that nvidia-smi lists, and what it said where it lists none."""
    rows, reply = nvidia_smi.rows("index,uuid,memory.total,compute_cap,name")
    if not rows and reply.state not in ("missing", "hangs"):  # drivers before 510 refuse to be asked for compute_cap
        rows, reply = nvidia_smi.rows("index,uuid,memory.total,name")
        rows = [[*row[:3], "", row[3]] for row in rows]
    gpus = [
        Gpu(
            ordinal=int(index),
            name=name,
            uuid=uuid or None,
            compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
            memory_bytes=_scaled(memory, BYTES_PER_MIB),
        )
        for index, uuid, memory, capability, name in rows
        if index.isdecimal()
    ]
    return gpus, None if gpus else reply


def _with_slices(gpu: Gpu, states: Sequence[GpuState]) -> Gpu:
    state = next((state for state in states if state.uuid is not None and state.uuid == gpu.uuid), GpuState())
    return replace(gpu, mig=state.mig, slices=state.slices)


def _proc_gpus(proc: Path) -> list[Gpu]:
    """The GPUs as the kernel module lists them, for containers that have the driver without nvidia-smi."""
    texts = [text_of(path) for path in sorted((proc / "driver" / "nvidia" / "gpus").glob("*/information"))]
    return [
        Gpu(
            ordinal=ordinal,
            name=first_match(r"(?m)^Model:\s*(.+?)\s*$", text) or "NVIDIA GPU",
            uuid=first_match(r"(?m)^GPU UUID:\s*(GPU-[0-9a-f-]+)\s*$", text),
            compute_capability=None,
            memory_bytes=None,
        )
        for ordinal, text in enumerate(texts)
    ]


def _counters_permitted(proc: Path, driver: str | None) -> bool | None:
    """Whether the driver lets this process read hardware counters: everybody may, or we are an administrator.

    Root in a container is none without CAP_SYS_ADMIN, or CAP_PERFMON where the driver takes that. Under WSL Windows
    decides, which is not asked.
    """
    restricted = surroundings.admin_only(proc)
    if restricted is False or () < version_key(driver) < _RESTRICTS_SINCE:
        return True
    held = surroundings.capabilities(proc)
    if held is None or surroundings.is_wsl(proc):
        return None
    if held >> CAP_SYS_ADMIN & 1:
        return True
    if held >> CAP_PERFMON & 1 and version_key(driver) >= _PERFMON_SINCE:
        return True
    return False if restricted else None


def _scaled(text: str, factor: int = 1) -> int | None:
    """A whole number in base units; None for nvidia-smi's ``[N/A]``."""
    return int(text) * factor if text.isdecimal() else None
