"""OpenMetrics text: figures as gauges for a Prometheus that scrapes files (node_exporter's textfile collector).

A column of a table becomes a family ``ds2prof_<table>_<column>`` in base units (seconds, bytes, ratios), its
keys (names, device, stream, pipe...) labels; totals are ``ds2prof_<total>``. The file is a label of all, and
``ds2prof_measurement_info`` tells its tool and format. Unknown figures are left out: absent is not 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO, Any, Final

from ds2prof.report.exports.sheets import Sheet, is_key, unit_of
from ds2prof.tables import Meta

PREFIX: Final = "ds2prof"
_UNITS: Final[Mapping[str | None, tuple[str, int]]] = {
    "ns": ("seconds", -9),
    "s": ("seconds", 0),
    "byte": ("bytes", 0),
    "byte/s": ("bytes_per_second", 0),
    "1/s": ("per_second", 0),
    "hertz": ("hertz", 0),
    "watt": ("watts", 0),
    "joule": ("joules", 0),
    "ratio": ("ratio", 0),
    "percent": ("ratio", -2),
}
"""Unit of a column -> (that of the metric, power of ten between them)."""
_ENDINGS: Final = ("_bytes_per_s", "_per_s", "_ns", "_bytes", "_hz", "_joule", "_watt", "_percent", "_s", "_ratio")
_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_]+")


@dataclass
class _Family:
    """One metric with its samples: labels -> value. A later sample of the same labels would replace an earlier one."""

    help: str
    unit: str | None
    samples: dict[tuple[tuple[str, str], ...], str] = field(default_factory=dict)


def write_openmetrics(sheets: Sequence[Sheet], out: IO[str]) -> None:
    """Nothing; the families are written, each once, and ``# EOF``."""
    families: dict[str, _Family] = {}
    told: set[int] = set()
    for sheet in sheets:
        if id(sheet.meta) not in told:
            told.add(id(sheet.meta))
            _add_info(families, sheet.meta)
            _add_totals(families, sheet)
        _add_rows(families, sheet)
    for name, family in families.items():
        out.writelines(_lines(name, family))
    out.write("# EOF\n")


def _add_info(families: dict[str, _Family], meta: Meta) -> None:
    family = families.setdefault(f"{PREFIX}_measurement", _Family("What was read.", "info"))
    told = {"tool": meta.tool, "tool_version": meta.tool_version, "format": meta.format, "domain": meta.domain}
    family.samples[_labels({**_place(meta), **{key: value for key, value in told.items() if value}})] = "1"


def _place(meta: Meta) -> dict[str, str]:
    return {"file": meta.file, **({} if meta.rank is None else {"rank": str(meta.rank)})}


def _add_totals(families: dict[str, _Family], sheet: Sheet) -> None:
    devices = sheet.totals.get("devices") or ()
    rows = [(_place(sheet.meta), sheet.totals)]
    rows += [({**_place(sheet.meta), "device": _device(each.get("device"))}, each) for each in devices]
    for labels, totals in rows:
        of_device = "device" in labels
        for column, value in totals.items():
            if column == "device" or not _is_number(value) or column == "peak_device":
                continue
            what = f"{'device ' if of_device else ''}{column}, of the totals"
            _add(families, f"{'device_' if of_device else ''}{column}", column, value, labels=labels, what=what)


def _device(device: int | None) -> str:
    return "not stated" if device is None else str(device)


def _add_rows(families: dict[str, _Family], sheet: Sheet) -> None:
    """A family for each column of figures; the rest of a row are its labels."""
    kinds = {name: sheet.kind_of(name) for name in sheet.columns}
    texts = [name for name, kind in kinds.items() if kind == "text" or is_key(name) or name == sheet.by]
    figures = [name for name, kind in kinds.items() if kind in ("int", "float") and name not in texts]
    seen: dict[tuple[tuple[str, str], ...], int] = {}
    for chunk in sheet.chunks():
        names = list(chunk)
        for row in zip(*chunk.values(), strict=True):
            cells = dict(zip(names, row, strict=True))
            labels = {**_place(sheet.meta), **{name: str(cells[name]) for name in texts if cells[name] is not None}}
            known = _labels(labels)
            seen[known] = seen.get(known, 0) + 1
            if seen[known] > 1:  # rows that differ in figures alone: each must have labels of its own
                labels["row"] = str(seen[known])
            for name in figures:
                if _is_number(cells[name]):
                    what = f"{name}, by {sheet.name}"
                    _add(families, f"{sheet.name}_{name}", name, cells[name], labels=labels, what=what)


def _add(
    families: dict[str, _Family], name: str, column: str, value: Any, *, labels: Mapping[str, str], what: str
) -> None:
    unit, power = _UNITS.get(unit_of(column), (None, 0))
    stem = name
    if unit is not None:
        ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
        stem = f"{name.removesuffix(ending)}_{unit}" if not name.endswith(f"_{unit}") else name
    full = f"{PREFIX}_{_NO_NAME.sub('_', stem)}"
    family = families.setdefault(full, _Family(f"{what}; docs/JSON.md defines it.", unit))
    family.samples[_labels(labels)] = _number(value, power)


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: float, power: int) -> str:
    """The value times a power of ten: of whole numbers exact, never through a double."""
    if isinstance(value, int):
        return f"{Decimal(value).scaleb(power):f}" if power else str(value)
    return repr(value * 10.0**power if power else value)


def _lines(name: str, family: _Family) -> Iterator[str]:
    kind = "info" if family.unit == "info" else "gauge"
    yield f"# TYPE {name} {kind}\n"
    if family.unit not in (None, "info"):
        yield f"# UNIT {name} {family.unit}\n"
    yield f"# HELP {name} {_escaped(family.help)}\n"
    suffix = "_info" if kind == "info" else ""
    for labels, value in family.samples.items():
        told = ",".join(f'{_NO_NAME.sub("_", key)}="{_escaped(text)}"' for key, text in labels)
        yield f"{name}{suffix}{{{told}}} {value}\n"


def _escaped(text: str) -> str:
    """The text as it stands in quotes: backslash, quote and line end escaped, halves of UTF-16 and NUL spelt out."""
    whole = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    return whole.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
