"""How long launches take to become work: time in the call, time in the queue, time on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer
from ds2prof.analysis.attribution import launches
from ds2prof.analysis.estimates.grouped import Spread, short_names, spread
from ds2prof.analysis.groups import combined, sorted_columns, summed
from ds2prof.analysis.windows import ends_ns
from ds2prof.errors import MissingDataError
from ds2prof.tables import BoolArray, IntArray, Profile

BY: Final = "latency"
TABLES: Final = ("kernels", "api")


@dataclass(frozen=True, eq=False)
class Latencies:
    """Of each launch whose call is known, as Nsight Systems' ``cuda_kern_exec_trace`` has them.

    Attributes:
        kernels: row of the kernels table.
        calls: row of the api table.
        launch_ns: time in the call.
        queue_ns: from the call's return to the kernel's start; 0 where it is not ``queued``.
        queued: whether the kernel began after the call had returned.
        kernel_ns: time on the device.
        total_ns: from the call's start to the kernel's end, or to the call's return where that is later.
    """

    kernels: IntArray
    calls: IntArray
    launch_ns: IntArray
    queue_ns: IntArray
    queued: BoolArray
    kernel_ns: IntArray
    total_ns: IntArray


def latencies(profile: Profile) -> Latencies:
    """The latencies of each launch that has times and whose call was recorded.

    Blind spots: times of the host and of the device are compared, whose clocks the tool has aligned to a microsecond or
    so; where several calls carry one correlation id the first to start counts (Nsight Systems lists each); a graph's
    kernels all count from the one call that launched them.
    """
    kernels, api = profile.table("kernels"), profile.table("api")
    call_of = launches(profile, "kernels")
    timed = kernels["start_ns"].present & kernels["dur_ns"].present
    rows = np.flatnonzero((call_of >= 0) & timed)
    calls = call_of[rows]
    called, returned = api.ints("start_ns")[calls], ends_ns(api)[calls]
    began, ended = kernels.ints("start_ns")[rows], ends_ns(kernels)[rows]
    queued = began > returned
    return Latencies(
        kernels=rows,
        calls=calls,
        launch_ns=returned - called,
        queue_ns=np.where(queued, began - returned, 0),
        queued=queued,
        kernel_ns=ended - began,
        total_ns=np.maximum(ended, returned) - called,
    )


def latency_table(profile: Profile) -> Answer:
    """Launch, queue and kernel times by short name, call and device; queue times of the launches that did queue.

    Raises:
        MissingDataError: no launch in the file has both its call and its times.
    """
    found = latencies(profile)
    if profile.meta.times != "real" or not len(found.kernels):
        raise MissingDataError(
            f"{profile.meta.file}: no launch with both its call and its times; record a timeline with the CUDA calls"
        )
    codes, rows = _groups(profile, found)
    count = len(rows)
    names, labels = short_names(profile.table("kernels")["name"])
    device = profile.table("kernels")["device"]
    columns: dict[str, Sequence[Any]] = {
        "name": [labels[code] for code in names[found.kernels[rows]].tolist()],
        "call": profile.table("api")["name"].take(found.calls[rows]).tolist(),
        "device": device.take(found.kernels[rows]).tolist(),
        "launches": np.bincount(codes, minlength=count).tolist(),
        "queued_launches": np.bincount(codes[found.queued], minlength=count).tolist(),
        "total_ns": summed(codes, found.total_ns, count).tolist(),
    }
    columns.update(_measures("launch", spread(codes, found.launch_ns, count)))
    columns.update(_measures("queue", spread(codes[found.queued], found.queue_ns[found.queued], count)))
    columns.update(_measures("kernel", spread(codes, found.kernel_ns, count)))
    return Answer(BY, sorted_columns(columns, by=("total_ns",)), _notes(profile, found))


def _groups(profile: Profile, found: Latencies) -> tuple[IntArray, IntArray]:
    """(group of each launch, one launch of each group)."""
    kernels, api = profile.table("kernels"), profile.table("api")
    names, _ = short_names(kernels["name"])
    keys = [names[found.kernels], api["name"].values[found.calls].astype(np.int64)]
    return combined([*keys, kernels.ints("device", null=-1)[found.kernels]])


def _measures(what: str, of: Spread) -> dict[str, Sequence[Any]]:
    return {
        f"{what}_mean_ns": of.mean,
        f"{what}_median_ns": of.median,
        f"{what}_min_ns": of.least,
        f"{what}_max_ns": of.greatest,
        f"{what}_std_ns": of.deviation,
    }


def _notes(profile: Profile, found: Latencies) -> tuple[str, ...]:
    notes = [
        "launch: in the call; queue: from its return to the kernel's start, of the queued launches alone; total: sum "
        "over launches from the call's start to the kernel's end"
    ]
    without = len(profile.table("kernels")) - len(found.kernels)
    return (*notes, *([f"{without} launches have no recorded call and are left out"] if without else []))
