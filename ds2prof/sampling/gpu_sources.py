"""Who tells about GPUs: a child that prints lines, and what its lines mean. First comes NVML, then nvidia-smi."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Protocol

from ds2prof.sampling.gpu_fields import FIELDS, OLD_REASON, REASON, Reading, number_in

_UNKNOWN_FIELD: Final = re.compile(r'Field "([\w.]+)" is not a valid field')
_TIME_FORMAT: Final = "%Y/%m/%d %H:%M:%S.%f"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_LATE_NS: Final = 600 * 1_000_000_000
_NS_PER_US: Final = 1_000
_FIRST: Final = ("timestamp", "index", "uuid")
_LAST: Final = ("memory.total", "name")


@dataclass(frozen=True)
class Device:
    """A GPU, or a slice of one (``entity``), as its source describes it."""

    index: int
    name: str
    uuid: str
    memory_bytes: int | None
    entity: str | None = None


@dataclass(frozen=True)
class Said:
    """What a source says that is neither a device nor a reading: most often why there are none."""

    text: str


@dataclass(frozen=True)
class Again:
    """The source must be started again: it was asked for something that it does not know."""


Line = Device | Reading | Said | Again


class Source(Protocol):
    """Someone who tells about GPUs."""

    name: str
    terminal: bool
    """Whether it is to believe that it writes to a terminal, or it would hold its lines back."""

    def command(self, period_ms: int) -> Sequence[str]:
        """How it is started; empty where it is not here."""

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment that it is started in."""

    def read(self, line: str, arrived_ns: int) -> Sequence[Line]:
        """What a line of its output says."""


class NvmlSource:
    """NVML through :mod:`.nvml_child`."""

    name = "NVML"
    terminal = False

    def command(self, period_ms: int) -> Sequence[str]:
        """This Python, free of the program's Python path."""
        script = Path(__file__).with_name("__main__.py")
        return [sys.executable, "-I", "-S", str(script), "--nvml", "--period-ms", str(period_ms)]

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """As it is, with output that can hold any name."""
        return {**environ, "PYTHONIOENCODING": "utf-8:replace"}

    def read(self, line: str, arrived_ns: int) -> Sequence[Line]:
        """See the grammar in :mod:`.nvml_child`."""
        what, *cells = line.split("\t")
        if what == "device" and len(cells) == 5 and cells[0].isdecimal():
            memory = int(cells[4]) if cells[4].isdecimal() else None
            return [Device(int(cells[0]), cells[2], cells[3], memory, cells[1] or None)]
        if what == "reading" and len(cells) >= 3 and cells[0].isdecimal() and cells[1].isdecimal():
            pairs = (cell.partition("=") for cell in cells[3:])
            values = {name: float(text) for name, _, text in pairs if text}
            return [Reading(int(cells[0]), int(cells[1]), values, cells[2] or None)]
        return [Said(line.removeprefix("error\t"))]


@dataclass
class SmiSource:
    """nvidia-smi, which asks the driver again and again. Fields that its version does not know are left out.

    Attributes:
        path: its executable, None where there is none.
        choice: ``CUDA_VISIBLE_DEVICES``.
    """

    path: str | None
    choice: str | None = None
    name: str = "nvidia-smi"
    terminal: bool = True
    _fields: list[str] = field(default_factory=lambda: [*_FIRST, *(one.name for one in FIELDS), *_LAST])
    _known: set[int] = field(default_factory=set)

    def command(self, period_ms: int) -> Sequence[str]:
        """A query that repeats itself."""
        if self.path is None:
            return ()
        return [
            self.path,
            f"--query-gpu={','.join(self._fields)}",
            "--format=csv,noheader,nounits",
            f"--loop-ms={period_ms}",
        ]

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """English numerals, and times of no zone, so that they can be told from one another."""
        return {**environ, "LC_ALL": "C", "TZ": "UTC"}

    def read(self, line: str, arrived_ns: int) -> Sequence[Line]:
        """A row of the query, or a complaint."""
        unknown = _UNKNOWN_FIELD.search(line)
        if unknown and unknown.group(1) in self._fields:
            self._do_without(unknown.group(1))
            return [Again()]
        cells = dict(zip(self._fields, (cell.strip() for cell in line.split(",", len(self._fields) - 1)), strict=False))
        if len(cells) < len(self._fields) or not cells["index"].isdecimal():
            return [Said(line)] if line else []
        index = int(cells["index"])
        if not chosen(self.choice, index=index, uuid=cells.get("uuid", "")):
            return []
        found: list[Line] = [] if index in self._known else [_device(index, cells)]
        self._known.add(index)
        return [*found, Reading(_time_ns(cells.get("timestamp", ""), arrived_ns), index, _values(cells))]

    def _do_without(self, name: str) -> None:
        """Leaves a field out; the reasons have had another name before, which is tried first."""
        if name.startswith(REASON):
            self._fields = [one.replace(REASON, OLD_REASON) for one in self._fields]
        else:
            self._fields.remove(name)


def _device(index: int, cells: Mapping[str, str]) -> Device:
    mib = number_in(cells.get("memory.total", ""))
    return Device(index, cells.get("name", ""), cells.get("uuid", ""), None if mib is None else int(mib) << 20)


def _values(cells: Mapping[str, str]) -> dict[str, float]:
    """The readings in the cells, in base units."""
    found = {}
    for one in FIELDS:
        value = number_in(cells.get(one.name) or cells.get(one.name.replace(REASON, OLD_REASON), ""))
        if value is not None:
            found[one.name] = value * one.scale
    return found


def _time_ns(stamp: str, arrived_ns: int) -> int:
    """When the row was read, as it says itself (to the millisecond); else when it arrived."""
    try:
        at = datetime.strptime(stamp, _TIME_FORMAT).replace(tzinfo=timezone.utc) - _EPOCH
    except ValueError:
        return arrived_ns
    said_ns = ((at.days * 86_400 + at.seconds) * 1_000_000 + at.microseconds) * _NS_PER_US
    return said_ns if abs(arrived_ns - said_ns) < _MAX_LATE_NS else arrived_ns


def chosen(choice: str | None, *, index: int, uuid: str) -> bool:
    """Whether ``CUDA_VISIBLE_DEVICES`` leaves this GPU; of a slice nvidia-smi's rows do not tell whose it is."""
    if choice is None:
        return True
    for entry in (part.strip() for part in choice.split(",")):
        if entry.startswith("MIG-"):
            return True
        if entry.startswith("GPU-"):
            if uuid.startswith(entry):
                return True
        elif not entry.isdecimal():
            return False  # CUDA stops at the first that names none
        elif int(entry) == index:
            return True
    return False


def sources(kind: str, environ: Mapping[str, str] = os.environ) -> list[Source]:
    """Those to be tried, in this order: of ``auto`` all, of ``nvml`` and ``nvidia-smi`` that one, of ``none`` none.

    None either where ``CUDA_VISIBLE_DEVICES`` leaves no GPU.
    """
    if environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles"):
        return []
    from ds2prof.machine.nvidia_smi import find  # late: what it needs takes time to load, and NVML mostly does

    made: dict[str, list[Source]] = {"nvml": [NvmlSource()], "none": []}
    if kind in ("auto", "nvidia-smi"):
        made["nvidia-smi"] = [SmiSource(find(environ), environ.get("CUDA_VISIBLE_DEVICES"))]
        made["auto"] = made["nvml"] + made["nvidia-smi"]
    return made[kind]


def now_ns() -> int:
    """Unix time."""
    return time.time_ns()
