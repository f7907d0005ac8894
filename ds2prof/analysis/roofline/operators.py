"""The work of a profile's operators, by their shapes.

An operator that calls others of its kind is counted once: the outermost that has a model counts, and what it calls does
not. Shapes are those of :func:`torch.profiler.profile` with ``record_shapes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.roofline import along, convolution, gemm, pointwise, recurrent
from ds2prof.analysis.roofline.calls import Call, call_of
from ds2prof.analysis.roofline.work import Work
from ds2prof.analysis.windows import ends_ns
from ds2prof.tables import IntArray, Profile, Table

MODELS: Final[Mapping[str, Callable[[Call], Work | None]]] = {
    **gemm.MODELS,
    **convolution.MODELS,
    **recurrent.MODELS,
    **along.MODELS,
    **pointwise.MODELS,
}
"""Operator without its namespace -> its model."""
_NAMESPACE: Final = "aten::"
_TEXTS: Final = ("name", "shapes", "dtypes", "concrete")


@dataclass(frozen=True, eq=False)
class OperatorWork:
    """What the models say of a profile's operators.

    Attributes:
        rows: rows of ``ops`` that count, each outermost of its kind.
        flop: of each of them; -1 where its model could not say.
        size_bytes: compulsory bytes of each of them; NaN where not known.
        works: the distinct answers of the models; None where one could not say.
        work: of each row, its place in ``works``.
        claims: for each row of ``ops``, the place in ``rows`` of what counts for it; -1 for none.
        assumed: what had to be assumed -> in how many calls.
    """

    rows: IntArray
    flop: IntArray
    size_bytes: FloatArray
    works: tuple[Work | None, ...]
    work: IntArray
    claims: IntArray
    assumed: Mapping[str, int]


def operator_work(profile: Profile) -> OperatorWork:
    """The work of each operator that counts, worked out once per profile; a model is asked once for equal calls."""
    return profile.derived("work of operators", lambda: _operator_work(profile.table("ops")))


def _operator_work(ops: Table) -> OperatorWork:
    has_model = _with_model(ops)
    rows, claims = _outermost(ops, has_model)
    counted = ops.take(rows)
    work, works = _asked(counted)
    flop_of = np.array([-1 if each is None else each.flop for each in works] + [-1], dtype=np.int64)
    bytes_of = np.array([_bytes(each) for each in works] + [np.nan])
    assumed: dict[str, int] = {}
    calls = np.bincount(work, minlength=len(works))
    for each, count in zip(works, calls.tolist(), strict=True):
        if each is not None and each.assumed is not None:
            assumed[each.assumed] = assumed.get(each.assumed, 0) + count
    return OperatorWork(rows, flop_of[work], bytes_of[work], works, work, claims, assumed)


def _bytes(work: Work | None) -> float:
    return np.nan if work is None or work.size_bytes is None else float(work.size_bytes)


def _with_model(ops: Table) -> IntArray:
    """Rows of the operators that have a model."""
    names = ops["name"]
    known = [name.startswith(_NAMESPACE) and name[len(_NAMESPACE) :] in MODELS for name in names.categories or ()]
    mask = np.array([*known, False], dtype=np.bool_)[names.values] if len(ops) else np.zeros(0, dtype=np.bool_)
    return np.flatnonzero(mask)


def _asked(ops: Table) -> tuple[IntArray, tuple[Work | None, ...]]:
    """(for each row the place of its answer, the distinct answers)."""
    if not len(ops):
        return np.zeros(0, dtype=np.int64), ()
    columns = [ops[name] for name in _TEXTS]
    codes, firsts = combined([column.values.astype(np.int64) for column in columns])
    texts = zip(*(column.take(firsts).tolist() for column in columns), strict=True)
    return codes, tuple(_answer(*each) for each in texts)


def _answer(name: str, shapes: str | None, dtypes: str | None, concrete: str | None) -> Work | None:
    call = call_of(name, shapes, dtypes, concrete)
    found = MODELS[call.name](call)
    largest = np.iinfo(np.int64).max
    return None if found is None or found.flop > largest or (found.size_bytes or 0) > largest else found


def _outermost(ops: Table, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """(the chosen rows that lie in no other of their thread, for each row of ``ops`` the place of its own)."""
    starts, ends = ops.ints("start_ns"), ends_ns(ops)
    lanes, _ = combined([ops.ints("process", null=-1), ops.ints("thread", null=-1)])
    claims = np.full(len(ops), -1, dtype=np.int64)
    found: list[IntArray] = []
    count = 0
    for lane in np.unique(lanes[chosen]).tolist():
        mine = chosen[lanes[chosen] == lane]
        mine = mine[np.lexsort((-ends[mine], starts[mine]))]
        reach = np.maximum.accumulate(ends[mine])
        before = np.concatenate(([np.iinfo(np.int64).min], reach[:-1]))
        outer = mine[ends[mine] > before]
        everyone = np.flatnonzero(lanes == lane)
        place = np.searchsorted(starts[outer], starts[everyone], side="right") - 1
        at = outer[np.maximum(place, 0)]
        inside = (place >= 0) & (ends[everyone] <= ends[at]) & (starts[everyone] >= starts[at])
        claims[everyone[inside]] = place[inside] + count
        found.append(outer)
        count += len(outer)
    return (np.concatenate(found) if found else np.zeros(0, dtype=np.int64)), claims
