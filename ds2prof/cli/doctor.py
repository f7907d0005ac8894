"""``ds2prof doctor``: what works on this machine, and why the rest does not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import click

from ds2prof.capture.choosing import choose
from ds2prof.capture.launchers import LAUNCHERS
from ds2prof.cli.pages import Page
from ds2prof.config import ENV_MEASUREMENTS
from ds2prof.doctor import examine
from ds2prof.errors import CaptureError
from ds2prof.machine import find_machine
from ds2prof.report.diagnosis import diagnosis

_LEAST_COLUMNS = 60


@click.command("doctor", cls=Page)
@click.argument("profilers", nargs=-1, type=click.Choice(LAUNCHERS), metavar="[PROFILER]...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(profilers: tuple[str, ...], form: str) -> None:
    """Say what works on this machine, why the rest does not, and what to do about it.

    \b
    ds2prof doctor                     everything
    ds2prof doctor nsight nsys         these two; exit code 1 if one of them does not work
    ds2prof doctor --format json

    The PROFILERs are those of ds2prof run, which asks the same checks before each capture. Nothing is changed, and
    neither CUDA nor PyTorch is loaded: what is said comes from nvidia-smi, /proc, versions and package metadata.
    DS2PROF_PYTHON names another Python to look at.

    Exit codes: 0 what was asked for works, 1 one of the PROFILERs does not, 2 wrong usage.
    """
    machine = find_machine()
    folder = Path(os.environ.get(ENV_MEASUREMENTS) or "measurements")
    report = examine(machine, tuple(dict.fromkeys(profilers)) or LAUNCHERS, folder=folder)
    if form == "json":
        click.echo(json.dumps(report.document, indent=2))
    else:
        from ds2prof.parsers import PARSERS

        choice = choose(machine, readable=PARSERS)
        auto = "" if profilers else f"takes {choice.name}: {choice.reason}"
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = max(shutil.get_terminal_size((100, 24)).columns, _LEAST_COLUMNS)
        click.echo(diagnosis(report, width=width, auto=auto, colour=colour), color=colour)
    broken = [capture.launcher.name for capture in report.captures if capture.works == "no"]
    if profilers and broken:
        raise CaptureError(f"{', '.join(broken)}: {'do' if len(broken) > 1 else 'does'} not work on this machine")
