"""``ds2prof train`` as it is typed: what it refuses, says and leaves, and being killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="the package torch is a tool that these tests need")

from ds2prof.cli import cli, train
from ds2prof.cli.train_text import TrainText, epoch_line
from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.observers import EpochFacts, EvalFacts
from ds2prof.train.plan import State
from ds2prof.train.presets import PRESETS, Preset
from ds2prof.train.train_options import TrainOptions, check, preset_for
from tests.train_support import NANO
from tests.trainer_support import facts, same, without_times

SMALL = ("--preset", "tiny", "--device", "cpu", "--limit-batches", "3", "--batch-size", "2", "--frames", "40")


@pytest.fixture
def nano(monkeypatch: pytest.MonkeyPatch) -> Preset:
    """The preset ``tiny``, smaller."""
    monkeypatch.setitem(PRESETS, "tiny", NANO)
    return NANO


def trained(*arguments: str, code: int = 0) -> str:
    """What the command printed."""
    done = CliRunner().invoke(cli, ["train", *SMALL, *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def refused(*arguments: str) -> str:
    with pytest.raises(Ds2profError) as caught:
        CliRunner().invoke(cli, ["train", *SMALL, *arguments], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_epoch_is_a_line(nano):
    lines = trained("--epochs", "2").splitlines()
    assert re.fullmatch(r"nano: [\d,]+ parameters, fp32, batch 2, seed 1, cpu.*", lines[0])
    assert lines[1] == "synthetic speech, 3 steps an epoch"
    for number, rate in ((1, "0.0003"), (2, "0.000273")):
        form = rf"epoch {number}/2: loss \d+\.\d{{4}}, [\d.]+ utterances/s, [\d.]+ audio s/s, learning rate {rate}"
        assert re.fullmatch(form, lines[1 + number])


def test_checkpoints_and_history_lie_in_the_folder(nano, tmp_path):
    trained("--epochs", "2", "--checkpoint-dir", str(tmp_path), "--log-every", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch0001_step00000003.pt",
        "epoch0002_step00000006.pt",
        "history.jsonl",
        "latest.pt",
    ]
    header, *lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert header["schema"] == "ds2prof-history/1"
    assert [next(iter(line)) for line in lines] == ["step", "epoch", "step", "step", "epoch"]
    assert [line["step"]["iteration"] for line in lines if "step" in line] == [1, 3, 5]
    assert [line["epoch"]["utterances"] for line in lines if "epoch" in line] == [6, 6]


def test_a_run_in_two_parts_leaves_what_a_run_in_one_leaves(nano, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained("--epochs", "3", "--checkpoint-dir", str(whole), "--log-every", "1")
    trained("--epochs", "1", "--checkpoint-dir", str(parts), "--log-every", "1")
    trained("--epochs", "3", "--checkpoint-dir", str(parts), "--log-every", "1", "--resume", "auto")
    assert same(left(whole), left(parts))


def left(folder: Path):
    checkpoint = torch.load(folder / "latest.pt", weights_only=True)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return without_times([checkpoint, history])


def test_a_new_run_in_the_folder_of_another_is_refused(nano, tmp_path):
    trained("--epochs", "1", "--checkpoint-dir", str(tmp_path))
    assert "--resume auto" in refused("--epochs", "2", "--checkpoint-dir", str(tmp_path))


def test_a_checkpoint_of_another_network_is_refused(nano, tmp_path, monkeypatch):
    trained("--epochs", "1", "--checkpoint-dir", str(tmp_path))
    monkeypatch.undo()
    for option in ("--resume", "--finetune"):
        said = refused(option, str(tmp_path / "latest.pt"))
        assert "is of preset nano, which differs from tiny in its model" in said


def test_another_batch_size_in_the_middle_of_an_epoch_is_refused(nano, tmp_path):
    trained("--max-iterations", "2", "--checkpoint-dir", str(tmp_path))
    said = refused("--checkpoint-dir", str(tmp_path), "--resume", "auto", "--batch-size", "1")
    assert "was written with --batch-size 2, not 1" in said


def test_another_batch_size_between_epochs_is_said(nano, tmp_path):
    trained("--epochs", "1", "--checkpoint-dir", str(tmp_path))
    said = trained("--epochs", "2", "--checkpoint-dir", str(tmp_path), "--resume", "auto", "--batch-size", "1")
    assert "batch_size was 2 and is 1 from here on" in said


def test_another_optimizer_is_refused_and_other_settings_of_it_are_said_and_count(nano, tmp_path):
    trained("--epochs", "1", "--checkpoint-dir", str(tmp_path))
    again = ("--epochs", "2", "--checkpoint-dir", str(tmp_path), "--resume", "auto")
    assert "was written with --optimizer sgd, not adamw" in refused(*again, "--optimizer", "adamw")
    assert "optimizer weight_decay was 1e-05 and is 0.5 from here on" in trained(*again, "--weight-decay", "0.5")
    (group,) = torch.load(tmp_path / "latest.pt", weights_only=True)["optimizer"]["param_groups"]
    assert group["weight_decay"] == 0.5


def test_going_on_from_an_older_checkpoint_among_newer_ones_is_refused(nano, tmp_path):
    trained("--epochs", "2", "--checkpoint-dir", str(tmp_path))
    older = str(tmp_path / "epoch0001_step00000003.pt")
    said = refused("--epochs", "2", "--checkpoint-dir", str(tmp_path), "--resume", older)
    assert "holds epoch0002_step00000006.pt, newer than" in said
    trained("--epochs", "2", "--checkpoint-dir", str(tmp_path / "other"), "--resume", older)
    assert same(left(tmp_path), left(tmp_path / "other"))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("progress", {"steps": 2}),
        ("progress", {"steps": 99, "batch": 99}),
        ("progress", {"skipped": -1}),
        ("progress", {"best_wer": "low"}),
        ("progress", {"unheard_of": 1}),
        ("ranks", {"sums": torch.zeros(3)}),
        ("ranks", {"sums": "none"}),
        ("optimizer", {"state": {0: {"momentum_buffer": torch.zeros(3)}}}),
        ("optimizer", {"state": {0: "none"}}),
        ("optimizer", {"param_groups": []}),
    ],
)
def test_a_checkpoint_whose_parts_contradict_each_other_is_one_line(nano, tmp_path, field, change):
    trained("--max-iterations", "1", "--checkpoint-dir", str(tmp_path))
    path = tmp_path / "latest.pt"
    values = torch.load(path, weights_only=True)
    (values[field][0] if field == "ranks" else values[field]).update(change)
    if "batch" in change:
        values["batch"] = change["batch"]
    torch.save(values, tmp_path / "changed.pt")
    assert str(tmp_path / "changed.pt") in refused("--resume", str(tmp_path / "changed.pt"))


def test_the_part_of_an_epoch_behind_which_a_run_ends_is_a_line(nano):
    lines = trained("--max-iterations", "2").splitlines()
    assert re.fullmatch(r"epoch 1, 2 of 3 steps: loss \d+\.\d{4}, .*learning rate 0\.0003", lines[-1])


def test_finetuning_begins_at_the_beginning_with_the_weights(nano, tmp_path):
    trained("--epochs", "2", "--checkpoint-dir", str(tmp_path / "first"))
    trained(
        "--epochs",
        "1",
        "--learning-rate",
        "1e-30",
        "--finetune",
        str(tmp_path / "first" / "latest.pt"),
        "--checkpoint-dir",
        str(tmp_path / "second"),
    )
    first = torch.load(tmp_path / "first" / "latest.pt", weights_only=True)
    second = torch.load(tmp_path / "second" / "latest.pt", weights_only=True)
    assert second["iteration"] == 3
    assert torch.equal(first["model"]["head.linear.weight"], second["model"]["head.linear.weight"])


def test_a_trace_of_the_window_changes_nothing_in_what_is_learned(nano, tmp_path):
    trained("--epochs", "1", "--checkpoint-dir", str(tmp_path / "plain"))
    trace = tmp_path / "trace.json.gz"
    window = ("--profile-start", "1", "--profile-stop", "2", "--profile-output", str(trace))
    said = trained("--epochs", "1", "--checkpoint-dir", str(tmp_path / "watched"), "--profiler", "torch", *window)
    assert f"wrote {trace}" in said
    assert trace.stat().st_size > 1000
    assert json.loads((tmp_path / "trace.json.gz.meta.json").read_text())["window"] == {"start": 1, "stop": 2}
    assert same(left(tmp_path / "plain"), left(tmp_path / "watched"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"resume": "auto"}, "--resume auto: looks into --checkpoint-dir"),
        ({"resume": "a.pt", "finetune": Path("b.pt")}, "leave one of the two out"),
        ({"checkpoint_every": 3}, "there is no --checkpoint-dir"),
        ({"target_wer": 0.1}, "--target-wer: there is nothing to evaluate on"),
        ({"eval_every": 4}, "--eval-every: there is nothing to evaluate on"),
        ({"augment": "masks"}, "--augment: synthetic speech has no use for it"),
        ({"workers": 2}, "--workers: synthetic speech has no use for it"),
        ({"train_manifest": Path("m.csv"), "frames": 9}, "--frames: is for synthetic speech"),
        ({"cuda_graphs": True, "compile": True}, "--cuda-graphs: goes with --frames alone"),
        ({"profile_start": 3}, "there is no profiler"),
        ({"layers": True}, "--layers: names layers to a profiler"),
        ({"detail": True, "profiler": "external"}, "--detail, --profile-output: are of torch's trace"),
        ({"eval_batch_size": 4}, "--eval-batch-size: there is nothing to evaluate on"),
        ({"train_manifest": Path("m.csv"), "buckets": 3}, "--buckets: are of --order buckets, and this is bins"),
        ({"learning_rate": float("nan")}, "--learning-rate nan: is no finite number"),
        ({"train_manifest": Path("m.csv"), "max_duration": float("inf")}, "--max-duration inf: is no finite number"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given, reason):
    with pytest.raises(UsageError, match=re.escape(reason)):
        check(TrainOptions(preset="tiny", **given))


def test_options_change_the_preset_and_nothing_else():
    assert preset_for(TrainOptions(preset="tbd")) == PRESETS["tbd"]
    changed = preset_for(
        TrainOptions(preset="tbd", optimizer="adamw", learning_rate=1e-3, anneal=1.0, ema=0.99, accumulate=4, epochs=3)
    )
    assert (changed.optimizer.kind, changed.optimizer.learning_rate, changed.optimizer.clip_norm) == (
        "adamw",
        1e-3,
        400,
    )
    assert (changed.schedule.factor, changed.average_decay, changed.accumulate, changed.max_epochs) == (1.0, 0.99, 4, 3)
    assert changed.model == PRESETS["tbd"].model


def test_a_presets_own_target_counts_only_where_there_is_something_to_evaluate_on():
    assert preset_for(TrainOptions(preset="mlperf")).target_wer is None
    assert preset_for(TrainOptions(preset="mlperf", val_manifest=Path("v.csv"))).target_wer == 0.23


def test_a_schedule_is_annealed_or_warmed_up_and_not_both():
    with pytest.raises(UsageError, match="--anneal: is one schedule"):
        preset_for(TrainOptions(preset="tbd", anneal=1.1, warmup_epochs=2))
    warmed = preset_for(TrainOptions(preset="tbd", warmup_epochs=2, hold_epochs=3, decay=0.5)).schedule
    assert (warmed.kind, warmed.warmup_epochs, warmed.hold_epochs, warmed.gamma) == ("warmup-hold-decay", 2, 3, 0.5)


def test_error_rates_are_said_with_their_decimals():
    evaluation = EvalFacts(
        epoch=0,
        iteration=9,
        wer=0.12345,
        cer=0.0301,
        mean_utterance_wer=None,
        loss=None,
        utterances=3,
        wall_s=1.0,
        averaged=False,
        best=True,
        target_reached=False,
    )
    epoch = EpochFacts(
        epoch=0,
        iteration=9,
        steps=9,
        skipped=2,
        utterances=14,
        loss=2.5,
        learning_rate=3e-4,
        samples=18,
        audio_s=36.0,
        wall_s=2.0,
        evaluation=evaluation,
    )
    assert epoch_line(epoch, epochs=None) == (
        "epoch 1: loss 2.5000, WER 12.35 %, CER 3.01 %, best so far, 9.0 utterances/s, 18.0 audio s/s, "
        "learning rate 0.0003, 2 of 9 steps left out"
    )


class Terminal:
    """A terminal that keeps what is written."""

    def __init__(self, *, terminal: bool) -> None:
        self.written = ""
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        raise OSError


def test_progress_is_shown_on_a_terminal_alone():
    for terminal in (True, False):
        stream = Terminal(terminal=terminal)
        text = TrainText(stream)
        text.of_steps(8)
        text.run_started(facts())
        text.epoch_started(0, batch=0)
        text.stepped(State(steps=4))
        assert ("[############............] 4/8" in stream.written) == terminal


def keeping(folder: Path) -> list[str]:
    often = ["--checkpoint-every", "2", "--log-every", "1", "--limit-batches", "16", "--epochs", "2"]
    return [*often, "--checkpoint-dir", str(folder), "--resume", "auto"]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ds2prof", "train", *SMALL, *keeping(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (folder / "latest.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_that_is_killed_and_told_to_stop_ends_bit_for_bit_like_one_that_is_not(tmp_path):
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    killed = start(hurt)
    wait_for_checkpoint(hurt, killed)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    # As if the disk had lost the end of the newest: the one before serves, if there is one.
    kept = sorted(hurt.glob("epoch*.pt"), key=lambda path: path.name)
    if len(kept) > 1:
        kept[-1].write_bytes(kept[-1].read_bytes()[:-1000])
    (hurt / "latest.pt").unlink()
    told = start(hurt)
    wait_for_checkpoint(hurt, told)
    told.terminate()
    said = told.communicate()[1]
    assert told.returncode == 143, said
    assert re.search(r"told to stop behind iteration \d+; --resume auto goes on", said)
    assert trained(*keeping(hurt)).count("resumed from") == 1
    trained(*keeping(whole))
    assert same(left(whole), left(hurt))


def test_steps_between_checkpoints_are_a_number_or_the_word_epoch():
    done = CliRunner().invoke(train.command, ["--checkpoint-every", "often"])
    assert done.exit_code == 2
    assert "'often' is neither a number of steps nor 'epoch'" in done.output
