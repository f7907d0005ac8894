"""The idle ledger: where every nanosecond of a device's window went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import findings, ledger_sets
from ds2prof.analysis.answers import Answer, ratios
from ds2prof.analysis.attribution import ranges_of_kind
from ds2prof.analysis.belonging import belonging, labels
from ds2prof.analysis.host_timelines import CAUSES, DATA, LOADERS
from ds2prof.analysis.idle_causes import Oddities
from ds2prof.analysis.ledger_account import BUSY, Account, Per, account
from ds2prof.analysis.ledger_sets import check_times, worked_devices
from ds2prof.analysis.steps import device_steps
from ds2prof.analysis.windows import text_mask
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

TABLES: Final = ledger_sets.TABLES
BY: Final = "ledger"
PERS: Final[tuple[Per, ...]] = ("iteration", "phase")
NAMED: Final[Mapping[str, str]] = {"range": "range", "operator": "operator", "call": "call", "ended_by": "ender"}
"""Column -> kind of name (:mod:`.blame`): what the host was in for most of a cause, what ended most of it."""
_FINDINGS: Final = 3
_NAMED_AT_MOST: Final = 5
_WHOLE_KINDS: Final = ("graph", "range", "command_list", "subgrid_schedule")
_HOW: Final = {
    "iteration": "iterations are 'ProfilerStep#N' or 'ds2prof:iteration:N' ranges",
    "phase": "phases are the ranges 'ds2prof:phase:NAME' that train_profiling.py records",
}


def idle_ledger(profile: Profile, *, per: Per | None = None) -> Answer:
    """For each device, the window split among the causes: integer ns that sum to it exactly.

    compute = X, kernels that are no communication; exposed_communication = N minus X; exposed_copy = C minus (X or N);
    the gaps between are split as :mod:`.idle_causes` says; head and tail are what lies before the first operation and
    after the last. ``share`` is of the device's window. With ``per``, rows of each iteration or phase
    (:func:`.ledger_account.account`) with the key before the cause, None for what belongs to none.

    Beside idle time stand the innermost range, the operator and the call that the launching thread was in for most of
    it, each by itself, and the operator (else kernel or copy) that ended most of it; None where most has no such name.

    Blind spots: idle is this process's idle; one thread running makes the device busy, and a collective that waits for
    other ranks is communication; kernels within a graph that was traced as a whole count as running throughout; what
    profiling lengthened without a row of overhead stands under the cause that it lengthened.

    Raises:
        MissingDataError: the profile cannot be accounted for in time, or holds no range of the kind.
    """
    check_times(profile)
    keys: list[Any] = [None]
    notes: tuple[str, ...] = ()
    if per is not None:
        found = belonging(profile, per)
        if not found.keys:
            raise MissingDataError(f"{profile.meta.file}: no {per} ranges in this file; {_HOW[per]}")
        keys, notes = [*labels(found.keys, per), None], found.notes
    accounts = {device: account(profile, device, per) for device in worked_devices(profile)}
    if len(keys) > 1 and not any(part.sums_ns[-1].any() for part in accounts.values()):
        keys = keys[:-1]
    columns: dict[str, list[Any]] = {"device": [], **({per: []} if per else {}), "cause": [], "dur_ns": [], "share": []}
    columns |= {name: [] for name in NAMED}
    for device, part in accounts.items():
        dur_ns = part.sums_ns[: len(keys)].reshape(-1)
        columns["device"] += [device] * len(dur_ns)
        if per is not None:
            columns[per] += [key for key in keys for _ in CAUSES]
        columns["cause"] += list(CAUSES) * len(keys)
        columns["dur_ns"] += dur_ns.tolist()
        columns["share"] += ratios(dur_ns, part.window.length_ns)
        for name, kind in NAMED.items():
            columns[name] += _names(part, kind)[: len(dur_ns)]
    if per == "iteration":
        notes = (*notes, *_cut_off(profile, accounts))
    return Answer(BY, columns, (*notes, *_notes(profile, list(accounts.values()))))


def _cut_off(profile: Profile, accounts: Mapping[int | None, Account]) -> list[str]:
    """Which iterations the window cuts, and how far the last of them reaches beyond it."""
    notes = []
    for device in accounts:
        late = cut_iterations(profile, device)
        if late:
            more = f" and {len(late) - _NAMED_AT_MOST:,} more" if len(late) > _NAMED_AT_MOST else ""
            which = f"iteration{'' if len(late) == 1 else 's'} {', '.join(map(str, list(late)[:_NAMED_AT_MOST]))}{more}"
            where = f" of device {device}" if len(accounts) > 1 else ""
            beyond = units.format_ns_short(max(late.values()))
            said = "which cuts the row: part of the work is missing"
            notes.append(f"{which}{where} ended {beyond} after the window, {said}")
    return notes


def cut_iterations(profile: Profile, device: int | None) -> dict[str | int, int]:
    """Iterations that the device ended behind the window, by how many ns: their rows hold a part of them."""
    found = belonging(profile, "iteration")
    stop_ns = account(profile, device, "iteration").window.stop_ns
    steps = zip(labels(found.keys, "iteration"), device_steps(profile, found, device), strict=True)
    return {key: step[1] - stop_ns for key, step in steps if step is not None and step[1] > stop_ns}


def _names(part: Account, kind: str) -> list[str | None]:
    """For each group and cause of an account, the name of the kind that most of it is due to; None where busy."""
    tops = [part.blame.top(kind, cause) for cause in CAUSES] if part.grouped is None else part.grouped.tops(kind)
    return [None if CAUSES[cell % len(CAUSES)] in BUSY else name for cell, name in enumerate(tops)]


def _notes(profile: Profile, accounts: Sequence[Account]) -> tuple[str, ...]:
    """The dearest causes in words, then what qualifies the numbers."""
    return (*findings.lines(profile, count=_FINDINGS), *_sources(profile, accounts), *_oddities(profile, accounts))


def _sources(profile: Profile, accounts: Sequence[Account]) -> list[str]:
    """What the file's tables do not tell, and what stands for more than it shows."""
    notes = []
    kernels, copies, api = (profile.table(name) for name in ("kernels", "copies", "api"))
    whole = text_mask(kernels, "kind", *_WHOLE_KINDS)
    if whole.any():
        dur_ns = units.format_ns_short(int(kernels.ints("dur_ns")[whole].sum()))
        notes.append(
            f"{int(whole.sum()):,} graph launches ({dur_ns}) were traced as a whole: compute, contents unknown"
        )
    untimed = int((~(copies["start_ns"].present & copies["dur_ns"].present)).sum())
    if untimed:
        notes.append(f"{untimed:,} copies have no times: what they took shows as idle")
    if any(part.cause_ns("host") for part in accounts):
        lacking = _untold(profile)
        if lacking:
            notes.append(f"not recorded in this file, so that it stands under host: {', '.join(lacking)}")
    processes = api.ints("process")[api["process"].present]
    if not kernels["process"].present.all() and len(processes) and int(processes.min()) < int(processes.max()):
        notes.append("kernels name no process, calls are of several: launches may be mistaken for one another's")
    return notes


def _untold(profile: Profile) -> list[str]:
    """Causes that this file has no rows for."""
    lacking = [] if len(profile.table("overhead")) else ["profiler_overhead (no rows of overhead)"]
    ranges = profile.table("ranges")
    phases = ranges_of_kind(profile, "phase")
    names = [text for table in (ranges, profile.table("ops")) for text in table["name"].categories or ()]
    if not text_mask(ranges, "value", DATA)[phases].any() and not any(name.startswith(LOADERS) for name in names):
        lacking.append("data (neither a data phase nor PyTorch's range around its loader)")
    return lacking


def _oddities(profile: Profile, accounts: Sequence[Account]) -> list[str]:
    """What could not be told, counted over all devices."""
    total = {name: sum(getattr(part.odd, name) for part in accounts) for name in Oddities.__annotations__}
    notes = []
    for name, why in (
        ("unlinked", "of which no launch is recorded"),
        ("early", "that starts before its launch call does: the clocks disagree"),
    ):
        if total[name]:
            dur_ns = units.format_ns_short(total[f"{name}_ns"])
            waits = "1 wait" if total[name] == 1 else f"{total[name]:,} waits"
            notes.append(f"unknown: {waits} ({dur_ns}) ended with an operation {why}")
    if total["threadless"]:
        notes.append(f"unknown: the launches that ended {total['threadless']:,} waits name no thread")
    if total["short"]:
        least_ns = units.format_ns_short(2 * (profile.meta.time_resolution_ns or 0))
        notes.append(
            f"{total['short']:,} waits under {least_ns}, twice the clock's step, were not split: the most decides"
        )
    empty = sum(not part.window.length_ns or part.cause_ns("head") == part.window.length_ns for part in accounts)
    if empty:
        notes.append(f"{empty} devices did nothing within the window: all of it is head")
    return notes
