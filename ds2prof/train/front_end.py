"""The convolutions over the spectrogram, and how long an utterance is behind them.

B utterances, C channels, F frequency bins, T frames; 1 is an axis of length one.
"""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ds2prof.train.flop import Frames, convolution_flop
from ds2prof.train.presets import Convolution

_IntOrTensor = TypeVar("_IntOrTensor", int, Tensor)

CLIP = 20.0
"""Where the clipped ReLU of all DeepSpeech2 systems ends."""


def convolved(length: _IntOrTensor, convolution: Convolution, *, axis: int) -> _IntOrTensor:
    """The length of ``axis`` (0 frequency, 1 time) behind a convolution; of one length or of a tensor of them.

    Whole numbers throughout, where deepspeech.pytorch divides and cuts off. What is too short leaves nothing.
    """
    reach = convolution.kernel[axis] - 2 * convolution.padding[axis]
    left = (length - reach) // convolution.stride[axis] + 1
    return left.clamp(min=0) if isinstance(left, Tensor) else max(left, 0)


class ConvolutionLayer(nn.Module):
    """Convolution, batch normalization and clipped ReLU; masked, the padding is zero again behind each of them.

    Without a mask an utterance's result can depend on the batch it lies in: normalization moves the padding away from
    zero, and a convolution with padding of its own reaches into it. In training the padding's values are part of the
    batch's statistics either way.

    Shapes: (B, C, F, T) to (B, C', F', T'), lengths by :func:`convolved`. FLOP: :func:`flop.convolution_flop`.
    """

    def __init__(
        self, channels: int, convolution: Convolution, *, bins: int, masked: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        self.shape = convolution
        self.channels = channels
        self.bins = convolved(bins, convolution, axis=0)
        self.masked = masked
        self.convolution = nn.Conv2d(
            channels,
            convolution.channels,
            convolution.kernel,
            stride=convolution.stride,
            padding=convolution.padding,
            bias=bias,
        )
        self.normalization = nn.BatchNorm2d(convolution.channels)
        self.activation = nn.Hardtanh(0, CLIP, inplace=True)

    def forward(self, act_BCFT: Tensor, frames_B: Tensor) -> Tensor:
        """``act_BCFT`` behind the layer; ``frames_B`` are the true lengths behind it, on its device."""
        if act_BCFT.device.type == "cpu":  # a tenth faster there: oneDNN has no layout to change and to change back
            act_BCFT = act_BCFT.contiguous(memory_format=torch.channels_last)
        act_BCFT = self.convolution(act_BCFT)
        if not self.masked:
            return cast(Tensor, self.activation(self.normalization(act_BCFT)))
        # One comparison on the device makes the mask of the whole batch; broadcasting lays it over C and F. What the
        # backward pass keeps of convolution and normalization is their input, so that their outputs are free to be
        # changed in place. A third mask behind the activation would find nothing: what is zero stays zero.
        frame_T = torch.arange(act_BCFT.shape[-1], device=act_BCFT.device)
        padding_B11T = (frame_T >= frames_B[:, None])[:, None, None, :]
        act_BCFT = act_BCFT.masked_fill_(padding_B11T, 0)
        act_BCFT = self.normalization(act_BCFT).masked_fill_(padding_B11T, 0)
        return cast(Tensor, self.activation(act_BCFT))

    def flop(self, frames: Frames) -> int:
        """FLOP of the forward pass that gives ``frames``."""
        return convolution_flop(self.shape, channels=self.channels, bins=self.bins, frames=frames.laid_out)
