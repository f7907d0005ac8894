"""Whose idle time it was: ns of each cause by the names of what was open on the host and of what ended the wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
        for kind, codes, causes, dur_ns, _ in _told(profile, gaps, split):
            self._add(kind, codes, causes, dur_ns)

    def add_head(self, profile: Profile, head: Gaps) -> None:
        """Take in what the stretch before the first operation ended with."""
        self._add("ender", ender_codes(profile, head.row), _heads(head), head.end_ns - head.start_ns)

    def top(self, kind: str, cause: str) -> str | None:
        """The name that most of the cause is due to; None where most has none."""
        return self.sums[kind].top(cause)[0]

    def _add(self, kind: str, codes: IntArray | CodeArray, causes: IntArray, dur_ns: IntArray) -> None:
        ns = self.sums[kind].ns
        rows = np.where(codes >= 0, codes, len(ns) - 1).astype(np.int64)
        ns += summed(rows * len(CAUSES) + causes, dur_ns, ns.size).reshape(ns.shape)


@dataclass(frozen=True)
class GroupedBlame:
    """As :class:`Blame`, for iterations or phases: of each group, cause and kind the one name that matters most.

    Attributes:
        groups: how many there are.
        names: of each kind, what its codes stand for; the last, None, for what has no name.
        same: of each kind, for each code the first that stands for the same name.
        parts: of each kind, what was taken in: (group, cause and name as one number; ns).
    """

    groups: int
    names: Mapping[str, Sequence[str | None]]
    same: Mapping[str, IntArray]
    parts: Mapping[str, list[tuple[IntArray, IntArray]]]

    def add(self, profile: Profile, gaps: Gaps, split: Split, group: IntArray) -> None:
        """Take the parts of some gaps in, each in the group of its gap."""
        for kind, codes, causes, dur_ns, row in _told(profile, gaps, split):
            self._add(kind, codes, group[row] * len(CAUSES) + causes, dur_ns)

    def add_head(self, profile: Profile, head: Gaps, group: IntArray) -> None:
        """Take in what the stretch before the first operation ended with."""
        cells = group * len(CAUSES) + _heads(head)
        self._add("ender", ender_codes(profile, head.row), cells, head.end_ns - head.start_ns)

    def tops(self, kind: str) -> list[str | None]:
        """For each group and, within it, each cause: the name that most is due to; None where most has none."""
        found: list[str | None] = [None] * (self.groups * len(CAUSES))
        if self.parts[kind]:
            keys, ns = _sums_by_key(*(np.concatenate(side) for side in zip(*self.parts[kind], strict=True)))
            cells, codes = np.divmod(keys, len(self.names[kind]))
            order = np.lexsort((-codes, ns, cells))
            last = order[np.append(cells[order[1:]] > cells[order[:-1]], True)]
            for cell, code in zip(cells[last].tolist(), codes[last].tolist(), strict=True):
                found[cell] = self.names[kind][code]
        return found

    def _add(self, kind: str, codes: IntArray | CodeArray, cells: IntArray, dur_ns: IntArray) -> None:
        some = np.flatnonzero(dur_ns)
        if len(some):
            same = self.same[kind]
            keys = cells[some] * len(same) + same[codes[some]]
            self.parts[kind].append(_sums_by_key(keys, dur_ns[some]))


def _sums_by_key(keys: IntArray, ns: IntArray) -> tuple[IntArray, IntArray]:
    """(each key once, the sum of its ns)."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    return distinct, summed(inverse, ns, len(distinct))


def _heads(head: Gaps) -> IntArray:
    return np.full(len(head), CODE["head"], dtype=np.int64)


_Part = tuple[str, IntArray | CodeArray, IntArray, IntArray, IntArray]


def _told(profile: Profile, gaps: Gaps, split: Split) -> Iterator[_Part]:
    """(kind, name's code, cause, ns, row of the split) of all that some gaps are due to; -1 for no name."""
    pieces, part = split.pieces, gaps.take(split.rows)
    for kind, codes in (("call", pieces.call), ("range", pieces.range_name), ("operator", pieces.operator)):
        yield kind, codes, pieces.cause, pieces.dur_ns, pieces.gap
    rows = np.arange(len(part))
    enders = ender_codes(profile, part.row)
    launch = np.where(part.launch >= 0, _api_codes(profile)[part.launch] if len(_api_codes(profile)) else -1, -1)
    called = CODE["launch_call"]
    yield "call", launch, np.full(len(rows), called), split.causes_ns[:, called], rows
    for cause in range(len(CAUSES)):
        yield "ender", enders, np.full(len(rows), cause), split.causes_ns[:, cause], rows


def _names(profile: Profile) -> dict[str, list[str]]:
    return {
        "call": call_names(profile),
        "range": list(profile.table("ranges")["name"].categories or ()),
        "operator": list(profile.table("ops")["name"].categories or ()),
        "ender": ender_names(profile),
    }


def empty_grouped(profile: Profile, groups: int) -> GroupedBlame:
    """No idle time yet, for each name that the profile has."""
    names: dict[str, Sequence[str | None]] = {kind: [*of, None] for kind, of in _names(profile).items()}
    same = {}
    for kind, of in names.items():
        first: dict[str | None, int] = {}
        same[kind] = np.array([first.setdefault(name, code) for code, name in enumerate(of)], dtype=np.int64)
    return GroupedBlame(groups, names, same, {kind: [] for kind in names})


def empty_blame(profile: Profile) -> Blame:
    """No idle time yet, for each name that the profile has."""
    sums = {
        kind: Sums(of, np.zeros((len(of) + 1, len(CAUSES)), dtype=np.int64)) for kind, of in _names(profile).items()
    }
    return Blame(sums)


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
