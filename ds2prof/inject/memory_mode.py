"""The mode ``memory``: :class:`.memory.MemoryRecorder`, ended where its window ends."""

from __future__ import annotations

from typing import Any

import torch

from . import windows
from .hooks import Hooks
from .memory import MemoryRecorder
from .windows import Window


class Memory:
    """Hands on to the recorder until the window is over.

    Args:
        output: The file to write, ``{process}`` in it.
        window: The steps asked for; None takes the default window of steps.
        whole: Whether the whole run was asked for.
        status: The status file, if there is one.
        hooks: How to be called again.
    """

    def __init__(self, output: str, *, window: Window | None, whole: bool, status: str | None, hooks: Hooks) -> None:
        self._recorder = MemoryRecorder(output, status, hooks=hooks)
        self._window = window
        self._whole = whole
        self._over = False

    def start(self) -> None:
        """Torch has been imported."""
        self._recorder.start()

    def made(self, optimizer: Any) -> None:
        """Nothing: the recorder finds the optimizer's tensors when it steps."""

    def before(self, step: int, optimizer: Any) -> None:
        """The step's gradients are there, the weights are still the old ones."""
        if not self._over:
            self._recorder.before(step, optimizer)

    def step(self, step: int, optimizer: Any) -> None:
        """The step is complete, and with the last of the window the recording."""
        if self._over:
            return
        self._window = self._window or (None if self._whole else windows.default(torch))
        self._recorder.step(step, optimizer)
        if self._window is not None and step + 1 >= self._window.stop:
            self.stop()

    def stop(self) -> None:
        """Writes what was recorded."""
        if not self._over:
            self._over = True
            self._recorder.stop()

    def give_way(self) -> None:
        """Nothing: the program's own use of torch.profiler is not in the way."""

    def abandon(self) -> None:
        """Nothing more is handed on, and nothing written."""
        self._over = True

    def forked(self) -> bool:
        """Never: the tensors are those of the parent."""
        return False
