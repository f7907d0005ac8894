"""The mode ``trace``: which stretch of the program is recorded, and what is kept of it.

Asked for a window of steps, a recording is prepared one step early and holds that window. Asked for the whole run
(``DS2PROF_WINDOW=all``), it lasts from the import of torch to the end of the process. Asked for nothing, it begins with
torch as well; once steps are seen to be taken, the default window of steps is recorded anew and takes its place. A
program that never steps, inference say, keeps the first recording, of 30 s at most.

With a GPU within reach, nothing is begun before the program itself has started CUDA: a profiler that is set up earlier
may start the driver, which no forked child survives, or may never see the GPU, since Kineto decides once in a process.
"""

from __future__ import annotations

import torch

from . import gpu, windows
from .forks import end_past_exit_handlers
from .hooks import Hooks
from .recording import Recording
from .status import say, tell, tell_window
from .windows import Window


class Tracing:
    """Records this process.

    Args:
        template: The file to write, ``{process}`` in it.
        window: The steps asked for, None where there are none.
        whole: Whether the whole run was asked for.
        detail: Whether to record what attribution needs.
        status: The status file, if there is one.
        hooks: How to be called again.
    """

    def __init__(
        self,
        template: str,
        *,
        window: Window | None,
        whole: bool,
        detail: bool,
        status: str | None,
        hooks: Hooks,
    ) -> None:
        self._template = template
        self._asked = window
        self._window = window
        self._whole = whole
        self._detail = detail
        self._status = status
        self._hooks = hooks
        self._steps = 0
        self._active: Recording | None = None
        """Recording now."""
        self._prepared: Recording | None = None
        self._held: Recording | None = None
        """What was recorded before the window opened: the answer if the program ends before the window has a step."""
        self._own: str | None = None
        self._trains = False
        self._over = False
        self._kineto_has_run = False
        self._inherited: Recording | None = None
        """The parent's, in a child by fork: switched off, but not ended before the child has a use for its own."""

    def start(self) -> None:
        """Begins to record where that does not wait for steps."""
        if self._window is not None and self._window.start > 0:
            return
        if gpu.may_be_used() and not gpu.is_used():
            self._hooks.on_cuda(self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        if self._over or self._active is not None or self._steps > 0:
            return
        self._open(self._window)
        if self._window is None and not self._whole:
            self._hooks.later(windows.WHOLE_RUN_LIMIT_S, self._enough)

    def _open(self, window: Window | None) -> None:
        """Recording is on when this returns; first in it is the step that is next."""
        recording, self._prepared = self._prepared or self._prepare(), None
        recording.start(self._steps, window)
        if self._trains or window is not None:
            recording.begin(self._steps)
        self._active = recording
        tell_window(self._status, "open", self._steps)

    def _prepare(self) -> Recording:
        recording = Recording(detail=self._detail)
        self._kineto_has_run = True
        recording.prepare()
        return recording

    def made(self, optimizer: object) -> None:
        """The program has made an optimizer: with the first, step 0 begins, unless the window began with the run."""
        if self._active is not None and self._active.ends_here and not self._trains:
            self._active.begin(self._steps)
        self._trains = True

    def before(self, step: int, optimizer: object) -> None:
        """Nothing: a step is recorded as it comes."""

    def step(self, step: int, optimizer: object) -> None:
        """Step ``step`` is complete."""
        self._steps = step + 1
        self._end_inherited()
        if self._active is not None and not self._active.ends_here:
            self._step_elsewhere()
        if self._over:
            return
        if self._whole:
            self._whole_run_stepped()
            return
        window = self._window = self._window or windows.default(torch)
        if self._steps < window.start - 1:
            self._advance()
        elif self._steps < window.start:
            self._hold()
            self._prepared = self._prepare()
        elif self._steps < window.stop:
            self._inside(window)
        else:
            self._end_of(window)

    def _step_elsewhere(self) -> None:
        """A step in another thread than the one that is recorded, and that alone can end that."""
        if not self._over:
            self._over = True
            say(self._status, "steps are taken in another thread than the main one; --window START:STOP records them")

    def _whole_run_stepped(self) -> None:
        if self._active is None:
            self._open(None)  # a GPU is here, and the program works without
        else:
            self._advance()

    def _inside(self, window: Window) -> None:
        """The window begins or goes on. Late is better than never: real bounds are written down."""
        if self._steps == window.start or self._active is None:
            self._hold()
            self._open(window)
            return
        self._advance()
        self._held = None

    def _end_of(self, window: Window) -> None:
        """Step STOP-1 is complete."""
        self._over = True
        if self._active is not None:
            source = "the steps asked for" if self._asked else "the default window of steps"
            if self._active.first > window.start:
                source += ", from the first that could be recorded"
            self._active.complete(self._steps)
            self._finish(source)

    def _advance(self) -> None:
        if self._active is not None:
            self._active.next(self._steps)

    def _hold(self) -> None:
        """Ends a recording that is going on and keeps it, unwritten, until the window has a step."""
        if self._active is not None:
            self._active.stop()
            self._held, self._active = self._active, None

    def _enough(self) -> None:
        """The limit of a recording without steps: it is written now, lest the program is killed later."""
        if self._active is None or self._over or self._window is not None:
            return
        source = f"the first {windows.WHOLE_RUN_LIMIT_S:.0f} s, in which no optimizer stepped"
        self._finish(source)
        if self._own is not None:
            say(self._status, f"recorded {source}; --window all records a run whole")

    def stop(self) -> None:
        """The program ends: what there is so far is written."""
        if self._prepared is not None:
            self._prepared.abandon()
        if self._active is not None and not self._active.ends_here:
            say(self._status, "the thread that was recorded has ended without an end of its window; nothing is written")
            end_past_exit_handlers()
            self._active, self._over = None, True
        if self._active is not None:
            if self._active.steps is None and (self._held is not None or self._own is not None):
                self._active.stop()
                self._active = None  # what came before the window says more
            else:
                self._finish_early()
        if self._held is not None:
            self._held.window_source = "the run so far, which ended before the default window of steps"
            self._save(self._held)
            self._held = None
        if self._own is None and self._steps and not self._over:
            assert self._window is not None, "a window is chosen with the first step"
            say(self._status, f"window {self._window}: not reached, the program took {self._steps} optimizer steps")
        self._over = True

    def give_way(self) -> None:
        """The program starts torch.profiler itself: there can be only one, and it is the program's."""
        if self._active is None or self._over or not self._active.ends_here:
            return
        say(self._status, "the program uses torch.profiler itself; recording ends here, so that it can")
        self._finish("until the program started torch.profiler itself")
        self._over = True

    def abandon(self) -> None:
        """torch.profiler is off, and nothing is written."""
        self._over = True
        for recording in (self._active, self._prepared):
            if recording is not None and recording.ends_here:
                recording.abandon()
            elif recording is not None:
                end_past_exit_handlers()
        self._active = self._prepared = self._held = None

    def forked(self) -> bool:
        """A child that loads data takes no step and writes nothing, one that trains is recorded as itself.

        Not where the parent records a GPU: CUDA, and with it the profiler, works in no forked child.
        """
        self._inherited = self._active or self._prepared
        self._active = self._prepared = self._held = self._own = None
        self._steps, self._window, self._over = 0, self._asked, False
        if self._kineto_has_run:
            end_past_exit_handlers()
        if self._inherited is None:
            return True
        torch._C._autograd._enable_record_function(False)  # or operators would pile up in what nobody ever ends
        return not self._inherited.on_gpu

    def _end_inherited(self) -> None:
        """Ends what the parent records, here alone: the child takes steps of its own."""
        inherited, self._inherited = self._inherited, None
        if inherited is not None:
            inherited.abandon()
            torch._C._autograd._enable_record_function(True)

    def _finish_early(self) -> None:
        """The program ends within the window, if there is one."""
        assert self._active is not None, "nothing is recorded"
        if self._window is None or self._whole:
            self._finish("the whole run")
            return
        steps = self._active.steps
        self._finish("the steps until the program ended")
        say(self._status, windows.cut_short(self._window, steps, self._steps))

    def _finish(self, source: str) -> None:
        recording, self._active = self._active, None
        assert recording is not None
        recording.stop()
        tell_window(self._status, "closed", self._steps)
        recording.window_source = source
        self._save(recording)

    def _save(self, recording: Recording) -> None:
        path = recording.save(self._template, own=self._own, steps_seen=self._steps)
        if path is not None:
            self._own = path
            tell(self._status, "wrote", path)
            if self._detail:
                say(self._status, recording.durations)
