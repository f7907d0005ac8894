"""A stretch of rows of one of nvprof's tables, with what its heading tells, and the columns that all tables share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import Final

import numpy as np

from ds2prof.parsers.nvprof_text_gather import Gathered
from ds2prof.parsers.nvprof_text_layout import Layout
from ds2prof.parsers.nvprof_text_values import WEEK_NS, Scaled, mapped, sizes, times
from ds2prof.tables import BoolArray, Column

_DEVICE: Final = re.compile(r"(.*\S) \(([0-9]{1,6})\)")
_TRAILING_ID: Final = re.compile(r"(?:.* \()?([0-9]{1,18})\)?")


@dataclass
class Block:
    """Rows of one table that stand under the same heading.

    Attributes:
        layout: the table's header.
        units: of the columns; empty texts where the cells have theirs.
        process: that printed it, where told.
        device: as the heading names it.
        domain: of NVTX, for a table of a range.
        thread: of NVTX, for a table of a range.
        in_range: the table repeats what was launched within one NVTX range.
        type: what the rows of a summary without such a column are.
        kernel: as the heading names it, for metrics.
        line: the number of the first row's line.
        rows: the cells, one list for each row.
    """

    layout: Layout
    units: tuple[str, ...]
    process: int | None = None
    device: str | None = None
    domain: str | None = None
    thread: int | None = None
    in_range: bool = False
    type: str = "GPU activities"
    kernel: str | None = None
    line: int = 0
    rows: list[list[str]] = field(default_factory=list)

    @cached_property
    def cells(self) -> list[tuple[str, ...]]:
        """The cells of each column; the block has all its rows by then."""
        return list(zip(*self.rows, strict=True))

    def among(self, rows: BoolArray) -> Block:
        """The block with the chosen rows alone."""
        return self if rows.all() else replace(self, rows=list(compress(self.rows, rows.tolist())))

    def column(self, *names: str) -> tuple[tuple[str, ...], str] | None:
        """(cells, unit) of the first of the named columns that there is."""
        for name in names:
            at = self.layout.place(name)
            if at is not None:
                return self.cells[at], self.units[at]
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        """The cells of a column; empty texts where there is none."""
        found = self.column(name)
        return found[0] if found is not None else ("",) * len(self.rows)


def times_of(block: Block, name: str) -> Scaled:
    """The times in a column; none where there is no such column."""
    found = block.column(name)
    if found is None:
        return Scaled(np.zeros(len(block.rows), dtype=np.int64), np.zeros(len(block.rows), dtype=np.bool_), 1)
    return times(*found)


def device_of(gathered: Gathered, text: str) -> int | None:
    """The ordinal behind a device's name; None where the name was cut off before it."""
    found = _DEVICE.fullmatch(text)
    if found is None:
        return None
    gathered.devices.setdefault(int(found[2]), found[1])
    return int(found[2])


def devices_of(gathered: Gathered, block: Block) -> Column:
    """The ordinals of the rows' devices."""
    texts = block.texts("Device")
    known = {text: device_of(gathered, text) for text in set(texts)}
    if any(ordinal is None and text not in ("", "-") for text, ordinal in known.items()):
        gathered.remarks.facts["cut_device_names"] = 1
    return mapped(texts, known.__getitem__)


def id_of(cell: str) -> int | None:
    """The number of a context or stream, which may stand behind a name that the program gave it."""
    found = _TRAILING_ID.fullmatch(cell)
    return int(found[1]) if found else None


def note_step(gathered: Gathered, *found: Scaled) -> None:
    """Remember how finely times are printed."""
    gathered.remarks.step_ns = max(gathered.remarks.step_ns, *(one.step for one in found))


def sizes_of(gathered: Gathered, block: Block, *names: str) -> Column | None:
    """The bytes in the first of the named columns that there is; None if there is none."""
    column = block.column(*names)
    if column is None:
        return None
    found = sizes(*column)
    gathered.remarks.step_bytes = max(gathered.remarks.step_bytes, found.step)
    return found.column


def plausible(
    gathered: Gathered, block: Block, durations: Scaled, *, calls: Column | None, among: BoolArray
) -> BoolArray:
    """The rows among the given whose duration can be; the others are counted, to be left out.

    A duration that stands for several calls may be as much longer.
    """
    each = durations.values if calls is None else durations.values // np.maximum(calls.values, 1)
    readable = durations.valid if calls is None else durations.valid & calls.present & (calls.values > 0)
    negative, endless = readable & (durations.values < 0), readable & (each > WEEK_NS)
    what = "time" if calls is None else "time or number of calls"
    count = gathered.remarks.count
    count(f"rows without a readable {what}", int((among & ~readable).sum()), block.line)
    count("rows with a negative time", int((among & negative).sum()), block.line)
    count("rows longer than a week", int((among & endless).sum()), block.line)
    return among & readable & ~negative & ~endless


def domain_of(name: str) -> str | None:
    """Runtime or driver, by the name of the call."""
    if name.startswith("cuda"):
        return "runtime"
    return "driver" if name.startswith("cu") else None


def is_copy(name: str) -> bool:
    """Whether an activity of this name is a copy, a set, or a migration of unified memory."""
    return name.startswith(("[CUDA mem", "[Unified Memory Memcpy"))


def copy_kind(name: str) -> str:
    """Memset or memcpy, by the name of the activity."""
    return "memset" if "memset" in name else "memcpy"
