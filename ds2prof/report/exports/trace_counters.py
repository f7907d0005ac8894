"""Counter tracks of a trace: how busy each device was, what its pipes did, what was sampled.

Busy share: the length of the union of kernels in a step of time over the step. Pipes: where counters are known for the
launches (they are in the file, or a replayed capture's were joined with it), work of the launches that run, over their
time and the SM clock; else whatever a sampler wrote into the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.totals import by_device
from ds2prof.analysis.uncertainty.covered import covered_before
from ds2prof.analysis.windows import ends_ns, timed
from ds2prof.report.exports.trace_places import UNKNOWN, device_pid
from ds2prof.report.exports.trace_rows import us
from ds2prof.tables import IntArray, Profile, Table

OWN_CATEGORY: Final = "ds2prof"
"""Category of the tracks that were worked out: a reader that knows none of it does not take them for measured ones."""
_MOST_STEPS: Final = 2_000
_CHUNK: Final = 1 << 15


@dataclass(frozen=True)
class Track:
    """One counter: a value from each time on.

    Attributes:
        name: what the viewer shows.
        series: the name of the value in it.
        category: of its events.
        device: whose; None is unknown.
        time_ns: in order; value: from then on.
    """

    name: str
    series: str
    category: str
    device: int | None
    time_ns: IntArray
    value: FloatArray

    def texts(self, *, base_ns: int, hosts: set[int]) -> Iterator[list[str]]:
        """The events, chunk by chunk."""
        pid = device_pid(UNKNOWN if self.device is None else self.device, hosts)
        name, category, series = json.dumps(self.name), json.dumps(self.category), json.dumps(self.series)
        head = f'{{"ph":"C","cat":{category},"name":{name},"pid":{pid},"tid":0,"ts":'
        for start in range(0, len(self.time_ns), _CHUNK):
            times = (self.time_ns[start : start + _CHUNK] - base_ns).tolist()
            values = self.value[start : start + _CHUNK].tolist()
            yield [
                f'{head}{us(at)},"args":{{{series}:{json.dumps(value)}}}}}'
                for at, value in zip(times, values, strict=True)
            ]


def busy_tracks(profile: Profile, *, step_ns: int | None = None) -> list[Track]:
    """For each device the share of each step of time in which a kernel ran, in percent.

    Formula: length(union of kernels in the step) / step; the last step may be shorter. Blind spot: one thread running
    is 100 %. Without ``step_ns`` the step is 1, 2 or 5 times a power of ten, at most 2,000 of them over the file.
    """
    kernels = timed(profile.table("kernels"))
    if not len(kernels):
        return []
    starts, ends = kernels.ints("start_ns"), ends_ns(kernels)
    low, high = int(starts.min()), int(ends.max())
    if high <= low:
        return []
    edges = _edges(low, high, step_ns or nice_step_ns(high - low))
    tracks = []
    for device, rows in by_device(kernels, Table("copies")):
        busy = np.diff(covered_before(starts[rows], ends[rows], edges))
        value = np.concatenate((100 * busy / np.diff(edges), [0.0]))
        tracks.append(Track(f"{_of(device)} busy", "busy %", OWN_CATEGORY, device, edges, _rounded(value)))
    return tracks


def nice_step_ns(length_ns: int) -> int:
    """The least of 1, 2, 5, 10, 20... us of which at most 2,000 cover the length."""
    step = 1_000
    for factor in _factors():
        if length_ns <= step * factor * _MOST_STEPS:
            return step * factor
    raise AssertionError("there is always a larger step")


def _factors() -> Iterator[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


def _edges(low: int, high: int, step_ns: int) -> IntArray:
    """From ``low`` to ``high`` in steps that begin at multiples of the step, the first and last cut."""
    inner = np.arange(low // step_ns + 1, -(-high // step_ns), dtype=np.int64) * step_ns
    return np.unique(np.concatenate(([low], inner, [high])).astype(np.int64))


def pipe_tracks(kernels: Table, utilization: Mapping[str, FloatArray]) -> list[Track]:
    """For each device and pipe the utilization by what runs, in percent, as a step function of time.

    Formula: at each time the sum over the running launches of their own utilization (kernels that run side by side add
    up). A launch whose utilization is not known adds nothing: the track is a lower bound where one runs.

    Args:
        kernels: launches with times.
        utilization: pipe -> ratio of each launch, NaN where unknown.
    """
    tracks = []
    starts, ends = kernels.ints("start_ns"), ends_ns(kernels)
    for device, mask in by_device(kernels, Table("copies")):
        for pipe, values in utilization.items():
            rows = np.flatnonzero(mask & ~np.isnan(values) & (ends > starts))
            if len(rows):
                times, level = _levels(starts[rows], ends[rows], 100 * values[rows])
                tracks.append(Track(f"{_of(device)} {pipe}", f"{pipe} %", OWN_CATEGORY, device, times, level))
    return tracks


def _levels(starts: IntArray, ends: IntArray, values: FloatArray) -> tuple[IntArray, FloatArray]:
    """(times at which the sum of the open intervals' values changes, the sum from then on); exactly 0 between them."""
    times = np.concatenate((starts, ends))
    order = np.argsort(times, kind="stable")
    changed = np.concatenate((values, -values))[order]
    opened = np.concatenate((np.ones(len(starts), np.int64), -np.ones(len(ends), np.int64)))[order]
    last = np.append(np.diff(times[order]) > 0, True)
    level = np.where(np.cumsum(opened)[last] > 0, np.cumsum(changed)[last], 0.0)
    return times[order][last], _rounded(np.maximum(level, 0.0))


def _rounded(percent: FloatArray) -> FloatArray:
    """To a millionth, which is more than a viewer shows."""
    return np.asarray(np.round(percent, 4), dtype=np.float64)


def sampled_tracks(profile: Profile) -> list[Track]:
    """The readings that the file itself holds, a track for each device, entity and metric; ratios in percent."""
    samples = profile.table("samples")
    usable = samples["start_ns"].present & ~np.isnan(samples["value"].values)
    samples = samples.take(usable & ~samples["launch"].present)
    devices = samples.ints("device", null=UNKNOWN)
    keys = np.stack([devices, samples["metric"].values, samples["entity"].values], axis=1).astype(np.int64)
    distinct, inverse = np.unique(keys, axis=0, return_inverse=True) if len(samples) else (keys, np.zeros(0, np.int64))
    tracks = []
    for place, (device, metric, entity) in enumerate(distinct.tolist()):
        rows = np.flatnonzero(inverse.reshape(-1) == place)
        rows = rows[np.argsort(samples.ints("start_ns")[rows], kind="stable")]
        tracks.append(_sampled(samples.take(rows), device, metric, entity))
    return tracks


def _sampled(samples: Table, device: int, metric: int, entity: int) -> Track:
    name = (samples["metric"].categories or ())[metric]
    unit = samples["unit"].tolist()[0]
    part = "" if entity < 0 else f" {(samples['entity'].categories or ())[entity]}"
    is_ratio = unit == "ratio"
    shown = "" if unit is None or is_ratio else f" ({unit})"
    of = None if device == UNKNOWN else device
    where = _of(of) if of is not None or not part else "host"
    scaled = samples["value"].values * (100.0 if is_ratio and name not in _RATIOS else 1.0)
    return Track(f"{where}{part} {name}{shown}", name, "hardware_counters", of, samples.ints("start_ns"), scaled)


_RATIOS: Final = ("GPU Utilization", "Est. SM Efficiency")
"""Metrics that other tools write as ratios, not in percent."""


def _of(device: int | None) -> str:
    return "GPU" if device is None else f"GPU {device}"
