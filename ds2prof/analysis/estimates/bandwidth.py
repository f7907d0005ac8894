"""How fast copies went, by where from and where to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.groups import combined, known_sums, sorted_columns, summed
from ds2prof.analysis.roofline.roof import device_peaks, peak_on
from ds2prof.errors import MissingDataError
from ds2prof.tables import IntArray, Profile, Table

BY: Final = "bandwidth"
TABLES: Final = ("copies", "devices")
SMALL_BYTES: Final = 64 << 10
"""Below it the cost of starting a copy outweighs that of its bytes on PCIe."""
_TEXTS: Final = ("name", "source_kind", "destination_kind")
_NOTE: Final = "bytes_per_s: bytes over the copies' own time, overlaps counted each; small: less than 64 KiB"
_PAGEABLE_NOTE: Final = (
    "pageable: goes through a pinned buffer of the driver's, a piece at a time, and holds up the host; pin the memory"
)

_FASTER_NOTE: Final = (
    "{}: faster than the device's memory ({:,.0f} GB/s): what was moved stayed in the cache, or the tool timed a part "
    "of it alone"
)


def bandwidth(profile: Profile) -> Answer:
    """Bytes, time and bandwidth of copies and sets by name, source and destination kind and device.

    Bandwidth = sum of bytes / sum of durations. Blind spots: of a pageable copy the device's part alone is timed, not
    what the host took to stage it; copies that ran at once shared the link, so that their own bandwidths add up to what
    it carried; a copy within a device passes its memory twice, and counts once. Absent where a size is not known.

    Raises:
        MissingDataError: no copies in the file.
    """
    copies = profile.table("copies")
    if not len(copies):
        raise MissingDataError(f"{profile.meta.file}: no copies in this file; drop --by bandwidth")
    codes, rows = combined([*(copies[name].values.astype(np.int64) for name in _TEXTS), copies.ints("device", null=-1)])
    count = len(rows)
    sizes, durations = (known_sums(codes, copies[name], count) for name in ("size_bytes", "dur_ns"))
    columns: dict[str, Sequence[Any]] = {name: copies[name].take(rows).tolist() for name in (*_TEXTS, "device")}
    columns["pageable"] = [_pageable(*kinds) for kinds in zip(*(columns[name] for name in _TEXTS[1:]), strict=True)]
    columns["copies"] = summed(codes, copies.ints("calls", null=1), count).tolist()
    columns["size_bytes"], columns["dur_ns"] = sizes, durations
    columns["bytes_per_s"] = [
        None if size is None or dur is None else ratio(size * 1e9, dur)
        for size, dur in zip(sizes, durations, strict=True)
    ]
    columns["small_copies"], columns["small_dur_ns"] = _small(copies, codes, count)
    notes = (_NOTE, _PAGEABLE_NOTE) if "yes" in columns["pageable"] else (_NOTE,)
    notes = (*notes, *_faster(profile, columns))
    return Answer(BY, sorted_columns(columns, by=("dur_ns", "copies")), notes)


def _faster(profile: Profile, columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """A note for each device on which rows went faster than its memory can, by the file or the table of peaks."""
    peaks, devices = device_peaks(profile), profile.table("devices")
    stated = dict(zip(devices["device"].tolist(), devices["memory_bandwidth_bytes_per_s"].tolist(), strict=True))
    said = []
    for device in dict.fromkeys(columns["device"]):
        peak = peak_on(peaks, device)
        most = stated.get(device) or (None if peak is None else peak.bandwidth_bytes_per_s)
        rows = zip(columns["name"], columns["device"], columns["bytes_per_s"], strict=True)
        if not most:
            continue
        names = [name for name, where, rate in rows if where == device and rate is not None and rate > most]
        if names:
            said.append(_FASTER_NOTE.format(", ".join(dict.fromkeys(names)), most / 1e9))
    return said


def _pageable(source: str | None, destination: str | None) -> str | None:
    """Whether a copy had pageable memory at one end; None where no end is known."""
    if source is None and destination is None:
        return None
    return "yes" if "pageable" in (source, destination) else "no"


def _small(copies: Table, codes: IntArray, count: int) -> tuple[list[int | None], list[int | None]]:
    """(number of small copies, their time); None where a row stands for many copies or has no size."""
    single = copies.ints("calls", null=1) == 1
    known = single & copies["size_bytes"].present
    small = known & (copies.ints("size_bytes") < SMALL_BYTES)
    lacking = np.bincount(codes[~known], minlength=count) > 0
    numbers = np.bincount(codes[small], minlength=count)
    times = summed(codes[small], copies.ints("dur_ns")[small], count)
    return tuple(  # type: ignore[return-value]
        [None if lack else value for value, lack in zip(values.tolist(), lacking.tolist(), strict=True)]
        for values in (numbers, times)
    )
