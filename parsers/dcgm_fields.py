"""The fields of NVIDIA's Data Center GPU Manager: identifier, long name, unit, and what a reading is of its period.

Short names and units are those of DCGM's public field list (``dcgm_fields``, ``dcgmi dmon --list``). Profiling fields
(1001 and on) are averages over the period between two readings: shares in 0..1, and bytes per second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ds2prof.parsers.samples_gather import LAST, MEAN
from ds2prof.parsers.samples_units import Unit, unit_of

_SHARE: Final = Unit("ratio")


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: its identifier in DCGM's interface, also its metric name in dcgm-exporter.
        number: its number, as ``dcgmi dmon -e`` takes it.
        unit: of its readings.
        aggregation: what a reading is of its period.
    """

    name: str
    number: int
    unit: Unit
    aggregation: str | None = LAST


FIELDS: Final = {
    "GRACT": Field("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 1001, _SHARE, MEAN),
    "SMACT": Field("DCGM_FI_PROF_SM_ACTIVE", 1002, _SHARE, MEAN),
    "SMOCC": Field("DCGM_FI_PROF_SM_OCCUPANCY", 1003, _SHARE, MEAN),
    "TENSO": Field("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 1004, _SHARE, MEAN),
    "DRAMA": Field("DCGM_FI_PROF_DRAM_ACTIVE", 1005, _SHARE, MEAN),
    "FP64A": Field("DCGM_FI_PROF_PIPE_FP64_ACTIVE", 1006, _SHARE, MEAN),
    "FP32A": Field("DCGM_FI_PROF_PIPE_FP32_ACTIVE", 1007, _SHARE, MEAN),
    "FP16A": Field("DCGM_FI_PROF_PIPE_FP16_ACTIVE", 1008, _SHARE, MEAN),
    "PCITX": Field("DCGM_FI_PROF_PCIE_TX_BYTES", 1009, unit_of("B/s"), MEAN),
    "PCIRX": Field("DCGM_FI_PROF_PCIE_RX_BYTES", 1010, unit_of("B/s"), MEAN),
    "NVLTX": Field("DCGM_FI_PROF_NVLINK_TX_BYTES", 1011, unit_of("B/s"), MEAN),
    "NVLRX": Field("DCGM_FI_PROF_NVLINK_RX_BYTES", 1012, unit_of("B/s"), MEAN),
    "TIMMA": Field("DCGM_FI_PROF_PIPE_TENSOR_IMMA_ACTIVE", 1013, _SHARE, MEAN),
    "THMMA": Field("DCGM_FI_PROF_PIPE_TENSOR_HMMA_ACTIVE", 1014, _SHARE, MEAN),
    "TDFMA": Field("DCGM_FI_PROF_PIPE_TENSOR_DFMA_ACTIVE", 1015, _SHARE, MEAN),
    "INTAC": Field("DCGM_FI_PROF_PIPE_INT_ACTIVE", 1016, _SHARE, MEAN),
    "SMCLK": Field("DCGM_FI_DEV_SM_CLOCK", 100, unit_of("MHz")),
    "MMCLK": Field("DCGM_FI_DEV_MEM_CLOCK", 101, unit_of("MHz")),
    "VICLK": Field("DCGM_FI_DEV_VIDEO_CLOCK", 102, unit_of("MHz")),
    "SACLK": Field("DCGM_FI_DEV_APP_SM_CLOCK", 110, unit_of("MHz")),
    "MACLK": Field("DCGM_FI_DEV_APP_MEM_CLOCK", 111, unit_of("MHz")),
    "MMTMP": Field("DCGM_FI_DEV_MEMORY_TEMP", 140, unit_of("C")),
    "TMPTR": Field("DCGM_FI_DEV_GPU_TEMP", 150, unit_of("C")),
    "POWER": Field("DCGM_FI_DEV_POWER_USAGE", 155, unit_of("W"), None),
    "TOTEC": Field("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 156, unit_of("mJ")),
    "PMLMT": Field("DCGM_FI_DEV_POWER_MGMT_LIMIT", 160, unit_of("W")),
    "TXTPT": Field("DCGM_FI_DEV_PCIE_TX_THROUGHPUT", 200, unit_of("KB/s"), MEAN),
    "RXTPT": Field("DCGM_FI_DEV_PCIE_RX_THROUGHPUT", 201, unit_of("KB/s"), MEAN),
    "RPCTR": Field("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", 202, unit_of("#")),
    "GPUTL": Field("DCGM_FI_DEV_GPU_UTIL", 203, unit_of("%"), MEAN),
    "MCUTL": Field("DCGM_FI_DEV_MEM_COPY_UTIL", 204, unit_of("%"), MEAN),
    "ECUTL": Field("DCGM_FI_DEV_ENC_UTIL", 206, unit_of("%"), MEAN),
    "DCUTL": Field("DCGM_FI_DEV_DEC_UTIL", 207, unit_of("%"), MEAN),
    "FBTTL": Field("DCGM_FI_DEV_FB_TOTAL", 250, unit_of("MiB")),
    "FBFRE": Field("DCGM_FI_DEV_FB_FREE", 251, unit_of("MiB")),
    "FBUSD": Field("DCGM_FI_DEV_FB_USED", 252, unit_of("MiB")),
    "FBRSV": Field("DCGM_FI_DEV_FB_RESERVED", 253, unit_of("MiB")),
}
"""Short name of ``dcgmi dmon`` -> the field."""

UNKNOWN: Final = Field("", 0, unit_of(""), None)
"""What is known of a field that the list does not have: nothing."""


def named(name: str) -> Field:
    """The field with that identifier (``DCGM_FI_...``)."""
    return next((field for field in FIELDS.values() if field.name == name), UNKNOWN)
