"""Which weights of a language model give the fewest errors: a grid of them over a corpus that is gone through once.

The network's output is kept on the host, 4 bytes for each symbol of each frame, so that only the search is repeated.
Weights that were found on a corpus flatter the results on it: search on one, tell the results on another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ds2prof.speech.alphabet import Symbols
from ds2prof.speech.error_rates import total, utterance_errors
from ds2prof.train.batches import Batch, Batches
from ds2prof.train.beam_search import BeamSearch
from ds2prof.train.decoding import Decoded, log_probabilities
from ds2prof.train.device import Device
from ds2prof.train.evaluation import compared, evaluating, require_ctc, says_nothing
from ds2prof.train.tasks import Outputs, Task


@dataclass(frozen=True)
class Emission:
    """What a network says of an utterance.

    Attributes:
        log_probs_TV: The logarithm of each symbol's probability in each frame.
        reference: What was said.
        dur_s: How long it is.
    """

    log_probs_TV: NDArray[np.float32]
    reference: str
    dur_s: float


def emissions_of(
    task: Task, network: nn.Module, batches: Batches, symbols: Symbols, *, device: Device, precision: str
) -> list[Emission]:
    """What the network says of each utterance of a corpus.

    Raises:
        UsageError: it is no network for CTC.
    """
    require_ctc(task)
    found: list[Emission] = []
    with evaluating(network):
        for batch in batches.epoch(0):
            unheard = compared(batch, [Decoded(())] * batch.samples, symbols)
            emitted = _emitted(task, network, batch, device=device, precision=precision)
            for heard, log_probs_TV in zip(unheard, emitted, strict=True):
                found.append(Emission(log_probs_TV, heard.reference, heard.dur_s))
    return found


def _emitted(
    task: Task, network: nn.Module, batch: Batch, *, device: Device, precision: str
) -> list[NDArray[np.float32]]:
    """The logarithm of each symbol's probability in each frame of each utterance, on the host."""
    if says_nothing(network, batch):
        return [np.zeros((0, 0), np.float32)] * batch.samples
    with device.autocast(precision):
        outputs = cast(Outputs, network(*task.inputs(batch.to(device.torch_device))))
    return log_probabilities(*outputs)


def tried(
    emissions: Sequence[Emission], search: BeamSearch, symbols: Symbols, grid: Sequence[tuple[float, float]]
) -> Iterator[dict[str, Any]]:
    """The error rates with each pair of alpha and beta, as soon as they are known."""
    for alpha, beta in grid:
        weighted = search.reweighted(alpha=alpha, beta=beta)
        counts = total(
            utterance_errors(each.reference, symbols.decode(weighted.search(each.log_probs_TV).symbols))
            for each in emissions
        )
        yield {"alpha": alpha, "beta": beta, "wer": counts.wer, "cer": counts.cer}
