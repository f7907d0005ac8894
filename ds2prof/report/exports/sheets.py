"""What is exported as tables: answers and the profile's own tables, as columns with units, read chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ds2prof.analysis.answers import Answer
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import Column, Meta, Table

RAW_PREFIX: Final = "table:"
"""In a document's ``by``: the rows are those of a table of the profile, not an answer."""
CHUNK_ROWS: Final = 1 << 16
_SUFFIXES: Final = (
    ("_bytes_per_s", "byte/s"),
    ("_flop_per_s", "1/s"),
    ("flop_per_s", "1/s"),
    ("bytes_per_s", "byte/s"),
    ("_per_s", "1/s"),
    ("_ns", "ns"),
    ("_bytes", "byte"),
    ("_hz", "hertz"),
    ("_joule", "joule"),
    ("_watt", "watt"),
    ("_percent", "percent"),
    ("_s", "s"),
)
"""(end of a column's name, its unit), asked in this order."""
_RATIOS: Final = frozenset(
    (
        *("share", "coverage", "overlap", "roof", "gain_share", "occupancy", "mfu", "hfu", "matched", "extrapolated"),
        *("gpu_compute_utilization", "est_sm_efficiency", "est_achieved_occupancy", "last_wave_empty", "tail_loss"),
        *("theoretical_occupancy", "achieved_occupancy", "sm_throughput", "l2_throughput", "dram_throughput"),
        *("fma", "fp16", "fp64", "tensor", "tc", "xu", "alu", "lsu", "tma", "estimated_speedup"),
    )
)
_KEYS: Final = frozenset(
    (
        *("device", "stream", "launch", "iteration", "rank", "process", "thread", "end_thread", "context"),
        *("correlation", "collective", "straggler", "waiting", "order", "sequence", "graph", "graph_node"),
        *("external_id", "last_rank", "address", "forward_thread", "source_device", "destination_device"),
        *("peak_device", "peak_iteration", "return_code", "longest_collective", "longest_iteration"),
    )
)


def unit_of(column: str) -> str | None:
    """The unit of a column by its name: ``ns``, ``byte``, ``ratio``, ``1/s``...; None for keys, counts and texts."""
    if column in _RATIOS or column.removesuffix("_low").removesuffix("_high").endswith("utilization"):
        return "ratio"
    if column.removesuffix("_low").removesuffix("_high").removesuffix("_effective") in _RATIOS:
        return "ratio"
    return next((unit for suffix, unit in _SUFFIXES if column.endswith(suffix) and column != suffix[1:]), None)


def is_key(column: str) -> bool:
    """Whether a column of whole numbers says which, not how much: a device, a stream, an iteration."""
    return column in _KEYS


@dataclass(frozen=True)
class Sheet:
    """One table of one profile.

    Attributes:
        meta: of the profile.
        by: what a row is; of a table of the profile ``table:NAME``.
        columns: their values, all of one length: Python values, or a column of the model.
        totals: of the profile, where it is an answer.
        notes: what belongs to the numbers.
        warnings: what was lost or doubtful while reading.
    """

    meta: Meta
    by: str
    columns: Mapping[str, Sequence[Any] | Column]
    totals: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return next((len(values) for values in self.columns.values()), 0)

    @property
    def name(self) -> str:
        """What it is called in file and sheet names."""
        return self.by.removeprefix(RAW_PREFIX)

    @property
    def is_raw(self) -> bool:
        """Whether it is a table of the profile."""
        return self.by.startswith(RAW_PREFIX)

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[dict[str, list[Any]]]:
        """Python values of some rows after others, None where unknown; at least one chunk, which may be empty."""
        for start in range(0, max(len(self), 1), rows):
            yield {name: values_of(values, start, start + rows) for name, values in self.columns.items()}

    def kind_of(self, column: str) -> str:
        """What the values of a column are: int, float, text, or null where none is known."""
        values = self.columns[column]
        if isinstance(values, Column):
            return values.kind
        kinds = {type(value) for value in values if value is not None}
        if str in kinds or not kinds <= {int, float, bool}:
            return "text"
        return "float" if float in kinds else "int" if kinds else "null"


def values_of(values: Sequence[Any] | Column, start: int, stop: int) -> list[Any]:
    """Some of a column's values, None where unknown."""
    if not isinstance(values, Column):
        return list(values[start:stop])
    valid = None if values.valid is None else values.valid[start:stop]
    return Column(values.values[start:stop], valid, values.categories).tolist()


def of_answer(answer: Answer, *, meta: Meta, totals: Mapping[str, Any], warnings: Sequence[str] = ()) -> Sheet:
    """The sheet of an answer."""
    return Sheet(meta, answer.by, answer.columns, totals, tuple(answer.notes), tuple(warnings))


def of_table(table: Table, *, meta: Meta, warnings: Sequence[str] = (), top: int | None = None) -> Sheet:
    """The sheet of a table of the profile: the columns that it has, in the order of the schema."""
    names = [name for name in SCHEMAS[table.name] if name in table]
    columns: dict[str, Sequence[Any] | Column] = {name: _cut(table[name], top) for name in names}
    return Sheet(meta, f"{RAW_PREFIX}{table.name}", columns, warnings=tuple(warnings))


def _cut(column: Column, top: int | None) -> Column:
    if top is None or len(column) <= top:
        return column
    return Column(column.values[:top], None if column.valid is None else column.valid[:top], column.categories)
