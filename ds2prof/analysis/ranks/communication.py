"""A device's communication kernels, and of which kind of collective each is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis import attribution
from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.windows import ends_ns
from ds2prof.kernel_names import kernel_class, short_name
from ds2prof.tables import BoolArray, IntArray, Profile, Table

SYMMETRIC: Final = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "barrier"})
"""Collectives that nobody can leave before everybody has come: each rank needs something of every other."""
PAIRWISE: Final = frozenset({"send", "recv", "send_recv"})
"""Not collectives of a group: which kernels of two ranks belong together cannot be told."""
SAME_SIZE: Final = frozenset({"all_reduce", "broadcast", "reduce"})
"""Collectives whose input is of one size on all ranks, so that the size tells them apart."""
NONE: Final = -1
"""Stands for an unknown number in the arrays here."""

_WORDS: Final = (
    ("allreduce", "all_reduce"),
    ("crossdevicereduce", "all_reduce"),
    ("reducescatter", "reduce_scatter"),
    ("allgather", "all_gather"),
    ("alltoall", "all_to_all"),
    ("barrier", "barrier"),
    ("broadcast", "broadcast"),
    ("sendrecv", "send_recv"),
    ("reduce", "reduce"),
    ("gather", "gather"),
    ("scatter", "scatter"),
    ("send", "send"),
    ("recv", "recv"),
)
"""(word, kind): the first that a name holds decides, blanks and underscores left out."""


@dataclass(frozen=True, eq=False)
class Communication:
    """Communication kernels of one device in order of their starts, as arrays of equal length.

    Attributes:
        start_ns, end_ns: on the profile's own clock.
        kind: code into ``kinds``: all_reduce, all_gather...; a kernel's short name where that tells none.
        group: code into ``groups``: name and ranks of the process group as the source has them; "" where it does not.
        iteration: code into ``iterations``, ``NONE`` for what was launched outside any.
        sequence: number of the collective within its group; ``NONE`` where unknown, as in the next two.
        in_bytes: size of this rank's input.
        group_size: how many ranks take part.
    """

    start_ns: IntArray
    end_ns: IntArray
    kind: IntArray
    group: IntArray
    iteration: IntArray
    sequence: IntArray
    in_bytes: IntArray
    group_size: IntArray
    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    iterations: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.start_ns)


def kind_of(name: str) -> str | None:
    """The kind of collective that a name tells of (``_allgather_base`` -> all_gather); None where it tells none."""
    plain = name.lower().replace("_", "").replace(" ", "")
    return next((kind for word, kind in _WORDS if word in plain), None)


def is_communication(kernels: Table) -> BoolArray:
    """Mask of the kernels whose names say that they communicate."""
    names = kernels["name"]
    of_class = [kernel_class(name) == "communication" for name in names.categories or ()]
    return np.asarray(np.array([*of_class, False], dtype=np.bool_)[names.values], dtype=np.bool_)


def communication(profile: Profile, rows: IntArray) -> Communication:
    """The communication kernels among the rows of ``kernels``."""
    kernels = profile.table("kernels")
    rows = rows[np.argsort(kernels.ints("start_ns")[rows], kind="stable")]
    told = profile.table("collectives")
    at = _told_rows(told, len(kernels))[rows]
    kinds, kind = _kinds(profile, rows, told, at)
    groups, group = _coded(_group_texts(told.take(at[at >= 0])), at >= 0)
    found = belonging(profile, "iteration")
    iteration = found.kernels[rows]
    return Communication(
        start_ns=kernels.ints("start_ns")[rows],
        end_ns=ends_ns(kernels)[rows],
        kind=kind,
        group=group,
        iteration=np.where(iteration < len(found.keys), iteration, NONE),
        sequence=_known(told, "sequence", at),
        in_bytes=_known(told, "in_bytes", at),
        group_size=_known(told, "group_size", at),
        kinds=kinds,
        groups=groups,
        iterations=found.keys,
    )


def _told_rows(told: Table, count: int) -> IntArray:
    """For each kernel, its row of ``collectives``; ``NONE`` for one that has none."""
    rows = np.full(count, NONE, dtype=np.int64)
    rows[told.ints("launch")] = np.arange(len(told))
    return rows


def _known(told: Table, column: str, at: IntArray) -> IntArray:
    values = np.append(told.ints(column, null=NONE), NONE)
    return values[at]  # the last stands for what is not told


def _group_texts(told: Table) -> list[str]:
    pairs = zip(told["group"].tolist(), told["ranks"].tolist(), strict=True)
    return [f"{group or ''}:{ranks or ''}" if group or ranks else "" for group, ranks in pairs]


def _coded(texts: Sequence[str], known: BoolArray) -> tuple[tuple[str, ...], IntArray]:
    """(distinct texts, "" first; code of each row), ``texts`` being those of the known rows."""
    code_of: dict[str, int] = {"": 0}
    codes = np.zeros(len(known), dtype=np.int64)
    codes[known] = [code_of.setdefault(text, len(code_of)) for text in texts]
    return tuple(code_of), codes


def _kinds(profile: Profile, rows: IntArray, told: Table, at: IntArray) -> tuple[tuple[str, ...], IntArray]:
    """(distinct kinds, code of each row): as the source tells, else by the kernel's name, else by the range around it.

    NCCL runs an all-to-all as sends and receives, whose kernel does not tell one from the other; the range that PyTorch
    and NCCL put around the call (``nccl:all_to_all``, ``ncclAllReduce``) does.
    """
    code_of: dict[str, int] = {}
    names = profile.table("kernels")["name"]
    by_name = _codes_of(names.categories or (), code_of, short=True)
    kind = by_name[names.values[rows]]
    doubtful = np.array([text in PAIRWISE or kind_of(text) is None for text in code_of], dtype=np.bool_)
    unsure = doubtful[kind] & (at < 0) if len(kind) else np.zeros(0, dtype=np.bool_)
    if unsure.any():
        kind[unsure] = _kinds_of_ranges(profile, rows[unsure], kind[unsure], code_of)
    column = told["name"]
    by_call = _codes_of(column.categories or (), code_of, short=False)
    known = at >= 0
    kind[known] = by_call[column.values[at[known]]]
    return tuple(code_of), kind


def _codes_of(names: Iterable[str], code_of: dict[str, int], *, short: bool) -> IntArray:
    kinds = [kind_of(name) or (short_name(name) if short else name) for name in names]
    return np.array([code_of.setdefault(kind, len(code_of)) for kind in kinds], dtype=np.int64)


def _kinds_of_ranges(profile: Profile, rows: IntArray, kind: IntArray, code_of: dict[str, int]) -> IntArray:
    """The kind that the innermost range at each launch tells, where that is a range of a communication library."""
    ranges, api = profile.table("ranges"), profile.table("api")
    names = ranges["name"].categories or ()
    told = [kind_of(name) if name.lower().startswith("nccl") else None for name in names]
    codes = [NONE if text is None else code_of.setdefault(text, len(code_of)) for text in told]
    by_name = np.array([*codes, NONE], dtype=np.int64)[ranges["name"].values]
    chosen = (by_name >= 0) & ranges["start_ns"].present & ranges["dur_ns"].present
    calls, by_call = ranges.take(chosen), by_name[chosen]
    launch = attribution.launches(profile, "kernels")[rows]
    at = launch[launch >= 0]
    keys = {name: api.ints(name, null=NONE)[at] for name in ("process", "thread")}
    open_then = attribution.lookup(calls, api.ints("start_ns")[at], keys)
    found = np.full(len(rows), NONE, dtype=np.int64)
    found[launch >= 0] = np.where(open_then >= 0, np.append(by_call, NONE)[open_then], NONE)
    return np.where(found >= 0, found, kind)
