"""From the options of ``ds2prof train`` to a run: corpora, workload, capture and checkpoint, put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import torch

import ds2prof
from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train import corpora
from ds2prof.train.capture import capture_for
from ds2prof.train.checkpoints import (
    HISTORY,
    Checkpoint,
    CheckpointFolder,
    load_weights,
    read_checkpoint,
    require_same,
    write_durably,
)
from ds2prof.train.device import Device
from ds2prof.train.distributed import Ranks
from ds2prof.train.graphs import compiled, graphed, require_graphs, unpacked
from ds2prof.train.observers import Observer, RunFacts
from ds2prof.train.optimizers import Schedule, WeightAverage
from ds2prof.train.plan import Outcome, Plan, State
from ds2prof.train.presets import ModelConfig, Preset
from ds2prof.train.settings import Settings
from ds2prof.train.stopping import StopRequest
from ds2prof.train.telling import steps_of_epoch
from ds2prof.train.timers import PhaseTimers
from ds2prof.train.train_options import AUTO, TrainOptions, augment_of, order_of, preset_for
from ds2prof.train.training import Training
from ds2prof.train.watch import Watch
from ds2prof.train.workload import Workload, assemble

HISTORY_SCHEMA: Final = "ds2prof-history/1"
_DECIDE_ORDER: Final = (
    *("batch_size", "accumulate", "world_size", "seed", "order", "buckets", "limit_batches", "corpus"),
    *("min_duration", "max_duration"),
)
"""What the batches of an epoch follow from: in the middle of one it cannot change."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A run that is ready to begin.

    Attributes:
        training: What will run.
        facts: What is told of it.
    """

    training: Training
    facts: RunFacts

    def run(self) -> Outcome:
        """Runs it to its end, whichever that is."""
        return self.training.run(self.facts)


class RunKeeper:
    """Keeps a run's checkpoints, and beside them what it has told so far.

    Args:
        folder: Where.
        fixed: The fields of a checkpoint that are the same all through the run.
    """

    def __init__(self, folder: CheckpointFolder, fixed: Mapping[str, Any]) -> None:
        self._folder = folder
        self._fixed = fixed

    def keep(self, values: Mapping[str, Any], *, best: bool) -> Path:
        """Writes a checkpoint and the history; where the checkpoint is.

        Raises:
            CaptureError: they cannot be written.
        """
        path = self._folder.write({**self._fixed, **values}, best=best)
        header = {"schema": HISTORY_SCHEMA, "preset": self._fixed["preset"], "run": self._fixed["run"]}
        lines = "".join(json.dumps(line, allow_nan=False) + "\n" for line in (header, *values["history"]))
        write_durably(self._folder.path / HISTORY, lambda file: file.write(lines.encode()))
        return path


def run_for(
    options: TrainOptions,
    device: Device,
    *,
    ranks: Ranks,
    observer: Observer,
    stop: StopRequest,
    say: Callable[[str], None],
    stepped: Callable[[State], object] | None = None,
    capture: Settings | None = None,
) -> Ready:
    """The run that the options ask for.

    Args:
        options: Checked already.
        device: Where it is trained.
        ranks: The processes that train together, joined already.
        observer: Told what happens.
        stop: Asked between steps.
        say: Told what the user should know, a line each, on rank 0.
        stepped: Told where the run stands before each step.
        capture: What records a window of steps; None for nothing.

    Raises:
        Ds2profError: something of it cannot be read, does not fit, or does not work here.
    """
    preset = preset_for(options)
    folder = None if options.checkpoint_dir is None else CheckpointFolder(options.checkpoint_dir, keep=options.keep)
    checkpoint = _checkpoint_to_resume(options, folder, ranks, say)
    corpus = corpora.Corpora(options, preset, device, ranks)
    work = _workload(options, preset, device, ranks=ranks, corpus=corpus, profiled=capture is not None)
    plan = _plan(options, preset, capture)
    fixed = _fixed(options, preset, ranks, corpus)
    schedule = Schedule(preset.schedule, preset.optimizer.learning_rate, steps_of_epoch(work, plan.limit_batches))
    training = Training(
        work,
        plan,
        rate_of=schedule.at,
        observer=observer,
        stop=stop,
        evaluate=corpus.evaluator(work),
        keeper=None if folder is None else RunKeeper(folder, fixed),
        watch=None if capture is None else _watch(capture, work),
        name_of=corpus.name_of,
        stepped=stepped,
    )
    _begin_from(options, checkpoint, training, fixed, say=say if ranks.first else _silent)
    facts = _facts(options, training, corpus, resumed=checkpoint)
    return Ready(training=training, facts=facts)


def _silent(line: str) -> None:
    del line


def _checkpoint_to_resume(
    options: TrainOptions, folder: CheckpointFolder | None, ranks: Ranks, say: Callable[[str], None]
) -> Checkpoint | None:
    """The checkpoint that the run goes on from, the same on all ranks; None where it begins.

    Raises:
        ExistsError: it would write where another run has left checkpoints, or this one newer ones.
        ReadError: it cannot be read.
    """
    if options.resume is None:
        if folder is not None and ranks.first:
            folder.require_empty()
        return None
    if options.resume != AUTO:
        named = Path(options.resume)
        chosen: Checkpoint | None = CheckpointFolder(named).newest(say) if named.is_dir() else read_checkpoint(named)
        if chosen is None:
            raise UsageError(f"--resume {named}: holds no checkpoint; is it the right folder?")
        if folder is not None and ranks.first:
            folder.require_none_newer(chosen)
        return chosen
    assert folder is not None, "checked with the options"
    found = folder.newest(say) if ranks.first else None
    path = ranks.gathered(None if found is None else found.path)[0]
    if path is None:
        return None
    return found if ranks.first else read_checkpoint(path)


def _workload(
    options: TrainOptions, preset: Preset, device: Device, *, ranks: Ranks, corpus: corpora.Corpora, profiled: bool
) -> Workload:
    """The workload, its network averaged, compiled or captured as the options ask."""
    work = assemble(
        unpacked(preset) if options.cuda_graphs else preset,
        device,
        batches=corpus.batches(),
        precision=options.precision,
        seed=options.seed,
        ranks=ranks,
        sync_batch_norm=options.sync_batch_norm,
        profiled=profiled,
        accumulate=preset.accumulate,
        skip_bad_loss=options.skip_bad_loss,
        timers=PhaseTimers(device) if options.phase_timers else None,
    )
    if options.cuda_graphs:
        require_graphs(work)
    torch.manual_seed(options.seed + ranks.rank)  # dropout draws other numbers on each rank
    if preset.average_decay is not None:
        work = replace(work, average=WeightAverage(work.model, preset.average_decay))
    if options.cuda_graphs:
        return graphed(work)
    return compiled(work) if options.compile else work


def _plan(options: TrainOptions, preset: Preset, capture: Settings | None) -> Plan:
    only_iterations = options.max_iterations is not None and options.epochs is None
    return Plan(
        epochs=None if only_iterations else preset.max_epochs,
        max_iterations=options.max_iterations,
        target_wer=preset.target_wer,
        eval_every=options.eval_every,
        checkpoint_every=options.checkpoint_every,
        limit_batches=options.limit_batches,
        log_every=options.log_every,
        bad_steps=options.bad_steps,
        window=None if capture is None else capture.window,
    )


def _fixed(options: TrainOptions, preset: Preset, ranks: Ranks, corpus: corpora.Corpora) -> dict[str, Any]:
    """The fields of a checkpoint that are the same all through the run."""
    model = preset.model
    outputs = model.vocabulary if isinstance(model, ModelConfig) else model.pieces + 1
    manifest = options.train_manifest
    return {
        "tool_version": ds2prof.__version__,
        "torch_version": str(torch.__version__),
        "preset": preset.name,
        "preset_config": json.dumps(asdict(preset)),
        "symbols": corpora.symbols_facts(corpus.symbols, outputs),
        "run": {
            "batch_size": preset.batch_size,
            "accumulate": preset.accumulate,
            "world_size": ranks.world_size,
            "seed": options.seed,
            "order": preset.speech.order if manifest is None else order_of(preset, options),
            "buckets": preset.buckets,
            "limit_batches": options.limit_batches,
            "corpus": _synthetic(preset) if manifest is None else corpora.corpus_digest(manifest),
            "min_duration": options.min_duration,
            "max_duration": options.max_duration,
            "augment": None if manifest is None else augment_of(preset, options),
            "precision": options.precision,
        },
    }


def _synthetic(preset: Preset) -> str:
    """What tells synthetic speech from other synthetic speech."""
    return f"synthetic {json.dumps(asdict(preset.speech))}"


def _begin_from(
    options: TrainOptions,
    checkpoint: Checkpoint | None,
    training: Training,
    fixed: Mapping[str, Any],
    *,
    say: Callable[[str], None],
) -> None:
    """Gives the run the state, or the weights, of the checkpoint that it begins from.

    Raises:
        Ds2profError: they do not fit.
    """
    work = training.work
    if options.finetune is not None:
        weights = read_checkpoint(options.finetune)
        _same_network(weights, fixed)
        load_weights(work.model, weights)
        if work.average is not None:
            decay = work.average.decay
            work.average.load_state_dict(WeightAverage(work.model, decay).state_dict())
        say(f"begins from the weights of {options.finetune}")
    if checkpoint is None:
        return
    config = _same_network(checkpoint, fixed)
    _tell_changes(checkpoint, config, fixed, say=say)
    training.restore(checkpoint)
    state = training.state
    say(f"resumed from {checkpoint.path}: epoch {state.epoch + 1}, {state.iteration} iterations done")


def _tell_changes(
    checkpoint: Checkpoint, config: Mapping[str, Any], fixed: Mapping[str, Any], *, say: Callable[[str], None]
) -> None:
    """Says what is not as the run began, a line each.

    Args:
        checkpoint: What the run goes on from.
        config: The preset that it was written with, as plain values.
        fixed: What is so from here on.
        say: Told each line.

    Raises:
        Ds2profError: a run cannot go on with it.
    """
    where, stored, wanted = str(checkpoint.path), checkpoint["run"], fixed["run"]
    if checkpoint["batch"]:
        require_same(stored, {name: wanted[name] for name in _DECIDE_ORDER}, where=where)
    before, after = dict(stored), dict(wanted)
    for part in ("optimizer", "schedule"):
        before |= {f"{part} {name}": value for name, value in config[part].items()}
        after |= {f"{part} {name}": value for name, value in json.loads(fixed["preset_config"])[part].items()}
    require_same({"optimizer": before.get("optimizer kind")}, {"optimizer": after["optimizer kind"]}, where=where)
    for name, value in after.items():
        if before.get(name) != value:
            say(f"{where}: {name} was {before.get(name)} and is {value} from here on")


def _same_network(checkpoint: Checkpoint, fixed: Mapping[str, Any]) -> Mapping[str, Any]:
    """The preset that the checkpoint was written with, as plain values; its network is the one that is trained.

    Raises:
        Ds2profError: it is of another, or its symbols mean something else.
    """
    where = str(checkpoint.path)
    try:
        stored, wanted = json.loads(checkpoint["preset_config"]), json.loads(fixed["preset_config"])
        same = {part: stored.get(part) == wanted[part] for part in ("model", "features")}
        if not all(isinstance(stored.get(part), dict) for part in ("optimizer", "schedule")):
            raise ValueError
    except (ValueError, AttributeError, RecursionError):
        raise Ds2profError(f"{where}: does not say what it is a checkpoint of; take another") from None
    for part, equal in same.items():
        if not equal:
            raise Ds2profError(
                f"{where}: is of preset {checkpoint['preset']}, which differs from {fixed['preset']} in its {part}; "
                "give its own --preset"
            )
    symbols, own = checkpoint["symbols"], fixed["symbols"]
    if symbols.get("sha256") is not None and own["sha256"] is not None and symbols["sha256"] != own["sha256"]:
        raise Ds2profError(f"{where}: its network writes in other symbols; give the --labels or --pieces it began with")
    return cast("Mapping[str, Any]", stored)


def _watch(capture: Settings, work: Workload) -> Watch:
    made = capture_for(capture, work.device, ranges=work.ranges, layers=work.layers())
    return Watch(made, capture.window, work.device)


def _facts(
    options: TrainOptions, training: Training, corpus: corpora.Corpora, *, resumed: Checkpoint | None
) -> RunFacts:
    work, plan, state = training.work, training.plan, training.state
    told = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    return RunFacts(
        preset=preset_for(options),
        precision=options.precision,
        device=str(work.device),
        device_name=work.device.name,
        world_size=work.ranks.world_size,
        batch_size=preset_for(options).batch_size,
        accumulate=work.accumulate,
        seed=options.seed,
        parameters=work.parameter_count(),
        train_utterances=corpus.utterances,
        eval_utterances=corpus.held_out_utterances,
        epochs=plan.epochs,
        max_iterations=plan.max_iterations,
        target_wer=plan.target_wer,
        resumed=None if resumed is None else resumed.path,
        epoch=state.epoch,
        iteration=state.iteration,
        options={**told, "augment": None if corpus.synthetic else augment_of(preset_for(options), options)},
    )
