"""What costs time, the dearest first: idle by cause, kernels below their roof, counters' idle units, host operators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof import units
from ds2prof.analysis import core, findings, kernels, memory, questions, samples
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.roofline import tables as roofline
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import short_name
from ds2prof.tables import Profile

WINDOW, BUSY, KERNELS, HOST = "window", "busy time", "time of kernels", "time of operators"
CYCLES, READINGS, COMPUTED, PEAK = "cycles of kernels", "sampled time", "computed seconds", "peak"
_LEAST: Final = 0.001
"""A share below which a loss is none."""
_PEAK: Final = "peak"
_WHOLE: Final = 0.9995
"""Coverage from which on it is not worth a word."""
_OF_DRIVER: Final = ("utilization.gpu", "GPUTL", "DCGM_FI_DEV_GPU_UTIL")
_OF_COMPUTE: Final = ("GRACT", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")


@dataclass(frozen=True)
class Loss:
    """One place where time (of a memory log: room) goes that no useful work needs.

    Attributes:
        kind: what sort of loss: idle, roof, unit, kernel, operator, readings, padding, memory.
        name: the cause of the ledger, the class, kernel or operator, the metric, the category.
        cost_ns: its time over all devices, None where the source tells a share alone.
        cost_bytes: its size, of a memory log.
        share: the cost over what ``of`` names.
        of: what the share is of.
        words: what it is, one sentence.
        details: where it was met, a line each; names in it are those of the file.
    """

    kind: str
    name: str
    cost_ns: int | None
    share: float | None
    of: str
    words: str
    details: tuple[str, ...] = ()
    cost_bytes: int | None = None


def of_timeline(profile: Profile) -> list[Loss]:
    """Idle and exposed time by cause (:mod:`.findings`), and the gain of each class of kernels.

    Costs are ns of device time, summed over devices: idle within the window, gains over the whole file. Blind spot: the
    two are not on one base (each names its own), and a roof is a bound that no kernel reaches.
    """
    found: list[Loss] = []
    with suppress(MissingDataError):  # the summary says that there is no window
        found += [_idle(each) for each in findings.findings(profile)]
    return _dearest([*found, *_below_roofs(profile)])


def _idle(found: findings.Finding) -> Loss:
    details = tuple(found.text.split("; ")[1:])
    return Loss("idle", found.cause, found.dur_ns, found.share, WINDOW, findings.WORDS[found.cause], details)


def _below_roofs(profile: Profile) -> list[Loss]:
    """For each class of kernels, its time less what it would take at the roof; nothing where no roof is known."""
    try:
        rows = roofline.gains(profile).rows()
        names = roofline.roofline(profile).rows()
    except MissingDataError:
        return []
    whole_ns = sum(row["dur_ns"] or 0 for row in names)
    known = [row for row in names if row.get("gain_ns") is not None]
    return [_below_roof(row, known, whole_ns) for row in rows if row["group"] == "class"]


def _below_roof(row: Mapping[str, Any], names: Iterable[Mapping[str, Any]], whole_ns: int) -> Loss:
    words = f"{row['name']} kernels reach {units.format_ratio(row['roof'], digits=1)} of their roof"
    details = [f"at the roof they would take {units.format_ns_short(row['attainable_ns'])}"]
    if row["coverage"] is not None and row["coverage"] < _WHOLE:
        details[0] += f" (work known for {units.format_ratio(row['coverage'], digits=1)} of their time)"
    own = [each for each in names if each["class"] == row["name"]]
    if len(own) > 1:
        dearest = max(own, key=lambda each: each["gain_ns"])
        details.append(f"{units.format_ns_short(dearest['gain_ns'])} of it in {dearest['name']}")
    share, of = row["gain_share"], BUSY
    if share is None:  # under replay nothing is known of busy time
        share, of = ratio(row["gain_ns"], whole_ns), KERNELS
    return Loss("roof", row["name"], row["gain_ns"], share, of, words, tuple(details))


def of_counters(profile: Profile) -> list[Loss]:
    """The gain of each class where a roof is known; else for each kernel the time that its busiest unit was not used.

    Formula: dur_ns x (1 - the largest of the kernel's utilizations); of a file without durations cycles take their
    place. Blind spot: a kernel that waits for memory shows
    little use of any unit without a unit being to blame, and under replay the clock is not that of the run.
    """
    found = _below_roofs(profile)
    return _dearest(found) if found else _dearest(_unused(profile))


def _unused(profile: Profile) -> list[Loss]:
    try:
        answer = kernels.kernel_times(profile)
    except MissingDataError:
        return []
    names = [name for name in questions.pipes(answer) if name != "achieved_occupancy"]
    whole_ns = sum(each for each in answer.columns["dur_ns"] if each is not None)
    cycles = {} if whole_ns else _cycles(profile)
    found = []
    for row in answer.rows():
        known = {name: row[name] for name in names if row[name] is not None}
        if row["dur_ns"] is not None:
            found.append(_unit(row, known, whole_ns) if known else _kernel(row, whole_ns))
        elif known and cycles.get(row["name"]):
            found.append(_unit_by_cycles(row, known, cycles))
    return found


def _cycles(profile: Profile) -> dict[str, float]:
    """Elapsed cycles of each short name, of launches that have them: what weighs where the file has no durations."""
    names = profile.table("kernels")["name"]
    cycles = core.launch_cycles(profile)
    known = ~np.isnan(cycles)
    sums = np.bincount(names.values[known], weights=cycles[known], minlength=len(names.categories or ()))
    found: dict[str, float] = defaultdict(float)
    for full, part in zip(names.categories or (), sums.tolist(), strict=True):
        found[short_name(full)] += part
    return found


def _unit_by_cycles(row: Mapping[str, Any], known: Mapping[str, float], cycles: Mapping[str, float]) -> Loss:
    busiest = max(known, key=lambda name: known[name])
    share = cycles[row["name"]] * max(1 - known[busiest], 0.0) / sum(cycles.values())
    return Loss("unit", row["name"], None, share, CYCLES, _reached(busiest, known), (_times(row["calls"]),))


def _unit(row: Mapping[str, Any], known: Mapping[str, float], whole_ns: int) -> Loss:
    busiest = max(known, key=lambda name: known[name])
    cost_ns = round(row["dur_ns"] * max(1 - known[busiest], 0.0))
    details = (f"{_times(row['calls'])}, {units.format_ns_short(row['dur_ns'])} under replay",)
    return Loss("unit", row["name"], cost_ns, ratio(cost_ns, whole_ns), KERNELS, _reached(busiest, known), details)


def _reached(busiest: str, known: Mapping[str, float]) -> str:
    reached = units.format_ratio(known[busiest], digits=1)
    return f"its busiest unit ({busiest.replace('_', ' ')}) reaches {reached} of its peak"


def _kernel(row: Mapping[str, Any], whole_ns: int) -> Loss:
    share = ratio(row["dur_ns"], whole_ns)  # how well it uses the chip is not known: the summary says so, once
    return Loss("kernel", row["name"], row["dur_ns"], share, KERNELS, _times(row["calls"]))


def of_host(profile: Profile) -> list[Loss]:
    """The operators of a run without a GPU that take most of the host's time, without what they call."""
    try:
        rows = kernels.kernel_times(profile).rows()
    except MissingDataError:
        return []
    return _dearest(
        Loss("operator", row["name"], row["excl_ns"], row["share"], HOST, _times(row["calls"]))
        for row in rows
        if row["excl_ns"] is not None
    )


def of_readings(profile: Profile) -> list[Loss]:
    """For each device, the share of the sampled time that its driver (or DCGM) saw no work in: 1 - the mean reading."""
    answer = samples.metrics(profile, each_core=False)
    found = []
    for row in answer.rows():
        of_driver = row["metric"] in _OF_DRIVER
        if (not of_driver and row["metric"] not in _OF_COMPUTE) or row["mean"] is None or row["unit"] != "ratio":
            continue
        where = "" if row["device"] is None else f" of device {row['device']}"
        how = "as a share of the driver's own periods; one kernel fills one" if of_driver else "as a share of cycles"
        words = f"time{where} without work: the readings average {units.format_ratio(row['mean'])}"
        found.append(Loss("readings", row["metric"], None, 1 - row["mean"], READINGS, words, (how,)))
    return sorted((each for each in found if (each.share or 0) >= _LEAST), key=lambda each: -(each.share or 0))


def of_log(totals: Mapping[str, Any]) -> list[Loss]:
    """Padding, where the log counts it: 1 - audio seconds over padded seconds."""
    share = ratio(totals.get("audio_s_per_s"), totals.get("padded_s_per_s"))
    if share is None or 1 - share < _LEAST:
        return []
    words = "padding: seconds that are computed and hold no speech"
    return [Loss("padding", "padding", None, 1 - share, COMPUTED, words)]


def of_memory(profile: Profile) -> list[Loss]:
    """What memory holds at its peak, the largest first."""
    at_peak = [row for row in memory.moments(profile).rows() if row["moment"] == _PEAK]
    if not at_peak:
        return []
    row = max(at_peak, key=lambda each: each["allocated_bytes"] or 0)
    sizes = {name: row[f"{name}_bytes"] or 0 for name in memory.CATEGORIES}
    return [
        Loss("memory", name, None, ratio(size, row["allocated_bytes"]), PEAK, "held at the peak", cost_bytes=size)
        for name, size in sorted(sizes.items(), key=lambda each: -each[1])
        if size
    ]


def _times(calls: int) -> str:
    return f"{calls:,} call{'' if calls == 1 else 's'}"


def _dearest(losses: Iterable[Loss]) -> list[Loss]:
    kept = [each for each in losses if each.cost_ns != 0 and (each.share is None or each.share >= _LEAST)]
    return sorted(kept, key=lambda each: (-(each.cost_ns or 0), -(each.share or 0)))


def as_answer(losses: Iterable[Loss]) -> Answer:
    """The losses as rows of the JSON document."""
    rows = list(losses)
    names = ("kind", "name", "cost_ns", "cost_bytes", "share", "of", "words", "details")
    return Answer("summary", {name: [getattr(row, name) for row in rows] for name in names})
