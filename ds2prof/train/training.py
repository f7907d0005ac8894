"""Training by epochs: steps, evaluations and checkpoints until a target is reached or the epochs are over.

A run goes on from a checkpoint as if it had never stopped. So everything that decides what comes next is either in the
checkpoint or follows from numbers that are: the batches from (seed, epoch, batch), the learning rate from (epoch,
step), the random numbers from their saved states. Evaluation and the reading of data leave PyTorch's random numbers as
they were, so the curve is the same however often one evaluates.

Nothing in an epoch waits for the device except where something is told (``log_every``), where the workload was made to
look at every loss (``skip_bad_loss``), and, with several processes, where they agree on whether to stop: behind each
step whose loss is looked at anyway, else behind those that are told of.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

import torch

from ds2prof.errors import Ds2profError, MissingDataError, UsageError
from ds2prof.train.batches import Batch
from ds2prof.train.checkpoints import Checkpoint
from ds2prof.train.evaluation import Evaluation
from ds2prof.train.observers import (
    FAILED,
    INTERRUPTED,
    MISSED,
    SUCCESS,
    BadLoss,
    EpochFacts,
    EvalFacts,
    Observer,
    RunFacts,
    StepFacts,
)
from ds2prof.train.plan import Outcome, Plan, State
from ds2prof.train.randomness import reading, undisturbed
from ds2prof.train.standing import restored, standing
from ds2prof.train.steps import train_step
from ds2prof.train.stopping import StopRequest
from ds2prof.train.tally import Stretch, Tally
from ds2prof.train.timers import PhaseTimers
from ds2prof.train.watch import Watch
from ds2prof.train.workload import Workload
from ds2prof.units import MS_PER_S, NS_PER_S

_TIMING: Final = ("samples", "audio_s", "wall_s")
"""What two runs of the same training differ in: how much of an epoch one process saw, and how long that took."""


class Keeper(Protocol):
    """Keeps checkpoints."""

    def keep(self, values: Mapping[str, Any], *, best: bool) -> Path:
        """Writes a checkpoint; where it is."""


class Training:
    """A run of a workload.

    Args:
        work: What is trained.
        plan: How long.
        rate_of: The learning rate of a step, from its epoch and its number within that.
        observer: Told what happens, on rank 0.
        stop: Asked between steps.
        evaluate: How well the weights do, over all ranks; None where there is nothing to evaluate on.
        keeper: Where checkpoints go, asked on rank 0; None keeps none.
        watch: What records some of the steps; None for none.
        name_of: What the corpus calls an utterance.
        stepped: Told, on rank 0, where the run stands before each step.
    """

    def __init__(
        self,
        work: Workload,
        plan: Plan,
        *,
        rate_of: Callable[[int, int], float],
        observer: Observer,
        stop: StopRequest,
        evaluate: Callable[[], Evaluation] | None = None,
        keeper: Keeper | None = None,
        watch: Watch | None = None,
        name_of: Callable[[int], str] | None = None,
        stepped: Callable[[State], object] | None = None,
    ) -> None:
        self.work = work
        self.plan = plan
        self.state = State()
        self.tally = Tally(work.device, accumulate=work.accumulate)
        self.steps_of_epoch = steps_of_epoch(work, plan.limit_batches)
        self._timers = work.timers if isinstance(work.timers, PhaseTimers) else None
        self._rate_of = rate_of
        self._observer = observer if work.ranks.first else Observer()
        self._stop = stop
        self._evaluate = evaluate
        self._keeper = keeper
        self._watch = watch
        self._name_of = name_of
        self._stepped = stepped if work.ranks.first else None
        self._steps_here = 0
        self._written_at: tuple[int, int] | None = None
        self._told = self.tally.so_far()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint of the same run.

        Raises:
            ReadError: it is not one.
        """
        self.state = restored(self.work, self.tally, checkpoint)
        self._written_at = (self.state.epoch, self.state.iteration)

    # The run

    def run(self, facts: RunFacts) -> Outcome:
        """Trains to the end, whichever it is.

        Raises:
            Ds2profError: too many steps in a row had a bad loss, or something could not be read or written.
        """
        status = FAILED
        self._observer.run_started(facts)
        try:
            status = self._epochs()
        finally:
            if self._watch is not None:
                self._watch.close()
            self._observer.run_stopped(status, epoch=self.state.epoch, iteration=self.state.iteration)
        state = self.state
        return Outcome(status=status, epoch=state.epoch, iteration=state.iteration, best_wer=state.best_wer)

    def _epochs(self) -> str:
        """Epochs, until one of them ends the run; how it ended."""
        while not self._over() and not self._reached(self.state.best_wer):
            ended = self._epoch()
            if ended is not None:
                return ended
        return SUCCESS if self.plan.target_wer is None or self._reached(self.state.best_wer) else MISSED

    def _over(self) -> bool:
        """Whether the epochs or the iterations are."""
        plan, state = self.plan, self.state
        return (plan.epochs is not None and state.epoch >= plan.epochs) or self._enough_iterations()

    def _epoch(self) -> str | None:
        """One epoch, or what is left of it; how the run ended with it, None where it goes on."""
        state = self.state
        self._observer.epoch_started(state.epoch, batch=state.batch)
        began = self._told = self.tally.so_far()
        with reading(self.work.batches.epoch(state.epoch, state.batch)) as batches:
            while True:
                ended = self._between_steps()
                if ended is not None:
                    return ended
                if state.steps == self.steps_of_epoch:
                    break
                self._step(batches)
        return self._end_of_epoch(began)

    def _between_steps(self) -> str | None:
        """What is due where the run stands: a checkpoint, an evaluation, the end.

        A run that goes on from a checkpoint finds due what was not done yet when that was written.
        """
        plan, state = self.plan, self.state
        if self._told_to_stop():
            self._checkpoint()
            return INTERRUPTED
        ended = state.steps == self.steps_of_epoch
        if self._due(plan.eval_every) and state.evaluated_at != state.iteration and self._evaluate is not None:
            facts = self._evaluated(self._evaluate)
            self._checkpoint(best=facts.best)
            if facts.target_reached:
                return SUCCESS
        if self._due(plan.checkpoint_every) and not ended:
            self._checkpoint()
        return self._cut_short() if self._enough_iterations() and not ended else None

    def _due(self, every: int | None) -> bool:
        return every is not None and self.state.iteration > 0 and self.state.iteration % every == 0

    def _enough_iterations(self) -> bool:
        return self.plan.max_iterations is not None and self.state.iteration >= self.plan.max_iterations

    def _reached(self, wer: float | None) -> bool:
        return self.plan.target_wer is not None and wer is not None and wer <= self.plan.target_wer

    def _cut_short(self) -> str:
        """The end in the middle of an epoch, because there have been enough iterations."""
        best = False
        if self._evaluate is not None and self.state.evaluated_at != self.state.iteration:
            best = self._evaluated(self._evaluate).best
        self._checkpoint(best=best)
        return SUCCESS if self.plan.target_wer is None or self._reached(self.state.best_wer) else MISSED

    def _told_to_stop(self) -> bool:
        """Whether a signal came, to any rank; all of them have the same answer."""
        ranks = self.work.ranks
        if not ranks.several:
            return self._stop.requested
        if not (self.work.skip_bad_loss or self._told_of(self.state.iteration - 1)):
            return False
        return ranks.any(torch.tensor(self._stop.requested, device=self.work.device.torch_device))

    # A step

    def _step(self, batches: Iterator[Batch]) -> None:
        """The next step, noted and told of."""
        work, state, here = self.work, self.state, self._steps_here
        if self._stepped is not None:
            self._stepped(state)
        rate = self._rate_of(state.epoch, state.steps)
        for group in work.optimizer.param_groups:
            group["lr"] = rate
        self.tally.begin_step()
        if self._watch is not None:
            self._watch.before(here)
        with work.ranges("iteration", here):
            train_step(work, batches, self.tally)
        if self._watch is not None:
            self._watch.after(here)
        self._steps_here += 1
        self._moved_on()
        if self.tally.step_skipped:
            self._tell_bad()
        if self._told_of(state.iteration - 1):
            self._tell_step(rate)

    def _moved_on(self) -> None:
        """Counts the step."""
        state, skipped = self.state, self.tally.step_skipped
        self.tally.end_step()
        state.iteration += 1
        state.steps += 1
        state.batch += self.work.accumulate
        state.skipped += skipped
        state.bad_in_row = state.bad_in_row + 1 if skipped else 0

    def _told_of(self, number: int) -> bool:
        """Whether observers are told of the step of this number."""
        return (number + 1) % self.plan.log_every == 0

    def _tell_step(self, rate: float) -> None:
        """Says how the step went, over all ranks. Waits for the device."""
        state, tally = self.state, self.tally
        total, counted = tally.step.tolist()
        now = tally.so_far()  # the device has come this far, for its loss is here
        stretch, self._told = now - self._told, now
        sums = self.work.ranks.summed((total, counted, stretch.samples, stretch.audio_ms), self.work.device)
        loss = sums[0] / sums[1] if math.isfinite(sums[0]) else None
        number = state.iteration - 1
        row = {"iteration": number, "epoch": state.epoch, "loss": loss, "learning_rate": rate}
        state.history.append({"step": {**row, "skipped": tally.step_skipped}})
        self._observer.step_done(
            StepFacts(
                iteration=number,
                epoch=state.epoch,
                batch=state.batch,
                batches=self.steps_of_epoch * self.work.accumulate,
                loss=loss,
                learning_rate=rate,
                samples=round(sums[2]),
                audio_s=sums[3] / MS_PER_S,
                wall_s=stretch.wall_ns / NS_PER_S,
                skipped=tally.step_skipped,
            )
        )

    def _tell_bad(self) -> None:
        """Says whose loss was bad; too many in a row end the run.

        Raises:
            Ds2profError: there were too many.
        """
        state, number = self.state, self.state.iteration - 1
        parts = self.work.ranks.gathered((self.tally.step_loss(), tuple(self.tally.numbers)))
        rank = next((rank for rank, (loss, _) in enumerate(parts) if not 0 <= loss < math.inf), 0)
        loss, numbers = parts[rank]
        row = {"iteration": number, "epoch": state.epoch, "loss": str(loss), "rank": rank, "numbers": list(numbers)}
        state.history.append({"bad_loss": row})
        names = () if self._name_of is None else tuple(map(self._name_of, numbers))
        self._observer.bad_loss(
            BadLoss(
                iteration=number,
                epoch=state.epoch,
                loss=loss,
                rank=rank,
                numbers=numbers,
                names=names,
                in_a_row=state.bad_in_row,
            )
        )
        if state.bad_in_row >= self.plan.bad_steps:
            raise Ds2profError(
                f"iteration {number}: the loss was not finite, or negative, {state.bad_in_row} times in a row; take a "
                "smaller --learning-rate or --clip-norm, or another --precision"
            )

    # Evaluation, checkpoints, the end of an epoch

    def _evaluated(self, evaluate: Callable[[], Evaluation]) -> EvalFacts:
        """What the evaluation of the weights as they are says, noted and told of."""
        work, state = self.work, self.state
        self._observer.evaluation_started(state.epoch, iteration=state.iteration)
        started_ns = time.perf_counter_ns()
        weights = nullcontext() if work.average is None else work.average.applied_to(work.model)
        with self.tally.paused(), undisturbed(work.device.torch_device), self._timed("evaluation"), weights:
            found = evaluate()
        facts = self._eval_facts(found, wall_ns=time.perf_counter_ns() - started_ns)
        state.best_wer = facts.wer if facts.best else state.best_wer
        state.evaluated_at = state.iteration
        row = asdict(facts)
        timing = {"wall_s": row.pop("wall_s")}
        state.history.append({"evaluation": {**row, "timing": timing}})
        self._observer.evaluated(facts)
        return facts

    def _eval_facts(self, found: Evaluation, *, wall_ns: int) -> EvalFacts:
        """An evaluation, set beside those before.

        Raises:
            MissingDataError: there was nothing to be right or wrong about.
        """
        state = self.state
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
            averaged=self.work.average is not None,
            best=state.best_wer is None or found.wer < state.best_wer,
            target_reached=self._reached(found.wer),
        )

    def _end_of_epoch(self, began: Stretch) -> str | None:
        """Sums the epoch up, evaluates and keeps it; how the run ended with it, None where it goes on."""
        plan, state = self.plan, self.state
        self.work.device.synchronize()
        stretch = self.tally.so_far() - began
        evaluation = None
        if plan.eval_every is None and self._evaluate is not None:
            evaluation = self._evaluated(self._evaluate)
        facts = self._epoch_facts(stretch, evaluation)
        if self._timers is not None:
            parts = self.work.ranks.gathered(self._timers.take(self.work.ranks.rank))
            self._observer.timed([each for part in parts for each in part])
        row = {name: value for name, value in asdict(facts).items() if name not in _TIMING and name != "evaluation"}
        state.history.append({"epoch": {**row, "timing": {name: getattr(facts, name) for name in _TIMING}}})
        state.next_epoch()
        self.tally.begin_epoch()
        self._checkpoint(best=evaluation is not None and evaluation.best)
        self._observer.epoch_done(facts)
        return SUCCESS if evaluation is not None and evaluation.target_reached else None

    def _epoch_facts(self, stretch: Stretch, evaluation: EvalFacts | None) -> EpochFacts:
        """The epoch, over all ranks."""
        state, work = self.state, self.work
        total, counted = self.tally.sums.tolist()
        sums = work.ranks.summed((total, counted, stretch.samples, stretch.audio_ms), work.device)
        return EpochFacts(
            epoch=state.epoch,
            iteration=state.iteration,
            steps=state.steps,
            skipped=state.skipped,
            utterances=round(sums[1]),
            loss=sums[0] / sums[1] if sums[1] else None,
            learning_rate=self._rate_of(state.epoch, state.steps - 1),
            samples=round(sums[2]),
            audio_s=sums[3] / MS_PER_S,
            wall_s=stretch.wall_ns / NS_PER_S,
            evaluation=evaluation,
        )

    def _checkpoint(self, *, best: bool = False) -> None:
        """Writes a checkpoint, unless the last one stands where the run does; every rank waits until it is written."""
        work, state = self.work, self.state
        here = (state.epoch, state.iteration)
        if self._keeper is None or (here == self._written_at and not best):
            return
        with self.tally.paused(), self._timed("checkpoint"):
            values = standing(work, state, self.tally)
            if work.ranks.first:
                path = self._keeper.keep(values, best=best)
                self._observer.checkpoint_written(path, epoch=state.epoch, iteration=state.iteration)
            work.ranks.wait()
        self._written_at = here

    def _timed(self, phase: str) -> AbstractContextManager[None]:
        """A context that the phase timers time, where there are some."""
        return nullcontext() if self._timers is None else self._timers.timed(phase, nullcontext())


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
