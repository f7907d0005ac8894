"""Recurrent layers in all forms that DeepSpeech2 has had, and the convolution that looks ahead of them.

B utterances, longest first; T frames; D features going in, H coming out.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812  # PyTorch's own abbreviation
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ds2prof.train.flop import Frames, linear_flop, lookahead_flop, recurrence_flop
from ds2prof.train.front_end import CLIP
from ds2prof.train.presets import Cell, ModelConfig


class SequenceNorm(nn.Module):
    """Batch normalization of the features over all frames of all utterances, padding included, as the ancestors'."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.normalization = nn.BatchNorm1d(features)

    def forward(self, act_TBD: Tensor) -> Tensor:
        """The normalized ``act_TBD``."""
        return cast(Tensor, self.normalization(act_TBD.flatten(0, 1)).view_as(act_TBD))


class Projection(nn.Module):
    """A linear layer without bias, then batch normalization. (T, B, D) to (T, B, H), 2 D H FLOP a frame."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, hidden, bias=False)
        self.normalization = SequenceNorm(hidden)

    def forward(self, act_TBD: Tensor) -> Tensor:
        """``hidden_TBH``."""
        return cast(Tensor, self.normalization(self.linear(act_TBD)))

    def flop(self, frames: Frames) -> int:
        """FLOP of the forward pass on ``frames``."""
        return linear_flop(self.linear.in_features, self.linear.out_features, frames.laid_out)


def recurrence(cell: Cell, features: int, hidden: int, *, bidirectional: bool, bias: bool) -> nn.RNNBase:
    """One layer of the cell, as PyTorch has it."""
    if cell == "lstm":
        return nn.LSTM(features, hidden, bidirectional=bidirectional, bias=bias)
    if cell == "gru":
        return nn.GRU(features, hidden, bidirectional=bidirectional, bias=bias)
    return nn.RNN(features, hidden, nonlinearity=cell, bidirectional=bidirectional, bias=bias)


def skip_input(plain: nn.RNNBase) -> nn.RNNBase:
    """``plain`` with an identity for its input weights, not trained: its input is added to its state as it is.

    cuDNN has a mode for this, which PyTorch does not reach. The identities are buffers and so no parameters, and are
    left out of the state dict, since they are always the same. Setting the attribute once more is what tells PyTorch's
    recurrent layers of their new weight.
    """
    for name in [name for name, _ in plain.named_parameters() if name.startswith("weight_ih")]:
        identity = torch.eye(plain.hidden_size)
        delattr(plain, name)
        plain.register_buffer(name, identity, persistent=False)
        setattr(plain, name, identity)
    return plain


class RecurrentLayer(nn.Module):
    """Normalization or projection, recurrence in one or two directions, their sum, and where asked a clip.

    Sequences are packed inside, so that what goes in and out are plain tensors and module hooks keep working. Without
    packing the layer runs over the padding, as some ancestors do: forward in time that changes nothing in front of it,
    but a layer that reads from the end has read the padding first, and its results depend on it.

    Shapes: (T, B, D) to (T, B, H). FLOP: :func:`flop.recurrence_flop`, and those of a projection.
    """

    def __init__(self, features: int, config: ModelConfig, *, first: bool) -> None:
        super().__init__()
        self.cell = config.cell
        self.directions = config.directions
        self.packed = config.packed
        self.skips_input = config.normalization == "projection"
        self.normalization: nn.Module | None = None
        if self.skips_input:
            self.normalization, features = Projection(features, config.hidden), config.hidden
        elif config.normalization == "input" and not first:
            self.normalization = SequenceNorm(features)
        self.recurrence = recurrence(
            config.cell, features, config.hidden, bidirectional=config.bidirectional, bias=config.recurrent_bias
        )
        if self.skips_input:
            skip_input(self.recurrence)
        self.clip = None if config.recurrent_clip is None else nn.Hardtanh(0, config.recurrent_clip)

    def forward(self, act_TBD: Tensor, count_B: Tensor) -> Tensor:
        """``hidden_TBH``; ``count_B`` are the true lengths, on the host, longest first."""
        if self.normalization is not None:
            act_TBD = self.normalization(act_TBD)
        hidden_TBH = self._summed(self._recurred(act_TBD, count_B))
        return hidden_TBH if self.clip is None else cast(Tensor, self.clip(hidden_TBH))

    def _recurred(self, act_TBD: Tensor, count_B: Tensor) -> Tensor:
        """What both directions give, beside each other."""
        if not self.packed:
            return cast(Tensor, self.recurrence(act_TBD)[0])
        packed, _ = self.recurrence(pack_padded_sequence(act_TBD, count_B))
        return pad_packed_sequence(packed, total_length=act_TBD.shape[0])[0]

    def _summed(self, each_TBD: Tensor) -> Tensor:
        """The sum of the directions."""
        if self.directions == 1:
            return each_TBD
        forward_TBH, backward_TBH = each_TBD.chunk(2, dim=-1)
        return forward_TBH + backward_TBH

    def flop(self, frames: Frames) -> int:
        """FLOP of the forward pass on ``frames``; the product with an identity only among those executed."""
        inputs = 0 if self.skips_input and not frames.executed else self.recurrence.input_size
        recurred = recurrence_flop(
            self.cell,
            inputs,
            self.recurrence.hidden_size,
            directions=self.directions,
            frames=frames.true if self.packed else frames.laid_out,
        )
        return recurred + (self.normalization.flop(frames) if isinstance(self.normalization, Projection) else 0)


class Lookahead(nn.Module):
    """What unidirectional layers lack: each feature's weighted sum over this frame and those to come; clipped ReLU.

    Behind an utterance's end are zeros, which packed layers leave there.

    Shapes: (T, B, H) to the same. FLOP: :func:`flop.lookahead_flop`.
    """

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.convolution = nn.Conv1d(features, features, context, groups=features, bias=False)
        self.activation = nn.Hardtanh(0, CLIP)

    def forward(self, hidden_TBH: Tensor) -> Tensor:
        """``hidden_TBH`` behind the layer."""
        ahead_BHT = F.pad(hidden_TBH.permute(1, 2, 0), (0, self.context - 1))
        return cast(Tensor, self.activation(self.convolution(ahead_BHT)).permute(2, 0, 1).contiguous())

    def flop(self, frames: Frames) -> int:
        """FLOP of the forward pass on ``frames``."""
        return lookahead_flop(self.context, self.convolution.in_channels, frames=frames.laid_out)
