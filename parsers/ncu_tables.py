"""The tables of an Nsight Compute CSV, from what was gathered while reading it."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ds2prof.devices import chip_numbered, chip_of
from ds2prof.parsers import ncu_rules, ncu_series
from ds2prof.parsers.ncu_gather import DURATIONS, SHARED, Gathered
from ds2prof.parsers.ncu_launches import NULL, number
from ds2prof.tables import Column, IntArray, Table, Texts, checked, int_column, text_column

_FROM_COUNTERS: Final[Mapping[str, str]] = {
    **{f"{what}_{axis}": f"launch__{what}_dim_{axis}" for what in ("grid", "block", "cluster") for axis in "xyz"},
    "registers": "launch__registers_per_thread",
    "context": "launch__context_id",
    "stream": "launch__stream_id",
    **SHARED,
}
"""Column of whole numbers in the kernels table -> the metric that tells it where the page has no column for it."""

_UNSCALED: Final = frozenset(("", "block", "thread", "register/thread", "byte/block"))
_OCCUPANCY: Final = "sm__warps_active.avg.pct_of_peak_sustained_active"
_KIND_OF: Final = {"range": "range", "graph": "graph", "cmdlist": "command_list"}
"""The name that a result other than a kernel has in place of a kernel's -> its kind."""

KERNEL_METRICS: Final = frozenset((*_FROM_COUNTERS.values(), *DURATIONS, _OCCUPANCY))
"""What the kernels table is made of."""

_MAX_INT: Final = float(1 << 53)
_GROUPING: Final = re.compile(r"(?<=\d)[,.' \u00a0\u202f\u2019](?=\d{2,3}(?:\D|\Z))")

FloatArray = npt.NDArray[np.float64]
Columns = dict[str, Column]


def tables_of(gathered: Gathered) -> dict[str, Table]:
    """The tables kernels, counters, devices, processes, rules and samples."""
    counters = _counters(gathered)
    found = {
        "kernels": _kernels(gathered, counters),
        "counters": counters,
        "devices": _devices(gathered),
        "processes": _processes(gathered),
        "rules": ncu_rules.columns_of(gathered.rules),
        "samples": ncu_series.columns_of(gathered.series, gathered.launches.column("device"), null=NULL),
    }
    return {name: checked(name, columns) for name, columns in found.items()}


def _counters(gathered: Gathered) -> Columns:
    runs, lengths = _array(gathered.run_launches, np.int32), _array(gathered.run_lengths, np.int32)
    launches = np.repeat(runs.astype(np.int64), lengths)
    pairs, values = _array(gathered.pair_of, np.int32), _array(gathered.values, np.float64)
    if gathered.is_unordered or bool((np.diff(launches) < 0).any()):
        order = np.lexsort((pairs, launches)) if gathered.is_unordered else np.argsort(launches, kind="stable")
        launches, pairs, values = launches[order], pairs[order], values[order]
    if bool(np.isinf(values).any()):
        values = np.where(np.isinf(values), np.nan, values)
    metrics = text_column([metric for metric, _ in gathered.pairs])
    units = text_column([unit for _, unit in gathered.pairs])
    return {
        "launch": Column(launches),
        "metric": Column(metrics.values[pairs], None, metrics.categories),
        "unit": Column(units.values[pairs], None, units.categories),
        "value": Column(values),
    }


def _array(growing: array[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.frombuffer(growing, dtype=dtype) if growing else np.zeros(0, dtype=dtype)


def _kernels(gathered: Gathered, counters: Columns) -> Columns:
    launches = gathered.launches
    names = launches.names(lambda name: name.decode("utf-8", "replace"))
    columns: dict[str, Column | None] = {"name": names, "kind": None}
    for name in ("process", "device", "context", "stream", "calls"):
        columns[name] = _whole(launches.column(name))
    columns["order"] = _whole(launches.orders())
    for what in ("grid", "block"):
        for axis, sizes in zip("xyz", launches.dimensions(what), strict=True):
            columns[f"{what}_{axis}"] = _whole(sizes)
    for name, metric in _FROM_COUNTERS.items():
        if columns.get(name) is None:
            columns[name] = _from_counters(gathered, counters, metric)
    columns["dur_ns"] = _durations(gathered, counters)
    occupancy = _values(gathered, counters, metric=_OCCUPANCY, units=frozenset(("ratio",)))
    columns["occupancy"] = None if occupancy is None else Column(occupancy)
    columns["kind"] = _kinds(names, columns["registers"])
    columns.update(launches.open_ranges())
    return {name: column for name, column in columns.items() if column is not None}


def _kinds(names: Column, registers: Column | None) -> Column | None:
    """The kinds of the launches, null for kernels; None if all are.

    Such a name can be a kernel's own (``extern "C"``), which then has registers.
    """
    texts = Texts()
    codes = np.array([texts.code(_KIND_OF.get(name)) for name in names.categories or ()] or [-1], dtype=np.int32)
    kinds = np.where(names.values < 0, np.int32(-1), codes[names.values])
    if registers is not None:
        kinds = np.where(registers.present, np.int32(-1), kinds)
    return Column(kinds.astype(np.int32), None, texts.categories) if bool((kinds >= 0).any()) else None


def _whole(values: IntArray) -> Column | None:
    """A column of whole numbers; None if all are null."""
    valid = values != NULL
    if valid.all():
        return Column(values) if len(values) else None
    return Column(np.where(valid, values, 0), valid) if valid.any() else None


def _values(gathered: Gathered, counters: Columns, *, metric: str, units: frozenset[str]) -> FloatArray | None:
    """The metric's value for each launch in one of these units, NaN where it has none; None if no launch has one."""
    pairs = [code for (name, unit), code in gathered.pairs.items() if name == metric and unit in units]
    if not pairs:
        return None
    metrics, found_units = counters["metric"], counters["unit"]
    code = list(metrics.categories or ()).index(metric)
    allowed = [place for place, unit in enumerate(found_units.categories or ()) if unit in units]
    rows = np.flatnonzero(metrics.values == code)
    rows = rows[np.isin(found_units.values[rows], allowed)]
    values = np.full(len(gathered.launches), np.nan)
    values[counters["launch"].values[rows]] = counters["value"].values[rows]
    return values


def _from_counters(gathered: Gathered, counters: Columns, metric: str) -> Column | None:
    values = _values(gathered, counters, metric=metric, units=_UNSCALED)
    if values is None:
        return None
    if metric in gathered.inexact:
        values[np.frombuffer(gathered.inexact[metric], dtype=np.int32)] = np.nan
    return _rounded(values)


def _rounded(values: FloatArray) -> Column | None:
    """Whole numbers nearest to the values; null for what is none, negative, or too large to be sure of."""
    valid = ~np.isnan(values) & (values >= 0) & (values <= _MAX_INT)
    if not valid.any():
        return None
    whole = np.rint(np.where(valid, values, 0)).astype(np.int64)
    return Column(whole, None if valid.all() else valid)


def _durations(gathered: Gathered, counters: Columns) -> Column | None:
    """The launches' durations: of a row that stands for several calls, the mean times their number."""
    durations: FloatArray | None = None
    for metric in DURATIONS:
        found = _values(gathered, counters, metric=metric, units=frozenset(("ns",)))
        if found is not None:
            durations = found if durations is None else np.where(np.isnan(durations), found, durations)
    if durations is None:
        return None
    gathered.remarks.negative = int((durations < 0).sum())
    calls = gathered.launches.column("calls")
    return _rounded(durations * np.where(calls == NULL, 1, calls))


def _devices(gathered: Gathered) -> Columns:
    devices = gathered.devices
    if not devices:
        return {}
    facts = list(devices.values())
    capabilities = [_capability(fact) for fact in facts]
    columns = {
        "device": int_column(list(devices)),
        "name": text_column([fact.get("display_name") for fact in facts]),
        "vendor": text_column(["nvidia"] * len(facts)),
        "chip": text_column([_chip(fact, capability) for fact, capability in zip(facts, capabilities, strict=True)]),
        "compute_capability": text_column(capabilities),
        "sms": int_column([_int(fact.get("multiprocessor_count")) for fact in facts]),
        "memory_bytes": int_column([_int(fact.get("total_memory")) for fact in facts]),
        "max_threads_per_sm": int_column([_int(fact.get("max_threads_per_multiprocessor")) for fact in facts]),
        "warp_size": int_column([_int(fact.get("warp_size")) for fact in facts]),
    }
    return {name: column for name, column in columns.items() if column.present.any()}


def _capability(fact: Mapping[str, str]) -> str | None:
    if "cc" in fact:
        return fact["cc"]
    major, minor = (_int(fact.get(f"compute_capability_{part}")) for part in ("major", "minor"))
    return None if major is None or minor is None else f"{major}.{minor}"


def _chip(fact: Mapping[str, str], capability: str | None) -> str | None:
    numbered = chip_numbered(fact["chip"]) if "chip" in fact else None
    return numbered or chip_of(capability, fact.get("display_name"))


def _int(text: str | None) -> int | None:
    """The whole number in a cell, in any locale: attributes of devices are whole."""
    if text is None:
        return None
    whole, _, zeros = _GROUPING.sub("", text).partition(".")
    value = number(whole.encode()) if not zeros.strip("0") else NULL
    return None if value == NULL else value


def _processes(gathered: Gathered) -> Columns:
    processes = gathered.processes
    if not processes:
        return {}
    return {
        "process": int_column(list(processes)),
        "name": text_column([name or None for name, _ in processes.values()]),
        "host": text_column([host or None for _, host in processes.values()]),
    }
