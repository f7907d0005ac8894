"""Nsight Compute CSV made in memory, in any dialect: for the tests of its reader."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from ds2prof.errors import Ds2profError
from ds2prof.parsers import ncu_csv
from ds2prof.parsers.sources import HEAD_BYTES, Source

CYCLES = "gpc__cycles_elapsed.max"
DURATION = "gpu__time_duration.sum"
FMA = "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"
COMMAND_LINE = "Command line profiler metrics"
NVTX = (
    "thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg",
    "Id:Domain:Start/Stop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg",
)
RULES = ("Rule Name", "Rule Type", "Rule Description")
SPEEDUP = ("Estimated Speedup Type", "Estimated Speedup")
PROCESS = ("ID", "Process ID", "Process Name", "Host Name")
OLD = ("Kernel Time", "Context", "Stream")
NEW = ("Context", "Stream", "Block Size", "Grid Size", "Device", "CC")
ROW = ("Section Name", "Metric Name", "Metric Unit", "Metric Value")

COLUMNS = {
    "2019": (*PROCESS, "Kernel Name", *OLD, *ROW),
    "2022": (*PROCESS, "Kernel Name", *OLD, *ROW, *RULES),
    "2022 NVTX": (*PROCESS, *NVTX, "Kernel Name", *OLD, *ROW, *RULES),
    "2023": (*PROCESS, "Kernel Name", *NEW, *ROW),
    "2023 NVTX": (*PROCESS, NVTX[0], "Kernel Name", *NEW, *ROW),
    "2024": (*PROCESS, "Kernel Name", *NEW, *ROW, *RULES, *SPEEDUP),
    "2025": (*PROCESS, "Kernel Name", *NEW, "Section Name", "Body Item Label", *ROW[1:], *RULES, *SPEEDUP),
}
"""Columns of the details page, by the time they came up."""


@dataclass(frozen=True)
class Metric:
    """A row's metric, as printed."""

    label: str
    unit: str
    value: str
    section: str = COMMAND_LINE
    item: str = ""


@dataclass(frozen=True)
class Launch:
    """A launch; ``metrics`` are its rows, or cells."""

    order: int
    metrics: tuple[Metric, ...]
    name: str = "kernel(float *, int)"
    process: int = 4711
    more: dict[str, str] = field(default_factory=dict)

    def cells(self) -> dict[str, str]:
        return {
            "ID": str(self.order),
            "Process ID": str(self.process),
            "Process Name": "python3.11",
            "Host Name": "127.0.0.1",
            "Kernel Name": self.name,
            "Kernel Time": "2024-Apr-04 12:02:38",
            "Context": "1",
            "Stream": "7",
            "Block Size": "(128, 1, 1)",
            "Grid Size": "(64, 2, 1)",
            "Device": "0",
            "CC": "8.0",
            NVTX[0]: '1  "<default domain>:step:none:none:none:none:none:none"',
            **self.more,
        }


def quoted(cells: Iterable[str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)


def rows(launch: Launch, columns: Sequence[str]) -> list[str]:
    """The launch's rows of a details page; where it has rule columns, they end as the tool ends them."""
    found = []
    for metric in launch.metrics:
        cells = {
            **launch.cells(),
            "Section Name": metric.section,
            "Body Item Label": metric.item,
            "Metric Name": metric.label,
            "Metric Unit": metric.unit,
            "Metric Value": metric.value,
        }
        known = [cells.get(name, "") for name in columns[: columns.index("Metric Value") + 1]]
        found.append(quoted(known) + ("," if "Rule Name" in columns else ""))
    return found


def rule(launch: Launch, columns: Sequence[str], text: str = "This kernel is small.") -> str:
    """A rule's row: no metric, and a stream of its own, as the tool has it."""
    cells = {**launch.cells(), "Stream": "1", "Section Name": "SpeedOfLight", "Rule Name": "SOLBottleneck"}
    cells |= {"Rule Type": "WRN", "Rule Description": text, "Estimated Speedup": "12.5"}
    return quoted(cells.get(name, "") for name in columns)


def details(launches: Sequence[Launch], columns: str = "2023") -> str:
    names = COLUMNS[columns]
    return lines([quoted(names), *(row for launch in launches for row in rows(launch, names))])


def raw(launches: Sequence[Launch], *, identity: Sequence[str] = (*PROCESS, "Kernel Name", *NEW)) -> str:
    """A raw page: the columns are the metrics of the first launch; others may lack some."""
    metrics = {metric.label: metric.unit for launch in launches for metric in launch.metrics}
    found = [quoted((*identity, *metrics)), quoted((*("" for _ in identity), *metrics.values()))]
    for launch in launches:
        cells, values = launch.cells(), {metric.label: metric.value for metric in launch.metrics}
        found.append(quoted((*(cells.get(name, "") for name in identity), *(values.get(name, "") for name in metrics))))
    return lines(found)


def lines(found: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in found)


def source(content: bytes | str, name: str = "nsight.csv") -> Source:
    if isinstance(content, str):
        content = content.encode()
    return Source(name, content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def read(content: bytes | str):
    return ncu_csv.parse(source(content)).require("kernels", "counters", "devices", "processes")


def read_or_refused(content: bytes):
    """The profile; None where the project's own error refuses the bytes, in one line."""
    try:
        return read(content)
    except Ds2profError as error:
        message = str(error)
    assert "\n" not in message
    return None


def counters(profile) -> list[tuple[int, str, str, float | None]]:
    """(launch, metric, unit, value), None for null."""
    table = profile.table("counters")
    return list(zip(*(table[name].tolist() for name in ("launch", "metric", "unit", "value")), strict=True))


def values(profile, metric: str) -> list[float | None]:
    """The metric's value of each launch that has it."""
    return [value for _, name, _, value in counters(profile) if name == metric]


def kernels(profile, *names: str) -> list[tuple[object, ...]]:
    """The kernels' rows, these columns."""
    table = profile.table("kernels")
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def plain(profile) -> dict:
    """Tables, meta and warnings as plain values that JSON can hold; tables without rows are left out."""
    kept = ("tool", "dialect", "domain", "times", "clock", "facts")
    tables = {name: profile.table(name) for name in ("kernels", "counters", "devices", "processes")}
    return {
        "meta": {name: getattr(profile.meta, name) for name in kept},
        "tables": {
            name: {column: found.tolist() for column, found in sorted(table.columns.items())}
            for name, table in tables.items()
            if len(table)
        },
        "warnings": list(profile.warnings),
    }


def nearest(exact: Fraction) -> float:
    """The double nearest to an exact value."""
    return exact.numerator / exact.denominator


def metric_launch(order: int, *, cycles: str = "1000", fma: str = "10.00", **more) -> Launch:
    """A launch with what core utilization needs."""
    rest = (Metric(CYCLES, "cycle", cycles), Metric(DURATION, "nsecond", "7104"), Metric(FMA, "%", fma))
    return replace(Launch(order, rest), **more)
