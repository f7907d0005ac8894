"""What is told of a run, made from what its parts know: facts for observers, lines for the history."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from ds2prof.errors import MissingDataError, UsageError
from ds2prof.train.evaluation import Evaluation
from ds2prof.train.observers import BadLoss, EpochFacts, EvalFacts, StepFacts
from ds2prof.train.plan import Plan, State
from ds2prof.train.tally import Stretch, Tally
from ds2prof.train.workload import Workload
from ds2prof.units import MS_PER_S, NS_PER_S

_TIMING: Final = ("samples", "audio_s", "wall_s")
"""What two runs of the same training differ in: how much of an epoch one process saw, and how long that took."""


def steps_of_epoch(work: Workload, limit_batches: int | None) -> int:
    """Optimizer steps of an epoch; batches at its end that are too few for a step are left out.

    Raises:
        UsageError: there are too few for one.
    """
    batches = len(work.batches) if limit_batches is None else min(len(work.batches), limit_batches)
    if batches < work.accumulate:
        raise UsageError(
            f"--accumulate {work.accumulate}: an epoch has {batches} batches; take fewer, or a smaller --batch-size"
        )
    return batches // work.accumulate


def reached(target_wer: float | None, wer: float | None) -> bool:
    """Whether there is a target and ``wer`` is at or under it."""
    return target_wer is not None and wer is not None and wer <= target_wer


def step_facts(work: Workload, state: State, tally: Tally, *, stretch: Stretch, rate: float, batches: int) -> StepFacts:
    """The step just taken, over all ranks. Waits for the device."""
    sums = work.ranks.summed((*tally.step.tolist(), stretch.samples, stretch.audio_ms), work.device)
    return StepFacts(
        iteration=state.iteration - 1,
        epoch=state.epoch,
        batch=state.batch,
        batches=batches,
        loss=sums[0] / sums[1] if math.isfinite(sums[0]) else None,
        learning_rate=rate,
        samples=round(sums[2]),
        audio_s=sums[3] / MS_PER_S,
        wall_s=stretch.wall_ns / NS_PER_S,
        skipped=tally.step_skipped,
    )


def step_row(facts: StepFacts) -> dict[str, Any]:
    """Its line."""
    names = ("iteration", "epoch", "loss", "learning_rate", "skipped")
    return {"step": {name: getattr(facts, name) for name in names}}


def bad_loss(work: Workload, state: State, tally: Tally, *, name_of: Callable[[int], str] | None) -> BadLoss:
    """Whose loss kept the step just tried from being taken. Waits for the device, and every rank calls it."""
    parts = work.ranks.gathered((tally.step_loss(), tuple(tally.numbers)))
    rank = next((rank for rank, (loss, _) in enumerate(parts) if not 0 <= loss < math.inf), 0)
    loss, numbers = parts[rank]
    names: Sequence[str] = () if name_of is None else tuple(map(name_of, numbers))
    return BadLoss(
        iteration=state.iteration - 1,
        epoch=state.epoch,
        loss=loss,
        rank=rank,
        numbers=numbers,
        names=names,
        in_a_row=state.bad_in_row,
    )


def bad_row(bad: BadLoss) -> dict[str, Any]:
    """Its line; JSON has no number for such a loss, so it is text."""
    row = {name: getattr(bad, name) for name in ("iteration", "epoch", "rank", "in_a_row")}
    return {"bad_loss": {**row, "loss": str(bad.loss), "numbers": list(bad.numbers)}}


def eval_facts(found: Evaluation, state: State, plan: Plan, *, averaged: bool, wall_ns: int) -> EvalFacts:
    """An evaluation, set beside those before.

    Raises:
        MissingDataError: there was nothing to be right or wrong about.
    """
    if found.wer is None or found.cer is None:
        raise MissingDataError("evaluation: the held-out utterances have no words; give a --val-manifest with some")
    return EvalFacts(
        epoch=state.epoch,
        iteration=state.iteration,
        wer=found.wer,
        cer=found.cer,
        mean_utterance_wer=found.mean_utterance_wer,
        loss=found.loss,
        utterances=found.counts.utterances,
        wall_s=wall_ns / NS_PER_S,
        averaged=averaged,
        best=state.best_wer is None or found.wer < state.best_wer,
        target_reached=reached(plan.target_wer, found.wer),
    )


def eval_row(facts: EvalFacts) -> dict[str, Any]:
    """Its line."""
    row = asdict(facts)
    timing = {"wall_s": row.pop("wall_s")}
    return {"evaluation": {**row, "timing": timing}}


def epoch_facts(
    work: Workload, state: State, tally: Tally, *, stretch: Stretch, rate: float, evaluation: EvalFacts | None
) -> EpochFacts:
    """The epoch, over all ranks."""
    sums = work.ranks.summed((*tally.sums.tolist(), stretch.samples, stretch.audio_ms), work.device)
    return EpochFacts(
        epoch=state.epoch,
        iteration=state.iteration,
        steps=state.steps,
        skipped=state.skipped,
        utterances=round(sums[1]),
        loss=sums[0] / sums[1] if sums[1] else None,
        learning_rate=rate,
        samples=round(sums[2]),
        audio_s=sums[3] / MS_PER_S,
        wall_s=stretch.wall_ns / NS_PER_S,
        evaluation=evaluation,
    )


def epoch_row(facts: EpochFacts) -> dict[str, Any]:
    """Its line; the evaluation has one of its own."""
    row = {name: value for name, value in asdict(facts).items() if name not in _TIMING and name != "evaluation"}
    return {"epoch": {**row, "timing": {name: getattr(facts, name) for name in _TIMING}}}
