"""Rows of nvprof's summaries, many calls each: kernels, copies, API calls, ranges, migrations of unified memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ds2prof.parsers.nvprof_text_block import (
    Block,
    copy_kind,
    device_of,
    devices_of,
    domain_of,
    is_copy,
    note_step,
    plausible,
    sizes_of,
    times_of,
)
from ds2prof.parsers.nvprof_text_gather import PER_DEVICE, SUMMARY, UNIFIED, Gathered
from ds2prof.parsers.nvprof_text_values import Scaled, nullable, wholes
from ds2prof.tables import Column

_MIGRATIONS: Final = {
    "Host To Device": "[Unified Memory Memcpy HtoD]",
    "Device To Host": "[Unified Memory Memcpy DtoH]",
    "Transfers from Device": "[Unified Memory Memcpy DtoD]",
}


def take(gathered: Gathered, block: Block) -> None:
    """Take the rows of a summary into what is gathered."""
    types, names = _types(block), block.texts("Name")
    tables = np.array([_table_of(kind, name, block) for kind, name in zip(types, names, strict=True)], dtype=object)
    sums, calls = times_of(block, "Time"), _call_counts(block)
    sound = plausible(gathered, block, sums, calls=calls, among=tables != "")
    found = _sums(block, sums, calls)
    for table in ("kernels", "copies", "api", "ranges"):
        rows = sound & (tables == table)
        if rows.any():
            if table != "ranges":
                note_step(gathered, sums)
            source = PER_DEVICE if block.device is not None and table in ("kernels", "copies") else SUMMARY
            columns = {**found, **_named(gathered, block, table, types)}
            chosen = {name: column.take(rows) for name, column in columns.items()}
            gathered.rows[table].add(block.process, source, chosen)


def _types(block: Block) -> list[str]:
    """What each row is; nvprof says it where it changes."""
    types = []
    for cell in block.texts("Type"):
        block.type = cell.rstrip(":") or block.type
        types.append(block.type)
    return types


def _table_of(kind: str, name: str, block: Block) -> str:
    """The table a row belongs to; none for what a range repeats of what was launched in it."""
    if kind == "Range":
        return "ranges"
    if block.in_range:
        return ""
    if kind == "GPU activities":
        return "copies" if is_copy(name) else "kernels"
    return "api" if kind == "API calls" else "ranges"


def _call_counts(block: Block) -> Column:
    found = block.column("Calls")
    if found is not None:
        return wholes(found[0])
    host, device = (wholes(block.texts(f"Calls ({place})")) for place in ("host", "device"))
    return Column(host.values + device.values, host.present | device.present)


def _sums(block: Block, sums: Scaled, calls: Column) -> dict[str, Column]:
    """Calls, their time together, the shortest and the longest.

    The four times of a single call are the same, printed to different steps: the finest is taken.
    """
    single, together, step = calls.values == 1, sums.values, sums.step
    mean, least, most = (times_of(block, name) for name in ("Avg", "Min", "Max"))
    for one in (mean, least, most):
        if one.step < step and bool((one.valid & single).any()):
            together, step = np.where(single & one.valid & (one.values >= 0), one.values, together), one.step
    sound = least.valid & most.valid & (least.values >= 0) & (least.values <= most.values + most.step)
    return {
        "calls": Column(calls.values),
        "dur_ns": Column(together),
        "min_dur_ns": Column(np.where(single, together, least.values), sound),
        "max_dur_ns": Column(np.where(single, together, most.values), sound),
    }


def _named(gathered: Gathered, block: Block, table: str, types: Sequence[str]) -> dict[str, Column]:
    rows, names = gathered.rows[table], block.texts("Name")
    columns = {"name": rows.texts("name", names)}
    if table in ("kernels", "copies") and block.device is not None:
        columns["device"] = nullable([device_of(gathered, block.device)] * len(names))
    if table == "copies":
        columns["kind"] = rows.texts("kind", map(copy_kind, names))
    elif table == "api":
        columns["domain"] = rows.texts("domain", map(domain_of, names))
    elif table == "ranges":
        columns.update(_range_columns(gathered, block, types))
    return columns


def _range_columns(gathered: Gathered, block: Block, types: Sequence[str]) -> dict[str, Column]:
    """NVTX ranges, or constructs of OpenACC and OpenMP (``OpenACC (excl)``: without what is within them)."""
    rows = gathered.rows["ranges"]
    domains = [block.domain if kind == "Range" else kind.split(" ")[0] for kind in types]
    categories = ["exclusive" if "(excl)" in kind else "inclusive" if "(incl)" in kind else None for kind in types]
    return {
        "domain": rows.texts("domain", domains),
        "category": rows.texts("category", categories),
        "thread": nullable([block.thread if kind == "Range" else None for kind in types]),
    }


def take_unified(gathered: Gathered, block: Block) -> None:
    """Take a summary of unified memory: migrations are copies, page faults are counted among the facts."""
    rows, names = gathered.rows["copies"], block.texts("Name")
    sums, calls = times_of(block, "Total Time"), wholes(block.texts("Count"))
    for name, count in zip(names, calls.tolist(), strict=True):
        if name not in _MIGRATIONS:
            gathered.remarks.add_fact(name, count or 0)
    moved = np.array([name in _MIGRATIONS for name in names], dtype=np.bool_)
    sound = plausible(gathered, block, sums, calls=calls, among=moved)
    if not sound.any():
        return
    note_step(gathered, sums)
    size, device = sizes_of(gathered, block, "Total Size"), block.device
    columns = {
        "name": rows.texts("name", [_MIGRATIONS.get(name, name) for name in names]),
        "kind": rows.texts("kind", ["memcpy"] * len(names)),
        "device": devices_of(gathered, block)
        if device is None
        else nullable([device_of(gathered, device)] * len(names)),
        "calls": Column(calls.values),
        "dur_ns": Column(sums.values),
        "size_bytes": size if size is not None else nullable([None] * len(names)),
    }
    gathered.rows["copies"].add(block.process, UNIFIED, {name: column.take(sound) for name, column in columns.items()})
