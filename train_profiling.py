#!/usr/bin/env python3
"""Trains a preset on synthetic speech or a corpus, with a window of iterations that a profiler can look into.

This is the program that ds2prof profiles, and an example of how to make one's own training loop worth profiling. It
reads from top to bottom: the options, the set-up, the loop. What the loop is made of lies in ds2prof/train/, its step
in steps.py there. To train to a target, with evaluation and checkpoints, see `ds2prof train`.
"""

from __future__ import annotations

import os
import shlex
import sys
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
@click.option("--accumulate", type=click.IntRange(min=1), default=1, help="Batches that one step is made of.")
@click.option("--frames", type=click.IntRange(min=1), help="Synthetic utterances all of this many frames.")
@click.option("--labels", type=click.IntRange(min=1), help="How many labels those have.  [default: as is usual]")
@click.option("--hold", type=COUNT, metavar="NUMBER", help="Train on this utterance alone, in all batches.")
@click.option(
    "--train-manifest", type=click.Path(dir_okay=False, path_type=Path), help="Train on this corpus, not synthetic."
)
@click.option(
    "--pieces", type=click.Path(dir_okay=False, path_type=Path), help="With rnnt: a corpus' model of word pieces."
)
@click.option("--workers", type=COUNT, default=0, help="Processes that make a corpus' features ready.")
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
    """Train DeepSpeech2, or the transducer, for some iterations and measure it.

    \b
    python train_profiling.py                           throughput, to measurements/run_bs4.jsonl
    python train_profiling.py --profiler torch          a trace of the window, to measurements/torch_bs4.json.gz
    python train_profiling.py --profiler memory         who holds memory, to measurements/memory_bs4.csv
    python train_profiling.py --preset tbd --iterations 0            the model's size
    torchrun --nproc-per-node 2 train_profiling.py      two processes, each with a file of its own
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
    from ds2prof.train.distributed import joined, ranks_of
    from ds2prof.train.marks import mark_work
    from ds2prof.train.progress import Progress
    from ds2prof.train.runlog import RunLog, throughput_lines, write_run_log
    from ds2prof.train.workload import build_model, set_up

    clock = facts.Clock()
    ranks = ranks_of(os.environ)
    device = open_device(options.device, local_rank=ranks.local_rank if ranks.several else None)
    rank = ranks.rank if ranks.several else None
    settings = resolve(options, on_gpu=device.is_gpu, environ=os.environ, folder=HERE / "measurements", rank=rank)
    if settings.iterations == 0:
        model = build_model(PRESETS[settings.preset], device, seed=settings.seed)
        click.echo(f"{settings.preset}: {model.parameter_count():,} parameters")
        return

    for path in (settings.output, settings.run_log):
        make_ready(path, force=settings.force)  # what is there already is refused now, not after an hour
    log = RunLog(device, settings.iterations)
    progress = Progress(sys.stderr, settings.iterations)
    with joined(ranks, device), memory_errors(device, settings.batch_size):
        work = set_up(settings, device, ranks=ranks)
        log.count_flop(work.counted())
        for note in shortcomings(settings, device, work.ranges):
            click.echo(f"train_profiling.py: {note}", err=True)
        capture = TimedCapture(capture_for(settings, device, ranges=work.ranges, layers=work.layers()))
        train(work, settings, capture=capture, log=log, progress=progress)

    click.echo(f"{settings.preset}, batch {settings.batch_size}, {settings.precision}, {device.name or device}")
    if settings.run_log is not None:
        parameters = work.parameter_count()
        header = facts.run_header(settings, device, parameters=parameters, clock=clock, costs=capture.costs_ns())
        write_run_log(settings.run_log, header, log=log, window=settings.window)
    if settings.profiler == "external":
        mark_work(facts.work_of(log.stretch(settings.window)))
    if settings.profiler == "none":
        click.echo("\n".join(throughput_lines(log, settings.window)))
    else:  # no throughput here: what watches is in the way of what it watches
        click.echo(f"captured: {iterations_text(settings.window)}")
        if settings.detail:
            click.echo(DETAIL_SLOWS)
    if settings.output is not None:
        told = facts.sidecar(settings, device, clock=clock, folder=HERE, stretch=log.stretch(settings.window))
        write_sidecar(settings.output, {**told, **capture.said()})
        if ENV_CAPTURE not in os.environ:  # else a launcher gives the file its name, and says so
            click.echo(f"wrote {settings.output}; read it with: ds2prof parse {shlex.quote(str(settings.output))}")


def train(work: Workload, settings: Settings, *, capture: Capture, log: RunLog, progress: Progress) -> None:
    """The loop. It waits for the device at the fences around the window and at the very end, and nowhere else."""
    from ds2prof.train.batches import endless
    from ds2prof.train.steps import train_step

    device, window = work.device, settings.window
    batches = endless(work.batches)
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
            train_step(work, batches, log)

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


if __name__ == "__main__":
    main()
