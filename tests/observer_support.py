"""A run as its observers see it, without one: the events of a short training in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ds2prof.train.observers import (
    SUCCESS,
    EpochFacts,
    EvalFacts,
    Observer,
    PhaseTime,
    RunFacts,
    StepFacts,
)
from ds2prof.train.presets import PRESETS

STEPS = 3
"""Of an epoch."""


def run_facts(preset: str = "tiny", **changes: Any) -> RunFacts:
    """A run that begins."""
    given: dict[str, Any] = {
        "preset": PRESETS[preset],
        "precision": "fp32",
        "device": "cpu",
        "device_name": "a processor",
        "world_size": 2,
        "batch_size": 8,
        "accumulate": 4,
        "seed": 7,
        "parameters": 1000,
        "train_utterances": 24,
        "eval_utterances": 2703,
        "epochs": 2,
        "max_iterations": None,
        "target_wer": 0.058,
        "resumed": None,
        "epoch": 0,
        "iteration": 0,
        "options": {"augment": "rnnt", "max_duration": 16.7},
    }
    return RunFacts(**{**given, **changes})


def step(iteration: int, *, loss: float | None = None) -> StepFacts:
    """One step of many."""
    return StepFacts(
        iteration=iteration,
        epoch=iteration // STEPS,
        batch=iteration % STEPS + 1,
        batches=STEPS,
        loss=10.0 - iteration if loss is None else loss,
        learning_rate=0.1 / (1 + iteration // STEPS),
        samples=8,
        audio_s=12.5,
        wall_s=0.25,
        skipped=False,
    )


def evaluation(iteration: int, *, wer: float) -> EvalFacts:
    """The evaluation behind so many steps."""
    return EvalFacts(
        epoch=(iteration - 1) // STEPS,
        iteration=iteration,
        wer=wer,
        cer=wer / 4,
        mean_utterance_wer=None,
        loss=10 * wer,
        utterances=2703,
        wall_s=1.0,
        averaged=False,
        best=True,
        target_reached=wer <= 0.058,
    )


def train(observer: Observer, run: RunFacts, *, wers: tuple[float, ...] = (0.4, 0.05), status: str = SUCCESS) -> None:
    """Tells an observer of a run with an epoch for each word error rate; a resumed one goes on where it says."""
    observer.run_started(run)
    iteration = run.iteration
    for epoch, wer in enumerate(wers, start=run.iteration // STEPS):
        observer.epoch_started(epoch, batch=iteration % STEPS)
        while iteration < (epoch + 1) * STEPS:
            observer.step_done(step(iteration))
            iteration += 1
        observer.evaluation_started(epoch, iteration=iteration)
        facts = evaluation(iteration, wer=wer)
        observer.evaluated(facts)
        observer.timed(
            [
                PhaseTime(
                    rank=rank,
                    phase="forward",
                    total_ns=3_500_000_000,
                    count=3,
                    min_ns=1_000_000_000,
                    max_ns=1_500_000_000,
                )
                for rank in range(2)
            ]
        )
        observer.checkpoint_written(Path("checkpoint"), epoch=epoch, iteration=iteration)
        observer.epoch_done(
            EpochFacts(
                epoch=epoch,
                iteration=iteration,
                steps=STEPS,
                skipped=0,
                utterances=24,
                loss=5.0,
                learning_rate=0.1,
                samples=24,
                audio_s=37.5,
                wall_s=0.75,
                evaluation=facts,
            )
        )
    observer.run_stopped(status, epoch=run.iteration // STEPS + len(wers) - 1, iteration=iteration)
