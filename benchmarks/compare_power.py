"""How often comparisons are wrong, and how small a slow-down they see: simulated, seeded, as Markdown tables.

    python -m benchmarks.compare_power            the tables of docs/COMPARE.md (about a minute)
    python -m benchmarks.compare_power --trials 200

Each trial makes the step times of both sides and asks the gate ``step_ns<=+LIMIT``, one-sided at 5 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ds2prof.analysis.compare.decisions import ALPHA, above, difference, holm
from tests.compare_support import Chance, alarms, sides

SLOWDOWNS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05)
USUAL = Chance(runs=5, iterations=20, rho=0.6, within=0.01, between=0.005)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=4000)
    trials = options.parse_args().trials
    print(f"{trials} trials each.\n")
    print("False alarms, no true change, gate `step_ns<=+0%` (0.05 is aimed at):\n")
    print(table(("runs a side", "iterations", "correlation of neighbours", "alarms"), false_alarms(trials)))
    print("\nCaught slow-downs, gate `step_ns<=+0%`, AR(1) 0.6, 1 % within a run, 0.5 % between runs:\n")
    print(table(("runs a side", "iterations", *map(percent, SLOWDOWNS)), power(trials)))
    print("\nThe same with the gate `step_ns<=+2%`:\n")
    print(table(("runs a side", "iterations", *map(percent, SLOWDOWNS)), power(trials, limit=0.02)))
    print("\nOne run a side, 20 iterations, independent noise of 1 %, gate `step_ns<=+1%`:\n")
    print(table(("spread between runs", *map(percent, SLOWDOWNS)), single(trials)))
    print("\nOne run a side, no true change, gate `step_ns<=+0%`: what cannot be seen in one run:\n")
    print(table(("spread between runs", "correlation", "iterations", "alarms"), blind(trials)))
    print("\nFive gates at once, no true change, five runs a side: any alarm with Holm, and without:\n")
    print(table(("with Holm", "without"), [several(trials)]))


def percent(share: float) -> str:
    """A share for a heading."""
    return f"{100 * share:g} %"


def false_alarms(trials: int) -> Iterable[Sequence[object]]:
    """Rows of the first table."""
    for runs in (2, 3, 5, 10):
        for iterations in (20, 100):
            for rho in (0.0, 0.6):
                chance = replace(USUAL, runs=runs, iterations=iterations, rho=rho, trials=trials)
                yield runs, iterations, rho, f"{alarms(chance) / trials:.3f}"


def power(trials: int, *, limit: float = 0.0) -> Iterable[Sequence[object]]:
    """Rows of the power curves."""
    for runs in (2, 3, 5, 10):
        for iterations in (20, 100):
            chance = replace(USUAL, runs=runs, iterations=iterations, trials=trials)
            caught = (alarms(replace(chance, slowdown=slow), limit=limit) / trials for slow in SLOWDOWNS)
            yield runs, iterations, *(f"{share:.3f}" for share in caught)


def single(trials: int) -> Iterable[Sequence[object]]:
    """Rows for one run a side."""
    for between in (0.0, 0.005):
        chance = Chance(runs=1, rho=0.0, between=between, trials=trials)
        caught = (alarms(replace(chance, slowdown=slow), limit=0.01) / trials for slow in SLOWDOWNS)
        yield percent(between), *(f"{share:.3f}" for share in caught)


def blind(trials: int) -> Iterable[Sequence[object]]:
    """Rows of what one run a side takes for a change."""
    for between in (0.0, 0.005):
        for rho in (0.0, 0.3, 0.6):
            for iterations in (8, 20, 100):
                chance = Chance(runs=1, iterations=iterations, rho=rho, between=between, trials=trials)
                yield percent(between), rho, iterations, f"{alarms(chance) / trials:.3f}"


def several(trials: int) -> Sequence[object]:
    """Shares of trials with any alarm among five independent gates."""
    rng = np.random.default_rng(0)
    chance = replace(USUAL, trials=trials)
    p_values = np.stack([above(difference(*sides(rng, chance), paired=True)) for _ in range(5)])
    with_holm = np.mean([holm(trial).any() for trial in p_values.T])
    return f"{with_holm:.3f}", f"{(p_values <= ALPHA).any(axis=0).mean():.3f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    main()
