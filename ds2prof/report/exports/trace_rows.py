"""The rows of each table as events of a trace: category, name, times and arguments, as PyTorch writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ds2prof.analysis.windows import ends_ns, text_mask
from ds2prof.report.exports.trace_places import DEVICE, HOST, OVERHEAD, SPAN, SYNC, UNKNOWN
from ds2prof.tables import BoolArray, Column, IntArray, Profile, Table

TABLES: Final = ("spans", "ranges", "modules", "ops", "api", "overhead", "copies", "kernels")
"""Of events that begin and end together, what stands earlier here holds what stands later."""
_CALLS: Final = {"runtime": "cuda_runtime", "driver": "cuda_driver", "sync": "cuda_sync"}
_ARGUMENTS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "kernels": (
        *(("device", "device"), ("context", "context"), ("stream", "stream"), ("correlation", "correlation")),
        *(("registers", "registers per thread"), ("shared_bytes", "shared memory"), ("blocks_per_sm", "blocks per SM")),
        *(("graph", "graph id"), ("graph_node", "graph node id"), ("external_id", "External id")),
        ("dynamic_shared_bytes", "dynamic shared memory"),
    ),
    "copies": (
        *(("device", "device"), ("context", "context"), ("stream", "stream"), ("correlation", "correlation")),
        *(("size_bytes", "bytes"), ("external_id", "External id")),
        *(("source_kind", "source"), ("destination_kind", "destination")),
    ),
    "api": (
        *(("device", "device"), ("stream", "stream"), ("correlation", "correlation"), ("external_id", "External id")),
        ("return_code", "return code"),
    ),
    "ops": (*(("external_id", "External id"), ("sequence", "Sequence number"), ("forward_thread", "Fwd thread id")),),
    "ranges": (("domain", "domain"), ("category", "category"), ("payload", "payload")),
    "overhead": (("kind", "kind"),),
}
_JSON_ARGUMENTS: Final = (("shapes", "Input Dims"), ("dtypes", "Input type"), ("concrete", "Concrete Inputs"))
"""Arguments of operators that are JSON already."""

Texts = list[str]


@dataclass(frozen=True)
class Layer:
    """The rows of one table that have a start and a duration, and where they stand.

    Attributes:
        table: the table, these rows alone; rows: their numbers in the whole table.
        start_ns, end_ns: their times.
        kind: the kind of row of the viewer each stands on; process (or device) and thread (or stream) of each.
        category: of each row, as a code into ``categories``.
        correlation: what the argument of that name is, in place of the column; None where the column holds.
        extra: further arguments of each row.
    """

    table: Table
    rows: IntArray
    start_ns: IntArray
    end_ns: IntArray
    kind: IntArray
    process: IntArray
    thread: IntArray
    category: IntArray
    categories: Sequence[str]
    correlation: Column | None = None
    extra: Mapping[str, Column] = field(default_factory=dict)


def layer(profile: Profile, name: str) -> Layer:
    """The timed rows of one table."""
    whole = profile.table(name)
    is_timed = whole["start_ns"].present & whole["dur_ns"].present
    if "calls" in whole:  # a sum of launches stands at no place in time
        is_timed = is_timed & (whole.ints("calls", null=1) == 1)
    rows = np.flatnonzero(is_timed)
    table = whole if len(rows) == len(whole) else whole.take(rows)
    kind, process, thread = _standing(table, name)
    category, categories = _categories(table, name)
    start = table.ints("start_ns")
    return Layer(table, rows, start, ends_ns(table), kind, process, thread, category, categories)


def _standing(table: Table, name: str) -> tuple[IntArray, IntArray, IntArray]:
    """(kind of row, process or device, thread or stream) of each row of a table."""
    count = len(table)
    nobody = np.full(count, UNKNOWN, dtype=np.int64)
    if name in ("kernels", "copies"):
        return np.full(count, DEVICE), table.ints("device", null=UNKNOWN), table.ints("stream", null=UNKNOWN)
    if name == "spans":
        return np.full(count, SPAN), nobody, nobody
    process, thread = table.ints("process", null=UNKNOWN), table.ints("thread", null=UNKNOWN)
    if name == "overhead":
        return np.full(count, OVERHEAD), process, nobody
    kind = np.full(count, HOST, dtype=np.int64)
    if name == "api":
        waits = text_mask(table, "domain", "sync")
        kind[waits] = SYNC
        process = np.where(waits, table.ints("device", null=UNKNOWN), process)
        thread = np.where(waits, table.ints("stream", null=UNKNOWN), thread)
    return kind, process, thread


def _categories(table: Table, name: str) -> tuple[IntArray, Sequence[str]]:
    if name == "copies":
        return text_mask(table, "kind", "memset").astype(np.int64), ("gpu_memcpy", "gpu_memset")
    if name == "api":
        domains = table["domain"]
        names = [*(_CALLS.get(domain, domain) for domain in domains.categories or ()), "cuda_runtime"]
        return domains.values.astype(np.int64) % len(names), names
    fixed = {"kernels": "kernel", "ranges": "user_annotation", "ops": "cpu_op", "modules": "python_function"}
    return np.zeros(len(table), dtype=np.int64), (fixed.get(name, "Trace" if name == "spans" else name),)


def all_us(times_ns: IntArray) -> Texts:
    """Microseconds of each time, as :func:`us` writes them."""
    if bool((times_ns < 0).any()):
        return [us(time_ns) for time_ns in times_ns.tolist()]
    whole, rest = np.divmod(times_ns, 1000)
    return [f"{us}.{ns:03d}" for us, ns in zip(whole.tolist(), rest.tolist(), strict=True)]


def us(time_ns: int) -> str:
    """Microseconds with three decimals, exact."""
    sign, time_ns = ("-", -time_ns) if time_ns < 0 else ("", time_ns)
    return f"{sign}{time_ns // 1000}.{time_ns % 1000:03d}"


class Writer:
    """Writes rows of a layer as JSON objects, a text each."""

    def __init__(self, layer: Layer, *, base_ns: int, extra: Mapping[str, Column] | None = None) -> None:
        """Take the layer.

        Args:
            layer: the rows.
            base_ns: what times count from.
            extra: further arguments of each row.
        """
        self._layer = layer
        self._base_ns = base_ns
        names = layer.table["name"]
        self._names = [_quoted(text) for text in names.categories or ()] + ['""']
        heads = [f'{{"ph":"X","cat":{_quoted(category)},"name":' for category in layer.categories]
        self._heads = heads
        self._columns: list[tuple[str, Column, Callable[[str], str]]] = [
            (key, self._column(column), _quoted)
            for column, key in _ARGUMENTS.get(layer.table.name, ())
            if column in layer.table
        ]
        self._columns += [(key, column, _quoted) for key, column in (extra or {}).items()]
        if layer.table.name == "ops":
            self._columns += [
                (key, layer.table[column], str) for column, key in _JSON_ARGUMENTS if column in layer.table
            ]
        if "occupancy" in layer.table:
            percent = Column(layer.table["occupancy"].values * 100)
            self._columns.append(("est. achieved occupancy %", percent, _quoted))

    def _column(self, name: str) -> Column:
        if name == "correlation" and self._layer.correlation is not None:
            return self._layer.correlation
        return self._layer.table[name]

    def texts(self, rows: IntArray, spots: Sequence[str]) -> Texts:
        """The events of rows of the layer; ``spots`` has process and thread of each as ``"pid":1,"tid":2``."""
        layer = self._layer
        names, heads = self._names, self._heads
        arguments = self._arguments(rows)
        start = all_us(layer.start_ns[rows] - self._base_ns)
        length = all_us(layer.end_ns[rows] - layer.start_ns[rows])
        codes, categories = layer.table["name"].values[rows].tolist(), layer.category[rows].tolist()
        return [
            f'{heads[category]}{names[code]},{spot},"ts":{at},"dur":{dur},"args":{{{told}}}}}'
            for category, code, spot, at, dur, told in zip(
                categories, codes, spots, start, length, arguments, strict=True
            )
        ]

    def _arguments(self, rows: IntArray) -> Texts:
        """The inside of ``args`` of each row; what is null is left out."""
        parts = [_pairs(key, column.take(rows), text) for key, column, text in self._columns]
        parts += [
            _triples(self._layer.table, name, rows) for name in ("grid", "block") if f"{name}_x" in self._layer.table
        ]
        if not parts:
            return [""] * len(rows)
        return [",".join(filter(None, told)) for told in zip(*parts, strict=True)]


def _pairs(key: str, column: Column, text: Callable[[str], str]) -> Texts:
    """``"key":value`` of each row, empty where null; a text is written by ``text``, each distinct one once."""
    head = f"{_quoted(key)}:"
    if column.categories is not None:
        used, place = np.unique(column.values, return_inverse=True)
        made = ["" if code < 0 else head + text(column.categories[code]) for code in used.tolist()]
        return [made[code] for code in place.reshape(-1).tolist()]
    values = column.values
    known = column.present if column.kind == "int" else np.isfinite(values)
    if len(values) and bool(known.all()) and bool((values == values[0]).all()):
        return [f"{head}{values[0].item()!r}"] * len(values)
    if bool(known.all()):
        return [f"{head}{value!r}" for value in values.tolist()]
    return [
        f"{head}{value!r}" if is_known else "" for value, is_known in zip(values.tolist(), known.tolist(), strict=True)
    ]


def _triples(table: Table, name: str, rows: IntArray) -> Texts:
    axes = [table[f"{name}_{axis}"].take(rows) for axis in "xyz"]
    known: BoolArray = np.logical_and.reduce([axis.present for axis in axes])
    values = zip(known.tolist(), *(axis.values.tolist() for axis in axes), strict=True)
    return [f'"{name}":[{x},{y},{z}]' if is_known else "" for is_known, x, y, z in values]


def _quoted(text: str) -> str:
    """The text as JSON, ASCII alone: whatever a kernel is called, it can neither end the string nor steer a screen."""
    return json.dumps(text)
