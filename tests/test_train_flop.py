"""The analytic FLOP are what PyTorch counts where it counts, and what a calculation step by step does elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from torch.utils.flop_counter import FlopCounterMode

from ds2prof.train.flop import GATES, ctc_flop, frames_of, recurrence_flop
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import ctc_loss
from ds2prof.train.presets import PRESETS, ModelConfig
from ds2prof.train.recurrent import Projection, RecurrentLayer

CONFIGS = {name: preset.model for name, preset in PRESETS.items() if isinstance(preset.model, ModelConfig)}
COUNTED = sorted(set(CONFIGS) - {"tiny"})
"""Without the preset that has another's structure."""
LENGTHS = (46, 40, 38)
LABELS = (3, 2, 1)


def few_frames(config: ModelConfig) -> int:
    """The fewest frames that leave two behind the front end: on the meta device a recurrence is unrolled."""
    with torch.device("meta"):
        model = DeepSpeech2(config)
    return next(frames for frames in range(100) if model.output_frames([frames]) == [2])


def counted(config: ModelConfig, lengths: Sequence[int]) -> tuple[int, int]:
    """What FlopCounterMode sees of a forward and of a backward pass. On the meta device no operator is fused."""
    with torch.device("meta"):
        model = DeepSpeech2(config)
    spect_BFT = torch.empty(len(lengths), config.input_bins, max(lengths), device="meta")
    with FlopCounterMode(display=False) as counter:
        logits_TBV, _ = model(spect_BFT, torch.tensor(lengths, device="meta"), lengths)
        forward = counter.get_total_flops()
        logits_TBV.sum().backward()
    return forward, counter.get_total_flops() - forward


@pytest.mark.parametrize("name", COUNTED)
def test_the_executed_flop_of_a_preset_are_those_that_pytorch_counts(name: str) -> None:
    config = CONFIGS[name]
    few = few_frames(config)
    lengths = (few + 4, few + 2, few)
    with torch.device("meta"):
        flop = DeepSpeech2(config).flop(lengths, LABELS, padded=True)
    assert sum(flop.values()) == counted(config, lengths)[0]


@pytest.mark.parametrize("name", sorted(set(COUNTED) - {"tbd-lookahead"}))
def test_the_backward_flop_exceed_those_that_pytorch_counts_by_what_the_formula_says(name: str) -> None:
    # FlopCounterMode takes the gradient of a grouped convolution's weight for that of a full one: hence no lookahead.
    config = replace(CONFIGS[name], hidden=24, recurrent_layers=2)
    with torch.device("meta"):
        model = DeepSpeech2(config)
    lengths = (few_frames(config),) * 2
    flop = model.backward_flop(lengths, (1, 1), padded=True)
    per_layer = 2 * config.directions * config.hidden**2
    initial_states = per_layer * GATES[config.cell] * len(lengths) * config.recurrent_layers
    identities = 0
    if config.normalization == "projection":
        identities = per_layer * sum(model.output_frames(lengths)) * config.recurrent_layers
    assert sum(flop.values()) - counted(config, lengths)[1] == initial_states + identities


def test_the_first_layer_has_no_gradient_of_its_input() -> None:
    with torch.device("meta"):
        model = DeepSpeech2(CONFIGS["tbd"])
    forward = model.flop(LENGTHS, LABELS, padded=False)
    backward = model.backward_flop(LENGTHS, LABELS, padded=False)
    assert backward == {name: flop * (1 if name == "conv.0" else 2) for name, flop in forward.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_flop_are_given_for_every_layer_in_its_order(name: str) -> None:
    with torch.device("meta"):
        model = DeepSpeech2(CONFIGS[name])
    assert list(model.flop(LENGTHS, LABELS, padded=False)) == list(model.layers())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_flop_of_a_model_are_the_sum_of_its_utterances(name: str) -> None:
    with torch.device("meta"):
        model = DeepSpeech2(CONFIGS[name])
    together = model.flop(LENGTHS, LABELS, padded=False)
    alone = [model.flop([length], [1], padded=False) for length in LENGTHS]
    assert together == {layer: sum(each[layer] for each in alone) for layer in together}


def test_padding_is_executed_and_no_work_of_the_model() -> None:
    with torch.device("meta"):
        model = DeepSpeech2(CONFIGS["mlperf"])
    longest = model.flop([LENGTHS[0]], [1], padded=False)
    executed = model.flop(LENGTHS, LABELS, padded=True)
    assert executed == {layer: len(LENGTHS) * flop for layer, flop in longest.items()}


def test_a_packed_recurrence_leaves_padding_out() -> None:
    with torch.device("meta"):
        model = DeepSpeech2(CONFIGS["tbd"])
    executed, own = (model.flop(LENGTHS, LABELS, padded=padded) for padded in (True, False))
    assert executed["rnn.0"] == own["rnn.0"]
    assert executed["head"] > own["head"]


def test_the_identity_of_a_skipped_input_is_executed_and_no_work_of_the_model() -> None:
    with torch.device("meta"):
        layer = RecurrentLayer(40, replace(CONFIGS["deepmark"], hidden=24), first=True)
    executed, own = (layer.flop(frames_of([9], padded=padded)) for padded in (True, False))
    assert executed - own == 2 * 24 * 24 * 9 * 2
    assert isinstance(layer.normalization, Projection)


def gate_by_gate(cell: str, frames: Any, hidden: int) -> None:
    """The products of a recurrent layer, each gate by itself; what stands between them is left out."""
    state_H = torch.zeros(1, hidden)
    for frame in frames.split(1):
        for _gate in {"lstm": "ifgo", "gru": "rzn", "tanh": "h", "relu": "h"}[cell]:
            state_H = frame @ torch.zeros(frames.shape[1], hidden) + state_H @ torch.zeros(hidden, hidden)


@pytest.mark.parametrize("cell", GATES)
def test_a_recurrence_costs_what_its_gates_cost_one_by_one(cell: str) -> None:
    with FlopCounterMode(display=False) as counter:
        gate_by_gate(cell, torch.zeros(7, 5), 4)
        gate_by_gate(cell, torch.zeros(7, 5), 4)
    assert recurrence_flop(cell, 5, 4, directions=2, frames=7) == counter.get_total_flops()  # type: ignore[arg-type]


class Counted:
    """A number that counts what is done with it."""

    operations = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def _result(self, value: float) -> Counted:
        Counted.operations += 1
        return Counted(value)

    def __add__(self, other: Counted) -> Counted:
        return self._result(self.value + other.value)

    def __sub__(self, other: Counted) -> Counted:
        return self._result(self.value - other.value)

    def __mul__(self, other: Counted) -> Counted:
        return self._result(self.value * other.value)

    def exp(self) -> Counted:
        return self._result(math.exp(self.value))

    def log(self) -> Counted:
        return self._result(math.log(self.value))

    def larger(self, other: Counted) -> Counted:
        return self._result(max(self.value, other.value))


NEVER = -1e30


def summed(values: Sequence[Counted]) -> Counted:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def log_sum(values: Sequence[Counted]) -> Counted:
    largest = values[0]
    for value in values[1:]:
        largest = largest.larger(value)
    return largest + summed([(value - largest).exp() for value in values]).log()


def log_softmax(logits: Sequence[float]) -> list[Counted]:
    values = [Counted(logit) for logit in logits]
    largest = values[0]
    for value in values[1:]:
        largest = largest.larger(value)
    shifted = [value - largest for value in values]
    whole = summed([value.exp() for value in shifted]).log()
    return [value - whole for value in shifted]


def recursion(log_probs: Sequence[Sequence[Counted]], states: Sequence[int]) -> list[list[Counted]]:
    """The logarithm of what leads to each state of each frame."""
    first = [log_probs[0][symbol] if number < 2 else Counted(NEVER) for number, symbol in enumerate(states)]
    rows = [first]
    for frame in log_probs[1:]:
        before = [Counted(NEVER), Counted(NEVER), *rows[-1]]
        row = []
        for number, symbol in enumerate(states):
            skips = symbol != 0 and number >= 2 and symbol != states[number - 2]
            came = [before[number + 2], before[number + 1], before[number] if skips else Counted(NEVER)]
            row.append(log_sum(came) + frame[symbol])
        rows.append(row)
    return rows


def ctc_by_hand(logits: Sequence[Sequence[float]], labels: Sequence[int]) -> tuple[Any, list[list[float]], Any]:
    """Loss, gradient of the logits, and the operations of the forward and of the backward pass."""
    Counted.operations = 0
    states = [0, *[symbol for label in labels for symbol in (label, 0)]]
    log_probs_TV = [log_softmax(frame) for frame in logits]
    alpha_TS = recursion(log_probs_TV, states)
    likelihood = log_sum(alpha_TS[-1][-2:])
    forward = Counted.operations
    beta_TS = [row[::-1] for row in recursion(log_probs_TV[::-1], states[::-1])][::-1]
    gradient, one = [], Counted(1.0)
    for log_probs_V, alpha_S, beta_S in zip(log_probs_TV, alpha_TS, beta_TS, strict=True):
        share_V = [Counted(NEVER) for _ in log_probs_V]
        for symbol, alpha, beta in zip(states, alpha_S, beta_S, strict=True):
            share_V[symbol] = log_sum([share_V[symbol], alpha + beta])
        by_log_V = [
            (log_prob.exp() - ((share - likelihood) - log_prob).exp()) * one
            for log_prob, share in zip(log_probs_V, share_V, strict=True)
        ]
        whole = summed(by_log_V)
        row = [each - log_prob.exp() * whole for each, log_prob in zip(by_log_V, log_probs_V, strict=True)]
        gradient.append([value.value for value in row])
    return -likelihood.value, gradient, {"forward": forward, "backward": Counted.operations - forward}


@pytest.mark.parametrize("labels", [(1,), (2, 2, 1), (3, 1, 2, 4)])
def test_ctc_costs_what_it_takes_by_hand(labels: tuple[int, ...]) -> None:
    logits_TV = torch.randn(11, 5, generator=torch.Generator().manual_seed(3)).tolist()
    assert ctc_by_hand(logits_TV, labels)[2] == ctc_flop([11], [len(labels)], vocabulary=5)


def test_ctc_by_hand_is_the_loss_that_is_trained() -> None:
    logits_TV = torch.randn(11, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    loss, gradient, _ = ctc_by_hand(logits_TV.tolist(), (2, 2, 1))
    logits_T1V = logits_TV[:, None].requires_grad_()
    trained = ctc_loss(logits_T1V, [11], torch.tensor([2, 2, 1]), [3])
    trained.backward()
    assert trained.item() == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(logits_T1V.grad[:, 0], torch.tensor(gradient, dtype=torch.float64), atol=1e-5)


def test_ctc_is_a_few_in_100_000_of_the_network() -> None:
    with torch.device("meta"):
        network = sum(DeepSpeech2(CONFIGS["tbd"]).flop([600], [78], padded=False).values())
    share = ctc_flop([300], [78], vocabulary=29)["forward"] / network
    assert 1e-6 < share < 1e-4
