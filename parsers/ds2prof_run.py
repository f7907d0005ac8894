"""The run log that the training loop writes without any profiler: ``run_bs<batch>.jsonl``.

Grammar, one JSON object a line::

    file       := header iteration* stretch?
    header     := {"schema": "ds2prof-run/1", "preset": ..., "batch_size": ..., "warmup": ..., ...}
    iteration  := {"iteration": n, "wall_ns": n, "samples": n, "audio_s": x, "padded_s": x, "loss": x, "skipped": b}
    stretch    := {"stretch": {"first": n, "stop": n, "wall_ns": n, "samples": n, "audio_s": x, "padded_s": x}}

``wall_ns`` of an iteration is the host's view; the stretch lies between two device synchronizations, so that rates are
computed from it alone. A file without it was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ds2prof.errors import ReadError
from ds2prof.parsers.sources import Source
from ds2prof.tables import Column, Loaded, Meta, Profile, Table, checked, float_column, int_column

FORMAT: Final = "ds2prof-run"
SCHEMA: Final = "ds2prof-run/1"
MAX_LINE_BYTES: Final = 1 << 20
_INTS: Final = ("iteration", "wall_ns", "samples", "skipped")
_FLOATS: Final = ("audio_s", "padded_s", "loss")


def sniff(head: bytes) -> bool:
    """Whether the first line is the header of a run log."""
    line = head.split(b"\n", 1)[0]
    return b'"schema"' in line and SCHEMA.encode() in line


def parse(source: Source) -> Profile:
    """The run's iterations (table ``iterations``); the header and the fenced stretch are ``meta.facts``."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    header, rows, stretch, warnings = _records(source)
    columns: dict[str, Column] = {key: int_column([_int(row.get(key)) for row in rows]) for key in _INTS}
    columns.update({key: float_column([_float(row.get(key)) for row in rows]) for key in _FLOATS})
    if stretch is None:
        warnings.append(
            f"{source.name}: ends before its closing line; rates are not known, what follows is what was kept"
        )
    meta = Meta(
        file=source.name,
        tool="ds2prof train",
        format=FORMAT,
        dialect=SCHEMA,
        domain="cpu" if header.get("device") == "cpu" else "gpu",
        times=None,
        facts={**header, "stretch": stretch},
    )
    return Loaded(meta, {"iterations": checked("iterations", columns), "kernels": Table("kernels")}, tuple(warnings))


def _records(source: Source) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None, list[str]]:
    header: dict[str, Any] = {}
    stretch: dict[str, Any] | None = None
    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    for number, record in _lines(source, warnings):
        if "stretch" in record and isinstance(record["stretch"], dict):
            stretch = record["stretch"]
        elif _int(record.get("iteration")) is not None:
            rows.append(record)
        elif number == 1 and record.get("schema") == SCHEMA:
            header = record
        else:
            warnings.append(f"{source.name}:{number}: neither an iteration nor the stretch; left out")
    if not header:
        raise ReadError(
            f"{source.name}:1: damaged header; the first line of a run log is a JSON object with its schema"
        )
    return header, rows, stretch, warnings


def _lines(source: Source, warnings: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    import msgspec

    decoder = msgspec.json.Decoder(dict[str, Any])
    number = 0
    with source.open() as stream:
        while line := stream.readline(MAX_LINE_BYTES):
            number += 1
            try:
                yield number, decoder.decode(line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                warnings.append(f"{source.name}:{number}: not a JSON object; left out (was the run cut off here?)")


def _int(value: object) -> int | None:
    if not isinstance(value, int):
        return None
    return int(value) if 0 <= value < 1 << 63 else None


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
