"""Whether two sides may be compared: what differs between them besides what was meant to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.compare.runs import Part, Run, batch_size_of

_MANY_TEXTS: Final = 4
_CLOCK_APART: Final = 0.02
_OVERHEAD_SHARE: Final = 0.02
_LAUNCHES_APART: Final = 0.01


@dataclass(frozen=True)
class Differing:
    """One fact that is not the same on both sides, or within one.

    ``base`` and ``new`` are the values met, as text; ``why`` says what it does to the comparison.
    """

    what: str
    base: tuple[str, ...]
    new: tuple[str, ...]
    why: str

    def said(self) -> str:
        """In one line."""
        sides = [", ".join(side[:_MANY_TEXTS]) or "not stated" for side in (self.base, self.new)]
        if self.base == self.new:
            return f"{self.what} differs between runs of a side ({sides[0]}): {self.why}"
        unless = "" if self.base and self.new else "unless they are the same, "
        return f"{self.what}: {sides[0]} | {sides[1]}: {unless}{self.why}"


def _run_fact(name: str) -> Callable[[Part], Any]:
    return lambda part: (part.meta.run or {}).get(name) or part.meta.facts.get(name)


def _version(name: str) -> Callable[[Part], Any]:
    return lambda part: ((part.meta.run or {}).get("versions") or {}).get(name)


def _window(part: Part) -> str | None:
    window = (part.meta.run or {}).get("window") or part.meta.facts.get("window")
    if not isinstance(window, Mapping):
        return None
    return f"{window.get('start')} to {window.get('stop')}"


def _iterations(part: Part) -> str | None:
    return str(part.iterations or "none") if part.kind == "timeline" else None


def _batch(part: Part) -> int | None:
    return batch_size_of(part.meta)


def _watched(part: Part) -> str | None:
    if part.kind != "log":
        return None
    return part.meta.facts.get("profiler") or "none"


_FACTS: Final[tuple[tuple[str, Callable[[Part], Any], str], ...]] = (
    ("GPU", lambda part: " + ".join(sorted(set(part.devices))) or None, "times are of different hardware"),
    ("kind of run", lambda part: part.meta.domain, "a GPU's times against a processor's"),
    ("tool", lambda part: part.meta.tool, "profilers cost differently, and their clocks tick differently"),
    ("tool version", lambda part: part.meta.tool_version, "its cost and what it records may differ"),
    ("preset", _run_fact("preset"), "not the same network"),
    ("batch size", _batch, "not the same work in a step"),
    ("precision", _run_fact("precision"), "not the same arithmetic"),
    ("window", _window, "not the same iterations, so not the same inputs"),
    ("marked iterations", _iterations, "sums over whole files are left out: not the same amount of work"),
    ("window source", lambda part: part.window_source, "shares of the window are not comparable"),
    ("profiler beside the log", _watched, "the log includes what a profiler cost"),
    ("clock control", lambda part: part.meta.clock_control, "replayed times follow the clock"),
    ("cache control", lambda part: part.meta.cache_control, "replayed times follow the caches"),
    ("PyTorch", _version("torch"), "another version, which may be what was meant to be compared"),
    ("driver", _version("driver"), "another driver"),
)
_PAIRS_ONLY: Final = frozenset({"tool version", "PyTorch", "driver"})
"""Facts that may be unknown on one side without a word."""


def differing(base: Sequence[Run], new: Sequence[Run]) -> list[Differing]:
    """What differs, in the order of what it does to the comparison."""
    found = []
    for what, read, why in _FACTS:
        sides = [_texts(runs, read) for runs in (base, new)]
        one_sided = not all(sides) and what in (*_PAIRS_ONLY, "window", "preset", "precision", "batch size")
        if (sides[0] != sides[1] or len(sides[0]) > 1) and not one_sided:
            found.append(Differing(what, sides[0], sides[1], why))
    return [*found, *_ranks(base, new), *_clocks(base, new), *_overheads(base, new), *_launches(base, new)]


def _texts(runs: Sequence[Run], read: Callable[[Part], Any]) -> tuple[str, ...]:
    values = {read(part) for run in runs for part in run.parts}
    return tuple(sorted(str(value) for value in values if value is not None))


def _ranks(base: Sequence[Run], new: Sequence[Run]) -> list[Differing]:
    sides = [tuple(sorted({str(len(run.parts)) for run in runs})) for runs in (base, new)]
    if sides[0] == sides[1] and len(sides[0]) == 1:
        return []
    return [Differing("ranks", sides[0], sides[1], "other communication, and another share of the work for each")]


def _clocks(base: Sequence[Run], new: Sequence[Run]) -> list[Differing]:
    """SM clocks that the sidecars tell, where they are more than 2 % apart."""
    sides = [[clock for run in runs for part in run.parts for clock in _sm_clocks(part)] for runs in (base, new)]
    if not all(sides):
        return []
    means = [sum(side) / len(side) for side in sides]
    if abs(means[0] - means[1]) <= _CLOCK_APART * max(means):
        return []
    texts = [(f"{mean / units.HZ_PER_MHZ:,.0f} MHz",) for mean in means]
    return [
        Differing(
            "SM clock at the start and end", texts[0], texts[1], "times follow the clock; lock it for comparisons"
        )
    ]


def _sm_clocks(part: Part) -> list[float]:
    clocks = (part.meta.run or {}).get("clocks")
    if not isinstance(clocks, Mapping):
        return []
    rows = [row for moment in ("before", "after") for row in clocks.get(moment) or () if isinstance(row, Mapping)]
    return [float(row["sm_clock_hz"]) for row in rows if isinstance(row.get("sm_clock_hz"), (int, float))]


def _overheads(base: Sequence[Run], new: Sequence[Run]) -> list[Differing]:
    """The profiler's own overhead, where it is more than 2 % of a step on a side."""
    shares = [[share for run in runs if (share := _overhead(run)) is not None] for runs in (base, new)]
    if not any(share > _OVERHEAD_SHARE for side in shares for share in side):
        return []
    texts = [(units.format_ratio(sum(side) / len(side)),) if side else () for side in shares]
    return [Differing("the profiler's own overhead", texts[0], texts[1], "part of each step is the profiler's")]


def _overhead(run: Run) -> float | None:
    ledger = run.by.get("ledger")
    if ledger is None or not ledger.times_ns.sum():
        return None
    return float(ledger.times_ns[:, ledger.labels.index("profiler_overhead")].sum() / ledger.times_ns.sum())


def _launches(base: Sequence[Run], new: Sequence[Run]) -> list[Differing]:
    """The amount of work in files whose unit is no step."""
    counts = [
        [run.series["launches"].sample.value[0] for run in runs if "launches" in run.series and _is_whole(run)]
        for runs in (base, new)
    ]
    if not all(counts):
        return []
    means = [sum(side) / len(side) for side in counts]
    if abs(means[0] - means[1]) <= _LAUNCHES_APART * max(means):
        return []
    texts = [(f"{mean:,.0f}",) for mean in means]
    why = "no iterations are marked, so that the whole files are compared; they hold different amounts of work"
    return [Differing("launches", texts[0], texts[1], why)]


def _is_whole(run: Run) -> bool:
    return bool(run.by) and all(one.unit != "step" for one in run.by.values())
