from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.train.model import ConvolutionLayer, DeepSpeech2, RecurrentLayer, convolved
from ds2prof.train.objective import clip_gradients, ctc_loss
from ds2prof.train.presets import PRESETS, Convolution, SgdConfig
from tests.train_support import NANO


def with_uneven_statistics(model: torch.nn.Module) -> torch.nn.Module:
    """The model with running statistics and biases that move zeros away from zero."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -1, 1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
            torch.nn.init.uniform_(layer.bias, -1, 1)
    return model


def spectrograms(lengths: tuple[int, ...]) -> torch.Tensor:
    spect_BFT = torch.zeros(len(lengths), 161, max(lengths))
    for row, length in enumerate(lengths):
        spect_BFT[row, :, :length] = torch.randn(161, length)
    return spect_BFT


def test_tbd_has_the_parameters_of_the_ancestor() -> None:
    with torch.device("meta"):
        assert DeepSpeech2(PRESETS["tbd"].model).parameter_count() == 86_618_400


def test_the_front_end_of_tbd_has_its_share_of_them() -> None:
    with torch.device("meta"):
        front_end = DeepSpeech2(PRESETS["tbd"].model).conv
    assert sum(parameter.numel() for parameter in front_end.parameters()) == 251_168


def test_tiny_has_the_structure_of_tbd_at_another_size() -> None:
    kinds = []
    for name in ("tbd", "tiny"):
        with torch.device("meta"):
            model = DeepSpeech2(PRESETS[name].model)
        kinds.append({type(module) for module in model.modules()})
    assert kinds[0] == kinds[1]


def test_output_lengths_are_the_ancestors() -> None:
    with torch.device("meta"):
        model = DeepSpeech2(PRESETS["tbd"].model)
    assert model.output_frames([1500, 101, 100, 1]) == [750, 51, 50, 1]


@settings(max_examples=40, deadline=None)
@given(length=st.integers(11, 60), kernel=st.integers(1, 11), stride=st.integers(1, 4), padding=st.integers(0, 6))
def test_a_convolved_length_is_what_the_convolution_leaves(length: int, kernel: int, stride: int, padding: int) -> None:
    convolution = Convolution(1, kernel=(1, kernel), stride=(1, stride), padding=(0, padding))
    layer = torch.nn.Conv2d(1, 1, (1, kernel), stride=(1, stride), padding=(0, padding))
    frames = layer(torch.zeros(1, 1, 1, length)).shape[-1]
    assert convolved(length, convolution, axis=1) == frames
    assert convolved(torch.tensor([length]), convolution, axis=1).tolist() == [frames]


def test_the_mask_equals_a_loop_over_the_utterances() -> None:
    torch.default_generator.manual_seed(0)
    layer = ConvolutionLayer(1, NANO.model.convolutions[0])
    act_BCFT = torch.randn(4, 1, 161, 40)
    lengths = [20, 13, 7, 1]
    masked = layer(act_BCFT, torch.tensor(lengths))

    expected = act_BCFT
    for step in (layer.convolution, layer.normalization, layer.activation):
        expected = step(expected)
        for row, length in enumerate(lengths):
            expected[row, :, :, length:] = 0
    assert torch.equal(masked, expected)


def test_a_batch_gives_each_utterance_what_it_gets_alone() -> None:
    torch.default_generator.manual_seed(0)
    model = with_uneven_statistics(DeepSpeech2(NANO.model)).eval()
    lengths = (60, 41, 40, 17)
    spect_BFT = spectrograms(lengths)
    logits_TBV, counts = model(spect_BFT, torch.tensor(lengths), lengths)
    for row, length in enumerate(lengths):
        alone_TBV, [count] = model(spect_BFT[row : row + 1, :, :length], torch.tensor([length]), [length])
        assert count == counts[row] == alone_TBV.shape[0]
        assert torch.allclose(logits_TBV[:count, row], alone_TBV[:, 0], rtol=0, atol=1e-5)


def test_a_recurrent_layer_sums_its_two_directions() -> None:
    torch.default_generator.manual_seed(0)
    layer = RecurrentLayer(6, 4, normalized=False)
    act_TBD = torch.randn(5, 2, 6)
    both_TBD, _ = layer.lstm(act_TBD)
    assert torch.allclose(layer(act_TBD, torch.tensor([5, 5])), both_TBD[..., :4] + both_TBD[..., 4:], atol=1e-6)


def test_layers_are_named_in_the_order_they_run() -> None:
    assert list(DeepSpeech2(NANO.model).layers()) == ["conv.0", "conv.1", "rnn.0", "rnn.1", "head"]


def test_the_loss_is_the_mean_of_each_utterance_alone() -> None:
    torch.default_generator.manual_seed(0)
    logits_TBV = torch.randn(12, 2, 29)
    together = ctc_loss(logits_TBV, [12, 9], torch.tensor([3, 4, 4, 7, 1]), [3, 2])
    first = ctc_loss(logits_TBV[:, :1], [12], torch.tensor([3, 4, 4]), [3])
    second = ctc_loss(logits_TBV[:9, 1:], [9], torch.tensor([7, 1]), [2])
    assert together.item() == pytest.approx((first.item() + second.item()) / 2, rel=1e-6)


def test_the_loss_of_one_frame_and_one_label_is_its_negative_log_probability() -> None:
    logits_TBV = torch.randn(1, 1, 29)
    expected = -torch.log_softmax(logits_TBV[0, 0], dim=0)[5]
    assert ctc_loss(logits_TBV, [1], torch.tensor([5]), [1]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_an_utterance_too_short_for_its_labels_counts_as_zero() -> None:
    logits_TBV = torch.randn(2, 1, 29, requires_grad=True)
    loss = ctc_loss(logits_TBV, [2], torch.tensor([3, 3, 3]), [3])
    loss.backward()
    assert loss.item() == 0
    assert logits_TBV.grad is not None
    assert not logits_TBV.grad.any()


def test_the_loss_is_float32_whatever_the_network_computed_in() -> None:
    assert ctc_loss(torch.randn(4, 1, 29).bfloat16(), [4], torch.tensor([1]), [1]).dtype == torch.float32


def test_gradients_are_clipped_to_the_norm_of_the_preset() -> None:
    layer = torch.nn.Linear(3, 1, bias=False)
    layer.weight.grad = torch.tensor([[3000.0, 0.0, 4000.0]])
    clip_gradients(layer, SgdConfig())
    assert layer.weight.grad.norm().item() == pytest.approx(400, rel=1e-5)
