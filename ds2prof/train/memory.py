"""The memory capture of our own training: the same recording as for any program, told of its steps directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ds2prof.config import Window
from ds2prof.errors import CaptureError
from ds2prof.inject.memory import MemoryCapture


class MemoryProfiler:
    """Records who holds the memory of each iteration of the window, and writes it to ``path`` when that ends.

    Attributes:
        facts: What the sidecar says of the measurement; None until it is written.
    """

    def __init__(self, path: Path, window: Window) -> None:
        self.facts: dict[str, Any] | None = None
        self._path = path
        self._capture = MemoryCapture()
        self._window = window
        self._handles: list[Any] = []

    def prepare(self) -> None:
        """Nothing: the first iteration that is recorded is as good as any."""

    def start(self) -> None:
        """Begins to record.

        Raises:
            CaptureError: this PyTorch is too old for it.
        """
        try:
            self._capture.begin(self._window.start)
        except RuntimeError as error:
            raise CaptureError(str(error)) from None
        self._handles = [
            register_optimizer_step_pre_hook(lambda optimizer, *_: self._capture.before_step(optimizer)),
            register_optimizer_step_post_hook(lambda optimizer, *_: self._capture.after_step(optimizer)),
        ]

    def stop(self) -> None:
        """Ends recording and writes the file, whole or not at all."""
        for handle in self._handles:
            handle.remove()
        self._capture.end()
        try:
            self.facts = self._capture.write(self._path)
        except RuntimeError as error:
            raise CaptureError(f"{self._path}: {error}") from None
