"""GPUs in an Nsight Systems export, and which of them each process means by its ordinals.

``TARGET_INFO_GPU`` lists the machine's GPUs; CUDA's ordinal of one is ``cuDevice``, which need not be its ``id``. An
operation's ``deviceId`` is the ordinal in its own process, and two processes may see different GPUs under one ordinal
(``CUDA_VISIBLE_DEVICES``): ``TARGET_INFO_CUDA_DEVICE``, from 2023 on, says for each process which GPU an ordinal is.
Files of 2020 have ``TARGET_INFO_CUDA_GPU`` instead, with clocks in kHz and bandwidths in kB/s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ds2prof.devices import chip_of, vendor_of
from ds2prof.parsers.nsys_rows import Devices
from ds2prof.parsers.nsys_tables import has_rows
from ds2prof.parsers.sqlite_tables import Database, quoted
from ds2prof.tables import Column, int_column, text_column

GPUS: Final = "TARGET_INFO_GPU"
OF_PROCESSES: Final = "TARGET_INFO_CUDA_DEVICE"
OLD_GPUS: Final = "TARGET_INFO_CUDA_GPU"
_MAX_GPUS: Final = 4096
_INT64_MAX: Final = (1 << 63) - 1
_NO_ORDINAL: Final = 0x7FFFFFFF
_WORK: Final = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_GRAPH_TRACE")
_KHZ_BELOW: Final = 10**8
"""A clock below 100 MHz was written in kHz: none of these is so slow, and in kHz none reaches 100 GHz."""
_MIG: Final = re.compile(r"\bMIG (\S+)")
_BARE_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

Record = Mapping[str, Any]


class Gpus:
    """The GPUs of an export, each with the number that the tables of ours call it by."""

    def __init__(self, database: Database) -> None:
        self._gpus = [{**gpu, "id": gpu.get("id", gpu.get("deviceId"))} for gpu in records(database, GPUS)]
        self._old = records(database, OLD_GPUS)
        self._is_idle = not any(has_rows(database, table) for table in _WORK)
        stated = records(database, OF_PROCESSES)
        self._gpu_of = {
            (record["pid"], record["cudaId"]): record
            for record in stated
            if None not in (whole(record, "pid"), whole(record, "cudaId"), whole(record, "gpuId"))
        }
        self._number_of = self._numbers()
        self._moved = self._moves()

    def _numbers(self) -> dict[int, int]:
        """GPU id -> device: CUDA's ordinal, or the id where ordinals do not tell the GPUs of the processes apart.

        Of several GPUs without ordinals none can be said to be that of an operation: they have no number then, unless
        there are no operations.
        """
        ordinals = {gpu["id"]: _ordinal(gpu) for gpu in self._gpus if whole(gpu, "id") is not None}
        used = {record["gpuId"] for record in self._gpu_of.values()}
        known = [ordinal for ordinal in ordinals.values() if ordinal is not None]
        is_distinct = len(set(known)) == len(known) and all(ordinals.get(gpu) is not None for gpu in used)
        if used and not is_distinct:
            return {gpu: gpu for gpu in ordinals}
        if known:
            first = {ordinal: gpu for gpu, ordinal in reversed(ordinals.items()) if ordinal is not None}
            return {gpu: ordinal for ordinal, gpu in first.items()}
        if len(ordinals) == 1:
            return dict.fromkeys(ordinals, 0)
        return {gpu: gpu for gpu in ordinals} if self._is_idle else {}

    def _moves(self) -> dict[tuple[int, int], int]:
        """(process, ordinal) -> device, where that is not the ordinal."""
        found = {key: self._number_of.get(record["gpuId"]) for key, record in self._gpu_of.items()}
        return {key: number for key, number in found.items() if number is not None and number != key[1]}

    def number(self, gpu: int) -> int | None:
        """The device of a GPU's id."""
        return self._number_of.get(gpu)

    @property
    def is_plain(self) -> bool:
        """Whether each ordinal is the device of that number in every process."""
        return not self._moved

    @property
    def devices(self) -> Devices:
        """(ordinals, processes) -> devices."""
        return self._placed

    def _placed(self, ordinals: Column, processes: Column | None) -> Column:
        if not self._moved or processes is None:
            return ordinals
        values = ordinals.values.copy()
        for (process, ordinal), number in self._moved.items():
            values[(processes.values == process) & (ordinals.values == ordinal) & ordinals.present] = number
        return Column(values, ordinals.valid)

    def columns(self) -> dict[str, Column]:
        """The columns of the table ``devices``."""
        found = {number: _entry(gpu, self._slice(gpu)) for gpu, number in self._numbered()}
        old = {ordinal: gpu for gpu in reversed(self._old) if (ordinal := whole(gpu, "deviceId")) is not None}
        if old:
            found = {ordinal: _old_entry(gpu) for ordinal, gpu in old.items()}
        if not found:
            return {}
        numbers = sorted(found)
        columns = {"device": int_column(numbers)}
        for name in _TEXTS:
            columns[name] = text_column([found[number].get(name) for number in numbers])
        for name in _INTS:
            columns[name] = int_column([found[number].get(name) for number in numbers])
        return columns

    def _numbered(self) -> Sequence[tuple[Record, int]]:
        found = [(gpu, self._number_of.get(gpu.get("id", -1))) for gpu in self._gpus]
        return [(gpu, number) for gpu, number in found if number is not None]

    def _slice(self, gpu: Record) -> Record:
        """What a process was given of the GPU, where the file says."""
        return next((record for record in self._gpu_of.values() if record["gpuId"] == gpu.get("id")), {})


_TEXTS: Final = ("name", "vendor", "chip", "compute_capability", "uuid", "bus_id", "mig")
_INTS: Final = (
    *("sms", "memory_bytes", "sm_clock_hz", "memory_bandwidth_bytes_per_s"),
    *("max_threads_per_sm", "warp_size"),
)


def _ordinal(gpu: Record) -> int | None:
    """CUDA's ordinal of a GPU; None where CUDA did not see it."""
    found = whole(gpu, "cuDevice")
    return found if found is not None and found < _NO_ORDINAL else None


def records(database: Database, table: str) -> list[Record]:
    """The rows of a small table, by their columns' names; none where there is no such table."""
    columns = database.tables.get(table, ())
    if not columns:
        return []
    listed = ", ".join(map(quoted, columns))
    rows = database.rows(f"SELECT {listed} FROM {quoted(table)} LIMIT {_MAX_GPUS}")  # noqa: S608
    return [dict(zip(columns, row, strict=True)) for row in rows]


def whole(record: Record, name: str) -> int | None:
    """The number of that name; None where there is none, or it is negative."""
    value = record.get(name)
    return value if type(value) is int and 0 <= value <= _INT64_MAX else None


def text(record: Record, name: str) -> str | None:
    """The text of that name; None where there is none, or it is empty."""
    value = record.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _positive(record: Record, name: str) -> int | None:
    return whole(record, name) or None


def _product(one: int | None, other: int | None) -> int | None:
    return None if not one or not other or one > 1 << 20 or other > 1 << 20 else one * other


def _entry(gpu: Record, given: Record) -> dict[str, Any]:
    name = text(gpu, "name")
    mig = _MIG.search(name or "")
    major, minor = whole(gpu, "computeMajor"), whole(gpu, "computeMinor")
    capability = None if major is None or minor is None or not major else f"{major}.{minor}"
    uuid = text(given, "uuid") or text(gpu, "uuid")
    warp = _positive(gpu, "threadsPerWarp")
    return {
        "name": name,
        "vendor": vendor_of(name or ""),
        "chip": text(gpu, "chipName") or chip_of(capability, name),
        "compute_capability": capability,
        "uuid": f"GPU-{uuid}" if uuid and not mig and _BARE_UUID.match(uuid) else uuid,
        "bus_id": text(gpu, "busLocation"),
        "mig": mig[1] if mig else None,
        "sms": _positive(given, "numMultiprocessors") or _positive(gpu, "smCount"),
        "memory_bytes": _positive(gpu, "totalMemory"),
        "sm_clock_hz": _positive(gpu, "clockRate"),
        "memory_bandwidth_bytes_per_s": _positive(gpu, "memoryBandwidth"),
        "max_threads_per_sm": _product(_positive(gpu, "maxWarpsPerSm"), warp),
        "warp_size": warp,
    }


def _old_entry(gpu: Record) -> dict[str, Any]:
    name = text(gpu, "name")
    major, minor = whole(gpu, "computeCapabilityMajor"), whole(gpu, "computeCapabilityMinor")
    capability = None if major is None or minor is None else f"{major}.{minor}"
    clock, warp = _positive(gpu, "coreClockRate"), _positive(gpu, "numThreadsPerWarp")
    thousand = 1000 if clock is not None and clock < _KHZ_BELOW else 1
    return {
        "name": name,
        "vendor": vendor_of(name or ""),
        "chip": chip_of(capability, name),
        "compute_capability": capability,
        "bus_id": text(gpu, "pciBusId"),
        "mig": found[1] if (found := _MIG.search(name or "")) else None,
        "sms": _positive(gpu, "numMultiprocessors"),
        "memory_bytes": _positive(gpu, "globalMemorySize"),
        "sm_clock_hz": _product_of_units(clock, thousand),
        "memory_bandwidth_bytes_per_s": _product_of_units(_positive(gpu, "globalMemoryBandwidth"), thousand),
        "max_threads_per_sm": _product(_positive(gpu, "maxWarpsPerMultiprocessor"), warp),
        "warp_size": warp,
    }


def _product_of_units(value: int | None, factor: int) -> int | None:
    return None if value is None or value > _INT64_MAX // factor else value * factor


def gpu_of_type(types: Column) -> Column:
    """The GPU ids in the type ids of sampled metrics: their lowest 8 bits."""
    return Column(np.where(types.present, types.values & 0xFF, 0), types.valid)
