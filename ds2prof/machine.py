"""What this machine has that matters for a capture: GPUs, driver, and whether hardware counters may be read.

Everything is asked from the outside (nvidia-smi, /proc), without loading CUDA or torch: a profiler must find the
devices untouched, and reading a laptop's files must not need a driver.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ds2prof.units import BYTES_PER_MIB, HZ_PER_MHZ

PROC: Final = Path("/proc")
_CAP_SYS_ADMIN: Final = 21
_CAP_PERFMON: Final = 38
_SMI_LIMIT_S: Final = 20


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU that this process may use."""

    ordinal: int
    """As nvidia-smi counts, by PCI bus; CUDA counts so too only with CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    name: str
    uuid: str | None
    compute_capability: str | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Machine:
    """What was found. ``counters_permitted`` is None where that cannot be told."""

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    """The newest CUDA version that the driver offers."""
    counters_permitted: bool | None = None
    cpu: str | None = None

    def devices(self, *, cpu_only: bool = False) -> list[dict[str, Any]]:
        """The devices as the sidecar lists them: the GPUs, else the CPU."""
        if self.gpus and not cpu_only:
            return [{"device": "cuda", **asdict(gpu)} for gpu in self.gpus]
        return [{"device": "cpu", "name": self.cpu, "threads": os.cpu_count()}]


def find_machine(environ: Mapping[str, str] = os.environ, *, proc: Path = PROC) -> Machine:
    """What this machine has, as far as ``CUDA_VISIBLE_DEVICES`` lets a program see it."""
    gpus = visible(_smi_gpus() or _proc_gpus(proc), environ.get("CUDA_VISIBLE_DEVICES"))
    cpu = _first_match(r"(?m)^model name\s*:\s*(.+?)\s*$", _text(proc / "cpuinfo"))
    if not gpus:
        return Machine(cpu=cpu)
    overview = _smi()
    return Machine(
        gpus=gpus,
        driver=_first_match(r"Driver Version:\s*([\d.]+)", overview) or _kernel_module(proc),
        cuda=_first_match(r"CUDA Version:\s*([\d.]+)", overview),
        counters_permitted=_counters_permitted(proc),
        cpu=cpu,
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
    rows = _smi_rows("index,clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu")
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


def _named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    if entry.isdigit():
        return next((gpu for gpu in gpus if gpu.ordinal == int(entry)), None)
    if entry.startswith("MIG-"):  # a slice: which GPU it is cut from, nvidia-smi -L alone tells
        return gpus[0] if len(gpus) == 1 else None
    return next((gpu for gpu in gpus if entry.startswith("GPU-") and (gpu.uuid or "").startswith(entry)), None)


def _smi(*arguments: str) -> str:
    """What nvidia-smi prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=_SMI_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _smi_rows(fields: str) -> list[list[str]]:
    """The rows of a query of nvidia-smi, those of the wrong width left out."""
    text = _smi(f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == fields.count(",") + 1]


def _smi_gpus() -> list[Gpu]:
    rows = _smi_rows("index,uuid,memory.total,compute_cap,name")
    if not rows:  # drivers before 510 refuse a query that asks for compute_cap
        rows = [[*row[:3], "", row[3]] for row in _smi_rows("index,uuid,memory.total,name")]
    return [
        Gpu(
            ordinal=int(index),
            name=name,
            uuid=uuid or None,
            compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
            memory_bytes=_scaled(memory, BYTES_PER_MIB),
        )
        for index, uuid, memory, capability, name in rows
        if index.isdigit()
    ]


def _proc_gpus(proc: Path) -> list[Gpu]:
    """The GPUs as the kernel module lists them, for containers that have the driver without nvidia-smi."""
    texts = [_text(path) for path in sorted((proc / "driver" / "nvidia" / "gpus").glob("*/information"))]
    return [
        Gpu(
            ordinal=ordinal,
            name=_first_match(r"(?m)^Model:\s*(.+?)\s*$", text) or "NVIDIA GPU",
            uuid=_first_match(r"(?m)^GPU UUID:\s*(GPU-[0-9a-f-]+)\s*$", text),
            compute_capability=None,
            memory_bytes=None,
        )
        for ordinal, text in enumerate(texts)
    ]


def _kernel_module(proc: Path) -> str | None:
    """The version of the driver's kernel module."""
    return _first_match(r"Kernel Module[^\n]*?\s(\d+\.\d+(?:\.\d+)?)\s", _text(proc / "driver" / "nvidia" / "version"))


def _counters_permitted(proc: Path) -> bool | None:
    """Whether the driver lets this process read hardware counters: everybody may, or we are an administrator.

    Root in a container is none without CAP_SYS_ADMIN or CAP_PERFMON.
    """
    admin_only = _first_match(r"(?m)^RmProfilingAdminOnly:\s*(\d+)", _text(proc / "driver" / "nvidia" / "params"))
    if admin_only == "0":
        return True
    capabilities = _first_match(r"(?m)^CapEff:\s*([0-9a-f]+)", _text(proc / "self" / "status"))
    if capabilities is None:
        return None
    held = int(capabilities, 16)
    if held >> _CAP_SYS_ADMIN & 1 or held >> _CAP_PERFMON & 1:
        return True
    return False if admin_only is not None else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first_match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1) if found else None


def _scaled(text: str, factor: int = 1) -> int | None:
    """A whole number in base units; None for nvidia-smi's ``[N/A]``."""
    return int(text) * factor if text.isdigit() else None
