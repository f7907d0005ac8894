"""MLPerf's log of a run: ``:::MLLOG {...}`` lines as MLCommons' own package writes them, and the ``RESULT,`` line.

The keys and their order are those of NVIDIA's RNN-T submissions: ``cache_clear``, ``init_start``, the settings,
``init_stop``, ``run_start``, the data's and the optimizer's settings, then for each epoch ``block_start, epoch_start,
epoch_stop, eval_start, eval_accuracy, eval_stop, throughput, block_stop``, and ``run_stop`` with its status. Theirs has
the throughput before the evaluation; here it is known behind it. Epochs count from 1. ``eval_accuracy`` is the word
error rate as a ratio: lower is better, whatever the key says.

With phase timers there are ``<phase>_time_total``, ``_count``, ``_min`` and ``_max`` for each rank, their values
``{"r": rank, "t": seconds}`` (a number for the count). NVIDIA's tags are ``fwd_time`` and so on; these have the names
of our phases.

What is logged is what was done. ``cache_clear`` is false, since nothing here can empty the caches of the system.
``rnnt`` has rules of its own in rulesets 1.0.0 to 3.1.0 of MLCommons' checker, which a run of it on LibriSpeech can
meet. For DeepSpeech2 the checker has none: its log meets the general rules (``common.yaml``), and then the checker
refuses the unknown ``submission_benchmark`` and stops, for it has no file of rules by that name.

A run that is gone on with adds a sequence of its own to the file. The checker refuses such a file, for MLPerf has no
resumed runs.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ds2prof.errors import CaptureError, Ds2profError
from ds2prof.speech.augment_config import AUGMENTS, AugmentConfig
from ds2prof.train.observers import (
    MISSED,
    SUCCESS,
    EpochFacts,
    EvalFacts,
    Observer,
    PhaseTime,
    RunFacts,
)
from ds2prof.train.presets import OptimizerConfig, Preset, ScheduleConfig
from ds2prof.train.transducer_config import TransducerConfig
from ds2prof.units import NS_PER_S

STANDARD_OUTPUT: Final = Path("-")
RNNT_TENSORS: Final = ("pre_rnn", "post_rnn", "pred_embed", "dec_rnn", "joint_pred", "joint_enc", "joint_net")
"""What RNN-T's weights are called where their initialization is logged."""

_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Who ran it, and as what.

    Attributes:
        organization: Who; it stands in the ``RESULT,`` line too.
        division: ``closed`` where MLPerf's rules for the model and its settings were kept, else ``open``.
        status: ``onprem``, ``cloud``, ``preview`` or ``research``.
        platform: The machine; None is the device's name and how many there were.
    """

    organization: str = "unnamed"
    division: str = "open"
    status: str = "research"
    platform: str | None = None


def benchmark_of(preset: Preset) -> str:
    """What MLPerf calls the preset's task; DeepSpeech2 is ``speech_recognition``."""
    return "rnnt" if isinstance(preset.model, TransducerConfig) else "speech_recognition"


def result_line(preset: Preset, *, dur_s: float, organization: str, started_s: float) -> str:
    """The line that NVIDIA's scripts end with: ``RESULT,<benchmark>,,<whole seconds>,<who>,<when it began>``.

    Args:
        preset: What was trained.
        dur_s: How long it took, from the start of the program to its end.
        organization: Who ran it.
        started_s: When it began, in Unix time; it is written in local time.
    """
    name = "RNN_SPEECH_RECOGNITION" if benchmark_of(preset) == "rnnt" else "SPEECH_RECOGNITION"
    began = time.strftime("%Y-%m-%d %I:%M:%S %p", time.localtime(started_s))
    return f"RESULT,{name},,{round(dur_s)},{organization},{began}"


class MlLog(Observer):
    """Writes the log; made as early as possible, for with it the time of the set-up begins.

    Args:
        path: The file; ``-`` is standard output.
        submission: Who runs it.
        append: Whether lines are added to a file that is there, as for a resumed run; else it is replaced.

    Raises:
        Ds2profError: the package ``mlperf-logging`` is not installed.
        CaptureError: the file cannot be written.
    """

    def __init__(self, path: Path, submission: Submission | None = None, *, append: bool = False) -> None:
        self._submission = submission or Submission()
        self._handler = _handler(path, append=append)
        # A logger of our own, known to nobody else: the package's default one writes to standard output for the whole
        # process, and one made by getLogger would be shared with whoever asks for the same name.
        logger = logging.Logger("ds2prof.mllog", level=logging.INFO)
        logger.addHandler(self._handler)
        self._log = _writer()(logger, default_stack_offset=1, root_dir=re.escape(str(_ROOT)))
        self._in_epoch = self._in_block = False
        self._evaluates_within_epochs = False
        self._log.event("cache_clear", value=False)
        self._log.start("init_start")

    def run_started(self, run: RunFacts) -> None:
        """The settings, and the beginning of the time that counts."""
        self._evaluates_within_epochs = run.options.get("eval_every") is not None
        for key, value in _settings(run, self._submission):
            self._log.event(key, value=value)
        if isinstance(run.preset.model, TransducerConfig):
            for tensor in RNNT_TENSORS:
                self._log.event("weights_initialization", metadata={"tensor": tensor})
        self._log.event("global_batch_size", value=run.global_batch_size)
        self._log.end("init_stop")
        self._log.start("run_start", metadata=_resumption(run))
        for key, value in (*_corpus(run), *_optimizer(run.preset)):
            self._log.event(key, value=value)

    def epoch_started(self, epoch: int, *, batch: int) -> None:
        """A block of one epoch begins."""
        self._log.start("block_start", metadata={"first_epoch_num": epoch + 1, "epoch_count": 1})
        self._log.start("epoch_start", metadata={"epoch_num": epoch + 1})
        self._in_block = self._in_epoch = True

    def evaluation_started(self, epoch: int, *, iteration: int) -> None:
        """The evaluation begins; the epoch is over before it, unless it is one that comes every so many steps."""
        if not self._evaluates_within_epochs:
            self._stop_epoch(epoch)
        self._log.start("eval_start", metadata={"epoch_num": epoch + 1, "step_num": iteration})

    def evaluated(self, facts: EvalFacts) -> None:
        """The word error rate."""
        place = {"epoch_num": facts.epoch + 1, "step_num": facts.iteration}
        self._log.event("eval_accuracy", value=facts.wer, metadata=place)
        self._log.end("eval_stop", metadata=place)

    def epoch_done(self, facts: EpochFacts) -> None:
        """The block ends."""
        self._stop_epoch(facts.epoch)
        if facts.wall_s > 0:
            rate = facts.samples / facts.wall_s
            self._log.event("throughput", value=rate, metadata={"epoch_num": facts.epoch + 1})
        self._stop_block(facts.epoch)

    def timed(self, times: Sequence[PhaseTime]) -> None:
        """The phase timers of all ranks."""
        for each in times:
            seconds = {"total": each.total_ns, "min": each.min_ns, "max": each.max_ns}
            values = {name: dur_ns / NS_PER_S for name, dur_ns in seconds.items()} | {"count": each.count}
            for name in ("total", "count", "min", "max"):
                self._log.event(f"{each.phase}_time_{name}", value={"r": each.rank, "t": values[name]})

    def run_stopped(self, status: str, *, epoch: int, iteration: int) -> None:
        """The end. Whatever did not reach its target is ``aborted``, with our own word for it beside."""
        if status in (SUCCESS, MISSED):  # otherwise what was open is not done, and is left so
            self._stop_epoch(epoch)
            self._stop_block(epoch)
        said = "success" if status == SUCCESS else "aborted"
        self._log.end("run_stop", metadata={"status": said, "reason": status, "step_num": iteration})
        self._handler.close()

    def _stop_epoch(self, epoch: int) -> None:
        if self._in_epoch:
            self._in_epoch = False
            self._log.end("epoch_stop", metadata={"epoch_num": epoch + 1})

    def _stop_block(self, epoch: int) -> None:
        if self._in_block:
            self._in_block = False
            self._log.end("block_stop", metadata={"first_epoch_num": epoch + 1})


def _writer() -> Any:
    """MLCommons' class that writes the lines.

    Raises:
        Ds2profError: it is not installed.
    """
    try:
        from mlperf_logging.mllog.mllog import MLLogger
    except ImportError:
        raise Ds2profError(
            'mlperf_logging: this package is not installed; pip install "ds2prof[mllog]" brings it'
        ) from None
    return MLLogger


def _handler(path: Path, *, append: bool) -> logging.StreamHandler[Any]:
    """Where the lines go, one at a time and at once."""
    if path == STANDARD_OUTPUT:
        return logging.StreamHandler(sys.stdout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, mode="a" if append else "w", encoding="utf-8")
    except OSError as error:
        raise CaptureError(f"{path}: cannot write MLPerf's log: {error.strerror}") from None


Pairs = list[tuple[str, Any]]


def _resumption(run: RunFacts) -> Mapping[str, Any] | None:
    return None if run.resumed is None else {"resumed": True, "step_num": run.iteration}


def _settings(run: RunFacts, submission: Submission) -> Pairs:
    """What is logged before the time counts."""
    count = f" x{run.world_size}" if run.world_size > 1 else ""
    pairs: Pairs = [
        ("seed", run.seed),
        ("gradient_accumulation_steps", run.accumulate),
        ("submission_benchmark", benchmark_of(run.preset)),
        ("submission_org", submission.organization),
        ("submission_division", submission.division),
        ("submission_status", submission.status),
        ("submission_platform", submission.platform or f"{run.device_name or run.device}{count}"),
        ("precision", run.precision),
    ]
    if isinstance(run.preset.model, TransducerConfig):
        pairs.append(("model_weights_initialization_scale", run.preset.model.lstm_weight_scale))
        pairs.append(("eval_max_prediction_symbols", run.preset.model.max_symbols))
    if run.preset.average_decay is not None:
        pairs.append(("model_eval_ema_factor", run.preset.average_decay))
    return pairs


def _corpus(run: RunFacts) -> Pairs:
    """What is logged of the data."""
    pairs: Pairs = [("data_train_max_duration", run.options.get("max_duration"))]
    augment = AUGMENTS.get(str(run.options.get("augment")))
    pairs += _augmentation(augment) if augment is not None else []
    if run.preset.order == "buckets":
        pairs.append(("data_train_num_buckets", run.preset.buckets))
    return [*pairs, ("train_samples", run.train_utterances), ("eval_samples", run.eval_utterances)]


def _augmentation(augment: AugmentConfig) -> Pairs:
    """Speed and masks; their keys' spelling is MLPerf's."""
    pairs: Pairs = []
    if augment.stretch is not None:
        pairs.append(("data_speed_perturbaton_min", augment.stretch[0]))
        pairs.append(("data_speed_perturbaton_max", augment.stretch[1]))
    masks = augment.masks
    if masks is not None:
        longest = masks.longest_share if masks.longest_share < 1 else masks.longest_frames
        for axis, count, most in (
            ("freq", masks.frequency_masks, masks.widest_bins),
            ("time", masks.time_masks, longest),
        ):
            pairs.append((f"data_spec_augment_{axis}_n", count))
            pairs.append((f"data_spec_augment_{axis}_min", 0))
            pairs.append((f"data_spec_augment_{axis}_max", most))
    return pairs


def _optimizer(preset: Preset) -> Pairs:
    """What is logged of the optimizer and its schedule."""
    config = preset.optimizer
    pairs: Pairs = [
        ("opt_name", config.kind),
        ("opt_base_learning_rate", config.learning_rate),
        ("opt_weight_decay", config.weight_decay),
        ("opt_gradient_clip_norm", config.clip_norm),
    ]
    return [*pairs, *_moments(config), *_schedule(preset.schedule)]


def _moments(config: OptimizerConfig) -> Pairs:
    if config.kind == "sgd":
        return [("sgd_opt_momentum", config.momentum)]
    stem = f"opt_{config.kind}"
    return [
        (f"{stem}_beta_1", config.betas[0]),
        (f"{stem}_beta_2", config.betas[1]),
        (f"{stem}_epsilon", config.eps),
    ]


def _schedule(config: ScheduleConfig) -> Pairs:
    """The learning rate's keys; as in RNN-T's rules, the exponential decay stands under that of a polynomial one."""
    if config.kind == "anneal":
        return [("opt_learning_rate_decay_factor", 1 / config.factor)]
    return [
        ("opt_learning_rate_warmup_epochs", config.warmup_epochs),
        ("opt_lamb_learning_rate_hold_epochs", config.hold_epochs),
        ("opt_lamb_learning_rate_decay_poly_power", config.gamma),
        ("opt_lamb_learning_rate_min", config.minimum),
        ("opt_learning_rate_alt_decay_func", True),
        ("opt_learning_rate_alt_warmup_func", True),
    ]
