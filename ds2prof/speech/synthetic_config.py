"""Which synthetic speech a workload trains on, declared. Needs neither NumPy nor PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ds2prof.errors import UsageError

ORDERS: Final = ("bins", "ascending")


@dataclass(frozen=True)
class SyntheticConfig:
    """The lengths of synthetic utterances and the order they are visited in.

    The lengths are DeepMark's, 100 to 1,500 frames of 10 ms with 7 to 209 labels, unless all are given one length.

    Attributes:
        length_divisor: What DeepMark's lengths and labels are divided by: 5 gives 20 to 300 frames with 1 to 41 labels.
        frames: The length of every utterance in frames of the workload, instead of DeepMark's; None for those.
        labels: How many labels every utterance has; None for as many as DeepMark's of that length have.
        held: The number of the one utterance that stands in every place of every batch; None for all of them.
        order: ``bins`` (consecutive utterances together, the bins in an order of each epoch's own) or ``ascending``.
        frame_ms: From one frame to the next.
        letters_per_label: How many of DeepMark's letters a label stands for where it is a piece of text.
    """

    length_divisor: int = 1
    frames: int | None = None
    labels: int | None = None
    held: int | None = None
    order: str = "bins"
    frame_ms: int = 10
    letters_per_label: int = 1

    def __post_init__(self) -> None:
        for name in ("length_divisor", "frames", "labels", "frame_ms", "letters_per_label"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"synthetic speech: {name} {value}; take 1 or more")
        if self.held is not None and self.held < 0:
            raise UsageError(f"synthetic speech: utterance {self.held} held; they count from 0")
        if self.order not in ORDERS:
            raise UsageError(f"synthetic speech: order {self.order}; take {' or '.join(ORDERS)}")
