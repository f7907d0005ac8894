"""Where a run stands: all of it as a checkpoint's values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import torch

from ds2prof.errors import ReadError
from ds2prof.train.checkpoints import Checkpoint, load_into, load_weights
from ds2prof.train.plan import State
from ds2prof.train.randomness import random_state, restore_random_state
from ds2prof.train.tally import Tally
from ds2prof.train.workload import Workload

_SETTINGS: Final = ("lr", "momentum", "nesterov", "weight_decay", "betas", "eps")
"""What an optimizer is told, and not what it has counted."""


def standing(work: Workload, state: State, tally: Tally) -> dict[str, Any]:
    """What a checkpoint holds of the run itself. Every rank calls it, for each has something to add."""
    own = {"random": random_state(work.device.torch_device), "sums": tally.sums.cpu()}
    return {
        "epoch": state.epoch,
        "batch": state.batch,
        "iteration": state.iteration,
        "best_wer": state.best_wer,
        "history": list(state.history),
        "progress": state.counted(),
        "model": work.model.state_dict(),
        "optimizer": work.optimizer.state_dict(),
        "scaler": None if work.scaler is None else work.scaler.state_dict(),
        "average": None if work.average is None else work.average.state_dict(),
        "ranks": work.ranks.gathered(own),
    }


def restored(work: Workload, tally: Tally, checkpoint: Checkpoint) -> State:
    """Where the checkpoint's run stood; the workload and the tally are as they were then.

    Raises:
        ReadError: it is a checkpoint of something else.
    """
    where = str(checkpoint.path)
    load_weights(work.model, checkpoint)
    _load_optimizer(work.optimizer, checkpoint["optimizer"], where=where)
    for name, target in (("scaler", work.scaler), ("average", work.average)):
        if (target is None) != (checkpoint[name] is None):
            raise ReadError(f"{where}: was written {'without' if target else 'with'} a {name}; resume as it began")
        if target is not None:
            load_into(target, checkpoint[name], where=f"{where}: the {name}'s state")
    return _restored_state(work, tally, checkpoint)


def _load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], *, where: str) -> None:
    """Nothing; the optimizer goes on from ``state``, with the settings of this run instead of those in it.

    Raises:
        ReadError: it is the state of another.
    """
    asked = [dict(group) for group in optimizer.param_groups]
    load_into(optimizer, state, where=f"{where}: the optimizer's state")
    for own, group in zip(asked, optimizer.param_groups, strict=True):
        if not own.keys() <= group.keys():
            raise ReadError(f"{where}: the optimizer's state is of another kind of optimizer; resume as it began")
        group.update({name: own[name] for name in _SETTINGS if name in own})
    if not all(_fits(values, parameter) for parameter, values in optimizer.state.items()):
        raise ReadError(f"{where}: the optimizer's state is of other weights; take another checkpoint")


def _fits(values: Any, parameter: torch.Tensor) -> bool:
    """Whether the tensors that an optimizer keeps of a parameter have its shape; PyTorch does not look."""
    if not isinstance(values, dict):
        return False
    tensors = [value for value in values.values() if isinstance(value, torch.Tensor) and value.ndim]
    return all(tensor.shape == parameter.shape for tensor in tensors)


def _restored_state(work: Workload, tally: Tally, checkpoint: Checkpoint) -> State:
    where, ranks = str(checkpoint.path), work.ranks
    try:
        kept = checkpoint["ranks"]
        own = kept[ranks.rank] if len(kept) == ranks.world_size else {"sums": None, "random": None}
        tally.begin_epoch(_sums(own["sums"]))
        states = own["random"]
        state = State(**checkpoint["progress"], history=[dict(row) for row in checkpoint["history"]])
        _require_sound(state, checkpoint, accumulate=work.accumulate)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ReadError(f"{where}: does not say where its run stood; take another checkpoint") from None
    if states is not None:  # else there were other ranks, and these go on with random numbers of their own
        restore_random_state(states, work.device.torch_device, where=where)
    return state


def _sums(stored: Any) -> torch.Tensor | None:
    """A rank's sums over the epoch so far; None where the ranks were others.

    Raises:
        ValueError: they are something else.
    """
    if stored is not None and stored.shape != (2,):
        raise ValueError
    return cast("torch.Tensor | None", stored)


def _require_sound(state: State, checkpoint: Checkpoint, *, accumulate: int) -> None:
    """Nothing, if the counts can be those of a run.

    Raises:
        ValueError: they contradict each other, or are no counts.
    """
    counts = (state.epoch, state.batch, state.iteration, state.steps, state.skipped, state.bad_in_row)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError
    if counts[:3] != tuple(checkpoint[name] for name in ("epoch", "batch", "iteration")):
        raise ValueError
    if state.batch != state.steps * accumulate or not isinstance(state.best_wer, (float, type(None))):
        raise ValueError
