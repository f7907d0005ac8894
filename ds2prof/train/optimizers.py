"""How the weights follow from the gradients: SGD, AdamW and LAMB, learning rates, and a running average of the weights.

Clipping the gradients is none of an optimizer's business here: it is a phase of the step of its own. NVIDIA's LAMB
clips inside, to the same norm of all gradients together, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from ds2prof.errors import Ds2profError
from ds2prof.train.presets import OptimizerConfig, ScheduleConfig


class Lamb(torch.optim.Optimizer):
    """LAMB (Y. You et al., Large Batch Optimization for Deep Learning, 2020), as NVIDIA's FusedLAMB computes it.

    With ``g`` the gradient of one tensor ``w`` and ``n`` the number of the step, all but the norms element by element::

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        u = (m / (1 - beta1^n)) / (sqrt(v / (1 - beta2^n)) + eps) + weight_decay w
        w = w - learning_rate (|w| / |u|) u

    The ratio of the norms is 1 where either norm is 0, and for tensors without weight decay (apex with
    ``use_nvlamb=False``, as in the ancestor). Biases are treated like all other tensors: the ancestor gives apex one
    group of all parameters. Each operator takes all tensors of a group at once; only the multiplication by the ratio,
    which is one number on the device for each tensor, is a kernel a tensor.

    Args:
        parameters: What is trained, or groups of it.
        learning_rate: Before any schedule.
        betas: How much the two means keep at each step.
        eps: What keeps the division finite.
        weight_decay: How much of itself a tensor's update takes from it, before the ratio.
    """

    def __init__(
        self,
        parameters: Any,
        *,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-9,
        weight_decay: float = 1e-3,
    ) -> None:
        defaults = {"lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay, "steps": 0}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Changes the weights; what ``closure`` returns, which is called first where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            if trained:
                group["steps"] += 1
                torch._foreach_sub_(trained, self._changes(trained, group))
        return loss

    def _changes(self, trained: list[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
        """What the tensors of a group lose in this step."""
        updates = self._updates(trained, group)
        if group["weight_decay"] == 0:
            torch._foreach_mul_(updates, group["lr"])
            return updates
        torch._foreach_add_(updates, trained, alpha=group["weight_decay"])
        weights_P = torch.stack(torch._foreach_norm(trained))
        updates_P = torch.stack(torch._foreach_norm(updates))
        both_P = (weights_P > 0) & (updates_P > 0)
        ratios_P = torch.where(both_P, weights_P / updates_P, 1.0).mul_(group["lr"])
        torch._foreach_mul_(updates, list(ratios_P.unbind()))
        return updates

    def _updates(self, trained: list[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
        """The mean of each tensor's gradients, divided by the root of the mean of their squares."""
        for parameter in trained:
            if not self.state[parameter]:
                self.state[parameter] = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        means = [self.state[parameter]["exp_avg"] for parameter in trained]
        squares = [self.state[parameter]["exp_avg_sq"] for parameter in trained]
        first, second = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        # One temporary of the size of the weights, changed in place from here on: it is what a step peaks at.
        updates = list(torch._foreach_div(squares, 1 - second ** group["steps"]))
        torch._foreach_sqrt_(updates)
        torch._foreach_add_(updates, group["eps"])
        torch._foreach_mul_(updates, 1 - first ** group["steps"])
        torch._foreach_reciprocal_(updates)
        torch._foreach_mul_(updates, means)
        return updates


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer over all parameters of ``model``."""
    parameters, rate, decay = model.parameters(), config.learning_rate, config.weight_decay
    if config.kind == "sgd":
        nesterov = config.nesterov and config.momentum > 0
        return torch.optim.SGD(parameters, lr=rate, momentum=config.momentum, weight_decay=decay, nesterov=nesterov)
    if config.kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=config.betas, eps=config.eps, weight_decay=decay)
    return Lamb(parameters, learning_rate=rate, betas=config.betas, eps=config.eps, weight_decay=decay)


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step, which follows from the step's place alone.

    So a run that was stopped and goes on has the rates that it would have had.

    Attributes:
        config: How it goes on.
        learning_rate: The rate it begins with (``anneal``) or rises to (``warmup-hold-decay``).
        steps_per_epoch: Optimizer steps in an epoch.
    """

    config: ScheduleConfig
    learning_rate: float
    steps_per_epoch: int

    def at(self, epoch: int, step: int = 0) -> float:
        """The rate of a step.

        Args:
            epoch: Counts from 0.
            step: Within the epoch, counts from 0.
        """
        rate = self.learning_rate * self._share(epoch, step)
        return max(rate, self.config.minimum)

    def apply(self, optimizer: torch.optim.Optimizer, epoch: int, step: int = 0) -> float:
        """Gives ``optimizer`` the rate of a step; the rate."""
        rate = self.at(epoch, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _share(self, epoch: int, step: int) -> float:
        """The rate as a share of the highest."""
        config = self.config
        if config.kind == "anneal":
            return config.factor**-epoch
        # The reference counts steps and epochs from 1: step s of a warm-up of w has the share (s + 1) / (w + 1), so
        # that the last one has all of it, and epoch e behind warm-up and hold has gamma ** (e - warm-up - hold), so
        # that the first one has gamma.
        warmup_steps = config.warmup_epochs * self.steps_per_epoch
        number = epoch * self.steps_per_epoch + step + 1
        if number <= warmup_steps:
            return (number + 1) / (warmup_steps + 1)
        return config.gamma ** max(epoch + 1 - config.warmup_epochs - config.hold_epochs, 0)


_FAR_APART: Final = "checkpoint: the running average of the weights is of another network ({what}); take its own preset"


class WeightAverage:
    """A running average of a network's weights: at each step ``decay`` of it stays and the rest comes from the weights.

    It begins as the weights that it is made from, so a part of those stays in it for some 1 / (1 - decay) steps. The
    running statistics of batch normalization are averaged too; whole numbers among the buffers are taken over.

    Args:
        model: The network, on its device.
        decay: What stays at each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._values = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
        self._lent = False

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the weights in, as they are now; ``model`` is the network it was made from."""
        assert not self._lent, "the average is in the network"
        tensors = _tensors(model)
        averaged = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self._values[name] for name in averaged],
            [tensors[name].detach() for name in averaged],
            1 - self.decay,
        )
        for name in tensors.keys() - set(averaged):
            self._values[name].copy_(tensors[name])

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """A context in which ``model`` has the average for weights; behind it, it has its own back, bit for bit."""
        assert not self._lent, "the average is in the network already"
        self._exchange(model)
        self._lent = True
        try:
            yield
        finally:
            self._exchange(model)
            self._lent = False

    @torch.no_grad()
    def _exchange(self, model: nn.Module) -> None:
        """Puts the average into the network and the network's weights where the average was, in place."""
        for name, tensor in _tensors(model).items():
            own = tensor.detach().clone()
            tensor.copy_(self._values[name])
            self._values[name].copy_(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, by the names of the network's parameters and buffers."""
        assert not self._lent, "the average is in the network"
        return dict(self._values)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from an average that was kept.

        Raises:
            Ds2profError: it is of another network.
        """
        if state.keys() != self._values.keys():
            strange = sorted(state.keys() ^ self._values.keys())
            raise Ds2profError(_FAR_APART.format(what=f"{strange[0]} is in one of them only"))
        for name, values in state.items():
            if values.shape != self._values[name].shape:
                raise Ds2profError(_FAR_APART.format(what=f"{name} has another shape"))
        for name, values in state.items():
            self._values[name].copy_(values)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The network's parameters and buffers by name, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
