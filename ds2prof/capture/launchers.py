"""The profilers that ds2prof can start, as ``profilers/NAME.yaml`` declares them, and whether one works here.

A launcher is two files in ``profilers/``: ``NAME.yaml`` holds facts (what it needs, what it writes, what its messages
mean), ``NAME.sh`` builds its command line. :mod:`ds2prof.launch` runs them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from glob import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from ds2prof.errors import UsageError

LAUNCHERS: Final = ("nsight", "nsys", "nvprof", "torch", "memory", "smi")
"""Names of the launchers: each has a ``.sh`` and a ``.yaml`` in ``profilers/``."""

_VERSION_LIMIT_S: Final = 30


@dataclass(frozen=True)
class Failure:
    """A text that a profiler is known to print when it fails, and what it means to the user."""

    seen: str
    means: str
    quotes: bool = False
    """Whether the line that it stands in says more: which option, which value."""


@dataclass(frozen=True)
class Allowed:
    """The values that an option may have: a pattern, and the same in words."""

    fits: str
    says: str


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
    """Which default window: that of timelines, or the short one of profilers that cost a launch many times itself."""
    training: tuple[str, ...]
    """What our training script is given, so that it opens the window."""
    also: tuple[str, ...] = ()
    """Further extensions that it can write; the name of the output decides."""
    besides: tuple[str, ...] = ()
    """Endings of files that it may write beside the measurement, where the extension is replaced by them."""
    injects: Literal["trace", "memory"] | None = None
    """What ds2prof loads into other programs than our training script, for profilers that work from inside."""
    replays: bool = False
    """Whether it runs each launch several times: its times are not the run's, and ranks wait for each other."""
    opens_by_nvtx: bool = False
    """Whether an NVTX range can open its window."""
    passes: dict[str, str] = field(default_factory=dict)
    """Options of its own that ds2prof hands on -> what they do."""
    values: dict[str, Allowed] = field(default_factory=dict)
    """What the values of some of them may be; then no other option is known."""
    joins_options: bool = False
    """Whether its options want their values behind ``=``."""
    where_known: tuple[str, ...] = ()
    """Options that it is given where its version knows them."""
    help_of: tuple[str, ...] = ()
    """What stands before ``--help`` to be told the options: the name of a subcommand."""
    without_gpu: tuple[str, ...] = ()
    """Options that it is given in place of their defaults on a machine without a GPU."""
    settings: tuple[str, ...] = ()
    """Options whose values the sidecar repeats."""
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
    signals_as_codes: bool = False
    """Whether it tells a program that signal N ended like one that ended with exit code N."""
    program_code: str | None = None
    """A pattern whose first group is the program's own exit code in what the tool prints."""
    ends_program: str | None = None
    """What it prints where it ended the program itself, at the window's end: its report is whole then."""
    helpers: tuple[str, ...] = ()
    """Names of further processes that it starts for itself."""
    scratch: str | None = None
    """A pattern whose first group is a temporary file in what it prints, which it leaves where it is killed."""
    chatter: str | None = None
    """A pattern of lines that it prints among the program's, and that say nothing."""
    withheld: tuple[str, ...] = ()
    """Patterns of what it prints among the program's output, of which only the log is told."""
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
    facts: dict[str, Any] = yaml.safe_load(text)
    facts = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    facts["failures"] = tuple(Failure(**known) for known in facts.get("failures", ()))
    facts["values"] = {name: Allowed(**allowed) for name, allowed in facts.get("values", {}).items()}
    if "importer" in facts:
        importer: dict[str, Any] = facts["importer"]
        facts["importer"] = Importer(**{**importer, "hides_in": tuple(importer["hides_in"])})
    return Launcher(**facts)


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


@lru_cache(maxsize=16)
def known_options(tool: str, help_of: tuple[str, ...] = ()) -> frozenset[str] | None:
    """The long options that this version of a tool names in its help; None where it gives none.

    Args:
        tool: the executable.
        help_of: what stands before ``--help``.
    """
    try:
        done = subprocess.run(
            [tool, *help_of, "--help"], capture_output=True, timeout=_VERSION_LIMIT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return frozenset(re.findall(r"--[a-z][a-z0-9-]+", done.stdout + done.stderr)) or None


def optional(declared: Launcher, tool: str | None) -> tuple[str, ...]:
    """The options that only some versions know, as far as this one does; all where no tool is here to be asked."""
    known = known_options(tool, declared.help_of) if tool and declared.where_known else None
    if known is None:
        return () if tool else declared.where_known
    return tuple(option for option in declared.where_known if option.partition("=")[0] in known)


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
