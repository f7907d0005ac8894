"""The window from start to end as a strip: what each slice of it was used for. Its sums are the ledger's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.ledger_sets import busy_sets, worked_devices
from ds2prof.analysis.uncertainty.covered import covered_before
from ds2prof.report.html import charts
from ds2prof.report.html.model import Figure
from ds2prof.report.html.words import CAUSES
from ds2prof.tables import IntArray, Profile

SLICES: Final = 300
_MOST_DEVICES: Final = 8


@dataclass(frozen=True)
class Strip:
    """One device's window in slices.

    Attributes:
        edges_ns: where slices begin and end, from the start of the window.
        used_ns: cause -> ns of each slice.
    """

    edges_ns: IntArray
    used_ns: Mapping[str, IntArray]


def strip(profile: Profile, device: int | None, *, slices: int = SLICES) -> Strip:
    """The window of a device in equal slices, each with its ns of compute, exposed communication and exposed copies.

    Raises:
        MissingDataError: the profile has no window, or its operations have no times.
    """
    sets = busy_sets(profile, device)
    count = max(min(slices, sets.window.length_ns), 1)
    edges = sets.window.start_ns + np.arange(count + 1, dtype=np.int64) * sets.window.length_ns // count

    def covered(*parts: tuple[IntArray, IntArray]) -> IntArray:
        starts = np.concatenate([start for start, _ in parts])
        ends = np.concatenate([end for _, end in parts])
        found: IntArray = np.diff(covered_before(starts, ends, edges))
        return found

    compute = covered(sets.compute)
    kernels = covered(sets.compute, sets.communication)
    everything = covered(sets.compute, sets.communication, sets.copies)
    used = {
        "compute": compute,
        "exposed_communication": kernels - compute,
        "exposed_copy": everything - kernels,
    }
    return Strip(edges - sets.window.start_ns, used)


def strips(profile: Profile, ident: str) -> list[Figure]:
    """A figure for each device, eight at most."""
    made = []
    for place, device in enumerate(worked_devices(profile)[:_MOST_DEVICES]):
        found = strip(profile, device)
        lengths = np.maximum(np.diff(found.edges_ns), 1)
        shares = {cause: (used / lengths).tolist() for cause, used in found.used_ns.items() if used.any()}
        label = "the device" if device is None else f"device {device}"
        if shares:
            edges = found.edges_ns.tolist()
            made.append(charts.timeline_strip(f"{ident}-{place}", edges, shares, titles=CAUSES, label=label))
    return made
