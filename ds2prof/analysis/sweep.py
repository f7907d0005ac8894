"""A sweep: what changes with the batch, the precision, or whatever else the sidecars of many measurements state.

Measurements with the same value of the key are one point: a run log tells its rate, a timeline its busy share, a
replayed capture its pipes, a memory capture its peak, a sampler its power. Where what was run differs in something else
as well (preset, precision, batch, device), points of one value are kept apart, a series each. Several measurements that
tell the same figure at a point are repeats: their mean, and the range of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.analysis import totals as totals_of
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.sweep_figures import TABLES, Figure, Kind, figures_of, kind_of, together
from ds2prof.analysis.sweep_fit import Fit, saturation
from ds2prof.errors import MissingDataError
from ds2prof.tables import Meta, Profile

__all__ = ["BATCH", "TABLES", "Measurement", "Sweep", "fits", "measured", "sweep", "value_of"]

BATCH: Final = "batch_size"
GPU: Final = "gpu"
KEPT_APART: Final = ("preset", "precision", BATCH, "device_name", GPU)
"""What makes points of one value different series, where it varies; ``gpu`` is read off the file, and never stated."""
RATE, PROFILED = "samples_per_s", "profiled_"
_BATCH_IN_NAME: Final = re.compile(r"_bs(\d{1,9})(?=[_.]|$)")
_ORDER: Final = (
    *(RATE, "step_ns", "audio_s_per_s", "padded_s_per_s", "gpu_compute_utilization", "driver_utilization"),
    *("mfu", "hfu", "fma", "fp16", "fp64", "tensor", "tc", "xu", "alu", "lsu", "tma"),
    *("peak_bytes", "reserved_bytes", "state_bytes", "activation_bytes", "device_used_bytes", "power_watt"),
)
"""The figures in the order of the columns."""
Value = int | float | str


@dataclass(frozen=True)
class Measurement:
    """What a sweep keeps of one measurement.

    Attributes:
        meta: of the profile.
        value: of the key that is swept over.
        apart: what may make it another series, as far as it is stated.
        kind: what sort of measurement it is.
        figures: what it tells.
    """

    meta: Meta
    value: Value
    apart: Mapping[str, Value]
    kind: Kind
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep.

    Attributes:
        over: the key.
        varying: what tells the series apart; nothing where there is one.
        points: (series, value) -> the measurements there, in order.
        notes: what a reader must know.
    """

    over: str
    varying: tuple[str, ...]
    points: Mapping[tuple[tuple[Value | None, ...], Value], Sequence[Measurement]]
    notes: tuple[str, ...]


def measured(profile: Profile, over: str) -> Measurement | None:
    """What a sweep over the key keeps of the profile; None where it does not state the key."""
    value = value_of(profile.meta, over)
    if value is None:
        return None
    profile.require(*TABLES)
    apart = {name: found for name in KEPT_APART if name != over and (found := value_of(profile.meta, name)) is not None}
    if (gpu := _gpu(profile)) is not None:
        apart[GPU] = gpu
    batch = value_of(profile.meta, BATCH)
    figures = figures_of(profile, batch=batch if isinstance(batch, int) else None)
    return Measurement(profile.meta, value, apart, kind_of(profile), figures)


def _gpu(profile: Profile) -> str | None:
    """The names of the GPUs that ran kernels; None where the file does not tell, or no kernel ran."""
    used = totals_of.devices_of(profile.table("kernels"))
    devices = profile.table("devices")
    rows = zip(devices["device"].tolist(), devices["name"].tolist(), strict=True)
    return " + ".join(sorted({name for device, name in rows if name and device in used})) or None


def value_of(meta: Meta, path: str) -> Value | None:
    """What a measurement states under a key, ``window.start`` and ``devices.0.name`` for what lies deeper; else None.

    The sidecar goes before the file's own facts. The batch size is also read off a measurement's name (``_bs32``), the
    device's name off the sidecar's devices.
    """
    for facts in (meta.run or {}, meta.facts):
        found = _inside(facts, path.split("."))
        if isinstance(found, bool):
            return str(found).lower()
        if isinstance(found, (int, str)) or (isinstance(found, float) and math.isfinite(found)):
            return found
    if path == "device_name":
        return value_of(meta, "devices.0.name")
    named = _BATCH_IN_NAME.search(meta.file) if path == BATCH else None
    return int(named[1]) if named else None


def _inside(facts: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if isinstance(facts, Mapping):
            facts = facts.get(part)
        elif isinstance(facts, (list, tuple)) and part.isdecimal() and int(part) < len(facts):
            facts = facts[int(part)]
        else:
            return None
    return facts


def stated_keys(metas: Sequence[Meta]) -> list[str]:
    """The keys that measurements state with more than one value among them, for who asked for another."""
    seen: dict[str, set[Any]] = {}
    for meta in metas:
        for name, value in _leaves({**meta.facts, **(meta.run or {})}):
            seen.setdefault(name, set()).add(value)
    return sorted(name for name, values in seen.items() if len(values) > 1)


def _leaves(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float, str)):
            found.append((f"{prefix}{name}", value))
    return found


def sweep(measurements: Sequence[Measurement], over: str) -> Sweep:
    """The points: by series, then by value, numbers before texts.

    A measurement that does not state what tells the series apart joins the only series at its value, where there is
    only one; a run log states its precision, a sampler's file without a sidecar does not.

    Raises:
        MissingDataError: there is no measurement.
    """
    if not measurements:
        raise MissingDataError(f"no measurement states {over}")
    varying = _varying(measurements, over)
    points: dict[tuple[tuple[Value | None, ...], Value], list[Measurement]] = {}
    whole = [each for each in measurements if all(name in each.apart for name in varying)]
    for each in whole:
        points.setdefault((tuple(each.apart[name] for name in varying), each.value), []).append(each)
    for each in measurements:
        if all(name in each.apart for name in varying):
            continue
        own = tuple(each.apart.get(name) for name in varying)
        fitting = [key for key in points if key[1] == each.value and _agrees(key[0], own)]
        points.setdefault(fitting[0] if len(fitting) == 1 else (own, each.value), []).append(each)
    ordered = dict(sorted(points.items(), key=lambda item: (list(map(_rank, item[0][0])), _rank(item[0][1]))))
    return Sweep(over, varying, ordered, tuple(_notes(ordered)))


def _varying(measurements: Sequence[Measurement], over: str) -> tuple[str, ...]:
    """What tells the series apart; the GPU only where not all whose GPU is known state their device as well."""
    found = tuple(
        name
        for name in KEPT_APART
        if name != over and len({each.apart[name] for each in measurements if name in each.apart}) > 1
    )
    told = "device_name" in (*found, over) and all(
        over == "device_name" or "device_name" in each.apart for each in measurements if GPU in each.apart
    )
    return tuple(name for name in found if name != GPU) if told else found


def _agrees(series: Sequence[Value | None], own: Sequence[Value | None]) -> bool:
    return all(mine is None or mine == theirs for mine, theirs in zip(own, series, strict=True))


def _rank(value: Value | None) -> tuple[int, float, str]:
    """Numbers in their order, then texts, then what is not stated."""
    if isinstance(value, (int, float)):
        return (0, float(value), "")
    return (2, 0.0, "") if value is None else (1, 0.0, value)


def _notes(points: Mapping[Any, Sequence[Measurement]]) -> list[str]:
    notes = []
    profiled = [key for key, some in points.items() if any(f"{PROFILED}step_ns" in each.figures for each in some)]
    unlogged = [key for key in profiled if not any(RATE in each.figures for each in points[key])]
    if unlogged:
        values = ", ".join(dict.fromkeys(str(value) for _, value in unlogged))
        notes.append(f"samples_per_s and step_ns at {values}: of steps that a profiler looked on, which slowed them")
    ranks = {each.meta.rank for some in points.values() for each in some} - {None}
    if len(ranks) > 1:
        notes.append(f"{len(ranks)} ranks: figures are means over them, rates those of one rank")
    if any(_repeats(some) for some in points.values()):
        notes.append("several measurements of one figure at a point: their mean, low and high the least and greatest")
    return notes


def _repeats(some: Sequence[Measurement]) -> bool:
    names = [name for each in some for name in each.figures]
    return len(names) != len(set(names))


def figures_at(some: Sequence[Measurement]) -> dict[str, Figure]:
    """The figures of one point; rates of run logs before those of profiled steps."""
    gathered: dict[str, list[Figure]] = {}
    for each in some:
        for name, figure in each.figures.items():
            gathered.setdefault(name, []).append(figure)
    logged = RATE in gathered or "step_ns" in gathered
    for name in (RATE, "step_ns"):
        profiled = gathered.pop(f"{PROFILED}{name}", None)
        if profiled is not None and not logged:
            gathered[name] = profiled
    return {name: together(figures) for name, figures in gathered.items()}


def answer(found: Sweep) -> Answer:
    """A row for each point: the series, the key, its figures with ``_low`` and ``_high``, and how many measurements.

    ``relative`` is the throughput over that of the first point of its series; ``rate_source`` whose it is: a run log's
    (``run log``), or of steps under a profiler (``profiled steps``). None is unknown: no measurement told it.
    """
    rows = [_row(found, series, value, some) for (series, value), some in found.points.items()]
    firsts: dict[Any, float] = {}
    for row, (series, _) in zip(rows, found.points, strict=True):
        rate = row.get(RATE)
        if rate is not None:
            row["relative"] = ratio(rate, firsts.setdefault(series, rate))
    present = {name for row in rows for name, value in row.items() if value is not None}
    names = [*found.varying, found.over, *(name for name in _columns() if name in present), "measurements"]
    columns = {name: [row.get(name) for row in rows] for name in names}
    return Answer(found.over, columns, (*found.notes, *fit_notes(found)))


def _columns() -> list[str]:
    """The names of all columns of figures, in their order."""
    made = []
    for name in _ORDER:
        stem, unit = (name[: -len("_ns")], "_ns") if name == "step_ns" else (name, "")
        made += [name, f"{stem}_low{unit}", f"{stem}_high{unit}"]
        made += ["relative", "rate_source"] if name == RATE else []
    return made


def _row(found: Sweep, series: Sequence[Value | None], value: Value, some: Sequence[Measurement]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(found.varying, series, strict=True))
    row[found.over] = value
    figures = figures_at(some)
    for name, figure in figures.items():
        stem, unit = (name[: -len("_ns")], "_ns") if name.endswith("_ns") else (name, "")
        row |= {name: figure.value, f"{stem}_low{unit}": figure.low, f"{stem}_high{unit}": figure.high}
    if RATE in figures:
        row["rate_source"] = "run log" if any(RATE in each.figures for each in some) else "profiled steps"
    return {**row, "measurements": len(some)}


def fits(found: Sweep) -> list[tuple[dict[str, Value | None], Fit]]:
    """(series, saturation of throughput by batch) of each series; nothing for a sweep over another key.

    Every measurement with a rate is a point of the fit, repeats too; rates of one kind alone: run logs', unless
    profiled steps tell of more batches.
    """
    if found.over != BATCH:
        return []
    made = []
    for series in dict.fromkeys(series for series, _ in found.points):
        some = [(value, each) for (own, value), here in found.points.items() if own == series for each in here]
        logged = [(value, each.figures[RATE].value) for value, each in some if RATE in each.figures]
        profiled = [
            (value, each.figures[PROFILED + RATE].value) for value, each in some if PROFILED + RATE in each.figures
        ]
        chosen = logged if len({value for value, _ in logged}) >= len({value for value, _ in profiled}) else profiled
        pairs = [(value, rate) for value, rate in chosen if isinstance(value, (int, float))]
        fit = saturation([float(value) for value, _ in pairs], [rate for _, rate in pairs])
        made.append((dict(zip(found.varying, series, strict=True)), fit))
    return made


def totals(found: Sweep) -> dict[str, Any]:
    """The sweep in short: ``over``, ``points``, ``measurements``, and for the batch ``saturation``, one a series."""
    told: dict[str, Any] = {
        "over": found.over,
        "points": len(found.points),
        "measurements": sum(map(len, found.points.values())),
    }
    if found.over == BATCH:
        told["saturation"] = [
            {**series, **({} if fit.curve is None else fit.curve.as_dict()), "reason": fit.reason}
            for series, fit in fits(found)
        ]
    return told


def fit_notes(found: Sweep) -> list[str]:
    """The saturation of each series in words."""
    return [f"saturation{_named(series)}: {_fit_said(fit)}" for series, fit in fits(found)]


def _named(series: Mapping[str, Value | None]) -> str:
    return "".join(f", {name} {'not stated' if value is None else value}" for name, value in series.items())


def _fit_said(fit: Fit) -> str:
    curve = fit.curve
    if curve is None:
        return f"none, {fit.reason}"
    high = "no upper bound" if curve.max_high_per_s is None else f"{curve.max_high_per_s:.4g}"
    between = (
        "" if curve.knee_low is None or curve.knee_high is None else f" ({curve.knee_low:.3g} to {curve.knee_high:.3g})"
    )
    return (
        f"step = {1e3 * curve.fixed_s:.4g} ms + {1e3 * curve.per_sample_s:.4g} ms x batch, "
        f"missing by {curve.miss:.1%}; "
        f"at most {curve.max_per_s:.4g} samples/s ({curve.max_low_per_s:.4g} to {high}), {curve.reached:.0%} of it at "
        f"the greatest batch; knee at batch {curve.knee_batch:.3g}{between}, 90 % at {curve.batch_at(0.9):.3g}"
    )
