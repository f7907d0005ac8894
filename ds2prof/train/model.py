"""DeepSpeech2: convolutions over a spectrogram, recurrent layers, a linear layer to the symbols.

One class for every form of it: a ``ModelConfig`` says which. Tensors carry their shape in their names:

    B  utterances of the batch, longest first      C  channels of a convolution
    F  frequency bins                              H  features of a recurrent layer
    T  frames (after the front end: fewer)         D  features going into a layer
    V  symbols of the vocabulary                   1  an axis of length one

Lengths travel twice: as integers on the host, where packing and CTC want them, and as ``frames_B`` on the device,
where the padding masks are made. So no length is ever copied back, and the forward pass never waits for the device.

**Padding.** A model that is ``masked`` and ``packed`` gives each utterance, in evaluation, what it gets alone, whatever
lies beside it. The forms of MLPerf and Cambricon are neither and do so all the same: their convolutions have no
padding and their layers read forward only. The results of ``deepmark``, ``deepmark-torch`` and ``gru800``, whose
layers read the padding from its end, depend on it, as their ancestors' do; with
``dataclasses.replace(config, masked=True, packed=True)`` they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ds2prof.errors import UsageError
from ds2prof.train.flop import CountedLayer, Frames, backward_flop, frames_of, linear_flop
from ds2prof.train.front_end import CLIP, ConvolutionLayer, convolved
from ds2prof.train.presets import ModelConfig
from ds2prof.train.recurrent import Lookahead, Projection, RecurrentLayer, SequenceNorm


class FullyConnected(nn.Module):
    """A linear layer without bias, batch normalization and clipped ReLU.

    Shapes: (T, B, D) to (T, B, H). FLOP: :func:`flop.linear_flop`.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.projection = Projection(features, outputs)
        self.activation = nn.Hardtanh(0, CLIP)

    def forward(self, act_TBD: Tensor) -> Tensor:
        """``hidden_TBH``."""
        return cast(Tensor, self.activation(self.projection(act_TBD)))

    def flop(self, frames: Frames) -> int:
        """FLOP of the forward pass on ``frames``."""
        return self.projection.flop(frames)


class Head(nn.Module):
    """Normalization, where asked, and the linear layer to the symbols.

    Shapes: (T, B, H) to (T, B, V). FLOP: :func:`flop.linear_flop`.
    """

    def __init__(self, hidden: int, vocabulary: int, *, normalized: bool = True, bias: bool = False) -> None:
        super().__init__()
        self.normalization = SequenceNorm(hidden) if normalized else None
        self.linear = nn.Linear(hidden, vocabulary, bias=bias)

    def forward(self, hidden_TBH: Tensor) -> Tensor:
        """``logits_TBV``, before any softmax."""
        if self.normalization is not None:
            hidden_TBH = self.normalization(hidden_TBH)
        return cast(Tensor, self.linear(hidden_TBH))

    def flop(self, frames: Frames) -> int:
        """FLOP of the forward pass on ``frames``."""
        return linear_flop(self.linear.in_features, self.linear.out_features, frames.laid_out)


class DeepSpeech2(nn.Module):
    """The network that a ``ModelConfig`` declares.

    Shapes: (B, F, T) to (T', B, V), T' by :meth:`output_frames`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.ModuleList()
        channels, bins = 1, config.input_bins
        for convolution in config.convolutions:
            layer = ConvolutionLayer(
                channels, convolution, bins=bins, masked=config.masked, bias=config.convolution_bias
            )
            self.conv.append(layer)
            channels, bins = convolution.channels, layer.bins
        self.rnn = nn.ModuleList()
        features = channels * bins
        for number in range(config.recurrent_layers):
            self.rnn.append(RecurrentLayer(features, config, first=number == 0))
            features = config.hidden
        self.lookahead = Lookahead(features, config.lookahead) if config.lookahead else None
        self.fc = nn.ModuleList()
        for outputs in config.fully_connected:
            self.fc.append(FullyConnected(features, outputs))
            features = outputs
        self.head = Head(features, config.vocabulary, normalized=config.head_normalized, bias=config.head_bias)
        # DistributedDataParallel, which sends all buffers round before every forward pass, reads this.
        self._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.named_buffers() if ".recurrence.weight_ih" in name
        ]

    def forward(self, spect_BFT: Tensor, frames_B: Tensor, frame_counts: Sequence[int]) -> tuple[Tensor, list[int]]:
        """``logits_TBV`` and how many of its T frames are true, for each utterance.

        Args:
            spect_BFT: The spectrograms, longest first, zero where an utterance has ended.
            frames_B: Their true lengths on the device of ``spect_BFT``.
            frame_counts: The same lengths on the host.

        Raises:
            UsageError: the longest is too short for the front end to leave a frame of it.
        """
        counts = self.output_frames(frame_counts)
        if not max(counts):
            raise UsageError(
                f"utterances of {max(frame_counts)} frames: the front end leaves nothing; take longer ones"
            )
        act_BCFT = spect_BFT.unsqueeze(1)
        for layer in self.conv:
            frames_B = convolved(frames_B, cast(ConvolutionLayer, layer).shape, axis=1)
            act_BCFT = layer(act_BCFT, frames_B)
        act_TBD = act_BCFT.permute(3, 0, 1, 2).flatten(2).contiguous()
        count_B = torch.tensor(counts).clamp(min=1)  # packing takes no empty utterance; of its frame none is true
        for layer in self.rnn:
            act_TBD = layer(act_TBD, count_B)
        if self.lookahead is not None:
            act_TBD = self.lookahead(act_TBD)
        for layer in self.fc:
            act_TBD = layer(act_TBD)
        return self.head(act_TBD), counts

    def output_frames(self, frame_counts: Sequence[int]) -> list[int]:
        """How many frames the front end leaves of each of ``frame_counts``; computed on the host."""
        return self._convolved_frames(frame_counts)[-1]

    def _convolved_frames(self, frame_counts: Sequence[int]) -> list[list[int]]:
        """The same behind each convolution."""
        behind: list[list[int]] = []
        counts = list(frame_counts)
        for convolution in self.config.convolutions:
            counts = [convolved(count, convolution, axis=1) for count in counts]
            behind.append(counts)
        return behind

    def layers(self) -> dict[str, nn.Module]:
        """Name -> layer, in the order of the forward pass: a chain in which each layer feeds the next alone."""
        named: dict[str, nn.Module] = {f"conv.{index}": layer for index, layer in enumerate(self.conv)}
        named |= {f"rnn.{index}": layer for index, layer in enumerate(self.rnn)}
        if self.lookahead is not None:
            named["lookahead"] = self.lookahead
        named |= {f"fc.{index}": layer for index, layer in enumerate(self.fc)}
        return named | {"head": self.head}

    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flop(self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool) -> dict[str, int]:
        """Layer -> FLOP of the forward pass; ``flop.py`` says what counts.

        Args:
            frame_counts: True frames of each utterance's spectrogram.
            label_counts: Their labels, on which no layer of this network depends; CTC, which does, is no layer.
            padded: Whether everything that is executed counts, or the model's own FLOP alone.
        """
        assert len(frame_counts) == len(label_counts)
        behind = [frames_of(counts, padded=padded) for counts in self._convolved_frames(frame_counts)]
        layers = cast(dict[str, CountedLayer], self.layers())
        frames = [*behind, *[behind[-1]] * (len(layers) - len(behind))]
        return {name: layer.flop(each) for (name, layer), each in zip(layers.items(), frames, strict=True)}

    def backward_flop(
        self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool
    ) -> dict[str, int]:
        """Layer -> FLOP of the backward pass: twice the forward pass, the first convolution's once."""
        forward = self.flop(frame_counts, label_counts, padded=padded)
        return backward_flop(forward, input_products=next(iter(forward.values())))
