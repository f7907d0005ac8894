"""``memory``: who holds the memory of a training run, told from inside of it.

The file is a CSV (:mod:`.memory_file`); PyTorch's own snapshot lies beside it where a CUDA device is used. Needs
PyTorch 2.1 or newer, since older ones do not say when a storage is freed.

What is seen, and what is not: every tensor's storage, once, for as long as it lives, on every device. On CUDA devices
the allocator's own count is split up, so that what no tensor holds is told too; CUDA's context and libraries that take
memory past PyTorch's allocator are only in ``device_used``, which is of the whole device. On the host there is no such
count: what an operator takes and gives back before it returns is not seen there. The allocator's peaks are reset for
it, so the program's own ``torch.cuda.max_memory_allocated()`` means the time since the last operator.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import torch

from . import facts, gpu, outputs, status, windows
from .hooks import Hooks
from .memory_file import SNAPSHOT_SUFFIX, History, snapshot_path, write_rows
from .memory_ledger import storages_can_be_followed
from .memory_recording import COMPILED, Recording

TOOL = "ds2prof memory"
_ITERATION: Final = 0
_DEVICE: Final = 3
"""Where a row has its iteration and its device."""
_NOTHING = "no iteration was recorded from its beginning to its end"
_HOST_UNKNOWN = "without that, memory is only known on devices that count by themselves"
_UNCOMPILED = "; with TORCHDYNAMO_DISABLE=1 the program runs uncompiled, and all is known"
_NO_COUNT = "PyTorch keeps no count of the host's memory: what an operator takes and gives back is not seen"


class MemoryCapture:
    """A capture of memory: from :meth:`begin` on, an iteration for each step, until :meth:`end`."""

    def __init__(self) -> None:
        self._recording = Recording()
        self._history = History()

    def begin(self, iteration: int) -> None:
        """Begins to record; ``iteration`` is the one that comes next.

        Raises:
            RuntimeError: this PyTorch does not say when a storage is freed.
        """
        if not storages_can_be_followed():
            raise RuntimeError(f"memory: PyTorch {torch.__version__} does not tell what is freed; 2.1 is needed")
        self._history.begin()
        self._recording.begin(iteration)

    def cuda_started(self) -> None:
        """The program has started CUDA, if it had not when this began."""
        self._history.begin()

    @property
    def steps(self) -> tuple[int, int] | None:
        """The iterations that are recorded whole so far, as a half-open pair; None where there is none."""
        whole = self._recording.iterations
        return (whole[0], whole[-1] + 1) if whole else None

    def before_step(self, optimizer: Any = None) -> None:
        """The optimizer is about to change the weights."""
        self._recording.before_step(optimizer)

    def after_step(self, optimizer: Any = None) -> None:
        """It has changed them, which ends the iteration."""
        self._history.begin()  # where the start of CUDA was not seen
        self._recording.after_step(optimizer)

    def end(self, *, keep_unfinished: bool = False) -> None:
        """Ends recording, and leaves the program as it was found.

        Args:
            keep_unfinished: Where no step was taken, whether all that was recorded counts as one iteration.
        """
        self._recording.end(keep_unfinished=keep_unfinished)

    def write(self, path: Path) -> dict[str, Any]:
        """Writes the file and the snapshot beside it, and gives what there is to say of them.

        Raises:
            RuntimeError: nothing is known that could be told, such as no iteration being whole.
            OSError: the file cannot be written.
        """
        recording = self._recording
        metered, rows = recording.account.metered, recording.account.rows
        unfollowed_from = recording.unfollowed_from
        if unfollowed_from is not None:  # from there on the host's tensors are known in part, which is no answer
            rows = [row for row in rows if row[_DEVICE] in metered or row[_ITERATION] < unfollowed_from]
        snapshot = self._history.end(path if rows else None)
        if recording.failure is not None or not rows:
            raise RuntimeError(recording.failure or _why_unknown(recording.why_not) or _NOTHING)
        write_rows(path, rows)
        return {
            "iterations": len({row[_ITERATION] for row in rows}),
            "devices": list(dict.fromkeys(row[_DEVICE] for row in rows)),
            "operators_followed": recording.why_not is None,
            "operators_reason": recording.why_not,
            "operators_followed_until": unfollowed_from,
            "workspace_measured_on": metered,
            "workspace_reason": None if metered else _NO_COUNT,
            "snapshot": None if snapshot is None else SNAPSHOT_SUFFIX,  # in place of .csv
            "snapshot_reason": self._history.absent,
            "complete": not recording.full,
        }


class MemoryRecorder:
    """The recorder of ``DS2PROF_INJECT=memory``, for any program: it begins where the window does."""

    def __init__(self, output_path: str, status_path: str | None, *, hooks: Hooks | None = None) -> None:
        self._output = output_path
        self._status = status_path
        self._hooks = hooks
        self._window = windows.asked(os.environ)
        self._source = "the default window of steps" if self._window is None else "the steps asked for"
        self._whole = windows.whole_run(os.environ)
        self._capture: MemoryCapture | None = None
        self._first = 0
        self._steps = 0

    def start(self) -> None:
        """Torch has been imported, and nothing done with it: a window that begins with step 0 opens."""
        if self._whole:
            self._source = "the whole run"
        if self._whole or (self._window is not None and self._window.start == 0):
            self._begin(0)

    def before(self, step: int, optimizer: Any) -> None:
        """Step ``step`` is about to update the weights."""
        if self._capture is not None:
            self._capture.before_step(optimizer)

    def step(self, step: int, optimizer: Any) -> None:
        """Step ``step`` is over."""
        self._steps = step + 1
        if self._capture is not None:
            self._capture.after_step(optimizer)
            return
        self._window = self._window or windows.default(torch)
        if self._steps == self._window.start:
            self._begin(self._steps)

    def stop(self) -> None:
        """Writes what was recorded; says why where nothing was."""
        if self._capture is None:
            window = "" if self._window is None else f" {self._window}"
            if self._steps:  # else it is a process beside the training, or one that takes no steps
                status.say(self._status, f"window{window}: not reached, the program took {self._steps} optimizer steps")
            return
        self._capture.end(keep_unfinished=self._whole)
        status.tell(self._status, "closed", self._steps)
        if not self._whole and self._window is not None and self._steps < self._window.stop:
            self._source = "the steps until the program ended"
            status.say(self._status, windows.cut_short(self._window, self._capture.steps, self._steps))
        path = Path(outputs.final_path(self._output))
        said = self._capture.write(path)
        if said["operators_reason"] is not None:
            status.say(self._status, f"memory: {_unfollowed(said)}")
        if not said["complete"]:
            status.say(
                self._status, f"memory: {said['iterations']} iterations were recorded, which is enough for one file"
            )
        self._write_sidecar(path, said)
        status.tell(self._status, "wrote", path)
        if said["snapshot"] is not None:
            status.tell(self._status, "wrote", snapshot_path(path))

    def _begin(self, iteration: int) -> None:
        self._first = iteration
        self._capture = MemoryCapture()
        self._capture.begin(iteration)
        if self._hooks is not None and gpu.may_be_used() and not gpu.is_used():
            self._hooks.on_cuda(self._capture.cuda_started)
        status.tell(self._status, "open", iteration)

    def _write_sidecar(self, path: Path, said: dict[str, Any]) -> None:
        assert self._capture is not None, "nothing was recorded"
        window = self._capture.steps if self._steps > self._first else None
        told = facts.sidecar(window=window, window_source=self._source, detail=None, steps_seen=self._steps)
        outputs.write_sidecar(str(path), {**told, "tool": TOOL, "tool_version": None, "memory": said})


def _why_unknown(why_not: str | None) -> str | None:
    """Why nothing is known of a host whose operators were not followed, and what would help."""
    if why_not is None:
        return None
    return f"{why_not}; {_HOST_UNKNOWN}{_UNCOMPILED if why_not == COMPILED else ''}"


def _unfollowed(said: dict[str, Any]) -> str:
    """Why not all is known, in words."""
    return f"from iteration {said['operators_followed_until']} on: {said['operators_reason']}"
