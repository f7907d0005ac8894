"""What a training run tells those who look on: its events, as plain values. Needs no PyTorch.

An observer overrides the methods that it wants; the others do nothing. Events come on rank 0 alone, in this order:

    run_started
        epoch_started
            step_done ...  bad_loss ...  evaluation_started, evaluated ...  checkpoint_written ...  timed ...
        epoch_done, or epoch_cut_short
    run_stopped

``epoch_started`` comes again for an epoch that a resumed run goes on with. ``run_stopped`` comes last whatever happens,
an error included, so an observer can close its file there. A resumed run starts with ``run_started`` like any other;
its ``resumed`` says so.

Nothing here is measured with the device waited for unless its description says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from ds2prof.train.presets import Preset

SUCCESS: Final = "success"
"""The target was reached, or all epochs were trained where there is no target."""
MISSED: Final = "missed"
"""All epochs, or iterations, were trained, and the target was not reached."""
INTERRUPTED: Final = "interrupted"
"""A signal ended the run; it can be resumed."""
FAILED: Final = "failed"
"""An error ended the run."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run that is about to take its first step.

    Attributes:
        preset: The workload as it is trained, changes by options included.
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        device: The device of rank 0.
        device_name: What its maker calls it; None where unknown.
        world_size: Processes that train together.
        batch_size: Utterances of one batch of one rank.
        accumulate: Batches that one optimizer step is made of.
        seed: Decides weights, order and augmentation.
        parameters: Parameters of the network.
        train_utterances: Utterances of the corpus; None where it has no end.
        eval_utterances: Utterances that the word error rate is taken over; None where nothing is evaluated.
        epochs: At most this many are trained; None where only iterations count.
        max_iterations: At most this many optimizer steps are taken; None where only epochs count.
        target_wer: The word error rate, a ratio, at which the run stops; None without one.
        resumed: The checkpoint that it goes on from; None where it begins from nothing.
        epoch: The epoch that it begins or goes on in, from 0.
        iteration: Optimizer steps before this one.
        options: Everything else that was decided, by the names of the options.
    """

    preset: Preset
    precision: str
    device: str
    device_name: str | None
    world_size: int
    batch_size: int
    accumulate: int
    seed: int
    parameters: int
    train_utterances: int | None
    eval_utterances: int | None
    epochs: int | None
    max_iterations: int | None
    target_wer: float | None
    resumed: Path | None
    epoch: int
    iteration: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def global_batch_size(self) -> int:
        """Utterances of one optimizer step over all ranks, where no batch is short."""
        return self.batch_size * self.accumulate * self.world_size


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """One optimizer step in every so many (``--log-every``), and what came since the one told of before.

    Attributes:
        iteration: Its number over the whole run, from 0.
        epoch: From 0.
        batch: How many batches of a rank's epoch are behind it.
        batches: Batches of a rank's epoch.
        loss: Mean over the utterances of this one step, all ranks; None where it was not finite.
        learning_rate: What the step was taken with.
        samples: Utterances since the step told of before, all ranks.
        audio_s: Their speech.
        wall_s: Their time on the host; the loss that was asked for made it wait for the device at the end.
        skipped: Whether a bad loss kept the optimizer from this step.
    """

    iteration: int
    epoch: int
    batch: int
    batches: int
    loss: float | None
    learning_rate: float
    samples: int
    audio_s: float
    wall_s: float
    skipped: bool


@dataclass(frozen=True, kw_only=True)
class BadLoss:
    """A step that was left out because its loss was infinite, not a number, or negative.

    Attributes:
        iteration: Its number over the whole run, from 0.
        epoch: From 0.
        loss: What it was, on the rank that is named.
        rank: The lowest rank whose loss was bad; all ranks leave the step out together.
        numbers: The utterances of that rank's step, by their numbers in the corpus.
        names: What the corpus calls them, their files; empty for synthetic speech.
        in_a_row: How many steps in a row were left out, this one included.
    """

    iteration: int
    epoch: int
    loss: float
    rank: int
    numbers: Sequence[int]
    names: Sequence[str]
    in_a_row: int


@dataclass(frozen=True, kw_only=True)
class EvalFacts:
    """The network on held-out speech. Rates are ratios: 0.15 is 15 %.

    Attributes:
        epoch: From 0; the one just trained, or being trained.
        iteration: Optimizer steps taken so far.
        wer: Word errors over words, of the whole corpus.
        cer: Letter errors over letters.
        mean_utterance_wer: Mean of the utterances' own word error rates; None where it was not taken.
        loss: Mean negative log-likelihood of the utterances; None where it was not taken.
        utterances: How many were evaluated, all ranks.
        wall_s: How long it took.
        averaged: Whether the weights were the running averages (EMA).
        best: Whether no earlier evaluation of this run had a lower word error rate.
        target_reached: Whether ``wer`` is at or under the target.
    """

    epoch: int
    iteration: int
    wer: float
    cer: float
    mean_utterance_wer: float | None
    loss: float | None
    utterances: int
    wall_s: float
    averaged: bool
    best: bool
    target_reached: bool


@dataclass(frozen=True, kw_only=True)
class EpochFacts:
    """One epoch that is done, or the part of it behind which the run ends.

    Attributes:
        epoch: From 0.
        iteration: Optimizer steps taken so far, over the whole run.
        steps: Optimizer steps of this epoch so far, those left out included.
        skipped: How many of them were left out.
        utterances: How many were trained, all ranks, those of bad steps left out.
        loss: Mean over these, each counted once; None without any.
        learning_rate: What its last step was taken with.
        samples: Utterances, all ranks, that this process saw trained: of a resumed epoch only those after the resuming.
        audio_s: Their speech.
        wall_s: Their time, a synchronization at its end, without evaluation and checkpoints.
        evaluation: The evaluation at its end; None where there was none.
    """

    epoch: int
    iteration: int
    steps: int
    skipped: int
    utterances: int
    loss: float | None
    learning_rate: float
    samples: int
    audio_s: float
    wall_s: float
    evaluation: EvalFacts | None


@dataclass(frozen=True, kw_only=True)
class PhaseTime:
    """The time of one phase on one rank, the device waited for at both ends.

    Attributes:
        rank: Whose.
        phase: ``data``, ``forward``, ``evaluation``, ...
        total_ns: Sum.
        count: How often it came.
        min_ns: The shortest.
        max_ns: The longest.
    """

    rank: int
    phase: str
    total_ns: int
    count: int
    min_ns: int
    max_ns: int


class Observer:
    """Looks on. Every method may be left as it is."""

    def run_started(self, run: RunFacts) -> None:
        """Everything is set up, and the first batch will be asked for next."""

    def epoch_started(self, epoch: int, *, batch: int) -> None:
        """Epoch ``epoch`` begins, or goes on behind ``batch`` of its batches."""

    def step_done(self, step: StepFacts) -> None:
        """A step is done; not every step is told of."""

    def bad_loss(self, bad: BadLoss) -> None:
        """A step was left out; every one is told of."""

    def evaluation_started(self, epoch: int, *, iteration: int) -> None:
        """The network is going to be evaluated behind ``iteration`` steps."""

    def evaluated(self, facts: EvalFacts) -> None:
        """It has been."""

    def checkpoint_written(self, path: Path, *, epoch: int, iteration: int) -> None:
        """A checkpoint is on the disk, whole."""

    def timed(self, times: Sequence[PhaseTime]) -> None:
        """The phase timers of all ranks since the last time; with ``--phase-timers`` only."""

    def epoch_done(self, facts: EpochFacts) -> None:
        """An epoch is done, its evaluation and its checkpoint included."""

    def epoch_cut_short(self, facts: EpochFacts) -> None:
        """The run ends in the middle of an epoch, behind its last iteration; evaluated and kept already."""

    def run_stopped(self, status: str, *, epoch: int, iteration: int) -> None:
        """The run is over: :data:`SUCCESS`, :data:`MISSED`, :data:`INTERRUPTED` or :data:`FAILED`."""


class Observers(Observer):
    """Tells several, in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def run_started(self, run: RunFacts) -> None:
        """Passed on."""
        for each in self._observers:
            each.run_started(run)

    def epoch_started(self, epoch: int, *, batch: int) -> None:
        """Passed on."""
        for each in self._observers:
            each.epoch_started(epoch, batch=batch)

    def step_done(self, step: StepFacts) -> None:
        """Passed on."""
        for each in self._observers:
            each.step_done(step)

    def bad_loss(self, bad: BadLoss) -> None:
        """Passed on."""
        for each in self._observers:
            each.bad_loss(bad)

    def evaluation_started(self, epoch: int, *, iteration: int) -> None:
        """Passed on."""
        for each in self._observers:
            each.evaluation_started(epoch, iteration=iteration)

    def evaluated(self, facts: EvalFacts) -> None:
        """Passed on."""
        for each in self._observers:
            each.evaluated(facts)

    def checkpoint_written(self, path: Path, *, epoch: int, iteration: int) -> None:
        """Passed on."""
        for each in self._observers:
            each.checkpoint_written(path, epoch=epoch, iteration=iteration)

    def timed(self, times: Sequence[PhaseTime]) -> None:
        """Passed on."""
        for each in self._observers:
            each.timed(times)

    def epoch_done(self, facts: EpochFacts) -> None:
        """Passed on."""
        for each in self._observers:
            each.epoch_done(facts)

    def epoch_cut_short(self, facts: EpochFacts) -> None:
        """Passed on."""
        for each in self._observers:
            each.epoch_cut_short(facts)

    def run_stopped(self, status: str, *, epoch: int, iteration: int) -> None:
        """Passed on."""
        for each in self._observers:
            each.run_stopped(status, epoch=epoch, iteration=iteration)
