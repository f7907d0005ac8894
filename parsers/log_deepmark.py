"""What DeepMark's DeepSpeech2 benchmark for Torch prints.

Grammar::

    file    := "Running on device: " name  (any output)  "ModelType: " name "Kernels: " name  result*
    result  := library blanks ":" what ":" blanks x               x with two decimals
    what    := "forward (ms)" | "backward (ms)" | "TOTAL (ms)" | "Samples processed" | "Samples per second"
             | "Seconds of audio processed per second" | "EPOCH TIME (s)"
             | "updateOutput()" | "updateGradInput()" | "accGradParameters()" | "Forward" | "Backward" | "TOTAL"   (ms)

Times are means over the batches of an epoch, or over ten steps in the older form; each becomes one sample. There is no
optimizer step in them. Rates are as the benchmark states them. Its first versions averaged the milliseconds twice,
which the text does not show: rates and epoch time are the ones to compare.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from ds2prof import units
from ds2prof.errors import ReadError
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Meta, Profile, Table, checked, float_column, text_column

FORMAT: Final = "deepmark"
_MAX_BYTES: Final = 16 << 20
_RESULT: Final = (
    rb"^(\S{1,64}) {1,64}:(forward \(ms\)|backward \(ms\)|TOTAL \(ms\)|Samples processed|Samples per second"
    rb"|Seconds of audio processed per second|EPOCH TIME \(s\)|updateOutput\(\)|updateGradInput\(\)"
    rb"|accGradParameters\(\)|Forward|Backward|TOTAL): {1,64}(\d{1,15}(?:\.\d{1,6})?)[ \t\r]{0,8}$"
)
_DEVICE: Final = rb"^Running on device: ([^\r\n]{1,200})"
_MODEL: Final = rb"^ModelType: ([^\t\r\n]{1,200}?)[ \t]{1,64}Kernels: (\S{1,64})"
_UNITS: Final = {
    "Samples processed": "count",
    "Samples per second": "sample/s",
    "Seconds of audio processed per second": "s/s",
}
_RATES: Final = {
    "Samples per second": "samples_per_s",
    "Seconds of audio processed per second": "audio_s_per_s",
}


def sniff(head: bytes) -> bool:
    """Whether the first bytes name the device and the model as DeepMark's benchmark does."""
    if b"Running on device: " not in head or b"Kernels: " not in head:
        return False
    return all(re.search(pattern, head, re.MULTILINE) is not None for pattern in (_MODEL, _DEVICE))


def parse(source: Source) -> Profile:
    """The stated times and rates (table ``samples``); device and model are ``meta.facts``."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    with source.open() as stream:
        text = stream.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ReadError(
            f"{source.name}: more than {_MAX_BYTES >> 20} MiB of output; keep the benchmark's results alone"
        )
    found = [
        (library.decode("utf-8", "replace"), what.decode(), value.decode())
        for library, what, value in re.findall(_RESULT, text, re.MULTILINE)
    ]
    warnings = [] if found else [f"{source.name}: no result; was the benchmark cut off?"]
    model, device = (re.search(pattern, text, re.MULTILINE) for pattern in (_MODEL, _DEVICE))
    facts: dict[str, Any] = {
        "device": None if device is None else device.group(1).decode("utf-8", "replace").strip(),
        "model": None if model is None else model.group(1).decode("utf-8", "replace"),
        "kernels": None if model is None else model.group(2).decode("utf-8", "replace"),
        "rates": {_RATES[what]: float(value) for _, what, value in found if what in _RATES},
        "warmup_excluded": True,
    }
    meta = Meta(file=source.name, tool="DeepMark", format=FORMAT, dialect="Torch", times=None, facts=facts)
    return Loaded(meta, {"samples": _samples(found), "kernels": Table("kernels")}, tuple(warnings))


def _samples(found: list[tuple[str, str, str]]) -> Table:
    if not found:
        return Table("samples")
    rows = [_reading(what, value) for _, what, value in found]
    return checked(
        "samples",
        {
            "metric": text_column([name for name, _, _ in rows]),
            "unit": text_column([unit for _, unit, _ in rows]),
            "value": float_column([value if math.isfinite(value) else None for _, _, value in rows]),
            "aggregation": text_column(["mean" if unit == "ns" else None for _, unit, _ in rows]),
            "entity": text_column([library for library, _, _ in found]),
        },
    )


def _reading(what: str, value: str) -> tuple[str, str, float]:
    """(name, base unit, value) of a result."""
    if what in _UNITS:
        return what, _UNITS[what], float(value)
    name, _, unit = what.partition(" (")
    if what.startswith("EPOCH"):
        name, unit = "EPOCH TIME", "s)"
    step = units.NS_PER_S if unit == "s)" else units.NS_PER_MS
    return name, "ns", float(units.ns_from_decimal(value, ns_per_unit=step))
