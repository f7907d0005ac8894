"""What ``run_profile.sh`` runs once it has its Python: a sweep of batch sizes under a profiler, then the summary.

``python -m ds2prof.cli.run_profile [auto|nsight|...] [options] [-- training options]``. A batch size that fails does
not keep the others from being captured.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import click

import ds2prof
from ds2prof.capture.job import NOTHING_MORE, Asked, Plan
from ds2prof.capture.launchers import LAUNCHERS, Launcher
from ds2prof.capture.provenance import TRAINING_SCRIPT, option, package_version, window_of
from ds2prof.capture.ranks import rank_of
from ds2prof.cli.pages import Page
from ds2prof.cli.progress import echoing
from ds2prof.cli.run import chosen_launcher, measurements_folder, mention_missing_folder, tell
from ds2prof.config import COUNTER_WINDOW_GPU, DEFAULTS_CPU, DEFAULTS_GPU, Defaults, Window
from ds2prof.errors import CaptureError, Ds2profError, UsageError
from ds2prof.launch import Captured, InterruptedCaptureError, capture, command_line, notes_for, plan, refused
from ds2prof.machine import Machine, find_machine
from ds2prof.measurements import measurement_name, refuse_existing

ROOT: Final = Path(ds2prof.__file__).parent.parent
_SET_HERE: Final = {
    "--batch-size": "--batch-sizes",
    "--profiler": "the mode",
    "--output": "the mode and --tag",
    "--tag": "--tag",
    "--force": "--force",
}
"""Training options that this command gives itself, and what decides them."""
_SUMMARY_TOP: Final = "12"


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    batch_sizes: tuple[int, ...] | None
    tag: str | None
    training_options: tuple[str, ...]
    asked: Asked = NOTHING_MORE


@click.command(cls=Page, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("mode", type=click.Choice(["auto", *LAUNCHERS]), default="auto")
@click.option("--batch-sizes", help='Batch sizes in one argument: "4 8 16".')
@click.option("--tag", help="Part of the measurements' names.")
@click.option("--detail", is_flag=True, help="torch: shapes, modules, synchronization and memory too, at a cost.")
@click.option("--want", multiple=True, help="nsight: what to count, as for 'ds2prof metrics plan'.  [default: core]")
@click.option("--force", is_flag=True, help="Replace measurements that are there.")
@click.option("--dry-run", is_flag=True, help="Print the exact commands and run nothing.")
@click.pass_obj
def command(
    training: tuple[str, ...],
    mode: str,
    batch_sizes: str | None,
    tag: str | None,
    want: tuple[str, ...],
    *,
    detail: bool,
    force: bool,
    dry_run: bool,
) -> None:
    """Capture DeepSpeech2 training under a profiler, one measurement for each batch size, and print what was seen."""
    machine = usable(find_machine())
    chosen = chosen_launcher(mode, machine, next_command="bash run_profile.sh nsight")
    asked = Asked(detail=detail, want=want or NOTHING_MORE.want)
    tag = "detail" if detail and tag is None else tag
    plans = planned(chosen, Request(_sizes(batch_sizes), tag, training, asked), machine=machine, root=ROOT)
    if dry_run:
        for each in plans:
            click.echo(command_line(each, machine=machine))
        mention_missing_folder(plans[0])
        return
    captured = captured_sweep(plans, machine=machine, force=force)
    summarize(chosen, [path for each in captured for path in each.paths])
    if len(captured) < len(plans):
        raise CaptureError(f"{len(plans) - len(captured)} of {len(plans)} captures failed; see above")


def usable(machine: Machine) -> Machine:
    """The machine without its GPUs, which is said, where this Python's PyTorch is built without CUDA."""
    version = package_version("torch") or ""
    if not machine.gpus or not version.endswith("+cpu"):
        return machine
    click.echo(
        f"run_profile.sh: PyTorch {version} is built for the CPU, so the GPU stays unused; name another Python by "
        f"DS2PROF_PYTHON, or remove .venv to have it made anew",
        err=True,
    )
    return replace(machine, gpus=())


def planned(chosen: Launcher, request: Request, *, machine: Machine, root: Path) -> list[Plan]:
    """One capture for each batch size; ``root`` holds the training script.

    Raises:
        UsageError: the training options contradict what this command sets.
    """
    for word in request.training_options:
        name = word.partition("=")[0]
        if name in _SET_HERE:
            raise UsageError(f"{name}: is not for the training script here, {_SET_HERE[name]} decides it")
    defaults = _defaults(chosen, request, machine)
    timestamp_s = int(time.time()) if chosen.stamped else None
    folder = measurements_folder(root / "measurements")
    rank = rank_of(os.environ)
    number = None if rank is None else rank.rank
    plans = []
    for batch_size in request.batch_sizes or defaults.batch_sizes:
        name = measurement_name(
            chosen.name,
            batch_size,
            extension=chosen.extension,
            tag=request.tag,
            rank=number,
            timestamp_s=timestamp_s,
        )
        program = _program(batch_size, request, defaults=defaults, root=root)
        plans.append(plan(chosen, program, output=_shown(folder / name), tag=request.tag, asked=request.asked))
    return plans


def captured_sweep(plans: Sequence[Plan], *, machine: Machine, force: bool) -> list[Captured]:
    """What was captured, one batch size after the other; one that fails is reported and left out.

    Raises:
        ExistsError: one of the measurements is there already; nothing was started.
        CaptureError: the profiler does not work here; nothing was started.
        InterruptedCaptureError: a signal ended the sweep.
    """
    for each in plans:
        refuse_existing(each.output, force=force)
    against = refused(plans[0], machine=machine)
    if against is not None:
        raise CaptureError(against)
    for note in notes_for(plans[0], machine=machine):
        click.echo(f"run_profile.sh: {note}", err=True)
    done = []
    for number, each in enumerate(plans, start=1):
        click.echo(_announcement(each, f"[{number}/{len(plans)}]"), err=True)
        try:
            with echoing(to_stderr=True) as streams:  # standard output is for the summary alone
                captured = capture(each, machine=machine, echo=streams, force=force)
        except InterruptedCaptureError:
            raise
        except CaptureError as error:
            click.echo(f"run_profile.sh: batch {option(each.program, '--batch-size')}: {error}", err=True)
            continue
        tell(each, captured)
        done.append(captured)
    return done


def summarize(chosen: Launcher, paths: Sequence[Path]) -> None:
    """Prints the tables of each measurement (in a timeline the phases first), the summary, and what to type next."""
    from ds2prof.cli import cli
    from ds2prof.parsers import PARSERS

    if chosen.reader not in PARSERS:
        for path in paths:
            click.echo(f"{path}: this version of ds2prof does not read {chosen.name}'s files; {chosen.viewer} does")
        return
    views = [["--by", "phase"], []] if chosen.window == "timeline" else [[]]
    for path in paths:
        for view in views:
            _answered(cli, ["parse", str(path), *view, "--top", _SUMMARY_TOP])
    if paths:
        files = list(map(str, paths))
        _answered(cli, ["summary", *files])
        for line in _onward(files):
            click.echo(line)


def _onward(files: Sequence[str]) -> list[str]:
    """What goes on from the summary, of several files; where a shell would not find ds2prof, how to call it."""
    lines = []
    if len(files) > 1:
        lines += ["\nAll of it on one page, for a browser:", f"  ds2prof report {shlex.join(files)} -o report.html"]
        lines += ["By batch size, with the knee:", f"  ds2prof sweep {shlex.join(files)}"]
    if shutil.which("ds2prof") is None:
        lines += [f"\n(no ds2prof on the path here: {_how_to_call(Path(sys.executable))})"]
    return lines


def _how_to_call(python: Path) -> str:
    """What to type so that the commands above work."""
    activate = python.with_name("activate")
    if activate.exists() and python.with_name("ds2prof").exists():
        return f"first type: . {shlex.quote(str(_shown(activate)))}"
    return f"{shlex.quote(str(_shown(python)))} -m ds2prof does the same, in {shlex.quote(str(ROOT))}"


def main(arguments: Sequence[str]) -> int:
    """The exit code, after all was said on standard error that there is to say."""
    ours, training_options = _split(arguments)
    if not arguments:
        ours = ["--tag", datetime.now().strftime("%Y%m%d-%H%M%S")]  # so that it can be typed twice
    try:
        command.main(ours, prog_name="run_profile.sh", obj=training_options, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Ds2profError as error:
        click.echo(f"run_profile.sh: {error}", err=True)
        return error.exit_code
    return 0


def _split(arguments: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """What stands before the first ``--`` and what stands behind it."""
    words = list(arguments)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], tuple(words[at + 1 :])


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """The batch sizes, each once."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise UsageError(f'--batch-sizes {text!r}: give whole numbers from 1 on in one argument, as "4 8 16"')
    return tuple(dict.fromkeys(int(word) for word in words))


def _defaults(chosen: Launcher, request: Request, machine: Machine) -> Defaults:
    """What is run when nobody says otherwise: the GPU's, unless there is none or training is told to stay off it."""
    on_cpu = (option(request.training_options, "--device") or "auto").startswith("cpu")
    if not chosen.needs_gpu and (on_cpu or not machine.gpus):
        return DEFAULTS_CPU
    if chosen.window == "timeline":
        return DEFAULTS_GPU
    return Defaults(DEFAULTS_GPU.preset, DEFAULTS_GPU.batch_sizes, COUNTER_WINDOW_GPU)


def _program(batch_size: int, request: Request, *, defaults: Defaults, root: Path) -> list[str]:
    """The training command. What the user gave for it comes last, and so wins."""
    window = [] if option(request.training_options, "--window") else _window_options(defaults.window)
    script = str(_shown(root / TRAINING_SCRIPT))
    fixed = ["--preset", defaults.preset, "--batch-size", str(batch_size), "--device", "auto"]
    return [sys.executable, script, *fixed, *window, *request.training_options]


def _window_options(window: Window) -> list[str]:
    return ["--profile-start", str(window.start), "--profile-stop", str(window.stop)]


def _announcement(each: Plan, count: str) -> str:
    window = window_of(each.program, os.environ)
    iterations = ""
    if window is not None:
        last = window.stop - 1
        iterations = f": iteration {last}" if last == window.start else f": iterations {window.start} to {last}"
    return f"{count} {each.launcher.name}, batch {option(each.program, '--batch-size')}{iterations} -> {each.output}"


def _answered(cli: click.Group, arguments: list[str]) -> None:
    """A command of ds2prof and its output; a file it cannot answer for is said and is no reason to stop."""
    click.echo(f"\n$ ds2prof {shlex.join(arguments)}")
    try:
        cli.main(arguments, prog_name="ds2prof", standalone_mode=False)
    except Ds2profError as error:
        click.echo(f"run_profile.sh: {error}", err=True)


def _shown(path: Path) -> Path:
    """The path from the current folder where it lies below, which is how people would write it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
