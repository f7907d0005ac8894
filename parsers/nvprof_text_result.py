"""The tables and remarks of what nvprof printed, from what was gathered while reading it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.devices import chip_of
from ds2prof.parsers.nvprof_text_gather import MAX_MESSAGES, SUMMARY, TRACE, Gathered, Subject, kept
from ds2prof.parsers.nvprof_text_values import nullable
from ds2prof.parsers.range_names import in_domain, kinds_of_ranges
from ds2prof.tables import Column, IntArray, Loaded, Meta, Table, Texts, checked, null_column, text_column

_START, _END, _MARK = "[Range start] ", "[Range end] ", "[Marker] "
_FAMILIES: Final = (("kernels", "copies"), ("api",), ("ranges",))
_WARNING: Final = "Warning: "
_HARDWARE_STEP_NS: Final = 32
"""How finely these devices measure; what is printed to finer steps has lost nothing."""


@dataclass
class _Left:
    """What was left out of the tables while they were made."""

    sources: set[str]
    edges: int = 0
    shared_ids: int = 0


def loaded(name: str, form: str, gathered: Gathered) -> Loaded:
    """All tables, what is known of the file, and what went wrong."""
    left = _Left(set())
    left.edges = _add_ranges(gathered)
    columns: dict[str, dict[str, Column]] = {}
    for family in _FAMILIES:
        chosen, others = kept(gathered.rows[table] for table in family)
        left.sources |= others
        columns.update({table: gathered.rows[table].columns(chosen) for table in family})
    left.shared_ids = _shared_ids(columns["api"])
    times = any(columns[table] for table in ("kernels", "copies", "api"))
    launch_of = _with_subjects(gathered, columns)
    columns["counters"] = gathered.counted.columns(launch_of)
    columns["ranges"] = _with_kinds(columns["ranges"])
    columns["devices"], columns["processes"] = _devices(gathered), _processes(gathered)
    tables = {table: checked(table, found) for table, found in columns.items()}
    meta = Meta(
        file=name,
        tool="nvprof",
        format=form,
        dialect=", ".join(gathered.dialect),
        times="real" if times else "replay" if columns["counters"] else None,
        time_resolution_ns=gathered.remarks.step_ns if times else None,
        facts=_facts(gathered),
    )
    return Loaded(meta, tables, tuple(_warnings(name, gathered, tables, left)))


def _shared_ids(calls: Mapping[str, Column]) -> int:
    """How many calls have a correlation id that an earlier call of their process has."""
    if "correlation" not in calls:
        return 0
    known, ids = calls["correlation"].present, calls["correlation"].values
    processes = calls["process"].values if "process" in calls else np.zeros(len(ids), dtype=np.int64)
    of_process = [ids[known & (processes == process)] for process in np.unique(processes).tolist()]
    return sum(len(found) - len(np.unique(found)) for found in of_process)


def _facts(gathered: Gathered) -> dict[str, object]:
    return {name: count for name, count in gathered.remarks.facts.items() if name != "cut_device_names"}


# -- ranges out of the edges that a trace prints ---------------------------------------------------------------------


def _add_ranges(gathered: Gathered) -> int:
    """Add the ranges whose two edges are surely theirs, and the marks; how many edges belong to none, or could to many.

    A trace does not tell whose thread an edge is, so that of two open ranges of one name neither can be told.
    """
    found: dict[int | None, list[tuple[str, int, int | None]]] = {}
    opened: dict[tuple[int | None, str], list[int]] = {}
    doubtful, lost = set(), 0
    for process, text, at_ns in sorted(gathered.marks, key=lambda mark: mark[2]):
        if text.startswith(_MARK):
            found.setdefault(process, []).append((text[len(_MARK) :], at_ns, None))
        elif text.startswith(_START):
            key = (process, text[len(_START) :])
            starts = opened.setdefault(key, [])
            starts.append(at_ns)
            if len(starts) > 1:
                doubtful.add(key)
        else:
            key = (process, text[len(_END) :])
            starts = opened.get(key, [])
            start_ns = starts.pop() if starts else None
            if start_ns is None or key in doubtful:
                lost += 1 + (start_ns is not None)
            else:
                found.setdefault(process, []).append((key[1], start_ns, at_ns - start_ns))
            if not starts:
                doubtful.discard(key)
    for process, ranges in found.items():
        _add_edges(gathered, process, sorted(ranges, key=lambda one: one[1]))
    return lost + sum(len(starts) for starts in opened.values())


def _add_edges(gathered: Gathered, process: int | None, ranges: list[tuple[str, int, int | None]]) -> None:
    rows = gathered.rows["ranges"]
    named = [_without_domain(name) for name, _, _ in ranges]
    rows.add(
        process,
        TRACE,
        {
            "name": rows.texts("name", (in_domain(name, domain) for name, domain in named)),
            "domain": rows.texts("domain", (domain for _, domain in named)),
            "start_ns": nullable([start_ns for _, start_ns, _ in ranges]),
            "dur_ns": nullable([dur_ns for _, _, dur_ns in ranges]),
        },
    )


def _without_domain(name: str) -> tuple[str, str | None]:
    """A range's name and its domain, which a trace prints behind it."""
    plain, found, domain = name.rpartition(" (Domain: ")
    if not found or not domain.endswith(")"):
        return name, None
    return plain, known_domain(domain[:-1])


def known_domain(name: str) -> str | None:
    """The name of a domain or thread; None for one without."""
    return None if name in ("", "<unnamed>") else name


def _with_kinds(columns: dict[str, Column]) -> dict[str, Column]:
    """Ranges with their kind, which their name tells."""
    if not columns:
        return columns
    names = columns["name"]
    pairs = kinds_of_ranges(names.categories or ())
    columns["kind"] = _coded([kind for kind, _ in pairs], names)
    columns["value"] = _coded([value for _, value in pairs], names)
    return columns


def _coded(of_category: list[str | None] | list[str], names: Column) -> Column:
    """A text column that follows from another: a text for each of its categories."""
    texts = Texts()
    codes = texts.codes(of_category)
    return Column(codes[names.values], None, texts.categories)


# -- kernels that metrics were read of -------------------------------------------------------------------------------


def _with_subjects(gathered: Gathered, columns: dict[str, dict[str, Column]]) -> IntArray:
    """The row of the kernels table that each subject of metrics is; those that have none yet are added."""
    subjects, kernels = gathered.counted.subjects, columns["kernels"]
    row_of = _rows_by_key(kernels) if subjects and kernels else {}
    length = len(kernels["name"]) if kernels else 0
    launch_of: list[int] = []
    added: list[Subject] = []
    for subject in subjects:
        row = row_of.get(_key(subject))
        if row is None:
            row = length + len(added)
            added.append(subject)
        launch_of.append(row)
    if added:
        columns["kernels"] = _appended(kernels, length, added)
    return np.array(launch_of, dtype=np.int64)


def _key(subject: Subject) -> tuple[object, ...]:
    return (subject.process, subject.name, subject.calls, subject.correlation)


def _rows_by_key(kernels: Mapping[str, Column]) -> dict[tuple[object, ...], int | None]:
    """(process, name, calls, correlation) -> its row; None where several rows share them."""
    length = len(kernels["name"])
    nothing = [None] * length
    lists = [kernels[name].tolist() if name in kernels else nothing for name in ("process", "name", "calls")]
    correlations = kernels["correlation"].tolist() if "correlation" in kernels else nothing
    found: dict[tuple[object, ...], int | None] = {}
    for row, key in enumerate(zip(*lists, correlations, strict=True)):
        found[key] = None if key in found else row
    return found


def _appended(kernels: dict[str, Column], length: int, added: list[Subject]) -> dict[str, Column]:
    more = {
        name: nullable([getattr(subject, name) for subject in added])
        for name in ("process", "device", "context", "stream", "correlation", "calls")
    }
    more = {name: column for name, column in more.items() if column.present.any()}
    names = list(dict.fromkeys((*kernels, *more)))
    columns = {}
    for name in names:
        if name == "name":
            texts = Texts()
            before = [] if not kernels else texts.codes(kernels["name"].categories or ())[kernels["name"].values]
            codes = texts.codes(subject.name for subject in added)
            columns[name] = Column(np.concatenate([np.array(before, dtype=np.int32), codes]), None, texts.categories)
            continue
        one = kernels.get(name) or null_column("int", length)
        other = more.get(name) or null_column("int", len(added))
        valid = np.concatenate([one.present, other.present])
        columns[name] = Column(np.concatenate([one.values, other.values]), None if valid.all() else valid)
    if "name" not in columns:
        columns["name"] = text_column([subject.name for subject in added])
    return columns


# -- the rest --------------------------------------------------------------------------------------------------------


def _devices(gathered: Gathered) -> dict[str, Column]:
    if not gathered.devices:
        return {}
    ordinals = sorted(gathered.devices)
    names = [gathered.devices[ordinal] for ordinal in ordinals]
    return {
        "device": nullable(ordinals),
        "name": text_column(names),
        "vendor": text_column(["nvidia"] * len(names)),
        "chip": text_column([chip_of(None, name) for name in names]),
    }


def _processes(gathered: Gathered) -> dict[str, Column]:
    if not gathered.processes:
        return {}
    return {"process": nullable(list(gathered.processes)), "name": text_column(gathered.processes.values())}


def _warnings(name: str, gathered: Gathered, tables: Mapping[str, Table], left: _Left) -> Iterator[str]:
    remarks = gathered.remarks
    if len(tables["kernels"]) == len(tables["copies"]) == len(tables["api"]) == 0:
        said = " ".join(remarks.empty) or "it holds no row of a table"
        yield f"{name}: nothing was profiled (nvprof: {said}); was the profiled stretch reached?"
    yield from _lost(name, gathered, left)
    if len(gathered.processes) > 1:
        yield (
            f"{name}: {len(gathered.processes)} processes print into one stream; a row is credited to the one named "
            "last before it ('--log-file NAME.%p' keeps them apart)"
        )
    messages = list(remarks.messages)
    yield from (f"{name}: nvprof: {message.removeprefix(_WARNING)}" for message in messages[:MAX_MESSAGES])
    if len(messages) > MAX_MESSAGES:
        yield f"{name}: nvprof: {len(messages) - MAX_MESSAGES} more messages in the file"


def _lost(name: str, gathered: Gathered, left: _Left) -> Iterator[str]:
    remarks = gathered.remarks
    if remarks.step_ns > _HARDWARE_STEP_NS:
        yield (
            f"{name}: times are printed in steps of up to {remarks.step_ns:,} ns; '--csv -u us' has whole nanoseconds"
        )
    if remarks.step_bytes > 1:
        yield f"{name}: sizes are printed in steps of up to {remarks.step_bytes:,} bytes"
    for what, count in remarks.counts.items():
        yield f"{name}:{remarks.first_line[what]}: {what}: {count:,} left out, the first of them near this line"
    if "cut_device_names" in remarks.facts:
        yield (
            f"{name}: a text trace cuts off the number behind a device's name, so that devices are unknown and taken "
            "as one; print it with --csv"
        )
    if left.shared_ids:
        yield (
            f"{name}: {left.shared_ids:,} calls have the correlation id of another call of their process; what they "
            "launched cannot be told apart"
        )
    if left.edges:
        yield f"{name}: {left.edges:,} edges of ranges left out, since they have no other, or could have several"
    if left.sources:
        fuller = "traces" if SUMMARY in left.sources else "fuller tables"
        yield f"{name}: {', '.join(sorted(left.sources))} left out, for the {fuller} beside it hold the same activities"
    if remarks.cut:
        yield f"{name}: the last line has no end, and is left out; was the output cut off there?"
