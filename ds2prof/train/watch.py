"""A capture's place in a run that goes on behind it: opened and closed around the steps of its window."""

from __future__ import annotations

from ds2prof.config import Window
from ds2prof.train.capture import Capture
from ds2prof.train.device import Device


class Watch:
    """Tells a capture when its window opens and closes, a fence of the device on either side.

    Args:
        capture: What records.
        window: Which iterations, counted from 0 in this process; None for none.
        device: What is fenced.
    """

    def __init__(self, capture: Capture, window: Window | None, device: Device) -> None:
        self._capture = capture
        self._window = window
        self._device = device
        self._open = False

    def before(self, iteration: int) -> None:
        """Iteration ``iteration`` comes next."""
        window = self._window
        if window is None:
            return
        if iteration == max(window.start - 1, 0):
            self._capture.prepare()
        if iteration == window.start:
            self._device.synchronize()
            self._capture.start()
            self._open = True

    def after(self, iteration: int) -> None:
        """Iteration ``iteration`` is handed out."""
        if self._window is not None and iteration + 1 == self._window.stop:
            self.close()

    def close(self) -> None:
        """Closes the window, if it is open: where the run ends inside of it, what was recorded is kept."""
        if self._open:
            self._open = False
            self._device.synchronize()
            self._capture.stop()
