"""What a training run is to do, where it stands, and how it ended: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from ds2prof.config import Window

DEFAULT_LOG_EVERY: Final = 100
DEFAULT_BAD_STEPS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a run goes on, and what it does besides steps.

    Attributes:
        epochs: Where it ends; None where only iterations count.
        max_iterations: Where it ends, counted over the whole run; None where only epochs count.
        target_wer: The word error rate, a ratio, that it ends at; None without one.
        eval_every: Steps between evaluations; None evaluates behind each epoch.
        checkpoint_every: Steps between checkpoints, besides those behind evaluations and epochs; None for these alone.
        limit_batches: Batches of an epoch that are trained at most, on each rank; None for all.
        log_every: Steps from one that observers are told of to the next.
        bad_steps: The run fails when so many steps in a row were left out.
        window: The iterations of this process, from 0, that are captured; None without a capture.
    """

    epochs: int | None = None
    max_iterations: int | None = None
    target_wer: float | None = None
    eval_every: int | None = None
    checkpoint_every: int | None = None
    limit_batches: int | None = None
    log_every: int = DEFAULT_LOG_EVERY
    bad_steps: int = DEFAULT_BAD_STEPS
    window: Window | None = None


@dataclass
class State:
    """Where a run stands.

    Attributes:
        epoch: Of the next batch.
        batch: The next batch of it, on each rank.
        iteration: Steps of the whole run, those left out included.
        steps: Of this epoch.
        skipped: Of these, left out.
        bad_in_row: Steps left out one after another up to now.
        best_wer: The lowest word error rate so far.
        evaluated_at: The iteration behind which the last evaluation was.
        history: What happened, a plain dictionary for each line.
    """

    epoch: int = 0
    batch: int = 0
    iteration: int = 0
    steps: int = 0
    skipped: int = 0
    bad_in_row: int = 0
    best_wer: float | None = None
    evaluated_at: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def counted(self) -> dict[str, Any]:
        """Everything but the history."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "history"}

    def next_epoch(self) -> None:
        """Moves on to the next epoch."""
        self.epoch += 1
        self.batch = self.steps = self.skipped = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: One of :mod:`ds2prof.train.observers`.
        epoch: The epoch that it stands in.
        iteration: Steps of the whole run.
        best_wer: The lowest word error rate; None where nothing was evaluated.
    """

    status: str
    epoch: int
    iteration: int
    best_wer: float | None
