"""A capture as it is asked for, and as it is carried out: what the modules of the launch side hand to each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds2prof.capture.launchers import Launcher
from ds2prof.capture.opening import ALL, API, Opening, by_our_range
from ds2prof.capture.provenance import is_training, option, steps_asked, window_of
from ds2prof.config import DEFAULTS_CPU, DEFAULTS_GPU, Window
from ds2prof.errors import UsageError
from ds2prof.machine import Machine
from ds2prof.measurements import LOG_SUFFIX, temporary_path

STATUS_SUFFIX: Final = ".status"
"""Behind the temporary name of a measurement: the file that the program tells its progress in."""


@dataclass(frozen=True)
class Asked:
    """What the user wants of a capture beyond its profiler.

    Attributes:
        opening: What opens the window; None: what suits the program.
        detail: Whether PyTorch's profiler records shapes, modules, synchronization and memory too.
        want: The quantities to collect counters for, as ``ds2prof metrics plan`` names them.
        options: Words for the profiler's own command line.
    """

    opening: Opening | None = None
    detail: bool = False
    want: tuple[str, ...] = ("core",)
    options: tuple[str, ...] = ()


NOTHING_MORE: Final = Asked()


@dataclass(frozen=True)
class Plan:
    """What is to be captured: ``program`` under ``launcher`` into ``output``."""

    launcher: Launcher
    program: tuple[str, ...]
    output: Path
    tag: str | None = None
    asked: Asked = NOTHING_MORE

    @property
    def extension(self) -> str:
        """The extension of the output, one of those that the launcher writes."""
        extensions = (self.launcher.extension, *self.launcher.also)
        return next(each for each in extensions if self.output.name.endswith(f".{each}"))

    @property
    def base(self) -> str:
        """The output's name without its extension."""
        return self.output.name.removesuffix(f".{self.extension}")

    @property
    def injects(self) -> str | None:
        """What is loaded into the program so that it profiles itself: ``trace`` or ``memory``; None for nothing."""
        return None if is_training(self.program) else self.launcher.injects

    @property
    def many_files(self) -> bool:
        """Whether each process writes a file of its own."""
        return self.launcher.one_file_per_process or self.injects is not None


@dataclass(frozen=True)
class Job:
    """A plan in the course of being carried out: with what, and the names that are used until all is whole."""

    planned: Plan
    tool: str | None
    machine: Machine
    environ: Mapping[str, str]

    @property
    def partial(self) -> Path:
        """Where the measurement is written before it is whole."""
        return temporary_path(self.planned.output)

    @property
    def log(self) -> Path:
        """Where all that is printed goes meanwhile."""
        return self.partial.with_name(self.partial.name + LOG_SUFFIX)

    @property
    def status(self) -> Path:
        """Where the program tells its progress."""
        return self.partial.with_name(self.partial.name + STATUS_SUFFIX)

    @property
    def stem(self) -> str:
        """What the names of all files of this job begin with; tools add extensions of their own."""
        return self.partial.name.removesuffix(f".{self.planned.extension}")

    @property
    def on_gpu(self) -> bool:
        """Whether the program can use a GPU: there is one, and our training script is not told to stay off it."""
        program = self.planned.program
        return bool(self.machine.gpus) and not (
            is_training(program) and (option(program, "--device") or "").startswith("cpu")
        )

    @property
    def opening(self) -> Opening | None:
        """What opens the window; None where a program that profiles itself decides.

        Raises:
            UsageError: it was asked to be opened by what does not exist here.
        """
        launcher = self.planned.launcher
        asked = self.planned.asked.opening or _by_default(self.planned, self.environ)
        by_calls = asked is not None and asked.kind in ("api", "steps")
        if asked is None or not by_calls or self.on_gpu or launcher.needs_gpu or not launcher.opens_by_nvtx:
            return asked
        # Without CUDA nobody can call cudaProfilerStart, but our range for the window is there.
        window = asked.steps or self.window
        if window is None:
            raise UsageError("--window api: no GPU is here, so nothing calls cudaProfilerStart; give nvtx:RANGE or all")
        return by_our_range(window)

    @property
    def window(self) -> Window | None:
        """The iterations that will be captured, as far as that is known beforehand."""
        if not is_training(self.planned.program):
            return self.steps
        asked = self.planned.asked.opening
        if asked is not None and asked.steps is not None:
            return asked.steps
        default = DEFAULTS_GPU.window if self.on_gpu else DEFAULTS_CPU.window
        return window_of(self.planned.program, self.environ) or default

    @property
    def steps(self) -> Window | None:
        """The optimizer steps that the program is to count for the window, where it is not our training script."""
        if is_training(self.planned.program):
            return None
        asked = self.planned.asked.opening or _by_default(self.planned, self.environ)
        return None if asked is None else asked.steps


def _by_default(planned: Plan, environ: Mapping[str, str] = os.environ) -> Opening | None:
    """What opens the window where nobody said: what our training script calls, the steps in the environment, or all.

    A program that profiles itself looks for its first steps.
    """
    if is_training(planned.program):
        return API
    steps = steps_asked(environ)
    if steps is not None:
        return Opening("steps", steps=steps)
    return None if planned.launcher.injects else ALL
