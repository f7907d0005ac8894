from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import UsageError
from ds2prof.train.front_end import ConvolutionLayer, convolved
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import clip_gradients, ctc_loss
from ds2prof.train.presets import PRESETS, Convolution, ModelConfig, OptimizerConfig
from ds2prof.train.recurrent import Lookahead, RecurrentLayer
from tests.train_support import NANO

CONFIGS = {name: preset.model for name, preset in PRESETS.items() if isinstance(preset.model, ModelConfig)}
READ_THE_PADDING = {"deepmark", "deepmark-torch", "gru800"}
"""Presets whose results depend on it, as their ancestors' do."""


def narrow(config: ModelConfig) -> ModelConfig:
    """The whole structure of ``config``, a few features wide."""
    convolutions = tuple(replace(each, channels=2) for each in config.convolutions)
    return replace(
        config, convolutions=convolutions, hidden=8, fully_connected=tuple(6 for _ in config.fully_connected)
    )


def on_meta(config: ModelConfig) -> DeepSpeech2:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return DeepSpeech2(config)


def largest_difference(model: torch.nn.Module, lengths: Sequence[int]) -> float:
    """Between what utterances get in a batch and what each gets alone."""
    spect_BFT = spectrograms(tuple(lengths))
    logits_TBV, counts = model(spect_BFT, torch.tensor(lengths), lengths)
    differences = []
    for row, length in enumerate(lengths):
        alone_TBV, [count] = model(spect_BFT[row : row + 1, :, :length], torch.tensor([length]), [length])
        assert count == counts[row] == alone_TBV.shape[0]
        differences.append((logits_TBV[:count, row] - alone_TBV[:, 0]).abs().max().item())
    return max(differences)


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


def frames_left(model: DeepSpeech2, length: int) -> int:
    """What PyTorch's own convolutions leave of so many frames; 0 where they refuse them."""
    act_BCFT = torch.empty(1, 1, model.config.input_bins, length, device="meta")
    for layer in model.conv:
        try:
            act_BCFT = layer.convolution(act_BCFT)
        except RuntimeError:
            return 0
    return act_BCFT.shape[-1]


@pytest.mark.parametrize("name", CONFIGS)
def test_output_lengths_are_what_the_convolutions_leave(name: str) -> None:
    model = on_meta(CONFIGS[name])
    lengths = [*range(1, 130), *range(700, 704), *range(1497, 1504)]
    assert model.output_frames(lengths) == [frames_left(model, length) for length in lengths]


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("tbd", {1: 1, 100: 50, 101: 51, 1500: 750}),
        ("mlperf", {30: 0, 31: 1, 100: (100 - 11) // 2 + 1 - 10, 1501: (1501 - 11) // 2 + 1 - 10}),
        ("deepmark-torch", {100: 16, 101: 16, 200: 41, 700: 166, 1500: 366}),
        ("deepmark", {100: 21, 1500: 371}),
    ],
)
def test_output_lengths_are_the_ancestors(name: str, lengths: dict[int, int]) -> None:
    assert on_meta(CONFIGS[name]).output_frames(list(lengths)) == list(lengths.values())


@settings(max_examples=40, deadline=None)
@given(length=st.integers(11, 60), kernel=st.integers(1, 11), stride=st.integers(1, 4), padding=st.integers(0, 6))
def test_a_convolved_length_is_what_the_convolution_leaves(length: int, kernel: int, stride: int, padding: int) -> None:
    convolution = Convolution(1, kernel=(1, kernel), stride=(1, stride), padding=(0, padding))
    layer = torch.nn.Conv2d(1, 1, (1, kernel), stride=(1, stride), padding=(0, padding))
    frames = layer(torch.zeros(1, 1, 1, length)).shape[-1]
    assert convolved(length, convolution, axis=1) == frames
    assert convolved(torch.tensor([length]), convolution, axis=1).tolist() == [frames]


def looped(model: DeepSpeech2, act_BCFT: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """The front end with each utterance's padding set to zero by itself, behind each of its modules."""
    for layer in model.conv:
        lengths = [convolved(length, layer.shape, axis=1) for length in lengths]
        for step in (layer.convolution, layer.normalization, layer.activation):
            rows = zip(step(act_BCFT), lengths, strict=True)
            padded = [torch.nn.functional.pad(row[..., :length], (0, row.shape[-1] - length)) for row, length in rows]
            act_BCFT = torch.stack(padded)
    return act_BCFT


@pytest.mark.parametrize("name", ["tbd", "deepmark"])
def test_the_mask_equals_a_loop_over_the_utterances_in_training(name: str) -> None:
    torch.default_generator.manual_seed(0)
    masked = with_uneven_statistics(DeepSpeech2(replace(narrow(CONFIGS[name]), masked=True))).double()
    plain = copy.deepcopy(masked)
    lengths = (90, 77, 60, 41)
    inputs = [spectrograms(lengths).double().unsqueeze(1).requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())

    act_BCFT, frames_B = inputs[0], torch.tensor(lengths)
    for layer in masked.conv:
        frames_B = convolved(frames_B, layer.shape, axis=1)
        act_BCFT = layer(act_BCFT, frames_B)
    expected_BCFT = looped(plain, inputs[1], lengths)
    weight_BCFT = torch.randn_like(act_BCFT)
    (act_BCFT * weight_BCFT).sum().backward()
    (expected_BCFT * weight_BCFT).sum().backward()

    assert torch.allclose(act_BCFT, expected_BCFT, rtol=0, atol=1e-10)
    gradients = [
        [each.grad for each in (given, *model.conv.parameters())]
        for given, model in zip(inputs, (masked, plain), strict=True)
    ]
    statistics = [list(model.conv.buffers()) for model in (masked, plain)]
    for pair in (gradients, statistics):
        for one, other in zip(*pair, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - READ_THE_PADDING))
def test_a_batch_gives_each_utterance_what_it_gets_alone(name: str) -> None:
    torch.default_generator.manual_seed(0)
    model = with_uneven_statistics(DeepSpeech2(narrow(CONFIGS[name]))).eval()
    assert largest_difference(model, (120, 97, 96, 53)) < 1e-5


@pytest.mark.parametrize("name", sorted(READ_THE_PADDING))
def test_a_form_that_reads_the_padding_no_longer_does_masked_and_packed(name: str) -> None:
    torch.default_generator.manual_seed(0)
    config = narrow(CONFIGS[name])
    model = with_uneven_statistics(DeepSpeech2(config)).eval()
    assert largest_difference(model, (120, 97, 96, 53)) > 1e-3
    freed = DeepSpeech2(replace(config, masked=True, packed=True)).eval()
    freed.load_state_dict(model.state_dict())
    assert largest_difference(freed, (120, 97, 96, 53)) < 1e-5


@pytest.mark.parametrize("name", ["mlperf", "tbd"])
def test_an_utterance_that_is_too_short_has_no_frames_and_spoils_no_other(name: str) -> None:
    torch.default_generator.manual_seed(0)
    convolutions = tuple(replace(each, padding=(each.padding[0], 0)) for each in CONFIGS[name].convolutions)
    model = DeepSpeech2(replace(narrow(CONFIGS[name]), convolutions=convolutions)).eval()
    lengths = (60, 8)
    spect_BFT = spectrograms(lengths)
    logits_TBV, counts = model(spect_BFT, torch.tensor(lengths), lengths)
    alone_TBV, _ = model(spect_BFT[:1], torch.tensor(lengths[:1]), lengths[:1])
    assert counts == [15, 0]
    assert torch.allclose(logits_TBV[:, :1], alone_TBV, rtol=0, atol=1e-5)


def test_a_batch_of_which_nothing_would_be_left_is_refused() -> None:
    model = DeepSpeech2(narrow(CONFIGS["mlperf"]))
    with pytest.raises(UsageError, match="utterances of 30 frames"):
        model(torch.zeros(1, 161, 30), torch.tensor([30]), [30])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_preset_gives_gradients_to_all_its_parameters(name: str) -> None:
    torch.default_generator.manual_seed(0)
    model = DeepSpeech2(narrow(CONFIGS[name]))
    lengths = (90, 61)
    logits_TBV, counts = model(spectrograms(lengths), torch.tensor(lengths), lengths)
    assert logits_TBV.shape == (counts[0], 2, 29)
    ctc_loss(logits_TBV, counts, torch.tensor([1, 2, 3]), [2, 1]).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def recurrent(**changes: Any) -> RecurrentLayer:
    """A recurrent layer of four features that ``tbd`` has behind its first."""
    torch.default_generator.manual_seed(0)
    return RecurrentLayer(6, replace(CONFIGS["tbd"], hidden=4, **changes), first=True)


def test_a_recurrent_layer_sums_its_two_directions() -> None:
    layer = recurrent()
    act_TBD = torch.randn(5, 2, 6)
    both_TBD, _ = layer.recurrence(act_TBD)
    assert torch.allclose(layer(act_TBD, torch.tensor([5, 5])), both_TBD[..., :4] + both_TBD[..., 4:], atol=1e-6)


def test_a_skipped_input_is_added_to_the_state_as_it_is() -> None:
    layer = recurrent(cell="relu", normalization="projection", recurrent_clip=20.0)
    weights = layer.recurrence
    act_TBD = 3 * torch.randn(5, 2, 6)
    projected_TBH = layer.normalization(act_TBD)
    expected_TBH = torch.zeros(5, 2, 4)
    for suffix, frames in (("", range(5)), ("_reverse", range(4, -1, -1))):
        state_BH = torch.zeros(2, 4)
        bias_H = getattr(weights, f"bias_ih_l0{suffix}") + getattr(weights, f"bias_hh_l0{suffix}")
        for frame in frames:
            recurred_BH = state_BH @ getattr(weights, f"weight_hh_l0{suffix}").T
            state_BH = torch.relu(projected_TBH[frame] + recurred_BH + bias_H)
            expected_TBH[frame] += state_BH
    assert torch.allclose(layer(act_TBD, torch.tensor([5, 5])), expected_TBH, atol=1e-6)


def test_what_skips_a_layer_is_clipped_behind_the_sum_of_its_directions() -> None:
    layer = recurrent(cell="relu", normalization="projection", recurrent_clip=0.5)
    hidden_TBH = layer(5 * torch.randn(5, 2, 6), torch.tensor([5, 5]))
    assert hidden_TBH.max().item() == 0.5
    assert hidden_TBH.min().item() >= 0


def test_the_identity_of_a_skipped_input_is_neither_trained_nor_written_down() -> None:
    layer = recurrent(cell="relu", normalization="projection")
    names = {name for name, _ in layer.recurrence.named_parameters()}
    assert names == {f"{kind}_l0{side}" for kind in ("weight_hh", "bias_ih", "bias_hh") for side in ("", "_reverse")}
    assert set(layer.recurrence.state_dict()) == names
    assert {name for name, _ in layer.recurrence.named_buffers()} == {"weight_ih_l0", "weight_ih_l0_reverse"}


def test_the_identities_of_skipped_inputs_are_not_sent_round_among_ranks() -> None:
    model = on_meta(CONFIGS["deepmark"])
    identities = {name for name, _ in model.named_buffers() if "weight_ih" in name}
    assert len(identities) == 14
    assert set(model._ddp_params_and_buffers_to_ignore) == identities


def test_the_identity_of_a_skipped_input_follows_its_layer() -> None:
    layer = recurrent(cell="relu", normalization="projection").eval()
    act_TBD = torch.randn(5, 2, 6)
    counts = torch.tensor([5, 4])
    expected = layer(act_TBD, counts)
    assert torch.allclose(copy.deepcopy(layer).double()(act_TBD.double(), counts).float(), expected, atol=1e-6)
    written = io.BytesIO()
    torch.save(layer.state_dict(), written)
    written.seek(0)
    other = recurrent(cell="relu", normalization="projection").eval()
    with torch.no_grad():
        other.recurrence.weight_hh_l0.zero_()
    other.load_state_dict(torch.load(written, weights_only=True))
    assert torch.equal(other(act_TBD, counts), expected)


def test_a_lookahead_weighs_this_frame_and_those_to_come() -> None:
    torch.default_generator.manual_seed(0)
    layer = Lookahead(3, 4)
    hidden_TBH = torch.randn(9, 2, 3)
    weight_HK = layer.convolution.weight[:, 0]
    expected_TBH = torch.zeros(9, 2, 3)
    for frame in range(9):
        for ahead in range(min(4, 9 - frame)):
            expected_TBH[frame] += weight_HK[:, ahead] * hidden_TBH[frame + ahead]
    assert torch.allclose(layer(hidden_TBH), expected_TBH.clamp(0, 20), atol=1e-6)


def test_layers_are_named_in_the_order_they_run() -> None:
    assert list(DeepSpeech2(NANO.model).layers()) == ["conv.0", "conv.1", "rnn.0", "rnn.1", "head"]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_layers_of_every_preset_are_a_chain_and_hold_all_its_parameters(name: str) -> None:
    torch.default_generator.manual_seed(0)
    model = DeepSpeech2(narrow(CONFIGS[name]))
    names = {layer: layer_name for layer_name, layer in model.layers().items()}
    order: list[tuple[str, type]] = []
    for each in names:
        each.register_forward_hook(lambda layer, _inputs, output: order.append((names[layer], type(output))))
    model(spectrograms((60,)), torch.tensor([60]), [60])
    assert order == [(layer_name, torch.Tensor) for layer_name in model.layers()]
    held = {parameter for layer in model.layers().values() for parameter in layer.parameters()}
    assert held == set(model.parameters())


def test_the_front_end_compiles_as_one_graph() -> None:
    layer = ConvolutionLayer(1, NANO.model.convolutions[0], bins=161)
    act_BCFT = torch.randn(3, 1, 161, 40)
    frames_B = torch.tensor([20, 13, 7])
    expected = layer(act_BCFT, frames_B)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(act_BCFT, frames_B), expected)


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
    clip_gradients(layer, OptimizerConfig())
    assert layer.weight.grad.norm().item() == pytest.approx(400, rel=1e-5)
