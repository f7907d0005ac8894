"""From the text that dcgm-exporter answers with to samples."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ds2prof import devices as chips
from ds2prof import units
from ds2prof.parsers.dcgm_fields import UNKNOWN, Field, named
from ds2prof.parsers.dcgm_prometheus import SAMPLE
from ds2prof.parsers.samples_gather import LAST, Metric, Rows, Samples
from ds2prof.parsers.samples_lines import Faults, blocks
from ds2prof.parsers.samples_units import Unit, number, unit_of
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Meta, Table, checked, int_column, text_column

_HELP: Final = re.compile(rb"^# HELP (DCGM_FI_\w{1,80}) [^\n]{0,400}?\(in (%|MiB|MB|W|MHz|C|mJ)\)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w{1,80})="((?:[^"\\]|\\.){0,400})"')
_MAX_LABELLED: Final = 65_536
_MAX_TIME_MS: Final = (1 << 63) // units.NS_PER_MS


@dataclass(frozen=True)
class _Labels:
    """What the labels of a sample say."""

    device: int | None
    entity: str | None
    about: dict[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(eq=False)
class _Reading:
    """What has been read of a file so far."""

    faults: Faults
    samples: Samples = field(default_factory=Samples)
    units: dict[bytes, Unit] = field(default_factory=dict)
    labels: dict[bytes, _Labels] = field(default_factory=dict)
    devices: dict[int, dict[str, str]] = field(default_factory=dict)
    is_timed: bool = False


def load(source: Source, form: str) -> Loaded:
    """The samples and devices of the file."""
    reading = _Reading(Faults(source.name))
    for first, lines in blocks(source, reading.faults):
        text = b"\n".join(lines)
        reading.units.update({name: unit_of(spelled.decode()) for name, spelled in _HELP.findall(text)})
        found = SAMPLE.findall(text)
        if found:
            _take(found, first, reading)
    facts = {"hosts": sorted({host for about in reading.devices.values() if (host := about.get("Hostname"))})}
    meta = Meta(
        file=source.name,
        tool="DCGM",
        format=form,
        dialect="dcgm-exporter",
        times=None,
        clock="unix" if reading.is_timed else None,
        facts=facts,
    )
    tables = {"samples": reading.samples.table(), "devices": _devices(reading), "kernels": Table("kernels")}
    return Loaded(meta, tables, tuple(reading.faults.warnings()))


def _take(found: list[tuple[bytes, bytes, bytes, bytes]], line: int, reading: _Reading) -> None:
    """Add the samples of a block, one metric after the other in the order of the file."""
    labels = [_labels(text, reading) for _, text, _, _ in found]
    metrics = {name: _metric(name, reading) for name in dict.fromkeys(name for name, *_ in found)}
    places = {name: at for at, name in enumerate(metrics)}
    values = np.full((len(found), len(metrics)), np.nan)
    for at, (name, _, text, _) in enumerate(found):
        value = number(text, _unit(name, reading))
        if value is None:
            reading.faults.add(f"a value of {name.decode()} that is no reading; left out", line=line)
        values[at, places[name]] = math.nan if value is None else value
    times = [int(time) if time and int(time) < _MAX_TIME_MS else None for *_, time in found]
    reading.is_timed = reading.is_timed or any(time is not None for time in times)
    device = np.array([-1 if one.device is None else one.device for one in labels], dtype=np.int64)
    rows = Rows(
        len(found),
        np.array([(time or 0) * units.NS_PER_MS for time in times], dtype=np.int64),
        np.array([time is not None for time in times], dtype=np.bool_),
        device,
        device >= 0,
        entity=reading.samples.entities.codes(one.entity for one in labels),
    )
    reading.samples.add(list(metrics.values()), values, rows)


def _metric(name: bytes, reading: _Reading) -> Metric:
    found = _field(name)
    return Metric(name.decode(), _unit(name, reading).name, LAST if found is UNKNOWN else found.aggregation)


def _field(name: bytes) -> Field:
    return named(name.decode())


def _unit(name: bytes, reading: _Reading) -> Unit:
    found = _field(name)
    return reading.units.get(name, found.unit) if found is UNKNOWN else found.unit


def _labels(text: bytes, reading: _Reading) -> _Labels:
    """What a set of labels says; looked at once for each distinct set."""
    known = reading.labels.get(text)
    if known is not None:
        return known
    about = dict(_LABEL.findall(text.decode("utf-8", "replace")))
    gpu, instance = about.get("gpu", ""), about.get("GPU_I_ID", "")
    device = int(gpu) if gpu.isascii() and gpu.isdigit() and len(gpu) < 7 else None
    found = _Labels(device, f"GPU-I {instance[:32]}" if instance else None)
    if device is not None:
        reading.devices.setdefault(device, about)
    if len(reading.labels) < _MAX_LABELLED:
        reading.labels[text] = found
    return found


def _devices(reading: _Reading) -> Table:
    if not reading.devices:
        return Table("devices")
    numbers = sorted(reading.devices)
    about = [reading.devices[number] for number in numbers]
    names = [one.get("modelName") for one in about]
    columns = {
        "device": int_column(numbers),
        "name": text_column(names),
        "vendor": text_column(["NVIDIA"] * len(numbers)),
        "chip": text_column([chips.chip_of(None, name) if name else None for name in names]),
        "uuid": text_column([one.get("UUID") or one.get("uuid") for one in about]),
        "bus_id": text_column([one.get("pci_bus_id") for one in about]),
    }
    return checked("devices", columns)
