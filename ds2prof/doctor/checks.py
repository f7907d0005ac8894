"""What speaks for and against a capture on this machine: the same checks for the doctor and for every capture.

A check looks at a :class:`~ds2prof.doctor.finding.Case` and gives a :class:`~ds2prof.doctor.finding.Finding`, or None
where it has nothing to say about that profiler. To add one: a function, and a line in :data:`CHECKS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ds2prof.capture.launchers import Launcher
from ds2prof.doctor import gpu_checks, tool_checks
from ds2prof.doctor.finding import Case, Finding
from ds2prof.machine import Machine
from ds2prof.machine.surroundings import PROC

Check = Callable[[Case], Finding | None]

CHECKS: Final[tuple[Check, ...]] = (
    tool_checks.tool,
    gpu_checks.driver,
    gpu_checks.device_files,
    gpu_checks.gpu,
    gpu_checks.capability,
    gpu_checks.cuda,
    gpu_checks.mig_without_slice,
    gpu_checks.compute_mode,
    tool_checks.chip,
    gpu_checks.counters,
    gpu_checks.counters_held,
    gpu_checks.mig,
    gpu_checks.virtual,
    tool_checks.lock,
    tool_checks.importer,
    tool_checks.nvtx,
    tool_checks.torch,
    gpu_checks.busy,
    gpu_checks.throttled,
    tool_checks.disk,
    tool_checks.file_size,
)
"""All checks, those first whose failure makes the others idle."""

ENV_SKIP: Final = "DS2PROF_SKIP_CHECKS"
"""Ids of findings that refuse nothing, separated by commas: for a machine that a check is wrong about."""
FOR_THE_DOCTOR_ALONE: Final = frozenset({"gpu.none"})
"""Findings that whoever starts a capture knows: a machine without a GPU."""


def findings(case: Case) -> list[Finding]:
    """What all checks find about a capture, in their order."""
    return [found for check in CHECKS if (found := check(case)) is not None]


def refusal(
    declared: Launcher,
    machine: Machine,
    *,
    tool: str | None,
    folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    program: Sequence[str] = (),
    proc: Path = PROC,
) -> str | None:
    """Why this profiler cannot work here and what to do, in one line; None where nothing speaks against it.

    Args:
        declared: the profiler.
        machine: what is here.
        tool: the profiler's executable.
        folder: where the measurement is to be written.
        environ: the program's environment.
        program: the command.
        proc: the folder to read as /proc.
    """
    case = Case(declared, machine, tool, folder, environ, tuple(program), proc)
    skipped = {name.strip() for name in environ.get(ENV_SKIP, "").split(",")}
    found = (check(case) for check in CHECKS)  # one after the other: the first failure spares the rest
    against = (each for each in found if each is not None and each.status == "fail" and each.id not in skipped)
    return next((each.line for each in against), None)


def warnings_for(
    declared: Launcher,
    machine: Machine,
    *,
    tool: str | None,
    folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    program: Sequence[str] = (),
    proc: Path = PROC,
) -> list[str]:
    """What limits this capture or puts it in doubt without preventing it, one line each.

    Failures are among them, for a capture that goes on in spite of one: see :data:`ENV_SKIP`.
    """
    case = Case(declared, machine, tool, folder, environ, tuple(program), proc)
    doubtful = (found for found in findings(case) if found.status != "ok" and found.id not in FOR_THE_DOCTOR_ALONE)
    return [found.line for found in doubtful]
