"""Columns while they grow, chunk by chunk: arrays instead of lists, so that memory is that of the columns kept."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.kineto_times import ns_from_us
from ds2prof.tables import BoolArray, Column, IntArray

INT64_MAX: Final = (1 << 63) - 1
MAX_DUR_NS: Final = 7 * 86_400 * 1_000_000_000
"""A week. What claims to have taken longer is an overflow in CUPTI."""

MAX_START_NS: Final = 8 * 10**18
"""The year 2223. A start beyond it is no time, and its end might not fit into 64 bits."""

EPOCH_FLOOR_NS: Final = 10**18
"""September 2001: a time above it counts from the epoch, one below from the trace's own base."""

MIN_DURATIONS: Final = 50
"""With fewer durations a common step may be chance."""


def is_constant(values: Sequence[Any]) -> bool:
    """Whether all values are the same object: a device, say, or None. Costs a fraction of looking at each."""
    return bool(values) and values[-1] is values[0] and values.count(values[0]) == len(values)


class Ints:
    """An int column; a value below ``least`` means that there is none."""

    def __init__(self, *, least: int = 0) -> None:
        self._least = least
        self._chunks: list[tuple[IntArray, BoolArray | None]] = []
        self.too_large = 0

    def add(self, values: Sequence[int | None]) -> None:
        """Append the values; None is null."""
        if is_constant(values):
            self._add_constant(values[0], len(values))
            return
        valid: BoolArray | None = None
        try:
            array: IntArray = np.frombuffer(struct.pack(f"{len(values)}q", *values), dtype=np.int64)
        except struct.error:  # a null, or an int beyond 64 bits
            array, valid = self._fitting(values)
        if len(array) and int(array.min()) < self._least:
            enough = array >= self._least
            valid = enough if valid is None else valid & enough
        self._chunks.append((array, valid))

    def _add_constant(self, value: int | None, count: int) -> None:
        fits = value is not None and -INT64_MAX <= value <= INT64_MAX
        self.too_large += count * (value is not None and not fits)
        array = np.full(count, value if fits else 0, dtype=np.int64)
        valid = None if fits and value is not None and value >= self._least else np.zeros(count, dtype=np.bool_)
        self._chunks.append((array, valid))

    def add_array(self, values: IntArray) -> None:
        """Append values that are all there."""
        self._chunks.append((values, None))

    def _fitting(self, values: Sequence[int | None]) -> tuple[IntArray, BoolArray]:
        fits = [value is not None and -INT64_MAX <= value <= INT64_MAX for value in values]
        self.too_large += fits.count(False) - values.count(None)
        fitting = [value if fit else 0 for value, fit in zip(values, fits, strict=True)]
        return np.array(fitting, dtype=np.int64), np.array(fits, dtype=np.bool_)

    def array(self) -> IntArray:
        """The values, of a column that has them all."""
        chunks, self._chunks = self._chunks, []
        return np.concatenate([array for array, _ in chunks]) if chunks else np.zeros(0, dtype=np.int64)

    def column(self) -> Column | None:
        """The column; None where no row has a value."""
        chunks = self._chunks
        values = self.array()
        if all(valid is None for _, valid in chunks):
            return Column(values)
        masks = [np.ones(len(array), dtype=np.bool_) if valid is None else valid for array, valid in chunks]
        valid = np.concatenate(masks)
        return Column(np.where(valid, values, 0), valid) if valid.any() else None


class Floats:
    """A float column; what is no number, or outside of ``least`` to ``most``, is null."""

    def __init__(self, *, least: float = 0.0, most: float = np.inf) -> None:
        self._least = least
        self._most = most
        self._chunks: list[npt.NDArray[np.float64]] = []

    def add(self, values: Sequence[Any]) -> None:
        """Append the values."""
        try:
            array = np.fromiter(values, dtype=np.float64, count=len(values))
        except (TypeError, ValueError):
            array = np.array([value if type(value) in (int, float) else np.nan for value in values], dtype=np.float64)
        with np.errstate(invalid="ignore"):
            array[~((array >= self._least) & (array <= self._most)) | np.isinf(array)] = np.nan
        self._chunks.append(array)

    def column(self, scale: float = 1.0) -> Column | None:
        """The column, divided by ``scale``; None where no row has a value."""
        chunks, self._chunks = self._chunks, []
        values = np.concatenate(chunks) if chunks else np.zeros(0)
        return None if len(values) and np.isnan(values).all() else Column(values / scale)


class Codes(dict[Any, int]):
    """Text -> code, in order of appearance; None has the code -1."""

    def __missing__(self, text: Any) -> int:
        code = -1 if text is None else len(self)
        if text is not None:
            self[text] = code
        return code

    def array(self, texts: Sequence[Any]) -> npt.NDArray[np.int32]:
        """The codes of the texts."""
        if is_constant(texts):
            return np.full(len(texts), self[texts[0]], dtype=np.int32)
        return np.fromiter(map(self.__getitem__, texts), dtype=np.int32, count=len(texts))


class Texts:
    """A dictionary-coded text column."""

    def __init__(self) -> None:
        self._codes = Codes()
        self._chunks: list[npt.NDArray[np.int32]] = []

    def add(self, texts: Sequence[str | None]) -> None:
        """Append the texts."""
        self._chunks.append(self._codes.array(texts))

    def column(self) -> Column | None:
        """The column; None where no row has a text."""
        chunks, self._chunks = self._chunks, []
        values = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int32)
        return Column(values, None, list(self._codes)) if self._codes or not len(values) else None


class Triples:
    """Three int columns from one list of three (a grid, a block), of which there are few different ones."""

    def __init__(self) -> None:
        self._codes = Codes()
        self._chunks: list[npt.NDArray[np.int32]] = []

    def add(self, values: Sequence[tuple[int, int, int] | None]) -> None:
        """Append the triples."""
        self._chunks.append(self._codes.array(values))

    def columns(self, name: str) -> dict[str, Column | None]:
        """The columns ``name_x`` and so on."""
        chunks, self._chunks = self._chunks, []
        rows = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int32)
        return {f"{name}_{axis}": self._axis(index, rows) for index, axis in enumerate("xyz")}

    def _axis(self, axis: int, rows: npt.NDArray[np.int32]) -> Column | None:
        distinct = Ints()
        distinct.add([*(triple[axis] for triple in self._codes), None])  # the last is for the code -1
        column = distinct.column()
        return column.take(rows.astype(np.int64)) if column is not None else None


class Step:
    """The step in which the device counts: 1,000 ns in traces of whole microseconds, 32 ns on many NVIDIA chips.

    On its way to the host's clock a duration of 32 ns steps is stretched by parts per million and rounded, so that most
    lie within a nanosecond of a multiple, not on it. By chance one in ten would.
    """

    def __init__(self) -> None:
        self._count = 0
        self._whole_us = 0
        self._near_32_ns = 0

    def add(self, durations: IntArray) -> None:
        """Take in durations, ns."""
        self._count += len(durations)
        self._whole_us += int((durations % 1_000 == 0).sum())
        self._near_32_ns += int(((durations + 1) % 32 <= 2).sum())

    @property
    def ns(self) -> int | None:
        """The step, where enough durations were seen to tell."""
        if self._count < MIN_DURATIONS:
            return None
        if self._whole_us == self._count:
            return 1_000
        return 32 if self._near_32_ns >= 0.75 * self._count else 1


class Times:
    """Start and duration of each event, and why some events have to be left out.

    Args:
        step: is told the durations.
        instants: the events have no durations; theirs are zero.
    """

    def __init__(self, step: Step | None = None, *, instants: bool = False) -> None:
        self._step = step
        self._instants = instants
        self._starts = Ints()
        self._durations = Ints()
        self.left_out: Counter[str] = Counter()

    def add(self, events: list[Any]) -> list[Any]:
        """Append the times of the events; gives the events that have usable ones."""
        starts, has_start = ns_from_us([event.ts for event in events])
        durations, has_duration = self._durations_of(events)
        readable = has_start & has_duration & (starts >= -MAX_START_NS) & (starts <= MAX_START_NS)
        usable = readable & (durations >= 0) & (durations <= MAX_DUR_NS)
        if not usable.all():
            self.left_out["no readable time"] += int((~readable).sum())
            self.left_out["negative duration"] += int((readable & (durations < 0)).sum())
            self.left_out["longer than a week"] += int((readable & (durations > MAX_DUR_NS)).sum())
            events = [event for event, keep in zip(events, usable.tolist(), strict=True) if keep]
            starts, durations = starts[usable], durations[usable]
        if self._step is not None:
            self._step.add(durations)
        self._starts.add_array(starts)
        self._durations.add_array(durations)
        return events

    def _durations_of(self, events: list[Any]) -> tuple[IntArray, BoolArray]:
        if self._instants:
            return np.zeros(len(events), dtype=np.int64), np.ones(len(events), dtype=np.bool_)
        return ns_from_us([event.dur for event in events])

    def columns(self, base_ns: int) -> dict[str, Column]:
        """``start_ns``, counted from ``base_ns`` where it is no time since the epoch already, and ``dur_ns``."""
        starts, durations = self._starts.array(), self._durations.array()
        starts = np.where(starts < EPOCH_FLOOR_NS, starts + base_ns, starts)
        return {"start_ns": Column(starts), "dur_ns": Column(durations)}
