"""Floating-point operations by formula: what a layer's shapes say it computes. Needs no PyTorch.

A multiplication and the addition of its product are 2 FLOP. Products of matrices and convolutions are counted, and
nothing that works on each value alone: no bias, normalization, activation or gate. That is what PyTorch's
``FlopCounterMode`` counts too, as far as it goes. It does not see into recurrent layers that run as one operator
(cuDNN's, MIOpen's and oneDNN's) nor into CTC; of those the first are counted here like any other product, the second
by :func:`ctc_flop` alone.

**Two counts.** The *model's* FLOP are those of true frames, however they are computed. The *executed* FLOP are those of
the batch as it is laid out: padding too, except where a packed recurrence leaves it out, and the products with an
identity that stand in for cuDNN's skip-input mode. The ratio of a peak that the model's FLOP reach (MFU) says how well
the chip was used for the task; that of the executed FLOP (HFU), how well it was kept at work.

**Backward.** A product Y = XW has two in its backward pass, for the gradients of X and of W, each as large as itself:
twice the forward pass. The first layer's X is the input, whose gradient nobody asks for: there it is once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ds2prof.train.presets import Cell, Convolution

FLOP_PER_MULTIPLY_ADD: Final = 2
GATES: Final[dict[Cell, int]] = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}
"""Cell -> products of its input, and as many of its state, in each step."""


@dataclass(frozen=True)
class Frames:
    """How many frames of a batch a layer gives, all utterances together.

    Attributes:
        true: Without padding.
        laid_out: With it; as many as ``true`` where the model's own FLOP are asked for.
        executed: Whether everything that is executed counts, or the model's own FLOP alone.
    """

    true: int
    laid_out: int
    executed: bool


class CountedLayer(Protocol):
    """A layer that knows what it computes."""

    def flop(self, frames: Frames) -> int:
        """FLOP of the forward pass that gives ``frames``."""


@dataclass(frozen=True)
class StepFlop:
    """FLOP of a step, forward and backward: the network's products; no loss, no optimizer, nothing twice.

    Attributes:
        model: Those of true frames, however they are computed: what MFU is taken of.
        hardware: Those of the batch as it is laid out, padding and all.
    """

    model: int
    hardware: int


class CountedNetwork(Protocol):
    """A network that knows what its passes compute, layer by layer."""

    def flop(self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool) -> dict[str, int]:
        """Layer -> FLOP of the forward pass."""

    def backward_flop(
        self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool
    ) -> dict[str, int]:
        """Layer -> FLOP of the backward pass."""


def step_flop(network: CountedNetwork, frame_counts: Sequence[int], label_counts: Sequence[int]) -> StepFlop:
    """FLOP of a step over one batch of utterances of these lengths: the forward pass and the exact backward pass."""
    counts = (frame_counts, label_counts)
    true, laid_out = (
        sum(network.flop(*counts, padded=padded).values()) + sum(network.backward_flop(*counts, padded=padded).values())
        for padded in (False, True)
    )
    return StepFlop(model=true, hardware=laid_out)


def frames_of(counts: Sequence[int], *, padded: bool) -> Frames:
    """The frames of a batch with so many true frames for each utterance."""
    true = sum(counts)
    return Frames(true, laid_out=len(counts) * max(counts, default=0) if padded else true, executed=padded)


def convolution_flop(convolution: Convolution, *, channels: int, bins: int, frames: int) -> int:
    """FLOP of a convolution of ``channels`` that gives ``frames`` of ``bins``: 2 Cin kF kT for each value given.

    Taps that lie in the padding of the border count like all others, as they do in FlopCounterMode.
    """
    taps = channels * convolution.kernel[0] * convolution.kernel[1]
    return FLOP_PER_MULTIPLY_ADD * taps * convolution.channels * bins * frames


def linear_flop(inputs: int, outputs: int, rows: int) -> int:
    """FLOP of a linear layer on ``rows`` vectors: 2 D H for each."""
    return FLOP_PER_MULTIPLY_ADD * inputs * outputs * rows


def recurrence_flop(cell: Cell, inputs: int, hidden: int, *, directions: int, frames: int) -> int:
    """FLOP of a recurrent layer: 2 G H (D + H) for each frame and direction, G gates; with D = 0, of its state alone.

    The first step's product with a state of zeros is among them, since it is computed.
    """
    return directions * linear_flop(inputs + hidden, GATES[cell] * hidden, frames)


def lookahead_flop(context: int, features: int, *, frames: int) -> int:
    """FLOP of a convolution over time of each feature by itself: 2 K H for each frame."""
    return FLOP_PER_MULTIPLY_ADD * context * features * frames


def backward_flop(forward: Mapping[str, int], *, input_products: int) -> dict[str, int]:
    """Layer -> FLOP of the backward pass.

    Args:
        forward: Layer -> FLOP of the forward pass, the first layer first.
        input_products: Those of the first layer's FLOP that are products with the network's input.
    """
    backward = {name: 2 * flop for name, flop in forward.items()}
    first = next(iter(forward))
    backward[first] -= input_products
    return backward


_LOG_SUM_2: Final = 8
_LOG_SUM_3: Final = 12
"""log(e^a + e^b) is a maximum, 2 differences from it, 2 exponentials, a sum, a logarithm and the maximum put back; of
three terms 2, 3, 3, 2, 1 and 1."""


def ctc_flop(counts: Sequence[int], label_counts: Sequence[int], *, vocabulary: int) -> dict[str, int]:
    """Pass (``forward``, ``backward``) -> FLOP of CTC on logits, for so many true frames and labels of each utterance.

    None of them lies in a product of matrices, and an exponential or a logarithm counts as one, so they do not belong
    into a ratio to a chip's peak. They are there to be set beside the network's, of which they are a few in 100,000.

    With T frames, V symbols and S = 2 U + 1 states (U labels with blanks around them and between):

    * ``forward``: T (5 V - 1) for the logarithm of the softmax; 13 S (T - 1) for the recursion, in which each state of
      each frame but the first adds up to three in logarithms, 12, and its symbol's value, 1; 8 for the last two states.
    * ``backward``: 13 S (T - 1) for the recursion from the other end; 9 S T to add up each symbol's states, of which
      each is a product of both recursions; 6 V T for the gradient by the symbols' logarithms,
      (e^y - e^(x + loss - y)) g; T (4 V - 1) back through the softmax, g - e^y sum(g).
    """
    forward = backward = 0
    for frames, labels in zip(counts, label_counts, strict=True):
        states = 2 * labels + 1
        recursion = (_LOG_SUM_3 + 1) * states * (frames - 1)
        forward += frames * (5 * vocabulary - 1) + recursion + _LOG_SUM_2
        backward += recursion + (_LOG_SUM_2 + 1) * states * frames + (6 * vocabulary + 4 * vocabulary - 1) * frames
    return {"forward": forward, "backward": backward}
