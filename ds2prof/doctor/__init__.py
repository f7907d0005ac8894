"""What works on this machine, what does not, and why: the machine's condition, then each way to capture.

:func:`document` is the schema ``ds2prof-doctor/1``: ``findings`` is a list of objects with ``id`` (which check),
``subject``, ``status`` (ok, warn, fail, unknown), ``what``, ``do`` (null where nothing is to be done) and ``facts`` (an
object, base units); ``captures`` has, by profiler, ``works`` (yes, partly, no), ``title``, ``gives``, ``tool``,
``version``, and ``why`` and ``do`` of what limits it most (null where nothing does).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ds2prof.capture.launchers import LAUNCHERS, Launcher, find_tool, launcher
from ds2prof.doctor.checks import findings
from ds2prof.doctor.examination import Place, condition
from ds2prof.doctor.finding import Case, Finding
from ds2prof.machine import Machine
from ds2prof.machine.surroundings import PROC

SCHEMA: Final = "ds2prof-doctor/1"
PASSING: Final = frozenset({"gpu.busy", "clocks", "disk", "file-size"})
"""Warnings that leave a capture all that it gives: it works, and the warning stands beside it."""

Works = Literal["yes", "partly", "no"]


@dataclass(frozen=True)
class Capture:
    """One way to capture, and how far it works here."""

    launcher: Launcher
    findings: tuple[Finding, ...]

    @property
    def works(self) -> Works:
        """``partly`` where something that it gives elsewhere is missing or in doubt."""
        if any(found.status == "fail" for found in self.findings):
            return "no"
        return "partly" if any(found.id not in PASSING for found in self.doubts) else "yes"

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """What speaks against it, the failures first."""
        against = [found for found in self.findings if found.status != "ok"]
        return tuple(sorted(against, key=lambda found: found.status != "fail"))

    @property
    def document(self) -> dict[str, Any]:
        """It as JSON has it."""
        tool = next((found.facts for found in self.findings if found.id == "tool"), {})
        first = self.doubts[0] if self.works != "yes" else None
        return {
            "works": self.works,
            "title": self.launcher.title,
            "gives": self.launcher.blurb,
            "tool": tool.get("path"),
            "version": tool.get("version"),
            "why": first.what if first else None,
            "do": first.do if first else None,
        }


@dataclass(frozen=True)
class Report:
    """What the doctor found."""

    machine: tuple[Finding, ...]
    captures: tuple[Capture, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The report as JSON has it."""
        all_found = [*self.machine, *(found for capture in self.captures for found in capture.findings)]
        return {
            "schema": SCHEMA,
            "findings": [{**asdict(found), "facts": dict(found.facts)} for found in all_found],
            "captures": {capture.launcher.name: capture.document for capture in self.captures},
        }


def examine(
    machine: Machine,
    names: Sequence[str] = LAUNCHERS,
    *,
    folder: Path = Path("measurements"),
    environ: Mapping[str, str] = os.environ,
    proc: Path = PROC,
) -> Report:
    """The condition of this machine, and how far each of the named ways to capture works on it.

    Args:
        machine: what was found of GPUs and driver.
        names: the profilers to look at.
        folder: where measurements go.
        environ: the environment of programs to come.
        proc: the folder to read as /proc.
    """
    captures = []
    for name in names:
        declared = launcher(name)
        case = Case(declared, machine, find_tool(declared, environ), folder, environ, (), proc)
        captures.append(Capture(declared, tuple(findings(case))))
    return Report(tuple(condition(Place(machine, environ, folder, proc))), tuple(captures))
