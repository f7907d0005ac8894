"""Results of Cambricon's benchmark harness, which DeepSpeech2 is measured with: JSON objects, one behind another.

Grammar (each run appends one object)::

    file    := result*
    result  := {"date": "Y-M-D h:m:s", "net": s, "batch_size": n, "cards": n, "precision": s, "DPF_mode": s,
                "batch_time_avg": x, "batch_time_var": x, "hardware_time_avg": x, "hardware_time_var": x,
                "throughput": x, "device": s, "dataset": s}
             | {"date": ..., "net": s, "accuracy": x, "device": s, "dataset": s}

Times are seconds, rounded to three decimals, and means over the steps behind the warm-up; "unknow" is unknown.
``throughput`` is samples per second, batch size / batch time x cards. Each number becomes a sample, the run that it
belongs to its entity. The date is of the machine's wall clock, without its zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ds2prof.errors import ReadError
from ds2prof.parsers.samples_units import finite
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Meta, Profile, Table, checked, float_column, int_column, text_column

FORMAT: Final = "cambricon-benchmark"
_MAX_BYTES: Final = 4 << 20
_FIRST: Final = re.compile(rb'\s{0,64}\{\s{0,64}"date"\s{0,8}:\s{0,8}"[^"\r\n]{1,40}"\s{0,8},')
_MEASURES: Final = {
    "batch_time_avg": ("ns", 9, "mean"),
    "hardware_time_avg": ("ns", 9, "mean"),
    "throughput": ("sample/s", 0, "mean"),
    "accuracy": ("unknown", 0, None),
}
"""Key -> (base unit, power of ten to it, aggregation)."""
_SAYS: Final = ("net", "precision", "batch_size", "cards", "DPF_mode", "device", "dataset")


def sniff(head: bytes) -> bool:
    """Whether the first bytes are those of a result."""
    if _FIRST.match(head) is None:
        return False
    first = head[:4096]
    return b'"net"' in first and (b'"batch_time_avg"' in first or b'"accuracy"' in first)


def parse(source: Source) -> Profile:
    """The stated times and rates (table ``samples``); what was run is ``meta.facts``."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    with source.open() as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ReadError(f"{source.name}: more than {_MAX_BYTES >> 20} MiB of results; split the file")
    warnings: list[str] = []
    results = list(_results(content.decode("utf-8", "replace"), source.name, warnings))
    if not results:
        raise ReadError(f"{source.name}: no whole result in it; was the benchmark cut off?")
    facts: dict[str, Any] = {"results": len(results)}
    if len(results) == 1:
        facts.update({name: _flat(results[0].get(name)) for name in _SAYS if name in results[0]})
        throughput = finite(results[0].get("throughput"))
        if throughput is not None:
            facts["rates"] = {"samples_per_s": throughput}
    samples, clock = _samples(results)
    meta = Meta(file=source.name, tool="Cambricon benchmark", format=FORMAT, times=None, clock=clock, facts=facts)
    return Loaded(meta, {"samples": samples, "kernels": Table("kernels")}, tuple(warnings))


def _results(text: str, name: str, warnings: list[str]) -> Iterator[Mapping[str, Any]]:
    """The objects of the file; what is behind a damaged one cannot be told apart and is left out."""
    import json

    decoder, at = json.JSONDecoder(), 0
    while (at := _next(text, at)) < len(text):
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, at) + 1
            warnings.append(f"{name}:{line}: not a whole JSON object; left out with what follows")
            return
        if isinstance(found, dict):
            yield found
        else:
            warnings.append(f"{name}: a value that is no result; left out")


def _next(text: str, at: int) -> int:
    """Where the next value begins."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _flat(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)[:200]


def _entity(result: Mapping[str, Any]) -> str | None:
    """What was run, in words: ``DeepSpeech2 fp32, batch 8, 16 cards``."""
    name = " ".join(str(_flat(result[key])) for key in ("net", "precision") if result.get(key) is not None)
    batch = f"batch {_flat(result['batch_size'])}" if "batch_size" in result else ""
    cards = f"{_flat(result['cards'])} cards" if "cards" in result else ""
    return ", ".join(part for part in (name, batch, cards) if part) or None


def _samples(results: list[Mapping[str, Any]]) -> tuple[Table, str | None]:
    """(the numbers of all results, what their dates count from)."""
    from ds2prof.parsers import samples_clock

    rows = [
        (key, unit, value * 10**exponent, aggregation, at, _entity(result))
        for at, result in enumerate(results)
        for key, (unit, exponent, aggregation) in _MEASURES.items()
        if (value := finite(result.get(key))) is not None and value < 1e290
    ]
    if not rows:
        return Table("samples"), None
    dates = [str(result.get("date", "")).encode("utf-8", "replace") for result in results]
    times, known, clock = samples_clock.nanoseconds(dates)
    keys, unit_names, values, aggregations, places, entities = zip(*rows, strict=True)
    columns = {
        "metric": text_column(keys),
        "unit": text_column(unit_names),
        "value": float_column(values),
        "aggregation": text_column(aggregations),
        "entity": text_column(entities),
        "start_ns": int_column([int(times[at]) if known[at] else None for at in places]),
    }
    return checked("samples", columns), clock
