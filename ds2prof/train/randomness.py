"""PyTorch's random numbers: their states kept and restored, and left alone by what must not disturb training."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, cast

import torch

from ds2prof.errors import ReadError
from ds2prof.train.batches import Batch


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of PyTorch's random numbers: the host's, and the device's where it has its own."""
    states = {"cpu": torch.get_rng_state()}
    module = getattr(torch, device.type, None)
    if device.type != "cpu" and hasattr(module, "get_rng_state"):
        states[device.type] = cast("Any", module).get_rng_state(device)
    return states


def restore_random_state(states: Mapping[str, torch.Tensor], device: torch.device, *, where: str) -> None:
    """Nothing; PyTorch's random numbers go on from ``states``.

    Raises:
        ReadError: they are no such states.
    """
    try:
        torch.set_rng_state(states["cpu"])
        if device.type in states and device.type != "cpu":
            cast("Any", getattr(torch, device.type)).set_rng_state(states[device.type], device)
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise ReadError(f"{where}: its random numbers' states do not fit: {str(error)[:200]}") from None


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """A context behind which PyTorch's random numbers go on as if nothing had been drawn inside."""
    states = random_state(device)
    try:
        yield
    finally:
        restore_random_state(states, device, where="training")


@contextmanager
def reading(batches: Iterator[Batch]) -> Iterator[Iterator[Batch]]:
    """A context with the same batches; that their reading begins draws no random number, and leaving it ends it.

    PyTorch's DataLoader draws one when an epoch begins. A run that is resumed inside of an epoch would draw one more
    than the run that was not stopped.
    """
    with closing(_reading(batches)) as read:
        yield read


def _reading(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    try:
        with undisturbed(torch.device("cpu")):
            first = next(batches, None)
        if first is None:
            return
        yield first
        yield from batches
    finally:
        if isinstance(batches, Generator):
            batches.close()
