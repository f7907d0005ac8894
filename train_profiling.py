#!/usr/bin/env python3
"""Trains DeepSpeech2 on synthetic speech, with a window of iterations that a profiler can look into.

This is the program that ds2prof profiles, and an example of how to make one's own training loop worth profiling. It
reads from top to bottom: the options, the set-up, the loop. What the loop is made of lies in ds2prof/train/.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ds2prof.config import ANCESTOR_WINDOWS, ENV_CAPTURE
from ds2prof.errors import Ds2profError
from ds2prof.measurements import write_sidecar
from ds2prof.train.presets import PRESETS
from ds2prof.train.settings import (
    DETAIL_SLOWS,
    PRECISIONS,
    PROFILERS,
    Options,
    Settings,
    iterations_text,
    make_ready,
    require_packages,
    resolve,
)

if TYPE_CHECKING:
    from ds2prof.train.capture import Capture
    from ds2prof.train.progress import Progress
    from ds2prof.train.runlog import RunLog
    from ds2prof.train.speech import Batch
    from ds2prof.train.workload import Workload

HERE = Path(__file__).resolve().parent
COUNT = click.IntRange(min=0)
PROFILER_HELP = (
    "none: measure throughput. torch: write a trace. memory: record who holds memory. "
    "external: signal to nsys, ncu or nvprof around it."
)
RUN_LOG_HELP = "Keep the iterations' times beside a profiler too, a .jsonl: what it costs, not throughput."


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Workload.  [default: tbd with a GPU, tiny without]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Utterances in a step.  [default: 4]")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cuda, cuda:1, cpu or another that torch knows."
)
@click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True)
@click.option("--profiler", type=click.Choice(PROFILERS), default="none", show_default=True, help=PROFILER_HELP)
@click.option("--profile-start", type=COUNT, help="First iteration of the window.  [default: 100 with a GPU, else 3]")
@click.option("--profile-stop", type=COUNT, help="First one behind it.  [default: 200 with a GPU, else 6]")
@click.option("--window", type=click.Choice(list(ANCESTOR_WINDOWS)), help="The TBD suite's windows by name.")
@click.option("--keep-going", is_flag=True, help="Train on behind the window instead of ending with it.")
@click.option("--layers/--no-layers", default=False, help="Name the layers to the profiler, not only the phases.")
@click.option("--detail", is_flag=True, help="With --profiler torch: shapes, modules, memory; slows what it records.")
@click.option("--iterations", type=COUNT, help="How many to run; 0 prints the model's size.  [default: 20]")
@click.option("--warmup", type=COUNT, help="Iterations before throughput counts.  [default: a quarter, 5 at most]")
@click.option("--seed", type=COUNT, default=1, show_default=True, help="Decides weights and data.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write: .jsonl, .json.gz or .csv."
)
@click.option("--run-log", type=click.Path(dir_okay=False, path_type=Path), help=RUN_LOG_HELP)
@click.option("--tag", help="Goes into the name of the file in measurements/.")
@click.option("--force", is_flag=True, help="Replace that file if it exists.")
def main(**options: Any) -> None:
    """Train DeepSpeech2 on synthetic speech and measure it.

    \b
    python train_profiling.py                           throughput, to measurements/run_bs4.jsonl
    python train_profiling.py --profiler torch          a trace of the window, to measurements/torch_bs4.json.gz
    python train_profiling.py --profiler memory         who holds memory, to measurements/memory_bs4.csv
    python train_profiling.py --preset tbd --iterations 0            the model's size
    python train_profiling.py --profile-start 2 --profile-stop 4 --profiler torch --layers --tag layers

    Iterations count from 0. The window holds those from --profile-start to --profile-stop - 1 and the run ends with
    it. DS2PROF_PROFILE_START and DS2PROF_PROFILE_STOP in the environment go before the options.
    """
    try:
        run(Options(**options))
    except Ds2profError as error:
        click.echo(f"train_profiling.py: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("train_profiling.py: interrupted", err=True)
        sys.exit(130)


def run(options: Options) -> None:
    """Decides what is to be run, runs it, and writes down what was measured."""
    # PyTorch comes in here and not at the top of the file: --help and a mistyped option answer at once, without it.
    require_packages("torch", "numpy")
    # Its threads on the host wait for each other by spinning. Where another process wants the cores too, that has made
    # a step of 0.1 s take 12 s; with a short spin, 1 s at most. Read when PyTorch is loaded; a value of yours stays.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from ds2prof.train import facts
    from ds2prof.train.capture import capture_for, shortcomings
    from ds2prof.train.costs import TimedCapture
    from ds2prof.train.device import memory_errors, open_device
    from ds2prof.train.progress import Progress
    from ds2prof.train.runlog import RunLog, throughput_lines, write_run_log
    from ds2prof.train.workload import build_model, set_up

    clock = facts.Clock()
    device = open_device(options.device)
    settings = resolve(options, on_gpu=device.is_gpu, environ=os.environ, folder=HERE / "measurements")
    if settings.iterations == 0:
        click.echo(f"{settings.preset}: {build_model(settings, device).parameter_count():,} parameters")
        return

    for path in (settings.output, settings.run_log):
        make_ready(path, force=settings.force)  # what is there already is refused now, not after an hour
    log = RunLog(device, settings.iterations)
    progress = Progress(sys.stderr, settings.iterations)
    with memory_errors(device, settings.batch_size):
        work = set_up(settings, device)
        for note in shortcomings(settings, device, work.ranges):
            click.echo(f"train_profiling.py: {note}", err=True)
        capture = TimedCapture(capture_for(settings, device, ranges=work.ranges, layers=work.model.layers()))
        train(work, settings, capture=capture, log=log, progress=progress)

    click.echo(f"{settings.preset}, batch {settings.batch_size}, {settings.precision}, {device.name or device}")
    if settings.run_log is not None:
        parameters = work.model.parameter_count()
        header = facts.run_header(settings, device, parameters=parameters, clock=clock, costs=capture.costs_ns())
        write_run_log(settings.run_log, header, log=log, window=settings.window)
    if settings.profiler == "none":
        click.echo("\n".join(throughput_lines(log, settings.window)))
    else:  # no throughput here: what watches is in the way of what it watches
        click.echo(f"captured: {iterations_text(settings.window)}")
        if settings.detail:
            click.echo(DETAIL_SLOWS)
    if settings.output is not None:
        told = facts.sidecar(settings, device, clock=clock, folder=HERE)
        write_sidecar(settings.output, {**told, **capture.said()})
        if ENV_CAPTURE not in os.environ:  # else a launcher gives the file its name, and says so
            click.echo(f"wrote {settings.output}; read it with: ds2prof parse {shlex.quote(str(settings.output))}")


def train(work: Workload, settings: Settings, *, capture: Capture, log: RunLog, progress: Progress) -> None:
    """The loop. It waits for the device at the fences around the window and at the very end, and nowhere else."""
    device, window = work.device, settings.window
    batches = iter(work.speech)
    for iteration in range(settings.iterations):
        progress.step(iteration)
        if iteration == max(window.start - 1, 0):
            # Setting a profiler up takes long, and its first iteration is slower than the rest: one goes by unrecorded.
            capture.prepare()
        if iteration == window.start:
            # The opening fence: what was handed out before has finished, so none of it falls into the window.
            device.synchronize()
            capture.start()

        log.begin()
        with work.ranges("iteration", iteration):
            step(work, batches, log)

        if iteration + 1 == window.stop:
            # The closing fence: what the window handed out has finished. It comes before the next batch is asked for,
            # so that the wait for data of an iteration outside is not counted inside.
            device.synchronize()
            log.end()
            capture.stop()
    # Behind this fence all losses are on the host. (Without --keep-going it is the closing fence once more.)
    device.synchronize()
    log.end()
    progress.done()


def step(work: Workload, batches: Iterator[Batch], log: RunLog) -> None:
    """One optimizer step, cut into phases that partition it."""
    phase = partial(work.ranges, "phase")
    with phase("data"):
        batch = next(batches)
    with phase("h2d"):
        batch = batch.to(work.device.torch_device)  # from pinned memory: the copy is under way while the host goes on
    with phase("forward"):
        logits_TBV, counts = work.logits(batch)
    with phase("loss"):
        # A hidden wait, confessed: PyTorch's CTC on a GPU copies the lengths over by itself from pageable memory,
        # which synchronizes, here and once more in the backward pass. A profile shows it.
        loss = work.loss(logits_TBV, counts, batch)
        log.keep(batch, loss)  # copied without blocking; loss.item() would be one more wait
    with phase("backward"):
        loss.backward()
    with phase("clip"):
        work.clip_gradients()
    with phase("optimizer"):
        work.optimizer.step()
        work.optimizer.zero_grad()


if __name__ == "__main__":
    main()
