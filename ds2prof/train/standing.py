"""Where a run stands: all of it as a checkpoint's values, and back."""

from __future__ import annotations

from typing import Any

from ds2prof.errors import ReadError
from ds2prof.train.checkpoints import Checkpoint, load_into, load_weights
from ds2prof.train.plan import State
from ds2prof.train.randomness import random_state, restore_random_state
from ds2prof.train.tally import Tally
from ds2prof.train.workload import Workload


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
    load_into(work.optimizer, checkpoint["optimizer"], where=f"{where}: the optimizer's state")
    for name, target in (("scaler", work.scaler), ("average", work.average)):
        if (target is None) != (checkpoint[name] is None):
            raise ReadError(f"{where}: was written {'without' if target else 'with'} a {name}; resume as it began")
        if target is not None:
            load_into(target, checkpoint[name], where=f"{where}: the {name}'s state")
    return _restored_state(work, tally, checkpoint)


def _restored_state(work: Workload, tally: Tally, checkpoint: Checkpoint) -> State:
    where, ranks = str(checkpoint.path), work.ranks
    try:
        kept = checkpoint["ranks"]
        own = kept[ranks.rank] if len(kept) == ranks.world_size else {"sums": None, "random": None}
        tally.begin_epoch(own["sums"])
        states = own["random"]
        state = State(**checkpoint["progress"], history=[dict(row) for row in checkpoint["history"]])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ReadError(f"{where}: does not say where its run stood; take another checkpoint") from None
    if states is not None:  # else there were other ranks, and these go on with random numbers of their own
        restore_random_state(states, work.device.torch_device, where=where)
    return state
