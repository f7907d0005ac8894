"""Writes reports of Nsight Compute as the tool's own file format has them, from facts given in Python.

The layout is the one of the tool's published message definitions: ``NVR\\0``, a header, then blocks; each block has a
header of its own (how many messages of which kind follow, texts, the process) and a payload of messages, each behind
its length. Messages are protocol buffers, which are written here field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ds2prof.parsers.ncu_rep_container import fields

MAGIC = b"NVR\0"
METRICS_FIELD = {"kernel": 13, "range": 4, "command_list": 4, "graph": 4}
NVTX_FIELD = {"kernel": 21, "range": 10, "command_list": 10, "graph": 10}
RULES_FIELD = {"kernel": 19, "range": 20, "command_list": 21, "graph": 22}
COUNT_FIELD = {"kernel": 2, "range": 7, "command_list": 8, "graph": 9}
RULE_TYPES = {"": 0, "info": 1, "warning": 2, "error": 3, "optimization": 4}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def double(tag: int, value: float) -> bytes:
    return varint(tag << 3 | 1) + struct.pack("<d", value)


def single(tag: int, value: float) -> bytes:
    return varint(tag << 3 | 5) + struct.pack("<f", value)


def message(tag: int, content: bytes | str) -> bytes:
    raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return varint(tag << 3 | 2) + varint(len(raw)) + raw


def framed(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


Value = float | int | str | None


def value_of(value: Value) -> bytes:
    """A metric's value: a text, a double, or an unsigned number (of 32 bits where it fits)."""
    if value is None:
        return b""
    if isinstance(value, str):
        return message(1, value)
    if isinstance(value, float):
        return double(3, value)
    return number(4, value) if value < 1 << 32 else number(5, value)


@dataclass
class Series:
    """A metric with instances: (time or other correlation, value) each, and perhaps a value of its own."""

    instances: Sequence[tuple[int | None, float]]
    value: Value = None


@dataclass
class Rule:
    name: str
    section: str
    text: str
    kind: str = "info"
    title: str = ""
    speedup: tuple[str, float] | None = None


@dataclass
class Nvtx:
    """Open ranges: (domain, name) of push/pop, outermost first; (domain, name) of start/end."""

    pushed: Sequence[tuple[str, str]] = ()
    started: Sequence[tuple[str, str]] = ()


@dataclass
class Launch:
    """One result of a report."""

    name: str = "kernel(int)"
    metrics: dict[str, Value | Series] = field(default_factory=dict)
    kind: str = "kernel"
    context: int = 1
    stream: int = 7
    rules: Sequence[Rule] = ()
    nvtx: Nvtx | None = None
    thread: int = 4242
    clocks: tuple[bool, bool] = (True, True)


GPU: dict[str, Value | Series] = {
    "device__attribute_display_name": "NVIDIA A100-PCIE-40GB",
    "device__attribute_implementation": 368,  # by this the library knows the chip, and so the units
    "device__attribute_chip": 368,
    "device__attribute_compute_capability_major": 8,
    "device__attribute_compute_capability_minor": 0,
    "device__attribute_multiprocessor_count": 108,
    "device__attribute_warp_size": 32,
}


def metrics_of(duration_ns: float = 1000.0, more: dict[str, Value | Series] | None = None) -> dict[str, Value | Series]:
    """What a launch of a kernel has at least, and ``more``."""
    return {
        **GPU,
        "gpu__time_duration.sum": duration_ns,
        "launch__device_id": 0.0,
        "launch__registers_per_thread": 32.0,
        "launch__shared_mem_per_block_static": 1024.0,
        **(more or {}),
    }


def workload_of(
    duration_ns: float = 1000.0, more: dict[str, Value | Series] | None = None
) -> dict[str, Value | Series]:
    """What a range, graph or command list has at least, and ``more``."""
    return {**GPU, "gpu__time_duration.sum": duration_ns, "launch__device_id": 0.0, **(more or {})}


class Report:
    """A report that grows launch by launch."""

    def __init__(self, *, tool: str | None = "2024.1.0.0 (build 1) (public-release)", command: str = "") -> None:
        self._names: dict[str, int] = {}
        self._known = 0
        details = []
        if tool is not None:
            details.append(message(8, message(1, "Nsight Compute Target") + message(2, tool)))
        if command:
            details.append(message(11, command))
        self._details = details
        self._blocks: list[bytes] = []

    def add(
        self, *launches: Launch, process: int | None = 100, program: str = "/home/u/app", host: str = "box"
    ) -> None:
        """A block for each of these launches."""
        for launch in launches:
            header = number(COUNT_FIELD[launch.kind], 1)
            source = framed(number(1, 1)) if not self._blocks else b""
            if source:
                header = number(1, 1) + header
            result = framed(self._result(launch))
            names = list(self._names)[self._known :]
            self._known = len(self._names)
            if names:
                header += message(4, b"".join(message(1, name) for name in names))
            self._block(header, source + result, process=process, program=program, host=host)

    def content(self) -> bytes:
        """The bytes of the report."""
        heads = [framed(message(3, detail)) for detail in self._details]
        return MAGIC + framed(number(1, 7)) + b"".join(heads) + b"".join(self._blocks)

    @staticmethod
    def blocks_of(content: bytes) -> list[bytes]:
        """The blocks of a report that was written here."""
        at = len(MAGIC) + 4 + int.from_bytes(content[4:8], "little")
        found = []
        while at < len(content):
            begin, at = at, at + 4 + int.from_bytes(content[at : at + 4], "little")
            head = dict(fields(content[begin + 4 : at]))
            at += int(head.get(5, 0))  # type: ignore[arg-type]
            found.append(content[begin:at])
        return found

    def _block(self, header: bytes, payload: bytes, *, process: int | None, program: str, host: str) -> None:
        header += number(5, len(payload))
        if process is not None:
            header += message(6, number(1, process) + message(2, host) + message(3, program))
        self._blocks.append(framed(header) + payload)

    def _result(self, launch: Launch) -> bytes:
        metrics = b"".join(
            message(METRICS_FIELD[launch.kind], self._metric(name, value)) for name, value in launch.metrics.items()
        )
        rules = b"".join(message(RULES_FIELD[launch.kind], rule_of(rule)) for rule in launch.rules)
        nvtx = message(NVTX_FIELD[launch.kind], nvtx_of(launch.nvtx, launch.thread)) if launch.nvtx else b""
        clocks = number(1, launch.clocks[0]) + number(2, launch.clocks[1])
        start, made = number(1, launch.thread) + number(2, 1), number(5, 1_700_000_000) + number(6, 0)
        if launch.kind == "range":
            place = number(11, launch.context) + message(12, clocks) + number(15, 1)
            return start + metrics + made + nvtx + place + rules
        if launch.kind != "kernel":
            place = number(11, launch.context) + number(12, launch.stream) + message(13, clocks) + number(17, 1)
            return start + metrics + made + nvtx + place + rules
        names = message(5, launch.name) + message(6, launch.name.split("(")[0]) + message(7, launch.name)
        sizes = message(9, sides(0, 0, 0)) + message(10, sides(4, 2, 1)) + message(11, sides(128, 1, 1))
        place = number(22, launch.context) + number(23, launch.stream) + message(25, clocks)
        return (
            start + number(3, 1) + number(4, 1) + names + number(8, 3) + sizes + metrics
            + number(14, 1_700_000_000) + message(15, number(1, 1)) + number(16, 0) + rules + nvtx + place
        )  # fmt: skip

    def _metric(self, name: str, value: Value | Series) -> bytes:
        code = self._names.setdefault(name, len(self._names))
        if not isinstance(value, Series):
            return number(1, code) + message(2, value_of(value))
        instances: Iterable[bytes] = (
            (message(1, number(5, at)) if at is not None else b"") + message(2, value_of(float(amount)))
            for at, amount in value.instances
        )
        own = message(2, value_of(value.value)) if value.value is not None else b""
        return number(1, code) + own + b"".join(message(3, instance) for instance in instances)


def sides(x: int, y: int, z: int) -> bytes:
    return number(1, x) + number(2, y) + number(3, z)


def rule_of(rule: Rule) -> bytes:
    content = message(1, rule.text) + number(2, RULE_TYPES[rule.kind]) + number(3, 1)
    items = message(1, content + (message(4, rule.title) if rule.title else b""))
    if rule.speedup is not None:
        kind, percent = rule.speedup
        items += message(10, number(1, {"local": 1, "global": 2}[kind]) + double(2, percent))
    body = message(1, items)
    return message(1, rule.name) + message(2, rule.name) + message(3, body) + message(4, rule.section)


def nvtx_of(nvtx: Nvtx, thread: int) -> bytes:
    domains: dict[str, int] = {"<default domain>": 0}
    for domain, _ in (*nvtx.pushed, *nvtx.started):
        domains.setdefault(domain, len(domains))
    infos = b"".join(message(1, number(1, code) + message(2, name)) for name, code in domains.items())
    stacks = b""
    for domain, code in domains.items():
        ranges = b"".join(message(3, message(1, name)) for at, name in nvtx.pushed if at == domain)
        stacks += message(2, number(1, code) + ranges)
    found = infos + message(2, number(1, thread) + stacks)
    for domain, code in domains.items():
        started = [(place, name) for place, (at, name) in enumerate(nvtx.started) if at == domain]
        if started:
            ranges = b"".join(message(3, number(1, place + 1) + message(2, name)) for place, name in started)
            found += message(3, number(1, code) + ranges)
    return found + number(4, 0)


def kinds_and_ranges() -> bytes:
    """A report with each kind of result, NVTX ranges, rules and series: the first golden case."""
    report = Report(command="/opt/ncu --cache-control none --nvtx -o report python train.py")
    nvtx = Nvtx(
        pushed=(("<default domain>", "step"), ("ds2prof", "layer:rnn.0"), ("ds2prof", "layer:rnn.1")),
        started=(("ds2prof", "iteration:3"), ("ds2prof", "phase:forward")),
    )
    rules = (
        Rule(
            "SOLBottleneck", "SpeedOfLight", "Look at @section:LaunchStats:Launch Statistics@.",
            kind="optimization", title="Small Grid", speedup=("global", 12.5),
        ),
        Rule("Occupancy", "Occupancy", "See the @url:Guide:https://example.org/a#b@.", kind="warning"),
    )  # fmt: skip
    more: dict[str, Value | Series] = {
        "dram__bytes.sum": 4096.0,
        "sm__throughput.avg.pct_of_peak_sustained_elapsed": 33.622698174874216,
        "inst_executed": Series([(16, 3.0), (32, 4.0)], 7),
        "launch__func_cache_config": "CachePreferNone",
        "memory_type": Series([(16, 1.0)]),
        "pmsampling:sm__cycles_active.avg": Series([(2_716_021_843_496_448, 0.5), (2_716_021_843_515_776, 2.5)], 3.0),
        "warpsampling:smsp__pcsamp_samples": Series([(10, 1.0), (20, 2.0)]),
    }
    report.add(
        Launch("void k<(int)32>(float *)", metrics_of(1234.0, more), rules=rules, nvtx=nvtx),
        Launch(kind="range", metrics=workload_of(5000.0), nvtx=Nvtx(started=(("ds2prof", "phase:backward"),))),
        Launch(kind="graph", metrics=workload_of(7000.0)),
        Launch(kind="command_list", metrics=workload_of(900.0)),
        Launch("void k<(int)32>(float *)", metrics_of(1300.0, more), nvtx=Nvtx()),
    )
    return report.content()


def two_processes() -> bytes:
    """A report of two processes, in which one launch could not be profiled: the second golden case."""
    report = Report(tool="2022.3.0.0 (build 31729285) (public-release)")
    report.add(Launch("first(int)", metrics_of(100.0)), process=7, program="/usr/bin/python3.11")
    report.add(
        Launch("second(int)", metrics_of(200.0), stream=9), process=8, program="C:\\tools\\worker.exe", host="far"
    )
    report.add(Launch("failed(int)", dict(GPU), clocks=(True, False)), process=7)
    return report.content()


CASES = {"kinds_and_ranges": kinds_and_ranges, "two_processes": two_processes}
