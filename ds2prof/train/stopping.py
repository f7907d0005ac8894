"""Being told to stop: a signal ends the run behind the step that is being taken, with a checkpoint.

Slurm sends SIGTERM before it takes a node away (``--signal=TERM@120`` says how long before), a terminal sends SIGINT.
The first one is remembered, and whoever trains asks between two steps. A second one of the same kind does what it
would have done to any program.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers, while it is entered, the first signal that asks to stop."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether one came."""
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """What the process ends with because of it: 128 and the signal's number."""
        return 128 + (self.number or signal.SIGTERM)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python sets handlers there alone
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        # The next one is for those who do not want to wait.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
