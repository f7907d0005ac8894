"""How fast the ranks add up tensors: a check of the machine's links before a run that lives by them.

An all-reduce of ``size`` bytes on each of ``n`` ranks is timed as nccl-tests does it, and reported in its terms
(nccl-tests, doc/PERFORMANCE.md):

- algorithm bandwidth = size / time: what the training loop gets;
- bus bandwidth = algorithm bandwidth x 2 (n - 1) / n: what the links must have carried, whatever ``n`` is, since each
  rank has to send and to receive 2 (n - 1) / n of the data. It is what is compared with the links' peak.

The time is that of the slowest rank, over calls that are queued one behind the other between two fences, divided by
their number. Its blind spot: in training, the all-reduces run beside the backward pass and share the chip and its
memory with it, so this is an upper bound for what a run reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.distributed

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.device import Device, out_of_memory
from ds2prof.train.distributed import Ranks, ranks_of
from ds2prof.units import NS_PER_S

TYPES: Final = {"float": torch.float32, "half": torch.float16, "bfloat16": torch.bfloat16}
"""Name, as nccl-tests has it -> PyTorch's type."""

_CHECKED_TOGETHER: Final = 1 << 24
_MULTIPLES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Bandwidth:
    """What an all-reduce of one size takes.

    Attributes:
        size_bytes: The tensor's size on each rank.
        dur_ns: The time of one call on the slowest rank.
        ranks: How many add up.
        wrong: Elements, over all ranks, whose sum was not what it should be.
    """

    size_bytes: int
    dur_ns: float
    ranks: int
    wrong: int

    @property
    def algorithm_bytes_per_s(self) -> float:
        """Size by time."""
        return self.size_bytes * NS_PER_S / self.dur_ns

    @property
    def bus_bytes_per_s(self) -> float:
        """What the links carried, comparable over numbers of ranks."""
        return self.algorithm_bytes_per_s * 2 * (self.ranks - 1) / self.ranks


@dataclass(frozen=True)
class Trial:
    """How it is measured.

    Attributes:
        sizes_bytes: The tensors' sizes; each is rounded down to whole elements.
        type_name: One of :data:`TYPES`.
        warmup: Calls before those that are timed.
        calls: Calls that are timed together.
    """

    sizes_bytes: tuple[int, ...]
    type_name: str = "float"
    warmup: int = 5
    calls: int = 20


def size_of(text: str) -> int:
    """The bytes of ``8``, ``64K``, ``98.1M`` or ``1G``; K, M and G are powers of 1,024, as nccl-tests has them.

    Raises:
        UsageError: it is no size.
    """
    number, multiple = (text[:-1], text[-1:].upper()) if text[-1:].upper() in "KMG" else (text, "")
    try:
        size = round(float(number) * _MULTIPLES[multiple])
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise UsageError(f"--sizes {text!r}: is no size; write 1M, 98.1M or 1G")
    return size


def trial_of(sizes: str, *, type_name: str, warmup: int, calls: int) -> Trial:
    """The trial that was typed; sizes are separated by spaces or commas.

    Raises:
        UsageError: there is no size, or one is none.
    """
    found = tuple(size_of(text) for text in sizes.replace(",", " ").split())
    if not found:
        raise UsageError("--sizes: names none; write '1M 64M'")
    return Trial(found, type_name, warmup, calls)


def ranks_in(environ: Mapping[str, str]) -> Ranks:
    """The ranks that were started.

    Raises:
        UsageError: it is one, or the variables contradict each other.
    """
    ranks = ranks_of(environ)
    if not ranks.several:
        raise UsageError("WORLD_SIZE is 1: one rank alone sends nothing; start several, with torchrun or srun")
    return ranks


def measure(
    trial: Trial,
    ranks: Ranks,
    device: Device,
    *,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    show: Callable[[Bandwidth], None] | None = None,
) -> list[Bandwidth]:
    """The bandwidth at each size, the same on every rank. All ranks call it together.

    Args:
        trial: What is measured.
        ranks: Who takes part; they have joined.
        device: Where the tensors are.
        clock_ns: A monotonic clock.
        show: Is told each as soon as it is known.

    Raises:
        UsageError: a size holds no element.
        Ds2profError: the memory does not hold it, or the ranks lost each other.
    """
    kind = TYPES[trial.type_name]
    found = []
    for size_bytes in trial.sizes_bytes:
        count = size_bytes // kind.itemsize
        if not count:
            raise UsageError(f"--sizes {size_bytes}: holds no element of type {trial.type_name}")
        with _failing_in_a_line(ranks, size_bytes):
            tensor = torch.empty(count, dtype=kind, device=device.torch_device)
            wrong = _wrong(tensor, ranks, device)
            own_ns = _timed(tensor, trial, ranks, device, clock_ns)
            dur_ns = max(ranks.gathered(own_ns)) / trial.calls
        found.append(Bandwidth(count * kind.itemsize, dur_ns, ranks.world_size, wrong))
        if show is not None:
            show(found[-1])
    return found


def facts(ranks: Ranks, device: Device, backend: str) -> dict[str, Any]:
    """What the numbers depend on."""
    nccl = torch.cuda.nccl.version() if backend == "nccl" else None
    return {
        "ranks": ranks.world_size,
        "device": device.name,
        "backend": backend,
        "torch": torch.__version__,
        "nccl": ".".join(map(str, nccl)) if nccl else None,
    }


def rows_of(bandwidths: Sequence[Bandwidth]) -> list[dict[str, Any]]:
    """The measurements as plain values in base units."""
    return [
        {
            "size_bytes": each.size_bytes,
            "dur_ns": each.dur_ns,
            "algorithm_bytes_per_s": each.algorithm_bytes_per_s,
            "bus_bytes_per_s": each.bus_bytes_per_s,
            "wrong": each.wrong,
        }
        for each in bandwidths
    ]


@contextmanager
def _failing_in_a_line(ranks: Ranks, size_bytes: int) -> Iterator[None]:
    """Turns what PyTorch and its libraries raise over links or memory into one line of this rank.

    Raises:
        Ds2profError: they did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            advice = "out of memory; give smaller --sizes"
        else:
            advice = f"{str(error).partition(chr(10))[0]}; NCCL_DEBUG=INFO says more where NCCL is used"
        raise Ds2profError(f"rank {ranks.rank}: all-reduce of {size_bytes} bytes: {advice}") from None


def _wrong(tensor: torch.Tensor, ranks: Ranks, device: Device) -> int:
    """How many elements the ranks' sum has wrong, together. Small integers: every type here holds their sum.

    It is checked in pieces, so that the check takes next to no memory beside the tensor.
    """
    tensor.fill_(ranks.rank % 3 + 1)
    torch.distributed.all_reduce(tensor)
    right = sum(rank % 3 + 1 for rank in range(ranks.world_size))
    bound = right * ranks.world_size * torch.finfo(tensor.dtype).eps
    wrong = sum(int((~((piece.float() - right).abs() <= bound)).sum()) for piece in tensor.split(_CHECKED_TOGETHER))
    device.synchronize()
    return sum(ranks.gathered(wrong))


def _timed(tensor: torch.Tensor, trial: Trial, ranks: Ranks, device: Device, clock_ns: Callable[[], int]) -> int:
    tensor.zero_()  # sums of zeros do not overflow, however often they are added up
    for _ in range(trial.warmup):
        torch.distributed.all_reduce(tensor)
    device.synchronize()
    ranks.wait()
    device.synchronize()
    begun_ns = clock_ns()
    for _ in range(trial.calls):
        torch.distributed.all_reduce(tensor)
    device.synchronize()
    return clock_ns() - begun_ns
