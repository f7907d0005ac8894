"""Runs of known steps: what changes between two sides is set here, and written as PyTorch's profiler writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import numpy as np

from ds2prof.analysis.compare.decisions import ALPHA, Sample, above, difference
from tests.known.truth import Operator, Run
from tests.known.write_kineto import document

GEMM, ADD, REDUCE = "ampere_sgemm_128x64_tn", "vectorized_elementwise_kernel<AddFunctor<float>>", "reduce_kernel"
OTHER_GEMM = "sm80_xmma_gemm_f32f32_tn_n_tilesize64x64"


@dataclass(frozen=True)
class Plan:
    """What a step is made of.

    Attributes:
        kernels: (name, ns, phase, grid, operator) in the order of a step.
        iterations, first: how many steps, and the number of the first.
        gap_ns: idle time between two kernels.
        noise: relative spread of each kernel's time within a run.
        spread: relative spread between runs.
        seed: of the random numbers.
        slowdowns: kernel -> factor on its time.
    """

    kernels: tuple[tuple[str, int, str, int, str], ...] = (
        (GEMM, 60_000, "forward", 64, "aten::mm"),
        (ADD, 20_000, "forward", 128, "aten::add"),
        (REDUCE, 20_000, "backward", 32, "aten::sum"),
    )
    iterations: int = 12
    first: int = 0
    gap_ns: int = 5_000
    noise: float = 0.0
    spread: float = 0.0
    seed: int = 0
    slowdowns: dict[str, float] = field(default_factory=dict)
    rank: int | None = None


def run_of(plan: Plan) -> Run:
    """The truth of a plan: kernels one behind another, each launched well ahead, with a gap before each."""
    rng = np.random.default_rng(plan.seed)
    of_run = 1 + plan.spread * rng.standard_normal()
    run = Run("made", "", ())
    now = 10_000
    for step in range(plan.iterations):
        begin = now
        for name, usual, phase, grid, operator in plan.kernels:
            length = round(usual * plan.slowdowns.get(name, 1.0) * of_run * (1 + plan.noise * rng.standard_normal()))
            call = (now + 500, now + 1_500)
            run.operators.append(Operator(operator, now + 400, now + 1_600))
            run.range("phase", phase, now + 300, now + 1_700)
            run.kernel(name, now + plan.gap_ns, now + plan.gap_ns + length, call, grid=(grid, 1, 1))
            now += plan.gap_ns + length
        run.range("iteration", str(plan.first + step), begin, now)
    run.span = (0, now + 10_000)
    return run


def write(path, plan: Plan):
    """The trace of a plan at ``path``, with the rank it says to be of."""
    text = document(run_of(plan), rank=plan.rank or 0)
    if plan.rank is not None:
        told = json.loads(text)
        told["distributedInfo"]["world_size"] = 2
        text = json.dumps(told)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_runs(folder, plan: Plan, *, count: int, seed: int = 0):
    """``count`` runs of a plan, each with its own noise."""
    for number in range(count):
        write(folder / f"torch_bs4_run{number}.json", replace(plan, seed=seed + number))
    return folder


def write_log(path, walls_ns, *, padded=None, batch_size=4, profiler=None, first=0, warmup=0):
    """A run log of those times; ``padded`` are the padded seconds of a sample in each iteration."""
    lengths = [1.0] * len(walls_ns) if padded is None else padded
    head = {"schema": "ds2prof-run/1", "preset": "tiny", "batch_size": batch_size, "precision": "fp32"}
    head |= {"profiler": profiler, "warmup": warmup, "iterations": len(walls_ns), "device_name": "made"}
    lines = [head]
    for number, (wall, length) in enumerate(zip(walls_ns, lengths, strict=True)):
        told = {"iteration": first + number, "wall_ns": round(wall), "samples": batch_size, "loss": 1.0}
        lines.append({**told, "audio_s": batch_size * length, "padded_s": batch_size * length, "skipped": False})
    kept = lines[1 + warmup :]
    stretch = {"first": first + warmup, "stop": first + len(walls_ns)}
    stretch |= {name: sum(line[name] for line in kept) for name in ("wall_ns", "samples", "audio_s", "padded_s")}
    lines.append({"stretch": stretch})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def correlated(rng, count, columns, *, rho, spread):
    """Noise of consecutive iterations that resemble their neighbours, a series a column: AR(1) in its steady state."""
    found = np.empty((count, columns))
    found[0] = rng.standard_normal(columns)
    for place in range(1, count):
        found[place] = rho * found[place - 1] + np.sqrt(1 - rho * rho) * rng.standard_normal(columns)
    return spread * found


@dataclass(frozen=True)
class Chance:
    """How runs come about in a simulation.

    Attributes:
        runs: of each side.
        iterations: of each run.
        rho: likeness of neighbours.
        within: relative spread of an iteration's time within a run.
        between: relative spread of the runs' means.
        slowdown: by what the new side is truly slower.
        trials: how many comparisons.
    """

    runs: int = 5
    iterations: int = 20
    rho: float = 0.6
    within: float = 0.01
    between: float = 0.005
    slowdown: float = 0.0
    trials: int = 200


def sides(rng, chance: Chance):
    """Both sides of all trials: a sample a run, a column a trial, times around 100 ms."""
    found = []
    for factor in (1.0, 1.0 + chance.slowdown):
        side = []
        for _ in range(chance.runs):
            of_run = 1 + chance.between * rng.standard_normal(chance.trials)
            noise = correlated(rng, chance.iterations, chance.trials, rho=chance.rho, spread=chance.within)
            side.append(Sample(1e8 * factor * (of_run + noise)))
        found.append(side)
    return found


def alarms(chance: Chance, *, limit=0.0, seed=0):
    """In how many of the trials the gate ``step_ns<=+LIMIT`` is broken."""
    base, new = sides(np.random.default_rng(seed), chance)
    return int((above(difference(base, new, factor=1 + limit, paired=True)) <= ALPHA).sum())
