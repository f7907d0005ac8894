"""Checkpoints: all that a run needs to go on as if nothing had happened, in one file that is whole or not there.

A folder of them::

    epoch0003_step00001200.pt   a checkpoint: 1,200 steps are done, the next batch is one of epoch 3, counted from 0
    latest.pt                   a link to the newest
    best.pt                     a link to the one with the lowest word error rate so far
    history.jsonl               what the run has told so far

A file is written under another name, brought to the disk, given its name, and the folder is brought to the disk. So
whatever kills the process or the machine, each file under its name is whole; should the disk have lost something of
one all the same, reading it shows that, and the one before serves.

The files are PyTorch's, read with ``weights_only``: they hold tensors and plain values and run no code. Schema
``ds2prof-checkpoint/1``, a dictionary:

======================  =============================================================================================
``schema``              its name
``tool_version``        of ds2prof; ``torch_version`` of PyTorch
``preset``              name of the workload, and ``preset_config``, all that it says, as JSON
``symbols``             what the network's outputs stand for: ``{"size", "sha256", "characters"}``
``run``                 what the order of the data follows from, and the precision: plain values by the options' names
``epoch``, ``batch``    the next batch; ``iteration``, how many steps are done; ``progress``, these and other counts
``best_wer``            the lowest word error rate so far, null without any
``history``             the lines of ``history.jsonl``
``model``               weights and batch normalization's statistics
``optimizer``           its state; ``scaler`` and ``average`` likewise, null without
``ranks``               for each rank, its random numbers' states and its sums over the epoch so far
======================  =============================================================================================
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch

from ds2prof.errors import CaptureError, Ds2profError, ExistsError, ReadError
from ds2prof.measurements import remove_stale, temporary_path

SCHEMA: Final = "ds2prof-checkpoint/1"
LATEST: Final = "latest.pt"
BEST: Final = "best.pt"
HISTORY: Final = "history.jsonl"
_NAME: Final = re.compile(r"epoch(\d{4,})_step(\d{8,})\.pt")
_FIELDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "tool_version": str,
    "torch_version": str,
    "preset": str,
    "preset_config": str,
    "symbols": dict,
    "run": dict,
    "epoch": int,
    "batch": int,
    "iteration": int,
    "best_wer": (float, type(None)),
    "history": list,
    "model": dict,
    "optimizer": dict,
    "scaler": (dict, type(None)),
    "average": (dict, type(None)),
    "progress": dict,
    "ranks": list,
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        path: Where from.
        values: Its dictionary, checked to hold every field of the schema in its type.
    """

    path: Path
    values: Mapping[str, Any]

    def __getitem__(self, field: str) -> Any:
        """The value of a field."""
        return self.values[field]


class CheckpointFolder:
    """A folder that checkpoints of one run are kept in.

    Args:
        path: The folder; it is made when something is written.
        keep: How many of the newest stay, besides the best; 0 keeps all.
    """

    def __init__(self, path: Path, *, keep: int = 3) -> None:
        self.path = path
        self._keep = keep

    def require_empty(self) -> None:
        """Nothing, if no run has left checkpoints here.

        Raises:
            ExistsError: one has.
        """
        if self._found():
            raise ExistsError(
                f"{self.path}: holds checkpoints of a run; --resume auto goes on with it, another --checkpoint-dir "
                "begins a new one"
            )

    def require_none_newer(self, checkpoint: Checkpoint) -> None:
        """Nothing, if no checkpoint here is newer than the one that a run goes on from.

        What the run would write next would count as old, be removed before them, and never be found by its age.

        Raises:
            ExistsError: one is.
        """
        found = self._found()
        if found and _number(found[0]) > checkpoint["iteration"]:
            raise ExistsError(
                f"{self.path}: holds {found[0].name}, newer than {checkpoint.path}; --resume auto goes on with that, "
                "another --checkpoint-dir keeps the two apart"
            )

    def write(self, values: Mapping[str, Any], *, best: bool) -> Path:
        """Where ``values`` are now, on the disk; the links point there and what is too old is gone.

        Args:
            values: The fields of a checkpoint, the schema left out.
            best: Whether no earlier one had a lower word error rate.

        Raises:
            CaptureError: it cannot be written.
        """
        path = self.path / f"epoch{values['epoch']:04d}_step{values['iteration']:08d}.pt"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_durably(path, lambda file: torch.save({"schema": SCHEMA, **values}, file))
            for link in (LATEST, BEST) if best else (LATEST,):
                _point(self.path / link, path)
            _sync_folder(self.path)
        except OSError as error:
            raise CaptureError(f"{path}: cannot be written: {error.strerror}; make room or fix the folder") from None
        self._prune()
        return path

    def newest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that can be read; None in a folder without any.

        Args:
            say: Told of each that is damaged and passed over, a line each.

        Raises:
            ReadError: there are some, and all are damaged.
        """
        remove_stale(self.path)
        found = self._found()
        for path in found:
            try:
                return read_checkpoint(path)
            except ReadError as error:
                say(f"{error}; passed over")
        if found:
            raise ReadError(f"{self.path}: none of its {len(found)} checkpoints can be read; begin in another folder")
        return None

    def _found(self) -> list[Path]:
        """The checkpoints by their names, newest first."""
        numbered = []
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in self.path.iterdir():
                name = _NAME.fullmatch(path.name)
                if name is not None:
                    numbered.append(((int(name[2]), int(name[1])), path))
        return [path for _, path in sorted(numbered, reverse=True)]

    def _prune(self) -> None:
        """Removes what is neither among the newest nor the best."""
        if not self._keep:
            return
        best = self.path / BEST
        for path in self._found()[self._keep :]:
            with suppress(OSError):
                if not (best.exists() and path.samefile(best)):
                    path.unlink()


def _number(path: Path) -> int:
    """The iterations behind a checkpoint, by its name."""
    return int(path.stem.rpartition("_step")[2])


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file, its tensors on the host.

    Raises:
        ReadError: it is damaged, or not a checkpoint of ours.
    """
    _require_whole(path)
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise ReadError(f"{path}: is larger than this machine's memory") from None
    except pickle.UnpicklingError:
        raise ReadError(f"{path}: holds something else than tensors and plain values; it is not opened") from None
    except Exception as error:  # what is in a file that is no checkpoint decides what reading it raises
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise ReadError(f"{path}: cannot be read as a checkpoint: {reason}") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise ReadError(f"{path}: is not a checkpoint of ds2prof train ({SCHEMA})")
    for field, kind in _FIELDS.items():
        if field not in values or not isinstance(values[field], kind):
            raise ReadError(f"{path}: its {field!r} is missing or of another type than {SCHEMA} says")
    if min(values["epoch"], values["batch"], values["iteration"]) < 0:
        raise ReadError(f"{path}: stands before the beginning of the run")
    return Checkpoint(path, values)


def _require_whole(path: Path) -> None:
    """Nothing, if the archive that a checkpoint is has all of its bytes as they were written.

    PyTorch's own reader does not compare the sums that the archive holds.

    Raises:
        ReadError: it has not, or is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ReadError(f"{path}: is compressed, which checkpoints are not")
            damaged = archive.testzip()
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError):
        raise ReadError(f"{path}: is cut off or damaged, or no checkpoint at all") from None
    if damaged is not None:
        raise ReadError(f"{path}: is damaged: {damaged!r} is not as it was written")


def load_weights(module: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Nothing; ``module`` has the checkpoint's weights now.

    Raises:
        ReadError: they are those of another network.
    """
    load_into(module, checkpoint["model"], where=f"{checkpoint.path}: the weights")


def load_into(target: Any, state: Mapping[str, Any], *, where: str) -> None:
    """Nothing; ``target``, which has ``load_state_dict``, has this state now.

    Raises:
        ReadError: it is the state of something else.
    """
    try:
        target.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReadError(f"{where} do not fit what is trained: {reason}") from None


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Nothing; what ``write`` wrote has the name ``path``, and both are on the disk.

    Raises:
        OSError: it could not be written.
    """
    partial = temporary_path(path)
    try:
        with partial.open("wb") as file:
            try:
                write(file)
            except RuntimeError as error:  # PyTorch's word for a full disk
                raise OSError(0, " ".join(str(error).split())[:200]) from None
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _point(link: Path, path: Path) -> None:
    """Makes ``link`` another name of ``path``, in one step; a second name where the file system has no links."""
    partial = temporary_path(link)
    partial.unlink(missing_ok=True)
    try:
        partial.symlink_to(path.name)
    except (OSError, NotImplementedError):
        os.link(path, partial)
    partial.replace(link)


def _sync_folder(folder: Path) -> None:
    """Brings the folder's names to the disk, where its file system can do that."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            os.fsync(opened)
    finally:
        os.close(opened)


def require_same(stored: Mapping[str, Any], wanted: Mapping[str, Any], *, where: str) -> None:
    """Nothing, if both say the same.

    Args:
        stored: What the checkpoint says, by the names of the options.
        wanted: What this run was told.
        where: The checkpoint.

    Raises:
        Ds2profError: they differ.
    """
    for name, value in wanted.items():
        if stored.get(name) != value:
            raise Ds2profError(
                f"{where}: was written with --{name.replace('_', '-')} {stored.get(name)}, not {value}; resume with "
                "the same, or begin from its weights with --finetune"
            )
