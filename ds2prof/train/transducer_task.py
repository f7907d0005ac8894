"""The transducer as a task: what its forward pass takes, its loss, and greedy decoding.

B  utterances    T  encoder frames    U  labels    H, J, V  features and symbols, as in transducer.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from ds2prof.train.batches import Batch
from ds2prof.train.decoding import Decoded
from ds2prof.train.transducer import State, Transducer, stacked
from ds2prof.train.transducer_cells import cells_of, lengths_on, padded_labels
from ds2prof.train.transducer_config import TransducerConfig
from ds2prof.train.transducer_loss import transducer_loss

_STEPS_BETWEEN_LOOKS: Final = 16
"""Decoding steps between two looks at whether all utterances are done; each look waits for the device."""


class TransducerTask:
    """RNN-T: pieces of text, each said at some frame."""

    def __init__(self, config: TransducerConfig) -> None:
        self._config = config

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Features and labels, padded, each with its lengths on the device and on the host."""
        labels_B = lengths_on(batch.labels.device, batch.label_counts)
        labels_BU = padded_labels(batch.labels, labels_B, batch.label_counts)
        return batch.spect_BFT, batch.frames_B, batch.frame_counts, labels_BU, labels_B, batch.label_counts

    def loss(self, outputs: tuple[Tensor, list[int]], batch: Batch) -> Tensor:
        """The transducer loss: summed over each utterance, averaged over the batch; float32, on the device."""
        logits_NV, counts = outputs
        labels_B = lengths_on(batch.labels.device, batch.label_counts)
        frames_B = stacked(batch.frames_B, self._config.time_stack)
        cells = cells_of(frames_B, labels_B, counts, batch.label_counts)
        labels_BU = padded_labels(batch.labels, labels_B, batch.label_counts)
        return transducer_loss(logits_NV, labels_BU, cells, blank=self._config.blank).mean()

    def greedy(self, network: nn.Module, batch: Batch) -> list[list[int]]:
        """The pieces of each utterance that are the likeliest symbol where they are said."""
        return [list(decoded.symbols) for decoded in self.decode(network, batch)]

    def decode(self, network: nn.Module, batch: Batch) -> list[Decoded]:
        """The same with the frames of the encoder in which they are said.

        One step takes the likeliest symbol of the current frame of every utterance. A piece is kept and goes through
        the prediction network; the blank, or ``max_symbols_per_frame`` pieces in one frame, leads to the next frame.
        An utterance ends with its frames, or with ``max_symbols`` pieces. Networks are applied as they are: put yours
        into evaluation mode.
        """
        model = cast(Transducer, getattr(network, "module", network))
        with torch.no_grad():
            encoded_TBH = model.encode(batch.spect_BFT, batch.frames_B)
            said = _Greedy(model, model.joint.encoder(encoded_TBH).transpose(0, 1), batch)
            return said.run()


@dataclass
class _Progress:
    """How far each utterance is: its frame, its pieces in that frame, its pieces altogether."""

    frame_B: Tensor
    here_B: Tensor
    said_B: Tensor


class _Greedy:
    """One greedy decoding of a batch; everything it knows lies on the device until it is done."""

    def __init__(self, model: Transducer, encoded_BTJ: Tensor, batch: Batch) -> None:
        self._model, self._config = model, model.config
        self._encoded_BTJ = encoded_BTJ
        self._frames_B = stacked(batch.frames_B, model.config.time_stack)
        self._utterance_B = torch.arange(batch.samples, device=encoded_BTJ.device)
        # One column more than can be said, for writing what is not to be kept.
        self._symbols_BS = self._frames_B.new_zeros(batch.samples, model.config.max_symbols + 1)
        self._said_at_BS = torch.zeros_like(self._symbols_BS)

    def run(self) -> list[Decoded]:
        """What each utterance says."""
        hidden_BH, state = self._model.prediction.begin(len(self._utterance_B))
        progress = _Progress(*(torch.zeros_like(self._frames_B) for _ in range(3)))
        # Each step says a piece or goes on by a frame, so this many are enough for any utterance.
        for step in range(self._encoded_BTJ.shape[1] + self._config.max_symbols):
            if step % _STEPS_BETWEEN_LOOKS == 0 and not self._going(progress).any():
                break
            hidden_BH, state = self._step(hidden_BH, state, progress)
        return self._decoded(progress.said_B.tolist())

    def _going(self, progress: _Progress) -> Tensor:
        return (progress.frame_B < self._frames_B) & (progress.said_B < self._config.max_symbols)

    def _step(self, hidden_BH: Tensor, state: State, progress: _Progress) -> tuple[Tensor, State]:
        """Takes one symbol of each utterance; the prediction network's output and state behind it."""
        frame_B = progress.frame_B.clamp(max=self._encoded_BTJ.shape[1] - 1)
        sum_BJ = self._encoded_BTJ[self._utterance_B, frame_B] + self._model.joint.prediction(hidden_BH)
        best_B = self._model.joint.symbols(sum_BJ).argmax(dim=-1)
        speaks_B = self._going(progress) & (best_B != self._config.blank)

        place_B = torch.where(speaks_B, progress.said_B, self._config.max_symbols)
        self._symbols_BS[self._utterance_B, place_B] = best_B
        self._said_at_BS[self._utterance_B, place_B] = progress.frame_B
        progress.said_B += speaks_B
        progress.here_B += speaks_B
        moves_B = ~speaks_B | (progress.here_B >= self._config.max_symbols_per_frame)
        progress.frame_B += moves_B
        progress.here_B.masked_fill_(moves_B, 0)

        label_B = best_B.masked_fill(~speaks_B, 0)
        next_BH, next_state = self._model.prediction.advance(label_B, state)
        kept = speaks_B[:, None]
        values = [torch.where(kept, new, old) for new, old in zip(next_state, state, strict=True)]
        return torch.where(kept, next_BH, hidden_BH), (values[0], values[1])

    def _decoded(self, counts: list[int]) -> list[Decoded]:
        rows = zip(self._symbols_BS.tolist(), self._said_at_BS.tolist(), counts, strict=True)
        found = []
        for symbols, said_at, count in rows:
            frames = tuple(said_at[:count])
            found.append(Decoded(tuple(symbols[:count]), frames, frames))
        return found
