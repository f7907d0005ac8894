"""The true pairs of a frame and a label position of a batch, in rows: what a transducer computes on.

An utterance of T frames and U labels has T (U + 1) cells. A batch's lie one utterance behind the other; within an
utterance the frame is the slow axis and the label position the fast one. Everything here is found on the device from
lengths that lie there, and how much there is, from the same lengths on the host: nothing is asked of the device.

    B  utterances    N  cells of all utterances
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """The cells of a batch.

    Attributes:
        utterance_N: Which utterance a cell is of.
        frame_N: Its frame.
        position_N: How many labels lie before it.
        frames_B: Frames of each utterance.
        labels_B: Labels of each utterance.
        first_B: The first cell of each utterance.
        frames: Most frames of an utterance.
        positions: Most label positions of an utterance: its labels and one more.
    """

    utterance_N: Tensor
    frame_N: Tensor
    position_N: Tensor
    frames_B: Tensor
    labels_B: Tensor
    first_B: Tensor
    frames: int
    positions: int

    @property
    def fill_their_block(self) -> bool:
        """Whether all utterances are alike, so that a block of B by ``frames`` by ``positions`` has no padding."""
        return len(self.utterance_N) == len(self.first_B) * self.frames * self.positions

    def rows_of_block(self) -> Tensor:
        """Where the cells lie in a block of B by ``frames`` by ``positions``, flattened."""
        return (self.utterance_N * self.frames + self.frame_N) * self.positions + self.position_N


def cells_of(frames_B: Tensor, labels_B: Tensor, frame_counts: Sequence[int], label_counts: Sequence[int]) -> Cells:
    """The cells of a batch.

    Args:
        frames_B: Encoder frames of each utterance, at least 1.
        labels_B: Labels of each utterance, on the same device.
        frame_counts: The frames, on the host.
        label_counts: The labels, on the host.
    """
    assert min(frame_counts) > 0, "an utterance has at least one frame"
    count = sum(frames * (labels + 1) for frames, labels in zip(frame_counts, label_counts, strict=True))
    device, positions_B = frames_B.device, labels_B + 1
    cells_B = frames_B * positions_B
    first_B = cells_B.cumsum(0) - cells_B
    utterance_N = torch.arange(len(cells_B), device=device).repeat_interleave(cells_B, output_size=count)
    inside_N = torch.arange(count, device=device) - first_B[utterance_N]
    frame_N = inside_N // positions_B[utterance_N]
    return Cells(
        utterance_N=utterance_N,
        frame_N=frame_N,
        position_N=inside_N - frame_N * positions_B[utterance_N],
        frames_B=frames_B,
        labels_B=labels_B,
        first_B=first_B,
        frames=max(frame_counts),
        positions=max(label_counts) + 1,
    )


def lengths_on(device: torch.device, counts: Sequence[int]) -> Tensor:
    """The lengths as a tensor on ``device``; the host does not wait for the copy."""
    lengths_B = torch.tensor(counts, dtype=torch.int64)
    if device.type == "cuda":
        lengths_B = lengths_B.pin_memory()
    return lengths_B.to(device, non_blocking=True)


def padded_labels(labels: Tensor, labels_B: Tensor, label_counts: Sequence[int]) -> Tensor:
    """``labels_BU`` from the labels of all utterances one after another, 0 where an utterance's have ended."""
    most = max(label_counts)
    if most == 0:
        return labels.new_zeros(len(label_counts), 0)
    position_1U = torch.arange(most, device=labels.device)[None]
    place_BU = (labels_B.cumsum(0) - labels_B)[:, None] + position_1U
    labels_BU = labels[place_BU.clamp_(max=len(labels) - 1)]
    return labels_BU.masked_fill_(position_1U >= labels_B[:, None], 0)
