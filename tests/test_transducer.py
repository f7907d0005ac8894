"""The RNN transducer: sizes, independence of padding, layers, FLOP, decoding, and that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from torch.utils.flop_counter import FlopCounterMode

from ds2prof.errors import UsageError
from ds2prof.inject.nvtx_ranges import PackageRanges
from ds2prof.train.batches import Batch, Features, collate
from ds2prof.train.layers import LayerRanges
from ds2prof.train.optimizers import make_optimizer
from ds2prof.train.presets import PRESETS, OptimizerConfig
from ds2prof.train.ranges import Ranges
from ds2prof.train.trained import shapes_of
from ds2prof.train.transducer import Transducer, stack_time, stacked
from ds2prof.train.transducer_cells import cells_of
from ds2prof.train.transducer_config import TransducerConfig
from ds2prof.train.transducer_task import TransducerTask
from tests.train_support import FakeNvtx

NANO = TransducerConfig(
    pieces=6,
    input_features=8,
    encoder_hidden=12,
    prediction_hidden=10,
    joint_hidden=9,
    encoder_dropout=0.0,
    prediction_dropout=0.0,
    joint_dropout=0.0,
)


def batch_of(frame_counts: Sequence[int], label_counts: Sequence[int], config: TransducerConfig = NANO) -> Batch:
    random = np.random.default_rng(3)
    utterances = [
        Features(
            number,
            random.standard_normal((config.input_features, frames)).astype(np.float32),
            random.integers(0, config.pieces, labels),
        )
        for number, (frames, labels) in enumerate(zip(frame_counts, label_counts, strict=True))
    ]
    return collate(utterances, pin_memory=False, frame_ms=30)


def alone(batch: Batch, row: int) -> Batch:
    """One utterance of the batch without padding."""
    frames, labels = batch.frame_counts[row], batch.label_counts[row]
    first = sum(batch.label_counts[:row])
    return Batch(
        batch.spect_BFT[row : row + 1, :, :frames],
        frames_B=torch.tensor([frames]),
        labels=batch.labels[first : first + labels],
        frame_counts=(frames,),
        label_counts=(labels,),
    )


def nano(**changes: Any) -> Transducer:
    torch.default_generator.manual_seed(0)
    return Transducer(replace(NANO, **changes))


def size(config: TransducerConfig) -> int:
    shapes = shapes_of(replace(PRESETS["rnnt"], model=config))
    return sum(prod(shape) for shape in shapes.values())


def test_it_has_the_parameters_of_the_ancestor() -> None:
    assert size(TransducerConfig()) == 49_071_616


def test_without_padded_features_it_has_the_parameters_of_the_reference() -> None:
    assert size(TransducerConfig(input_features=240)) == 49_006_080


@pytest.mark.parametrize("change", [{"time_stack": 0}, {"joint_dropout": 1.0}, {"pieces": 0}])
def test_a_shape_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        TransducerConfig(**change)


def test_the_blank_is_behind_the_pieces() -> None:
    assert (NANO.blank, NANO.vocabulary) == (6, 7)
    assert Transducer(NANO).joint.output.out_features == 7


def test_time_stacking_puts_neighbours_side_by_side_and_zeros_behind() -> None:
    act_TBD = torch.arange(1.0, 11.0).view(5, 1, 2)
    assert stack_time(act_TBD, 2)[:, 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]]


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_stacked_length_is_what_stacking_leaves(factor: int) -> None:
    for frames in range(1, 8):
        left = stack_time(torch.zeros(frames, 1, 1), factor).shape[0]
        assert stacked(frames, factor) == left
        assert stacked(torch.tensor([frames]), factor).tolist() == [left]


def test_the_forget_gates_begin_at_half_and_all_weights_are_halved() -> None:
    torch.default_generator.manual_seed(5)
    module = Transducer(NANO).encoder["behind"].lstm
    forget = slice(12, 24)
    for layer in range(3):
        assert torch.equal(getattr(module, f"bias_ih_l{layer}")[forget], torch.full((12,), 0.5))
        assert not getattr(module, f"bias_hh_l{layer}")[forget].any()
    bound = 1 / 12**0.5  # PyTorch's own weights are uniform up to here
    largest = max(weight.abs().max().item() for name, weight in module.named_parameters() if "weight" in name)
    assert 0.45 * bound < largest <= 0.5 * bound


def test_a_batch_gives_each_utterance_what_it_gets_alone() -> None:
    model, task = nano().eval(), TransducerTask(NANO)
    batch = batch_of((17, 14, 9, 5, 1), (4, 0, 6, 2, 1))
    batch.spect_BFT[1:, :, 14:] = 100  # not even this comes through
    logits_NV, counts = model(*task.inputs(batch))
    assert counts == [9, 7, 5, 3, 1]
    first = 0
    for row in range(batch.samples):
        own_NV, [count] = model(*task.inputs(alone(batch, row)))
        assert count == counts[row]
        assert torch.allclose(logits_NV[first : first + len(own_NV)], own_NV, rtol=0, atol=1e-5)
        first += len(own_NV)
    assert first == len(logits_NV)


def test_utterances_that_are_alike_need_no_packing_and_give_the_same() -> None:
    model, task = nano().eval(), TransducerTask(NANO)
    batch = batch_of((8, 8), (3, 3))
    logits_NV, _ = model(*task.inputs(batch))
    own_NV, _ = model(*task.inputs(alone(batch, 1)))
    assert torch.allclose(logits_NV[16:], own_NV, rtol=0, atol=1e-5)


def test_the_loss_of_a_batch_is_the_mean_of_each_utterance_alone() -> None:
    model, task = nano().eval(), TransducerTask(NANO)
    batch = batch_of((17, 14, 5), (4, 0, 6))
    losses = [task.loss(model(*task.inputs(one)), one).item() for one in (alone(batch, row) for row in range(3))]
    assert task.loss(model(*task.inputs(batch)), batch).item() == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_gradients_of_a_batch_are_the_mean_of_those_of_each_utterance() -> None:
    model, task = nano(), TransducerTask(NANO)
    batch = batch_of((9, 6), (2, 3))
    task.loss(model(*task.inputs(batch)), batch).backward()
    together = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for one in (alone(batch, row) for row in range(2)):
        (task.loss(model(*task.inputs(one)), one) / 2).backward()
    for parameter, expected in zip(model.parameters(), together, strict=True):
        assert torch.allclose(parameter.grad, expected, rtol=0, atol=1e-6)


def test_the_network_is_its_equations() -> None:
    """One utterance, its LSTMs unrolled by hand over all frames, all label positions and all cells."""
    model, task = nano().eval(), TransducerTask(NANO)
    batch = batch_of((5,), (2,))
    logits_NV, _ = model(*task.inputs(batch))

    hidden = unrolled(model.encoder["before"].lstm, list(batch.spect_BFT[0].T))
    hidden += [torch.zeros(12)]
    encoded = unrolled(
        model.encoder["behind"].lstm, [torch.cat(hidden[at : at + 2]) for at in range(0, len(hidden), 2)]
    )
    embedded = [torch.zeros(10), *model.prediction.embedding.weight[batch.labels]]
    predicted = unrolled(model.prediction.lstm, embedded)
    joint = model.joint
    cells = [
        joint.output(torch.relu(joint.encoder(frame) + joint.prediction(position)))
        for frame in encoded
        for position in predicted
    ]
    assert torch.allclose(logits_NV, torch.stack(cells), atol=1e-6)


def unrolled(module: torch.nn.LSTM, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """An LSTM's outputs, step by step from its weights."""
    for layer in range(module.num_layers):
        weights = [getattr(module, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        hidden, cell = torch.zeros(module.hidden_size), torch.zeros(module.hidden_size)
        outputs = []
        for value in inputs:
            gates = weights[0] @ value + weights[2] + weights[1] @ hidden + weights[3]
            entering, forgetting, new, leaving = gates.chunk(4)
            cell = forgetting.sigmoid() * cell + entering.sigmoid() * new.tanh()
            hidden = leaving.sigmoid() * cell.tanh()
            outputs.append(hidden)
        inputs = outputs
    return inputs


def test_labels_are_no_part_of_the_encoder_and_frames_none_of_the_prediction() -> None:
    model, task = nano().eval(), TransducerTask(NANO)
    batch = batch_of((6,), (2,))
    logits_NV, _ = model(*task.inputs(batch))
    batch.labels[1] = (batch.labels[1] + 1) % NANO.pieces
    changed_NV, _ = model(*task.inputs(batch))
    differs_TU = (logits_NV != changed_NV).any(1).view(3, 3)
    assert differs_TU.tolist() == [[False, False, True]] * 3


@pytest.mark.parametrize("part", ["encoder_dropout", "prediction_dropout", "joint_dropout"])
def test_each_dropout_works_while_training_and_not_in_evaluation(part: str) -> None:
    model, task = nano(**{part: 0.5}), TransducerTask(NANO)
    inputs = task.inputs(batch_of((6,), (2,)))
    assert not torch.equal(model(*inputs)[0], model(*inputs)[0])
    model.eval()
    assert torch.equal(model(*inputs)[0], model(*inputs)[0])


def test_cells_are_counted_out_as_a_loop_would() -> None:
    frames, labels = [3, 1, 2], [1, 2, 0]
    cells = cells_of(torch.tensor(frames), torch.tensor(labels), frames, labels)
    expected = [(b, t, u) for b in range(3) for t in range(frames[b]) for u in range(labels[b] + 1)]
    assert list(
        zip(*(each.tolist() for each in (cells.utterance_N, cells.frame_N, cells.position_N)), strict=True)
    ) == (expected)
    assert not cells.fill_their_block
    assert cells.rows_of_block().tolist() == [(b * 3 + t) * 3 + u for b, t, u in expected]


def test_flop_are_those_that_pytorch_counts_where_it_sees_the_products() -> None:
    # Without oneDNN PyTorch takes an LSTM on the host apart into products that its counter knows.
    model, task = nano(), TransducerTask(NANO)
    batch = batch_of((17, 14, 9), (4, 0, 6))
    expected = model.flop(batch.frame_counts, batch.label_counts, padded=True)
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        model(*task.inputs(batch))
    counted = counter.get_flop_counts()
    assert {name: sum(counted[f"Transducer.{name}"].values()) for name in expected} == expected


def test_backward_flop_are_those_that_pytorch_counts() -> None:
    model, task = nano(), TransducerTask(NANO)
    batch = batch_of((17, 14, 9), (4, 0, 6))
    forward = model.flop(batch.frame_counts, batch.label_counts, padded=True)
    backward = model.backward_flop(batch.frame_counts, batch.label_counts, padded=True)
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        task.loss(model(*task.inputs(batch)), batch).backward()
    # What the formula has and PyTorch leaves out: the gradients of the states of zeros that the layers begin with.
    left_out = 3 * 2 * 4 * (5 * 12 * 12 + 2 * 10 * 10)
    assert counter.get_total_flops() == sum(forward.values()) + sum(backward.values()) - left_out


def test_flop_of_the_recurrent_layers_are_those_of_an_unrolled_calculation() -> None:
    model = nano()
    steps = 7
    for name, part, features in (("encoder.before", model.encoder["before"], 8), ("prediction", model.prediction, 10)):
        with FlopCounterMode(display=False) as counter:
            unrolled_products(part.lstm, [torch.zeros(features, 1)] * steps)
        counts = ((steps,), (0,)) if name == "encoder.before" else ((1,), (steps - 1,))
        assert counter.get_total_flops() == model.flop(*counts, padded=False)[name]


def unrolled_products(module: torch.nn.LSTM, inputs: list[torch.Tensor]) -> None:
    """The matrix products of an LSTM, a step at a time."""
    for layer in range(module.num_layers):
        hidden = torch.zeros(module.hidden_size, 1)
        for value in inputs:
            _ = getattr(module, f"weight_ih_l{layer}") @ value, getattr(module, f"weight_hh_l{layer}") @ hidden
        inputs = [hidden] * len(inputs)


def test_flop_without_padding_are_the_sum_of_the_utterances() -> None:
    model = nano()
    frames, labels = (17, 14, 9), (4, 0, 6)
    together = model.flop(frames, labels, padded=False)
    each = [model.flop((t,), (u,), padded=True) for t, u in zip(frames, labels, strict=True)]
    assert together == {name: sum(one[name] for one in each) for name in together}


def layer_events(model: Transducer, batch: Batch) -> list[str]:
    """The layer ranges of a forward and a backward pass, in order, and how many have stayed open."""
    task, nvtx = TransducerTask(NANO), FakeNvtx()
    ranges = Ranges(PackageRanges(nvtx))
    ranges.on = True
    hooks = LayerRanges(ranges, model.layers())
    hooks.attach()
    for _ in range(2):  # a second batch, as with accumulated gradients
        nvtx.events.clear()
        task.loss(model(*task.inputs(batch)), batch).backward()
    hooks.detach()
    assert nvtx.open == []
    return nvtx.events


def test_layers_are_named_forward_and_backward_in_both_branches() -> None:
    names = ["encoder.before", "encoder.behind", "prediction", "joint"]
    model = nano()
    assert list(model.layers()) == names
    passes = [(name, "forward") for name in names] + [(name, "backward") for name in reversed(names)]
    expected = [f"{sign}layer:{name}:{direction}" for name, direction in passes for sign in "+-"]
    assert layer_events(model, batch_of((9, 6), (2, 3))) == expected


def test_a_backward_range_holds_its_layer_and_no_other() -> None:
    model, task = nano(), TransducerTask(NANO)
    batch = batch_of((9, 6), (2, 3))
    nvtx = FakeNvtx()
    ranges = Ranges(PackageRanges(nvtx))
    hooks = LayerRanges(ranges, model.layers())
    hooks.attach()
    for layer, part in model.layers().items():
        for name, parameter in part.named_parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda _, layer=layer, name=name: nvtx.events.append(f"{layer}/{name}")
            )
    loss = task.loss(model(*task.inputs(batch)), batch)
    nvtx.events.clear()
    ranges.on = True
    # The hooks on the outputs were registered in the forward pass, and look at ranges.on when they are called.
    loss.backward()
    now, inside = "", 0
    for event in nvtx.events:
        if event.startswith("+layer:"):
            now = event.removeprefix("+layer:").removesuffix(":backward")
        elif "/" in event:
            inside += 1
            assert event.split("/")[0] == now
    assert inside == len(list(model.parameters()))


def one_by_one(model: Transducer, batch: Batch) -> list[int]:
    """Greedy decoding of one utterance as the equations say, a symbol at a time."""
    config, said, state = model.config, [], None
    with torch.no_grad():
        encoded_TBH = model.encode(batch.spect_BFT, batch.frames_B)
        hidden_BH, state = model.prediction.begin(1)
        for frame_BH in encoded_TBH:
            for _ in range(config.max_symbols_per_frame):
                sum_BJ = model.joint.encoder(frame_BH) + model.joint.prediction(hidden_BH)
                best = int(model.joint.symbols(sum_BJ).argmax())
                if best == config.blank or len(said) == config.max_symbols:
                    break
                said.append(best)
                hidden_BH, state = model.prediction.advance(torch.tensor([best]), state)
    return said


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_symbols_per_frame": 1},
        {"max_symbols_per_frame": 2, "max_symbols": 5},
    ],
)
@pytest.mark.parametrize("blank_bias", [-3.0, 0.0, 0.4])
def test_greedy_decoding_of_a_batch_is_that_of_each_utterance(limits: dict[str, int], blank_bias: float) -> None:
    model = nano(lstm_weight_scale=3.0, max_symbols=40, max_symbols_per_frame=6).eval()
    model = with_limits(model, **limits)
    with torch.no_grad():
        model.joint.output.bias[NANO.blank] += blank_bias
        model.joint.output.weight.mul_(4)
    task = TransducerTask(model.config)
    batch = batch_of((40, 31, 9, 1), (1, 1, 1, 1))
    expected = [one_by_one(model, alone(batch, row)) for row in range(batch.samples)]
    assert any(expected)
    assert task.greedy(model, batch) == expected


def with_limits(model: Transducer, **limits: int) -> Transducer:
    model.config = replace(model.config, **limits)
    return model


def test_a_network_that_never_says_blank_is_stopped() -> None:
    model = with_limits(nano().eval(), max_symbols_per_frame=3, max_symbols=7)
    with torch.no_grad():
        model.joint.output.bias[NANO.blank] = -100
    [decoded, short] = TransducerTask(model.config).decode(model, batch_of((12, 2), (0, 0)))
    assert decoded.first_frames == (0, 0, 0, 1, 1, 1, 2)
    assert short.first_frames == (0, 0, 0)


def test_a_network_that_only_says_blank_says_nothing() -> None:
    model = nano().eval()
    with torch.no_grad():
        model.joint.output.bias[NANO.blank] = 100
    assert TransducerTask(NANO).greedy(model, batch_of((12, 3), (0, 0))) == [[], []]


def test_a_training_step_asks_nothing_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor is asked for its values on the way, for which the host would have to wait for a GPU."""
    model, task = nano(), TransducerTask(NANO)
    batch = batch_of((9, 6), (2, 3))

    def refuse(*_arguments: object) -> None:
        raise AssertionError("this waits for the device")

    for name in ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    task.loss(model(*task.inputs(batch)), batch).backward()


@pytest.mark.parametrize("labels", [(0, 0), (3, 0)])
def test_utterances_without_labels_are_trained_on_like_others(labels: tuple[int, int]) -> None:
    model, task = nano(), TransducerTask(NANO)
    batch = batch_of((9, 6), labels)
    loss = task.loss(model(*task.inputs(batch)), batch)
    loss.backward()
    assert loss.item() > 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.joint.parameters())


def test_under_autocast_the_loss_is_float32() -> None:
    model, task = nano(), TransducerTask(NANO)
    batch = batch_of((9, 6), (2, 3))
    plain = task.loss(model(*task.inputs(batch)), batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(*task.inputs(batch))
        model.eval()
        task.greedy(model, batch)
    loss = task.loss(outputs, batch)
    loss.backward()
    assert outputs[0].dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain.item(), rel=0.02)


def spoken(pieces: int, words: Sequence[Sequence[int]]) -> Batch:
    """Utterances in which piece p is a tone in feature p, three frames long, between frames of silence."""
    random = np.random.default_rng(7)
    utterances = []
    for number, word in enumerate(words):
        frames = [np.zeros(8)]
        for piece in word:
            frames += [4 * np.eye(8)[piece]] * 3 + [np.zeros(8)]
        features_FT = np.stack(frames, axis=1) + 0.1 * random.standard_normal((8, len(frames)))
        utterances.append(Features(number, features_FT.astype(np.float32), np.array(word, dtype=np.int64)))
    return collate(utterances, pin_memory=False, frame_ms=30)


def test_it_learns_to_read_off_what_is_said() -> None:
    words = [[0, 1, 2], [3, 4, 5], [5, 5, 1, 0], [2], [4, 0, 4, 0]]
    batch = spoken(NANO.pieces, words)
    config = replace(NANO, encoder_hidden=32, prediction_hidden=16, joint_hidden=32)
    torch.default_generator.manual_seed(1)
    model, task = Transducer(config), TransducerTask(config)
    optimizer = make_optimizer(model, OptimizerConfig("adamw", learning_rate=0.02, weight_decay=0.0))
    first = last = 0.0
    for step in range(120):
        optimizer.zero_grad()
        loss = task.loss(model(*task.inputs(batch)), batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert first > 5
    assert last < 0.3
    decoded = task.decode(model.eval(), batch)
    assert [list(each.symbols) for each in decoded] == [words[number] for number in batch.numbers]
    for each, frames in zip(decoded, model.output_frames(batch.frame_counts), strict=True):
        assert list(each.first_frames) == sorted(each.first_frames)
        assert max(each.first_frames) < frames
