"""One optimizer step, cut into the phases that partition it.

The phases are ``data, h2d, forward, loss, backward, clip, optimizer``. With gradients accumulated over several batches
the first five come once for each batch. Nothing in here asks the device for a value, with three exceptions, each of
them asked for: phase timers, ``skip_bad_loss``, and the gradient scaler of fp16, which has to know whether the
gradients were finite before it lets the optimizer step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from ds2prof.train.batches import Batch
from ds2prof.train.distributed import Ranks
from ds2prof.train.objective import clip_gradients
from ds2prof.train.workload import Workload


class StepLog(Protocol):
    """What a step is noted in."""

    def keep(self, batch: Batch, loss: Tensor) -> None:
        """Notes one batch, and the iteration's loss so far, which is on the device."""

    def skip(self) -> None:
        """Notes that the optimizer's step was left out."""


def train_step(work: Workload, batches: Iterator[Batch], log: StepLog) -> bool:
    """Takes one step over the next ``work.accumulate`` batches; whether the optimizer took it.

    Raises:
        StopIteration: there are no more batches.
    """
    loss = _gradients(work, batches, log)
    if work.skip_bad_loss and _is_bad(loss, work.ranks):
        log.skip()
        work.optimizer.zero_grad()
        return False
    with work.phase("clip"):
        if work.scaler is not None:
            work.scaler.unscale_(work.optimizer)
        clip_gradients(work.model, work.preset.optimizer)
    with work.phase("optimizer"):
        taken = _optimizer_step(work)
        work.optimizer.zero_grad()
        if taken and work.average is not None:
            work.average.update(work.model)
    return taken


def _optimizer_step(work: Workload) -> bool:
    """Whether the optimizer took its step: the scaler of fp16 keeps it from one whose gradients are not finite."""
    if work.scaler is None:
        work.optimizer.step()
        return True
    taken: list[bool] = []
    # The scaler does not say what it has decided, and to look at its scale would be one more wait for the device.
    hook = work.optimizer.register_step_post_hook(lambda *_: taken.append(True))
    try:
        work.scaler.step(work.optimizer)
    finally:
        hook.remove()
    work.scaler.update()
    return bool(taken)


def _gradients(work: Workload, batches: Iterator[Batch], log: StepLog) -> Tensor:
    """The loss of the step, a mean over its batches, whose gradients are in the parameters when this returns."""
    whole: Tensor | None = None
    for number in range(work.accumulate):
        with work.phase("data"):
            batch = next(batches)
        with work.phase("h2d"):
            # From pinned memory: the copy is under way while the host goes on.
            batch = batch.to(work.device.torch_device)
        last = number == work.accumulate - 1
        with nullcontext() if last else work.ranks.gradients_stay(work.network):
            with work.phase("forward"):
                outputs = work.outputs(batch)
            with work.phase("loss"):
                # A hidden wait, confessed: PyTorch's CTC on a GPU copies the lengths over by itself from pageable
                # memory, which synchronizes, here and once more in the backward pass. A profile shows it.
                loss = work.task.loss(outputs, batch) / work.accumulate
                whole = loss.detach() if whole is None else whole + loss.detach()
                log.keep(batch, whole)  # copied without blocking; loss.item() would be one more wait
            with work.phase("backward"):
                (loss if work.scaler is None else work.scaler.scale(loss)).backward()
    assert whole is not None, "a step has at least one batch"
    return whole


def _is_bad(loss: Tensor, ranks: Ranks) -> bool:
    """Whether the loss of any rank is infinite, not a number or negative. Waits for the device."""
    bad = ~torch.isfinite(loss) | (loss < 0)
    return ranks.any(bad)
