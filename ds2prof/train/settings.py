"""From what was typed to what is run: defaults filled in, contradictions refused. Needs no PyTorch."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds2prof.config import (
    ANCESTOR_WINDOWS,
    COUNTER_WINDOW_GPU,
    DEFAULTS_CPU,
    DEFAULTS_GPU,
    ENV_PROFILE_START,
    ENV_PROFILE_STOP,
    Window,
)
from ds2prof.errors import CaptureError, Ds2profError, UsageError
from ds2prof.measurements import measurement_name, refuse_existing

PRECISIONS: Final = ("fp32", "tf32", "bf16", "fp16")
PROFILERS: Final = ("none", "torch", "memory", "external")
DETAIL_SLOWS: Final = (
    "recorded with detail, which slows every step down: take durations from a capture without --detail"
)
DEFAULT_ITERATIONS: Final = 20
_LARGEST_DEFAULT_WARMUP: Final = 5
_EXTENSIONS: Final = {"none": ("run", "jsonl"), "torch": ("torch", "json.gz"), "memory": ("memory", "csv")}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of ``train_profiling.py``; None is what was not given."""

    preset: str | None = None
    batch_size: int | None = None
    device: str = "auto"
    precision: str = "fp32"
    profiler: str = "none"
    window: str | None = None
    profile_start: int | None = None
    profile_stop: int | None = None
    keep_going: bool = False
    layers: bool = False
    iterations: int | None = None
    warmup: int | None = None
    seed: int = 1
    output: Path | None = None
    run_log: Path | None = None
    detail: bool = False
    tag: str | None = None
    force: bool = False
    accumulate: int = 1
    frames: int | None = None
    labels: int | None = None
    hold: int | None = None
    train_manifest: Path | None = None
    workers: int = 0
    pieces: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A run, decided.

    Attributes:
        preset: Name of the workload.
        batch_size: Utterances in a step.
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        profiler: ``none``, ``torch``, ``memory`` or ``external``.
        window: The fenced iterations: what the profiler records, or what throughput is taken from.
        window_given: False where the window is only what the warm-up leaves of the run.
        iterations: How many are run; 0 builds the model and stops.
        layers: Whether layers are named to the profiler.
        seed: Decides weights and data.
        output: The file to be written, None where there is none.
        tag: The part of its name that the user chose.
        force: Whether it may replace another.
        detail: Whether torch's profiler records what attribution needs besides.
        run_log: Where the iterations' times go, None where they are not kept. Without a profiler that is ``output``.
        accumulate: Batches that one step is made of.
        frames: Frames of every synthetic utterance, None where they have the preset's lengths.
        labels: Labels of every synthetic utterance; with ``frames``.
        hold: The one utterance that all batches are made of, None where they differ.
        train_manifest: The corpus; None for synthetic speech.
        workers: Processes that make features of a corpus ready.
        pieces: The model of pieces of words that a transducer's corpus is written in.
    """

    preset: str
    batch_size: int
    precision: str
    profiler: str
    window: Window
    window_given: bool
    iterations: int
    layers: bool
    seed: int
    output: Path | None
    tag: str | None
    force: bool
    run_log: Path | None = None
    detail: bool = False
    accumulate: int = 1
    frames: int | None = None
    labels: int | None = None
    hold: int | None = None
    train_manifest: Path | None = None
    workers: int = 0
    pieces: Path | None = None


def resolve(
    options: Options, *, on_gpu: bool, environ: Mapping[str, str], folder: Path, rank: int | None = None
) -> Settings:
    """What is to be run.

    Args:
        options: What was typed.
        on_gpu: Whether the device is a GPU, which decides most defaults.
        environ: The environment, whose ``DS2PROF_PROFILE_START`` and ``_STOP`` go before the options.
        folder: Where measurements lie.
        rank: Which of several processes this is, which each write files of their own; None where there is one.

    Raises:
        UsageError: options or variables contradict each other.
    """
    _refuse_idle_options(options)
    _refuse_contradicting_speech(options)
    defaults = DEFAULTS_GPU if on_gpu else DEFAULTS_CPU
    batch_size = options.batch_size or defaults.batch_sizes[0]
    short = on_gpu and options.profiler == "memory"  # memory is the same in each iteration that is as long
    asked = _asked_window(options, COUNTER_WINDOW_GPU if short else defaults.window, environ)
    window = asked or _stretch(options)
    output = _output(options, batch_size, folder, rank=rank)
    return Settings(
        preset=options.preset or defaults.preset,
        batch_size=batch_size,
        precision=options.precision,
        profiler=options.profiler,
        window=window,
        window_given=asked is not None,
        iterations=_iterations(options, window),
        layers=options.layers,
        seed=options.seed,
        output=output,
        tag=options.tag,
        force=options.force,
        run_log=output if options.profiler == "none" else _of_rank(options.run_log, rank),
        detail=options.detail,
        accumulate=options.accumulate,
        frames=options.frames,
        labels=options.labels,
        hold=options.hold,
        train_manifest=options.train_manifest,
        workers=options.workers,
        pieces=options.pieces,
    )


def _refuse_idle_options(options: Options) -> None:
    """Refuses what would have no effect, since whoever typed it expects one."""
    if options.profiler == "none" and options.layers:
        raise UsageError("--layers: names layers to a profiler; give --profiler torch or external, or leave it out")
    if options.profiler == "memory" and options.layers:
        raise UsageError("--layers: a memory capture tells the layers apart by itself; leave it out")
    if options.profiler != "none" and options.warmup is not None:
        raise UsageError("--warmup: is for runs without a profiler; with one, --profile-start opens the window")
    if options.profiler == "external" and options.output is not None:
        raise UsageError("--output: with --profiler external the profiler outside writes the file; name it there")
    if options.detail and options.profiler != "torch":
        raise UsageError("--detail: is more detail in torch's own trace; give --profiler torch, or leave it out")
    if options.profiler == "none" and options.run_log is not None and options.output is not None:
        raise UsageError("--run-log: without a profiler that is what --output names; leave one of the two out")
    if options.run_log is not None and options.run_log == options.output:
        raise UsageError("--run-log: names the same file as --output; give it another name")
    if options.window is not None and (options.profile_start is not None or options.profile_stop is not None):
        raise UsageError("--window: names a start and a stop; leave out --profile-start and --profile-stop")


def _refuse_contradicting_speech(options: Options) -> None:
    """Refuses options of synthetic speech beside a corpus, and the other way round."""
    synthetic = {"--frames": options.frames, "--labels": options.labels, "--hold": options.hold}
    given = [name for name, value in synthetic.items() if value is not None]
    if options.train_manifest is not None and given:
        raise UsageError(f"{given[0]}: is for synthetic speech; leave it or --train-manifest out")
    if options.train_manifest is None and options.workers:
        raise UsageError("--workers: read a corpus, and synthetic speech needs none; give --train-manifest")
    if options.train_manifest is None and options.pieces is not None:
        raise UsageError("--pieces: are for the transcripts of a corpus; give --train-manifest, or leave it out")
    if options.labels is not None and options.frames is None:
        raise UsageError("--labels: goes with --frames, which makes all utterances alike; give both")


def _asked_window(options: Options, default: Window, environ: Mapping[str, str]) -> Window | None:
    """The window that was asked for; a run with a profiler always has one, else None where nothing was said.

    Raises:
        UsageError: it holds no iteration.
    """
    start = _from_environment(environ, ENV_PROFILE_START, options.profile_start)
    stop = _from_environment(environ, ENV_PROFILE_STOP, options.profile_stop)
    if options.profiler == "none" and options.window is None and start is None and stop is None:
        return None
    base = default if options.window is None else ANCESTOR_WINDOWS[options.window]
    window = Window(base.start if start is None else start, base.stop if stop is None else stop)
    if window.start >= window.stop:
        raise UsageError(
            f"window {window.start} to {window.stop}: holds no iteration; give --profile-start and a greater "
            "--profile-stop"
        )
    return window


def _from_environment(environ: Mapping[str, str], name: str, otherwise: int | None) -> int | None:
    """The variable as a number where it is set, else ``otherwise``."""
    text = environ.get(name, "").strip()
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}={text}: is not a count of iterations; give a whole number, or unset it")
    return int(text)


def _stretch(options: Options) -> Window:
    """The iterations behind the warm-up of a run without a profiler: a quarter of them is warm-up, 5 at most.

    Raises:
        UsageError: the warm-up leaves none.
    """
    iterations = DEFAULT_ITERATIONS if options.iterations is None else options.iterations
    warmup = min(_LARGEST_DEFAULT_WARMUP, iterations // 4) if options.warmup is None else options.warmup
    if iterations and warmup >= iterations:
        raise UsageError(f"--warmup {warmup}: leaves nothing of --iterations {iterations} to measure; take fewer")
    return Window(warmup, iterations)


def _iterations(options: Options, window: Window) -> int:
    """How many iterations are run: to the end of the window, or further if told to go on.

    Raises:
        UsageError: they end before the window does, or ``--warmup`` contradicts it.
    """
    if options.iterations == 0:
        return 0
    if options.warmup is not None and options.warmup != window.start:
        raise UsageError(f"--warmup {options.warmup}: the window opens at {window.start}; leave one of the two out")
    if options.iterations is not None and options.iterations < window.stop:
        raise UsageError(
            f"--iterations {options.iterations}: the window {window.start} to {window.stop} ends later; "
            "take more iterations or an earlier window"
        )
    if not options.keep_going:
        return window.stop
    return max(DEFAULT_ITERATIONS, window.stop) if options.iterations is None else options.iterations


def _of_rank(path: Path | None, rank: int | None) -> Path | None:
    """``path`` with the rank in its name, before the endings; as it is where whoever gave it has seen to that."""
    if path is None or rank is None or f"_rank{rank}." in path.name:
        return path
    stem, dot, endings = path.name.partition(".")
    return path.with_name(f"{stem}_rank{rank}{dot}{endings}")


def _output(options: Options, batch_size: int, folder: Path, *, rank: int | None) -> Path | None:
    """The file that the run writes; None where a profiler outside does.

    Raises:
        UsageError: the tag cannot stand in a file name.
    """
    if options.profiler not in _EXTENSIONS:
        return None
    profiler, extension = _EXTENSIONS[options.profiler]
    name = measurement_name(profiler, batch_size, extension=extension, tag=options.tag, rank=rank)
    named = options.output or (options.run_log if options.profiler == "none" else None)
    return _of_rank(named, rank) or folder / name


def iterations_text(window: Window) -> str:
    """The iterations of a window, for reading."""
    last = window.stop - 1
    return f"iteration {last}" if window.start == last else f"iterations {window.start} to {last}"


def require_packages(*names: str) -> None:
    """Nothing, if the packages are installed.

    Raises:
        Ds2profError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise Ds2profError(f'{name}: this package is not installed; pip install "ds2prof[train]" brings it')


def make_ready(output: Path | None, *, force: bool) -> None:
    """Makes sure, before anything is run, that its result can be written.

    Raises:
        ExistsError: there is one already.
        CaptureError: its folder cannot be made or written to.
    """
    if output is None:
        return
    refuse_existing(output, force=force)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaptureError(f"{output.parent}: cannot make this folder: {error.strerror}; give --output") from None
    if not os.access(output.parent, os.W_OK):
        raise CaptureError(f"{output.parent}: cannot write in this folder; give --output")
