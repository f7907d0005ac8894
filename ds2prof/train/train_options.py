"""What ``ds2prof train`` was asked for, and the preset that this makes. Needs no PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from ds2prof.errors import UsageError
from ds2prof.train.plan import DEFAULT_BAD_STEPS, DEFAULT_LOG_EVERY
from ds2prof.train.presets import PRESETS, ModelConfig, OptimizerConfig, Preset, ScheduleConfig

AUTO: Final = "auto"
OPTIMIZERS: Final = {
    "sgd": OptimizerConfig(),
    "adamw": OptimizerConfig("adamw", learning_rate=1.5e-4, weight_decay=1e-5),
    "lamb": PRESETS["rnnt"].optimizer,
}
"""What an optimizer is set to where it is not the preset's: the values of the ancestor that has it."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The command line of ``ds2prof train``; None is what was not given.

    The names are those of the options. See there what each is.
    """

    preset: str
    train_manifest: Path | None = None
    val_manifest: Path | None = None
    labels: Path | None = None
    pieces: Path | None = None
    augment: str | None = None
    noise_dir: Path | None = None
    order: str | None = None
    buckets: int | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    frames: int | None = None
    workers: int = 0
    cache_mib: int | None = None
    epochs: int | None = None
    target_wer: float | None = None
    max_iterations: int | None = None
    limit_batches: int | None = None
    batch_size: int | None = None
    eval_batch_size: int | None = None
    accumulate: int | None = None
    precision: str = "fp32"
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    anneal: float | None = None
    warmup_epochs: int | None = None
    hold_epochs: int | None = None
    decay: float | None = None
    ema: float | None = None
    skip_bad_loss: bool = True
    bad_steps: int = DEFAULT_BAD_STEPS
    seed: int = 1
    device: str = AUTO
    sync_batch_norm: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    checkpoint_dir: Path | None = None
    keep: int = 3
    checkpoint_every: int | None = None
    resume: str | None = None
    finetune: Path | None = None
    eval_every: int | None = None
    log_every: int = DEFAULT_LOG_EVERY
    phase_timers: bool = False
    tensorboard: Path | None = None
    mllog: Path | None = None
    profiler: str = "none"
    profile_start: int | None = None
    profile_stop: int | None = None
    layers: bool = False
    detail: bool = False
    profile_output: Path | None = None


def check(options: TrainOptions) -> None:
    """Nothing, if the options go together.

    Raises:
        UsageError: they do not.
    """
    if options.resume is not None and options.finetune is not None:
        raise UsageError("--resume goes on with a run and --finetune begins one; leave one of the two out")
    if options.resume == AUTO and options.checkpoint_dir is None:
        raise UsageError("--resume auto: looks into --checkpoint-dir; give that, or name the checkpoint")
    if options.checkpoint_every is not None and options.checkpoint_dir is None:
        raise UsageError("--checkpoint-every: there is no --checkpoint-dir; give one")
    if options.val_manifest is None:
        given = {"--target-wer": options.target_wer, "--eval-every": options.eval_every}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"{name}: there is nothing to evaluate on; give --val-manifest")
    if options.train_manifest is None:
        _refuse_corpus_options(options)
    elif options.frames is not None:
        raise UsageError("--frames: is for synthetic speech; leave it or --train-manifest out")
    if options.cuda_graphs and (options.train_manifest or options.val_manifest or options.compile):
        raise UsageError("--cuda-graphs: goes with --frames alone; leave out the manifests and --compile")
    _refuse_idle_options(options)
    _refuse_numbers_without_end(options)


def _refuse_idle_options(options: TrainOptions) -> None:
    """Refuses what would have no effect, since whoever typed it expects one."""
    if options.profiler == "none" and (options.profile_start is not None or options.profile_stop is not None):
        raise UsageError("--profile-start, --profile-stop: there is no profiler; give --profiler torch or external")
    if options.profiler == "none" and options.layers:
        raise UsageError("--layers: names layers to a profiler; give --profiler torch or external, or leave it out")
    if options.profiler != "torch" and (options.detail or options.profile_output is not None):
        raise UsageError("--detail, --profile-output: are of torch's trace; give --profiler torch, or leave them out")
    if options.val_manifest is None and options.eval_batch_size is not None:
        raise UsageError("--eval-batch-size: there is nothing to evaluate on; give --val-manifest")
    if options.train_manifest is not None and options.buckets is not None:
        order = order_of(PRESETS[options.preset], options)
        if order != "buckets":
            raise UsageError(f"--buckets: are of --order buckets, and this is {order}; leave one of the two out")


def _refuse_numbers_without_end(options: TrainOptions) -> None:
    """Refuses what is no number, or infinite, which comparing with a least value lets through."""
    for each in fields(options):
        value = getattr(options, each.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--{each.name.replace('_', '-')} {value}: is no finite number; give one")


def _refuse_corpus_options(options: TrainOptions) -> None:
    """Refuses what has no effect on synthetic speech."""
    given: dict[str, Any] = {
        "--augment": options.augment,
        "--noise-dir": options.noise_dir,
        "--order": options.order,
        "--buckets": options.buckets,
        "--min-duration": options.min_duration,
        "--max-duration": options.max_duration,
        "--cache-mib": options.cache_mib,
        "--workers": options.workers or None,
    }
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name}: synthetic speech has no use for it; give --train-manifest, or leave it out")


def preset_for(options: TrainOptions) -> Preset:
    """The preset with the options' changes.

    Raises:
        UsageError: an option does not go with it.
    """
    preset = PRESETS[options.preset]
    average = preset.average_decay if options.ema is None else (options.ema or None)
    return replace(
        preset,
        optimizer=_optimizer(preset, options),
        schedule=_schedule(preset, options),
        average_decay=average,
        speech=preset.speech if options.frames is None else replace(preset.speech, frames=options.frames),
        batch_size=options.batch_size or preset.batch_size,
        accumulate=options.accumulate or preset.accumulate,
        buckets=options.buckets or preset.buckets,
        target_wer=target_of(preset, options),
        max_epochs=options.epochs or preset.max_epochs,
    )


def target_of(preset: Preset, options: TrainOptions) -> float | None:
    """The word error rate to stop at; none where there is nothing to evaluate on."""
    if options.val_manifest is None:
        return None
    return preset.target_wer if options.target_wer is None else options.target_wer


def _optimizer(preset: Preset, options: TrainOptions) -> OptimizerConfig:
    base = preset.optimizer
    if options.optimizer is not None and options.optimizer != base.kind:
        base = replace(OPTIMIZERS[options.optimizer], clip_norm=base.clip_norm)
    given: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay,
        "clip_norm": options.clip_norm,
    }
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def _schedule(preset: Preset, options: TrainOptions) -> ScheduleConfig:
    """How the learning rate goes on.

    Raises:
        UsageError: two kinds of schedule were asked for.
    """
    ramp = {
        "warmup_epochs": options.warmup_epochs,
        "hold_epochs": options.hold_epochs,
        "gamma": options.decay,
    }
    given: dict[str, Any] = {name: value for name, value in ramp.items() if value is not None}
    if options.anneal is not None:
        if given:
            raise UsageError("--anneal: is one schedule; --warmup-epochs, --hold-epochs and --decay are another")
        return ScheduleConfig("anneal", factor=options.anneal)
    if not given:
        return preset.schedule
    base = preset.schedule
    if base.kind != "warmup-hold-decay":
        base = ScheduleConfig("warmup-hold-decay")
    return replace(base, **given)


def order_of(preset: Preset, options: TrainOptions) -> str:
    """In which order the corpus is visited."""
    return options.order or preset.order


def augment_of(preset: Preset, options: TrainOptions) -> str:
    """What is done to the sound, by its name: nothing, unless asked for or the ancestor always does it."""
    return options.augment or ("none" if isinstance(preset.model, ModelConfig) else "rnnt")
