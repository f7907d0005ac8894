"""What ``ds2prof train`` says: a line for each epoch on standard output, how far it is on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO

import click

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
)
from ds2prof.units import format_ratio

if TYPE_CHECKING:
    from ds2prof.train.observers import PhaseTime, StepFacts
    from ds2prof.train.plan import State

_PERIOD_S: Final = 0.2
_BAR: Final = 24
_NAMED: Final = 4
"""Utterances of a bad batch that are named."""


class TrainText(Observer):
    """Says what happens.

    Args:
        stream: Where progress goes; it is shown on a terminal alone.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty()
        self._shown = False
        self._said_s = 0.0
        self._began_s = time.monotonic()
        self._began_at = 0
        self._steps_of_epoch = 0
        self._loss: float | None = None
        self._run: RunFacts | None = None

    def of_steps(self, steps: int) -> None:
        """An epoch has so many steps."""
        self._steps_of_epoch = steps

    def run_started(self, run: RunFacts) -> None:
        """What is trained, where, on what."""
        self._run = run
        name = run.preset.name
        device = run.device if run.device_name is None else f"{run.device} ({run.device_name})"
        batch = f"{run.batch_size}"
        if run.accumulate > 1:
            batch += f" x {run.accumulate} accumulated"
        if run.world_size > 1:
            batch += f" x {run.world_size} processes"
        speech = "synthetic speech" if run.train_utterances is None else f"{run.train_utterances:,} utterances"
        held_out = "" if run.eval_utterances is None else f", evaluated on {run.eval_utterances:,}"
        self._line(f"{name}: {run.parameters:,} parameters, {run.precision}, batch {batch}, seed {run.seed}, {device}")
        self._line(f"{speech}{held_out}, {self._steps_of_epoch:,} steps an epoch")

    def epoch_started(self, epoch: int, *, batch: int) -> None:
        """Remaining time is told from here."""
        assert self._run is not None
        self._began_s, self._began_at = time.monotonic(), batch // self._run.accumulate

    def step_done(self, step: StepFacts) -> None:
        """The loss, for the progress line."""
        self._loss = step.loss

    def bad_loss(self, bad: BadLoss) -> None:
        """Which step was left out, and what was in it."""
        named = bad.names or tuple(map(str, bad.numbers))
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        rank = "" if self._run is None or self._run.world_size == 1 else f" on rank {bad.rank}"
        self._note(
            f"iteration {bad.iteration}: loss {bad.loss}{rank}, step left out; utterances "
            f"{', '.join(named[:_NAMED])}{more}"
        )

    def evaluated(self, facts: EvalFacts) -> None:
        """Evaluations in the middle of an epoch; others stand in its line."""
        if self._run is not None and self._run.options.get("eval_every") is not None:
            self._line(f"iteration {facts.iteration}: {rates(facts)}")

    def timed(self, times: Sequence[PhaseTime]) -> None:
        """The phases' times."""
        from ds2prof.train.timers import timer_lines

        for line in timer_lines(times):
            self._line(line)

    def epoch_done(self, facts: EpochFacts) -> None:
        """One line."""
        self._line(epoch_line(facts, epochs=None if self._run is None else self._run.epochs))

    def epoch_cut_short(self, facts: EpochFacts) -> None:
        """One line, which says how much of the epoch it is."""
        self._line(epoch_line(facts, epochs=None, of_steps=self._steps_of_epoch))

    def run_stopped(self, status: str, *, epoch: int, iteration: int) -> None:
        """How it ended."""
        self._clear()
        if status == INTERRUPTED:
            kept = "" if self._run is None or not self._run.options.get("checkpoint_dir") else "; --resume auto goes on"
            self._note(f"told to stop behind iteration {iteration}{kept}")
        elif status == MISSED:
            assert self._run is not None
            self._note(f"the target of {format_ratio(self._run.target_wer)} WER was not reached")
        elif status == SUCCESS and self._run is not None and self._run.target_wer is not None:
            self._line(f"the target of {format_ratio(self._run.target_wer)} WER is reached")
        elif status == FAILED:
            self._note(f"stopped behind iteration {iteration}")

    def stepped(self, state: State) -> None:
        """A step comes next: the progress line, from time to time."""
        now_s = time.monotonic()
        if not self._bar or now_s - self._said_s < _PERIOD_S:
            return
        self._said_s = now_s
        total = max(self._steps_of_epoch, 1)
        filled = _BAR * state.steps // total
        text = f"epoch {state.epoch + 1} [{'#' * filled}{'.' * (_BAR - filled)}] {state.steps}/{total}"
        if self._loss is not None:
            text += f"  loss {self._loss:.3f}"
        done = state.steps - self._began_at
        if done > 0:
            left_s = (now_s - self._began_s) / done * (total - state.steps)
            text += f"  {_clock(left_s)} left"
        if state.skipped:
            text += f"  {state.skipped} skipped"
        self._stream.write(f"\r\x1b[K{text[: max(_columns(self._stream) - 1, 20)]}")
        self._stream.flush()
        self._shown = True

    def note(self, text: str) -> None:
        """A line beside the results."""
        self._note(text)

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False

    def _line(self, text: str) -> None:
        self._clear()
        click.echo(text)

    def _note(self, text: str) -> None:
        from ds2prof.report.text import cleaned

        self._clear()
        click.echo(f"ds2prof train: {cleaned(text)}", err=True)


def rates(facts: EvalFacts) -> str:
    """The error rates, for reading."""
    best = ", best so far" if facts.best else ""
    return f"WER {format_ratio(facts.wer)}, CER {format_ratio(facts.cer)}{best}"


def epoch_line(facts: EpochFacts, *, epochs: int | None, of_steps: int | None = None) -> str:
    """An epoch in one line; one that was cut short, of ``of_steps``, with how far it came."""
    of = "" if epochs is None else f"/{epochs}"
    if of_steps is not None:
        of += f", {facts.steps:,} of {of_steps:,} steps"
    loss = "not known" if facts.loss is None else f"{facts.loss:.4f}"
    parts = [f"epoch {facts.epoch + 1}{of}: loss {loss}"]
    if facts.evaluation is not None:
        parts.append(rates(facts.evaluation))
    if facts.wall_s > 0:
        parts.append(f"{facts.samples / facts.wall_s:.1f} utterances/s")
        parts.append(f"{facts.audio_s / facts.wall_s:.1f} audio s/s")
    parts.append(f"learning rate {facts.learning_rate:.3g}")
    if facts.skipped:
        parts.append(f"{facts.skipped} of {facts.steps} steps left out")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
