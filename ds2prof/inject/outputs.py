"""The files that a process writes: under which name, whole or not at all, and never over those of another process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

_RANK_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
"""Variables that hold a process's rank and the number of ranks: torchrun's, Open MPI's, MPICH's, Slurm's."""


class Place(NamedTuple):
    """A process's place in a distributed run; nulls outside of one."""

    rank: int | None
    world_size: int | None

    def __str__(self) -> str:
        if self.rank is None or self.world_size is None or self.world_size < 2:
            return f"p{os.getpid()}"
        return f"rank{self.rank}"


_known = Place(None, None)


def place(environ: Mapping[str, str] = os.environ) -> Place:
    """This process's place: as torch.distributed knows it or once knew it, else as the launcher's variables say."""
    global _known
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        _known = Place(distributed.get_rank(), distributed.get_world_size())
    if _known.rank is not None:
        return _known
    for rank, size in _RANK_VARIABLES:
        if environ.get(rank, "").isdigit() and environ.get(size, "").isdigit():
            return Place(int(environ[rank]), int(environ[size]))
    return _known


def final_path(template: str, *, own: str | None = None) -> str:
    """The file of this process; if another process of the same rank has that one, its process id joins the name.

    Args:
        template: A path with ``{process}`` in it.
        own: A file that this process wrote earlier and may replace.
    """
    process = str(place())
    path = template.replace("{process}", process)
    if path != own and os.path.exists(path):
        path = template.replace("{process}", f"{process}-p{os.getpid()}")
    return path


def temporary_path(path: str, ending: str) -> str:
    """A hidden name beside ``path`` that no other process uses."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}.{ending}")


def write_sidecar(path: str, facts: Mapping[str, Any]) -> str:
    """The sidecar's path, written whole beside the measurement ``path``."""
    target = f"{path}.meta.json"
    partial = temporary_path(target, "partial")
    try:
        with open(partial, "w", encoding="utf-8") as out:
            json.dump({"schema": "ds2prof-meta/1", **facts}, out, indent=1)
            out.write("\n")
        os.replace(partial, target)
    finally:
        remove(partial)
    return target


def put_in_place(partial: str, path: str) -> None:
    """``partial`` takes the name ``path``; if it cannot, the sidecar that was written for it goes too."""
    try:
        os.replace(partial, path)
    except OSError:
        remove(f"{path}.meta.json")
        raise


def remove(path: str) -> None:
    """Nothing is left under ``path``."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def is_data_worker() -> bool:
    """Whether this process loads data for another, which has a measurement of its own."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and data.get_worker_info() is not None
