"""The file of a memory capture and PyTorch's own snapshot beside it, each written whole or not at all.

``memory_bs4.csv`` has a number a row, under this heading::

    iteration,moment,phase,device,layer,category,size_bytes,operator

Its grammar, and what moments and categories mean, stand in the reader, ``parsers/memory_csv.py``.
"""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

HEADING = ("iteration", "moment", "phase", "device", "layer", "category", "size_bytes", "operator")
SNAPSHOT_SUFFIX = ".snapshot.pickle"
_HISTORY_ENTRIES = 100_000

if TYPE_CHECKING:
    Row = tuple[int, str, str, str, str, str, int, str]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Writes the rows under their heading; ``path`` appears when the last is on disk."""

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(HEADING)
            writer.writerows(rows)

    _whole(path, write)


def snapshot_path(path: Path) -> Path:
    """Where the snapshot of a measurement lies: its name with ``.csv`` replaced."""
    name = path.name[: -len(".csv")] if path.name.endswith(".csv") else path.name
    return path.with_name(name + SNAPSHOT_SUFFIX)


class History:
    """PyTorch's own record of every allocation on CUDA devices, which its memory_viz shows.

    Attributes:
        absent: Why there is none; None where it is being recorded.
    """

    def __init__(self) -> None:
        self.absent: str | None = None
        self._asked = self._began = False

    def begin(self) -> None:
        """Begins to record, where there is a CUDA device in use and this PyTorch can.

        To be called again where there may be one by now; once it has begun, or cannot, that is without effect.
        """
        if self._asked:
            return
        if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
            self.absent = "no CUDA device in use; PyTorch records allocations on those alone"
            return
        self._asked, self.absent = True, None
        record = getattr(torch.cuda.memory, "_record_memory_history", None)
        if record is None or not hasattr(torch.cuda.memory, "_snapshot"):
            self.absent = f"PyTorch {torch.__version__} records no history of allocations"
            return
        enabled = getattr(torch._C, "_cuda_isHistoryEnabled", bool)
        if enabled():
            return  # the program records by itself: its history is as good as ours, and stays on
        try:
            record("all", context="alloc", stacks="python", max_entries=_HISTORY_ENTRIES)
        except (TypeError, RuntimeError) as error:
            self.absent = f"PyTorch {torch.__version__} refused to record allocations: {_first_line(error)}"
            return
        self._began = True

    def end(self, path: Path | None) -> Path | None:
        """Ends it and writes what was recorded beside the measurement ``path``; the file, None where there is none."""
        try:
            if self.absent is not None or path is None:
                return None
            snapshot: dict[str, Any] = torch.cuda.memory._snapshot()

            def write(partial: Path) -> None:
                with partial.open("wb") as stream:
                    pickle.dump(snapshot, stream)

            _whole(snapshot_path(path), write)
        except (OSError, RuntimeError) as error:
            self.absent = f"could not be written: {_first_line(error)}"
            return None
        finally:
            if self._began:
                self._began = False
                with suppress(RuntimeError, TypeError):
                    torch.cuda.memory._record_memory_history(None)
        return snapshot_path(path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _whole(path: Path, write: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()
