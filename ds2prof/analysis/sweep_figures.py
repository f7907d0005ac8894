"""The figures of a sweep that one measurement tells: rates, step time, utilization, memory, pipes, each with bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ds2prof import units
from ds2prof.analysis import core, memory, sampled_gpus, samples, throughput, totals
from ds2prof.analysis.roofline import mfu
from ds2prof.analysis.uncertainty import iterations
from ds2prof.analysis.uncertainty.bootstrap import Interval
from ds2prof.tables import Profile

TABLES: Final = tuple(
    dict.fromkeys(
        (*totals.TABLES, *core.TABLES, *iterations.TABLES, *throughput.TABLES, *memory.TABLES, "samples", "devices")
    )
)
Kind = Literal["run log", "timeline", "counters", "memory", "samples"]


@dataclass(frozen=True)
class Figure:
    """One number of one measurement.

    Attributes:
        value: in base units.
        low, high: its bounds; None where there are none.
        bounds: what they are: ``interval`` (95 %, of repeated iterations), ``range`` (least and greatest), None.
    """

    value: float
    low: float | None = None
    high: float | None = None
    bounds: Literal["interval", "range"] | None = None


def kind_of(profile: Profile) -> Kind:
    """What sort of measurement a profile is."""
    if throughput.is_run_log(profile):
        return "run log"
    if memory.has_memory(profile):
        return "memory"
    if samples.has_samples(profile):
        return "samples"
    return "counters" if profile.meta.times == "replay" or core.has_counters(profile) else "timeline"


def figures_of(profile: Profile, *, batch: int | None) -> dict[str, Figure]:
    """Name of a figure -> its value in this measurement; what it does not tell is left out.

    ``samples_per_s`` of a run log is the rate between its fences; of a timeline it is batch / step time, slowed by the
    profiler that looked on (``profiled_samples_per_s``). ``driver_utilization``, ``device_used_bytes`` and
    ``power_watt`` are a sampler's: the mean over the GPUs, the greatest reading, the sum over the GPUs.
    """
    make = {"run log": _of_log, "memory": _of_memory, "samples": _of_samples}.get(kind_of(profile))
    found = make(profile) if make is not None else _of_profiler(profile, batch)
    return {name: figure for name, figure in found if figure is not None}


def _of_log(profile: Profile) -> Iterator[tuple[str, Figure | None]]:
    stated = throughput.throughput(profile)
    told = iterations.totals(profile)
    intervals: Mapping[str, Mapping[str, Any]] = told.get("intervals", {})
    for name, value in stated.items():
        yield name, _figure(value, intervals.get(name))
    if stated.get("samples_per_s") is not None:
        yield "step_ns", _figure(told.get("step_ns"), intervals.get("step_ns"))
    else:  # a profiler looked on
        yield "profiled_step_ns", _figure(told.get("step_ns"), intervals.get("step_ns"))
    yield from _flop(profile)


def _flop(profile: Profile) -> Iterator[tuple[str, Figure | None]]:
    found = mfu.totals(profile)
    for name in ("mfu", "hfu"):
        yield name, _figure(found.get(name))


def _of_memory(profile: Profile) -> Iterator[tuple[str, Figure | None]]:
    found = memory.totals(profile)
    for name in ("peak_bytes", "reserved_bytes", "state_bytes", "activation_bytes"):
        yield name, _figure(found.get(name))


def _of_samples(profile: Profile) -> Iterator[tuple[str, Figure | None]]:
    gpus = sampled_gpus.totals(samples.metrics(profile))

    def known(name: str) -> list[float]:
        return [gpu[name] for gpu in gpus if gpu[name] is not None]

    if known("utilization"):
        yield "driver_utilization", _figure(float(np.mean(known("utilization"))))
    if known("memory_used_bytes"):
        yield "device_used_bytes", _figure(max(known("memory_used_bytes")))
    if known("power_watt") and len(known("power_watt")) == len(gpus):
        yield "power_watt", _figure(sum(known("power_watt")))


def _of_profiler(profile: Profile, batch: int | None) -> Iterator[tuple[str, Figure | None]]:
    if core.has_counters(profile):
        yield from _pipes(profile)
    if profile.meta.times != "real" or profile.meta.domain == "cpu":
        return
    told = iterations.totals(profile)
    intervals: Mapping[str, Mapping[str, Any]] = told.get("intervals", {})
    name = "gpu_compute_utilization"
    yield name, _figure(totals.totals(profile).gpu_compute_utilization, intervals.get(name))
    step = _figure(told.get("step_ns"), intervals.get("step_ns"))
    yield "profiled_step_ns", step
    if step is not None and batch is not None and step.value:
        yield "profiled_samples_per_s", _rate(step, batch)
    yield from _flop(profile)


def _rate(step: Figure, batch: int) -> Figure:
    """Batch over step time, with the bounds of the step turned round."""
    low, high = (
        None if bound is None or bound <= 0 else batch * units.NS_PER_S / bound for bound in (step.high, step.low)
    )
    return Figure(batch * units.NS_PER_S / step.value, low, high, step.bounds)


def _pipes(profile: Profile) -> Iterator[tuple[str, Figure | None]]:
    """Each pipe's utilization while kernels ran; over several devices its mean, with the range of them."""
    by_pipe: dict[str, list[float]] = {}
    for row in core.core_utilization(profile).rows():
        if row["utilization"] is not None:
            by_pipe.setdefault(row["pipe"], []).append(row["utilization"])
    for pipe, values in by_pipe.items():
        yield pipe, together([Figure(value) for value in values])


def together(figures: list[Figure]) -> Figure:
    """One figure for several of the same: their mean, and the range of them; of one alone that itself."""
    if len(figures) == 1:
        return figures[0]
    values = [figure.value for figure in figures]
    return Figure(float(np.mean(values)), min(values), max(values), "range")


def _figure(value: float | None, interval: Mapping[str, Any] | Interval | None = None) -> Figure | None:
    """The figure with the interval's bounds, where it has any."""
    if value is None:
        return None
    told = interval.as_dict() if isinstance(interval, Interval) else interval or {}
    bounds = told.get("kind")
    if bounds not in ("interval", "range") or told.get("low") is None:
        return Figure(value)
    return Figure(value, told["low"], told["high"], bounds)
