"""The tables of timed records in rocprofv3's JSON, built a piece at a time for each process in turn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.kineto_columns import MAX_DUR_NS, Codes, Ints
from ds2prof.parsers.range_names import kinds_of_ranges
from ds2prof.parsers.rocprof_names import Names
from ds2prof.tables import Column, IntArray

_DIRECTION: Final = re.compile(r"(HOST|DEVICE)_TO_(HOST|DEVICE)\Z")
_RANGE: Final = re.compile(r"roctx(?:RangePush|RangeStart|ThreadRange|ProcessRange)")
_MARK: Final = re.compile(r"roctxMark")
_KEY_BITS: Final = 32


class Rows:
    """A table that grows: integers as they come, texts from the process's names at the end of each piece.

    Attributes:
        left_out: why rows were left out, and how many.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._ints: dict[str, Ints] = {}
        self._texts: dict[str, tuple[Codes, list[npt.NDArray[np.int32]]]] = {}

    def __len__(self) -> int:
        return sum(len(chunk) for _, chunks in list(self._texts.values())[:1] for chunk in chunks)

    def _add_times(self, records: Sequence[Any], names: Names) -> None:
        self._int("process", [names.process] * len(records))
        self._int("start", [record.start_timestamp for record in records], least=1)
        self._int("end", [record.end_timestamp for record in records], least=1)
        self._int("correlation", [record.correlation_id.internal for record in records], least=1)

    def _int(self, name: str, values: Sequence[int | None], *, least: int = 0) -> None:
        if name not in self._ints:
            self._ints[name] = Ints(least=least)
        self._ints[name].add(values)

    def _text(self, name: str, keys: Sequence[Any], text_of: Callable[[Any], str | None]) -> None:
        """Append what each key stands for; each distinct one is looked up once."""
        codes, chunks = self._texts.setdefault(name, (Codes(), []))
        distinct = {key: codes[text_of(key)] for key in dict.fromkeys(keys)}
        chunks.append(np.fromiter(map(distinct.__getitem__, keys), dtype=np.int32, count=len(keys)))

    @property
    def too_large(self) -> int:
        """How many integers did not fit into 64 bits and are null therefore."""
        return sum(ints.too_large for ints in self._ints.values())

    def columns(self) -> dict[str, Column]:
        """The columns in the end, without the rows whose times cannot be."""
        found: dict[str, Column | None] = {name: ints.column() for name, ints in self._ints.items()}
        for name, (codes, chunks) in self._texts.items():
            found[name] = Column(np.concatenate(chunks), None, list(codes)) if codes else None
        if not len(self):
            return {}
        columns = timed({name: column for name, column in found.items() if column is not None}, self.left_out)
        return self._finished(columns) if columns else {}

    def _finished(self, columns: dict[str, Column]) -> dict[str, Column]:
        return columns


class KernelRows(Rows):
    """Launches."""

    def add(self, records: Sequence[Any], names: Names) -> None:
        """Append dispatches of one process."""
        self._add_times(records, names)
        infos = [record.dispatch_info for record in records]
        kernels = [info.kernel_id for info in infos]
        self._text("name", kernels, names.kernel)
        self._text("mangled_name", kernels, names.mangled)
        self._int("device", [names.device_of.get(info.agent_id.handle) for info in infos])
        self._int("stream", [record.stream_id.handle for record in records])
        self._int("registers", [names.registers_of.get(kernel) for kernel in kernels], least=1)
        self._int("shared_bytes", [info.group_segment_size for info in infos])
        self._int("local_bytes_per_thread", [info.private_segment_size for info in infos])
        self._int("order", [info.dispatch_id for info in infos])
        for axis in "xyz":
            self._int(f"items_{axis}", [getattr(info.grid_size, axis) for info in infos], least=1)
            self._int(f"block_{axis}", [getattr(info.workgroup_size, axis) for info in infos], least=1)

    def _finished(self, columns: dict[str, Column]) -> dict[str, Column]:
        return grids(columns)


class CopyRows(Rows):
    """Copies."""

    def add(self, records: Sequence[Any], names: Names) -> None:
        """Append copies of one process."""
        self._add_times(records, names)
        operations = _operations(records)
        ends = [sides(names.operation(key)) for key in operations]
        sources = [names.device_of.get(record.src_agent_id.handle) for record in records]
        destinations = [names.device_of.get(record.dst_agent_id.handle) for record in records]
        self._text("name", operations, names.operation)
        self._text("kind", operations, lambda _: "memcpy")
        self._text("source_kind", [end[0] for end in ends], _itself)
        self._text("destination_kind", [end[1] for end in ends], _itself)
        self._int("source_device", sources)
        self._int("destination_device", destinations)
        self._int("device", [a if b is None else b for a, b in zip(sources, destinations, strict=True)])
        self._int("stream", [record.stream_id.handle for record in records])
        self._int("size_bytes", [record.bytes for record in records])


class CallRows(Rows):
    """Calls into HIP, HSA and AMD's libraries."""

    def add(self, records: Sequence[Any], names: Names, *, domain: str) -> None:
        """Append calls of one process."""
        self._add_times(records, names)
        operations = _operations(records)
        self._text("name", operations, names.operation)
        self._text("domain", operations, lambda _: domain)
        self._int("thread", [record.thread_id for record in records])


class RangeRows(Rows):
    """Ranges and marks of the program (ROCTx)."""

    def add(self, records: Sequence[Any], names: Names) -> None:
        """Append those of one process; other calls of the library are none."""
        kinds = {key: _marker(names.operation(key)) for key in set(_operations(records))}
        kept = [
            (record, kind)
            for record, key in zip(records, _operations(records), strict=True)
            if (kind := kinds[key]) is not None
        ]
        if kept:
            found = [record for record, _ in kept]
            self._add_times(found, names)
            self._text("name", [record.correlation_id.internal for record in found], names.message)
            self._int("is_mark", [kind for _, kind in kept])
            self._int("thread", [record.thread_id for record in found])

    def _finished(self, columns: dict[str, Column]) -> dict[str, Column]:
        """Kinds by name; a mark has no duration, and no range launches anything."""
        columns.pop("correlation", None)
        spans = columns.pop("is_mark").values == 0
        durations = columns["dur_ns"].values
        columns["dur_ns"] = Column(np.where(spans, durations, 0), None if spans.all() else spans)
        names = columns["name"]
        kinds = kinds_of_ranges(names.categories or ())
        columns["kind"] = coded([kind for kind, _ in kinds], names.values)
        columns["value"] = coded([value for _, value in kinds], names.values)
        return columns


class CounterRows:
    """Counters of launches, their instances added up.

    Attributes:
        no_number: how many readings are none, or of a counter that the file does not name.
    """

    def __init__(self) -> None:
        self.no_number = 0
        self.launches: list[int | None] = []
        self.processes: list[int | None] = []
        self._metrics = Codes()
        self._codes: list[int] = []
        self._values: list[float] = []

    def add(self, records: Sequence[Any], names: Names) -> None:
        """Append the counters of one process's dispatches."""
        for record in records:
            sums: dict[int | None, float] = {}
            for reading in record.records:
                if reading.value is None or reading.counter_id.handle not in names.counter_of:
                    self.no_number += 1
                else:
                    sums[reading.counter_id.handle] = sums.get(reading.counter_id.handle, 0.0) + reading.value
            known = [(names.counter_of[key], value) for key, value in sums.items()]
            self.launches += [record.dispatch_data.dispatch_info.dispatch_id] * len(known)
            self.processes += [names.process] * len(known)
            self._codes += [self._metrics[metric] for metric, _ in known]
            self._values += [value for _, value in known]

    def columns(self, row_of: Mapping[tuple[int | None, int | None], int]) -> dict[str, Column]:
        """The columns, of the launches that are in the table of kernels."""
        rows = [row_of.get(key, -1) for key in zip(self.processes, self.launches, strict=True)]
        launch = np.array(rows, dtype=np.int64)
        kept = launch >= 0
        if not kept.any():
            return {}
        return {
            "launch": Column(launch[kept]),
            "metric": Column(np.array(self._codes, dtype=np.int32)[kept], None, list(self._metrics)),
            "unit": Column(np.zeros(int(kept.sum()), dtype=np.int32), None, [""]),
            "value": Column(np.array(self._values, dtype=np.float64)[kept]),
        }


def _operations(records: Sequence[Any]) -> list[int]:
    """Kind and operation of each record in one integer."""
    return [(record.kind << _KEY_BITS) | (record.operation & 0xFFFFFFFF) for record in records]


def _marker(operation: str) -> int | None:
    """0 for a range, 1 for a mark, None for anything else."""
    return 0 if _RANGE.match(operation) else 1 if _MARK.match(operation) else None


def _itself(text: str | None) -> str | None:
    return text


def timed(columns: Mapping[str, Column], left_out: Counter[str]) -> dict[str, Column]:
    """The columns with ``start`` and ``end`` as start and duration, without the rows whose times cannot be.

    Why rows were left out, and how many, is added to ``left_out``.
    """
    count = len(next(iter(columns.values()), ()))
    none = Column(np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_))
    start, end = columns.get("start", none), columns.get("end", none)
    readable = start.present & end.present
    durations = np.where(readable, end.values - start.values, 0)  # neither is negative: no overflow
    usable = readable & (durations >= 0) & (durations <= MAX_DUR_NS)
    left_out["no readable time"] += int((~readable).sum())
    left_out["end before the start"] += int((durations < 0).sum())
    left_out["longer than a week"] += int((durations > MAX_DUR_NS).sum())
    found = {name: column for name, column in columns.items() if name not in ("start", "end")}
    found.update(start_ns=Column(start.values), dur_ns=Column(durations))
    if count and usable.all():
        return found
    return {name: column.take(usable) for name, column in found.items()} if usable.any() else {}


def grids(columns: Mapping[str, Column]) -> dict[str, Column]:
    """The columns with grids in workgroups, as the model counts them, for work-items; the last may be partly empty."""
    found = dict(columns)
    for axis in "xyz":
        items, block = found.pop(f"items_{axis}", None), found.get(f"block_{axis}")
        if items is not None and block is not None:
            known = items.present & block.present
            groups = -(-items.values // np.where(known, block.values, 1))
            if known.any():
                found[f"grid_{axis}"] = Column(np.where(known, groups, 0), None if known.all() else known)
    return found


def sides(operation: str) -> tuple[str | None, str | None]:
    """Where a copy reads and writes, by the name of its operation: ``MEMORY_COPY_HOST_TO_DEVICE``."""
    found = _DIRECTION.search(operation)
    return (found[1].lower(), found[2].lower()) if found else (None, None)


def coded(texts: Sequence[str | None], rows: npt.NDArray[np.int32] | IntArray) -> Column:
    """The column in which row i has the text of category ``rows[i]``."""
    codes = Codes()
    code_of = np.array([codes[text] for text in texts], dtype=np.int32)
    return Column(code_of[rows], None, list(codes))
