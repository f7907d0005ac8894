"""The numbers of whole runs, side by side: the step, utilization, throughput, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ds2prof.analysis.compare.decisions import ALPHA, Noise, apart, reach, relative
from ds2prof.analysis.compare.fields import FIELDS
from ds2prof.analysis.compare.gates import Gate, compared, shown_fields
from ds2prof.analysis.compare.runs import Run


@dataclass(frozen=True)
class Number:
    """One number of both sides.

    Attributes:
        field: a name of :data:`.FIELDS`.
        base, new: means over the runs.
        change: new / base - 1; of ratios the difference, in 0..1.
        low, high: its bounds with 95 %; None where the noise is not known.
        beyond_noise: whether the change is not noise, at 5 %; None where that is not known.
        noise: what the bounds rest on.
        paired: how the iterations of the runs correspond, in words.
    """

    field: str
    base: float
    new: float
    change: float | None
    low: float | None
    high: float | None
    beyond_noise: bool | None
    noise: Noise
    paired: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def numbers(base: Sequence[Run], new: Sequence[Run], gates: Sequence[Gate] = ()) -> list[Number]:
    """The numbers that both sides have: those that are always shown, and those of the gates."""
    return [_number(base, new, name) for name in shown_fields(base, new, gates)]


def _number(base: Sequence[Run], new: Sequence[Run], name: str) -> Number:
    pair = compared(base, new, name)
    plain = pair.plain()
    if FIELDS[name].quantity == "ratio":
        half = float(reach(plain)[0])
        change = float(plain.distance[0])
        bounds = change - half, change + half
    else:
        found = relative(*pair.samples, paired=pair.frame.is_paired)
        change, *bounds = (float(each[0]) for each in found)  # type: ignore[assignment]
    p_value = float(apart(plain)[0])
    low, high = (bound if np.isfinite(bound) else None for bound in bounds)
    return Number(
        name,
        float(plain.base[0]),
        float(plain.new[0]),
        change if np.isfinite(change) else None,
        low,
        high,
        p_value <= ALPHA if np.isfinite(p_value) else None,
        plain.noise,
        pair.frame.said(),
    )
