"""Gates: limits to what may change, and whether they are broken beyond the noise.

::

    gate     := FIELD OP LIMIT                    blanks may stand between them
    FIELD    := a field of the totals or step_ns  ('busy' is gpu_compute_utilization)
    OP       := "<=" | ">="                       up to, and no less than
    LIMIT    := [SIGN] NUMBER "%"                 change relative to the base: step_ns<=+2%
              | [SIGN] NUMBER "pt"                change of a ratio in percentage points: busy>=-1pt
              | NUMBER [UNIT]                     the new value itself: step_ns<=250ms, busy>=0.8, peak_bytes<=20GB
    UNIT     := "ns" | "us" | "ms" | "s" of times, "kB" | "MB" | "GB" of memory; none is the field's base unit

A limit is *broken* where the difference beyond it is more than noise explains: one-sided at 5 %, all gates of a call
together (Holm). Where the noise is not known nothing can be said; see :class:`Outcome`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from ds2prof.analysis.compare.decisions import ALPHA, Difference, Noise, above, difference, holm, reach, relative
from ds2prof.analysis.compare.fields import ALIASES, FIELDS, SHOWN
from ds2prof.analysis.compare.frames import Frame, framed
from ds2prof.analysis.compare.runs import Run
from ds2prof.errors import UsageError

_GATE: Final = re.compile(
    r"\s*([a-z0-9_]+)\s*(<=|>=)\s*([+-]?)\s*((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?)\s*([A-Za-z%]*)\s*"
)
_UNITS: Final[Mapping[str, Mapping[str, float]]] = {
    "time": {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9},
    "bytes": {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
}
Status = Literal["broken", "held", "unknown"]
_EXAMPLE: Final = 'such as "step_ns<=+2%", "busy>=-1pt" or "step_ns<=250ms"'


@dataclass(frozen=True)
class Gate:
    """A limit.

    Attributes:
        text: as it was asked for.
        field: a name of :data:`.FIELDS`.
        is_upper: whether it is ``<=``.
        limit: a ratio for ``%`` and ``pt`` (0.02), else in base units.
        kind: ``relative``, ``points`` or ``absolute``.
    """

    text: str
    field: str
    is_upper: bool
    limit: float
    kind: Literal["relative", "points", "absolute"]


@dataclass(frozen=True)
class Outcome:
    """What became of a gate.

    Attributes:
        gate: the limit.
        status: ``broken`` beyond the noise; ``held``, which is to say not broken; ``unknown`` where it cannot be told:
            a side lacks the number, or one run a side does not break it by the noise of its own iterations, but how
            runs vary is not known from them.
        base, new: the values; None where a side lacks the number.
        change: relative or in the field's unit, as the limit is.
        low, high: its two-sided 95 % bounds.
        p_value: how often noise alone would go this far beyond the limit; one-sided.
        noise: what it rests on.
        why: in words, what is not known or what the decision rests on.
    """

    gate: Gate
    status: Status
    base: float | None = None
    new: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    noise: Noise = "none"
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = ("status", "base", "new", "change", "low", "high", "p_value", "noise", "why")
        return {
            "gate": self.gate.text,
            "field": self.gate.field,
            "limit": self.gate.limit,
            "kind": self.gate.kind,
            **{name: getattr(self, name) for name in names},
        }


def gate_of(text: str) -> Gate:
    """The gate that a text states.

    Raises:
        UsageError: it states none.
    """
    found = _GATE.fullmatch(text)
    where = f"--gate {text!r}"
    if found is None:
        raise UsageError(f"{where}: not FIELD<=LIMIT or FIELD>=LIMIT, {_EXAMPLE}")
    name, operator, sign, number, unit = found.groups()
    name = ALIASES.get(name, name)
    if name not in FIELDS:
        raise UsageError(f"{where}: no such field; one of {', '.join((*FIELDS, *ALIASES))}")
    size = float(number) * (-1 if sign == "-" else 1)
    if not np.isfinite(size):
        raise UsageError(f"{where}: that limit is no number")
    if unit in ("%", "pt"):
        if unit == "pt" and FIELDS[name].quantity != "ratio":
            raise UsageError(f"{where}: pt are percentage points of a ratio, and {name} is none; write %")
        return Gate(text, name, operator == "<=", size / 100, "relative" if unit == "%" else "points")
    if sign:
        raise UsageError(f"{where}: a change has % or pt behind it, a value no sign, {_EXAMPLE}")
    scales = {"": 1.0, **_UNITS.get(FIELDS[name].quantity, {})}
    if unit not in scales:
        raise UsageError(f"{where}: {name} has no unit {unit}; one of {', '.join(('%', *filter(None, scales)))}")
    return Gate(text, name, operator == "<=", size * scales[unit], "absolute")


def outcomes(base: Sequence[Run], new: Sequence[Run], gates: Sequence[Gate]) -> list[Outcome]:
    """What became of each gate, at 5 % for all of them together."""
    found = [_judged(base, new, gate) for gate in gates]
    p_values = np.array([np.nan if one.p_value is None else one.p_value for one in found], dtype=np.float64)
    broken = holm(p_values, alpha=ALPHA)
    return [_decided(one, is_broken=is_broken) for one, is_broken in zip(found, broken.tolist(), strict=True)]


def _decided(found: Outcome, *, is_broken: bool) -> Outcome:
    if found.p_value is None:
        return replace(found, status="unknown")
    if is_broken:
        why = "beyond the noise of its own iterations; one run a side does not tell how runs vary"
        return replace(found, status="broken", why=why if found.noise == "iterations" else found.why)
    if found.noise == "iterations":
        why = "not beyond the noise of its own iterations; one run a side does not tell how runs vary"
        return replace(found, status="unknown", why=why)
    return replace(found, status="held")


def _judged(base: Sequence[Run], new: Sequence[Run], gate: Gate) -> Outcome:
    """The gate with its p, not yet decided."""
    lacking = lacks(base if gate.kind != "absolute" else (), new, gate.field)
    if lacking:
        return Outcome(gate, "unknown", why=lacking)
    change = compared(base if gate.kind != "absolute" else (), new, gate.field)
    sign = 1.0 if gate.is_upper else -1.0
    found = change.judged(gate)
    p_value = float(above(replace(found, distance=sign * found.distance))[0])
    known = bool(np.isfinite(p_value))
    low, high = change.bounds(gate)
    return Outcome(
        gate,
        "held",
        None if gate.kind == "absolute" else float(found.base[0]),
        float(found.new[0]),
        change.of(gate),
        low,
        high,
        p_value if known else None,
        found.noise,
        "" if known else _no_noise(base, new, gate.field),
    )


def _no_noise(base: Sequence[Run], new: Sequence[Run], name: str) -> str:
    """Why the noise of a number is not known."""
    if all(run.series[name].keys is None for run in (*base, *new)):
        return f"one run a side, of which {name} is one number without any spread; give several runs"
    return "one run a side, and too few iterations in it to tell its noise (8 are needed); give several runs"


@dataclass(frozen=True, eq=False)
class Compared:
    """One number of two sides."""

    field: str
    frame: Frame
    samples: tuple[list[Any], list[Any]]

    def plain(self) -> Difference:
        """How far the new side is above the base."""
        return difference(*self.samples, paired=self.frame.is_paired)

    def judged(self, gate: Gate) -> Difference:
        """How far the new side is above the limit."""
        factor = 1 + gate.limit if gate.kind == "relative" else 1.0
        found = difference(*self.samples, factor=factor, paired=self.frame.is_paired)
        if gate.kind == "relative":
            return found
        distance = found.distance - gate.limit
        rounding = 1e-12 * max(abs(gate.limit), abs(float(found.new[0])))
        return replace(found, distance=np.where(np.abs(distance) <= rounding, 0.0, distance))

    def of(self, gate: Gate) -> float | None:
        """The change, in the terms of the gate."""
        if gate.kind == "relative":
            found = float(relative(*self.samples, paired=self.frame.is_paired)[0][0])
            return found if np.isfinite(found) else None
        return None if gate.kind == "absolute" else float(self.plain().distance[0])

    def bounds(self, gate: Gate) -> tuple[float | None, float | None]:
        """Of the change, with 95 %; of the value itself for an absolute limit."""
        if gate.kind == "relative":
            bounds = [float(each[0]) for each in relative(*self.samples, paired=self.frame.is_paired)[1:]]
        else:
            found = self.plain()
            half = float(reach(found)[0])
            bounds = [float(found.distance[0]) - half, float(found.distance[0]) + half]
        low, high = (bound if np.isfinite(bound) else None for bound in bounds)
        return low, high


def compared(base: Sequence[Run], new: Sequence[Run], name: str) -> Compared:
    """One number of both sides, which all runs have; without a base, of the new one alone."""
    sides = [[run.series[name] for run in side] for side in (base, new)]
    if len({one.keys is None for side in sides for one in side}) > 1:  # some runs know it for the file alone
        sides = [[one if one.keys is None else replace(one, keys=None) for one in side] for side in sides]
    frame, *samples = framed(*sides)
    return Compared(name, frame, (samples[0], samples[1]))


def lacks(base: Sequence[Run], new: Sequence[Run], name: str) -> str:
    """Why a number cannot be compared; empty where it can."""
    for run in (*base, *new):
        if name not in run.series:
            return f"{run.name} has no {name}"
        if not np.isfinite(run.series[name].sample.value).all():
            return f"{run.name} has no {name}: it divides by nothing"
    sources = {part.window_source for run in (*base, *new) for part in run.parts}
    if FIELDS[name].of_window and len(sources) > 1:
        told = " and ".join(sorted(str(source) for source in sources))
        return f"{name} is of windows that were taken from {told}, which are not comparable"
    counts = {part.iterations for run in (*base, *new) for part in run.parts}
    if base and FIELDS[name].of_file and len(counts) > 1:
        told = " and ".join("no" if count is None else str(count) for count in sorted(counts, key=lambda n: n or 0))
        return f"{name} is of whole files, and they hold {told} marked iterations: not the same amount of work"
    return ""


def shown_fields(base: Sequence[Run], new: Sequence[Run], gates: Sequence[Gate]) -> list[str]:
    """The numbers that both sides have, those shown always and those of the gates."""
    asked = {gate.field for gate in gates}
    return [name for name in FIELDS if (name in SHOWN or name in asked) and not lacks(base, new, name)]
