"""The tables of what ``nsys stats`` printed: one report for each thing, the one that tells most.

====================  ==================================================================================================
table                 reports, the first that the file has with rows in it
====================  ==================================================================================================
kernels               gputrace, kernexectrace, gpukernsum (by grid before without), gpusum, apigpusum, kernexecsum
copies                gputrace; else times of gpumemtimesum, gpusum or apigpusum, sizes of gpumemsizesum
api, CUDA's           cudaapitrace, cudaapisum, apigpusum, kernexectrace (launches alone), kernexecsum
api, others           osrtsum and the like, beside CUDA's
ranges, push and pop  nvtxpptrace, nvtxsum, nvtxppsum, nvtxgpuproj (the times on the host)
ranges, start to end  nvtxsum, nvtxsesum, nvtxgpuproj
====================  ==================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ds2prof.parsers.nsys_stats_cells import device_of
from ds2prof.parsers.nsys_stats_gather import Gathered
from ds2prof.parsers.nsys_stats_rows import (
    Warnings,
    averaged,
    constant,
    extremes,
    launched,
    matching,
    natural,
    pairing,
    recoded,
    renumbered,
    stacked,
    summed,
    taken,
    text_of,
    timed,
)
from ds2prof.tables import Column, IntArray, int_column, text_column

_COPY: Final = re.compile(r"\[CUDA (?:Unified Memory )?mem(?:cpy|set)")
_SIDES: Final = re.compile(r"\b(Host|Device|Array|Peer|[HDAP])(?:-to-|to)(Host|Device|Array|Peer|[HDAP])\]")
_SIDE_KINDS: Final = {"D": "device", "A": "array"}
_MIG: Final = re.compile(r"\bMIG (\S+)")
_GRID_NAMES: Final = tuple(f"{what}_{axis}" for what in ("grid", "block") for axis in "xyz")


@dataclass(eq=False)
class Made:
    """The tables made so far, of which reports, and what went wrong.

    Attributes:
        found: the printed tables that have rows.
        warnings: grows.
        used: table -> the names of the reports that it was made of.
        resolution_ns: of the coarsest times used.
        resolution_bytes: of the coarsest sizes used.
    """

    found: Sequence[Gathered]
    warnings: Warnings
    used: dict[str, list[str]] = field(default_factory=dict)
    resolution_ns: int | None = None
    resolution_bytes: int | None = None

    def pick(self, table: str, *kinds: str, among: Sequence[Gathered] | None = None) -> Gathered | None:
        """The first report of the first of these kinds, of all or of those given, noted as used for the table."""
        for kind in kinds:
            of_kind = [each for each in (self.found if among is None else among) if each.kind == kind]
            if of_kind:
                chosen = max(of_kind, key=lambda each: any(title.name == "gridxyz" for title in each.block.titles))
                self._told_of_more(table, chosen, len(of_kind))
                return self.use(table, chosen)
        return None

    def use(self, table: str, chosen: Gathered) -> Gathered:
        """The report, noted as used for the table."""
        labels = self.used.setdefault(table, [])
        if chosen.label not in labels:
            labels.append(chosen.label)
        self.resolution_ns = _coarser(self.resolution_ns, chosen.resolution_ns)
        if table == "copies":
            self.resolution_bytes = _coarser(self.resolution_bytes, chosen.resolution_bytes)
        return chosen

    @property
    def pairs(self) -> bool:
        """Whether calls and kernels are joined by the rows of a trace of launches, for want of correlation ids."""
        return not any(each.kind in ("gpu_trace", "api_trace") for each in self.found)

    def _told_of_more(self, table: str, chosen: Gathered, count: int) -> None:
        if count > 1:
            line = f"{chosen.label} is printed {count} times; {table} are of one of them"
            self.warnings.lines.append(line)


def _coarser(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)


def kernel_columns(made: Made) -> Mapping[str, Column]:
    """The columns of ``kernels``."""
    chosen = made.pick("kernels", "gpu_trace", "exec_trace", "kernel_sum", "gpu_sum", "exec_sum")
    if chosen is None:
        return {}
    if chosen.kind == "gpu_trace":
        return _traced_kernels(chosen, made.warnings)
    if chosen.kind == "exec_trace":
        return _executed(chosen, made)
    if chosen.kind == "exec_sum":
        return averaged(chosen, made.warnings, prefix="", name="name", noun="kernels")
    among = (
        None if chosen.kind == "kernel_sum" else matching(text_of(chosen, "category"), lambda text: "KERNEL" in text)
    )
    rows = summed(chosen, made.warnings, noun="kernels", among=among)
    fields = taken(chosen, rows, ("name", "dur_ns", "calls", *_GRID_NAMES))
    return fields | extremes(chosen, rows, made.warnings)


def _is_copy(name: str) -> bool:
    return _COPY.match(name) is not None


def _traced_kernels(gathered: Gathered, warnings: Warnings) -> dict[str, Column]:
    rows = timed(gathered, warnings, noun="kernel", among=~matching(text_of(gathered, "name"), _is_copy))
    names = ("name", "start_ns", "dur_ns", "correlation", "registers", "context", "stream", *_GRID_NAMES)
    columns = taken(gathered, rows, names)
    if gathered.resolution_bytes == 1:  # rounded, they would not match those of another tool
        columns |= taken(gathered, rows, ("static_shared_bytes", "dynamic_shared_bytes"))
    return columns | _placed(gathered, rows)


def _placed(gathered: Gathered, rows: IntArray) -> dict[str, Column]:
    """The device of each row of a trace."""
    if gathered.text("device") is None:
        return {}
    return {"device": renumbered(text_of(gathered, "device"), lambda text: device_of(text)[0]).take(rows)}


def _executed(gathered: Gathered, made: Made) -> dict[str, Column]:
    """The kernels of a trace of launches, each once: one that two calls are told to have launched is there twice."""
    once = launched(gathered)
    made.warnings.count(int((~once).sum()), "kernel", "printed again with a call around its own; counted once")
    rows = timed(gathered, made.warnings, noun="kernel", among=once)
    names = ("name", "start_ns", "dur_ns", "process", "device", *_GRID_NAMES)
    columns = taken(gathered, rows, names)
    if made.pairs:
        columns["correlation"] = Column(pairing(gathered)[rows])
    return columns


def copy_columns(made: Made) -> Mapping[str, Column]:
    """The columns of ``copies``."""
    chosen = made.pick("copies", "gpu_trace", "memory_time", "gpu_sum")
    if chosen is not None and chosen.kind == "gpu_trace":
        return _traced_copies(chosen, made.warnings)
    sizes = made.pick("copies", "memory_size")
    if chosen is None:
        return {} if sizes is None else _sized_copies(sizes, made.warnings)
    among = None if chosen.kind == "memory_time" else matching(text_of(chosen, "category"), lambda text: "MEM" in text)
    rows = summed(chosen, made.warnings, noun="copies", among=among)
    columns = taken(chosen, rows, ("name", "dur_ns", "calls")) | extremes(chosen, rows, made.warnings)
    if sizes is not None:
        columns["size_bytes"] = _sizes_of(columns, sizes, made.warnings)
    return columns | _kinds(columns["name"])


def _traced_copies(gathered: Gathered, warnings: Warnings) -> dict[str, Column]:
    rows = timed(gathered, warnings, noun="copy", among=matching(text_of(gathered, "name"), _is_copy))
    names = ("name", "start_ns", "dur_ns", "correlation", "context", "stream", "size_bytes")
    columns = taken(gathered, rows, names)
    if "size_bytes" in columns:
        columns["size_bytes"] = _known_sizes(columns["size_bytes"], gathered)
    kinds = _kinds(columns["name"])
    for side in ("source_kind", "destination_kind"):
        if gathered.text(side) is not None:
            kinds[side] = recoded(text_of(gathered, side).take(rows), lambda text: text.lower())
    is_set = matching(columns["name"], lambda text: "memset" in text)
    if is_set.any() and "source_kind" in kinds:  # of a set, the tool prints what is set as the source
        source, destination = kinds["source_kind"], kinds["destination_kind"]
        both = stacked([{"kind": source}, {"kind": destination}])["kind"]
        first, second = both.values[: len(rows)], both.values[len(rows) :]
        kinds["source_kind"] = Column(np.where(is_set, np.int32(-1), first), None, both.categories)
        kinds["destination_kind"] = Column(np.where(is_set, first, second), None, both.categories)
    return columns | kinds | _placed(gathered, rows)


def _known_sizes(sizes: Column, gathered: Gathered) -> Column:
    """The sizes; null where one is printed as nothing for being smaller than what is printed."""
    if (gathered.resolution_bytes or 1) == 1:
        return natural(sizes)
    return Column(sizes.values, sizes.present & (sizes.values > 0))


def _kinds(names: Column) -> dict[str, Column]:
    """Kind, source and destination by the names of operations: ``[CUDA memcpy Host-to-Device]``."""
    kind = recoded(names, lambda text: "memset" if "memset" in text else "memcpy")
    return {"kind": kind, "source_kind": _side(names, 1), "destination_kind": _side(names, 2)}


def _side(names: Column, group: int) -> Column:
    def side(name: str) -> str | None:
        match = _SIDES.search(name)
        return _SIDE_KINDS.get(match[group][0]) if match else None

    return recoded(names, side)


def _sized_copies(gathered: Gathered, warnings: Warnings) -> dict[str, Column]:
    calls = gathered.number("calls")
    usable = np.zeros(gathered.length, dtype=np.bool_) if calls is None else calls.present & (calls.values > 0)
    warnings.count(int((~usable).sum()), "row of copies", "left out, its count cannot be")
    columns = taken(gathered, np.flatnonzero(usable), ("name", "calls", "size_bytes"))
    if "size_bytes" in columns:
        columns["size_bytes"] = _known_sizes(columns["size_bytes"], gathered)
    return columns | _kinds(columns["name"])


def _sizes_of(columns: Mapping[str, Column], sizes: Gathered, warnings: Warnings) -> Column:
    """The size of each row, from the report of sizes where it counts as many operations of that name."""
    rows = taken(sizes, np.arange(sizes.length), ("name", "calls", "size_bytes"))
    known = _known_sizes(rows["size_bytes"], sizes).tolist()
    size_of = dict(zip(zip(rows["name"].tolist(), rows["calls"].tolist(), strict=True), known, strict=True))
    keys = list(zip(columns["name"].tolist(), columns["calls"].tolist(), strict=True))
    unmatched = sum(key not in size_of for key in keys)
    warnings.count(unmatched, "kind of copy", "not in the report of sizes, or counted otherwise there; size unknown")
    return int_column([size_of.get(key) for key in keys])


def device_columns(made: Made) -> Mapping[str, Column]:
    """The columns of ``devices``: those that traces name."""
    named: dict[int, str | None] = {}
    for gathered in made.found:
        if gathered.kind == "gpu_trace":
            for text in text_of(gathered, "device").categories or ():
                ordinal, name = device_of(text)
                if ordinal is not None:
                    named.setdefault(ordinal, name)
    if not named:
        for gathered in made.found:
            column = gathered.number("device") if gathered.kind in ("exec_trace", "exec_sum") else None
            if column is not None:
                named.update(dict.fromkeys(np.unique(column.values[column.present]).tolist()))
    if not named:
        return {}
    ordinals = sorted(named)
    migs = [found[1] if (found := _MIG.search(named[each] or "")) else None for each in ordinals]
    return {
        "device": int_column(ordinals),
        "name": text_column(named[each] for each in ordinals),
        "vendor": constant("NVIDIA", len(ordinals)),
        "mig": text_column(migs),
    }
