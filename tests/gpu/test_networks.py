"""DeepSpeech2 in all its forms on a GPU, where recurrent layers are cuDNN's: what comes out is what the host gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ds2prof.train.presets import PRESETS, ModelConfig

CONFIGS = {name: preset.model for name, preset in PRESETS.items() if isinstance(preset.model, ModelConfig)}
LENGTHS = (130, 101, 64)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_gradients_are_those_of_the_host(cuda: Any, name: str) -> None:
    from ds2prof.train.device import open_device
    from ds2prof.train.model import DeepSpeech2

    open_device("cuda").prepare("fp32")
    config = replace(CONFIGS[name], hidden=32, fully_connected=(32,) * len(CONFIGS[name].fully_connected))
    cuda.manual_seed(0)
    model = DeepSpeech2(config)
    spect_BFT = cuda.randn(len(LENGTHS), config.input_bins, max(LENGTHS))
    for row, length in enumerate(LENGTHS):
        spect_BFT[row, :, length:] = 0
    frames_B = cuda.tensor(LENGTHS)

    def passes() -> tuple[Any, list[Any]]:
        device = next(model.parameters()).device
        model.zero_grad()
        logits_TBV, _ = model(spect_BFT.to(device), frames_B.to(device), LENGTHS)
        logits_TBV.square().mean().backward()
        return logits_TBV.detach().cpu(), [parameter.grad.cpu() for parameter in model.parameters()]

    logits_TBV, gradients = passes()
    model.cuda()
    gpu_logits_TBV, gpu_gradients = passes()
    assert cuda.allclose(gpu_logits_TBV, logits_TBV, rtol=1e-3, atol=1e-3)
    for on_gpu, on_host in zip(gpu_gradients, gradients, strict=True):
        assert (on_gpu - on_host).norm() <= 1e-2 * on_host.norm() + 1e-5
