"""What ``profilers/NAME.sh`` is told: its environment, and the command line that it makes of that."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from ds2prof.capture.job import Job
from ds2prof.capture.launchers import Launcher, optional
from ds2prof.capture.metric_passes import passes_of
from ds2prof.capture.metric_plans import MetricPlan, chips_here, listed_for, plan_for
from ds2prof.capture.provenance import is_training, option
from ds2prof.capture.ranks import several_ranks
from ds2prof.config import ENV_PROFILE_START, ENV_PROFILE_STOP
from ds2prof.errors import CaptureError, UsageError
from ds2prof.kernel_classes import KERNEL_RULES

_OURS: Final = frozenset(
    f"DS2PROF_{name}"
    for name in (
        *("DETAIL", "DRY_RUN", "ENVIRONMENT", "INJECT", "INJECT_OUTPUT", "INJECT_SITE"),
        *("LOCALE", "METRICS", "OPTIONS", "OUTPUT", "STATUS", "TOOL", "WINDOW"),
    )
)
"""Variables that are for a launcher alone: one that is set around us is not meant for this capture."""


_RANGE_REPLAY: Final = ("range", "app-range")
_GRAMMAR: Final = "/[]+*,@"
"""What has a meaning in Nsight Compute's NVTX filters."""


def told(job: Job, output: Path) -> dict[str, str]:
    """The environment of ``profilers/NAME.sh``: its head says what each variable is.

    Raises:
        CaptureError: this chip has none of the metrics wanted.
        UsageError: the window was asked to be opened by what does not exist here.
    """
    launcher, asked = job.planned.launcher, job.planned.asked
    said = {name: value for name, value in job.environ.items() if name not in _OURS}
    # A launcher without a tool of its own is part of the program, or of ds2prof and runs on our Python.
    said["DS2PROF_TOOL"] = (job.tool or launcher.tools[0]) if launcher.tools else sys.executable
    if launcher.replays:
        said["DS2PROF_METRICS"] = ",".join(metrics(job).names)
    if job.opening is not None:
        said["DS2PROF_WINDOW"] = str(job.opening)
    if job.planned.injects is not None:
        said["DS2PROF_INJECT_SITE"] = str(_injection_site())
    if asked.detail:
        said["DS2PROF_DETAIL"] = "1"
    said["DS2PROF_OPTIONS"] = "\n".join(options(job))
    said["DS2PROF_ENVIRONMENT"] = "\n".join(f"{name}={value}" for name, value in _for_program(job).items())
    said["DS2PROF_LOCALE"] = job.environ.get("LC_ALL", "")
    return {**said, "DS2PROF_OUTPUT": str(output)}


def command_of(job: Job, output: Path) -> str:
    """The command of a capture on one line, to be read or pasted.

    Raises:
        CaptureError: ``profilers/NAME.sh`` cannot build one.
    """
    # In a locale that knows all letters, for bash writes those it does not know as numbers.
    said = {**told(job, output), "DS2PROF_DRY_RUN": "1", "LC_ALL": "C.UTF-8"}
    with script_of(job.planned.launcher) as script:
        done = subprocess.run(["bash", script, *job.planned.program], env=said, capture_output=True, check=False)
    line = os.fsdecode(done.stdout).strip()
    if not line:
        raise CaptureError(f"{script}: built no command: {os.fsdecode(done.stderr).strip()}")
    return line if "$'" in line else shlex.join(shlex.split(line))


def settings_in(line: str, launcher: Launcher, *, program: Sequence[str]) -> dict[str, str | None]:
    """The values that a command line gives to the launcher's settings, ``clock_control: none``; None: the tool's."""
    words = shlex.split(line)
    words = words[: len(words) - len(program)]
    return {name.lstrip("-").replace("-", "_"): option(words, name) for name in launcher.settings}


def options(job: Job) -> tuple[str, ...]:
    """The words for the tool's command line that depend on the machine, its version, the program and the user."""
    launcher, given = job.planned.launcher, job.planned.asked.options
    _refuse_contradictions(job)
    by_machine = () if job.on_gpu else launcher.without_gpu
    others = [] if communicates(job) else [_without_communication()] if _waits_for_ranks(job) else []
    chosen = {word.partition("=")[0] for word in given}
    ours = [word for word in (*by_machine, *optional(launcher, job.tool)) if word.partition("=")[0] not in chosen]
    return (*ours, *(word for pair in others for word in pair), *given)


def communicates(job: Job) -> bool:
    """Whether the user decided on which kernels are replayed, or that whole ranges or runs are."""
    given = job.planned.asked.options
    names = {word.partition("=")[0] for word in given}
    chosen = names & {"--kernel-name", "--kernel-id", "--lockstep-kernel-launch"}
    return bool(chosen) or option(given, "--replay-mode") in ("application", *_RANGE_REPLAY)


def metrics(job: Job) -> MetricPlan:
    """The counters to collect: those wanted, as far as this chip has them and this version of the tool lists them.

    Raises:
        CaptureError: none is left.
        UsageError: nobody knows how to count what is wanted.
    """
    chips = chips_here(job.machine)
    planned = plan_for(chips, job.planned.asked.want)
    return planned if job.tool is None else planned.cut_to(listed_for(job.tool, chips))


def counted(job: Job) -> dict[str, Any]:
    """What the sidecar says of the counters: what was wanted, what is missing of it, and the passes of a launch.

    The passes are CUPTI's count; the tool itself may take more.
    """
    planned = metrics(job)
    return {
        "want": list(planned.want),
        "absent": {each.quantity: each.reason for each in planned.absent},
        "dropped": [each.metric for each in planned.dropped],
        "passes": {chip: count.passes for chip, count in passes_of(planned.names, planned.chips).items()},
    }


def notes(job: Job) -> tuple[str, ...]:
    """What the user should know of this capture before it starts, a line each."""
    launcher, opening = job.planned.launcher, job.opening
    said = []
    if launcher.replays:
        said += [
            f"{each.metric} is left out: this version of the tool does not list it" for each in metrics(job).dropped
        ]
    if _waits_for_ranks(job) and not communicates(job):
        said.append(
            "several ranks: communication kernels are left out, for the replay of one would wait for the other ranks "
            "for ever; --replay-mode range takes them in, in newer versions --lockstep-kernel-launch"
        )
    if launcher.replays and len(job.machine.gpus) > 1 and not _waits_for_ranks(job) and not communicates(job):
        said.append(
            "several GPUs are visible; if the program starts ranks by itself, leave communication kernels out by "
            "--kernel-name 'regex:^(?!.*nccl)', or it will wait for ever"
        )
    by_calls = opening is not None and opening.kind in ("api", "steps")
    if launcher.opens_by_nvtx and not launcher.replays and by_calls and several_ranks(job.planned.program, {}):
        said.append("several ranks: the first one that closes its window closes it for all of them")
    limits = {"--launch-count", "--kernel-name", "--kernel-id", "--nvtx-include"}
    limited = any(word.partition("=")[0] in limits for word in job.planned.asked.options)
    if launcher.replays and opening is not None and opening.kind == "all" and not limited:
        said.append(
            "every launch of the whole run is replayed, which takes long; --window START:STOP (optimizer steps) or "
            "--launch-count N looks at fewer"
        )
    return tuple(said)


def script_of(launcher: Launcher) -> AbstractContextManager[Path]:
    """The path of ``profilers/NAME.sh``, for as long as the context is open."""
    return as_file(files("ds2prof.profilers").joinpath(f"{launcher.name}.sh"))


def _refuse_contradictions(job: Job) -> None:
    """Nothing, if the words for the tool go with each other and with the window.

    Raises:
        UsageError: the tool would refuse them, or drop one in silence.
    """
    launcher, given, opening = job.planned.launcher, job.planned.asked.options, job.opening
    names = {word.partition("=")[0] for word in given}
    short = next((word for word in given if re.match(r"-[A-Za-z]", word)), None)
    if short is not None:
        raise UsageError(f"{short}: give the option's long name, which can be told apart from those that are set here")
    if not launcher.replays or opening is None:
        return
    if option(given, "--replay-mode") in _RANGE_REPLAY:
        barred = sorted(names & {"--kernel-name", "--kernel-id", "--nvtx-exclude", "--profile-from-start"})
        if barred:
            raise UsageError(f"{barred[0]}: does not go with range replay, which replays all that a range holds")
        if opening.kind == "all" and "--nvtx-include" not in names:
            raise UsageError("--replay-mode range: needs ranges; give --window START:STOP, nvtx:RANGE or api")
    if opening.range_name is not None:
        if "--nvtx-include" in names:
            raise UsageError(f"--nvtx-include: and --window {opening} both say which ranges; give one of them")
        if set(f"{opening.range_name}{opening.domain or ''}") & set(_GRAMMAR):
            raise UsageError(
                f"--window {opening}: Nsight Compute reads {_GRAMMAR} in a range's name as its grammar; leave --window "
                f"out and give --nvtx-include in its own syntax"
            )


def _waits_for_ranks(job: Job) -> bool:
    """Whether replaying a communication kernel would wait for ranks that do not replay it."""
    return job.planned.launcher.replays and several_ranks(job.planned.program, job.environ)


def _without_communication() -> tuple[str, str]:
    """The filter of Nsight Compute that leaves communication kernels out, by their functions' names."""
    words = [word for kind, words in KERNEL_RULES if kind == "communication" for word in words]
    return "--kernel-name", f"regex:^(?!(?i).*({'|'.join(words)}))"


def _for_program(job: Job) -> Mapping[str, str]:
    """The environment that the program needs for the window; it is part of the command line."""
    asked = job.planned.asked.opening
    if is_training(job.planned.program) and asked is not None and asked.steps is not None:
        # These go before the options of our training script, which say the same.
        steps = {ENV_PROFILE_START: str(asked.steps.start), ENV_PROFILE_STOP: str(asked.steps.stop)}
        return steps if any(job.environ.get(name) for name in steps) else {}
    window = job.steps
    if window is None or job.planned.injects is not None:  # a launcher that injects reads the window itself
        return {}
    path = os.pathsep.join([str(_injection_site()), *filter(None, [job.environ.get("PYTHONPATH")])])
    steps = {ENV_PROFILE_START: str(window.start), ENV_PROFILE_STOP: str(window.stop)}
    return {"PYTHONPATH": path, "DS2PROF_INJECT": "signal", **steps}


def _injection_site() -> Path:
    """The folder whose ``sitecustomize.py`` loads ds2prof's part into a Python that starts with it on its path."""
    return Path(__file__).resolve().parents[1] / "inject" / "site"
