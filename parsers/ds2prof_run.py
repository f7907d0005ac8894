"""The run log that the training loop writes: ``run_bs<batch>.jsonl`` without any profiler, else where it is told to.

Grammar, one JSON object a line::

    file       := header iteration* stretch?
    header     := {"schema": "ds2prof-run/1", "preset": ..., "batch_size": ..., "warmup": ..., ...}
    iteration  := {"iteration": n, "wall_ns": n, "samples": n, "audio_s": x, "padded_s": x, "loss": x, "skipped": b}
    stretch    := {"stretch": {"first": n, "stop": n, "wall_ns": n, "samples": n, "audio_s": x, "padded_s": x}}

Iterations and stretch of newer logs have ``model_flop`` and ``hardware_flop`` besides.
``wall_ns`` of an iteration is the host's view; the stretch lies between two device synchronizations, so that rates are
computed from it alone; with a profiler (``profiler`` in the header) there are none, since it slowed what it looked at.
A file without a stretch was cut off. A number that cannot be (below zero, over a week, beyond 64 bits)
is not known; lines that are neither are left out, and both are reported by count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ds2prof import units
from ds2prof.errors import ReadError
from ds2prof.parsers.sources import Source
from ds2prof.tables import Column, Loaded, Meta, Profile, Table, checked, float_column, int_column

if TYPE_CHECKING:
    from ds2prof.parsers.samples_lines import Faults

FORMAT: Final = "ds2prof-run"
SCHEMA: Final = "ds2prof-run/1"
MAX_LINE_BYTES: Final = 1 << 20
_INTS: Final = ("iteration", "wall_ns", "samples", "skipped")
_FLOATS: Final = ("audio_s", "padded_s", "loss")
_FLOP: Final = ("model_flop", "hardware_flop")
_STRETCH_INTS: Final = ("first", "stop", "wall_ns", "samples", *_FLOP)
_STRETCH_FLOATS: Final = ("audio_s", "padded_s")
_WEEK_NS: Final = 7 * 86_400 * units.NS_PER_S
_MAX_INT: Final = 1 << 63
_MAX_DEPTH: Final = 8


def sniff(head: bytes) -> bool:
    """Whether the first line is the header of a run log."""
    line = head.split(b"\n", 1)[0]
    return b'"schema"' in line and SCHEMA.encode() in line


def parse(source: Source) -> Profile:
    """The run's iterations (table ``iterations``); the header and the fenced stretch are ``meta.facts``."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.samples_lines import Faults

    faults = Faults(source.name)
    header, rows, stretch = _records(source, faults)
    columns: dict[str, Column] = {key: int_column([_int(row.get(key)) for row in rows]) for key in _INTS}
    columns.update({key: int_column([_int(row.get(key)) for row in rows]) for key in _FLOP if _any_has(key, rows)})
    columns["wall_ns"] = int_column(_wall_ns(rows, faults))
    columns.update({key: float_column([_float(row.get(key)) for row in rows]) for key in _FLOATS})
    warnings = faults.warnings()
    repeated = len(rows) - len({row["iteration"] for row in rows})
    if repeated:
        warnings.append(f"{source.name}: {repeated:,} iterations are in it more than once; all are kept")
    if stretch is None:
        warnings.append(
            f"{source.name}: ends before its closing line; rates are not known, what follows is what was kept"
        )
    if header.get("profiler") is not None:
        warnings.append(f"{source.name}: a profiler looked on, which takes time itself; no throughput is read from it")
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


def _any_has(key: str, rows: list[dict[str, Any]]) -> bool:
    """Whether the log tells it at all: those of older versions do not."""
    return any(key in row for row in rows)


def _wall_ns(rows: list[dict[str, Any]], faults: Faults) -> list[int | None]:
    """The times of the iterations; None, and reported, where one cannot be."""
    times: list[int | None] = []
    for row in rows:
        wall_ns = _int(row.get("wall_ns"))
        if wall_ns is None or wall_ns > _WEEK_NS:
            faults.add("an iteration without a wall_ns that can be; not known", line=row["line"])
            wall_ns = None
        times.append(wall_ns)
    return times


def _records(source: Source, faults: Faults) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None]:
    """(header, iterations with the line each stands in, the stretch)."""
    header: dict[str, Any] = {}
    stretch: dict[str, Any] | None = None
    rows: list[dict[str, Any]] = []
    for number, record in _lines(source, faults):
        if isinstance(record.get("stretch"), dict):
            stretch = _stretch(record["stretch"])
        elif _int(record.get("iteration")) is not None:
            rows.append({**record, "line": number})
        elif number == 1 and record.get("schema") == SCHEMA:
            header = {key: _bounded(value) for key, value in record.items()}
        else:
            faults.add("neither an iteration nor the stretch; left out", line=number)
    if not header:
        raise ReadError(
            f"{source.name}:1: damaged header; the first line of a run log is a JSON object with its schema"
        )
    return header, rows, stretch


def _lines(source: Source, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    import msgspec

    decoder = msgspec.json.Decoder(dict[str, Any])
    number = 0
    with source.open() as stream:
        while line := stream.readline(MAX_LINE_BYTES):
            number += 1
            try:
                yield number, decoder.decode(line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                faults.add("not a JSON object; left out (was the run cut off here?)", line=number)


def _stretch(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fenced stretch, each number that cannot be as None."""
    return {
        **{key: _int(found.get(key)) for key in _STRETCH_INTS if key in found},
        **{key: _float(found.get(key)) for key in _STRETCH_FLOATS if key in found},
    }


def _bounded(value: Any, depth: int = 0) -> Any:
    """The value; None for a number beyond 64 bits and for what is nested deeper than any header of ours."""
    if isinstance(value, int):
        return value if -_MAX_INT <= value < _MAX_INT else None
    if not isinstance(value, (dict, list)):
        return value
    if depth == _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {key: _bounded(one, depth + 1) for key, one in value.items()}
    return [_bounded(one, depth + 1) for one in value]


def _int(value: object) -> int | None:
    if not isinstance(value, int):
        return None
    return int(value) if 0 <= value < _MAX_INT else None


def _float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -_MAX_INT < value < _MAX_INT else None
