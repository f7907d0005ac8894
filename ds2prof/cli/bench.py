"""``ds2prof bench``: benchmarks of the workload, each in a module of its own that is loaded when it is run."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

COMMANDS: Final = {
    "deepmark": ("ds2prof.cli.bench_deepmark", "Time forward and backward as DeepMark's protocol does."),
    "allreduce": ("ds2prof.cli.bench_allreduce", "Time an all-reduce among the ranks: check the links."),
    "latency": ("ds2prof.cli.bench_latency", "Time how long a batch takes to become text."),
}
"""Command -> (module with ``command``, one line of help)."""


class Benchmarks(click.Group):
    """The group of :data:`COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Benchmarks)
def command() -> None:
    """Measure the workload by a published protocol, in its columns."""
