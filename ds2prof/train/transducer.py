"""The RNN transducer: an encoder of the speech, a predictor of the next piece of text, and a joint network of both.

Tensors carry their shape in their names:

    B  utterances of the batch                     F  features of an input frame
    T  frames (behind the time stacking: fewer)    D  features going into a layer
    U  labels of an utterance, and one position    H  features of a recurrent layer
       more in front, before the first label       J  features of the joint network
    N  cells: the true pairs of a frame and a      V  symbols: the pieces, then the blank
       label position, utterance by utterance

The joint network has an output for each frame and label position. Of these only the true ones are computed on, packed
into rows (:mod:`ds2prof.train.transducer_cells`): an utterance shorter than the batch's longest is so in both of its
axes, and the padding would grow with the product.

An utterance's result does not depend on the batch it lies in. All LSTMs read forward only, so what lies behind an
utterance's end comes too late for it; where the time stacking would join its last frame with one from behind the end,
zeros stand there. The LSTMs run over the padding, as the ancestor's: cuDNN has its fastest kernels for sequences that
are not packed, and so has the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ds2prof.train.flop import GATES, backward_flop, frames_of, linear_flop, recurrence_flop
from ds2prof.train.transducer_cells import Cells, cells_of
from ds2prof.train.transducer_config import TransducerConfig

_IntOrTensor = TypeVar("_IntOrTensor", int, Tensor)
State = tuple[Tensor, Tensor]
"""What an LSTM remembers: hidden and cell values, each layers by B by H."""


def stacked(length: _IntOrTensor, factor: int) -> _IntOrTensor:
    """How many frames are left of ``length`` when ``factor`` become one; zeros fill up the last one."""
    return (length + factor - 1) // factor


def stack_time(act_TBD: Tensor, factor: int) -> Tensor:
    """``act_TBD`` with ``factor`` neighbouring frames side by side in one: fewer frames of more features."""
    frames, utterances, features = act_TBD.shape
    act_TBD = nn.functional.pad(act_TBD, (0, 0, 0, 0, 0, -frames % factor))
    together = act_TBD.view(-1, factor, utterances, features).transpose(1, 2)
    return together.reshape(-1, utterances, factor * features)


def lstm(features: int, hidden: int, config: TransducerConfig, *, layers: int, dropout: float) -> nn.LSTM:
    """An LSTM that begins as the ancestor's: forgetting little, and with small weights.

    The forget gates' biases add up to ``config.forget_bias``; then all weights and biases are multiplied by
    ``config.lstm_weight_scale``, these included, which makes the default 0.5 in the end.
    """
    module = nn.LSTM(features, hidden, num_layers=layers, dropout=dropout if layers > 1 else 0)
    with torch.no_grad():
        for name, values in module.named_parameters():
            if name.startswith("bias_"):  # the gates lie in the order input, forget, cell, output
                values[hidden : 2 * hidden] = config.forget_bias if name.startswith("bias_ih") else 0
            values.mul_(config.lstm_weight_scale)
    return module


def lstm_flop(module: nn.LSTM, steps: int) -> int:
    """FLOP of all layers of an LSTM in ``steps`` steps."""
    features = [module.input_size, *[module.hidden_size] * (module.num_layers - 1)]
    return sum(recurrence_flop("lstm", each, module.hidden_size, directions=1, frames=steps) for each in features)


def applied(module: nn.LSTM, act_XBD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """``hidden_XBH`` of a sequence of any kind, and what the LSTM remembers behind it.

    On the host it stays in float32 under autocast: oneDNN's LSTM has no 16-bit types on processors without instructions
    for them, and nothing in PyTorch takes its place.
    """
    with torch.autocast("cpu", enabled=False) if act_XBD.device.type == "cpu" else nullcontext():
        hidden_XBH, state = module(act_XBD, state)
    return hidden_XBH, cast(State, state)


class EncoderPart(nn.Module):
    """Some LSTM layers over the frames, with dropout behind each."""

    def __init__(self, features: int, config: TransducerConfig, *, layers: int) -> None:
        super().__init__()
        dropout = config.encoder_dropout
        self.lstm = lstm(features, config.encoder_hidden, config, layers=layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, act_TBD: Tensor) -> Tensor:
        """``hidden_TBH``; what lies behind an utterance's end in it means nothing."""
        return cast(Tensor, self.dropout(applied(self.lstm, act_TBD)[0]))


class Prediction(nn.Module):
    """What the labels so far say of the next: an embedding and LSTM layers, with dropout behind each of these."""

    def __init__(self, config: TransducerConfig) -> None:
        super().__init__()
        hidden, dropout = config.prediction_hidden, config.prediction_dropout
        self.embedding = nn.Embedding(config.pieces, hidden)
        self.lstm = lstm(hidden, hidden, config, layers=config.prediction_layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, labels_BU: Tensor) -> Tensor:
        """``hidden_UBH`` with one position more than there are labels: the first has seen none of them."""
        return self._through(nn.functional.pad(self.embedding(labels_BU.T), (0, 0, 0, 0, 1, 0)))[0]

    def begin(self, utterances: int) -> tuple[Tensor, State]:
        """``hidden_BH`` before the first label, and the state to go on from."""
        weight = self.embedding.weight
        hidden_1BH, state = self._through(weight.new_zeros(1, utterances, weight.shape[1]))
        return hidden_1BH[0], state

    def advance(self, label_B: Tensor, state: State) -> tuple[Tensor, State]:
        """``hidden_BH`` behind one more label of each utterance, and the state to go on from."""
        hidden_1BH, state = self._through(self.embedding(label_B[None]), state)
        return hidden_1BH[0], state

    def _through(self, act_UBD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden_UBH, state = applied(self.lstm, act_UBD, state)
        return self.dropout(hidden_UBH), state


class Joint(nn.Module):
    """Encoder and prediction, added for each pair of a frame and a label position, and what that says of the symbol."""

    def __init__(self, config: TransducerConfig) -> None:
        super().__init__()
        self.encoder = nn.Linear(config.encoder_hidden, config.joint_hidden)
        self.prediction = nn.Linear(config.prediction_hidden, config.joint_hidden)
        self.dropout = nn.Dropout(config.joint_dropout)
        self.output = nn.Linear(config.joint_hidden, config.vocabulary)

    def forward(self, encoded_TBH: Tensor, predicted_UBH: Tensor, cells: Cells) -> Tensor:
        """``logits_NV`` of the true cells, before any softmax."""
        encoded_BTJ = self.encoder(encoded_TBH).transpose(0, 1)
        predicted_BUJ = self.prediction(predicted_UBH).transpose(0, 1)
        sum_NJ = (encoded_BTJ[:, :, None] + predicted_BUJ[:, None]).flatten(0, 2)
        if not cells.fill_their_block:
            sum_NJ = sum_NJ.index_select(0, cells.rows_of_block())
        return self.symbols(sum_NJ)

    def symbols(self, sum_NJ: Tensor) -> Tensor:
        """``logits_NV`` of sums of both sides."""
        return cast(Tensor, self.output(self.dropout(torch.relu_(sum_NJ))))


class Transducer(nn.Module):
    """The network that a ``TransducerConfig`` declares."""

    def __init__(self, config: TransducerConfig) -> None:
        super().__init__()
        self.config = config
        between = config.time_stack * config.encoder_hidden
        self.encoder = nn.ModuleDict(
            {
                "before": EncoderPart(config.input_features, config, layers=config.encoder_layers_before),
                "behind": EncoderPart(between, config, layers=config.encoder_layers_behind),
            }
        )
        self.prediction = Prediction(config)
        self.joint = Joint(config)

    def forward(
        self,
        spect_BFT: Tensor,
        frames_B: Tensor,
        frame_counts: Sequence[int],
        labels_BU: Tensor,
        labels_B: Tensor,
        label_counts: Sequence[int],
    ) -> tuple[Tensor, list[int]]:
        """``logits_NV`` of all true cells, utterance by utterance, and how many frames the encoder leaves of each.

        Args:
            spect_BFT: The features; what lies behind an utterance's end does not matter.
            frames_B: Their true lengths on the device of ``spect_BFT``.
            frame_counts: The same lengths on the host.
            labels_BU: The labels, any piece where an utterance's have ended.
            labels_B: How many labels each has, on the device.
            label_counts: The same on the host.
        """
        counts = self.output_frames(frame_counts)
        cells = cells_of(stacked(frames_B, self.config.time_stack), labels_B, counts, label_counts)
        encoded_TBH = self.encode(spect_BFT, frames_B)
        # Behind the encoder, so that its backward pass comes before the encoder's and not in the midst of it.
        predicted_UBH = self.prediction(labels_BU)
        return self.joint(encoded_TBH, predicted_UBH, cells), counts

    def encode(self, spect_BFT: Tensor, frames_B: Tensor) -> Tensor:
        """``encoded_TBH`` of the features; true are as many frames of it as :meth:`output_frames` says."""
        act_TBD = self.encoder["before"](spect_BFT.permute(2, 0, 1).contiguous())
        frame_T1 = torch.arange(act_TBD.shape[0], device=act_TBD.device)[:, None]
        act_TBD = act_TBD.masked_fill((frame_T1 >= frames_B)[:, :, None], 0)
        return cast(Tensor, self.encoder["behind"](stack_time(act_TBD, self.config.time_stack)))

    def output_frames(self, frame_counts: Sequence[int]) -> list[int]:
        """How many frames the encoder leaves of each of ``frame_counts``; computed on the host."""
        return [stacked(count, self.config.time_stack) for count in frame_counts]

    def layers(self) -> dict[str, nn.Module]:
        """Name -> layer, in the order of the forward pass; the backward pass goes through them in the reverse order."""
        named = {f"encoder.{name}": part for name, part in self.encoder.items()}
        return named | {"prediction": self.prediction, "joint": self.joint}

    def flop(self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool) -> dict[str, int]:
        """Layer -> FLOP of the forward pass (:mod:`ds2prof.train.flop`).

        Args:
            frame_counts: Frames of each utterance.
            label_counts: Labels of each utterance.
            padded: Whether to count what a batch of these utterances executes, with all padding but that of the cells,
                or the utterances alone.
        """
        config, counts = self.config, self.output_frames(frame_counts)
        cells = sum(t * (u + 1) for t, u in zip(counts, label_counts, strict=True))
        read = frames_of(frame_counts, padded=padded).laid_out
        frames = frames_of(counts, padded=padded).laid_out
        positions = frames_of([count + 1 for count in label_counts], padded=padded).laid_out
        sides = linear_flop(config.encoder_hidden, config.joint_hidden, frames)
        sides += linear_flop(config.prediction_hidden, config.joint_hidden, positions)
        return {
            "encoder.before": lstm_flop(cast(EncoderPart, self.encoder["before"]).lstm, read),
            "encoder.behind": lstm_flop(cast(EncoderPart, self.encoder["behind"]).lstm, frames),
            "prediction": lstm_flop(self.prediction.lstm, positions),
            "joint": sides + linear_flop(config.joint_hidden, config.vocabulary, cells),
        }

    def backward_flop(
        self, frame_counts: Sequence[int], label_counts: Sequence[int], *, padded: bool
    ) -> dict[str, int]:
        """Layer -> FLOP of the backward pass; the arguments are those of :meth:`flop`."""
        config, forward = self.config, self.flop(frame_counts, label_counts, padded=padded)
        read = frames_of(frame_counts, padded=padded).laid_out
        gates = GATES["lstm"] * config.encoder_hidden
        return backward_flop(forward, input_products=linear_flop(config.input_features, gates, read))

    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())
