"""The ledger in words: what idle time was due to, what it cost, and which range, operator or call it was in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof import units
from ds2prof.analysis.answers import ratio
from ds2prof.analysis.blame import Sums, ender_codes, ender_names
from ds2prof.analysis.host_timelines import CAUSES
from ds2prof.analysis.ledger_account import Account, account
from ds2prof.analysis.ledger_sets import check_times, worked_devices
from ds2prof.tables import Profile

WORDS: Final[Mapping[str, str]] = {
    "exposed_communication": "collectives that no computation hides",
    "exposed_copy": "copies that nothing hides",
    "queued": "launched, but not yet begun by the device",
    "launch_call": "in the calls that launch",
    "profiler_overhead": "taken by the profiler itself",
    "synchronize": "host late after it had waited for the device",
    "allocation": "host late: allocating or freeing memory",
    "module_load": "host late: loading modules or compiling",
    "data": "host late: fetching data",
    "host": "host late: in its own code (host-bound)",
    "head": "before the device's first operation",
    "tail": "after the device's last operation",
    "unknown": "idle for reasons that this file does not tell",
}
_LATE: Final = ("profiler_overhead", "synchronize", "allocation", "module_load", "data", "host")
_LEAST: Final = 0.01
"""A share of the window below which a cause is not put into words beneath a table."""


@dataclass(frozen=True)
class Finding:
    """One cause of lost time, over all devices.

    Attributes:
        cause: as in the ledger.
        dur_ns, share: its time, and that over the sum of the devices' windows.
        where: the range it was mostly in, else the operator, else the call; None where none was open for most of it.
        text: all of it in words.
    """

    cause: str
    dur_ns: int
    share: float
    where: str | None
    text: str


def findings(profile: Profile) -> list[Finding]:
    """What cost time besides computing, the dearest first.

    Each part of a sentence is exact and stands by itself: the ns that the named range (operator, call) was open in,
    and the ns that ended with the named operation. Blind spot: a range that is open is where the thread was, which is
    not always what it waited for.

    Raises:
        MissingDataError: the profile cannot be accounted for in time.
    """
    check_times(profile)
    accounts = [account(profile, device) for device in worked_devices(profile)]
    window_ns = sum(found.window.length_ns for found in accounts)
    made = [_finding(profile, cause, accounts, window_ns) for cause in CAUSES if cause in WORDS]
    return sorted((found for found in made if found.dur_ns), key=lambda found: -found.dur_ns)


def lines(profile: Profile, *, count: int) -> list[str]:
    """The dearest findings in words, ``count`` at most, those alone that cost a hundredth of the window or more."""
    return [found.text for found in findings(profile)[:count] if found.share >= _LEAST]


def _finding(profile: Profile, cause: str, accounts: Sequence[Account], window_ns: int) -> Finding:
    dur_ns = sum(found.cause_ns(cause) for found in accounts)
    share = ratio(dur_ns, window_ns) or 0.0
    where, parts = _head(profile, accounts) if cause == "head" else _parts(cause, accounts)
    cost = f"{units.format_ns_short(dur_ns)} ({units.format_ratio(share, digits=1)} of the window)"
    return Finding(cause, dur_ns, share, where, "; ".join([f"{cause}: {WORDS[cause]}, {cost}", *parts]))


def _parts(cause: str, accounts: Sequence[Account]) -> tuple[str | None, list[str]]:
    """(the range, operator or call that most of the cause was in, each with its time in words)."""
    kinds = {"call": "in {}", "range": "within {}", "operator": "in the operator {}"} if cause in _LATE else {}
    if cause == "launch_call":
        kinds = {"call": "in {}"}
    found = {kind: _top(kind, cause, accounts) for kind in (*kinds, "ender")}
    parts = [_part(words, *found[kind]) for kind, words in kinds.items() if found[kind][0] is not None]
    has_operators = len(accounts[0].blame.sums["operator"].names) > 0
    if has_operators and cause in ("host", "data") and found["operator"][0] is None and found["operator"][1]:
        parts.append(f"{units.format_ns_short(found['operator'][1])} outside any operator")
    if found["ender"][0] is not None:
        parts.append(_part("of {}" if cause.startswith("exposed") else "ended by {}", *found["ender"]))
    named = [found[kind][0] for kind in ("range", "operator", "call") if kind in found]
    return next((name for name in named if name is not None), None), parts


def _part(words: str, name: str | None, dur_ns: int) -> str:
    return f"{units.format_ns_short(dur_ns)} {words.format(name)}"


def _top(kind: str, cause: str, accounts: Sequence[Account]) -> tuple[str | None, int]:
    """The name that most of a cause is due to over all devices, and its ns."""
    sums = [found.blame.sums[kind] for found in accounts]
    return sums[0].top(cause) if len(sums) == 1 else _together(sums).top(cause)


def _together(sums: Sequence[Sums]) -> Sums:
    return Sums(sums[0].names, np.sum([part.ns for part in sums], axis=0))


def _head(profile: Profile, accounts: Sequence[Account]) -> tuple[str | None, list[str]]:
    """What the longest head ended with."""
    heads = [found.head for found in accounts if len(found.head)]
    if not heads:
        return None, []
    longest = max(heads, key=lambda head: int(head.end_ns[0] - head.start_ns[0]))
    name = ender_names(profile)[int(ender_codes(profile, longest.row)[0])]
    return None, [f"ended by {name}"]
