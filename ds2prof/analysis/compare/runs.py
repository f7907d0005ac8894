"""One run of a side, made small enough to be kept while the other files are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Final, Literal

import numpy as np

from ds2prof.analysis import memory, questions, samples, throughput
from ds2prof.analysis.compare.breakdown import Breakdown, breakdowns, whole_of
from ds2prof.analysis.compare.decisions import Sample
from ds2prof.analysis.compare.fields import FIELDS, OF_KERNELS, combined_value
from ds2prof.analysis.compare.frames import Series
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.uncertainty.iterations import Iterations, busy_parts, iterations_of, padded_of
from ds2prof.analysis.windows import time_window
from ds2prof.errors import MissingDataError
from ds2prof.tables import Meta, Profile

Kind = Literal["timeline", "counters", "memory", "log", "samples"]
KINDS: Final[tuple[Kind, ...]] = ("timeline", "counters", "memory", "log")
"""What can be compared; where both sides have several kinds, the first that both have is."""
NOUNS: Final[Mapping[Kind, str]] = {
    "timeline": "timelines",
    "counters": "captures of counters",
    "memory": "captures of memory",
    "log": "run logs",
    "samples": "sampled readings",
}
_RANK: Final = re.compile(r"[._-]?rank[-_]?([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_BATCH: Final = re.compile(r"_bs([0-9]{1,9})(?![0-9])")
_OWN_NAME: Final = re.compile(r"[a-z]+(?:_[0-9]+)?(_bs[0-9]+(?:_[A-Za-z0-9.-]+?)?)(?:\.[a-z-]+){1,2}")


def tables() -> tuple[str, ...]:
    """The tables that a comparison reads."""
    wanted = [name for by in ("ledger", "phase", "layer", "iteration") for name in questions.tables_for(by)]
    return tuple(dict.fromkeys([*wanted, "ops", "modules", "iterations", "samples", "memory", "processes", "devices"]))


@dataclass(frozen=True, eq=False)
class Part:
    """What one profile contributes to a run.

    Attributes:
        meta, warnings: of the profile.
        kind: what kind of measurement it is.
        devices: names of the GPUs that did work.
        window_source: where its window came from.
        steps: the host's time of each iteration that counts.
        wall: iterations -> all rates that a run log has, each a series.
        totals: numbers of the whole file.
        unit: what the breakdowns are of: a ``step``, a ``window``, a ``capture``.
        by: key -> its breakdown.
        padded: iteration -> padded seconds of a sample, of a run log.
        iterations: how many the file marks, warm-up among them; None where it marks none.
    """

    meta: Meta
    warnings: tuple[str, ...]
    kind: Kind
    devices: tuple[str, ...]
    window_source: str | None
    series: Mapping[str, Series]
    totals: Mapping[str, float]
    by: Mapping[str, Breakdown]
    padded: Mapping[int, float] = field(default_factory=dict)
    iterations: int | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a side: one profile, or those of its ranks.

    Attributes:
        name: file of the first rank.
        parts: a part a rank.
        series: field -> its series; one row of the whole file where it is not known by iteration.
        by: key -> breakdown, a mean over ranks.
    """

    name: str
    parts: tuple[Part, ...]
    series: Mapping[str, Series]
    by: Mapping[str, Breakdown]

    @property
    def kind(self) -> Kind:
        """What kind of measurement it is."""
        return self.parts[0].kind


def part_of(profile: Profile) -> Part:
    """What a profile contributes."""
    kind = _kind(profile)
    found = None if kind in ("memory", "samples", "counters") else iterations_of(profile)
    totals = {} if kind == "samples" else questions.totals_of(profile)
    is_empty = totals.get("launches") == 0  # no kernel was recorded: its sums of 0 would pass for the best of runs
    known = {
        name: float(totals[name])
        for name in FIELDS
        if isinstance(totals.get(name), (int, float)) and not (is_empty and name in OF_KERNELS)
    }
    window = None if kind in ("log", "memory", "samples") else time_window(profile)
    by = breakdowns(profile, found) if kind in ("timeline", "counters") else {}
    series = {} if found is None else _series(profile, found)
    if any(one.unit == "step" for one in by.values()):
        series["device_step_ns"] = whole_of(next(one for one in by.values() if one.unit == "step"))
    return Part(
        meta=profile.meta,
        warnings=profile.warnings,
        kind=kind,
        devices=_devices(profile),
        window_source=None if window is None else window.source,
        series=series,
        totals=known,
        by=by,
        padded=padded_of(profile) if kind == "log" and len(profile.table("iterations")) else {},
        iterations=None if found is None else len(found.keys),
    )


def _kind(profile: Profile) -> Kind:
    if throughput.is_run_log(profile):
        return "log"
    if memory.has_memory(profile):
        return "memory"
    if samples.has_samples(profile):
        return "samples"
    return "counters" if profile.meta.times == "replay" else "timeline"


def _series(profile: Profile, found: Iterations) -> dict[str, Series]:
    """What is known by iteration: the host's step, the busy share; of a log its rates."""
    rows = np.flatnonzero(found.counted)
    keys = tuple(found.keys[row] for row in rows.tolist())
    if not len(rows):
        return {}
    lengths = _lengths(profile, keys)
    times = found.times_ns[rows]
    made = {"step_ns": Series(Sample(times[:, None]), keys, lengths)}
    busy = busy_parts(profile, found)
    if busy is not None:
        parts, wholes = (each[rows].astype(np.float64)[:, None] for each in busy)
        made["gpu_compute_utilization"] = Series(Sample(parts, wholes), keys, lengths)
    if found.starts_ns is None and profile.meta.facts.get("profiler") is None and profile.meta.facts.get("stretch"):
        table = profile.table("iterations")
        for name in ("samples", "audio_s", "padded_s"):
            column = table[name]
            values = np.where(column.present, column.values, np.nan)[rows]
            if np.isfinite(values).all():
                made[f"{name}_per_s"] = Series(Sample(values[:, None], times[:, None] / 1e9), keys, lengths)
    return made


def _lengths(profile: Profile, keys: Sequence[str | int]) -> FloatArray | None:
    if not len(profile.table("iterations")):
        return None
    return _looked_up(padded_of(profile), keys)


def _looked_up(padded: Mapping[int, float], keys: Sequence[str | int]) -> FloatArray:
    return np.array([padded.get(key, np.nan) if isinstance(key, int) else np.nan for key in keys], dtype=np.float64)


def _devices(profile: Profile) -> tuple[str, ...]:
    devices = profile.table("devices")
    kernels = profile.table("kernels")
    used = set(np.unique(kernels.ints("device")[kernels["device"].present]).tolist())
    rows = zip(devices["device"].tolist(), devices["name"].tolist(), strict=True)
    found = tuple(name for device, name in rows if name and (device in used or not used))
    stated = (profile.meta.run or {}).get("devices") or ()
    named = tuple(str(each.get("name")) for each in stated if isinstance(each, dict) and each.get("name"))
    return found or named


def batch_size_of(meta: Meta) -> int | None:
    """The batch size: as the sidecar or the log states it, else as the file's name does."""
    for stated in ((meta.run or {}).get("batch_size"), meta.facts.get("batch_size")):
        if isinstance(stated, int):
            return stated
    named = _BATCH.search(PurePath(meta.file).name)
    return int(named[1]) if named else None


def runs_of(parts: Sequence[Part]) -> list[Run]:
    """The runs: profiles whose names differ in their rank alone are one, and run logs lend timelines their lengths.

    Profiles that tell a rank of several but have no rank in their names: the first of each rank are one run, then the
    second.
    """
    groups: dict[tuple[str, str, int], list[Part]] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for part in parts:
        name = _RANK.sub("", part.meta.file)
        place = 0
        world = part.meta.facts.get("world_size")
        if name == part.meta.file and part.meta.rank is not None and isinstance(world, int) and world > 1:
            name = str(PurePath(name).parent)
            same = (part.kind, name, str(part.meta.rank))
            place = seen[same] = seen.get(same, -1) + 1
        groups.setdefault((part.kind, name, place), []).append(part)
    lent = {_own_name(part.meta.file): part.padded for part in parts if part.padded}
    return [_run([_with_lengths(part, lent) for part in group]) for group in groups.values()]


def _own_name(file: str) -> str | None:
    """What a measurement's name has in common with that of its run log: folder, batch size and tag."""
    path = PurePath(_RANK.sub("", file))
    found = _OWN_NAME.fullmatch(path.name)
    return None if found is None else f"{path.parent}/{found[1]}"


def _with_lengths(part: Part, lent: Mapping[str | None, Mapping[int, float]]) -> Part:
    padded = lent.get(_own_name(part.meta.file) or "")
    if part.kind != "timeline" or not padded:
        return part
    series = {name: _lengthened(one, padded) for name, one in part.series.items()}
    by = {key: replace(one, lengths=_looked_up(padded, one.keys or ())) for key, one in part.by.items()}
    return replace(part, series=series, by=by)


def _lengthened(series: Series, padded: Mapping[int, float]) -> Series:
    return series if series.keys is None else replace(series, lengths=_looked_up(padded, series.keys))


def _run(parts: Sequence[Part]) -> Run:
    """The ranks of one run put together: a step takes as long as on its slowest rank, breakdowns are means."""
    ordered = sorted(parts, key=lambda part: (part.meta.rank is None, part.meta.rank or 0))
    names = dict.fromkeys(name for part in ordered for name in (*part.series, *part.totals))
    series = {}
    for name in names:
        found = [part.series[name] for part in ordered if name in part.series]
        if len(found) == len(ordered):
            series[name] = _together(name, found)
        elif all(name in part.totals for part in ordered):
            series[name] = Series(Sample(np.array([[combined_value(name, [part.totals for part in ordered])]])))
    keys = [key for key in ordered[0].by if all(key in part.by for part in ordered)]
    by = {key: Breakdown.mean([part.by[key] for part in ordered]) for key in keys}
    return Run(ordered[0].meta.file, tuple(ordered), series, by)


def _together(name: str, ranks: Sequence[Series]) -> Series:
    """The series of several ranks as one, over the iterations that all have."""
    if len(ranks) == 1:
        return ranks[0]
    places = [{key: row for row, key in enumerate(one.keys or ())} for one in ranks]
    shared = [key for key in places[0] if all(key in place for place in places)]
    if not shared:
        raise MissingDataError("the ranks of a run have no iteration in common; capture all of them in one window")
    aligned = [one.take(np.array([place[key] for key in shared])) for one, place in zip(ranks, places, strict=True)]
    parts = np.stack([one.sample.parts for one in aligned])
    wholes = [one.sample.wholes for one in aligned if one.sample.wholes is not None]
    if name == "step_ns":
        sample = Sample(parts.max(axis=0))
    elif name.endswith("_per_s"):
        sample = Sample(parts.sum(axis=0), np.stack(wholes).max(axis=0))
    elif wholes:
        sample = Sample(parts.sum(axis=0), np.stack(wholes).sum(axis=0))
    else:
        sample = Sample(parts.mean(axis=0))
    return Series(sample, aligned[0].keys, aligned[0].lengths)


def sides_kind(base: Sequence[Run], new: Sequence[Run]) -> Kind:
    """The kind of measurement that is compared.

    Raises:
        MissingDataError: the two sides have none in common.
    """
    kinds = [{run.kind for run in side} for side in (base, new)]
    for kind in KINDS:
        if all(kind in found for found in kinds):
            return kind
    told = (" and ".join(sorted(NOUNS[kind] for kind in found)) for found in kinds)
    raise MissingDataError("BASE has {}, NEW has {}: nothing to compare; give the same kind twice".format(*told))


def facts_of(run: Run) -> dict[str, Any]:
    """Plain facts of a run for documents."""
    return {"name": run.name, "files": [part.meta.file for part in run.parts], "ranks": len(run.parts)}
