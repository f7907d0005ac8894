"""Ranks: whether this process is one of several, and whether a command starts several."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_VARIABLES: Final = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # of the step: a batch script is one process, however many it may start
)
"""(rank, number of ranks) as torchrun, Open MPI, MPICH and Slurm tell a process; the first that is there counts."""

_STARTERS: Final[dict[str, tuple[str, ...]]] = {
    "torchrun": ("--nproc-per-node", "--nproc_per_node", "--nnodes"),
    "torch.distributed.run": ("--nproc-per-node", "--nproc_per_node", "--nnodes"),
    "torch.distributed.launch": ("--nproc-per-node", "--nproc_per_node", "--nnodes"),
    "mpirun": ("-n", "-np", "--n", "--np"),
    "mpiexec": ("-n", "-np", "--n", "--np"),
    "mpiexec.hydra": ("-n", "-np"),
    "orterun": ("-n", "-np", "--n", "--np"),
    "horovodrun": ("-np", "--num-proc"),
    "jsrun": ("-n", "--nrs", "-p", "--np"),
    "srun": ("-n", "--ntasks", "-N", "--nodes"),
    "accelerate": ("--num_processes", "--num-processes", "--num_machines"),
    "deepspeed": ("--num_gpus", "--num_nodes"),
}
"""Program -> the options that say how many processes it starts."""

_ONE_UNLESS_SAID: Final = frozenset({"torchrun", "torch.distributed.run", "torch.distributed.launch"})
"""Those that start one process where the command names no number; the others take what they find."""


class Rank(NamedTuple):
    """This process among its peers."""

    rank: int
    world_size: int


def rank_of(environ: Mapping[str, str]) -> Rank | None:
    """The rank that the environment tells; None where the process is on its own."""
    for rank_name, size_name in _VARIABLES:
        rank, size = environ.get(rank_name, ""), environ.get(size_name, "")
        if rank.isascii() and rank.isdigit() and size.isascii() and size.isdigit():
            return Rank(int(rank), int(size)) if int(size) > 1 else None
    return None


def several_ranks(program: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether processes that wait for each other take part: this is one of several, or the command starts several."""
    words = [part for word in program for part in _words(word)]
    return rank_of(environ) is not None or any(
        _starts_several(Path(word).name, words[at + 1 :]) for at, word in enumerate(words)
    )


def _words(word: str) -> list[str]:
    """A word of a command; one that is a command for a shell, taken apart."""
    try:
        return shlex.split(word) if " " in word else [word]
    except ValueError:
        return [word]


def _starts_several(starter: str, arguments: Sequence[str]) -> bool:
    """Whether a program that starts ranks starts more than one."""
    if starter not in _STARTERS:
        return False
    counts = [count for name in _STARTERS[starter] for count in _values(name, arguments)]
    # What is no number is "auto" or "gpu": as many as there are.
    told = [int(count) if re.fullmatch(r"\d+", count, re.ASCII) else 2 for count in counts]
    return max(told) > 1 if told else starter not in _ONE_UNLESS_SAID


def _values(name: str, arguments: Sequence[str]) -> list[str]:
    """The values that the arguments give to an option."""
    after = [arguments[at + 1] for at, word in enumerate(arguments[:-1]) if word == name]
    return after + [word.removeprefix(f"{name}=") for word in arguments if word.startswith(f"{name}=")]
