"""What is gathered from nvprof's tables while they are read: columns in parts, and remarks about what went wrong.

A part is a stretch of rows out of one table of one process. Which parts count is decided at the end, when it is known
what else the process has: a trace and a summary hold the same launches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.tables import Column, IntArray, Texts, null_column

TRACE: Final[str] = "trace"
PER_DEVICE: Final[str] = "summary per device"
SUMMARY: Final[str] = "summary"
UNIFIED: Final[str] = "unified memory"
SOURCES: Final = (TRACE, PER_DEVICE, SUMMARY, UNIFIED)
"""Where rows come from, the fullest first."""

MAX_MESSAGES: Final = 8


@dataclass
class Remarks:
    """What is worth a warning or a fact.

    Attributes:
        counts: what is wrong with a row or value -> how many are.
        first_line: the same -> the number of the first such line.
        messages: warnings of nvprof's own, in order.
        empty: what nvprof says it did not find ("No kernels were profiled.").
        facts: what the file tells besides tables.
        step_ns: the coarsest step of the times of device work and calls.
        step_bytes: the coarsest step of sizes.
        cut: the last line has no end, and is left out.
    """

    counts: dict[str, int] = field(default_factory=dict)
    first_line: dict[str, int] = field(default_factory=dict)
    messages: dict[str, None] = field(default_factory=dict)
    empty: dict[str, None] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    step_ns: int = 1
    step_bytes: int = 1
    cut: bool = False

    def count(self, what: str, number: int, line: int) -> None:
        """Count rows or values that something is wrong with."""
        if number:
            self.counts[what] = self.counts.get(what, 0) + number
            self.first_line.setdefault(what, line)

    def add_fact(self, name: str, number: int) -> None:
        """Count something that has no place in a table."""
        key = name.lower().replace(" ", "_")
        self.facts[key] = self.facts.get(key, 0) + number

    def skip(self, number: int) -> None:
        """Count rows that are known, and not read."""
        if number:
            self.add_fact("rows of other tables", number)


class Rows:
    """The rows of one table of the model, as they come."""

    def __init__(self) -> None:
        self._parts: list[tuple[int | None, str, int, dict[str, Column]]] = []
        self._texts: dict[str, Texts] = {}

    def texts(self, column: str, values: Iterable[str | None]) -> Column:
        """A text column, coded with the column's one dictionary."""
        texts, listed = self._texts.setdefault(column, Texts()), list(values)
        code_of = {text: texts.code(text) for text in dict.fromkeys(listed)}
        return Column(np.fromiter(map(code_of.__getitem__, listed), dtype=np.int32, count=len(listed)), None, ())

    def add(self, process: int | None, source: str, columns: Mapping[str, Column]) -> None:
        """Take in rows; all columns are of one length."""
        length = len(next(iter(columns.values())))
        if length:
            self._parts.append((process, source, length, dict(columns)))

    def sources(self) -> dict[int | None, set[str]]:
        """Process -> where its rows come from."""
        found: dict[int | None, set[str]] = {}
        for process, source, _, _ in self._parts:
            found.setdefault(process, set()).add(source)
        return found

    def columns(self, kept: Mapping[int | None, frozenset[str]]) -> dict[str, Column]:
        """The columns of all parts whose source is kept for their process."""
        parts = [part for part in self._parts if part[1] in kept.get(part[0], frozenset())]
        names = list(dict.fromkeys(name for part in parts for name in part[3]))
        columns = {name: self._joined(name, parts) for name in names}
        if any(part[0] is not None for part in parts):
            processes = np.repeat([part[0] or 0 for part in parts], [part[2] for part in parts]).astype(np.int64)
            known = np.repeat([part[0] is not None for part in parts], [part[2] for part in parts])
            columns["process"] = Column(processes, None if known.all() else known)
        return columns

    def _joined(self, name: str, parts: Sequence[tuple[int | None, str, int, dict[str, Column]]]) -> Column:
        if name in self._texts:
            blank = null_column("text", 0)
            codes = [
                part[3][name].values if name in part[3] else np.full(part[2], -1, dtype=np.int32) for part in parts
            ]
            return Column(np.concatenate(codes), blank.valid, self._texts[name].categories)
        columns = [part[3].get(name) or null_column("int", part[2]) for part in parts]
        valid = np.concatenate([column.present for column in columns])
        return Column(np.concatenate([column.values for column in columns]), None if valid.all() else valid)


@dataclass
class Subject:
    """What metrics were read of: a launch, or all launches of a kernel on a device."""

    process: int | None
    name: str
    device: int | None
    context: int | None = None
    stream: int | None = None
    correlation: int | None = None
    calls: int | None = None


class Counted:
    """Counters and what they are of."""

    def __init__(self) -> None:
        self.subjects: list[Subject] = []
        self._place_of: dict[tuple[object, ...], int] = {}
        self._subjects: list[IntArray] = []
        self._metrics, self._units = Texts(), Texts()
        self._metric_codes: list[npt.NDArray[Any]] = []
        self._unit_codes: list[npt.NDArray[Any]] = []
        self._values: list[npt.NDArray[Any]] = []

    def of_kernel(self, subject: Subject) -> int:
        """The number of a summary's subject; the same kernel in another table is the same subject."""
        key = (subject.process, subject.device, subject.name)
        if key not in self._place_of:
            self._place_of[key] = len(self.subjects)
            self.subjects.append(subject)
        return self._place_of[key]

    def of_launch(self, subject: Subject) -> int:
        """The number of a new launch."""
        self.subjects.append(subject)
        return len(self.subjects) - 1

    def add(self, subjects: Sequence[int], metrics: Sequence[str], found: Sequence[tuple[float, str]]) -> None:
        """Take in values (with their unit), one for each subject and metric given."""
        if not subjects:
            return
        self._subjects.append(np.array(subjects, dtype=np.int64))
        self._metric_codes.append(self._metrics.codes(metrics))
        self._unit_codes.append(self._units.codes(unit for _, unit in found))
        self._values.append(np.array([value for value, _ in found], dtype=np.float64))

    def columns(self, launch_of: IntArray) -> dict[str, Column]:
        """The counters' columns; ``launch_of`` is the row in the kernels table of each subject."""
        if not self._values:
            return {}
        launches = launch_of[np.concatenate(self._subjects)]
        order = np.argsort(launches, kind="stable")
        return {
            "launch": Column(launches[order]),
            "metric": Column(np.concatenate(self._metric_codes)[order], None, self._metrics.categories),
            "unit": Column(np.concatenate(self._unit_codes)[order], None, self._units.categories),
            "value": Column(np.concatenate(self._values)[order]),
        }


class Gathered:
    """All that was gathered from one file."""

    def __init__(self) -> None:
        self.rows = {name: Rows() for name in ("kernels", "copies", "api", "ranges")}
        self.counted = Counted()
        self.marks: list[tuple[int | None, str, int]] = []  # process, name as printed, time
        self.devices: dict[int, str] = {}
        self.processes: dict[int, str | None] = {}
        self.dialect: dict[str, None] = {}
        self.remarks = Remarks()


def kept(rows: Iterable[Rows]) -> tuple[dict[int | None, frozenset[str]], set[str]]:
    """Process -> the sources that count for these tables, and which other sources were left out for them."""
    found: dict[int | None, set[str]] = {}
    for one in rows:
        for process, sources in one.sources().items():
            found.setdefault(process, set()).update(sources)
    chosen: dict[int | None, frozenset[str]] = {}
    left: set[str] = set()
    for process, sources in found.items():
        best = next(source for source in SOURCES if source in sources)
        chosen[process] = frozenset((best,) if best == TRACE else (best, UNIFIED))
        left |= sources - chosen[process]
    return chosen, left
