"""The printed tables of ``nsys stats`` as columns of numbers and coded texts, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.parsers import nsys_stats_cells as cells_of
from ds2prof.parsers.nsys_stats_cells import CLIPPED, Numbers
from ds2prof.parsers.nsys_stats_layouts import Field, Title
from ds2prof.parsers.nsys_stats_lines import Block, Row, Rows
from ds2prof.tables import Column, Texts, null_column

TRACES: Final = frozenset(("gpu_trace", "api_trace", "exec_trace", "nvtx_trace", "nvtx_projection"))
MAX_SUMMARY_ROWS: Final = 1 << 20
_NAMES: Final = ("name", "api_name")
_AXES: Final = "xyz"
_OF_ONE: Final = {
    **dict.fromkeys(("size_bytes", "source_kind", "destination_kind"), frozenset(("copies",))),
    **dict.fromkeys(("static_shared_bytes", "dynamic_shared_bytes", "registers"), frozenset(("kernels",))),
    **dict.fromkeys((f"{what}_{axis}" for what in ("grid", "block") for axis in _AXES), frozenset(("kernels",))),
    "thread_name": frozenset(("threads",)),
}
"""Fields of traces that one table alone needs."""


@dataclass(eq=False)
class Gathered:
    """One printed table.

    Attributes:
        block: its header.
        rows: how many rows it has in the file, whether they were gathered or not.
        bad_cells: how many cells hold nothing that can be read as what their column is.
        resolution_ns: of its coarsest times; None where it has none.
        resolution_bytes: of its coarsest sizes; None where it has none.
    """

    block: Block
    rows: int = 0
    bad_cells: int = 0
    resolution_ns: int | None = None
    resolution_bytes: int | None = None
    _numbers: dict[str, list[Column]] = field(default_factory=dict)
    _codes: dict[str, list[npt.NDArray[np.int32]]] = field(default_factory=dict)
    _texts: dict[str, Texts] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What report it is."""
        return self.block.layout.kind

    @property
    def label(self) -> str:
        """The report's name as the file has it, else in our words."""
        return self.block.report or self.kind.replace("_", " ")

    @property
    def length(self) -> int:
        """How many rows were gathered."""
        gathered: list[Sequence[Column | npt.NDArray[np.int32]]] = [*self._numbers.values(), *self._codes.values()]
        return sum(len(part) for part in gathered[0]) if gathered else 0

    def add(self, cells: Sequence[Row], names: frozenset[str]) -> None:
        """Take some rows, of which the tables of these names will be made."""
        taken: set[str] = set()
        for title, column in zip(self.block.titles, zip(*cells, strict=True), strict=True):
            found = self.block.layout.fields.get(title.name)
            if found is None or found.name in taken:
                continue
            taken.add(found.name)
            if _OF_ONE.get(found.name, names) & names:
                self._add(found, title, column)

    def _add(self, found: Field, title: Title, cells: tuple[str, ...]) -> None:
        if found.kind == "text":
            self._add_texts(found.name, cells)
        elif found.kind == "grid":
            axes, bad = cells_of.grids(cells)
            self.bad_cells += bad
            for axis, column in zip(_AXES, axes, strict=True):
                self._numbers.setdefault(f"{found.name}_{axis}", []).append(column)
        else:
            numbers = self._numbers_of(found, title, cells)
            self.bad_cells += numbers.bad
            self._numbers.setdefault(found.name, []).append(numbers.column)

    def _numbers_of(self, found: Field, title: Title, cells: tuple[str, ...]) -> Numbers:
        if found.kind == "int":
            return cells_of.whole(cells)
        scale = title.time_scale if found.kind == "time" else title.memory_scale
        if scale is None and any("." in cell or "," in cell for cell in cells):  # of a unit that nothing tells
            return Numbers(null_column("int", len(cells)), len(cells))
        numbers = cells_of.scaled(cells, scale or 1)
        step = max(1, (scale or 1) // 10**numbers.decimals)
        if found.kind == "time":
            self.resolution_ns = max(step, self.resolution_ns or 1)
        else:
            self.resolution_bytes = max(step, self.resolution_bytes or 1)
        return numbers

    def _add_texts(self, name: str, cells: tuple[str, ...]) -> None:
        texts = self._texts.setdefault(name, Texts())
        keeps_all = name in _NAMES
        code_of = {
            text: texts.code(None if not keeps_all and cells_of.is_null(text) else text)
            for text in dict.fromkeys(cells)
        }
        codes = np.fromiter(map(code_of.__getitem__, cells), dtype=np.int32, count=len(cells))
        self._codes.setdefault(name, []).append(codes)

    def number(self, name: str) -> Column | None:
        """The numbers of a field; None where the report lacks it."""
        parts = self._numbers.get(name)
        if not parts:
            return None
        if len(parts) > 1:
            self._numbers[name] = parts = [cells_of.joined(parts)]
        return parts[0]

    def text(self, name: str) -> Column | None:
        """The texts of a field; None where the report lacks it."""
        parts = self._codes.get(name)
        if not parts:
            return None
        if len(parts) > 1:
            self._codes[name] = parts = [np.concatenate(parts)]
        return Column(parts[0], None, self._texts[name].categories)

    def clipped_names(self) -> int:
        """How many distinct names are cut, as columns and boxes cut what is wide."""
        if self.block.form in ("csv", "tsv"):
            return 0
        texts = [self._texts[name].categories for name in _NAMES if name in self._texts]
        return sum(text.endswith(CLIPPED) for categories in texts for text in categories)


class Gathering:
    """All printed tables of a stream, of which those are gathered that some wanted table of ours may need.

    Attributes:
        found: the tables, in order.
        other_inputs: of which further files the stream holds reports; they are left out.
        dropped_rows: of summaries too long to be any.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self.found: list[Gathered] = []
        self.other_inputs: dict[str, None] = {}
        self.dropped_rows = 0
        self._names = names
        self._input: str | None = None

    def add(self, rows: Rows) -> None:
        """Take some rows."""
        block = rows.block
        self._input = self._input or block.input
        if block.input is not None and block.input != self._input:
            self.other_inputs[block.input] = None
            return
        if not self.found or self.found[-1].block is not block:
            self.found.append(Gathered(block))
        gathered = self.found[-1]
        gathered.rows += len(rows.cells)
        if gathered.kind not in TRACES and gathered.rows > MAX_SUMMARY_ROWS:
            self.dropped_rows += len(rows.cells)
        elif gathered.kind not in TRACES or block.layout.tables & self._names:
            gathered.add(rows.cells, self._names)
