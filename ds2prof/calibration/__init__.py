"""What a profiler costs: the same iterations with it and without it, compared in pairs, and kept as a calibration.

Iterations are compared with themselves, since each has a batch of its own: ``d(r, i)`` is what iteration ``i`` took in
repeat ``r`` with the profiler, less what it took in the same repeat without. A repeat's cost is the median of its
``d(r, i)``, the calibrated cost the median over the repeats. Its interval is made of order statistics of the repeats'
costs: runs are what chance draws anew, while the iterations of one run share its placement, clocks and neighbours. It
needs no seed and assumes no distribution; fewer than six repeats cannot give 95 %, so what they give is stated with it.

Where others take the machine's cores too, that interval is wide. *Undisturbed* is the second answer: of each iteration
the least that any repeat took, with and without the profiler; its interval is one over the iterations. It assumes that
neighbours only ever add time, and that each iteration was left alone by them once in each mode.

A calibration answers for captures of the same workload by the same tool on the same machine, and for no others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import comb
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from ds2prof.capture.provenance import is_training
from ds2prof.errors import ReadError
from ds2prof.machine import Machine
from ds2prof.measurements import CALIBRATION_NAME, written_whole

SCHEMA: Final = "ds2prof-calibration/1"
WANTED_CONFIDENCE: Final = 0.95
LEAST_REPEATS: Final = 3
"""From how many repeats on the least of them is taken for undisturbed."""
UNDER_REPLAY: Final = "not defined under replay: each launch runs many times, and its times are not those of the run"
_DIGITS: Final = 6
_MAX_FILE_BYTES: Final = 1 << 24
_NO_COUNTS: Final = "operators and launches were not counted"


@dataclass(frozen=True)
class Timed:
    """What one run took."""

    walls_ns: Mapping[int, int]
    """Iteration -> nanoseconds, more than none, of those inside the window."""
    run_ns: int
    """The whole run, from the start of the first process to the end of the last."""
    start_ns: int | None = None
    """To prepare and start the profiler, where the program noted it; outside of the window."""
    stop_ns: int | None = None
    """To stop it and to have it write."""


@dataclass(frozen=True)
class Counts:
    """How many operators the host ran and how many launches it made, iteration by iteration; None where unknown."""

    operators: Mapping[int, int] | None = None
    launches: Mapping[int, int] | None = None
    reason: str | None = _NO_COUNTS
    """Why something of it is unknown."""


@dataclass(frozen=True)
class Estimate:
    """A cost and how sure it is.

    Attributes:
        value: The median over the repeats.
        low, high: Order statistics of the repeats' values that hold the true median with ``confidence``; None for a
            single repeat.
        p25, p75: Quartiles of all pairs, of every repeat: how much it varies from iteration to iteration.
    """

    value: float
    low: float | None
    high: float | None
    confidence: float | None
    p25: float
    p75: float

    @property
    def within_noise(self) -> bool | None:
        """Whether it may as well be nothing: its interval holds 0. None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Series:
    """All runs of one mode; ``runs[r]`` is to be compared with repeat ``r`` of the baseline."""

    mode: str
    runs: tuple[Timed, ...] = ()
    identity: Mapping[str, Any] | None = None
    """What must be the same for its cost to hold, as :func:`identity_of` tells it."""
    reason: str | None = None
    """Why there are no runs."""


_Values = Callable[[Timed, Timed], list[float]]
"""What is compared between a run with a profiler and one without: a value for each iteration, or one for the run."""


def estimate(values_by_repeat: Sequence[Sequence[float]]) -> Estimate:
    """The median over the repeats of each one's median, with its interval."""
    medians = sorted(median(values) for values in values_by_repeat)
    pooled = sorted(value for values in values_by_repeat for value in values)
    p25, _, p75 = quantiles(pooled, n=4, method="inclusive") if len(pooled) > 1 else pooled * 3
    if len(medians) == 1:
        return Estimate(medians[0], None, None, None, p25, p75)
    outer = _outer_rank(len(medians))
    return Estimate(median(medians), medians[outer], medians[-1 - outer], _confidence(outer, len(medians)), p25, p75)


def _outer_rank(count: int) -> int:
    """The place, from 0, of the lower bound among ``count`` sorted values: the narrowest interval sure enough."""
    ranks = [rank for rank in range((count + 1) // 2) if _confidence(rank, count) >= WANTED_CONFIDENCE]
    return ranks[-1] if ranks else 0


def _confidence(rank: int, count: int) -> float:
    """How often the median lies between the value at ``rank`` and its counterpart from above: coins are tossed."""
    return 1 - 2 * sum(comb(count, below) for below in range(rank + 1)) / (1 << count)


def costs(series: Series, baseline: Series, counts: Counts) -> dict[str, Any]:
    """What a mode costs, as the calibration keeps it; all null with its reason where it was not measured."""
    pairs = list(zip(series.runs, baseline.runs, strict=bool(series.runs)))
    quantities: dict[str, _Values] = {
        "per_iteration_ns": _differences,
        "relative": _ratios,
        "per_operator_ns": partial(_per, counts.operators),
        "per_launch_ns": partial(_per, counts.launches),
        "per_run_ns": lambda run, base: [run.run_ns - base.run_ns],
    }
    typical = {name: _over_repeats(values, pairs) for name, values in quantities.items()}
    typical["mean_per_iteration_ns"] = _over_repeats(_mean_difference, pairs)
    cost = typical["per_iteration_ns"]
    return {
        "mode": series.mode,
        "identity": series.identity,
        "reason": series.reason,
        "samples": sum(len(_shared(*pair)) for pair in pairs),
        "within_noise": None if cost is None else cost.within_noise,
        **{name: _plain(found) for name, found in typical.items()},
        "undisturbed": {name: _plain(_undisturbed(values, pairs)) for name, values in quantities.items()},
        "start_ns": _median_known([run.start_ns for run in series.runs]),
        "stop_ns": _median_known([run.stop_ns for run in series.runs]),
    }


def _plain(found: Estimate | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    return {name: None if value is None else round(value, _DIGITS) for name, value in asdict(found).items()}


def _over_repeats(values: _Values, pairs: Sequence[tuple[Timed, Timed]]) -> Estimate | None:
    """The estimate from each repeat's values; None where one of them has none."""
    found = [values(*pair) for pair in pairs]
    known = [one for one in found if one]
    return estimate(known) if known and len(known) == len(found) else None


def _undisturbed(values: _Values, pairs: Sequence[tuple[Timed, Timed]]) -> Estimate | None:
    """The estimate from the least that each iteration took; None from too few repeats."""
    if len(pairs) < LEAST_REPEATS:
        return None
    found = values(_least([run for run, _ in pairs]), _least([base for _, base in pairs]))
    return estimate([[one] for one in found]) if found else None


def _least(runs: Sequence[Timed]) -> Timed:
    """A run as if each of its iterations had been the quickest of all runs."""
    shared = set.intersection(*(set(run.walls_ns) for run in runs))
    walls_ns = {each: min(run.walls_ns[each] for run in runs) for each in sorted(shared)}
    return Timed(walls_ns, min(run.run_ns for run in runs))


def _shared(run: Timed, base: Timed) -> list[int]:
    """The iterations that both runs have."""
    return sorted(run.walls_ns.keys() & base.walls_ns.keys())


def _differences(run: Timed, base: Timed) -> list[float]:
    return [run.walls_ns[each] - base.walls_ns[each] for each in _shared(run, base)]


def _mean_difference(run: Timed, base: Timed) -> list[float]:
    differences = _differences(run, base)
    return [sum(differences) / len(differences)] if differences else []


def _ratios(run: Timed, base: Timed) -> list[float]:
    return [run.walls_ns[each] / base.walls_ns[each] - 1 for each in _shared(run, base)]


def _per(counted: Mapping[int, int] | None, run: Timed, base: Timed) -> list[float]:
    """The cost of each iteration over how many of something it had; nothing where that is not known, or none."""
    shared = _shared(run, base)
    if counted is None or any(not counted.get(each) for each in shared):
        return []
    return [(run.walls_ns[each] - base.walls_ns[each]) / counted[each] for each in shared]


def _median_known(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(median(known)) if known else None


def baseline_facts(baseline: Series) -> dict[str, Any]:
    """How long an iteration takes without a profiler, and by how much two such runs differed, iteration by iteration.

    The second is what cannot be told from nothing on this machine at this time.
    """
    walls = [list(run.walls_ns.values()) for run in baseline.runs]
    least = list(_least(baseline.runs).walls_ns.values()) if len(baseline.runs) >= LEAST_REPEATS else []
    apart = [
        abs(median(_differences(later, earlier)))
        for earlier, later in zip(baseline.runs, baseline.runs[1:], strict=False)
    ]
    return {
        "iteration_ns": _plain(estimate(walls)),
        "undisturbed_iteration_ns": median(least) if least else None,
        "runs_differ_by_ns": max(apart) if apart else None,
    }


def document(
    series: Sequence[Series],
    *,
    baseline: Series,
    counts: Counts,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The calibration as it is written: what was measured, of what, and the times that it rests on."""
    iterations = sorted(set.intersection(*(set(run.walls_ns) for run in baseline.runs)))
    return {
        "schema": SCHEMA,
        **facts,
        "repeats": len(baseline.runs),
        "iterations": len(iterations),
        "counts": {
            "operators": _typical(counts.operators, iterations),
            "launches": _typical(counts.launches, iterations),
            "reason": counts.reason,
        },
        "baseline": baseline_facts(baseline),
        "modes": [costs(each, baseline, counts) for each in series],
        "runs": [
            {"mode": each.mode, "repeat": repeat, **asdict(run)}
            for each in (baseline, *series)
            for repeat, run in enumerate(each.runs)
        ],
    }


def _typical(counted: Mapping[int, int] | None, iterations: Sequence[int]) -> float | None:
    """The median count of an iteration."""
    if counted is None or any(each not in counted for each in iterations):
        return None
    return median(counted[each] for each in iterations)


def write_calibration(path: Path, calibration: Mapping[str, Any]) -> None:
    """Nothing; the calibration stands in ``path``, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(calibration, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_calibration(path: Path) -> dict[str, Any]:
    """The calibration in a file.

    Raises:
        ReadError: it cannot be read, or is none.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ReadError(f"{path}: too large for a calibration")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ReadError(f"{path}: not JSON, or damaged; make it anew with: ds2prof calibrate") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ReadError(f"{path}: no calibration of this version ({SCHEMA}); make it anew with: ds2prof calibrate")
    return found


def mode_name(launcher: str, *, detail: bool = False) -> str:
    """The mode's name in a calibration: the launcher's, and what is asked for beyond its usual."""
    return f"{launcher}-detail" if detail else launcher


def identity_of(machine: Machine, program: Sequence[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a capture must share with a calibration: workload, tool and machine, told from its sidecar ``facts``.

    The batch size is not in it: the cost of one operator or launch does not depend on it.
    """
    devices = facts.get("devices") or []
    settings = {name: value for name, value in (facts.get("settings") or {}).items() if name != "window"}
    identity = {
        "program": program_name(program),
        "preset": facts.get("preset"),
        "precision": facts.get("precision"),
        "layers": "--layers" in program,
        "command": None if is_training(program) else list(program),  # which of its words matter is not known
        "tool": facts.get("tool"),
        "tool_version": facts.get("tool_version"),
        "settings": settings,
        "torch": (facts.get("versions") or {}).get("torch"),
        "devices": [[str(one.get("device")).partition(":")[0], one.get("name")] for one in devices],
        "driver": machine.driver,
        "cpu": machine.cpu,
        "cpu_threads": os.cpu_count(),
    }
    told: dict[str, Any] = json.loads(json.dumps(identity))  # as it will be read back
    return told


def program_name(program: Sequence[str]) -> str:
    """The file name of what a command runs: of the script where an interpreter comes first."""
    words = [word for word in program if word.endswith(".py")] or list(program)
    return Path(words[0]).name if words else ""


def overhead_for(
    folder: Path,
    *,
    mode: str,
    machine: Machine,
    program: Sequence[str],
    facts: Mapping[str, Any],
    options: Sequence[str] = (),
) -> dict[str, Any] | None:
    """What a capture cost, as far as the calibration in its folder tells; None where that does not hold for it.

    The cost of an iteration is told for the calibrated batch size alone, that of an operator or a launch for any.

    Args:
        folder: Where the measurement goes, and where the calibration is looked for.
        mode: As :func:`mode_name` names it.
        machine: This machine.
        program: The command that was captured.
        facts: The measurement's sidecar.
        options: What the profiler was given beyond its usual; with any, its cost is another.
    """
    try:
        calibration = read_calibration(folder / CALIBRATION_NAME)
        rows = [row for row in calibration["modes"] if row["mode"] == mode and row["per_iteration_ns"] is not None]
        if options or not rows or rows[0]["identity"] != identity_of(machine, program, facts):
            return None
        return _told(calibration, rows[0], same_batch=facts.get("batch_size") == calibration["batch_size"])
    except (ReadError, KeyError, TypeError):  # none there, or damaged: as good as none
        return None


def _told(calibration: Mapping[str, Any], row: Mapping[str, Any], *, same_batch: bool) -> dict[str, Any]:
    names = ("per_iteration_ns", "mean_per_iteration_ns", "per_operator_ns", "per_launch_ns")

    def holds(costs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: costs[name] if same_batch or "iteration" not in name else None for name in names if name in costs}

    return {
        **holds(row),
        "undisturbed": holds(row["undisturbed"]),
        "within_noise": row["within_noise"],
        "samples": row["samples"],
        "batch_size": calibration["batch_size"],
        "calibrated_utc": calibration["started_utc"],
        "commit": calibration["commit"],
    }
