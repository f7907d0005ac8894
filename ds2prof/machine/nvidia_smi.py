"""What nvidia-smi says, whatever its generation: which GPUs there are, and the state that each is in.

The state is taken from the XML report, not from a list of fields: one field that a driver does not know makes it refuse
the whole list, and names change (``clocks_throttle_reasons`` became ``clocks_event_reasons`` with driver 535).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as Xml

from ds2prof.machine.asking import Reply, ask
from ds2prof.units import BYTES_PER_MIB, HZ_PER_MHZ

LIMIT_S: Final = 30.0
"""Without persistence mode it wakes each GPU first, which takes seconds."""
PLACES: Final = ("/usr/lib/wsl/lib", "/usr/local/nvidia/bin", "/opt/bin")
"""Folders that hold nvidia-smi although they may not be on the PATH: WSL's, and those of container platforms."""
HARMLESS_REASONS: Final = frozenset({"gpu_idle", "applications_clocks_setting", "display_clocks_setting"})
"""Reasons for a lower clock that are nobody's trouble: nothing runs, or somebody asked for it."""

_LISTED_GPU: Final = re.compile(r"^GPU (\d+):")
_LISTED_SLICE: Final = re.compile(r"^\s+MIG (\S+)\s+Device\s+(\d+):\s+\(UUID:\s*(MIG-[^)\s]+)\)")


@dataclass(frozen=True)
class Slice:
    """One MIG device: what a program that runs on it sees as its GPU."""

    index: int
    profile: str | None = None
    """``3g.40gb``; ``1c.3g.40gb`` where it shares its part of the GPU with others."""
    uuid: str | None = None
    sms: int | None = None
    memory_bytes: int | None = None

    @property
    def shared(self) -> bool:
        """Whether other slices use the same memory and caches."""
        return bool(self.profile and re.match(r"\d+c\.", self.profile))


@dataclass(frozen=True)
class Occupant:
    """One process that uses a GPU, as far as the driver lets us see it."""

    pid: int
    name: str
    memory_bytes: int | None = None


@dataclass(frozen=True)
class GpuState:
    """The state of one GPU; what the driver does not tell is None."""

    uuid: str | None = None
    mig: bool | None = None
    slices: tuple[Slice, ...] = ()
    virtualization: str | None = None
    """``None``, ``Pass-Through``, ``VGPU`` and the like, as nvidia-smi writes it."""
    compute_mode: str | None = None
    persistence: bool | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    sm_clock_hz: int | None = None
    max_sm_clock_hz: int | None = None
    memory_clock_hz: int | None = None
    application_clock_hz: int | None = None
    default_application_clock_hz: int | None = None
    clock_reasons: tuple[str, ...] = ()
    """Why the clock is not higher at this moment: ``sw_power_cap``, ``hw_thermal_slowdown`` and the like."""
    power_limit_w: float | None = None
    default_power_limit_w: float | None = None
    temperature_c: int | None = None
    occupants: tuple[Occupant, ...] = ()


@dataclass(frozen=True)
class Overview:
    """What nvidia-smi says about the driver and all GPUs."""

    driver: str | None = None
    cuda: str | None = None
    states: tuple[GpuState, ...] = ()


def find(environ: Mapping[str, str] = os.environ) -> str | None:
    """The path of nvidia-smi; None where it is neither on the PATH nor in one of :data:`PLACES`."""
    return shutil.which("nvidia-smi", path=environ.get("PATH")) or shutil.which(
        "nvidia-smi", path=os.pathsep.join(PLACES)
    )


def query(*arguments: str) -> Reply:
    """What nvidia-smi says to these arguments, in English numerals."""
    path = find()
    if path is None:
        return Reply("missing")
    return ask([path, *arguments], limit_s=LIMIT_S, environ={**os.environ, "LC_ALL": "C"})


def rows(fields: str) -> tuple[list[list[str]], Reply]:
    """The rows of a query, those of the wrong width left out, and the reply that they were taken from."""
    reply = query(f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    width = fields.count(",") + 1
    cells = ([cell.strip() for cell in line.split(",", width - 1)] for line in reply.answer.splitlines())
    return [row for row in cells if len(row) == width], reply


def overview() -> Overview:
    """The driver and the state of each GPU; empty where nvidia-smi does not tell."""
    text = query("-q", "-x").answer
    try:
        root = Xml.fromstring(text)  # noqa: S314 - the driver's own tool; expat bounds the growth of entities
    except Xml.ParseError:  # an older or another tool: the head of its table has the two versions still
        driver = re.search(r"Driver Version:\s*([\d.]+)", text)
        cuda = re.search(r"CUDA Version:\s*([\d.]+)", text)
        return Overview(driver and driver.group(1), cuda and cuda.group(1))
    states = [_state(gpu) for gpu in root.iter("gpu")]
    if any(state.slices for state in states):
        states = with_names(states, query("-L").answer)
    return Overview(_version(root, "driver_version"), _version(root, "cuda_version"), tuple(states))


def with_names(states: Iterable[GpuState], listing: str) -> list[GpuState]:
    """The states with profiles and UUIDs of their slices, which ``nvidia-smi -L`` alone tells of every driver."""
    named: dict[tuple[int, int], tuple[str, str]] = {}
    ordinal = -1
    for line in listing.splitlines():
        if gpu := _LISTED_GPU.match(line):
            ordinal = int(gpu.group(1))
        elif found := _LISTED_SLICE.match(line):
            named[ordinal, int(found.group(2))] = (found.group(1), found.group(3))
    return [
        _replaced(state, tuple(_named(piece, named.get((ordinal, piece.index))) for piece in state.slices))
        for ordinal, state in enumerate(states)
    ]


def _replaced(state: GpuState, slices: tuple[Slice, ...]) -> GpuState:
    return GpuState(**{**vars(state), "slices": slices})


def _named(piece: Slice, known: tuple[str, str] | None) -> Slice:
    return Slice(piece.index, *known, piece.sms, piece.memory_bytes) if known else piece


def _state(gpu: Xml.Element) -> GpuState:
    power = _first(gpu, "gpu_power_readings", "power_readings")
    return GpuState(
        uuid=_told(gpu, "uuid"),
        mig=_switch(gpu, "mig_mode/current_mig"),
        slices=tuple(_slice(piece) for piece in gpu.iterfind("mig_devices/mig_device")),
        virtualization=_told(gpu, "gpu_virtualization_mode/virtualization_mode"),
        compute_mode=_told(gpu, "compute_mode"),
        persistence=_switch(gpu, "persistence_mode"),
        memory_bytes=_number(gpu, "fb_memory_usage/total", BYTES_PER_MIB),
        memory_used_bytes=_number(gpu, "fb_memory_usage/used", BYTES_PER_MIB),
        sm_clock_hz=_number(gpu, "clocks/sm_clock", HZ_PER_MHZ),
        max_sm_clock_hz=_number(gpu, "max_clocks/sm_clock", HZ_PER_MHZ),
        memory_clock_hz=_number(gpu, "clocks/mem_clock", HZ_PER_MHZ),
        application_clock_hz=_number(gpu, "applications_clocks/graphics_clock", HZ_PER_MHZ),
        default_application_clock_hz=_number(gpu, "default_applications_clocks/graphics_clock", HZ_PER_MHZ),
        clock_reasons=_reasons(_first(gpu, "clocks_event_reasons", "clocks_throttle_reasons")),
        power_limit_w=_watts(power, "current_power_limit", "enforced_power_limit", "power_limit"),
        default_power_limit_w=_watts(power, "default_power_limit"),
        temperature_c=_number(gpu, "temperature/gpu_temp"),
        occupants=tuple(_occupants(gpu)),
    )


def _slice(piece: Xml.Element) -> Slice:
    return Slice(
        index=_number(piece, "index") or 0,
        uuid=_told(piece, "uuid"),
        sms=_number(piece, "device_attributes/shared/multiprocessor_count"),
        memory_bytes=_number(piece, "fb_memory_usage/total", BYTES_PER_MIB),
    )


def _occupants(gpu: Xml.Element) -> Iterable[Occupant]:
    for process in gpu.iterfind("processes/process_info"):
        pid = _number(process, "pid")
        if pid is not None and "C" in (_told(process, "type") or "C"):  # what only draws is no rival
            name = _told(process, "process_name") or "process"
            yield Occupant(pid, name, _number(process, "used_memory", BYTES_PER_MIB))


def _reasons(element: Xml.Element | None) -> tuple[str, ...]:
    """The reasons that hold now, without the two generations' prefixes."""
    if element is None:
        return ()
    held = (child.tag for child in element if (child.text or "").strip() == "Active")
    return tuple(re.sub(r"^clocks_(?:event|throttle)_reason_", "", tag) for tag in held)


def _first(gpu: Xml.Element, *paths: str) -> Xml.Element | None:
    return next((found for path in paths if (found := gpu.find(path)) is not None), None)


def _told(element: Xml.Element, path: str) -> str | None:
    """The text at that place; None for nvidia-smi's ways of saying that it does not know."""
    text = (element.findtext(path) or "").strip()
    unknown = text in ("", "N/A", "[N/A]") or text.startswith(("Requested functionality", "[", "Unknown"))
    return None if unknown else text


def _version(root: Xml.Element, path: str) -> str | None:
    found = re.match(r"\d[\d.]*", _told(root, path) or "")
    return found.group() if found else None


def _switch(element: Xml.Element, path: str) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get(_told(element, path) or "")


def _number(element: Xml.Element, path: str, factor: int = 1) -> int | None:
    found = re.match(r"\d+", _told(element, path) or "")
    return int(found.group()) * factor if found else None


def _watts(element: Xml.Element | None, *paths: str) -> float | None:
    for path in paths if element is not None else ():
        assert element is not None
        if found := re.match(r"\d+(?:\.\d+)?", _told(element, path) or ""):
            return float(found.group())
    return None
