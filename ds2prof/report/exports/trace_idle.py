"""The idle time of each device as slices of a trace: a row on which every gap says why it is there.

A slice is a gap of the ledger (docs/LEDGER.md), named by the cause that took most of it; its arguments have the ns of
each. They sum to what the ledger says is idle, head and tail of the window included. Blind spots are the ledger's.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ds2prof.analysis import ledger
from ds2prof.analysis.host_timelines import CAUSES, CODE
from ds2prof.analysis.idle_causes import Oddities, splits
from ds2prof.analysis.ledger_sets import busy_sets, check_times, gaps_of, operations, worked_devices
from ds2prof.errors import MissingDataError
from ds2prof.report.exports.trace_places import IDLE, UNKNOWN
from ds2prof.report.exports.trace_rows import Layer
from ds2prof.tables import Column, IntArray, Profile, Table

TABLES: Final = ledger.TABLES
CATEGORY: Final = "ds2prof idle"
"""Not one that readers of PyTorch's traces know: idle time is worked out, and is no event of the program."""


def idle_layer(profile: Profile) -> Layer | None:
    """The gaps of all devices with their causes; None where the profile cannot be accounted for or was never idle."""
    try:
        check_times(profile)
        found = [(device, *_gaps(profile, device)) for device in worked_devices(profile)]
    except MissingDataError:
        return None
    parts = [
        (np.full(len(start), UNKNOWN if device is None else device), start, end, causes)
        for device, start, end, causes in found
    ]
    devices, start_ns, end_ns = (np.concatenate([part[place] for part in parts]) for place in range(3))
    causes_ns = np.concatenate([part[3] for part in parts])
    if not len(devices):
        return None
    table = Table(
        "ranges",
        {
            "name": Column(causes_ns.argmax(axis=1).astype(np.int32), None, CAUSES),
            "start_ns": Column(start_ns),
            "dur_ns": Column(end_ns - start_ns),
        },
    )
    nothing = np.zeros(len(devices), dtype=np.int64)
    kinds, nobody = np.full(len(devices), IDLE), np.full(len(devices), UNKNOWN)
    rows = np.arange(len(devices))
    used = np.flatnonzero(causes_ns.any(axis=0)).tolist()
    extra = {f"{CAUSES[code]}_ns": Column(causes_ns[:, code], causes_ns[:, code] > 0) for code in used}
    return Layer(table, rows, start_ns, end_ns, kinds, devices, nobody, nothing, (CATEGORY,), extra=extra)


def _gaps(profile: Profile, device: int | None) -> tuple[IntArray, IntArray, IntArray]:
    """(start, end, ns of each cause) of the stretches of the device's window in which nothing ran."""
    sets = busy_sets(profile, device)
    window, (starts, ends) = sets.window, sets.busy
    edge = np.array([window.start_ns])
    waits = gaps_of(profile, operations(profile, device), (np.append(edge, starts), np.append(edge, ends)))
    causes_ns = np.zeros((len(waits), len(CAUSES)), dtype=np.int64)
    head = waits.start_ns == window.start_ns
    if len(starts) and int(starts[0]) == window.start_ns:
        head[:] = False
    causes_ns[head, CODE["head"]] = (waits.end_ns - waits.start_ns)[head]
    rest = np.flatnonzero(~head)
    for split in splits(profile, waits.take(rest), Oddities()):
        causes_ns[rest[split.rows]] += split.causes_ns
    last, cause = (int(ends[-1]), "tail") if len(ends) else (window.start_ns, "head")
    if last >= window.stop_ns:
        return waits.start_ns, waits.end_ns, causes_ns
    closing = np.zeros((1, len(CAUSES)), dtype=np.int64)
    closing[0, CODE[cause]] = window.stop_ns - last
    return (
        np.append(waits.start_ns, last),
        np.append(waits.end_ns, window.stop_ns),
        np.concatenate((causes_ns, closing)),
    )
