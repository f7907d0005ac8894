"""Training in several processes: who is who, gradients averaged among them, and questions put to all of them.

The processes are started by torchrun, by ``srun`` with the same variables, or by whatever else sets ``RANK``,
``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``. Each trains on batches of its own. The gradients
are means over the ranks of means over their batches: the gradient of the mean over the whole step, as long as all
batches have the same number of utterances, which the orders of :mod:`ds2prof.speech.orders` see to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
import torch.distributed
from torch import Tensor, nn

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.device import Device

_NEEDED: Final = ("MASTER_ADDR", "MASTER_PORT")
_LET_GO_S: Final = 0.05
"""Gloo's threads let go of Python objects behind each exchange, for which they need the interpreter's lock; PyTorch
takes a group down with the lock held and waits for those threads. They get this long first."""


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, seen from one of them.

    Attributes:
        rank: Which one this is.
        world_size: How many there are; with one, nothing here talks to anybody.
        local_rank: Which one on its machine, which decides its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def several(self) -> bool:
        """Whether there is anybody to talk to."""
        return self.world_size > 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def gradients_stay(self, network: nn.Module) -> AbstractContextManager[Any]:
        """A context in which backward passes add to this rank's gradients without averaging them among the ranks."""
        inside = getattr(network, "_orig_mod", network)  # what torch.compile wraps
        if isinstance(inside, nn.parallel.DistributedDataParallel):
            return cast("AbstractContextManager[Any]", inside.no_sync())
        return nullcontext()

    def any(self, yes: Tensor) -> bool:
        """Whether it is so on any rank; ``yes`` is one truth value on the device, which is waited for."""
        if not self.several:
            return bool(yes.item())
        votes = yes.to(torch.int32)
        torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
        return bool(votes.item())

    def summed(self, values: Sequence[float], device: Device) -> list[float]:
        """Each value summed over the ranks, in float64 (exact for counts below 2 to the 53rd where it is supported)."""
        if not self.several:
            return list(values)
        kind = torch.float32 if device.torch_device.type == "mps" else torch.float64
        total = torch.tensor(values, dtype=kind, device=device.torch_device)
        torch.distributed.all_reduce(total)
        return cast("list[float]", total.tolist())

    def gathered(self, value: Any) -> list[Any]:
        """Each rank's ``value``, in their order, on every rank. For small plain values outside of the loop."""
        if not self.several:
            return [value]
        found: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(found, value)
        return found

    @torch.no_grad()
    def share_buffers(self, model: nn.Module) -> None:
        """Gives every rank rank 0's buffers: the statistics of batch normalization, which each has moved by itself."""
        if self.several:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Returns when every rank has come here."""
        if self.several:
            torch.distributed.barrier()


def ranks_of(environ: Mapping[str, str]) -> Ranks:
    """Who this process is according to its environment; alone where that says nothing.

    Raises:
        UsageError: the variables contradict each other.
    """
    try:
        world_size = int(environ.get("WORLD_SIZE", "1"))
        rank = int(environ.get("RANK", "0"))
        local_rank = int(environ.get("LOCAL_RANK", "0"))
    except ValueError:
        raise UsageError("RANK, WORLD_SIZE, LOCAL_RANK: these must be whole numbers; start with torchrun") from None
    if not 0 <= rank < world_size or local_rank < 0:
        raise UsageError(f"RANK {rank} of WORLD_SIZE {world_size}: there is no such process; start with torchrun")
    return Ranks(rank, world_size, local_rank)


@contextmanager
def joined(ranks: Ranks, device: Device) -> Iterator[None]:
    """A context in which the ranks can talk to each other; nothing where there is one.

    Raises:
        Ds2profError: they cannot find each other, or this device has no library to talk through.
    """
    if not ranks.several:
        yield
        return
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if missing:
        raise UsageError(f"{', '.join(missing)}: not set, and WORLD_SIZE is {ranks.world_size}; start with torchrun")
    try:
        torch.distributed.init_process_group(backend_of(device), rank=ranks.rank, world_size=ranks.world_size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise Ds2profError(f"rank {ranks.rank}: cannot join the {ranks.world_size} processes: {reason}") from None
    try:
        yield
    finally:
        time.sleep(_LET_GO_S)
        torch.distributed.destroy_process_group()


def backend_of(device: Device) -> str:
    """The library through which devices of this kind exchange tensors, by torch.distributed's name for it.

    Raises:
        Ds2profError: none is known.
    """
    backend = device.distributed_backend
    if backend is None:
        raise Ds2profError(f"{device}: no library is known through which several of them train together; use one")
    return backend


def shared_network(network: nn.Module, device: Device, *, ranks: Ranks, sync_batch_norm: bool = False) -> nn.Module:
    """The network with its gradients averaged among the ranks; the network itself where there is one.

    Args:
        network: Already on its device; the ranks take rank 0's weights.
        device: Where it is.
        ranks: Who trains.
        sync_batch_norm: Whether batch normalization takes its statistics over the batches of all ranks.

    Raises:
        UsageError: the device's PyTorch has no such batch normalization.
    """
    if not ranks.several:
        return network
    if sync_batch_norm:
        if not device.is_gpu:
            raise UsageError(f"--sync-batch-norm: PyTorch has it for GPUs alone, and this is {device}; leave it out")
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    here = [device.torch_device] if device.is_gpu else None
    return nn.parallel.DistributedDataParallel(network, device_ids=here)
