"""DeepSpeech2 in all its forms on a GPU, where recurrent layers are cuDNN's: what comes out is what the host gets."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from ds2prof.train.presets import PRESETS, ModelConfig
from tests.gpu.support import waiting_refused

CONFIGS = {name: preset.model for name, preset in PRESETS.items() if isinstance(preset.model, ModelConfig)}
LENGTHS = (130, 101, 64)


def small(name: str) -> ModelConfig:
    """The preset's network with few features."""
    config = CONFIGS[name]
    return replace(config, hidden=32, fully_connected=(32,) * len(config.fully_connected))


def speech(torch: Any, input_bins: int) -> Any:
    """Random spectrograms of the lengths, zero behind them."""
    spect_BFT = torch.randn(len(LENGTHS), input_bins, max(LENGTHS), generator=torch.Generator().manual_seed(2))
    for row, length in enumerate(LENGTHS):
        spect_BFT[row, :, length:] = 0
    return spect_BFT


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_gradients_are_those_of_the_host(cuda: Any, name: str) -> None:
    from ds2prof.train.device import open_device
    from ds2prof.train.model import DeepSpeech2

    open_device("cuda").prepare("fp32")
    config = small(name)
    cuda.manual_seed(0)
    model = DeepSpeech2(config)
    spect_BFT, frames_B = speech(cuda, config.input_bins), cuda.tensor(LENGTHS)

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


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_network_makes_the_host_wait(place: Any, name: str, precision: str) -> None:
    import torch

    from ds2prof.train.model import DeepSpeech2

    if not place.is_gpu and (name, precision) != ("tbd", "fp32"):
        pytest.skip("a host waits for nothing; one of these shows that the test itself runs")
    config = small(name)
    model = DeepSpeech2(config).to(place.torch_device)
    spect_BFT = speech(torch, config.input_bins).to(place.torch_device)
    frames_B = torch.tensor(LENGTHS).to(place.torch_device)

    def passes() -> None:
        with place.autocast(precision):
            logits_TBV, _ = model(spect_BFT, frames_B, LENGTHS)
        logits_TBV.float().square().mean().backward()

    passes()  # what is set up once may wait
    place.synchronize()
    with waiting_refused(torch):
        passes()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_masks_of_the_front_end_are_the_hosts_and_are_made_without_waiting(place: Any) -> None:
    import torch

    from ds2prof.train.front_end import convolved
    from ds2prof.train.model import DeepSpeech2

    torch.default_generator.manual_seed(0)
    model, spect_BFT, lengths_B = DeepSpeech2(small("tbd")), speech(torch, 161), torch.tensor(LENGTHS)

    def front_end(device: Any) -> Any:
        act_BCFT, frames_B = spect_BFT.to(device).unsqueeze(1), lengths_B.to(device)
        model.to(device)
        for watched in (False, True):  # the first time sets up what may wait
            with waiting_refused(torch) if watched else nullcontext():
                act, frames = act_BCFT, frames_B
                for layer in model.conv:
                    frames = convolved(frames, layer.shape, axis=1)
                    act = layer(act, frames)
        return act.detach().cpu()

    act_BCFT = front_end(torch.device("cpu"))
    there_BCFT = front_end(place.torch_device)
    assert torch.allclose(there_BCFT, act_BCFT, rtol=1e-3, atol=1e-3)
    for row, count in enumerate(model.output_frames(LENGTHS)):
        assert not there_BCFT[row, :, :, count:].any()


@pytest.mark.parametrize("name", ["tbd", "tbd-lookahead", "mlperf"])
def test_greedy_decoding_of_a_network_says_what_it_says_on_the_host(place: Any, name: str) -> None:
    import torch

    from ds2prof.train.batches import Batch
    from ds2prof.train.model import DeepSpeech2
    from ds2prof.train.tasks import CtcTask

    torch.default_generator.manual_seed(0)
    # In float64, where no two symbols are so close that another order of summing turns them around.
    model = DeepSpeech2(small(name)).double().eval()
    labels = torch.ones(3, dtype=torch.int64)
    batch = Batch(speech(torch, 161).double(), torch.tensor(LENGTHS), labels, LENGTHS, (1, 1, 1))
    expected = CtcTask().greedy(model, batch)
    assert any(expected)
    assert CtcTask().greedy(model.to(place.torch_device), batch.to(place.torch_device)) == expected


def test_symbols_and_offsets_are_read_off_logits_as_on_the_host(place: Any) -> None:
    import torch

    from ds2prof.train.decoding import greedy

    logits_TBV = torch.randn(50, 4, 5, generator=torch.Generator().manual_seed(3))
    counts = [50, 33, 1, 0]
    expected = greedy(logits_TBV, counts)
    assert len(expected[0].symbols) > 5
    assert greedy(logits_TBV.to(place.torch_device), counts) == expected
