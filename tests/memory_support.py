"""What the tests of memory captures share: small programs, and what a recording of them says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from ds2prof.inject import memory_recording
from ds2prof.inject.memory_names import Inventory, inventory
from ds2prof.inject.memory_recording import Recording

torch.set_num_threads(1)


class Program:
    """A training loop: ``step`` is one iteration, told to a recording if there is one."""

    def __init__(
        self,
        model: nn.Module,
        batch: Callable[[], Tensor],
        loss: Callable[[Tensor], Tensor],
        *,
        optimizer: Callable[..., Any] = torch.optim.SGD,
        **options: Any,
    ) -> None:
        self.model = model
        self.batch = batch
        self.loss = loss
        self.optimizer = optimizer(model.parameters(), lr=0.01, **options)

    def step(self, recording: Recording | None = None) -> float:
        """The loss of the iteration."""
        self.optimizer.zero_grad()
        loss = self.loss(self.model(self.batch()))
        loss.backward()
        if recording is not None:
            recording.before_step(self.optimizer)
        self.optimizer.step()
        if recording is not None:
            recording.after_step(self.optimizer)
        return loss.item()


def squares(result: Tensor) -> Tensor:
    """A loss whose backward pass needs the result itself."""
    return result.square().mean()


def mlp(**options: Any) -> Program:
    """8 -> 16 -> 4 with a ReLU between them, on 32 samples."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    return Program(model, lambda: torch.randn(32, 8), squares, **options)


def convolution(**options: Any) -> Program:
    """A convolution, batch normalization and a linear layer, on 4 images of 3 x 8 x 8."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    return Program(model, lambda: torch.randn(4, 3, 8, 8), squares, **options)


class Recurrent(nn.Module):
    """A bidirectional GRU and a linear layer on its result."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 10, num_layers=2, bidirectional=True)
        self.linear = nn.Linear(20, 3)

    def forward(self, batch: Tensor) -> Tensor:
        """The linear layer's result for each step in time."""
        hidden, _ = self.gru(batch)
        result: Tensor = self.linear(hidden)
        return result


def recurrent(**options: Any) -> Program:
    """A GRU over 7 steps of 4 sequences."""
    torch.manual_seed(0)
    return Program(Recurrent(), lambda: torch.randn(7, 4, 6), squares, **options)


@contextmanager
def recorded(program: Program | None, iteration: int = 0) -> Iterator[Recording]:
    """A recording that is ended whatever happens.

    It is told of the program's model and optimizer alone: other tests leave theirs in the same process.
    """
    there = inventory()
    roots, optimizers = ([], []) if program is None else ([program.model], [program.optimizer])
    recording = Recording()
    with mock.patch.object(memory_recording, "inventory", return_value=Inventory(roots, optimizers, there.tensors)):
        recording.begin(iteration)
    for found in (there.tensors, there.roots, there.optimizers):
        found.clear()  # or they would be kept alive
    try:
        yield recording
    finally:
        recording.end()


def record(program: Program, *, warmup: int = 1, iterations: int = 1) -> Recording:
    """The recording of some iterations of a program that has run before."""
    for _ in range(warmup):
        program.step()
    with recorded(program, warmup) as recording:
        for _ in range(iterations):
            program.step(recording)
    assert recording.failure is None
    return recording


def parts(recording: Recording, moment: str, *, iteration: int = 1, device: str = "cpu") -> dict[tuple[str, str], int]:
    """(layer, category) -> bytes at a moment."""
    return {
        (row[4], row[5]): row[6]
        for row in recording.account.rows
        if row[:2] == (iteration, moment) and row[3] == device and row[5] != "allocated"
    }


def whole(recording: Recording, moment: str, *, iteration: int = 1, device: str = "cpu") -> tuple[Any, ...]:
    """The row of what was allocated at a moment."""
    (row,) = (
        row
        for row in recording.account.rows
        if row[:2] == (iteration, moment) and row[3] == device and row[5] == "allocated"
    )
    return row
