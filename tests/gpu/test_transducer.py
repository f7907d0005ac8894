"""The transducer on a GPU: loss, gradients and transcripts are the host's, and the host never waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ds2prof.train.transducer_config import TransducerConfig
from tests.gpu.support import waiting_refused

CONFIG = TransducerConfig(
    pieces=30,
    input_features=16,
    encoder_hidden=24,
    prediction_hidden=20,
    joint_hidden=18,
    encoder_dropout=0.0,
    prediction_dropout=0.0,
    joint_dropout=0.0,
)
MIXED = ((23, 17, 9, 1), (7, 9, 0, 2))
"""Frames and labels of utterances of all kinds: one with more labels than the next, one without, one of one frame."""
LONG = ((400, 250), (60, 45))
ALIKE = ((12, 12, 12), (5, 5, 5))
"""No padding anywhere: the cells are all of their block."""
MANY = ((20,) * 80, (40,) * 80)
"""Of more than 3,072 labels the gradient of an embedding is another kernel's, which has to count them first."""


def batch_of(frame_counts: Sequence[int], label_counts: Sequence[int], place: Any) -> Any:
    """Random speech of these lengths on the host, ready to be copied."""
    from ds2prof.train.batches import Features, collate

    random = np.random.default_rng(3)
    utterances = [
        Features(
            number,
            random.standard_normal((CONFIG.input_features, frames)).astype(np.float32),
            random.integers(0, CONFIG.pieces, labels),
        )
        for number, (frames, labels) in enumerate(zip(frame_counts, label_counts, strict=True))
    ]
    return collate(utterances, pin_memory=place.pins_memory, frame_ms=30)


def model_of(config: TransducerConfig, torch: Any) -> Any:
    from ds2prof.train.transducer import Transducer

    torch.default_generator.manual_seed(0)
    return Transducer(config)


@pytest.mark.parametrize("lengths", [MIXED, LONG, ALIKE], ids=["mixed", "long", "alike"])
@pytest.mark.parametrize(
    ("kind", "loss_digits", "gradient_step"),
    [("float64", 1e-10, 1e-10), ("float32", 1e-5, 1e-4), ("bfloat16", 1e-5, 2**-7), ("float16", 1e-5, 2**-10)],
)
def test_the_loss_and_its_gradients_are_those_of_the_host(
    place: Any, lengths: tuple[Sequence[int], Sequence[int]], kind: str, loss_digits: float, gradient_step: float
) -> None:
    import torch

    from ds2prof.train.transducer_cells import cells_of, lengths_on, padded_labels
    from ds2prof.train.transducer_loss import transducer_loss

    frames, labels = lengths
    rows = sum(t * (u + 1) for t, u in zip(frames, labels, strict=True))
    generator = torch.Generator().manual_seed(1)
    logits_NV = (3 * torch.randn(rows, CONFIG.vocabulary, generator=generator)).to(getattr(torch, kind))
    flat = torch.randint(0, CONFIG.pieces, (sum(labels),), generator=generator)
    weight_B = torch.rand(len(frames), generator=generator)

    def passes(device: Any) -> tuple[Any, Any]:
        values_NV = logits_NV.to(device, copy=True).requires_grad_()
        labels_B = lengths_on(device, labels)
        cells = cells_of(lengths_on(device, frames), labels_B, frames, labels)
        labels_BU = padded_labels(flat.to(device), labels_B, labels)
        loss_B = transducer_loss(values_NV, labels_BU, cells, blank=CONFIG.blank)
        loss_B.backward(weight_B.to(device, loss_B.dtype))
        return loss_B.detach().cpu(), values_NV.grad.double().cpu()

    loss_B, gradient_NV = passes(torch.device("cpu"))
    there_B, there_NV = passes(place.torch_device)
    assert there_B.dtype == loss_B.dtype
    assert torch.allclose(there_B, loss_B, rtol=loss_digits, atol=0)
    assert torch.allclose(there_NV, gradient_NV, rtol=0, atol=gradient_step)
    assert float(gradient_NV.abs().max()) > 0.01


def test_what_makes_the_host_wait_is_refused_where_these_tests_say_so(cuda: Any) -> None:
    value = cuda.ones((), device="cuda")
    with waiting_refused(cuda), pytest.raises(RuntimeError, match="synchroniz"):
        value.item()
    assert value.item() == 1


@pytest.mark.parametrize("lengths", [MIXED, MANY], ids=["mixed", "many"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_network_and_loss_do_not_make_the_host_wait(
    place: Any, precision: str, lengths: tuple[Sequence[int], Sequence[int]]
) -> None:
    import torch

    from ds2prof.train.transducer_task import TransducerTask

    task, model = TransducerTask(CONFIG), model_of(CONFIG, torch).to(place.torch_device)
    batch = batch_of(*lengths, place)

    def passes() -> Any:
        there = batch.to(place.torch_device)
        with place.autocast(precision):
            outputs = model(*task.inputs(there))
        loss = task.loss(outputs, there)
        loss.backward()
        return loss.detach()

    first = passes()  # what is set up once may wait
    model.zero_grad()
    place.synchronize()
    with waiting_refused(torch):
        again = passes()
    assert float(again) == pytest.approx(float(first), rel=1e-3 if precision == "fp32" else 2e-2)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_logits_and_gradients_are_those_of_the_host(place: Any) -> None:
    import torch

    from ds2prof.train.transducer_task import TransducerTask

    task, model, batch = TransducerTask(CONFIG), model_of(CONFIG, torch), batch_of(*MIXED, place)

    def passes(device: Any) -> tuple[Any, list[Any]]:
        model.to(device).zero_grad()
        there = batch.to(device)
        logits_NV, counts = outputs = model(*task.inputs(there))
        task.loss(outputs, there).backward()
        assert counts == [12, 9, 5, 1]
        return logits_NV.detach().cpu(), [parameter.grad.cpu() for parameter in model.parameters()]

    logits_NV, gradients = passes(torch.device("cpu"))
    there_NV, there = passes(place.torch_device)
    assert torch.allclose(there_NV, logits_NV, rtol=1e-3, atol=1e-4)
    for one, other in zip(there, gradients, strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm() + 1e-6


def test_greedy_decoding_says_what_it_says_on_the_host(place: Any) -> None:
    import torch

    from ds2prof.train.transducer_task import TransducerTask

    # In float64, where no two symbols are so close that another order of summing turns them around.
    config = replace(CONFIG, lstm_weight_scale=3.0, max_symbols_per_frame=3)
    model, task = model_of(config, torch).double().eval(), TransducerTask(config)
    batch = batch_of(*MIXED, place)
    batch = replace(batch, spect_BFT=batch.spect_BFT.double())
    expected = task.decode(model, batch)
    found = task.decode(model.to(place.torch_device), batch.to(place.torch_device))
    assert found == expected
    assert len({each.symbols for each in expected}) > 1
    assert any(each.symbols for each in expected)
