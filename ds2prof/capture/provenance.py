"""How a measurement came to be: the facts of its sidecar that can be told from outside the program.

What our training script knows better (it opened the device) it writes itself; :func:`merged` puts the two together.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import ds2prof
from ds2prof.config import ANCESTOR_WINDOWS, ENV_PROFILE_START, ENV_PROFILE_STOP, Window
from ds2prof.errors import UsageError
from ds2prof.machine import Machine, clocks
from ds2prof.measurements import commit_of

TRAINING_SCRIPT: Final = "train_profiling.py"
DEFAULT_PRECISION: Final = "fp32"
"""What our training script computes in when it is not told."""
_PROGRAM_KNOWS_BEST: Final = ("tool", "tool_version", "preset", "precision", "batch_size", "window", "devices")
_PACKAGES: Final = ("torch", "nvtx", "numpy")


def is_training(program: Sequence[str]) -> bool:
    """Whether the command runs our training script."""
    return any(Path(word).name == TRAINING_SCRIPT for word in program)


def option(program: Sequence[str], name: str) -> str | None:
    """The value that a command gives to an option, the last one as programs take it; None where it does not."""
    value = None
    for at, word in enumerate(program):
        if word == name:
            value = program[at + 1] if at + 1 < len(program) else None
        elif word.startswith(f"{name}="):
            value = word.removeprefix(f"{name}=")
    return value


def window_of(program: Sequence[str], environ: Mapping[str, str]) -> Window | None:
    """The window that our training script will capture; None where that is another program or it is not named.

    The environment goes before the options, as it does in the script.
    """
    named = ANCESTOR_WINDOWS.get(option(program, "--window") or "")
    start = environ.get(ENV_PROFILE_START) or option(program, "--profile-start") or (named and str(named.start))
    stop = environ.get(ENV_PROFILE_STOP) or option(program, "--profile-stop") or (named and str(named.stop))
    if not is_training(program) or not start or not stop or not (start + stop).isdigit():
        return None
    return Window(int(start), int(stop))


def steps_asked(environ: Mapping[str, str]) -> Window | None:
    """The window that the environment asks for; None where it names no start and stop.

    Raises:
        UsageError: it names one of the two, or what holds no step.
    """
    start, stop = environ.get(ENV_PROFILE_START), environ.get(ENV_PROFILE_STOP)
    if not start and not stop:
        return None
    numbers = [int(text) for text in (start, stop) if text and text.isascii() and text.isdigit()]
    if len(numbers) < 2 or numbers[0] >= numbers[1]:
        raise UsageError(
            f"{ENV_PROFILE_START}={start or ''} {ENV_PROFILE_STOP}={stop or ''}: give a first step and a greater one "
            "behind the last, or unset both"
        )
    return Window(*numbers)


def facts_before(
    program: Sequence[str],
    *,
    tool: str,
    tool_version: str | None,
    command: str,
    tag: str | None,
    machine: Machine,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """The sidecar of a capture that is about to start; duration, exit code and the clocks afterwards are still null."""
    training = is_training(program)
    window = window_of(program, environ)
    batch_size = option(program, "--batch-size") if training else None
    on_cpu = training and (option(program, "--device") or "").startswith("cpu")
    return {
        "tool": tool,
        "tool_version": tool_version,
        "command": command,
        "preset": option(program, "--preset") if training else None,
        "precision": (option(program, "--precision") or DEFAULT_PRECISION) if training else None,
        "batch_size": int(batch_size) if batch_size is not None and batch_size.isdigit() else None,
        "window": None if window is None else asdict(window),
        "devices": machine.devices(cpu_only=on_cpu),
        "versions": _versions(program, machine),
        "clocks": {"before": clocks() if machine.gpus else None, "after": None},
        "commit": commit_of(_folder(program)),
        "started_utc": datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "dur_ns": None,
        "exit_code": None,
        "tag": tag,
    }


def merged(facts: Mapping[str, Any], from_program: Mapping[str, Any] | None) -> dict[str, Any]:
    """The facts from outside, completed and where it knows better corrected by what the program wrote about itself."""
    told = {name: value for name, value in (from_program or {}).items() if value is not None and name != "schema"}
    better: dict[str, Any] = {name: told[name] for name in _PROGRAM_KNOWS_BEST if name in told}
    new = {name: value for name, value in told.items() if name not in facts}
    versions = {**facts["versions"], **told.get("versions", {})}
    return {**facts, **better, **new, "versions": versions}


def _versions(program: Sequence[str], machine: Machine) -> dict[str, str | None]:
    """Versions of what took part. Those of Python's packages only where the program runs on our own Python."""
    ours = bool(program) and _is_our_python(program[0])
    return {
        "ds2prof": ds2prof.__version__,
        "python": platform.python_version() if ours else None,
        **{name: package_version(name) if ours else None for name in _PACKAGES},
        "driver": machine.driver,
        "cuda_driver": machine.cuda,
    }


def _is_our_python(word: str) -> bool:
    """Whether a command starts the Python that we run on; a link to it in another environment is another one."""
    found = shutil.which(word)
    return found is not None and Path(found).absolute() == Path(sys.executable).absolute()


def package_version(name: str) -> str | None:
    """The version of a package that this Python has; None where it has none. The package is not imported."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _folder(program: Sequence[str]) -> Path:
    """The folder of our training script, else the current one."""
    return next((Path(word).parent for word in program if Path(word).name == TRAINING_SCRIPT), Path())
