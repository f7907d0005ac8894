"""``ds2prof bench``: benchmarks of the workload, each in a module of its own that is loaded when it is run."""

from __future__ import annotations

from typing import Final

import click

from ds2prof.cli.pages import LazyGroup

COMMANDS: Final = {
    "deepmark": ("ds2prof.cli.bench_deepmark", "Time forward and backward as DeepMark's protocol does."),
    "allreduce": ("ds2prof.cli.bench_allreduce", "Time an all-reduce among the ranks: check the links."),
    "latency": ("ds2prof.cli.bench_latency", "Time how long a batch takes to become text."),
}
"""Command -> (module with ``command``, one line of help)."""


class Benchmarks(LazyGroup):
    """The group of :data:`COMMANDS`, each imported when it is asked for."""

    table = COMMANDS


@click.group(cls=Benchmarks)
def command() -> None:
    """Measure the workload by a published protocol, in its columns."""
