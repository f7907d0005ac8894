"""The host's processor cores in a sampler's readings: how busy all of them were, and which of them most."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ds2prof.analysis.answers import Answer
from ds2prof.tables import Table

UTILIZATION: Final = "cpu.utilization"
THREAD: Final = "program.busiest_thread"
NOTES: Final = {
    UTILIZATION: "cpu.utilization: of the whole host, other programs included; the kernel counts it in ticks (10 ms)",
    "cpu.quota_exhausted": "cpu.quota_exhausted: share of its periods in which the container's quota ran out",
    THREAD: "program.busiest_thread: of one core; near 100 % one thread limits the host, however idle other cores are",
}
"""Metric -> what its reader must know."""
ABOVE: Final = 0.9
_CORE: Final = re.compile(r"core (\d+)")
_RUN: Final = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def has_cores(table: Table) -> bool:
    """Whether the readings hold those of the host."""
    return UTILIZATION in (table["metric"].categories or ())


def totals(answer: Answer, facts: Mapping[str, Any]) -> dict[str, Any]:
    """How busy the host was, by the means of ``answer``.

    ``host_cpu_utilization`` is the sum over cores of active time / (cores x elapsed), as TBD defines it: active is
    user, nice, system and interrupts; not steal, and not waiting for input or output. Blind spot: two threads on one
    physical core count as two cores, and both as busy.

    Args:
        answer: by metric, with each core.
        facts: what the file says once: which cores the program may use.
    """
    mean_of = _core_means(answer)
    allowed = _numbers(facts.get("cpu.allowed"))
    usable = [mean for core, mean in mean_of.items() if core in allowed]
    busiest = max(mean_of, key=lambda core: mean_of[core], default=None)
    return {
        "host_cpu_utilization": _mean(answer, UTILIZATION),
        "host_cores": len(mean_of) or None,
        "allowed_cores": len(allowed) or None,
        "allowed_cpu_utilization": sum(usable) / len(usable) if usable and len(usable) == len(allowed) else None,
        "cores_above_90_percent": sum(mean > ABOVE for mean in mean_of.values()) if mean_of else None,
        "busiest_core": busiest,
        "busiest_core_utilization": None if busiest is None else mean_of[busiest],
        "program_cores": _mean(answer, "program.cpu"),
        "busiest_thread_utilization": _mean(answer, THREAD),
    }


def together(columns: Mapping[str, list[Any]]) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """(the columns with one row for all cores, a note that says so): its extremes are those of the cores' means."""
    entities, metrics = columns["entity"], columns["metric"]
    rows = [at for at, metric in enumerate(metrics) if metric == UTILIZATION and _core_of(entities[at]) is not None]
    if len(rows) < 2:
        return dict(columns), ()
    kept = [at for at in range(len(metrics)) if at not in set(rows[1:])]
    merged = {name: [values[at] for at in kept] for name, values in columns.items()}
    place = kept.index(rows[0])
    means = [columns["mean"][at] for at in rows if columns["mean"][at] is not None]
    merged["entity"][place] = f"{len(rows)} cores"
    merged["readings"][place] = sum(columns["readings"][at] for at in rows)
    merged["mean"][place] = sum(means) / len(means) if means else None
    merged["min"][place], merged["max"][place] = min(means, default=None), max(means, default=None)
    note = f"{len(rows)} cores: min and max are the means of the idlest and the busiest core; --by metric has each"
    return merged, (note,)


def _core_means(answer: Answer) -> dict[int, float]:
    """The mean of each core that has one."""
    rows = zip(*(answer.columns[name] for name in ("metric", "entity", "mean")), strict=True)
    found = ((_core_of(entity), mean) for metric, entity, mean in rows if metric == UTILIZATION)
    return {core: mean for core, mean in found if core is not None and mean is not None}


def _core_of(entity: str | None) -> int | None:
    found = _CORE.fullmatch(entity or "")
    return int(found.group(1)) if found else None


def _mean(answer: Answer, name: str) -> float | None:
    """The mean of a metric of the whole host."""
    rows = zip(*(answer.columns[key] for key in ("metric", "entity", "device", "mean")), strict=True)
    return next((mean for metric, entity, device, mean in rows if (metric, entity, device) == (name, None, None)), None)


def _numbers(text: Any) -> frozenset[int]:
    """The numbers of ``0-3 8``; none where that is not what it says."""
    runs = [_RUN.fullmatch(run) for run in text.split()] if isinstance(text, str) else []
    found: set[int] = set()
    for run in runs:
        if run is None or len(found) > 1 << 16:
            return frozenset()
        first, last = int(run.group(1)), int(run.group(2) or run.group(1))
        found.update(range(first, min(last, first + (1 << 16)) + 1))
    return frozenset(found)
