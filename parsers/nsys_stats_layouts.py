"""The reports of ``nsys stats`` that are read, by their columns; how the titles of columns are spelled.

A title is ``Total Time (ns)``: a name and, in parentheses, the unit of the cells. What a report is tell its titles, for
its name is not in a CSV file; where several reports have the same titles, its name tells them apart if it is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

FieldKind = Literal["time", "bytes", "int", "text", "grid"]

_TIMES: Final = {
    **dict.fromkeys(("ns", "nsec", "nanoseconds"), 1),
    **dict.fromkeys(("us", "usec", "\u00b5s", "\u03bcs", "microseconds"), 1_000),
    **dict.fromkeys(("ms", "msec", "milliseconds"), 1_000_000),
    **dict.fromkeys(("s", "sec", "seconds"), 1_000_000_000),
}
_MEMORIES: Final = {
    **dict.fromkeys(("B", "bytes"), 1),
    **{name: 1000**power for power, name in enumerate(("KB", "MB", "GB", "TB"), 1)},
    **{name: 1024**power for power, name in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)},
    **{name: 1024**power for power, name in enumerate(("KBi", "MBi", "GBi", "TBi"), 1)},
}
_TITLE: Final = re.compile(r"([^()]{0,60}?)\s{0,4}(?:\(([^()]{1,20})\))?\s{0,99}\Z")
_UNIT_IN_HEADING: Final = re.compile(r"\((?:by size in )?(\w{1,20})\)")


@dataclass(frozen=True)
class Title:
    """A column's name, in lower case, and its unit's scale to ns or bytes: 1 or more, None where none is stated."""

    name: str
    time_scale: int | None = None
    memory_scale: int | None = None


@dataclass(frozen=True)
class Field:
    """What a column becomes: where its cells go and how they are read."""

    name: str
    kind: FieldKind


_INDISPENSABLE: Final = frozenset(
    (
        *("name", "api_name", "start_ns", "dur_ns", "api_start_ns", "api_dur_ns", "avg_dur_ns", "api_avg_dur_ns"),
        *("calls", "size_bytes"),
    )
)
"""Fields without which a report that has them cannot be read."""


@dataclass(frozen=True)
class Layout:
    """The columns of a report.

    Attributes:
        kind: what the report is, in our words.
        needs: the titles that tell it.
        fields: title -> field, of the columns that are read.
        tables: the tables that it can fill.
        lacks: titles that it does not have.
    """

    kind: str
    needs: frozenset[str]
    fields: Mapping[str, Field]
    tables: frozenset[str]
    lacks: frozenset[str] = frozenset()

    def fits(self, titles: frozenset[str]) -> bool:
        """Whether a report with these titles is of this layout."""
        there = {field.name for title, field in self.fields.items() if title in titles}
        all_fields = {field.name for field in self.fields.values()}
        return self.needs <= titles and not self.lacks & titles and all_fields & _INDISPENSABLE <= there


def _fields(kind: FieldKind, **titles: str) -> dict[str, Field]:
    """Fields of one kind: name=title, alternatives behind a bar; ``_`` in a title stands for a space."""
    return {
        title.replace("_", " "): Field(name, kind) for name, spelled in titles.items() for title in spelled.split("|")
    }


_CALLS: Final = "instances|num_calls|calls|count|operations"
_SUM: Final = {
    **_fields("time", dur_ns="total_time", min_dur_ns="min|minimum", max_dur_ns="max|maximum"),
    **_fields("int", calls=_CALLS),
}
_GRIDS: Final = _fields("grid", grid="gridxyz", block="blockxyz")
_THREAD: Final = _fields("int", process="pid", thread="tid")


def _layout(
    kind: str,
    needs: str,
    *fields: Mapping[str, Field],
    tables: str,
    lacks: str = "",
) -> Layout:
    merged = {title: field for group in fields for title, field in group.items()}
    return Layout(
        kind,
        frozenset(title.replace("_", " ") for title in needs.split()),
        merged,
        frozenset(tables.split()),
        frozenset(lacks.split()),
    )


LAYOUTS: Final = (
    _layout(
        "gpu_trace",
        "start duration corrid grdx bytes name",
        _fields("time", start_ns="start", dur_ns="duration"),
        _fields("int", correlation="corrid", grid_x="grdx", grid_y="grdy", grid_z="grdz"),
        _fields("int", block_x="blkx", block_y="blky", block_z="blkz", registers="reg/trd"),
        _fields("int", context="ctx", stream="strm"),
        _fields("bytes", static_shared_bytes="stcsmem", dynamic_shared_bytes="dymsmem", size_bytes="bytes"),
        _fields("text", source_kind="srcmemkd", destination_kind="dstmemkd", device="device", name="name"),
        tables="kernels copies devices",
    ),
    _layout(
        "api_trace",
        "start duration name corrid pid tid",
        _fields("time", start_ns="start", dur_ns="duration"),
        _fields("int", return_code="result", correlation="corrid"),
        _THREAD,
        _fields("text", name="name", thread_name="thread_name"),
        tables="api threads",
    ),
    _layout(
        "exec_trace",
        "api_start api_dur kernel_start kernel_dur kernel_name",
        _fields("time", api_start_ns="api_start", api_dur_ns="api_dur", start_ns="kernel_start", dur_ns="kernel_dur"),
        _THREAD,
        _fields("int", device="devid"),
        _GRIDS,
        _fields("text", api_name="api_function", name="kernel_name"),
        tables="kernels api devices",
    ),
    _layout(
        "exec_sum",
        "count kavg kmin kmax kernel_name",
        _THREAD,
        _fields("int", device="devid", calls="count"),
        _fields("time", avg_dur_ns="kavg", min_dur_ns="kmin", max_dur_ns="kmax"),
        _fields("time", api_avg_dur_ns="aavg", api_min_dur_ns="amin", api_max_dur_ns="amax"),
        _fields("text", api_name="api_name", name="kernel_name"),
        tables="kernels api devices",
    ),
    _layout(
        "nvtx_trace",
        "start duration name tid lvl",
        _fields("time", start_ns="start", dur_ns="duration"),
        _THREAD,
        _fields("int", depth="lvl"),
        _fields("text", name="name"),
        tables="ranges",
    ),
    _layout(
        "nvtx_projection",
        "name orig_start orig_duration",
        _fields("time", start_ns="orig_start", dur_ns="orig_duration"),
        _THREAD,
        _fields("int", depth="lvl"),
        _fields("text", name="name", style="style"),
        tables="ranges",
    ),
    _layout(
        "nvtx_projection_sum",
        "range total_range_time range_instances",
        _fields("time", dur_ns="total_range_time", min_dur_ns="range_min", max_dur_ns="range_max"),
        _fields("int", calls="range_instances"),
        _fields("text", name="range", style="style"),
        tables="ranges",
    ),
    _layout("nvtx_kernels", "nvtx_range kern_inst", tables=""),
    _layout(
        "gpu_sum",
        "total_time instances category operation",
        _SUM,
        _fields("text", category="category", name="operation"),
        tables="kernels copies api",
    ),
    _layout(
        "nvtx_sum",
        "total_time instances style range",
        _SUM,
        _fields("text", style="style", name="range"),
        tables="ranges",
    ),
    _layout("nvtx_style_sum", "total_time instances range", _SUM, _fields("text", name="range"), tables="ranges"),
    _layout("memory_time", "total_time count operation", _SUM, _fields("text", name="operation"), tables="copies"),
    _layout("memory_time", "total_time operations", _SUM, _fields("text", name="operation|name"), tables="copies"),
    _layout(
        "memory_size",
        "total count operation",
        _fields("bytes", size_bytes="total"),
        _fields("int", calls=_CALLS),
        _fields("text", name="operation"),
        tables="copies",
    ),
    _layout(
        "memory_size",
        "total operations",
        _fields("bytes", size_bytes="total"),
        _fields("int", calls=_CALLS),
        _fields("text", name="operation|name"),
        tables="copies",
    ),
    _layout(
        "kernel_sum",
        "total_time instances name",
        _SUM,
        _GRIDS,
        _fields("text", name="name"),
        tables="kernels",
        lacks="source",
    ),
    _layout("api_sum", "total_time num_calls name", _SUM, _fields("text", name="name"), tables="api"),
    _layout("api_sum", "total_time calls name", _SUM, _fields("text", name="name"), tables="api"),
)
"""Asked in this order."""

STYLES: Final = {
    "nvtxppsum": "PushPop",
    "nvtx_pushpop_sum": "PushPop",
    "nvtxsesum": "StartEnd",
    "nvtxsssum": "StartEnd",
    "nvtx_startend_sum": "StartEnd",
}
"""Name of a report -> the kind of the ranges in it, which no column of it tells."""

_UNREAD: Final = re.compile(
    r"dx\d|khr|vulkan|openmp|openacc|opengl|mpi_|nvvideo|wddm|um_|umcpu|unified|network|syscall|ucx|nvshmem|nic_"
)


def is_unread(report: str) -> bool:
    """Whether the report of that name is of something that no table holds."""
    return _UNREAD.match(report) is not None


def title_of(text: str) -> Title:
    """The title in a header's cell."""
    match = _TITLE.match(text.strip()[:100])
    if match is None:
        return Title("")
    name, unit = " ".join(match[1].lower().split()), match[2]
    return Title(name, _TIMES.get(unit), _MEMORIES.get(unit))


def titles_of(cells: Sequence[str], *, heading: str = "") -> tuple[Title, ...]:
    """The titles in a header; a unit that the report's heading states, or its total, holds for those without."""
    titles = [title_of(cell) for cell in cells]
    unit = found[1] if (found := _UNIT_IN_HEADING.search(heading)) else None
    time = next((title.time_scale for title in titles if title.time_scale), _TIMES.get(unit or ""))
    memory = next((title.memory_scale for title in titles if title.memory_scale), _MEMORIES.get(unit or ""))
    return tuple(Title(title.name, title.time_scale or time, title.memory_scale or memory) for title in titles)


def layout_of(titles: Sequence[Title]) -> Layout | None:
    """The layout of a report with these titles; None where it is none that is read."""
    names = frozenset(title.name for title in titles)
    return next((layout for layout in LAYOUTS if layout.fits(names)), None)
