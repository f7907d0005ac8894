"""Optimizers against calculations in NumPy, learning rates against values worked out by hand, the weights' average."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ds2prof.errors import Ds2profError
from ds2prof.train.optimizers import Lamb, Schedule, WeightAverage, make_optimizer
from ds2prof.train.presets import PRESETS, OptimizerConfig, ScheduleConfig

LAMB = OptimizerConfig("lamb", learning_rate=4e-3, weight_decay=1e-3, betas=(0.9, 0.98), eps=1e-9)


def network() -> torch.nn.Module:
    torch.default_generator.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))


def gradients(steps: int, shapes: list[torch.Size]) -> list[list[np.ndarray]]:
    random = np.random.default_rng(1)
    return [[random.standard_normal(shape) * 10.0**place for place, shape in enumerate(shapes)] for _ in range(steps)]


def train(optimizer: torch.optim.Optimizer, slopes: list[list[np.ndarray]]) -> list[np.ndarray]:
    """The weights behind steps with these gradients."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for step in slopes:
        for parameter, slope in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(slope, dtype=parameter.dtype)
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


def lamb_by_hand(weight: np.ndarray, slopes: list[np.ndarray], config: OptimizerConfig) -> np.ndarray:
    """LAMB of one tensor in float64, from the formulas of its paper (algorithm 2, phi the identity)."""
    first, second = config.betas
    mean, square, weight = np.zeros_like(weight), np.zeros_like(weight), weight.astype(np.float64)
    for number, slope in enumerate(slopes, start=1):
        mean = first * mean + (1 - first) * slope
        square = second * square + (1 - second) * slope * slope
        ratio = mean / (1 - first**number) / (np.sqrt(square / (1 - second**number)) + config.eps)
        update = ratio + config.weight_decay * weight
        norms = np.linalg.norm(weight), np.linalg.norm(update)
        trust = norms[0] / norms[1] if min(norms) > 0 and config.weight_decay else 1.0
        weight = weight - config.learning_rate * trust * update
    return weight


@pytest.mark.parametrize("decay", [1e-3, 0.0])
def test_lamb_is_its_formulas(decay: float) -> None:
    config = OptimizerConfig("lamb", learning_rate=0.02, weight_decay=decay, betas=(0.9, 0.98), eps=1e-9)
    model = network().double()
    before = [parameter.detach().numpy().copy() for parameter in model.parameters()]
    slopes = gradients(7, [each.shape for each in before])
    found = train(make_optimizer(model, config), slopes)
    for place, (weight, result) in enumerate(zip(before, found, strict=True)):
        np.testing.assert_allclose(result, lamb_by_hand(weight, [step[place] for step in slopes], config), rtol=1e-10)


def test_lamb_in_float32_is_near_it() -> None:
    model = network()
    before = [parameter.detach().numpy().copy() for parameter in model.parameters()]
    slopes = gradients(20, [each.shape for each in before])
    found = train(make_optimizer(model, LAMB), slopes)
    for place, (weight, result) in enumerate(zip(before, found, strict=True)):
        expected = lamb_by_hand(weight, [step[place] for step in slopes], LAMB)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


class Operators(TorchDispatchMode):
    """Counts the operators that are called."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_lamb_calls_as_many_operators_for_many_tensors_as_for_few() -> None:
    counts = []
    for tensors in (2, 30):
        weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(tensors)]
        for weight in weights:
            weight.grad = torch.ones(3)
        optimizer = Lamb(weights, learning_rate=0.1)
        optimizer.step()
        with Operators() as operators:
            optimizer.step()
        counts.append(operators.count)
    assert counts[0] == counts[1] < 30


def test_lamb_moves_a_tensor_of_zeros_by_the_rate_alone() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([2.0, -3.0, 0.5])
    Lamb([weight], learning_rate=0.1).step()
    assert torch.allclose(weight.detach(), torch.tensor([-0.1, 0.1, -0.1]), atol=1e-6)


def test_lamb_leaves_what_has_no_gradient() -> None:
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    first.grad = torch.ones(2)
    Lamb([first, second], learning_rate=0.1).step()
    assert second.tolist() == [1, 1]
    assert first.tolist() != [1, 1]


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lamb"])
def test_an_optimizer_that_was_kept_goes_on_bit_for_bit(kind: Any) -> None:
    config = OptimizerConfig(kind, learning_rate=0.01)
    through, stopped = network(), network()
    slopes = gradients(6, [each.shape for each in through.parameters()])
    expected = train(make_optimizer(through, config), slopes)

    first = make_optimizer(stopped, config)
    train(first, slopes[:3])
    state = copy.deepcopy(first.state_dict())
    second = make_optimizer(stopped, config)
    second.load_state_dict(state)
    for found, wanted in zip(train(second, slopes[3:]), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_sgd_is_nesterovs_momentum() -> None:
    config = OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    model = network().double()
    before = [parameter.detach().numpy().copy() for parameter in model.parameters()]
    slopes = gradients(5, [each.shape for each in before])
    found = train(make_optimizer(model, config), slopes)
    for place, (weight, result) in enumerate(zip(before, found, strict=True)):
        moved = np.zeros_like(weight)
        for step in slopes:
            slope = step[place] + 0.01 * weight
            moved = slope if step is slopes[0] else 0.9 * moved + slope
            weight = weight - 0.1 * (slope + 0.9 * moved)
        np.testing.assert_allclose(result, weight, rtol=1e-10)


def test_adamw_decays_apart_from_the_gradient() -> None:
    config = OptimizerConfig("adamw", learning_rate=0.1, weight_decay=0.01, eps=1e-8)
    model = network().double()
    before = [parameter.detach().numpy().copy() for parameter in model.parameters()]
    slopes = gradients(5, [each.shape for each in before])
    found = train(make_optimizer(model, config), slopes)
    for place, (weight, result) in enumerate(zip(before, found, strict=True)):
        mean = square = np.zeros_like(weight)
        for number, step in enumerate(slopes, start=1):
            mean = 0.9 * mean + 0.1 * step[place]
            square = 0.999 * square + 0.001 * step[place] ** 2
            weight = weight * (1 - 0.1 * 0.01)
            weight = weight - 0.1 * (mean / (1 - 0.9**number)) / (np.sqrt(square / (1 - 0.999**number)) + 1e-8)
        np.testing.assert_allclose(result, weight, rtol=1e-9)


def test_each_preset_gets_its_optimizer() -> None:
    kinds = {name: type(make_optimizer(network(), preset.optimizer)).__name__ for name, preset in PRESETS.items()}
    assert kinds["rnnt"] == "Lamb"
    assert {kind for name, kind in kinds.items() if name != "rnnt"} == {"SGD"}


def test_annealing_divides_the_rate_after_each_epoch() -> None:
    schedule = Schedule(ScheduleConfig("anneal", factor=1.1), 3e-4, steps_per_epoch=10)
    assert schedule.at(0, 0) == schedule.at(0, 9) == 3e-4
    assert schedule.at(1, 0) == pytest.approx(3e-4 / 1.1, rel=1e-12)
    assert schedule.at(5, 7) == pytest.approx(3e-4 / 1.1 / 1.1 / 1.1 / 1.1 / 1.1, rel=1e-12)


ROWS = {
    # learning rate, warm-up, hold, gamma; the rate of the first epoch of decay and of the last epoch, by hand
    1024: (0.004, 6, 40, 0.935, 0.00374, 100, 0.00010614192956),
    512: (0.0062, 1, 11, 0.915, 0.005673, 70, 0.00003587691943),
    1536: (0.0072, 5, 26, 0.92, 0.006624, 80, 0.00012104198477),
    2048: (0.007, 6, 33, 0.939, 0.006573, 80, 0.00053013603176),
    6144: (0.014, 16, 40, 0.97, 0.01358, 120, 0.00199305383039),
}
"""Global batch -> the ancestor's schedule and what follows from it."""


@pytest.mark.parametrize("batch", ROWS)
def test_the_ancestors_schedules_have_the_rates_worked_out_by_hand(batch: int) -> None:
    rate, warmup, hold, gamma, decayed, epochs, last = ROWS[batch]
    config = ScheduleConfig("warmup-hold-decay", warmup_epochs=warmup, hold_epochs=hold, gamma=gamma, minimum=1e-5)
    schedule = Schedule(config, rate, steps_per_epoch=271)
    assert schedule.at(0, 0) == pytest.approx(max(rate * 2 / (271 * warmup + 1), 1e-5), rel=1e-12)
    assert schedule.at(0, 99) == pytest.approx(rate * 101 / (271 * warmup + 1), rel=1e-12)
    assert schedule.at(warmup - 1, 270) == rate
    assert schedule.at(warmup - 1, 269) < rate
    assert schedule.at(warmup, 0) == schedule.at(warmup + hold - 1, 270) == rate
    assert schedule.at(warmup + hold, 0) == schedule.at(warmup + hold, 270) == pytest.approx(decayed, rel=1e-4)
    assert schedule.at(epochs - 1, 0) == pytest.approx(last, rel=1e-9)


def test_the_rate_does_not_fall_below_its_floor() -> None:
    config = ScheduleConfig("warmup-hold-decay", warmup_epochs=1, hold_epochs=11, gamma=0.915, minimum=1e-5)
    assert Schedule(config, 0.0062, steps_per_epoch=10).at(200, 0) == 1e-5


@settings(max_examples=50, deadline=None)
@given(
    warmup=st.integers(0, 4),
    hold=st.integers(0, 4),
    steps=st.integers(1, 7),
    gamma=st.floats(0.5, 0.99),
)
def test_the_rate_rises_then_holds_then_falls(warmup: int, hold: int, steps: int, gamma: float) -> None:
    config = ScheduleConfig("warmup-hold-decay", warmup_epochs=warmup, hold_epochs=hold, gamma=gamma)
    schedule = Schedule(config, 1.0, steps_per_epoch=steps)
    rates = [schedule.at(epoch, step) for epoch in range(12) for step in range(steps)]
    top = warmup * steps
    assert rates[: max(top - 1, 0)] == sorted(rates[: max(top - 1, 0)])
    assert rates[top : (warmup + hold) * steps] == [1.0] * (hold * steps)
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) <= 1.0


def test_the_rate_is_given_to_every_group() -> None:
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = Lamb([{"params": [weight]} for weight in weights], learning_rate=1.0)
    schedule = Schedule(ScheduleConfig("anneal", factor=2.0), 1.0, steps_per_epoch=3)
    assert schedule.apply(optimizer, 2) == 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def normalized() -> torch.nn.Module:
    return torch.nn.Sequential(network(), torch.nn.BatchNorm1d(3))


def move(model: torch.nn.Module, number: int) -> None:
    """Changes all weights and statistics, differently for each ``number``."""
    torch.default_generator.manual_seed(number)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.train()(torch.randn(4, 5))


def test_the_average_is_the_sum_of_what_it_has_seen_by_age() -> None:
    model = normalized().double()
    average = WeightAverage(model, 0.9)
    seen = [copy.deepcopy(model.state_dict())]
    for number in range(4):
        model = model.float()
        move(model, number)
        model = model.double()
        average.update(model)
        seen.append(copy.deepcopy(model.state_dict()))
    shares = [0.9**4, *[0.1 * 0.9 ** (4 - place) for place in range(1, 5)]]
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            expected = sum(share * state[name] for share, state in zip(shares, seen, strict=True))
            assert torch.allclose(value, expected, rtol=0, atol=1e-7)
        else:
            assert torch.equal(value, seen[-1][name])


def test_the_average_stands_in_and_the_weights_come_back_bit_for_bit() -> None:
    model = normalized()
    average = WeightAverage(model, 0.5)
    move(model, 1)
    average.update(model)
    own = copy.deepcopy(model.state_dict())
    mean = {name: value.clone() for name, value in average.state_dict().items()}
    with average.applied_to(model):
        assert all(torch.equal(value, mean[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, mean[name]) for name, value in average.state_dict().items())


def test_the_weights_come_back_behind_an_error_too() -> None:
    model = normalized()
    average = WeightAverage(model, 0.5)
    move(model, 1)
    own = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="evaluation"), average.applied_to(model):
        raise RuntimeError("evaluation failed")
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_weights_stay_where_they_lie() -> None:
    # What holds on to them, an optimizer or cuDNN's one buffer for all of an LSTM, must find them there.
    model = normalized()
    average = WeightAverage(model, 0.5)
    places = [parameter.data_ptr() for parameter in model.parameters()]
    with average.applied_to(model):
        assert [parameter.data_ptr() for parameter in model.parameters()] == places
    assert [parameter.data_ptr() for parameter in model.parameters()] == places


def test_an_average_that_was_kept_goes_on_bit_for_bit() -> None:
    model = normalized()
    through = WeightAverage(model, 0.9)
    stopped = WeightAverage(model, 0.9)
    for number in range(2):
        move(model, number)
        through.update(model)
        stopped.update(model)
    again = WeightAverage(normalized(), 0.9)
    again.load_state_dict(copy.deepcopy(stopped.state_dict()))
    move(model, 7)
    through.update(model)
    again.update(model)
    assert all(torch.equal(value, through.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("other", [torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(5, 7))])
def test_an_average_of_another_network_is_refused(other: torch.nn.Module) -> None:
    average = WeightAverage(torch.nn.Sequential(torch.nn.Linear(5, 4)), 0.9)
    with pytest.raises(Ds2profError, match="another network"):
        average.load_state_dict(WeightAverage(other, 0.9).state_dict())
