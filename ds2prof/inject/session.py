"""The life of an injected process: what was asked for begins with torch, follows the steps, ends with the process.

Everything that is called from the program passes through :meth:`Session._guarded`: an error in here is one line on
standard error, after which the program is left alone.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

import torch

from . import following, gpu, outputs, windows
from .hooks import Hooks
from .status import say, tell, tell_step
from .steps import StepCounter, watch


class Mode(Protocol):
    """What is done in the process; ``ds2prof.inject`` says when each is called."""

    def start(self) -> None:
        """Torch has been imported."""

    def made(self, optimizer: Any) -> None:
        """An optimizer has been made."""

    def before(self, step: int, optimizer: Any) -> None:
        """A step is about to be taken."""

    def step(self, step: int, optimizer: Any) -> None:
        """A step is complete."""

    def stop(self) -> None:
        """The process ends."""

    def give_way(self) -> None:
        """The program starts torch.profiler itself."""

    def abandon(self) -> None:
        """Whatever is on is switched off, and nothing is written."""

    def forked(self) -> bool:
        """Whether this process, a child by fork, is followed on; what the parent records is none of its business."""


def begin(environ: Mapping[str, str]) -> None:
    """Torch has just been imported: begins what the environment asks for."""
    status = environ.get("DS2PROF_STATUS")
    tell(status, "torch", torch.__version__)
    Session(status, lambda hooks: mode_for(environ, status, hooks=hooks)).begin()


def mode_for(environ: Mapping[str, str], status: str | None, *, hooks: Hooks) -> Mode:
    """What the environment asks for, with a clock beside it where that is asked for too.

    Raises:
        ValueError: it asks for what there is not.
        KeyError: it does not say where to write to.
    """
    asked, run_log = environ.get("DS2PROF_INJECT") or None, environ.get("DS2PROF_INJECT_RUN_LOG")
    if run_log is None:
        return _recorder_for(environ, status, hooks=hooks)
    from .timing import Nothing, TimedSteps

    mode = Nothing() if asked is None else _recorder_for(environ, status, hooks=hooks)
    return TimedSteps(mode, run_log, window=windows.asked(environ), profiler=asked)


def _recorder_for(environ: Mapping[str, str], status: str | None, *, hooks: Hooks) -> Mode:
    asked, window, whole = environ["DS2PROF_INJECT"], windows.asked(environ), windows.whole_run(environ)
    if asked == "signal":
        from .signals import Signals

        count = environ.get("DS2PROF_COUNT_OPS") == "1"
        return Signals(window=window, whole=whole, count=count, status=status, hooks=hooks)
    output = environ["DS2PROF_INJECT_OUTPUT"]
    if asked == "trace":
        from .tracing import Tracing

        detail = environ.get("DS2PROF_DETAIL") == "1"
        return Tracing(output, window=window, whole=whole, detail=detail, status=status, hooks=hooks)
    if asked == "memory":
        from .memory_mode import Memory

        return Memory(output, window=window, whole=whole, status=status, hooks=hooks)
    raise ValueError(f"DS2PROF_INJECT={asked}: there are trace, memory and signal")


class Session:
    """Follows this process.

    Args:
        status: The status file, if there is one.
        make_mode: Makes what is done, given the ways to be called again.
    """

    def __init__(self, status: str | None, make_mode: Callable[[Hooks], Mode]) -> None:
        self._status = status
        self._mode = make_mode(Hooks(self._later, self._on_cuda))
        self._steps = StepCounter(made=self._made, before=self._before, after=self._after)
        self._depth = 0
        self._over = False
        self._killed = False
        self._keep: list[Any] = []

    def begin(self) -> None:
        """From here on the process is followed."""
        watch(self._steps)
        following.watch()
        _watch_profiler(self._give_way)
        atexit.register(self.end)
        os.register_at_fork(after_in_child=self._forked)
        self._end_with_multiprocessing(self)
        multiprocessing.util.register_after_fork(self, self._end_with_multiprocessing)
        self._catch_sigterm()
        self._guarded(self._mode.start)

    def _made(self, optimizer: Any) -> None:
        self._guarded(self._mode.made, optimizer)

    def _before(self, step: int, optimizer: Any) -> None:
        self._guarded(self._mode.before, step, optimizer)

    def _after(self, step: int, optimizer: Any) -> None:
        self._guarded(self._complete, step, optimizer)

    def _complete(self, step: int, optimizer: Any) -> None:
        outputs.place()  # as long as torch.distributed is there to be asked
        self._mode.step(step, optimizer)
        tell_step(self._status, step)

    def _give_way(self) -> None:
        if self._depth == 0:
            self._guarded(self._mode.give_way)

    def end(self) -> None:
        """The process ends; what comes after is not recorded."""
        if self._over:
            return
        self._guarded(self._mode.abandon if outputs.is_data_worker() else self._mode.stop)
        self._over = True
        tell(self._status, "ended", self._steps.count)

    def _guarded(self, call: Callable[..., None], *args: Any) -> None:
        """Calls; whatever goes wrong is said, and is the end of recording, not of the program."""
        if self._over:
            return
        self._depth += 1
        try:
            _uncompiled(call)(*args)
        except Exception as error:
            self._fail(error)
        finally:
            self._depth -= 1
        if self._killed and self._depth == 0:
            self._sigterm(signal.SIGTERM, None)

    def _fail(self, error: Exception) -> None:
        self._over = True
        text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        say(self._status, f"recording failed ({text}); the program goes on")
        tell(self._status, "failed", text)
        with suppress(Exception):  # it has failed already; what is left is to be out of the way
            self._mode.abandon()

    def _forked(self) -> None:
        """In a child by fork: its steps are its own, and SIGTERM ends it at once, as its parent may rely on."""
        if signal.getsignal(signal.SIGTERM) == self._sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not self._over:
            self._steps.restart()
            self._over = not self._mode.forked()

    @staticmethod
    def _end_with_multiprocessing(session: Session) -> None:
        """Children of multiprocessing leave by ``os._exit``, which runs its finalizers but none of atexit's."""
        multiprocessing.util.Finalize(None, session.end, exitpriority=1000)

    def _catch_sigterm(self) -> None:
        """What was recorded is written on SIGTERM too, unless the program catches that itself."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._sigterm)

    def _sigterm(self, signum: int, _frame: FrameType | None) -> None:
        if self._depth:
            self._killed = True  # in the midst of our own work: when it is done
            return
        self._killed = False
        self.end()
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    def _on_cuda(self, call: Callable[[], None]) -> None:
        """Calls when the program starts CUDA."""
        gpu.when_used(lambda: self._guarded(call), self._later)

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Calls in the main thread, between two of its instructions, when some seconds have gone by."""
        pid = os.getpid()

        def in_main_thread(_: Any) -> int:
            if self._depth:
                self._later(0.1, call)
            elif os.getpid() == pid:
                self._guarded(call)
            return 0

        pending = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(in_main_thread)
        self._keep.append(pending)  # for as long as the interpreter may call it
        timer = threading.Timer(delay_s, ctypes.pythonapi.Py_AddPendingCall, (pending, None))
        timer.daemon = True
        timer.start()


def _uncompiled(call: Callable[..., None]) -> Callable[..., None]:
    """``call``, kept from torch.compile where that is in use: it would look at every function that a step calls."""
    disable = getattr(sys.modules.get("torch._dynamo"), "disable", None)
    return call if disable is None else disable(call)


def _watch_profiler(called: Callable[[], None]) -> None:
    """Has ``called`` called before anyone sets torch.profiler up, ourselves included."""
    kind: Any = torch.autograd.profiler.profile
    original = getattr(kind, "_prepare_trace", None)
    if original is None:
        return

    def prepare_trace(self: Any) -> None:
        called()
        original(self)

    kind._prepare_trace = prepare_trace
