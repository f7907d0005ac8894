"""What one profile contributes to a run: for each of its devices a lane, small enough to be sent about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

import numpy as np

from ds2prof.analysis import steps, windows
from ds2prof.analysis.answers import ratio
from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.intervals import clipped, union_ns
from ds2prof.analysis.ranks.communication import Communication, communication, is_communication
from ds2prof.analysis.totals import devices_of, rows_of
from ds2prof.analysis.windows import TimeWindow, ends_ns
from ds2prof.errors import MissingDataError
from ds2prof.tables import BoolArray, IntArray, Profile, Table

TABLES: Final = (*windows.TABLES, "devices", "processes", "collectives")
_RANK: Final = re.compile(r"(?:\A|[^a-z])rank[-_]?([0-9]{1,9})(?![0-9])", re.IGNORECASE)
Spans = tuple[IntArray, IntArray]


@dataclass(frozen=True)
class Sums:
    """A device's time in its window, integer ns: compute, both exposed parts and idle sum to the window.

    Attributes:
        compute_ns: length of the union of kernels that do not communicate.
        communication_ns: length of the union of those that do.
        overlapped_ns: of that, while a kernel of the others ran.
        exposed_communication_ns: of that, while none did.
        exposed_copy_ns: copies and sets while no kernel ran.
        idle_ns: the rest.
    """

    compute_ns: int
    communication_ns: int
    overlapped_ns: int
    exposed_communication_ns: int
    exposed_copy_ns: int
    idle_ns: int

    @property
    def overlap(self) -> float | None:
        """Share of the communication time that compute ran beside; None without communication."""
        return ratio(self.overlapped_ns, self.communication_ns)


@dataclass(frozen=True, eq=False)
class Lane:
    """One device as one profile saw it.

    Attributes:
        file: name to show.
        rank: of the distributed run; None where neither the profile nor the file's name tells.
        host, device: where it was.
        world_size: how many ranks the run had, where the profile tells.
        window: the stretch that the sums are of.
        sums: the device's time.
        steps: how many iterations were seen whole on the device.
        step_ns: their median length.
        resolution_ns: the step of the profile's timestamps.
        communication: the communication kernels, of the whole profile.
    """

    file: str
    rank: int | None
    host: str | None
    device: int | None
    world_size: int | None
    window: TimeWindow
    sums: Sums
    steps: int
    step_ns: int | None
    resolution_ns: int
    communication: Communication


def lanes_of(profile: Profile) -> list[Lane]:
    """The lanes of one profile, a device each.

    Raises:
        MissingDataError: the profile has no device work with real times.
    """
    profile.require(*TABLES)
    kernels = profile.table("kernels")
    timed = kernels["start_ns"].present & kernels["dur_ns"].present
    window = windows.time_window(profile)
    if profile.meta.times != "real" or window is None or not timed.any():
        raise MissingDataError(f"{profile.meta.file}: no part of a run of ranks: {_why_not(profile)}")
    talks = is_communication(kernels)
    devices = sorted(devices_of(kernels.take(timed)), key=lambda device: (device is None, device or 0))
    return [_lane(profile, device, window, timed & rows_of(kernels, device), talks) for device in devices]


def _why_not(profile: Profile) -> str:
    """Why a profile has no lanes, and what would."""
    if profile.meta.domain == "cpu":
        return "a run without a GPU has no device work"
    why = "its times are of replayed launches" if profile.meta.times == "replay" else "it has no times of kernels"
    return f"{why}; give timelines (nsys, torch)"


def _lane(profile: Profile, device: int | None, window: TimeWindow, mine: BoolArray, talks: BoolArray) -> Lane:
    kernels, copies = profile.table("kernels"), profile.table("copies")
    own_copies = windows.timed(copies.take(rows_of(copies, device)))
    if window.source == windows.OPERATIONS:
        window = windows.from_operations(kernels.take(mine), own_copies) or window
    lengths = _step_lengths(profile, device)
    alone = len(devices_of(kernels)) < 2
    world_size = profile.meta.facts.get("world_size")
    return Lane(
        file=profile.meta.file,
        rank=_rank(profile, kernels.take(mine), alone=alone),
        host=_host(profile),
        device=device,
        world_size=world_size if isinstance(world_size, int) else None,
        window=window,
        sums=sums_in(window, kernels.take(mine & ~talks), kernels.take(mine & talks), own_copies),
        steps=len(lengths),
        step_ns=int(np.median(lengths)) if lengths else None,
        resolution_ns=profile.meta.time_resolution_ns or 1,
        communication=communication(profile, np.flatnonzero(mine & talks)),
    )


def sums_in(window: TimeWindow, compute: Table, talk: Table, copies: Table) -> Sums:
    """The sums of one device's work in a window, from its kernels that compute, those that communicate, its copies."""
    x, n, c = (_inside(window, table) for table in (compute, talk, copies))
    compute_ns, talk_ns = union_ns(*x), union_ns(*n)
    kernels_ns = union_ns(*_both(x, n))
    all_ns = union_ns(*_both(_both(x, n), c))
    return Sums(
        compute_ns=compute_ns,
        communication_ns=talk_ns,
        overlapped_ns=compute_ns + talk_ns - kernels_ns,
        exposed_communication_ns=kernels_ns - compute_ns,
        exposed_copy_ns=all_ns - kernels_ns,
        idle_ns=window.length_ns - all_ns,
    )


def _inside(window: TimeWindow, table: Table) -> Spans:
    return clipped(table.ints("start_ns"), ends_ns(table), lo_ns=window.start_ns, hi_ns=window.stop_ns)


def _both(one: Spans, other: Spans) -> Spans:
    return np.concatenate((one[0], other[0])), np.concatenate((one[1], other[1]))


def _step_lengths(profile: Profile, device: int | None) -> list[int]:
    found = steps.device_steps(profile, belonging(profile, "iteration"), device)
    return [step[1] - step[0] for step in found if step is not None]


def _rank(profile: Profile, kernels: Table, *, alone: bool) -> int | None:
    """The rank: as the profile tells of itself or of the process that the kernels belong to, else as its name has it.

    What is told of a whole file is no rank of a device where the file holds several.
    """
    if alone and profile.meta.rank is not None:
        return profile.meta.rank
    processes = profile.table("processes")
    rank_of = dict(zip(processes["process"].tolist(), processes["rank"].tolist(), strict=True))
    own = {rank_of.get(process) for process in np.unique(kernels.ints("process")[kernels["process"].present]).tolist()}
    if len(own) == 1 and None not in own:
        return own.pop()
    named = _RANK.search(PurePath(profile.meta.file.rpartition(":")[2]).name) if alone else None
    return int(named[1]) if named else None


def _host(profile: Profile) -> str | None:
    """The host's name, where the profile tells of one alone."""
    hosts = {host for host in profile.table("processes")["host"].tolist() if host}
    if len(hosts) == 1:
        return str(hosts.pop())
    stated = profile.meta.facts.get("host_name")
    return stated if isinstance(stated, str) and stated and not hosts else None
