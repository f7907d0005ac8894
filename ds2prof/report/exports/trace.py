"""A profile as a trace for timeline viewers: Perfetto, chrome://tracing, and whatever reads PyTorch's own traces.

The form is Chrome's trace event format in the dialect of PyTorch's profiler, gzip where the name ends in ``.gz``. Both
viewers open it, and it can be read again as any trace of PyTorch's can. Perfetto's own protobuf form would be smaller,
but needs its schema and a second writer for the same slices, and nothing but Perfetto reads it.

Times are microseconds with three decimals, exact to the nanosecond. Times since the epoch count from
``baseTimeNanoseconds``, because a viewer's double holds microseconds since the epoch to a quarter of one only. Slices
stand in the order of their starts, the longest first, and nest on their rows (:mod:`.lanes`); rows are sorted and named
(:mod:`.trace_places`); an arrow leads from each launch call to each operation that it started; counter tracks tell busy
share, pipes and sampled readings (:mod:`.trace_counters`); a row of each device says why it was idle, gap by gap
(:mod:`.trace_idle`).

Text is made chunk by chunk: memory is that of the tables, however long the trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final

import numpy as np

from ds2prof import __version__
from ds2prof.analysis.attribution import Work, launches
from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import FloatArray
from ds2prof.errors import MissingDataError
from ds2prof.report.exports import trace_counters
from ds2prof.report.exports.trace_counters import Track
from ds2prof.report.exports.trace_idle import TABLES as IDLE_TABLES
from ds2prof.report.exports.trace_idle import idle_layer
from ds2prof.report.exports.trace_places import DEVICE, HOST, OVERHEAD, Places, device_pid, metadata, places
from ds2prof.report.exports.trace_rows import TABLES as ROW_TABLES
from ds2prof.report.exports.trace_rows import Layer, Writer, all_us, layer
from ds2prof.tables import Column, IntArray, Profile

SCHEMA: Final = "ds2prof-trace/1"
TABLES: Final = tuple(
    dict.fromkeys((*ROW_TABLES, *IDLE_TABLES, "samples", "counters", "devices", "processes", "threads"))
)
_EPOCH_FLOOR_NS: Final = 10**18
"""September 2001: times above it count from the epoch."""
_CHUNK: Final = 1 << 14
_WORKS: Final[tuple[Work, ...]] = ("kernels", "copies")


@dataclass(frozen=True)
class TraceOptions:
    """What a trace holds besides the file's own events.

    Attributes:
        step_ns: length of a step of the busy share; None chooses one.
        pipes: pipe -> utilization of each row of ``kernels`` (ratio, NaN where unknown).
        about: further facts for the trace's head.
    """

    step_ns: int | None = None
    pipes: Mapping[str, FloatArray] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def write_trace(profile: Profile, out: IO[str], options: TraceOptions | None = None) -> None:
    """Nothing; the trace is written to ``out``.

    Raises:
        MissingDataError: nothing in the profile has a time.
    """
    options = options or TraceOptions()
    profile.require(*TABLES)
    layers = _numbered(profile, [made for name in ROW_TABLES if len((made := layer(profile, name)).rows)])
    idle = idle_layer(profile)
    layers += [] if idle is None else [idle]
    tracks = _tracks(profile, options)
    if not layers and not tracks:
        raise MissingDataError(_why_nothing(profile))
    found = _placed(layers)
    base_ns = _base_ns(layers, tracks)
    head = json.dumps(_head(profile, base_ns, options))
    out.write(f'{head[:-1]},"traceEvents":[\n')
    first = True
    for texts in _events(profile, layers, found, tracks, options=options, base_ns=base_ns):
        if texts:
            out.write(("" if first else ",\n") + ",\n".join(texts))
            first = False
    out.write("\n]}\n")


def untimed(profile: Profile) -> list[tuple[str, int]]:
    """(table, how many of its rows have no start or no duration of their own, so that no trace can show them)."""
    counted = [(name, len(profile.table(name)) - len(layer(profile, name).rows)) for name in ROW_TABLES]
    return [(name, count) for name, count in counted if count]


def _why_nothing(profile: Profile) -> str:
    file = profile.meta.file
    if profile.meta.times == "replay":
        return f"{file}: its times are of replayed launches, no timeline; export a timeline, with --counters {file}"
    if len(profile.table("kernels")):
        return f"{file}: sums of launches without times of their own; a trace needs a timeline (nsys, torch)"
    return f"{file}: nothing in it has a start and a duration, so there is no timeline to export"


def _tracks(profile: Profile, options: TraceOptions) -> list[Track]:
    found = trace_counters.sampled_tracks(profile)
    if profile.meta.times == "replay":
        return found
    kernels = profile.table("kernels")
    found += trace_counters.busy_tracks(profile, step_ns=options.step_ns)
    return found + trace_counters.pipe_tracks(kernels, options.pipes)


def _numbered(profile: Profile, layers: list[Layer]) -> list[Layer]:
    """The layers; of several processes, with correlation ids that no two of them share.

    A trace of PyTorch's is of one process, and its reader joins by the id alone.
    """
    named = [made for made in layers if made.table.name in ("kernels", "copies", "api")]
    if not named or not all(made.table["process"].present.all() for made in named):
        return layers  # the join goes by the id alone in this profile, too
    processes = [made.table.ints("process") for made in named]
    if len(np.unique(np.concatenate(processes))) < 2:
        return layers
    ids = [made.table.ints("correlation", null=0) for made in named]
    codes, _ = combined([np.concatenate(processes), np.concatenate(ids)])
    ends = np.cumsum([len(made.rows) for made in named])[:-1]
    new = {
        made.table.name: Column(np.where(own > 0, code + 1, 0), own > 0)
        for made, own, code in zip(named, ids, np.split(codes, ends), strict=True)
    }
    return [replace(made, correlation=new.get(made.table.name)) for made in layers]


def _placed(layers: Sequence[Layer]) -> Places:
    def whole(name: str) -> IntArray:
        parts = [getattr(made, name) for made in layers]
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)

    return places(whole("kind"), whole("process"), whole("thread"), start_ns=whole("start_ns"), end_ns=whole("end_ns"))


def _base_ns(layers: Sequence[Layer], tracks: Sequence[Track]) -> int:
    """What times count from: the first, to the microsecond, where they are since the epoch; else 0."""
    starts = [int(made.start_ns.min()) for made in layers] + [int(track.time_ns.min()) for track in tracks]
    first = min(starts)
    return first // 1000 * 1000 if first >= _EPOCH_FLOOR_NS else 0


def _head(profile: Profile, base_ns: int, options: TraceOptions) -> dict[str, Any]:
    """What the trace says of itself, under the keys that PyTorch's profiler uses; the rest in ``otherData``."""
    meta = profile.meta
    found: dict[str, Any] = {"schemaVersion": 1, "displayTimeUnit": "ns", "deviceProperties": _devices(profile)}
    if meta.rank is not None:
        world = meta.facts.get("world_size")
        found["distributedInfo"] = {"rank": meta.rank, **({} if world is None else {"world_size": world})}
    if base_ns:
        found["baseTimeNanoseconds"] = base_ns
    hosts = [host for host in profile.table("processes")["host"].tolist() if host]
    if hosts:
        found["host_name"] = hosts[0]
    found["otherData"] = {
        "schema": SCHEMA,
        "producer": f"ds2prof {__version__}",
        "source_file": meta.file,
        "source_tool": meta.tool,
        "source_format": meta.format,
        "clock": meta.clock,
        "time_resolution_ns": meta.time_resolution_ns,
        "warnings": list(profile.warnings),
        "rows_without_times": dict(untimed(profile)),
        **options.about,
    }
    return found


def _devices(profile: Profile) -> list[dict[str, Any]]:
    named = {"device": "id", "name": "name", "memory_bytes": "totalGlobalMem", "sms": "numSms"}
    named |= {"max_threads_per_sm": "maxThreadsPerMultiprocessor", "warp_size": "warpSize"}
    table = profile.table("devices")
    columns = {key: table[name].tolist() for name, key in named.items()}
    made = []
    for row, capability in enumerate(table["compute_capability"].tolist()):
        entry = {key: values[row] for key, values in columns.items() if values[row] is not None}
        major, _, minor = (capability or "").partition(".")
        if major.isdecimal() and minor.isdecimal():
            entry |= {"computeMajor": int(major), "computeMinor": int(minor)}
        made.append(entry)
    return made


def _events(
    profile: Profile,
    layers: Sequence[Layer],
    found: Places,
    tracks: Sequence[Track],
    *,
    options: TraceOptions,
    base_ns: int,
) -> Iterator[list[str]]:
    """All events, chunk by chunk: names of rows, slices in the order of time, arrows, counters."""
    hosts = {spot.process for spot in found.spots if spot.kind in (HOST, OVERHEAD)}
    yield [json.dumps(event) for event in [*metadata(found, profile), *_counter_rows(tracks, found, hosts)]]
    yield from _slices(layers, found, options=options, base_ns=base_ns)
    for work in _WORKS:
        yield from _arrows(profile, work, layers, found, base_ns=base_ns)
    for track in tracks:
        yield from track.texts(base_ns=base_ns, hosts=hosts)


def _counter_rows(tracks: Sequence[Track], found: Places, hosts: set[int]) -> Iterator[dict[str, Any]]:
    """Names for devices that have counters and no row of their own."""
    known = {spot.pid for spot in found.spots if spot.kind == DEVICE}
    for device in dict.fromkeys(track.device for track in tracks):
        pid = device_pid(-1 if device is None else device, hosts)
        if pid not in known:
            name = "counters" if device is None else f"GPU {device}"
            common = {"ph": "M", "pid": json.loads(pid), "tid": 0, "ts": 0}
            yield {**common, "name": "process_name", "args": {"name": name}}
            yield {**common, "name": "process_labels", "args": {"labels": f"GPU {name}"}}


def _slices(layers: Sequence[Layer], found: Places, *, options: TraceOptions, base_ns: int) -> Iterator[list[str]]:
    """The rows of all tables in the order of their starts; of those that begin together, the longest first."""
    if not layers:
        return
    starts = np.concatenate([made.start_ns for made in layers])
    ends = np.concatenate([made.end_ns for made in layers])
    order = np.lexsort((-ends, starts))
    begins = np.cumsum([0, *(len(made.rows) for made in layers)])
    writers = [Writer(made, base_ns=base_ns, extra={**made.extra, **_extra(made, options)}) for made in layers]
    spots = np.array([f'"pid":{spot.pid},"tid":{spot.tid}' for spot in found.spots], dtype=object)
    for start in range(0, len(order), _CHUNK):
        some = order[start : start + _CHUNK]
        owner = np.searchsorted(begins, some, side="right") - 1
        texts = np.empty(len(some), dtype=object)
        for place in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == place)
            told = spots[found.of_event[some[mine]]].tolist()
            texts[mine] = writers[place].texts(some[mine] - begins[place], told)
        yield texts.tolist()


def _extra(made: Layer, options: TraceOptions) -> dict[str, Column]:
    """The pipes' utilization of each kernel, in percent."""
    if made.table.name != "kernels":
        return {}
    return {f"{pipe} %": Column(np.round(100 * values[made.rows], 4)) for pipe, values in options.pipes.items()}


def _arrows(
    profile: Profile, work: Work, layers: Sequence[Layer], found: Places, *, base_ns: int
) -> Iterator[list[str]]:
    """An arrow from the call to each operation that it launched, where the file has both."""
    at = {made.table.name: place for place, made in enumerate(layers)}
    if work not in at or "api" not in at:
        return
    begins = np.cumsum([0, *(len(made.rows) for made in layers)])
    calls, ours = layers[at["api"]], layers[at[work]]
    place_of_call = np.full(len(profile.table("api")) + 1, -1, dtype=np.int64)
    place_of_call[calls.rows] = np.arange(len(calls.rows))
    call = place_of_call[launches(profile, work)[ours.rows]]
    linked = np.flatnonzero(call >= 0)
    spots = [f'"pid":{spot.pid},"tid":{spot.tid}' for spot in found.spots]
    first = 1 if work == "kernels" else 1 + len(profile.table("kernels"))
    for start in range(0, len(linked), _CHUNK):
        some = linked[start : start + _CHUNK]
        columns: Iterable[Sequence[int | str]] = (
            (ours.rows[some] + first).tolist(),
            found.of_event[begins[at["api"]] + call[some]].tolist(),
            all_us(calls.start_ns[call[some]] - base_ns),
            found.of_event[begins[at[work]] + some].tolist(),
            all_us(ours.start_ns[some] - base_ns),
        )
        yield [
            f'{{"ph":"s","cat":"ac2g","name":"ac2g","id":{number},{spots[source]},"ts":{begin}}},\n'
            f'{{"ph":"f","cat":"ac2g","name":"ac2g","id":{number},{spots[target]},"ts":{end},"bp":"e"}}'
            for number, source, begin, target, end in zip(*columns, strict=True)
        ]
