"""``ds2prof bench allreduce``: how fast the ranks add up tensors, before a run that lives by it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ds2prof.cli.pages import Page

if TYPE_CHECKING:
    from ds2prof.train.bandwidth import Bandwidth


@click.command("allreduce", cls=Page)
@click.option(
    "--sizes", default="1M 8M 64M 256M", show_default=True, help="Bytes on each rank; K, M and G are powers of 1,024."
)
@click.option(
    "--type", "type_name", type=click.Choice(["float", "half", "bfloat16"]), default="float", show_default=True
)
@click.option("--warmup", type=click.IntRange(min=0), default=5, show_default=True, help="Calls before the timed ones.")
@click.option("--calls", type=click.IntRange(min=1), default=20, show_default=True, help="Calls timed together.")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cpu or another that torch knows.")
@click.option(
    "--at-least",
    "at_least_gb_per_s",
    type=click.FloatRange(min=0),
    metavar="GB/S",
    help="Exit 3 where the bus bandwidth at the largest size is less.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(
    sizes: str,
    type_name: str,
    warmup: int,
    calls: int,
    device: str,
    at_least_gb_per_s: float | None,
    form: str,
) -> None:
    """Time an all-reduce among the ranks, in the terms of nccl-tests: algorithm and bus bandwidth.

    \b
    torchrun --standalone --nproc-per-node 8 -m ds2prof bench allreduce
    torchrun --standalone --nproc-per-node 8 -m ds2prof bench allreduce --sizes 98.1M --type half --at-least 180
    srun --ntasks-per-node 8 deploy/rank.sh python -m ds2prof bench allreduce

    algbw is size / time; busbw is algbw x 2 (n - 1) / n, comparable with the peak of the links. Rank 0 prints.

    Exit codes: 0 done, 1 sums were wrong, ranks did not meet or lost each other, 2 usage, 3 slower than --at-least.
    """
    from ds2prof.train.settings import require_packages

    require_packages("torch")
    from ds2prof.train.bandwidth import facts, measure, ranks_in, rows_of, trial_of
    from ds2prof.train.device import open_device
    from ds2prof.train.distributed import backend_of, joined

    trial = trial_of(sizes, type_name=type_name, warmup=warmup, calls=calls)
    ranks = ranks_in(os.environ)
    place = open_device(device, local_rank=ranks.local_rank)
    with joined(ranks, place):
        found = measure(trial, ranks, place)
        about = {**facts(ranks, place, backend_of(place)), "type": type_name}
    rows = rows_of(found)
    if ranks.first:
        click.echo(json.dumps({**about, "rows": rows}) if form == "json" else _table(about, rows))
    _judge(found, at_least_gb_per_s, first=ranks.first)


def _judge(found: Sequence[Bandwidth], at_least_gb_per_s: float | None, *, first: bool) -> None:
    """Ends with 3 where the links are too slow, on every rank; the first says so.

    Raises:
        Ds2profError: a sum was wrong.
    """
    from ds2prof.errors import Ds2profError

    if any(each.wrong for each in found):
        raise Ds2profError("all-reduce: sums are wrong; do not train on these links before it is known why")
    largest = max(found, key=lambda each: each.size_bytes)
    if at_least_gb_per_s is None or largest.bus_bytes_per_s >= at_least_gb_per_s * 1e9:
        return
    if first:
        rate = f"{largest.bus_bytes_per_s / 1e9:.2f} GB/s at {largest.size_bytes} bytes"
        click.echo(f"ds2prof: bus bandwidth is {rate}, under {at_least_gb_per_s:g} GB/s", err=True)
    sys.exit(3)


def _table(about: dict[str, object], rows: list[dict[str, float]]) -> str:
    """The measurements in the columns of nccl-tests."""
    known = ", ".join(f"{name} {value}" for name, value in about.items() if value is not None)
    head = f"{'size(B)':>12} {'time(us)':>12} {'algbw(GB/s)':>12} {'busbw(GB/s)':>12} {'#wrong':>8}"
    lines = [
        f"{row['size_bytes']:>12} {row['dur_ns'] / 1e3:>12.1f} {row['algorithm_bytes_per_s'] / 1e9:>12.2f} "
        f"{row['bus_bytes_per_s'] / 1e9:>12.2f} {row['wrong']:>8}"
        for row in rows
    ]
    return "\n".join([f"# {known}", head, *lines])
