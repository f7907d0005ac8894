"""The commands that steps run: our training, ds2prof, and the one under the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpu_campaign.context import Context

NEEDS_GPU: Final = "it measures a GPU, and this is a rehearsal on the CPU"


def training(context: Context, batch_size: int, *options: str) -> tuple[str, ...]:
    """The command that trains."""
    fixed = ("--preset", context.preset, "--batch-size", str(batch_size), "--device", context.device)
    return (context.python, str(context.root / "train_profiling.py"), *fixed, *options)


def ds2prof(context: Context, *words: str) -> tuple[str, ...]:
    """A command of ds2prof; the checkout is the current folder."""
    return (context.python, "-m", "ds2prof", *words)


def captured(
    context: Context,
    name: str,
    *,
    profiler: str,
    batch_size: int,
    window: tuple[int, int],
    options: Sequence[str] = (),
    layers: bool = False,
) -> tuple[str, ...]:
    """The command that captures training into the file ``name`` of the working folder."""
    start, stop = window
    trained = ("--profile-start", str(start), "--profile-stop", str(stop), *(("--layers",) if layers else ()))
    program = training(context, batch_size, *trained)
    return ds2prof(context, "run", profiler, "-o", str(context.work / name), *options, "--", *program)
