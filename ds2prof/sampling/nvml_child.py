"""The child that reads NVML: a line for each device it finds, then a line for each device and period, for ever.

Grammar, cells separated by tabs::

    file     := (error | device*) reading*
    error    := "error" text
    device   := "device" index entity name uuid memory_bytes        entity: the UUID of a MIG slice, else empty
    reading  := "reading" unix_ns index entity (name "=" value)*

It ends with its parent, or when nobody reads it any more.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ds2prof.sampling.gpu_fields import ENERGY, REASON, REASONS
from ds2prof.sampling.nvml import Handle, Nvml, NvmlError
from ds2prof.sampling.pace import Pace, thread_ns


@dataclass(frozen=True)
class Device:
    """What is read: a GPU, or with ``entity`` a slice of it."""

    handle: Handle
    index: int
    entity: str = ""


def main(period_ns: int, *, choice: str | None) -> int:
    """The exit code, once nobody reads any more.

    Args:
        period_ns: time between two readings.
        choice: ``CUDA_VISIBLE_DEVICES``.
    """
    try:
        nvml = Nvml()
        devices = visible(nvml, choice)
        if not devices:
            raise NvmlError("no GPU is visible")
    except NvmlError as error:
        _tell([f"error\t{error}"])
        return 1
    try:
        _tell(_described(nvml, device) for device in devices)
        _read_for_ever(nvml, devices, Pace(period_ns))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush fails at the end
    return 0


def _read_for_ever(nvml: Nvml, devices: list[Device], pace: Pace) -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        now_ns, began_ns = time.monotonic_ns(), thread_ns()
        _tell(_reading(nvml, device) for device in devices)
        pace.done(now_ns, cost_ns=thread_ns() - began_ns)
        time.sleep(max(0, pace.due_ns - time.monotonic_ns()) / 1e9)


def visible(nvml: Nvml, choice: str | None) -> list[Device]:
    """The GPUs and slices that ``CUDA_VISIBLE_DEVICES`` leaves: CUDA stops at the first entry that names none.

    Numbers are taken as nvidia-smi counts.
    """
    entries = map(str, range(nvml.count())) if choice is None else (entry.strip() for entry in choice.split(","))
    found: list[Device] = []
    for entry in entries:
        named = list(_named(nvml, entry))
        if not named:
            break
        found += [
            device for device in named if (device.index, device.entity) not in {(d.index, d.entity) for d in found}
        ]
    return found


def _named(nvml: Nvml, entry: str) -> Iterator[Device]:
    """The GPU with its slices, or the slice with its GPU, that an entry names."""
    handle = nvml.by_index(int(entry)) if entry.isdecimal() else _by_uuid(nvml, entry)
    gpu = handle if handle is None else nvml.gpu_of(handle) if entry.startswith("MIG-") else handle
    index = None if gpu is None else nvml.index(gpu)
    if handle is None or gpu is None or index is None:
        return
    yield Device(gpu, index)
    for piece in [handle] if entry.startswith("MIG-") else nvml.slices(gpu):
        yield Device(piece, index, nvml.uuid(piece) or "MIG")


def _by_uuid(nvml: Nvml, entry: str) -> Handle | None:
    """The device of a UUID; of a GPU the beginning of it is enough."""
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    whole = nvml.by_uuid(entry)
    if whole is not None or entry.startswith("MIG-"):
        return whole
    gpus = filter(None, map(nvml.by_index, range(nvml.count())))
    return next((gpu for gpu in gpus if (nvml.uuid(gpu) or "").startswith(entry)), None)


def _described(nvml: Nvml, device: Device) -> str:
    memory = nvml.memory_bytes(device.handle)
    name, uuid = nvml.name(device.handle) or "", nvml.uuid(device.handle) or ""
    return f"device\t{device.index}\t{device.entity}\t{name}\t{uuid}\t{memory[1] if memory else ''}"


def _reading(nvml: Nvml, device: Device) -> str:
    cells = [f"{name}={value!r}" for name, value in _values(nvml, device)]
    return "\t".join([f"reading\t{time.time_ns()}\t{device.index}\t{device.entity}", *cells])


def _values(nvml: Nvml, device: Device) -> Iterator[tuple[str, float]]:
    """What the device tells, in base units."""
    memory = nvml.memory_bytes(device.handle)
    if memory is not None:
        yield "memory.used", memory[0]
    rates = nvml.utilization(device.handle)
    if rates is not None:
        yield "utilization.gpu", rates[0] / 100
        yield "utilization.memory", rates[1] / 100
    if device.entity:
        return  # the rest is the whole GPU's
    for name, found, scale in (
        ("power.draw", nvml.power_mw(device.handle), 1e-3),
        (ENERGY, nvml.energy_mj(device.handle), 1e-3),
        ("clocks.current.sm", nvml.sm_clock_mhz(device.handle), 1e6),
        ("clocks.current.memory", nvml.memory_clock_mhz(device.handle), 1e6),
        ("temperature.gpu", nvml.celsius(device.handle), 1),
        ("pstate", nvml.performance_state(device.handle), 1),
    ):
        if found is not None:
            yield name, found * scale
    reasons = nvml.reasons(device.handle)
    if reasons is not None:
        yield from ((REASON + name, float(bool(reasons & bit))) for name, (_, bit) in REASONS.items())


def _tell(lines: Iterator[str] | list[str]) -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.stdout.flush()
