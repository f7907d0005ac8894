"""DeepSpeech2: masked convolutions over a spectrogram, bidirectional LSTMs, a linear layer to the symbols.

Tensors carry their shape in their names:

    B  utterances of the batch, longest first      C  channels of a convolution
    F  frequency bins                              H  features of a recurrent layer
    T  frames (after the front end: fewer)         D  features going into a layer
    V  symbols of the vocabulary                   1  an axis of length one

Lengths travel twice: as integers on the host, where packing and CTC want them, and as ``frames_B`` on the device,
where the padding masks are made. So no length is ever copied back, and the forward pass never waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ds2prof.train.presets import Convolution, ModelConfig

_IntOrTensor = TypeVar("_IntOrTensor", int, Tensor)


def convolved(length: _IntOrTensor, convolution: Convolution, *, axis: int) -> _IntOrTensor:
    """The length of ``axis`` (0 frequency, 1 time) behind a convolution; of one length or of a tensor of them."""
    reach = convolution.kernel[axis] - 2 * convolution.padding[axis]
    return (length - reach) // convolution.stride[axis] + 1


class ConvolutionLayer(nn.Module):
    """Convolution, batch normalization and clipped ReLU, with the padding set back to zero after each of the three.

    Without that an utterance's result would depend on the batch it lies in: normalization moves the padding away from
    zero, and the next convolution reaches into it.
    """

    def __init__(self, channels: int, convolution: Convolution) -> None:
        super().__init__()
        self.shape = convolution
        self.convolution = nn.Conv2d(
            channels, convolution.channels, convolution.kernel, stride=convolution.stride, padding=convolution.padding
        )
        self.normalization = nn.BatchNorm2d(convolution.channels)
        self.activation = nn.Hardtanh(0, 20)

    def forward(self, act_BCFT: Tensor, frames_B: Tensor) -> Tensor:
        """``act_BCFT`` behind the layer; ``frames_B`` are the true lengths behind it, on its device."""
        act_BCFT = self.convolution(act_BCFT)
        # One comparison on the device makes the mask of the whole batch; broadcasting lays it over C and F.
        frame_T = torch.arange(act_BCFT.shape[-1], device=act_BCFT.device)
        padding_B11T = (frame_T >= frames_B[:, None])[:, None, None, :]
        # In place: what the backward pass keeps of each step is its input, so its output is free to be changed. The
        # second mask changes no result, since the activation works on each value alone; the ancestor has it, so it
        # is part of the workload.
        act_BCFT = act_BCFT.masked_fill_(padding_B11T, 0)
        act_BCFT = self.normalization(act_BCFT).masked_fill_(padding_B11T, 0)
        return cast(Tensor, self.activation(act_BCFT).masked_fill_(padding_B11T, 0))


class SequenceNorm(nn.Module):
    """Batch normalization of the features over all frames of all utterances, padding included, as the ancestor's."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.normalization = nn.BatchNorm1d(features)

    def forward(self, act_TBD: Tensor) -> Tensor:
        """The normalized ``act_TBD``."""
        return cast(Tensor, self.normalization(act_TBD.flatten(0, 1)).view_as(act_TBD))


class RecurrentLayer(nn.Module):
    """A bidirectional LSTM whose directions are summed, normalized at its input unless it is the first.

    Sequences are packed inside, so that what goes in and out are plain tensors and module hooks keep working.
    """

    def __init__(self, features: int, hidden: int, *, normalized: bool) -> None:
        super().__init__()
        self.normalization = SequenceNorm(features) if normalized else None
        self.lstm = nn.LSTM(features, hidden, bidirectional=True)

    def forward(self, act_TBD: Tensor, count_B: Tensor) -> Tensor:
        """``hidden_TBH``; ``count_B`` are the true lengths, on the host, longest first."""
        if self.normalization is not None:
            act_TBD = self.normalization(act_TBD)
        packed, _ = self.lstm(pack_padded_sequence(act_TBD, count_B))
        both_TBD, _ = pad_packed_sequence(packed, total_length=act_TBD.shape[0])
        forward_TBH, backward_TBH = both_TBD.chunk(2, dim=-1)
        return forward_TBH + backward_TBH


class Head(nn.Module):
    """Normalization and the linear layer to the symbols."""

    def __init__(self, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.normalization = SequenceNorm(hidden)
        self.linear = nn.Linear(hidden, vocabulary, bias=False)

    def forward(self, hidden_TBH: Tensor) -> Tensor:
        """``logits_TBV``, before any softmax."""
        return cast(Tensor, self.linear(self.normalization(hidden_TBH)))


class DeepSpeech2(nn.Module):
    """The network that a ``ModelConfig`` declares."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.ModuleList()
        channels, bins = 1, config.input_bins
        for convolution in config.convolutions:
            self.conv.append(ConvolutionLayer(channels, convolution))
            channels, bins = convolution.channels, convolved(bins, convolution, axis=0)
        self.rnn = nn.ModuleList()
        features = channels * bins
        for layer in range(config.recurrent_layers):
            self.rnn.append(RecurrentLayer(features, config.hidden, normalized=layer > 0))
            features = config.hidden
        self.head = Head(config.hidden, config.vocabulary)

    def forward(self, spect_BFT: Tensor, frames_B: Tensor, frame_counts: Sequence[int]) -> tuple[Tensor, list[int]]:
        """``logits_TBV`` and how many of its T frames are true, for each utterance.

        Args:
            spect_BFT: The spectrograms, longest first, zero where an utterance has ended.
            frames_B: Their true lengths on the device of ``spect_BFT``.
            frame_counts: The same lengths on the host.
        """
        act_BCFT = spect_BFT.unsqueeze(1)
        for layer in self.conv:
            frames_B = convolved(frames_B, cast(ConvolutionLayer, layer).shape, axis=1)
            act_BCFT = layer(act_BCFT, frames_B)
        act_TBD = act_BCFT.flatten(1, 2).permute(2, 0, 1).contiguous()
        counts = self.output_frames(frame_counts)
        count_B = torch.tensor(counts)
        for layer in self.rnn:
            act_TBD = layer(act_TBD, count_B)
        return self.head(act_TBD), counts

    def output_frames(self, frame_counts: Sequence[int]) -> list[int]:
        """How many frames the front end leaves of each of ``frame_counts``; computed on the host."""
        counts = list(frame_counts)
        for convolution in self.config.convolutions:
            counts = [convolved(count, convolution, axis=1) for count in counts]
        return counts

    def layers(self) -> dict[str, nn.Module]:
        """Name -> layer, in the order of the forward pass: a chain in which each layer feeds the next alone."""
        named = {f"conv.{index}": layer for index, layer in enumerate(self.conv)}
        named |= {f"rnn.{index}": layer for index, layer in enumerate(self.rnn)}
        return named | {"head": self.head}

    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())
