"""What DeepSpeech2 minimizes: CTC in float32; and gradients clipped by their norm, for every workload."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  # PyTorch's own abbreviation
from torch import Tensor, nn

from ds2prof.train.presets import OptimizerConfig

BLANK = 0


def ctc_loss(logits_TBV: Tensor, counts: Sequence[int], labels: Tensor, label_counts: Sequence[int]) -> Tensor:
    """The CTC loss of a batch, summed over its utterances and divided by their number; float32, on the device.

    The logarithm of the softmax is taken in float32 whatever the network computed in. An utterance too short for its
    labels has an infinite loss; it counts as zero, and so do its gradients.

    The labels are 64-bit, which keeps PyTorch to its own CTC kernels: cuDNN's take 32-bit labels, and only in a batch
    without padding, so that two iterations of one run could be two implementations.

    Args:
        logits_TBV: The network's output.
        counts: True frames of each utterance, on the host.
        labels: The labels of all utterances one after another, on the device of the logits.
        label_counts: Labels of each utterance, on the host.
    """
    log_probs_TBV = F.log_softmax(logits_TBV.float(), dim=-1)
    total = F.ctc_loss(
        log_probs_TBV,
        labels,
        torch.tensor(counts),
        torch.tensor(label_counts),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / len(counts)


def clip_gradients(model: nn.Module, config: OptimizerConfig) -> None:
    """Scales the gradients down to a norm of ``config.clip_norm`` where theirs is larger.

    The norm stays on the device: asking whether it is finite would make the host wait for the whole backward pass.
    """
    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm, error_if_nonfinite=False)
