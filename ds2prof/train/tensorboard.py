"""A run's curves for TensorBoard.

============================  ===================================================================
``train/loss``                of each step that is told of, where it was finite
``train/learning_rate``       of the same steps
``train/skipped``             steps of the epoch left out so far, written where there is one more
``train/samples_per_s``       of each epoch, the device waited for at its end
``train/audio_s_per_s``       the same in seconds of speech
``train/epoch_loss``          mean over the epoch's utterances
``val/wer``, ``val/cer``      ratios, of each evaluation
``val/mean_utterance_wer``    where it was taken
``val/loss``                  where it was taken
============================  ===================================================================

Their step is the number of optimizer steps taken so far, so the first step is 1 and an evaluation stands where the step
before it does. Each run writes a file of its own that says at which step it begins: TensorBoard then hides what runs
before it had written into the same folder from there on, so no step shows twice, whether a run was resumed or begun
anew.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ds2prof.errors import CaptureError, Ds2profError
from ds2prof.train.observers import BadLoss, EpochFacts, EvalFacts, Observer, RunFacts, StepFacts

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TensorBoard(Observer):
    """Writes the curves.

    Args:
        folder: Where TensorBoard is to look; runs of one training share it.

    Raises:
        Ds2profError: the package ``tensorboard`` is not installed.
        CaptureError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._make = _package()
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._skipped = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaptureError(f"{folder}: cannot make this folder for TensorBoard: {error.strerror}") from None

    def run_started(self, run: RunFacts) -> None:
        """Opens a file, which hides what earlier ones have from the run's first step on."""
        begins = 0 if run.resumed is None else run.iteration + 1
        self._writer = self._make(str(self._folder), purge_step=begins)
        if run.resumed is None:
            self._text("run", _table(run), step=0)

    def epoch_started(self, epoch: int, *, batch: int) -> None:
        """Steps left out are counted by the epoch."""
        self._skipped = 0

    def step_done(self, step: StepFacts) -> None:
        """Loss and learning rate."""
        self._scalar("train/loss", step.loss, step=step.iteration + 1)
        self._scalar("train/learning_rate", step.learning_rate, step=step.iteration + 1)

    def bad_loss(self, bad: BadLoss) -> None:
        """How many steps of the epoch were left out so far."""
        self._skipped += 1
        self._scalar("train/skipped", self._skipped, step=bad.iteration + 1)

    def evaluated(self, facts: EvalFacts) -> None:
        """Error rates and loss."""
        self._scalar("val/wer", facts.wer, step=facts.iteration)
        self._scalar("val/cer", facts.cer, step=facts.iteration)
        self._scalar("val/mean_utterance_wer", facts.mean_utterance_wer, step=facts.iteration)
        self._scalar("val/loss", facts.loss, step=facts.iteration)

    def epoch_done(self, facts: EpochFacts) -> None:
        """What is known of a whole epoch."""
        self._scalar("train/epoch_loss", facts.loss, step=facts.iteration)
        if facts.wall_s > 0:
            self._scalar("train/samples_per_s", facts.samples / facts.wall_s, step=facts.iteration)
            self._scalar("train/audio_s_per_s", facts.audio_s / facts.wall_s, step=facts.iteration)
        if self._writer is not None:
            self._writer.flush()

    def run_stopped(self, status: str, *, epoch: int, iteration: int) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _scalar(self, name: str, value: float | None, *, step: int) -> None:
        if self._writer is not None and value is not None and math.isfinite(value):
            # Doubles: in single precision a rate and the one annealed from it can be read as equal.
            self._writer.add_scalar(name, value, global_step=step, double_precision=True)

    def _text(self, name: str, text: str, *, step: int) -> None:
        if self._writer is not None:
            self._writer.add_text(name, text, global_step=step)


def _table(run: RunFacts) -> str:
    """The run's settings, for the page of texts."""
    rows = {
        "preset": run.preset.name,
        "parameters": f"{run.parameters:,}",
        "device": run.device_name or run.device,
        "precision": run.precision,
        "processes": run.world_size,
        "global batch": run.global_batch_size,
        "seed": run.seed,
        **{name: value for name, value in run.options.items() if value is not None},
    }
    cells = (f"| {name} | {str(value).replace('|', '/')} |" for name, value in rows.items())
    return "\n".join(("| | |", "|---|---|", *cells))


def _package() -> Any:
    """PyTorch's writer.

    Raises:
        Ds2profError: the package that it needs is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise Ds2profError(
            'tensorboard: this package is not installed; pip install "ds2prof[tensorboard]" brings it'
        ) from None
    return SummaryWriter
