"""MLPerf's log of a run: its lines, their order, MLCommons' checker and our own parser."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlperf_logging", reason="the package mlperf-logging writes the lines")

from mlperf_logging import mllog as _default  # noqa: F401  # makes the package's own logger, which is not used
from mlperf_logging.compliance_checker import mlp_compliance, mlp_parser

from ds2prof import parsers
from ds2prof.errors import CaptureError, Ds2profError
from ds2prof.train.mllog import STANDARD_OUTPUT, MlLog, Submission, benchmark_of, result_line
from ds2prof.train.observers import INTERRUPTED, MISSED
from ds2prof.train.presets import PRESETS
from tests.observer_support import evaluation, run_facts, step, train

RULESETS = ("1.0.0", "1.1.0", "2.0.0", "2.1.0", "3.0.0", "3.1.0")
"""Those with rules for RNN-T."""
CLOSED = Submission(organization="somebody", division="closed", status="onprem", platform="a machine")
OPEN = Submission(organization="somebody")
ORDER = [
    *("cache_clear", "init_start", "seed", "gradient_accumulation_steps", "submission_benchmark", "submission_org"),
    *("submission_division", "submission_status", "submission_platform", "model_weights_initialization_scale"),
    *("weights_initialization", "global_batch_size", "init_stop", "run_start", "data_train_num_buckets"),
    *("train_samples", "eval_samples", "opt_name", "opt_base_learning_rate", "block_start", "epoch_start"),
    *("epoch_stop", "eval_start", "eval_accuracy", "eval_stop", "throughput", "block_stop", "run_stop"),
]


def written(path: Path, run: Any, submission: Submission = OPEN, **how: Any) -> list[dict[str, Any]]:
    """The lines of a run, read as JSON."""
    train(MlLog(path, submission), run, **how)
    return lines_of(path)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix(":::MLLOG ")) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def _checks_of_nobody_else() -> Iterator[None]:
    """The checker keeps the rules that it is still to look at in a list of its module."""
    mlp_compliance.enqueued_configs.clear()
    yield
    mlp_compliance.enqueued_configs.clear()


def complaints(path: Path, ruleset: str) -> list[str]:
    """What MLCommons' checker has against a log."""
    checker = mlp_compliance.make_checker("training", ruleset, quiet=False, werror=True)
    mlp_compliance.main(str(path), f"training_{ruleset}/common.yaml", checker)
    return [*checker.overwritable.values(), *checker.not_overwritable]


@pytest.mark.parametrize("ruleset", RULESETS)
@pytest.mark.parametrize("submission", [OPEN, CLOSED], ids=["open", "closed"])
def test_the_checker_of_mlcommons_has_nothing_against_a_run_of_rnnt_on_librispeech(
    tmp_path: Path, ruleset: str, submission: Submission
) -> None:
    written(tmp_path / "log", run_facts("rnnt"), submission)
    assert complaints(tmp_path / "log", ruleset) == []


def test_the_closed_division_refuses_another_corpus(tmp_path: Path) -> None:
    written(tmp_path / "log", run_facts("rnnt", eval_utterances=200), CLOSED)
    assert "eval_samples" in "".join(complaints(tmp_path / "log", "3.1.0"))


def test_deepspeech2_meets_the_general_rules_and_is_refused_as_unknown_alone(tmp_path: Path) -> None:
    written(tmp_path / "log", run_facts("tiny"))
    checker = mlp_compliance.make_checker("training", "3.1.0", quiet=False, werror=True)
    lines, errors = mlp_parser.parse_file(str(tmp_path / "log"), ruleset="3.1.0")
    rules = Path(mlp_compliance.__file__).parent / "training_3.1.0"
    checker.configured_checks(lines, rules / "common.yaml")
    assert not errors
    assert not checker.has_messages()
    checker.configured_checks(lines, rules / "open_common.yaml")
    assert list(checker.overwritable) == ["submission_benchmark"]


def test_the_lines_come_in_the_order_of_nvidias_submissions(tmp_path: Path) -> None:
    keys = [line["key"] for line in written(tmp_path / "log", run_facts("rnnt"), wers=(0.05,))]
    assert [key for key in dict.fromkeys(keys) if key in ORDER] == ORDER


def test_the_numbers_are_those_of_the_run(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", run_facts("rnnt"))
    stated = {line["key"]: line["value"] for line in lines if line["value"] is not None}
    assert stated["global_batch_size"] == 8 * 4 * 2
    assert stated["train_samples"] == 24
    assert stated["opt_lamb_learning_rate_hold_epochs"] == 40
    assert stated["data_spec_augment_time_max"] == 0.03
    assert stated["throughput"] == 24 / 0.75
    assert [line["value"] for line in lines if line["key"] == "eval_accuracy"] == [0.4, 0.05]
    assert [line["metadata"]["epoch_num"] for line in lines if line["key"] == "epoch_start"] == [1, 2]


def test_an_unknown_corpus_is_null(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", run_facts(train_utterances=None))
    assert [line["value"] for line in lines if line["key"] == "train_samples"] == [None]


@pytest.mark.parametrize(
    ("preset", "kind", "key", "value"),
    [("tbd", "sgd", "sgd_opt_momentum", 0.9), ("rnnt", "lamb", "opt_lamb_beta_2", 0.999)],
)
def test_each_optimizer_has_its_own_keys(tmp_path: Path, preset: str, kind: str, key: str, value: float) -> None:
    stated = {line["key"]: line["value"] for line in written(tmp_path / "log", run_facts(preset))}
    assert (stated["opt_name"], stated[key]) == (kind, value)


def test_phase_timers_have_the_form_of_nvidias(tmp_path: Path) -> None:
    lines = [line for line in written(tmp_path / "log", run_facts(), wers=(0.5,)) if isinstance(line["value"], dict)]
    assert [(line["key"], line["value"]) for line in lines if line["value"]["r"] == 1] == [
        ("forward_time_total", {"r": 1, "t": 3.5}),
        ("forward_time_count", {"r": 1, "t": 3}),
        ("forward_time_min", {"r": 1, "t": 1.0}),
        ("forward_time_max", {"r": 1, "t": 1.5}),
    ]


def test_an_evaluation_every_so_many_steps_does_not_end_the_epoch(tmp_path: Path) -> None:
    log = MlLog(tmp_path / "log")
    log.run_started(run_facts(options={"eval_every": 1}))
    log.epoch_started(0, batch=0)
    log.step_done(step(0))
    log.evaluation_started(0, iteration=1)
    log.evaluated(evaluation(1, wer=0.9))
    log.run_stopped(MISSED, epoch=0, iteration=1)
    keys = [line["key"] for line in lines_of(tmp_path / "log")]
    assert keys[keys.index("epoch_start") :] == [
        "epoch_start",
        "eval_start",
        "eval_accuracy",
        "eval_stop",
        "epoch_stop",
        "block_stop",
        "run_stop",
    ]


def test_what_misses_its_target_is_aborted(tmp_path: Path) -> None:
    last = written(tmp_path / "log", run_facts(), status=MISSED)[-1]
    assert (last["metadata"]["status"], last["metadata"]["reason"]) == ("aborted", "missed")


def test_an_interrupted_epoch_does_not_stop(tmp_path: Path) -> None:
    log = MlLog(tmp_path / "log")
    log.run_started(run_facts())
    log.epoch_started(0, batch=0)
    log.run_stopped(INTERRUPTED, epoch=0, iteration=0)
    assert [line["key"] for line in lines_of(tmp_path / "log")][-2:] == ["epoch_start", "run_stop"]


def test_a_resumed_run_adds_to_the_file_and_says_where_it_begins(tmp_path: Path) -> None:
    written(tmp_path / "log", run_facts(), wers=(0.5,), status=INTERRUPTED)
    train(MlLog(tmp_path / "log", append=True), run_facts(resumed=tmp_path, iteration=3, epoch=1), wers=(0.05,))
    starts = [line for line in lines_of(tmp_path / "log") if line["key"] == "run_start"]
    assert [start["metadata"].get("step_num") for start in starts] == [None, 3]


def test_lines_name_our_module_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    files = {line["metadata"]["file"] for line in written(tmp_path / "log", run_facts())}
    assert files == {"ds2prof/train/mllog.py"}


def test_nothing_goes_elsewhere_than_into_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(logging.root.manager.loggerDict)
    written(tmp_path / "log", run_facts())
    assert capsys.readouterr() == ("", "")
    assert set(logging.root.manager.loggerDict) == before


def test_two_logs_at_once_keep_apart(tmp_path: Path) -> None:
    one, other = MlLog(tmp_path / "one"), MlLog(tmp_path / "other")
    train(one, run_facts(seed=1))
    train(other, run_facts(seed=2))
    seeds = {name: [x["value"] for x in lines_of(tmp_path / name) if x["key"] == "seed"] for name in ("one", "other")}
    assert seeds == {"one": [1], "other": [2]}


def test_a_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    train(MlLog(STANDARD_OUTPUT), run_facts())
    assert capsys.readouterr().out.count(":::MLLOG {") > 20


def test_our_own_parser_reads_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, run_facts("rnnt"))
    profile = parsers.read(path, tables=("ranges", "samples"))
    ranges, samples = profile.table("ranges"), profile.table("samples")
    assert sorted(ranges["name"].tolist()) == ["block", "block", "epoch", "epoch", "eval", "eval", "init", "run"]
    columns = (samples[name].tolist() for name in ("metric", "entity", "value", "unit"))
    read = [row for row in zip(*columns, strict=True) if row[0] in ("eval_accuracy", "forward_time_total")]
    times = [("forward_time_total", f"rank {rank}", 3.5e9, "ns") for rank in (0, 1)]
    wers = [("eval_accuracy", None, wer, "unknown") for wer in (0.4, 0.05)]
    assert read == [wers[0], *times, wers[1], *times]
    assert (profile.meta.format, profile.meta.facts["status"]) == ("mlperf-log", "success")
    assert profile.warnings == ()


def test_the_result_line_is_that_of_nvidias_scripts() -> None:
    line = result_line(PRESETS["rnnt"], dur_s=1712.6, organization="somebody", started_s=1_651_948_143)
    assert re.fullmatch(r"RESULT,RNN_SPEECH_RECOGNITION,,1713,somebody,2022-05-0[678] \d\d:\d\d:03 (AM|PM)", line)
    assert result_line(PRESETS["tbd"], dur_s=1, organization="x", started_s=0).startswith(
        "RESULT,SPEECH_RECOGNITION,,1,"
    )


def test_deepspeech2_is_not_called_rnnt() -> None:
    assert {benchmark_of(preset) for name, preset in PRESETS.items() if name != "rnnt"} == {"speech_recognition"}


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_logging.mllog.mllog", None)
    with pytest.raises(Ds2profError, match=r"^mlperf_logging: this package is not installed"):
        MlLog(tmp_path / "log")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CaptureError, match="cannot write MLPerf's log"):
        MlLog(tmp_path / "file" / "log")
