"""From MLPerf's log lines to ranges and samples."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ds2prof import units
from ds2prof.parsers.samples_lines import Faults, blocks
from ds2prof.parsers.samples_units import finite
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Meta, Table, checked, float_column, int_column, text_column

LINE: Final = re.compile(
    rb":::MLLOG (?P<json>\{.{0,65536})"
    rb"|:::MLPv(?P<version>\d{1,3}(?:\.\d{1,3}){1,2}) (?P<benchmark>\S{1,64}) (?P<seconds>\d{1,12}(?:\.\d{1,9})?) "
    rb"\((?P<place>[^()]{1,512})\) (?P<key>\w{1,128})(?:: (?P<value>.{0,4096}))?"
)
_WEEK_NS: Final = 7 * 86_400 * units.NS_PER_S
_MAX_FACTS: Final = 500
_MAX_TEXT: Final = 500
_RECENT_LINES: Final = 64
"""How far apart the same line of two loggers can stand."""
_STEPS: Final = ("epoch_num", "epoch", "step", "step_num", "samples_count", "iteration")
_MEASURES: Final = frozenset(("eval_accuracy", "throughput", "tracked_stats"))
_TIMERS: Final = ("_total", "_min", "_max")
_UNITS: Final = {"throughput": "sample/s"}


@dataclass(frozen=True)
class _Event:
    """One line."""

    line: int
    time_ns: int
    key: str
    value: Any
    metadata: Mapping[str, Any]

    @property
    def epoch(self) -> str | None:
        """The epoch or step that it belongs to, as text."""
        found = next((self.metadata[name] for name in _STEPS if self.metadata.get(name) is not None), None)
        if found is None and self.key.startswith(("epoch_", "block_", "eval_")) and isinstance(self.value, int):
            found = self.value
        return None if found is None else str(found)[:64]


@dataclass(eq=False)
class _Log:
    """What has been read of a log so far."""

    opened: dict[str, _Event] = field(default_factory=dict)
    ranges: list[tuple[str, str | None, int, int]] = field(default_factory=list)
    samples: list[tuple[str, str, float, int, str | None]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    recent: deque[bytes] = field(default_factory=lambda: deque(maxlen=_RECENT_LINES))


def load(source: Source, form: str) -> Loaded:
    """The ranges and samples of the log."""
    faults = Faults(source.name)
    log = _Log()
    for event in _events(source, log, faults):
        _take(event, log, faults)
    for event in log.opened.values():
        faults.add("an interval without an end (was the run cut off?); left out", line=event.line)
    meta = Meta(
        file=source.name,
        tool="MLPerf logging",
        format=form,
        dialect=str(log.facts.pop("dialect", "")),
        times=None,
        time_resolution_ns=units.NS_PER_MS,
        clock="unix",
        facts=log.facts,
    )
    tables = {"ranges": _ranges(log), "samples": _samples(log), "kernels": Table("kernels")}
    return Loaded(meta, tables, tuple(faults.warnings()))


def _events(source: Source, log: _Log, faults: Faults) -> Iterator[_Event]:
    for first, lines in blocks(source, faults):
        for at, line in enumerate(lines, start=first):
            if b":::ML" not in line:
                continue
            found = LINE.search(line)
            if found is None or found[0] in log.recent:
                continue
            log.recent.append(found[0])
            event = _of_json(found["json"], at) if found["json"] else _of_words(found, at)
            if event is None:
                faults.add("a log line that cannot be read; left out", line=at)
                continue
            log.facts.setdefault("dialect", "MLLOG" if found["json"] else f"MLPv{found['version'].decode()}")
            if found["benchmark"]:
                log.facts.setdefault("benchmark", found["benchmark"].decode("utf-8", "replace"))
            yield event


def _of_json(text: bytes, line: int) -> _Event | None:
    import msgspec

    try:
        made = msgspec.json.decode(text.strip())
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if not isinstance(made, dict):
        return None
    key, time_ms, metadata = made.get("key"), made.get("time_ms"), made.get("metadata")
    if not isinstance(key, str) or not isinstance(time_ms, int) or not 0 <= time_ms < (1 << 63) // units.NS_PER_MS:
        return None
    return _Event(
        line, time_ms * units.NS_PER_MS, key[:128], made.get("value"), metadata if isinstance(metadata, dict) else {}
    )


def _of_words(found: re.Match[bytes], line: int) -> _Event | None:
    import msgspec

    time_ns = units.ns_from_decimal(found["seconds"].decode(), ns_per_unit=units.NS_PER_S)
    value: Any = None
    if found["value"] is not None:
        try:
            value = msgspec.json.decode(found["value"].strip())
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            value = found["value"].decode("utf-8", "replace").strip()
    if isinstance(value, dict) and "value" in value:
        metadata = {name: one for name, one in value.items() if name != "value"}
        value = value["value"]
    else:
        metadata = value if isinstance(value, dict) else {}
    return _Event(line, time_ns, found["key"].decode(), value, metadata) if time_ns < 1 << 63 else None


def _take(event: _Event, log: _Log, faults: Faults) -> None:
    """Take one event."""
    stem, _, edge = event.key.rpartition("_")
    if stem and edge == "start":
        log.opened.setdefault(stem, event)
    elif stem and edge in ("stop", "end"):
        _close(stem, event, log, faults)
    elif event.key in _MEASURES or event.epoch is not None or _is_timer(event):
        _measure(event, log)
    elif len(log.facts) < _MAX_FACTS:
        tensor = event.metadata.get("tensor")
        name = f"{event.key}.{tensor}"[:128] if isinstance(tensor, str) else event.key
        log.facts.setdefault(name, _plain(event.value))


def _plain(value: Any) -> Any:
    """The value if it is small and flat, else its beginning as text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)[:_MAX_TEXT]


def _close(stem: str, event: _Event, log: _Log, faults: Faults) -> None:
    opened = log.opened.pop(stem, None)
    if stem == "run" and "status" in event.metadata:
        log.facts["status"] = _plain(event.metadata["status"])
    if opened is None:
        if stem not in {name for name, *_ in log.ranges}:
            faults.add("an interval's end without its start; left out", line=event.line)
        return
    dur_ns = event.time_ns - opened.time_ns
    if not 0 <= dur_ns <= _WEEK_NS:
        faults.add("an interval that ends before its start or lasts over a week; left out", line=event.line)
        return
    log.ranges.append((stem, opened.epoch or event.epoch, opened.time_ns, dur_ns))


def _is_timer(event: _Event) -> bool:
    return isinstance(event.value, dict) and set(event.value) == {"r", "t"}


def _measure(event: _Event, log: _Log) -> None:
    """Take the numbers of an event as samples."""
    if _is_timer(event):
        of_time = event.key.endswith(_TIMERS)
        value = finite(event.value["t"])
        if value is not None:
            scaled = value * units.NS_PER_S if of_time else value
            rank = f"rank {event.value['r']}"[:64]
            log.samples.append((event.key, "ns" if of_time else "count", scaled, event.time_ns, rank))
        return
    inner = event.value if isinstance(event.value, dict) else {event.key: event.value}
    for name, one in inner.items():
        value = finite(one)
        if value is not None:
            name = str(name)[:128]
            log.samples.append((name, _UNITS.get(name, "unknown"), value, event.time_ns, None))


def _ranges(log: _Log) -> Table:
    if not log.ranges:
        return Table("ranges")
    names, epochs, starts, durations = zip(*log.ranges, strict=True)
    return checked(
        "ranges",
        {
            "name": text_column(names),
            "kind": text_column(["user"] * len(names)),
            "value": text_column(epochs),
            "start_ns": int_column(list(starts)),
            "dur_ns": int_column(list(durations)),
        },
    )


def _samples(log: _Log) -> Table:
    if not log.samples:
        return Table("samples")
    names, unit_names, values, times, ranks = zip(*log.samples, strict=True)
    return checked(
        "samples",
        {
            "metric": text_column(names),
            "unit": text_column(unit_names),
            "value": float_column(values),
            "start_ns": int_column(list(times)),
            "entity": text_column(ranks),
        },
    )
