"""One recording by torch.profiler: its steps and their ranges, from the start to a file."""

from __future__ import annotations

import os
import threading
from typing import Any

from torch.profiler import ProfilerActivity, record_function

from . import facts, gpu, outputs, trace
from .windows import Window

_UNFINISHED = "ds2prof:unfinished:{}"


class _Range:
    """A range that is open from its making to ``close``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._record: Any = record_function(name)
        self._record.__enter__()

    def close(self) -> None:
        self._record.__exit__(None, None, None)


class Recording:
    """What is recorded between ``start`` and ``stop``, and which steps that holds.

    Args:
        detail: Whether to record what attribution needs besides.
    """

    def __init__(self, *, detail: bool) -> None:
        self._detail = detail
        self._profile: Any = None
        self._window: _Range | None = None
        self._iteration: _Range | None = None
        self._unfinished: list[str] = []
        self.first = 0
        self._complete = 0
        self._started = False
        self._thread = 0
        self._all_threads = trace.knows_all_threads() and not detail  # memory is told to recordings of one thread alone
        self.on_gpu = False
        self.window_source = ""

    durations = "recorded with detail, which slows every step down: take durations from a capture without --detail"
    """What is to be said of a recording with detail."""

    def prepare(self) -> None:
        """Loads and warms what recording needs."""
        self.on_gpu = on_gpu = gpu.is_used()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        self._profile = trace.profiler(activities, detail=self._detail, all_threads=self._all_threads)
        with trace.quiet(on_gpu=on_gpu):
            self._profile.prepare_trace()

    def start(self, first: int, window: Window | None = None) -> None:
        """Begins to record, with what comes before step ``first``; a window has a range of its own around its steps."""
        gpu.synchronize()
        self._profile.start_trace()
        self._started = True
        self._thread = threading.get_ident()
        self.first = self._complete = first
        if window is not None:
            self._window = _Range(f"ds2prof:window:{window}")

    def begin(self, step: int) -> None:
        """Begins the range of ``step``."""
        if self._iteration is None:
            self._iteration = _Range(f"ds2prof:iteration:{step}")

    def next(self, step: int) -> None:
        """Ends the range of the step before, which is complete now, and begins that of ``step``."""
        self.complete(step)
        self.begin(step)

    def complete(self, steps: int) -> None:
        """Ends the range of the last step that belongs to the recording: ``steps`` are complete now."""
        self._complete = steps
        if self._iteration is not None:
            self._iteration.close()
            self._iteration = None

    def stop(self) -> None:
        """Ends recording. A step that is not complete keeps its range, but not the name of a step."""
        gpu.synchronize()
        if self._iteration is not None:
            self._unfinished.append(self._iteration.name)
            self._iteration.close()
            self._iteration = None
        if self._window is not None:
            self._window.close()
        self._profile.stop_trace()

    def abandon(self) -> None:
        """Ends whatever is on. A process that ends with torch.profiler on crashes on its way out."""
        if not self._started:
            self._profile.start_trace()
        self._profile.stop_trace()

    @property
    def ends_here(self) -> bool:
        """Whether this thread can end it: the one that started it can, and any if it is of all threads."""
        return self._all_threads or self._thread == threading.get_ident()

    @property
    def steps(self) -> tuple[int, int] | None:
        """The complete steps in it, as a half-open pair; None where there is none."""
        return (self.first, self._complete) if self._complete > self.first else None

    def save(self, template: str, *, own: str | None, steps_seen: int) -> str | None:
        """The file, whole and with a sidecar; None where the recording holds no operator, which leaves none.

        Args:
            template: Its path, with ``{process}`` in it.
            own: A file that this process wrote before and that this one may replace.
            steps_seen: Steps that the process has taken so far.
        """
        path = outputs.final_path(template, own=own)
        partial = outputs.temporary_path(path, "partial")
        renames = [(name, _UNFINISHED.format(name.rpartition(":")[2])) for name in self._unfinished]
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            if not trace.export(self._profile, partial, raw=outputs.temporary_path(path, "raw.json"), renames=renames):
                return None
            self._write_sidecar(path, steps_seen)
            outputs.put_in_place(partial, path)
        finally:
            outputs.remove(partial)
        return path

    def _write_sidecar(self, path: str, steps_seen: int) -> None:
        told = facts.sidecar(
            window=self.steps, window_source=self.window_source, detail=self._detail, steps_seen=steps_seen
        )
        outputs.write_sidecar(path, {**told, "durations": self.durations} if self._detail else told)
