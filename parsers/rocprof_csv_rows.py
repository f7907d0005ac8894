"""The rows of rocprofv3's CSV, a block of lines at a time, and the tables that they end in."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import numpy as np

from ds2prof.errors import ReadError
from ds2prof.parsers.kineto_columns import MAX_DUR_NS, Floats, Ints, Texts
from ds2prof.parsers.range_names import kinds_of_ranges
from ds2prof.parsers.repeated_calls import repeated_calls
from ds2prof.parsers.rocprof_rows import coded, grids, sides, timed
from ds2prof.parsers.sources import Source
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import Column, Loaded, Meta, Table, checked

TOOL: Final = "rocprofv3"
BLOCK_ROWS: Final = 8192
MAX_LINE_CHARS: Final = 1 << 20
_NUMBER: Final = re.compile(r"(?:Agent |GPU |CPU )?([0-9]{1,18})\Z")
_WHOLE: Final = re.compile(r"[0-9]{1,20}\Z")
_TIMES: Final = {"Start_Timestamp": "start", "End_Timestamp": "end"}
_INTS: Final[Mapping[str, str]] = {
    **_TIMES,
    "Correlation_Id": "correlation",
    "Process_Id": "process",
    "Thread_Id": "thread",
    "Stream_Id": "stream",
    "Dispatch_Id": "order",
    "LDS_Block_Size": "shared_bytes",
    "Scratch_Size": "local_bytes_per_thread",
    "VGPR_Count": "registers",
    **{f"Workgroup_Size_{axis.upper()}": f"block_{axis}" for axis in "xyz"},
    **{f"Grid_Size_{axis.upper()}": f"items_{axis}" for axis in "xyz"},
}
"""Column of whole numbers -> what it is in the tables, with the times and work-items that are still to be turned."""
_AGENTS: Final = {
    "Agent_Id": "device",
    "Source_Agent_Id": "source_device",
    "Destination_Agent_Id": "destination_device",
}
_TEXTS: Final = {
    "Kernel_Name": "name",
    "Function": "name",
    "Direction": "name",
    "Domain": "domain",
    "Counter_Name": "metric",
}
_VALUES: Final = {"Counter_Value": "value"}
_KINDS: Final[Mapping[str, Mapping[str, str]]] = {"int": _INTS, "agent": _AGENTS, "text": _TEXTS, "float": _VALUES}
_POSITIVE: Final = frozenset(("start", "end", "correlation", "registers", *_INTS.values())) - {
    *("thread", "stream", "order", "shared_bytes", "local_bytes_per_thread")
}
_DOMAINS: Final = {"HIP": "runtime", "HSA": "driver", "RCCL": "rccl", "ROCDECODE": "rocdecode", "ROCJPEG": "rocjpeg"}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "kernels": ("Kernel_Name", *_TIMES),
    "copies": ("Direction", *_TIMES),
    "calls": ("Domain", "Function", *_TIMES),
    "counters": ("Kernel_Name", "Dispatch_Id", "Counter_Name", "Counter_Value"),
}


def loaded(source: Source, format_name: str, names: frozenset[str]) -> Loaded:
    """The named tables of the file, what it says of itself, and warnings.

    Raises:
        ReadError: a column that is needed is missing.
    """
    cells = _Cells(source.name)
    with source.open() as stream:
        cells.read(io.TextIOWrapper(stream, "utf-8", "replace", newline=""))
    left_out: Counter[str] = Counter()
    tables = {
        table: checked(table, {name: column for name, column in columns.items() if name in SCHEMAS[table]})
        for table, columns in _TABLES[cells.kind](cells, left_out).items()
        if table in names and len(next(iter(columns.values()), ()))
    }
    warnings = [f"{_counted(count, 'row')} left out, {reason}" for reason, count in left_out.items() if count]
    warnings += [*cells.warnings(), *_launches_without_times(tables.get("kernels"), cells.kind)]
    if "api" in tables and (repeated := repeated_calls(tables["api"])):
        warnings.append(repeated)
    meta = Meta(file=source.name, tool=TOOL, format=format_name, dialect=f"CSV of {cells.kind}", clock="boot")
    complete = {table: tables.get(table, Table(table)) for table in sorted(names)}
    return Loaded(meta, complete, tuple(f"{source.name}: {warning}" for warning in warnings))


class _Cells:
    """The file's columns while they grow.

    Attributes:
        kind: which of the files it is.
    """

    def __init__(self, name: str) -> None:
        self.kind = ""
        self._name = name
        self._ints: dict[str, Ints] = {}
        self._texts: dict[str, Texts] = {}
        self._values = Floats(least=-np.inf)
        self._odd_rows = 0
        self._odd_cells = 0
        self._rows = 0
        self._plan: list[tuple[int, str, str]] = []

    def read(self, text: io.TextIOWrapper) -> None:
        """Read to the end of the file."""
        reader = csv.reader(_lines(text))
        try:
            header = [cell.removeprefix("\ufeff").strip().strip('"') for cell in next(reader, [])]
            self._look(header)
            while rows := list(islice(reader, BLOCK_ROWS)):
                whole = [row for row in rows if len(row) == len(header)]
                self._odd_rows += sum(1 for row in rows if row) - len(whole)
                if whole:
                    self._add(whole)
        except csv.Error as error:
            raise ReadError(f"{self._name}:{reader.line_num}: damaged CSV: {error}; collect it again") from None

    def _look(self, header: Sequence[str]) -> None:
        present = set(header)
        if "Counter_Name" in present or "Dispatch_Id" in header[1:2]:
            self.kind = "counters"
        elif "Direction" in present:
            self.kind = "copies"
        else:
            self.kind = "calls" if "Domain" in present else "kernels"
        missing = [column for column in _NEEDED[self.kind] if column not in present]
        if missing:
            raise ReadError(
                f"{self._name}:1: no column {', '.join(missing)}; is this rocprofv3's table of {self.kind}, uncut?"
            )
        known = {column: (name, kind) for kind, columns in _KINDS.items() for column, name in columns.items()}
        plan: dict[str, tuple[int, str, str]] = {}
        for place, column in enumerate(header):
            if column in known:
                plan.setdefault(known[column][0], (place, *known[column]))
        self._plan = list(plan.values())

    def _add(self, rows: Sequence[Sequence[str]]) -> None:
        self._rows += len(rows)
        columns = list(zip(*rows, strict=True))
        for place, name, kind in self._plan:
            cells = columns[place]
            if kind == "int":
                self._add_ints(name, [self._whole(cell) for cell in cells])
            elif kind == "agent":
                number_of = {cell: _agent(cell) for cell in set(cells)}
                self._add_ints(name, [number_of[cell] for cell in cells])
            elif kind == "float":
                self._values.add([_number(cell) for cell in cells])
            else:
                self._texts.setdefault(name, Texts()).add(cells)

    def _add_ints(self, name: str, values: Sequence[int | None]) -> None:
        self._ints.setdefault(name, Ints(least=1 if name in _POSITIVE else 0)).add(values)

    def _whole(self, cell: str) -> int | None:
        if _WHOLE.match(cell):
            return int(cell)
        self._odd_cells += bool(cell.strip())
        return None

    def columns(self) -> dict[str, Column]:
        """What was read; columns without any value are left out."""
        found = {name: ints.column() for name, ints in self._ints.items()}
        found.update({name: texts.column() for name, texts in self._texts.items()})
        return {name: column for name, column in found.items() if column is not None} if self._rows else {}

    def values(self) -> Column:
        """The values of the counters."""
        return self._values.column() or Column(np.full(self._rows, np.nan))

    def warnings(self) -> Iterator[str]:
        """What was lost while reading the cells."""
        if self._odd_rows:
            yield f"{_counted(self._odd_rows, 'row')} left out, not as wide as the header; was it cut off?"
        if self._odd_cells:
            yield f"{_counted(self._odd_cells, 'cell')} read as null that should be whole numbers"
        too_large = sum(ints.too_large for ints in self._ints.values())
        if too_large:
            yield f"{_counted(too_large, 'integer')} beyond 64 bits read as null"


def _kernels(cells: _Cells, left_out: Counter[str]) -> dict[str, dict[str, Column]]:
    return {"kernels": grids(timed(cells.columns(), left_out))}


def _copies(cells: _Cells, left_out: Counter[str]) -> dict[str, dict[str, Column]]:
    columns = timed(cells.columns(), left_out)
    if not columns:
        return {}
    names = columns["name"]
    ends = [sides(name) for name in names.categories or ()]
    rows = len(names)
    columns["kind"] = Column(np.zeros(rows, dtype=np.int32), None, ["memcpy"])
    columns["device"] = Column(np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.bool_))
    for side, place in (("source", 0), ("destination", 1)):
        columns[f"{side}_kind"] = coded([end[place] for end in ends], names.values)
        on_device = np.array([end[place] == "device" for end in ends], dtype=np.bool_)[names.values]
        if (agent := columns.pop(f"{side}_device", None)) is not None:
            on_device &= agent.present
            columns[f"{side}_device"] = Column(np.where(on_device, agent.values, 0), on_device)
            before = columns["device"]
            values = np.where(on_device, agent.values, before.values)
            columns["device"] = Column(values, on_device | before.present)
    return {"copies": columns}


def _calls(cells: _Cells, left_out: Counter[str]) -> dict[str, dict[str, Column]]:
    columns = timed(cells.columns(), left_out)
    if not columns:
        return {}
    domains = columns["domain"]
    is_marker = np.array([text.startswith("MARKER") for text in domains.categories or ()], dtype=np.bool_)
    marks = is_marker[domains.values]
    calls = {name: column.take(~marks) for name, column in columns.items()}
    short = [_DOMAINS.get(text.partition("_")[0], text.lower()) for text in domains.categories or ()]
    calls["domain"] = coded(short, calls["domain"].values)
    return {"api": calls, "ranges": _ranges({name: column.take(marks) for name, column in columns.items()})}


def _ranges(columns: dict[str, Column]) -> dict[str, Column]:
    names = columns["name"]
    is_range = np.array([not text.startswith("roctx") for text in names.categories or ()], dtype=np.bool_)
    kept = is_range[names.values]
    found = {name: columns[name].take(kept) for name in columns.keys() & {"name", "process", "thread", "start_ns"}}
    durations = columns["dur_ns"].values[kept]
    kinds = kinds_of_ranges(names.categories or ())
    return {
        **found,
        "dur_ns": Column(durations, durations > 0),
        "kind": coded([kind for kind, _ in kinds], found["name"].values),
        "value": coded([value for _, value in kinds], found["name"].values),
    }


def _counters(cells: _Cells, left_out: Counter[str]) -> dict[str, dict[str, Column]]:
    """A launch per process and dispatch, in the order of their first rows; its counters."""
    columns = cells.columns()
    if not columns:
        return {}
    values = cells.values()
    numbered = columns["order"].present if "order" in columns else np.zeros(len(values), dtype=np.bool_)
    left_out["without the number of a dispatch"] += int((~numbered).sum())
    if not numbered.any():
        return {}
    columns = {name: column.take(numbered) for name, column in columns.items()}
    values = values.take(numbered)
    table = Table("kernels", {name: columns[name] for name in columns.keys() & {"process", "order"}})
    keys = np.stack([table.ints("process", null=-1), table.ints("order", null=-1)])
    _, first, launch_of = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    by_appearance = np.argsort(first, kind="stable")
    place = np.empty(len(first), dtype=np.int64)
    place[by_appearance] = np.arange(len(first))
    metrics = columns["metric"]
    launches = {name: column.take(first[by_appearance]) for name, column in columns.items()}
    known = values.present
    left_out["without a number for the counter"] += int((~known).sum())
    counters = {
        "launch": Column(place[launch_of.reshape(-1)][known]),
        "metric": metrics.take(known),
        "unit": Column(np.zeros(int(known.sum()), dtype=np.int32), None, [""]),
        "value": values.take(known),
    }
    start, end = launches.pop("start", None), launches.pop("end", None)
    if start is not None and end is not None:
        durations = np.where(start.present & end.present, end.values - start.values, -1)
        usable = (durations >= 0) & (durations <= MAX_DUR_NS)
        launches["start_ns"] = Column(np.where(usable, start.values, 0), usable)
        launches["dur_ns"] = Column(np.where(usable, durations, 0), usable)
    return {"kernels": launches, "counters": counters}


def _launches_without_times(kernels: Table | None, kind: str) -> Iterator[str]:
    if kind == "counters" and kernels is not None and "dur_ns" in kernels:
        count = int((~kernels["dur_ns"].present).sum())
        if count:
            yield f"kernels: {_counted(count, 'launch')} whose times are missing or cannot be"


_TABLES: Final[Mapping[str, Callable[[_Cells, Counter[str]], dict[str, dict[str, Column]]]]] = {
    "kernels": _kernels,
    "copies": _copies,
    "calls": _calls,
    "counters": _counters,
}


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines, bounded, without the null characters that the csv module refuses."""
    return (line.replace("\0", "") for line in iter(lambda: text.readline(MAX_LINE_CHARS), ""))


def _agent(cell: str) -> int | None:
    found = _NUMBER.match(cell)
    return int(found[1]) if found else None


def _number(cell: str) -> float:
    try:
        return float(cell) if len(cell) < 64 else np.nan
    except ValueError:
        return np.nan


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('ch') else 's'}"
