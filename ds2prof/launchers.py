"""The profilers that ds2prof can start, as ``profilers/NAME.yaml`` declares them, and whether one works here.

A launcher is two files in ``profilers/``: ``NAME.yaml`` holds facts (what it needs, what it writes, what its messages
mean), ``NAME.sh`` builds its command line. :mod:`ds2prof.launch` runs them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from glob import escape
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import msgspec
import yaml

from ds2prof.errors import UsageError
from ds2prof.machine import Machine

LAUNCHERS: Final = ("nsight", "nsys", "nvprof", "torch")
"""Names of the launchers: each has a ``.sh`` and a ``.yaml`` in ``profilers/``."""

_VERSION_LIMIT_S: Final = 30


@dataclass(frozen=True)
class Failure:
    """A text that a profiler is known to print when it fails, and what it means to the user."""

    seen: str
    means: str


@dataclass(frozen=True)
class Importer:
    """A program that makes the measurement of what the profiler left (``left``: the extension of that)."""

    tool: str
    left: str
    hides_in: tuple[str, ...]


@dataclass(frozen=True)
class Launcher:
    """The facts of one ``profilers/NAME.yaml``."""

    name: str
    title: str
    blurb: str
    stem: str
    extension: str
    window: Literal["timeline", "counters"]
    """Which default window: that of timelines, or the short one of profilers that replay each launch."""
    training: tuple[str, ...]
    """What our training script is given, so that it opens the window."""
    training_only: bool = False
    """Whether it works with our training script alone."""
    reader: str | None = None
    """The parser of what it writes, by its name in ``ds2prof.parsers.PARSERS``."""
    viewer: str | None = None
    """What else shows what it writes."""
    stamped: bool = False
    """Whether seconds since 1970 stand in the file's name."""
    needs_gpu: bool = False
    below_compute_capability: str | None = None
    below_cuda: str | None = None
    instead: str | None = None
    install: str | None = None
    tools: tuple[str, ...] = ()
    """The names of its executable, the preferred first; none where it is part of the program."""
    hides_in: tuple[str, ...] = ()
    """Folders that hold it when it is not on the PATH: patterns, in which ``$NAME`` is an environment variable."""
    version: str | None = None
    """A pattern whose first group is the version in what the tool says to ``--version``."""
    one_file_per_process: bool = False
    importer: Importer | None = None
    holds: str | None = None
    """How one line of a measurement begins, where a file without any data is written too."""
    program_code: str | None = None
    """A pattern whose first group is the program's own exit code in what the tool prints."""
    failures: tuple[Failure, ...] = ()
    empty: str | None = None
    """What it means when all ended well, nothing was written, and none of ``failures`` was seen."""


def launcher(name: str) -> Launcher:
    """The launcher of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in LAUNCHERS:
        raise UsageError(f"{name!r}: no profiler that can be started; there are {', '.join(LAUNCHERS)}")
    text = files("ds2prof.profilers").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), Launcher)


def find_tool(declared: Launcher, environ: Mapping[str, str] = os.environ) -> str | None:
    """The profiler's executable: on the PATH, else where it is known to hide, the newest first; None if nowhere."""
    for name in declared.tools:
        found = shutil.which(name, path=environ.get("PATH")) or _hidden(name, declared.hides_in, environ)
        if found:
            return found
    return None


def find_importer(importer: Importer, tool: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The executable of a profiler's importer; one that lies beside the profiler comes first."""
    folder = str(Path(tool).resolve().parent)
    return _hidden(
        importer.tool, tuple(place.replace("{tool}", escape(folder)) for place in importer.hides_in), environ
    )


def tool_version(declared: Launcher, tool: str) -> str | None:
    """The profiler's version; None where it does not say one."""
    if declared.version is None:
        return None
    try:
        done = subprocess.run(
            [tool, "--version"], capture_output=True, text=True, timeout=_VERSION_LIMIT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(declared.version, done.stdout + done.stderr)
    return found.group(1) if found else None


def refusal(declared: Launcher, machine: Machine, *, tool: str | None) -> str | None:
    """Why this profiler cannot work here and what to do, in one line; None where nothing speaks against it."""
    if declared.tools and tool is None:
        return f"{declared.name}: {' or '.join(declared.tools)} is not on this machine; {declared.install}"
    if declared.needs_gpu and not machine.gpus:
        return f"{declared.name}: no NVIDIA GPU is visible here, and it measures nothing else; torch works on the CPU"
    too_new = _too_new(declared, machine)
    return f"{declared.name}: {too_new}; use {declared.instead}" if too_new else None


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


def _too_new(declared: Launcher, machine: Machine) -> str | None:
    for gpu in machine.gpus:
        if _reaches(gpu.compute_capability, declared.below_compute_capability):
            return (
                f"it does not work on GPUs of compute capability {declared.below_compute_capability} and newer, and "
                f"{gpu.name} has {gpu.compute_capability}"
            )
    if _reaches(machine.cuda, declared.below_cuda):
        return f"it does not work from CUDA {declared.below_cuda} on, and the driver here is CUDA {machine.cuda}'s"
    return None


def _reaches(version: str | None, limit: str | None) -> bool:
    return version is not None and limit is not None and _version_key(version) >= _version_key(limit)


def _version_key(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _hidden(name: str, places: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """An executable in one of the places; of several folders that match one pattern, the highest version."""
    for place in places:
        pattern = re.sub(r"\$(\w+)", lambda found: escape(environ.get(found.group(1), "\0")), place)
        if "\0" in pattern:
            continue
        folders = sorted(Path("/").glob(pattern.lstrip("/")), key=lambda folder: _version_key(str(folder)))
        for folder in reversed(folders):
            if os.access(folder / name, os.X_OK) and (folder / name).is_file():
                return str(folder.resolve() / name)
    return None
