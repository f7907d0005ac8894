"""Tables of kernels (or, of a run without a GPU, of host operators): by name, class, launch, stream, device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from ds2prof.analysis import rates
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.groups import combined, kernel_shares_ns, sorted_columns, summed, time_columns
from ds2prof.analysis.intervals import FloatArray, self_shares_ns, union_ns
from ds2prof.analysis.totals import launches
from ds2prof.analysis.windows import ends_ns
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class, op_class, short_name
from ds2prof.tables import Column, IntArray, Profile, Table

GPU_TABLES: Final = ("kernels", "counters", "devices")
CPU_TABLES: Final = ("kernels", "ops")
_SUMS_NOTE: Final = "the source kept sums per kernel, not single launches"
_LAUNCH_COLUMNS: Final = ("device", "stream", "order", "start_ns", "dur_ns")


def kernel_times(profile: Profile, by: str = "name") -> Answer:
    """Calls and time by ``name`` (short), ``kernel`` (as found), ``class``, ``stream``, ``device``, or ``launch``.

    ``dur_ns`` is the sum of durations; ``excl_ns`` shares out concurrent time, so that it sums to the busy time;
    ``share`` is of the busy time. Where the file has counters, each pipe's utilization and the throughputs stand beside
    them, weighted by cycles, and ``coverage``, what part of the cycles they are known for (:mod:`.rates`). A profile of
    host operators alone gives the same of operators: there ``dur_ns`` includes what an operator called, ``excl_ns``
    does not.

    Raises:
        MissingDataError: nothing of the kind was recorded.
    """
    if profile.meta.domain == "cpu":
        return _operator_times(profile, by)
    profile.require(*GPU_TABLES)
    kernels = profile.table("kernels")
    if not len(kernels):
        raise MissingDataError(
            f"{profile.meta.file}: no kernels in this file; was the window open while work was launched?"
        )
    shares = kernel_shares_ns(profile)
    notes = rates.notes(profile) + (() if launches(kernels) == len(kernels) else (_SUMS_NOTE,))
    if by == "launch":
        return Answer(by, _launch_columns(profile, shares), notes)
    codes, keys = _keys(kernels, by, class_of=kernel_class)
    columns: dict[str, Sequence[Any]] = dict(keys)
    count = len(next(iter(keys.values())))
    calls = kernels.ints("calls", null=1) if "calls" in kernels else np.ones(len(kernels), dtype=np.int64)
    columns["calls"] = summed(codes, calls, count).tolist()
    columns.update(time_columns(codes, count, durations=kernels["dur_ns"], shares=shares))
    columns.update(rates.grouped(profile, codes, count))
    return Answer(by, sorted_columns(columns, by=("excl_ns", "dur_ns", "calls")), notes)


def _keys(table: Table, by: str, *, class_of: Callable[[str], str]) -> tuple[IntArray, Mapping[str, Sequence[Any]]]:
    """(group code of each row, key columns of the groups)."""
    if by in ("stream", "device"):
        return _number_keys(table, ("device", "stream") if by == "stream" else ("device",))
    names = table["name"]
    categories = names.categories or ()
    used = np.flatnonzero(np.bincount(names.values, minlength=len(categories)))  # chosen rows may lack some of them
    texts = [categories[code] for code in used.tolist()]
    labels = {"kernel": lambda text: text, "name": short_name, "class": class_of}[by]
    label_of = [labels(text) for text in texts]
    distinct = list(dict.fromkeys(label_of))
    code_of = {label: code for code, label in enumerate(distinct)}
    codes_of = np.zeros(len(categories), dtype=np.int64)
    codes_of[used] = [code_of[label] for label in label_of]
    codes = codes_of[names.values]
    if by == "class":
        return codes, {"name": distinct}
    classes = {label: class_of(text) for text, label in zip(texts, label_of, strict=True)}
    return codes, {"name": distinct, "class": [classes[label] for label in distinct]}


def _number_keys(table: Table, names: tuple[str, ...]) -> tuple[IntArray, Mapping[str, Sequence[Any]]]:
    codes, rows = combined(
        [part for name in names for part in (table.ints(name), table[name].present.astype(np.int64))]
    )
    return codes, {name: table[name].take(rows).tolist() for name in names}


def _launch_columns(profile: Profile, shares: tuple[FloatArray, int] | None) -> dict[str, Sequence[Any]]:
    table = profile.table("kernels")
    columns: dict[str, Sequence[Any]] = {"launch": range(len(table)), "name": table["name"].tolist()}
    columns.update({name: table[name].tolist() for name in _LAUNCH_COLUMNS})
    if launches(table) != len(table):
        columns["calls"] = table.ints("calls", null=1).tolist()
    codes = np.arange(len(table), dtype=np.int64)
    columns.update(time_columns(codes, len(table), durations=table["dur_ns"], shares=shares))
    for reading in rates.readings(profile):
        columns[reading.name] = Column(reading.values).tolist()
    return columns


def _operator_times(profile: Profile, by: str) -> Answer:
    """The same tables over host operators."""
    profile.require(*CPU_TABLES)
    ops = profile.table("ops")
    if not len(ops):
        raise MissingDataError(
            f"{profile.meta.file}: neither kernels nor operators in this file; nothing of the kind was recorded"
        )
    if by in ("stream", "device"):
        raise MissingDataError(f"{profile.meta.file}: no GPU work in this file, so no table by {by}; ask --by name")
    shares = operator_shares_ns(ops)
    if by == "launch":
        lanes = {"thread": ops["thread"].tolist(), "start_ns": ops["start_ns"].tolist()}
        codes = np.arange(len(ops), dtype=np.int64)
        times = time_columns(codes, len(ops), durations=ops["dur_ns"], shares=shares)
        return Answer(by, {"launch": range(len(ops)), "name": ops["name"].tolist(), **lanes, **times})
    codes, keys = _keys(ops, by, class_of=op_class)
    count = len(next(iter(keys.values())))
    columns: dict[str, Sequence[Any]] = {**keys, "calls": np.bincount(codes, minlength=count).tolist()}
    columns.update(time_columns(codes, count, durations=ops["dur_ns"], shares=shares))
    return Answer(by, sorted_columns(columns, by=("excl_ns", "dur_ns", "calls")))


def operator_shares_ns(ops: Table) -> tuple[FloatArray, int]:
    """(share of each operator in the host's busy time, float ns; busy time: union of operators over all threads)."""
    starts, ends = ops.ints("start_ns"), ends_ns(ops)
    lanes, _ = combined([ops.ints("process", null=-1), ops.ints("thread", null=-1)])
    return self_shares_ns(starts, ends, lanes), union_ns(starts, ends)
