"""What a PyTorch trace says of itself besides its events: clock, rank, versions, devices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ds2prof.devices import chip_of, vendor_of
from ds2prof.parsers import json_repair
from ds2prof.parsers.kineto_columns import EPOCH_FLOOR_NS
from ds2prof.tables import Column, int_column, text_column

SAMPLE_BYTES: Final = 1 << 20
_INT64_MAX: Final = (1 << 63) - 1
_FRACTION: Final = re.compile(rb'"(?:ts|dur)"[ \t\r\n]*:[ \t\r\n]*"?-?[0-9]+\.[0-9]*[1-9]')
_EPOCH: Final = re.compile(rb'"ts"[ \t\r\n]*:[ \t\r\n]*"?[0-9]{16}')
_FACTS: Final = (
    *("schemaVersion", "trace_id", "host_name", "displayTimeUnit", "baseTimeNanoseconds"),
    *("cuda_runtime_version", "cuda_driver_version", "cupti_version"),
    *("roctracer_version", "rocprofiler_version", "hip_runtime_version", "hip_driver_version"),
    *("record_shapes", "with_stack", "with_flops", "with_modules", "profile_memory"),
)
EXPORTED: Final = ", exported by ds2prof"
_TRACERS: Final = {"cupti_version": "CUPTI", "roctracer_version": "roctracer", "rocprofiler_version": "rocprofiler"}


class Sample:
    """What the text of the first events shows: whether times have fractions, and whether they count from the epoch."""

    def __init__(self) -> None:
        self._left_bytes = SAMPLE_BYTES
        self.fractions = False
        self.since_epoch = False

    def look(self, data: bytes) -> None:
        """Look at the next events."""
        if self._left_bytes <= 0:
            return
        self._left_bytes -= len(data)
        self.fractions = self.fractions or bool(_FRACTION.search(data))
        self.since_epoch = self.since_epoch or bool(_EPOCH.search(data))


def read_document(document: bytes) -> Mapping[str, Any] | None:
    """The object around the events; None where it is damaged beyond repair."""
    try:
        found = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = json_repair.as_plain(json_repair.tolerant_object(document))
    return found if isinstance(found, dict) else None


def base_ns(document: Mapping[str, Any]) -> int | None:
    """What times count from, where the trace says so and it is a time of our age."""
    base = _int(document.get("baseTimeNanoseconds"))
    return base if base is not None and EPOCH_FLOOR_NS <= base <= 4 * EPOCH_FLOOR_NS else None


def distributed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the trace says of the distributed run."""
    found = document.get("distributedInfo")
    return found if isinstance(found, dict) else {}


def rank(document: Mapping[str, Any]) -> int | None:
    """The rank, where the trace tells."""
    return _int(distributed(document).get("rank"))


def host(document: Mapping[str, Any]) -> str | None:
    """The name of the host, where the trace tells."""
    return _text(document.get("host_name"))


def tool_version(document: Mapping[str, Any]) -> str | None:
    """The versions of what recorded the device, for display."""
    found = [
        f"{tracer} {document[key]}" for key, tracer in _TRACERS.items() if isinstance(document.get(key), int | float)
    ]
    return ", ".join(found) or None


def origin(document: Mapping[str, Any]) -> str | None:
    """What recorded the events of a trace that ds2prof exported; None for one that PyTorch wrote itself."""
    other = document.get("otherData")
    if not isinstance(other, dict) or not str(other.get("producer")).startswith("ds2prof "):
        return None
    tool = _text(other.get("source_tool"))
    return None if tool is None else f"{tool.removesuffix(EXPORTED)}{EXPORTED}"


def facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """What else the trace states once, for display."""
    found = {key: document[key] for key in _FACTS if isinstance(document.get(key), str | int | float)}
    info = distributed(document)
    return {**found, **{key: info[key] for key in ("world_size", "backend") if isinstance(info.get(key), str | int)}}


def device_columns(document: Mapping[str, Any]) -> dict[str, Column]:
    """The table of devices."""
    listed = document.get("deviceProperties") or document.get("computeProperties")
    devices = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    devices = [entry for entry in devices if _int(entry.get("id")) is not None]
    names = [_text(entry.get("name")) for entry in devices]
    amd = any(key.startswith(("roctracer", "rocprofiler", "hip_")) for key in document)
    vendors = ["amd" if amd else vendor_of(name or "") for name in names]
    capabilities = [
        None if vendor == "amd" else _capability(entry) for vendor, entry in zip(vendors, devices, strict=True)
    ]
    chips = [chip_of(capability, name) for capability, name in zip(capabilities, names, strict=True)]
    return {
        "device": _ints(devices, "id"),
        "name": text_column(names),
        "vendor": text_column(vendors),
        "chip": text_column(chips),
        "compute_capability": text_column(capabilities),
        "sms": _ints(devices, "numSms", "multiProcessorCount"),
        "memory_bytes": _ints(devices, "totalGlobalMem"),
        "max_threads_per_sm": _ints(devices, "maxThreadsPerMultiprocessor", "maxThreadsPerMultiProcessor"),
        "warp_size": _ints(devices, "warpSize"),
    }


def _capability(entry: Mapping[str, Any]) -> str | None:
    major, minor = _first(entry, "computeMajor", "major"), _first(entry, "computeMinor", "minor")
    return None if major is None or minor is None else f"{major}.{minor}"


def _ints(devices: Iterable[Mapping[str, Any]], *keys: str) -> Column:
    return int_column([_first(entry, *keys) for entry in devices])


def _first(entry: Mapping[str, Any], *keys: str) -> int | None:
    """The value under the first of the keys that there is; traces of 2021 had other names."""
    return next((_int(entry[key]) for key in keys if key in entry), None)


def _int(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _INT64_MAX else None


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
