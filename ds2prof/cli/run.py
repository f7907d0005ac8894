"""``ds2prof run``: a command under a profiler."""

from __future__ import annotations

import os
import re
import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ds2prof.capture.choosing import choose
from ds2prof.capture.job import Asked, Plan
from ds2prof.capture.launchers import LAUNCHERS, Launcher, launcher
from ds2prof.capture.opening import opening
from ds2prof.capture.provenance import is_training, option
from ds2prof.capture.ranks import rank_of
from ds2prof.cli.pages import Page
from ds2prof.cli.progress import echoing
from ds2prof.config import ENV_MEASUREMENTS, STEMS
from ds2prof.errors import UsageError
from ds2prof.launch import Captured, capture, command_line, notes_for, plan, refused
from ds2prof.machine import Machine, find_machine
from ds2prof.measurements import check_tag, measurement_name
from ds2prof.units import NS_PER_S, format_bytes

WINDOW_HELP: Final = (
    "What to capture: START:STOP (optimizer steps, counted from 0), nvtx:RANGE[@DOMAIN], api (the program calls "
    "cudaProfilerStart) or all."
)
_NO_PROGRAM: Final = re.compile(r"python[\d.]*|ba?sh|env|torchrun|srun|mpirun|mpiexec|accelerate|nice|taskset|numactl")
"""Words of a command that start what is meant, and give it no name."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


class BehindDashes(Page):
    """A command whose last words, those of another program, stand behind ``--``: their options are not ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is left of the words, as click has it.

        Raises:
            click.UsageError: there is no ``--``.
        """
        if not ctx.resilient_parsing and "--" not in args and not {"-h", "--help"} & set(args):
            raise click.UsageError("put -- in front of the command: ds2prof run torch -- python script.py", ctx)
        return super().parse_args(ctx, args)


def passed_on(function: _Command) -> _Command:
    """The command with an option for each that some launcher hands on to its tool."""
    seen = {name: text for each in LAUNCHERS for name, text in launcher(each).passes.items()}
    for name, text in reversed(seen.items()):
        owners = ", ".join(each for each in LAUNCHERS if name in launcher(each).passes)
        function = click.option(name, metavar="VALUE", help=f"{owners}: {text}.")(function)
    return function


@click.command("run", cls=BehindDashes)
@click.argument("profiler", type=click.Choice(["auto", *LAUNCHERS]))
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The measurement to write.")
@click.option("--tag", help="Part of the measurement's name, where -o does not give it.")
@click.option("--force", is_flag=True, help="Replace a measurement that is there.")
@click.option("--dry-run", is_flag=True, help="Print the profiler's exact command and run nothing.")
@click.option("--window", help=WINDOW_HELP)
@click.option("--detail", is_flag=True, help="torch: shapes, modules, synchronization and memory too, at a cost.")
@click.option("--want", multiple=True, help="nsight: what to count, as for 'ds2prof metrics plan'.  [default: core]")
@click.option("--tool-option", "tool_options", multiple=True, metavar="WORD", help="A word for the profiler itself.")
@passed_on
def command(
    profiler: str,
    program: tuple[str, ...],
    output: Path | None,
    tag: str | None,
    window: str | None,
    want: tuple[str, ...],
    tool_options: tuple[str, ...],
    *,
    force: bool,
    dry_run: bool,
    detail: bool,
    **filters: str | None,
) -> None:
    """Run a COMMAND under a profiler and keep what it saw, with a sidecar that says how it came to be.

    \b
    ds2prof run torch -- python any_script.py
    ds2prof run nsys --window 10:20 -o measurements/mine.nsys-rep -- python train.py
    ds2prof run nsight --window 10:11 --kernel-name regex:gemm -o gemm.ncu-rep -- python train.py
    ds2prof run nsight --dry-run -- python train_profiling.py --preset tbd --batch-size 32

    Any program will do. Without --window it is captured whole, torch looks at its first optimizer steps, and
    train_profiling.py says itself which iterations it is about. Steps are counted by what ds2prof loads into a Python
    program that uses PyTorch. In the name given by -o, %p becomes the process, %h the host, %q{NAME} a variable.

    Exit codes: 0 done, 1 the program failed (its own code is in the line and in the sidecar) or the capture did, 2
    wrong usage, 130 ended by SIGINT, 143 ended by SIGTERM.
    """
    machine = find_machine()
    chosen = chosen_launcher(profiler, machine, next_command="ds2prof run nsight -- COMMAND")
    asked = Asked(
        opening=None if window is None else opening(window),
        detail=detail,
        want=want or ("core",),
        options=(*filter_words(chosen, filters), *tool_options),
    )
    tag = "detail" if detail and tag is None else tag
    named = expanded(output, os.environ) if output else default_output(chosen, program, tag=tag)
    if not (chosen.one_file_per_process or (chosen.injects and not is_training(program))):
        named = named.with_name(named.name.replace("%p", str(os.getpid())))
    planned = plan(chosen, program, output=named, tag=tag, asked=asked)
    if dry_run:
        click.echo(command_line(planned, machine=machine))
        mention_missing_folder(planned)
        return
    if refused(planned, machine=machine) is None:
        for note in notes_for(planned, machine=machine):
            click.echo(f"ds2prof: {note}", err=True)
    with echoing() as streams:
        captured = capture(planned, machine=machine, echo=streams, force=force)
    tell(planned, captured)


def chosen_launcher(name: str, machine: Machine, *, next_command: str) -> Launcher:
    """The launcher of that name; for ``auto`` the best that works here, and why is said."""
    if name != "auto":
        return launcher(name)
    from ds2prof.parsers import PARSERS

    choice = choose(machine, readable=PARSERS)
    click.echo(f"auto: {choice.name}: {choice.reason}", err=True)
    if choice.counters:
        click.echo(f"auto: hardware counters can be read here too; next, try: {next_command}", err=True)
    return launcher(choice.name)


def filter_words(chosen: Launcher, filters: Mapping[str, str | None]) -> tuple[str, ...]:
    """The words for the tool's command line of the filters that were given.

    Raises:
        UsageError: one is not this profiler's.
    """
    words: list[str] = []
    for key, value in filters.items():
        if value is None:
            continue
        name = f"--{key.replace('_', '-')}"
        if name not in chosen.passes:
            owners = ", ".join(each for each in LAUNCHERS if name in launcher(each).passes)
            raise UsageError(f"{name}: is an option of {owners}, and {chosen.name} has none such")
        words += [f"{name}={value}"] if chosen.joins_options else [name, value]
    return tuple(words)


def default_output(chosen: Launcher, program: Sequence[str], *, tag: str | None) -> Path:
    """Where a measurement goes when nobody says: named by the batch size of our training script, else by the program.

    Raises:
        UsageError: the command says no name to go by.
    """
    rank = rank_of(os.environ)
    number = None if rank is None else rank.rank
    timestamp_s = int(time.time()) if chosen.stamped else None
    batch_size = option(program, "--batch-size") if is_training(program) else None
    if batch_size is not None and batch_size.isdigit():
        name = measurement_name(
            chosen.name, int(batch_size), extension=chosen.extension, tag=tag, rank=number, timestamp_s=timestamp_s
        )
        return measurements_folder(Path("measurements")) / name
    if is_training(program):
        raise UsageError(f"-o FILE.{chosen.extension} is needed: the command names no --batch-size to name the file by")
    check_tag(tag)
    parts = [STEMS[chosen.name], timestamp_s, program_name(program), tag, None if number is None else f"rank{number}"]
    stem = "_".join(str(part) for part in parts if part is not None)
    return measurements_folder(Path("measurements")) / f"{stem}.{chosen.extension}"


def program_name(program: Sequence[str]) -> str:
    """What a command is about, fit for a file's name: the script, the module behind ``-m``, else the program."""
    words = [word for word in program if "=" not in word]
    for at, word in enumerate(words):
        if word == "-m" and at + 1 < len(words) and not words[at + 1].startswith("torch.distributed"):
            return _fit(words[at + 1].rpartition(".")[2])
        if word.endswith((".py", ".sh")):
            return _fit(Path(word).stem)
    plain = [Path(word).name for word in words if not word.startswith("-") and not word.isdigit()]
    return _fit(next((word for word in plain if not _NO_PROGRAM.fullmatch(word)), plain[0] if plain else "program"))


def expanded(output: Path, environ: Mapping[str, str]) -> Path:
    """The path with ``%h`` and ``%q{NAME}`` in its file name replaced; ``%p`` waits for the process.

    Raises:
        UsageError: a variable is not set.
    """

    def variable(found: re.Match[str]) -> str:
        value = environ.get(found.group(1))
        if not value:
            raise UsageError(f"-o {output}: the environment has no {found.group(1)}")
        return _fit(value)

    name = re.sub(r"%q\{(\w+)\}", variable, output.name)
    return output.with_name(name.replace("%h", _fit(socket.gethostname())))


def mention_missing_folder(planned: Plan) -> None:
    """Says what a pasted command needs besides: the profilers make no folders."""
    folder = planned.output.parent
    if not folder.exists():
        click.echo(f"ds2prof: before this is pasted: mkdir -p {shlex.quote(str(folder))}", err=True)


def measurements_folder(default: Path) -> Path:
    """The folder that measurements go to."""
    return Path(os.environ.get(ENV_MEASUREMENTS) or default)


def tell(planned: Plan, captured: Captured) -> None:
    """Says on standard error what a capture left."""
    for path in captured.paths:
        took_s = captured.dur_ns / NS_PER_S
        click.echo(f"{path}: {format_bytes(path.stat().st_size)}, captured in {took_s:.1f} s", err=True)
    if captured.leftovers:
        names = ", ".join(captured.leftovers)
        click.echo(f"{planned.launcher.name}: ended what was left running afterwards: {names}", err=True)
    for note in captured.notes:
        click.echo(f"{planned.launcher.name}: {note}", err=True)


def _fit(text: str) -> str:
    """The text with what does not suit a file's name replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "program"
