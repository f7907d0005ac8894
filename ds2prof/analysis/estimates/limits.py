"""How many blocks of a kernel fit on one SM at once: the CUDA occupancy rules, over arrays of launches.

The limits of each compute capability are those of the table of technical specifications in NVIDIA's CUDA C++
Programming Guide, and from 6.0 on, 7.2 aside, also those of ``cuda::arch_traits`` in NVIDIA's CCCL; how registers and
shared memory are rounded, and in how many parts an SM has its registers, is what ``cuda_occupancy.h`` of the CUDA
toolkit does. A capability that is not in the table has no limits here, never those of the nearest one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.totals import rows_of
from ds2prof.tables import Profile, Table

_KIB: Final = 1024
WARP: Final = 32
_REGISTER_UNIT: Final = 256
_MAX_BLOCK: Final = 1024


@dataclass(frozen=True)
class SmLimits:
    """What one SM holds.

    Attributes:
        warps, blocks: the most that are resident at once.
        shared_bytes: the largest shared memory that the SM can be set to.
        shared_unit_bytes: what the shared memory of a block is rounded up to.
        reserved_bytes: what the system takes of shared memory for each block besides.
        registers: of 32 bits.
        partitions: parts of the SM that have registers of their own.
    """

    warps: int
    blocks: int
    shared_bytes: int
    shared_unit_bytes: int
    reserved_bytes: int
    registers: int = 65536
    partitions: int = 4


def _until_turing(warps: int, blocks: int, shared_kib: int, *, partitions: int = 4) -> SmLimits:
    return SmLimits(warps, blocks, shared_kib * _KIB, 256, 0, partitions=partitions)


def _from_ampere(warps: int, blocks: int, shared_kib: int) -> SmLimits:
    return SmLimits(warps, blocks, shared_kib * _KIB, 128, _KIB)


LIMITS: Final[Mapping[str, SmLimits]] = {
    "5.0": _until_turing(64, 32, 64),
    "5.2": _until_turing(64, 32, 96),
    "5.3": _until_turing(64, 32, 64),
    "6.0": _until_turing(64, 32, 64, partitions=2),
    "6.1": _until_turing(64, 32, 96),
    "6.2": _until_turing(64, 32, 64),
    "7.0": _until_turing(64, 32, 96),
    "7.2": _until_turing(64, 32, 96),
    "7.5": _until_turing(32, 16, 64),
    "8.0": _from_ampere(64, 32, 164),
    "8.6": _from_ampere(48, 16, 100),
    "8.7": _from_ampere(48, 16, 164),
    "8.8": _from_ampere(48, 16, 100),
    "8.9": _from_ampere(48, 24, 100),
    "9.0": _from_ampere(64, 32, 228),
    "10.0": _from_ampere(64, 32, 228),
    "10.3": _from_ampere(64, 32, 228),
    "11.0": _from_ampere(48, 24, 228),
    "12.0": _from_ampere(48, 24, 100),
    "12.1": _from_ampere(48, 24, 100),
}
"""Compute capability -> what one of its SMs holds."""


@dataclass(frozen=True, eq=False)
class Residency:
    """For each launch, what of it can be resident on one SM; NaN where that is not known.

    Attributes:
        blocks: blocks of the grid.
        threads: threads of a block.
        sms: SMs of the launch's device.
        max_threads: the most threads resident on one of them.
        resident: the most blocks of the launch resident on one SM at once.
    """

    blocks: FloatArray
    threads: FloatArray
    sms: FloatArray
    max_threads: FloatArray
    resident: FloatArray

    @property
    def blocks_per_sm(self) -> FloatArray:
        """Blocks of the grid over SMs, as Kineto has it."""
        return np.asarray(self.blocks / self.sms)

    @property
    def theoretical(self) -> FloatArray:
        """Warps of the most blocks that fit, over the warps that an SM holds: the theoretical occupancy, 0..1."""
        return np.asarray(self.resident * np.ceil(self.threads / WARP) / (self.max_threads / WARP))

    @property
    def achieved(self) -> FloatArray:
        """Kineto's estimated achieved occupancy, 0..1: threads of min(fitting blocks, blocks per SM) over the most.

        Blind spot: it takes blocks to be spread evenly and to stay as long as the kernel does.
        """
        return np.asarray(np.fmin(self.resident, self.blocks_per_sm) * self.threads / self.max_threads)


def resident_blocks(
    limits: SmLimits, *, threads: FloatArray, registers: FloatArray, shared_bytes: FloatArray
) -> FloatArray:
    """The most blocks of each launch that fit on one SM: the least of four limits; NaN where an input is.

    Formula: blocks by the table; by warps, floor(warps of the SM / warps of a block); by registers, the warps that fit
    into the parts of the register file (each rounded up to 256 registers) over those of a block; by shared memory,
    floor(shared memory of the SM / that of a block, reserved and rounded). Blind spot: the shared memory is taken to be
    set as large as it can be; barriers and clusters, which may allow less, are not looked at.
    """
    warps = np.ceil(threads / WARP)
    per_warp = np.ceil(np.fmax(registers, 1) * WARP / _REGISTER_UNIT) * _REGISTER_UNIT
    fitting_warps = np.floor(limits.registers / limits.partitions / per_warp) * limits.partitions
    by_registers = np.floor(fitting_warps / warps)
    unit = limits.shared_unit_bytes
    shared = np.ceil((shared_bytes + limits.reserved_bytes) / unit) * unit
    by_shared = np.floor(np.divide(limits.shared_bytes, shared, out=np.full(len(shared), np.inf), where=shared != 0))
    found = np.minimum(np.minimum(by_registers, by_shared), np.minimum(np.floor(limits.warps / warps), limits.blocks))
    known = ~np.isnan(threads + registers + shared_bytes) & (threads > 0) & (threads <= _MAX_BLOCK)
    return np.where(known & (found > 0), found, np.nan)


def residency(profile: Profile) -> Residency:
    """What of each launch is resident on an SM of its device, as far as its source tells."""
    return profile.derived(
        "residency of kernels", lambda: _residency(profile.table("kernels"), profile.table("devices"))
    )


def _residency(kernels: Table, devices: Table) -> Residency:
    threads, blocks = (_product(kernels, what) for what in ("block", "grid"))
    registers, shared = _floats(kernels, "registers"), shared_of(kernels)
    sms, max_threads, resident = (np.full(len(kernels), np.nan) for _ in range(3))
    has_sms, has_threads = _floats(devices, "sms"), _floats(devices, "max_threads_per_sm")
    for place, (device, limits) in enumerate(zip(devices["device"].tolist(), _limits_of(devices), strict=True)):
        rows = rows_of(kernels, device)
        sms[rows] = has_sms[place] if has_sms[place] > 0 else np.nan
        max_threads[rows] = has_threads[place]
        if limits is not None:
            max_threads[rows] = limits.warps * WARP
            resident[rows] = resident_blocks(
                limits, threads=threads[rows], registers=registers[rows], shared_bytes=shared[rows]
            )
    return Residency(blocks, threads, sms, max_threads, resident)


def _limits_of(devices: Table) -> list[SmLimits | None]:
    """The limits of each device; None for an unknown one, and where the file itself states other ones.

    ROCm fills the same fields: the 9.0 of another maker's device is no Hopper.
    """
    columns = [devices[name].tolist() for name in ("compute_capability", "vendor", "max_threads_per_sm")]
    found: list[SmLimits | None] = []
    for capability, vendor, threads in zip(*columns, strict=True):
        limits = LIMITS.get(capability or "") if vendor in (None, "nvidia") else None
        found.append(limits if limits is not None and threads in (None, limits.warps * WARP) else None)
    return found


def shared_of(kernels: Table) -> FloatArray:
    """Shared bytes of a block, static and dynamic; NaN where the source does not tell."""
    together = _floats(kernels, "shared_bytes")
    apart = _floats(kernels, "static_shared_bytes") + _floats(kernels, "dynamic_shared_bytes")
    return np.where(np.isnan(together), apart, together)


def _product(kernels: Table, what: str) -> FloatArray:
    x, y, z = (_floats(kernels, f"{what}_{axis}") for axis in "xyz")
    return np.asarray(x * y * z)


def _floats(table: Table, column: str) -> FloatArray:
    """An int column as floats, NaN where it is null."""
    found = table[column]
    return np.where(found.present, found.values, np.nan).astype(np.float64)
