"""One thing that was found about this machine, and what a check of a capture looks at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ds2prof.capture.launchers import Launcher
from ds2prof.machine import Machine
from ds2prof.machine.surroundings import PROC

Status = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        id: Which check, a stable word.
        subject: What it is about: a profiler, ``gpu 0``, ``driver``, ``machine`` and the like.
        status: ``fail``: the subject does not work; ``warn``: it works with a limit or a doubt; ``unknown``: this
            could not be told.
        what: What was found.
        do: What to do about it; None where nothing is to be done.
        facts: The numbers and names behind it, in base units.
    """

    id: str
    subject: str
    status: Status
    what: str
    do: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """Subject, finding and remedy on one line, as an error or a warning has it."""
        return f"{self.subject}: {self.what}" + (f"; {self.do}" if self.do else "")


@dataclass(frozen=True)
class Case:
    """A capture that is to be checked.

    Attributes:
        launcher: The profiler.
        machine: What is here.
        tool: The profiler's executable; None where it is not here or has none.
        folder: Where the measurement is to be written; None where that is not known.
        environ: The environment of the program.
        program: The command; empty where no particular program is asked about.
        proc: The folder to read as /proc.
    """

    launcher: Launcher
    machine: Machine
    tool: str | None
    folder: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    program: tuple[str, ...] = ()
    proc: Path = PROC

    def found(
        self, check: str, status: Status, what: str, do: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> Finding:
        """A finding about this capture's profiler."""
        return Finding(check, self.launcher.name, status, what, do, facts or {})
