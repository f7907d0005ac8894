"""Whose idle time it was: ns of each cause by the names of what was open on the host and of what ended the wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ds2prof.analysis import attribution
from ds2prof.analysis.groups import summed
from ds2prof.analysis.host_timelines import CAUSES, CODE, CodeArray, call_names
from ds2prof.analysis.idle_causes import Split
from ds2prof.analysis.ledger_sets import Gaps, both_tables
from ds2prof.kernel_names import short_name
from ds2prof.tables import IntArray, Profile

KINDS: Final = ("call", "range", "operator", "ender")


@dataclass(frozen=True)
class Sums:
    """ns by name and cause; the last row is of what has no name.

    Attributes:
        names: the names of the rows.
        ns: of each name (and of none), ns of each cause.
    """

    names: Sequence[str]
    ns: IntArray

    def top(self, cause: str) -> tuple[str | None, int]:
        """(the name that most of the cause is due to, its ns); None where most has no name. Names met twice are one."""
        column = self.ns[:, CODE[cause]]
        rows = np.flatnonzero(column)
        found: dict[str | None, int] = {}
        for row in rows.tolist():
            name = self.names[row] if row < len(self.names) else None
            found[name] = found.get(name, 0) + int(column[row])
        return max(found.items(), key=lambda item: item[1], default=(None, 0))


@dataclass(frozen=True)
class Blame:
    """Idle time of one device by name: of the call the host was in, the innermost range and operator, what ended it."""

    sums: dict[str, Sums] = field(default_factory=dict)

    def add(self, profile: Profile, gaps: Gaps, split: Split) -> None:
        """Take the parts of some gaps in."""
        pieces, part = split.pieces, gaps.take(split.rows)
        for kind, codes in (("call", pieces.call), ("range", pieces.range_name), ("operator", pieces.operator)):
            self._add(kind, codes, pieces.cause, pieces.dur_ns)
        enders = ender_codes(profile, part.row)
        called = split.causes_ns[:, CODE["launch_call"]]
        launch = np.where(part.launch >= 0, _api_codes(profile)[part.launch] if len(_api_codes(profile)) else -1, -1)
        self._add("call", launch, np.full(len(launch), CODE["launch_call"]), called)
        for cause in range(len(CAUSES)):
            self._add("ender", enders, np.full(len(enders), cause), split.causes_ns[:, cause])

    def _add(self, kind: str, codes: IntArray | CodeArray, causes: IntArray, dur_ns: IntArray) -> None:
        ns = self.sums[kind].ns
        rows = np.where(codes >= 0, codes, len(ns) - 1).astype(np.int64)
        ns += summed(rows * len(CAUSES) + causes, dur_ns, ns.size).reshape(ns.shape)


def empty_blame(profile: Profile) -> Blame:
    """No idle time yet, for each name that the profile has."""
    names = {
        "call": call_names(profile),
        "range": list(profile.table("ranges")["name"].categories or ()),
        "operator": list(profile.table("ops")["name"].categories or ()),
        "ender": ender_names(profile),
    }
    return Blame({kind: Sums(of, np.zeros((len(of) + 1, len(CAUSES)), dtype=np.int64)) for kind, of in names.items()})


def ender_names(profile: Profile) -> list[str]:
    """The names that an ender's code stands for: of operators, then of kernels (short), then of copies."""
    kernels = [short_name(text) for text in profile.table("kernels")["name"].categories or ()]
    tables = (profile.table(name)["name"].categories or () for name in ("ops", "copies"))
    operators, copies = (list(texts) for texts in tables)
    return [*operators, *kernels, *copies]


def ender_codes(profile: Profile, rows: IntArray, *, by_operator: bool = True) -> IntArray:
    """What each operation is called by: the operator that launched it, if asked for and known, else its own name."""
    kernels, copies, ops = (profile.table(name) for name in ("kernels", "copies", "ops"))
    before = len(ops["name"].categories or ()), len(kernels["name"].categories or ())
    found = both_tables(
        kernels["name"].values.astype(np.int64) + before[0], copies["name"].values.astype(np.int64) + sum(before), rows
    )
    if by_operator and len(ops):
        of = (attribution.operators(profile, "kernels"), attribution.operators(profile, "copies"))
        operator = both_tables(*of, rows)
        found = np.where(operator >= 0, ops["name"].values[operator], found)
    return found


def _api_codes(profile: Profile) -> IntArray:
    codes: IntArray = profile.table("api")["name"].values
    return codes
