"""The ledger and the waits of streams as they are read: without what is nothing, a row for each iteration or phase."""

from __future__ import annotations

from typing import Any, Final

from ds2prof.analysis import ledger, waits
from ds2prof.analysis.answers import Answer, ratio
from ds2prof.analysis.host_timelines import CAUSES

KEYS: Final = (ledger.BY, waits.BY)
_OWN_TIME: Final = "shares are of each row's own time"


def shown(answer: Answer) -> Answer:
    """The answer for a terminal: nothing that is zero throughout; of several devices or keys a row each."""
    per = next((name for name in ledger.PERS if name in answer.columns), None)
    if answer.by == waits.BY:
        columns = {
            name: values
            for name, values in answer.columns.items()
            if not name.endswith("_ns") or name == "busy_ns" or any(values)
        }
        columns = _busiest_first(columns)
    elif per is None and len(set(answer.columns["device"])) == 1:
        columns = _rows_of_something(answer)
    else:
        return Answer(answer.by, _by_key(answer, per), (_OWN_TIME, *answer.notes))
    if len(set(columns["device"])) == 1:
        del columns["device"]
    return Answer(answer.by, columns, answer.notes)


def ratios(answer: Answer) -> list[str]:
    """The columns of an answer for a terminal that are shares: the ledger's causes, where they are columns."""
    return [name for name in answer.columns if name in CAUSES] if answer.by == ledger.BY else []


def weights(answer: Answer) -> list[int] | None:
    """What each row of such an answer counts: its time; None for any other answer."""
    return [dur_ns or 0 for dur_ns in answer.columns["dur_ns"]] if ratios(answer) else None


def _busiest_first(columns: dict[str, Any]) -> dict[str, Any]:
    """The streams of each device by what they did: the first rows are those that matter."""
    devices = list(dict.fromkeys(columns["device"]))
    order = sorted(
        range(len(columns["device"])),
        key=lambda row: (devices.index(columns["device"][row]), -columns["busy_ns"][row]),
    )
    return {name: [values[row] for row in order] for name, values in columns.items()}


def _rows_of_something(answer: Answer) -> dict[str, Any]:
    """The causes that took any time, with the one place in the host's code that says most: its range, if one is."""
    kept = [row for row, dur_ns in enumerate(answer.columns["dur_ns"]) if dur_ns]
    columns = {name: [values[row] for row in kept] for name, values in answer.columns.items()}
    *places, ended_by = (columns.pop(name) for name in ledger.NAMED)
    within = [next((name for name in names if name is not None), None) for names in zip(*places, strict=True)]
    return {**columns, "within": within, "ended_by": ended_by}


def _by_key(answer: Answer, per: str | None) -> dict[str, Any]:
    """A row for each device and key: its time, and the share of each cause that took any of it."""
    count = len(CAUSES)
    dur_ns = answer.columns["dur_ns"]
    groups = [dur_ns[first : first + count] for first in range(0, len(dur_ns), count)]
    firsts = [first * count for first, group in enumerate(groups) if any(group)]
    groups = [group for group in groups if any(group)]
    names = [name for name in ("device", per) if name is not None]
    columns: dict[str, Any] = {name: [answer.columns[name][first] for first in firsts] for name in names}
    if per is not None:
        columns[per] = [f"(outside any {per})" if key is None else key for key in columns[per]]
        if len(set(columns["device"])) == 1:
            del columns["device"]
    columns["dur_ns"] = [sum(group) for group in groups]
    for place, cause in enumerate(CAUSES):
        if any(group[place] for group in groups):
            columns[cause] = [ratio(group[place], sum(group)) for group in groups]
    return columns
