"""The TBD suite's DeepSpeech2 as a baseline: its masking loop and its waits, on the modules and weights of ``tbd``.

From a description of that program and in our own words; ``ancestor_training.py`` says what is the ancestor's in it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ds2prof.train.batches import Batch
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import clip_gradients
from ds2prof.train.workload import Workload


class AncestorFrontEnd:
    """The convolutions of a model, each of their six modules followed by the loop over the utterances."""

    def __init__(self, model: DeepSpeech2) -> None:
        self._model = model

    def __call__(self, spect_BFT: Tensor, count_B: Tensor) -> Tensor:
        """What the front end makes of the spectrograms; ``count_B`` are the lengths behind it, on the host."""
        act_BCFT = spect_BFT.unsqueeze(1)
        for layer in self._model.conv:
            for module in (layer.convolution, layer.normalization, layer.activation):
                act_BCFT = self._masked(module(act_BCFT), count_B)
        return act_BCFT

    def _masked(self, act_BCFT: Tensor, count_B: Tensor) -> Tensor:
        mask_BCFT = torch.zeros(act_BCFT.shape, dtype=torch.bool).to(act_BCFT.device)
        frames = act_BCFT.shape[-1]
        for row, count in enumerate(count_B):
            length = count.item()
            if frames > length:
                mask_BCFT[row].narrow(2, length, frames - length).fill_(True)
        return act_BCFT.masked_fill(mask_BCFT, 0)


class AncestorStep:
    """One optimizer step with the ancestor's structure, on the weights and the optimizer of a workload."""

    def __init__(self, work: Workload, batch: Batch) -> None:
        assert isinstance(work.model, DeepSpeech2)
        self._work = work
        self._model = work.model
        self._front_end = AncestorFrontEnd(work.model)
        self._spect_BFT = batch.spect_BFT.clone()  # pageable, wherever the batch itself lies
        self._share_B = torch.tensor([frames / batch.spect_BFT.shape[-1] for frames in batch.frame_counts])
        self._batch = batch

    def __call__(self) -> None:
        """Takes it."""
        loss = self.loss()
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is not finite: a step that is left out is none to compare with")
        self._work.optimizer.zero_grad()
        loss.backward()
        clip_gradients(self._model, self._work.preset.optimizer)
        self._work.optimizer.step()

    def loss(self) -> Tensor:
        """The loss of the batch, on the device."""
        work, device = self._work, self._work.device
        frames_B = (self._share_B * self._spect_BFT.shape[-1]).round().int()
        spect_BFT = self._spect_BFT.to(device.torch_device)
        count_B = ancestor_lengths(frames_B, self._model)
        with device.autocast(work.precision):
            act_BCFT = self._front_end(spect_BFT, count_B)
            hidden_TBH = act_BCFT.flatten(1, 2).permute(2, 0, 1).contiguous()
            for layer in self._model.rnn:
                hidden_TBH = layer(hidden_TBH, count_B)
            logits_TBV = self._model.head(hidden_TBH)
        labels = self._batch.labels.to(device.torch_device)
        on_device = Batch(
            spect_BFT, frames_B, labels, frame_counts=self._batch.frame_counts, label_counts=self._batch.label_counts
        )
        return work.task.loss((logits_TBV, count_B.tolist()), on_device)


def ancestor_lengths(frames_B: Tensor, model: DeepSpeech2) -> Tensor:
    """The lengths behind the front end as the ancestor has them: divided, added to, and cut off in the end."""
    for layer in model.conv:
        shape = layer.shape
        frames_B = (frames_B + 2 * shape.padding[1] - (shape.kernel[1] - 1) - 1) / shape.stride[1] + 1
    return frames_B.int()
