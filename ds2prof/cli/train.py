"""``ds2prof train``: a preset trained to a target, on a corpus or on synthetic speech."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

import ds2prof
from ds2prof.cli.pages import Page
from ds2prof.config import DEFAULTS_CPU, DEFAULTS_GPU
from ds2prof.speech.augment_config import AUGMENTS
from ds2prof.train.presets import PRESETS
from ds2prof.train.settings import PRECISIONS
from ds2prof.train.train_options import OPTIMIZERS, TrainOptions, check
from ds2prof.units import NS_PER_S

if TYPE_CHECKING:
    from ds2prof.train.device import Device
    from ds2prof.train.distributed import Ranks
    from ds2prof.train.facts import Clock
    from ds2prof.train.observers import Observer
    from ds2prof.train.settings import Settings

MISSED_EXIT: Final = 3
"""The exit code of a run that ended without reaching its target: a gate that failed."""
TRAINING_ORDERS: Final = ("ascending", "sortagrad", "bins", "buckets", "shuffled")
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_COUNT = click.IntRange(min=1)
_POSITIVE = click.FloatRange(min=0, min_open=True)

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def _steps(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A number of steps; None for the word ``epoch``, which is what happens without the option."""
    del context, parameter
    if value is None or value == "epoch":
        return None
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise click.BadParameter(f"{value!r} is neither a number of steps nor 'epoch'.")
    return int(value)


_DATA: Final[Sequence[Option]] = (
    click.option("--preset", type=click.Choice(list(PRESETS)), help="Workload.  [default: tbd with a GPU, else tiny]"),
    click.option("--train-manifest", type=_FILE, help="The corpus.  [default: synthetic speech]"),
    click.option("--val-manifest", type=_FILE, help="What the word error rate is taken on."),
    click.option("--labels", type=_FILE, help="A labels.json.  [default: the 29 letters of DeepSpeech2]"),
    click.option("--pieces", type=_FILE, help="The model of pieces of a transducer (ds2prof data pieces)."),
    click.option("--augment", type=click.Choice(list(AUGMENTS)), help="What is done to the sound.  [the preset's]"),
    click.option("--noise-dir", type=_FOLDER, help="Sound files that noise is taken from."),
    click.option("--order", type=click.Choice(TRAINING_ORDERS), help="How the corpus is visited.  [the preset's]"),
    click.option("--buckets", type=_COUNT, help="Of --order buckets.  [the preset's]"),
    click.option("--min-duration", type=float, metavar="SECONDS", help="Leave out what is shorter."),
    click.option("--max-duration", type=float, metavar="SECONDS", help="Leave out what is longer."),
    click.option("--frames", type=_COUNT, help="Synthetic utterances all of this many frames."),
    click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Reading ahead."),
    click.option("--cache-mib", type=click.IntRange(min=0), help="Corpus kept in memory.  [1024 without workers]"),
)
_LENGTH: Final[Sequence[Option]] = (
    click.option("--epochs", type=_COUNT, help="Where it ends at the latest.  [the preset's]"),
    click.option(
        "--target-wer", type=click.FloatRange(min=0), metavar="RATIO", help="Where it ends: 0.23 is 23 %.  [preset's]"
    ),
    click.option("--max-iterations", type=_COUNT, help="At most this many steps; without --epochs, no other end."),
    click.option("--limit-batches", type=_COUNT, help="Batches of an epoch that are trained, on each rank."),
    click.option("--eval-every", type=_COUNT, metavar="STEPS", help="Evaluate so often, not behind each epoch."),
    click.option("--eval-batch-size", type=_COUNT, help="Utterances of a batch there.  [default: --batch-size]"),
)
_OPTIMIZATION: Final[Sequence[Option]] = (
    click.option("--batch-size", type=_COUNT, help="Utterances of a batch of one process.  [the preset's]"),
    click.option("--accumulate", type=_COUNT, help="Batches of a step.  [the preset's]"),
    click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True),
    click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="[the preset's]"),
    click.option("--learning-rate", type=_POSITIVE, help="Before the schedule.  [the preset's]"),
    click.option("--weight-decay", type=click.FloatRange(min=0), help="[the preset's]"),
    click.option("--clip-norm", type=_POSITIVE, help="Scale gradients down to this norm.  [the preset's]"),
    click.option("--anneal", type=_POSITIVE, metavar="FACTOR", help="Divide the rate by it after each epoch."),
    click.option("--warmup-epochs", type=click.IntRange(min=0), help="Raise the rate over so many epochs."),
    click.option("--hold-epochs", type=click.IntRange(min=0), help="Then hold it for so many."),
    click.option("--decay", type=_POSITIVE, metavar="FACTOR", help="Then multiply it by this each epoch."),
    click.option("--ema", type=click.FloatRange(0, 1, max_open=True), help="Average weights; 0 does not.  [preset's]"),
    click.option(
        "--skip-bad-loss/--no-skip-bad-loss",
        default=True,
        show_default=True,
        help="Leave a step out whose loss is infinite, no number or negative. Waits for the device once a step.",
    ),
    click.option("--bad-steps", type=_COUNT, default=20, show_default=True, help="Give up after so many in a row."),
    click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Decides all randomness."),
)
_MACHINE: Final[Sequence[Option]] = (
    click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:1, cpu or another."),
    click.option("--sync-batch-norm", is_flag=True, help="Batch normalization over all ranks (GPUs)."),
    click.option("--compile", is_flag=True, help="torch.compile the network; the first steps take long."),
    click.option("--cuda-graphs", is_flag=True, help="Replay the network's kernels; with --frames on one GPU."),
)
_KEEPING: Final[Sequence[Option]] = (
    click.option("--checkpoint-dir", type=_FOLDER, help="Keep checkpoints and history.jsonl here."),
    click.option("--keep", type=click.IntRange(min=0), default=3, show_default=True, help="Newest kept; 0 keeps all."),
    click.option(
        "--checkpoint-every",
        callback=_steps,
        metavar="STEPS|epoch",
        help="Besides those behind epochs and evaluations.",
    ),
    click.option("--resume", metavar="auto|FILE", help="Go on from the newest checkpoint, or from this one."),
    click.option("--finetune", type=_FILE, help="Begin from the weights of this checkpoint."),
)
_WATCHING: Final[Sequence[Option]] = (
    click.option("--log-every", type=_COUNT, default=100, show_default=True, metavar="STEPS", help="Note the loss."),
    click.option("--phase-timers", is_flag=True, help="Time each phase, the device waited for; slows the run."),
    click.option("--tensorboard", type=_FOLDER, help="Write curves for TensorBoard here."),
    click.option("--mllog", type=click.Path(path_type=Path, allow_dash=True), help="Write MLPerf's log; - prints it."),
    click.option("--organization", default="unnamed", help="Who runs it, for --mllog and its RESULT line."),
    click.option("--profiler", type=click.Choice(["none", "torch", "external"]), default="none", show_default=True),
    click.option("--profile-start", type=click.IntRange(min=0), help="First iteration of the window."),
    click.option("--profile-stop", type=click.IntRange(min=0), help="First one behind it; training goes on."),
    click.option("--layers", is_flag=True, help="Name the layers to the profiler."),
    click.option("--detail", is_flag=True, help="With --profiler torch: shapes, modules, memory; slow."),
    click.option("--profile-output", type=_FILE, help="The trace, a .json.gz.  [in measurements/]"),
    click.option("--force", is_flag=True, help="Replace that trace if it exists."),
)


def _with_options(decorated: Callable[..., Any]) -> Callable[..., Any]:
    """The command with all of its options, in order."""
    for option in reversed((*_DATA, *_LENGTH, *_OPTIMIZATION, *_MACHINE, *_KEEPING, *_WATCHING)):
        decorated = option(decorated)
    return decorated


@click.command("train", cls=Page)
@_with_options
def command(organization: str, *, force: bool, **given: Any) -> None:
    """Train a preset to a word error rate, or for some epochs.

    \b
    ds2prof train --preset tiny --train-manifest train.csv --val-manifest val.csv --target-wer 0.15 \\
        --checkpoint-dir checkpoints
    ds2prof train ... --checkpoint-dir checkpoints --resume auto           after a kill (bit for bit on a CPU)
    torchrun --nproc-per-node 8 -m ds2prof train --preset rnnt --pieces pieces.model --train-manifest train.json ...
    ds2prof train --preset tbd --max-iterations 500 --limit-batches 200    synthetic speech

    [the preset's]: what the preset says. On SIGTERM or SIGINT the step is finished, a checkpoint written, and the exit
    code is 143 or 130.

    Exit codes: 0 done, 1 the input or the machine is at fault, 2 wrong usage, 3 the target was not reached, 130
    ended by SIGINT, 143 ended by SIGTERM.
    """
    from ds2prof.train.settings import require_packages

    require_packages("torch", "numpy")
    # As in train_profiling.py: threads of PyTorch that spin for long make steps on a busy host take seconds.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from ds2prof.train.device import open_device
    from ds2prof.train.distributed import ranks_of

    ranks = ranks_of(os.environ)
    device = open_device(given["device"], local_rank=ranks.local_rank if ranks.several else None)
    preset = given.pop("preset") or (DEFAULTS_GPU if device.is_gpu else DEFAULTS_CPU).preset
    options = TrainOptions(preset=preset, **given)
    check(options)
    code = _run(options, device, ranks, organization=organization, force=force)
    if code:
        sys.exit(code)


def _run(options: TrainOptions, device: Device, ranks: Ranks, *, organization: str, force: bool) -> int:
    """The exit code of the run."""
    from ds2prof.cli.train_text import TrainText
    from ds2prof.train.device import memory_errors
    from ds2prof.train.distributed import joined
    from ds2prof.train.facts import Clock
    from ds2prof.train.observers import INTERRUPTED, MISSED, SUCCESS, Observers
    from ds2prof.train.stopping import StopRequest
    from ds2prof.train.train_options import preset_for
    from ds2prof.train.trainer import run_for

    clock, text, preset = Clock(), TrainText(), preset_for(options)
    capture = _capture(options, device, ranks, batch_size=preset.batch_size, force=force)
    observers = _observers(options, ranks, organization=organization)
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stack.enter_context(joined(ranks, device))
        stack.enter_context(memory_errors(device, preset.batch_size))
        ready = run_for(
            options,
            device,
            ranks=ranks,
            observer=Observers([text, *observers]),
            stop=stop,
            say=text.note if ranks.first else _silent,
            stepped=text.stepped,
            capture=capture,
        )
        text.of_steps(ready.training.steps_of_epoch)
        outcome = ready.run()
    if capture is not None:
        _tell_capture(capture, device, clock, said=ranks.first)
    if ranks.first and outcome.status == SUCCESS and options.mllog is not None:
        from ds2prof.train.mllog import result_line

        taken_s, began_s = clock.elapsed_ns() / NS_PER_S, clock.utc.timestamp()
        click.echo(result_line(preset, dur_s=taken_s, organization=organization, started_s=began_s))
    return {INTERRUPTED: stop.exit_code, MISSED: MISSED_EXIT}.get(outcome.status, 0)


def _tell_capture(capture: Settings, device: Device, clock: Clock, *, said: bool) -> None:
    """Writes beside this rank's trace what is known of it, and says where it is, if it is to be said."""
    from ds2prof.measurements import write_sidecar
    from ds2prof.train.facts import sidecar

    if capture.output is None:
        return
    if not capture.output.exists():
        if said:
            click.echo(f"ds2prof train: the run ended before iteration {capture.window.start}: no trace", err=True)
        return
    write_sidecar(capture.output, sidecar(capture, device, clock=clock, folder=Path(ds2prof.__file__).parent.parent))
    if said:
        click.echo(f"wrote {capture.output}; read it with: ds2prof parse {shlex.quote(str(capture.output))}")


def _silent(line: str) -> None:
    del line


def _observers(options: TrainOptions, ranks: Ranks, *, organization: str) -> list[Observer]:
    """Those that write somewhere; on the rank that writes."""
    if not ranks.first:
        return []
    observers: list[Observer] = []
    if options.mllog is not None:
        from ds2prof.train.mllog import MlLog, Submission

        submission = Submission(organization=organization)
        observers.append(MlLog(options.mllog, submission, append=options.resume is not None))
    if options.tensorboard is not None:
        from ds2prof.train.tensorboard import TensorBoard

        observers.append(TensorBoard(options.tensorboard))
    return observers


def _capture(options: TrainOptions, device: Device, ranks: Ranks, *, batch_size: int, force: bool) -> Settings | None:
    """What records the window; None without a profiler."""
    if options.profiler == "none":
        return None
    from ds2prof.train import settings

    asked = settings.Options(
        preset=options.preset,
        batch_size=batch_size,
        precision=options.precision,
        profiler=options.profiler,
        profile_start=options.profile_start,
        profile_stop=options.profile_stop,
        keep_going=True,
        layers=options.layers,
        detail=options.detail,
        seed=options.seed,
        output=options.profile_output,
        force=force,
    )
    rank = ranks.rank if ranks.several else None
    decided = settings.resolve(asked, on_gpu=device.is_gpu, environ=os.environ, folder=Path("measurements"), rank=rank)
    settings.make_ready(decided.output, force=force)
    return decided
