"""The profiler that ``auto`` takes on this machine, and why."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ds2prof.capture.launchers import find_importer, find_tool, launcher
from ds2prof.doctor.checks import refusal
from ds2prof.machine import Machine


@dataclass(frozen=True)
class Choice:
    """The profiler that ``auto`` takes, and why, for one line each."""

    name: str
    reason: str
    counters: bool
    """Whether hardware counters can be captured here too."""


def choose(machine: Machine, *, readable: Collection[str], environ: Mapping[str, str] = os.environ) -> Choice:
    """The best profiler that works here: nsys where its report can be made and read, else torch.

    Args:
        machine: what is here.
        readable: the names of the parsers that ds2prof has.
        environ: the environment in which tools are looked for.
    """
    if not machine.gpus:
        return Choice(
            "torch", "no NVIDIA GPU is visible here, so PyTorch's own profiler looks at the CPU", counters=False
        )
    nsight = launcher("nsight")
    ncu = find_tool(nsight, environ)
    counters = machine.counters_permitted is True and refusal(nsight, machine, tool=ncu) is None
    against = _against_nsys(machine, readable, environ)
    if against is None:
        return Choice("nsys", "Nsight Systems works here and costs the run least", counters)
    return Choice("torch", f"PyTorch's own profiler, because {against}", counters)


def _against_nsys(machine: Machine, readable: Collection[str], environ: Mapping[str, str]) -> str | None:
    """What keeps ``auto`` from taking nsys."""
    nsys = launcher("nsys")
    tool = find_tool(nsys, environ)
    if tool is None:
        return "nsys is not on this machine"
    if nsys.importer is not None and find_importer(nsys.importer, tool, environ) is None:
        return f"the nsys here ({tool}) lacks its importer"
    return None if nsys.reader in readable else "nsys reports cannot be read by this version of ds2prof"
