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

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch

from ds2prof.errors import Ds2profError, ReadError
from ds2prof.train.batches import Batch
from ds2prof.train.checkpoints import Checkpoint
from ds2prof.train.evaluation import Evaluation
from ds2prof.train.leaving_out import KeptBuffers
from ds2prof.train.observers import (
    FAILED,
    INTERRUPTED,
    MISSED,
    SUCCESS,
    EpochFacts,
    EvalFacts,
    Observer,
    RunFacts,
)
from ds2prof.train.plan import Outcome, Plan, State
from ds2prof.train.randomness import reading, undisturbed
from ds2prof.train.standing import restored, standing
from ds2prof.train.steps import train_step
from ds2prof.train.stopping import StopRequest
from ds2prof.train.tally import Stretch, Tally
from ds2prof.train.telling import (
    bad_loss,
    bad_row,
    epoch_facts,
    epoch_row,
    eval_facts,
    eval_row,
    reached,
    step_facts,
    step_row,
    steps_of_epoch,
)
from ds2prof.train.timers import PhaseTimers
from ds2prof.train.watch import Watch
from ds2prof.train.workload import Workload


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
        self._buffers = KeptBuffers(work.model) if work.skip_bad_loss else None
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
        self._told = self._began = self.tally.so_far()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint of the same run.

        Raises:
            ReadError: it is not one, or damaged.
        """
        self.state = restored(self.work, self.tally, checkpoint)
        if self.state.steps > self.steps_of_epoch:
            raise ReadError(f"{checkpoint.path}: stands behind the end of an epoch; take another checkpoint")
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
        while not self._over() and not reached(self.plan.target_wer, self.state.best_wer):
            ended = self._epoch()
            if ended is not None:
                return ended
        return SUCCESS if self.plan.target_wer is None or reached(self.plan.target_wer, self.state.best_wer) else MISSED

    def _over(self) -> bool:
        """Whether the epochs or the iterations are."""
        plan, state = self.plan, self.state
        return (plan.epochs is not None and state.epoch >= plan.epochs) or self._enough_iterations()

    def _epoch(self) -> str | None:
        """One epoch, or what is left of it; how the run ended with it, None where it goes on."""
        state = self.state
        self._observer.epoch_started(state.epoch, batch=state.batch)
        self._began = self._told = self.tally.so_far()
        with reading(self.work.batches.epoch(state.epoch, state.batch)) as batches:
            while True:
                ended = self._between_steps()
                if ended is not None:
                    self._tell_times()
                    return ended
                if state.steps == self.steps_of_epoch:
                    break
                self._step(batches)
        return self._end_of_epoch()

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

    def _cut_short(self) -> str:
        """The end in the middle of an epoch, because there have been enough iterations."""
        stretch, evaluation = self._stretch_of_epoch(), None
        if self._evaluate is not None and self.state.evaluated_at != self.state.iteration:
            evaluation = self._evaluated(self._evaluate)
        facts = self._epoch_facts(stretch, evaluation)
        self._checkpoint(best=evaluation is not None and evaluation.best)
        self._observer.epoch_cut_short(facts)
        return SUCCESS if self.plan.target_wer is None or reached(self.plan.target_wer, self.state.best_wer) else MISSED

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
        if self._buffers is not None:
            self._buffers.keep()
        if self._watch is not None:
            self._watch.before(here)
        with work.ranges("iteration", here):
            train_step(work, batches, self.tally)
        if self._watch is not None:
            self._watch.after(here)
        self._steps_here += 1
        self._moved_on()
        if self.tally.step_skipped:
            if self._buffers is not None:
                self._buffers.put_back()
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
        self.tally.step.tolist()  # so that the time up to here is the device's too
        now = self.tally.so_far()
        stretch, self._told = now - self._told, now
        batches = self.steps_of_epoch * self.work.accumulate
        facts = step_facts(self.work, self.state, self.tally, stretch=stretch, rate=rate, batches=batches)
        self.state.history.append(step_row(facts))
        self._observer.step_done(facts)

    def _tell_bad(self) -> None:
        """Says whose loss was bad; too many in a row end the run.

        Raises:
            Ds2profError: there were too many.
        """
        bad = bad_loss(self.work, self.state, self.tally, name_of=self._name_of)
        self.state.history.append(bad_row(bad))
        self._observer.bad_loss(bad)
        if bad.in_a_row >= self.plan.bad_steps:
            raise Ds2profError(
                f"iteration {bad.iteration}: the loss was not finite, or negative, {bad.in_a_row} times in a row; take "
                "a smaller --learning-rate or --clip-norm, or another --precision"
            )

    # Evaluation, checkpoints, the end of an epoch

    def _evaluated(self, evaluate: Callable[[], Evaluation]) -> EvalFacts:
        """What the evaluation of the weights as they are says, noted and told of."""
        work, state = self.work, self.state
        self._observer.evaluation_started(state.epoch, iteration=state.iteration)
        started_ns = time.perf_counter_ns()
        weights = nullcontext() if work.average is None else work.average.applied_to(work.model)
        with self.tally.paused(), undisturbed(work.device.torch_device), self._timed("evaluation"), weights:
            work.ranks.share_buffers(work.model)  # so that all ranks evaluate the network that is kept
            found = evaluate()
        wall_ns = time.perf_counter_ns() - started_ns
        facts = eval_facts(found, state, self.plan, averaged=work.average is not None, wall_ns=wall_ns)
        state.best_wer = facts.wer if facts.best else state.best_wer
        state.evaluated_at = state.iteration
        state.history.append(eval_row(facts))
        self._observer.evaluated(facts)
        return facts

    def _stretch_of_epoch(self) -> Stretch:
        """What this process has done of the epoch. Waits for the device."""
        self.work.device.synchronize()
        return self.tally.so_far() - self._began

    def _epoch_facts(self, stretch: Stretch, evaluation: EvalFacts | None) -> EpochFacts:
        """The epoch up to here, over all ranks."""
        rate = self._rate_of(self.state.epoch, self.state.steps - 1)
        return epoch_facts(self.work, self.state, self.tally, stretch=stretch, rate=rate, evaluation=evaluation)

    def _evaluates_epoch(self) -> bool:
        """Whether the end of this epoch is evaluated: with ``eval_every`` only the run's last, unless it just was."""
        plan, state = self.plan, self.state
        if plan.eval_every is None:
            return True
        last = (plan.epochs is not None and state.epoch + 1 >= plan.epochs) or self._enough_iterations()
        return last and state.evaluated_at != state.iteration

    def _end_of_epoch(self) -> str | None:
        """Sums the epoch up, evaluates and keeps it; how the run ended with it, None where it goes on."""
        state, stretch, evaluation = self.state, self._stretch_of_epoch(), None
        if self._evaluate is not None and self._evaluates_epoch():
            evaluation = self._evaluated(self._evaluate)
        facts = self._epoch_facts(stretch, evaluation)
        state.history.append(epoch_row(facts))
        state.next_epoch()
        self.tally.begin_epoch()
        self._checkpoint(best=evaluation is not None and evaluation.best)
        self._tell_times()
        self._observer.epoch_done(facts)
        return SUCCESS if evaluation is not None and evaluation.target_reached else None

    def _tell_times(self) -> None:
        """Says what the phase timers of all ranks have counted."""
        if self._timers is not None:
            ranks = self.work.ranks
            parts = ranks.gathered(self._timers.take(ranks.rank))
            self._observer.timed([each for part in parts for each in part])

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
