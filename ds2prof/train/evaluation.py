"""How well a network understands: error rates and loss over a corpus of which nothing is left out.

The network is in evaluation mode meanwhile: batch normalization by its running statistics, no dropout. Each utterance's
result is then its own, whatever batch it lies in, so that batch size and number of processes change nothing but time;
but for ``gru800``, ``deepmark`` and ``deepmark-torch``, whose layers read padding from its end, as their ancestors' do
(:mod:`ds2prof.train.model`). Utterances come longest first, so that padding is little there.

What is compared is the text that the symbols make, runs of white space being one space, with the reference as the
symbols can write it (``Symbols.normalized``): a character that no symbol stands for is nobody's error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ds2prof.errors import UsageError
from ds2prof.speech.alphabet import Symbols
from ds2prof.speech.error_rates import ErrorCounts, rates, total, utterance_errors
from ds2prof.train.batches import Batch, Batches
from ds2prof.train.decoding import Decoded, Decoder, greedy
from ds2prof.train.device import Device
from ds2prof.train.distributed import Ranks
from ds2prof.train.tasks import CtcTask, Network, Outputs, Task
from ds2prof.units import MS_PER_S


@dataclass(frozen=True)
class Heard:
    """One utterance as it was understood.

    Attributes:
        number: Its number in the corpus.
        reference: What was said.
        hypothesis: What was heard.
        errors: How the two differ.
        dur_s: How long it is, by its frames.
        score: The natural logarithm of what the decoder maximized; None where it has none.
    """

    number: int
    reference: str
    hypothesis: str
    errors: ErrorCounts
    dur_s: float
    score: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What is known after a corpus was gone through.

    Attributes:
        counts: The errors, from which all rates follow.
        loss: The mean over the utterances of the negative log-likelihood of what was said; None without utterances. An
            utterance too short for its labels, whose loss is infinite, counts as zero.
        audio_s: How much speech it was.
        heard: The utterances by their numbers.
    """

    counts: ErrorCounts
    loss: float | None
    audio_s: float
    heard: tuple[Heard, ...]

    @property
    def wer(self) -> float | None:
        """Word errors of the corpus over its words."""
        return self.counts.wer

    @property
    def cer(self) -> float | None:
        """Character errors of the corpus over its characters, spaces included."""
        return self.counts.cer

    @property
    def mean_utterance_wer(self) -> float | None:
        """The mean of the utterances' word error rates: MLPerf's DeepSpeech2 calls it WER."""
        return self.counts.mean_utterance_wer

    def facts(self) -> dict[str, Any]:
        """The rates, the counts behind them and the loss, for a document."""
        return {**rates(self.counts), "loss": self.loss, "audio_s": self.audio_s}


@dataclass(frozen=True)
class _Part:
    """What one process has to tell."""

    heard: tuple[Heard, ...]
    losses: tuple[float, ...]
    """Of each batch, summed over its utterances."""


def evaluate(
    task: Task,
    network: nn.Module,
    batches: Batches | Iterable[Batch],
    symbols: Symbols,
    *,
    device: Device,
    precision: str,
    decoder: Decoder | None = None,
    ranks: Ranks | None = None,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """How well ``network`` understands ``batches``, those of all ranks together.

    Args:
        task: What the network is for.
        network: On the device. Its modes afterwards are what they were before.
        batches: Each utterance in exactly one batch of one rank; one epoch of them is taken.
        symbols: What the network's symbols stand for.
        device: Where it is computed.
        precision: In which the network is applied.
        decoder: Reads symbols off CTC's output; greedily where None.
        ranks: The processes that evaluate together, each with batches of its own, however many.
        progress: Told how many utterances this process has done.

    Raises:
        UsageError: a decoder for CTC is to read something else.
    """
    if decoder is not None:
        require_ctc(task)
    heard: list[Heard] = []
    losses: list[float] = []
    # The bare network: what averages gradients around it would wait for the other ranks, whose batches may be fewer.
    model = getattr(network, "module", network)
    with evaluating(model):
        for batch in batches if isinstance(batches, Iterable) else batches.epoch(0):
            loss, found = _applied(task, model, batch, device=device, precision=precision, decoder=decoder)
            losses.append(loss * batch.samples)
            heard += compared(batch, found, symbols)
            if progress is not None:
                progress(len(heard))
    return _together((ranks or Ranks()).gathered(_Part(tuple(heard), tuple(losses))))


def _applied(
    task: Task, network: nn.Module, batch: Batch, *, device: Device, precision: str, decoder: Decoder | None
) -> tuple[float, list[Decoded]]:
    """The loss of a batch on the host, and what each of its utterances says."""
    if says_nothing(network, batch):
        return 0.0, [Decoded(())] * batch.samples
    batch = batch.to(device.torch_device)
    with device.autocast(precision):
        outputs = cast(Outputs, network(*task.inputs(batch)))
    return float(task.loss(outputs, batch)), read(task, network, batch, outputs, decoder=decoder)


def require_ctc(task: Task) -> None:
    """Nothing, if what the network says can be searched.

    Raises:
        UsageError: it is no network for CTC.
    """
    if not isinstance(task, CtcTask):
        raise UsageError("--decoder beam: searches the output of CTC; a transducer is decoded greedily")


def says_nothing(network: nn.Module, batch: Batch) -> bool:
    """Whether the front end leaves no frame of any utterance, which networks refuse."""
    return not any(cast(Network, network).output_frames(batch.frame_counts))


def recognized(
    task: Task, network: nn.Module, batch: Batch, *, device: Device, precision: str, decoder: Decoder | None = None
) -> list[Decoded]:
    """What each utterance of a batch says, without a look at what it should say; in :func:`evaluating`.

    Args:
        task: What the network is for.
        network: On the device.
        batch: On the device; its labels are of no account.
        device: Where it is computed.
        precision: In which the network is applied.
        decoder: Reads symbols off CTC's output; greedily where None.
    """
    with device.autocast(precision):
        if not isinstance(task, CtcTask):
            return cast(Any, task).decode(network, batch)  # type: ignore[no-any-return]
        outputs = network(*task.inputs(batch))
    return read(task, network, batch, outputs, decoder=decoder)


def read(
    task: Task, network: nn.Module, batch: Batch, outputs: Outputs, *, decoder: Decoder | None = None
) -> list[Decoded]:
    """What each utterance says: for CTC from the network's outputs, for a transducer by asking it step by step."""
    if isinstance(task, CtcTask):
        return (decoder or greedy)(*outputs)
    return cast(Any, task).decode(network, batch)  # type: ignore[no-any-return]


def compared(batch: Batch, decoded: Sequence[Decoded], symbols: Symbols) -> list[Heard]:
    """Each utterance of a batch beside what it should say; its own labels are that where it has no text."""
    found = []
    at = 0
    labels = batch.labels.tolist()
    for row, each in enumerate(decoded):
        own = labels[at : at + batch.label_counts[row]]
        at += batch.label_counts[row]
        reference = symbols.decode(own) if batch.texts is None else batch.texts[row]
        hypothesis = " ".join(symbols.decode(each.symbols).split())
        found.append(
            Heard(
                number=batch.numbers[row] if batch.numbers else row,
                reference=reference,
                hypothesis=hypothesis,
                errors=utterance_errors(reference, hypothesis),
                dur_s=batch.frame_counts[row] * batch.frame_ms / MS_PER_S,
                score=each.score,
            )
        )
    return found


def _together(parts: Sequence[_Part]) -> Evaluation:
    """What the processes found, as one; the same whichever of them found what."""
    heard = sorted((each for part in parts for each in part.heard), key=lambda each: each.number)
    losses = [loss for part in parts for loss in part.losses]
    return Evaluation(
        counts=total(each.errors for each in heard),
        loss=math.fsum(losses) / len(heard) if heard else None,
        audio_s=math.fsum(each.dur_s for each in heard),
        heard=tuple(heard),
    )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """A context in which the network is in evaluation mode and keeps nothing for a backward pass."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in before:
            module.training = training
