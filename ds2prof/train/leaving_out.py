"""A step that is left out leaves no trace in the network: batch normalization's statistics go back too.

The forward pass that ended in a bad loss has already moved the running means and variances. One value in them that is
no number would stay there for good, unnoticed while training, where they are not used, and ruin every evaluation.
"""

from __future__ import annotations

import torch
from torch import nn


class KeptBuffers:
    """A copy of a network's buffers as they were before a step.

    Args:
        model: The network, on its device.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = list(model.buffers())
        self._kept = [buffer.detach().clone() for buffer in self._buffers]

    @torch.no_grad()
    def keep(self) -> None:
        """Copies them, on the device."""
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            kept.copy_(buffer)

    @torch.no_grad()
    def put_back(self) -> None:
        """Makes them what they were."""
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            buffer.copy_(kept)
