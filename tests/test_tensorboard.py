"""Curves for TensorBoard, read back by its own reader."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the package torch writes the files")
pytest.importorskip("tensorboard", reason="the package tensorboard reads the files back")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ds2prof.errors import CaptureError, Ds2profError
from ds2prof.train.observers import INTERRUPTED, BadLoss
from ds2prof.train.tensorboard import TensorBoard
from tests.observer_support import run_facts, step, train


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve as TensorBoard shows it: pairs of step and value."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(each.step, each.value) for each in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_the_curves_are_those_of_the_run(tmp_path: Path) -> None:
    train(TensorBoard(tmp_path), run_facts())
    found = curves(tmp_path)
    assert found["train/loss"] == [(1, 10.0), (2, 9.0), (3, 8.0), (4, 7.0), (5, 6.0), (6, 5.0)]
    assert [step for step, _ in found["train/learning_rate"]] == [1, 2, 3, 4, 5, 6]
    assert found["val/wer"] == [(3, pytest.approx(0.4)), (6, pytest.approx(0.05))]
    assert found["val/cer"] == [(3, pytest.approx(0.1)), (6, pytest.approx(0.0125))]
    assert found["val/loss"] == [(3, 4.0), (6, 0.5)]
    assert found["train/samples_per_s"] == [(3, 32.0), (6, 32.0)]
    assert found["train/audio_s_per_s"] == [(3, 50.0), (6, 50.0)]
    assert found["train/epoch_loss"] == [(3, 5.0), (6, 5.0)]


def test_a_rate_that_was_not_taken_has_no_curve(tmp_path: Path) -> None:
    train(TensorBoard(tmp_path), run_facts())
    assert "val/mean_utterance_wer" not in curves(tmp_path)


def test_a_loss_that_is_not_finite_or_not_known_leaves_a_gap(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.run_started(run_facts())
    board.step_done(replace(step(0), loss=None))
    board.step_done(step(1, loss=float("nan")))
    board.step_done(step(2, loss=4.0))
    board.run_stopped(INTERRUPTED, epoch=0, iteration=3)
    assert curves(tmp_path)["train/loss"] == [(3, 4.0)]


def test_steps_left_out_are_counted(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.run_started(run_facts())
    board.epoch_started(0, batch=0)
    for iteration in (1, 2):
        board.bad_loss(
            BadLoss(iteration=iteration, epoch=0, loss=float("inf"), rank=0, numbers=(), names=(), in_a_row=iteration)
        )
    board.run_stopped(INTERRUPTED, epoch=0, iteration=3)
    assert curves(tmp_path)["train/skipped"] == [(2, 1.0), (3, 2.0)]


def test_a_resumed_run_shows_no_step_twice_and_loses_none(tmp_path: Path) -> None:
    killed = TensorBoard(tmp_path)
    killed.run_started(run_facts())
    killed.epoch_started(0, batch=0)
    for iteration in range(5):  # the checkpoint is behind the third of them
        killed.step_done(step(iteration, loss=100.0 + iteration))
    killed.run_stopped(INTERRUPTED, epoch=0, iteration=5)
    train(TensorBoard(tmp_path), run_facts(resumed=Path("checkpoint"), iteration=3, epoch=1), wers=(0.2,))
    assert curves(tmp_path)["train/loss"] == [(1, 100.0), (2, 101.0), (3, 102.0), (4, 7.0), (5, 6.0), (6, 5.0)]


def test_the_evaluation_in_front_of_a_resumption_stays(tmp_path: Path) -> None:
    train(TensorBoard(tmp_path), run_facts(), wers=(0.4,), status=INTERRUPTED)
    train(TensorBoard(tmp_path), run_facts(resumed=Path("checkpoint"), iteration=3, epoch=1), wers=(0.2,))
    assert [step for step, _ in curves(tmp_path)["val/wer"]] == [3, 6]


def test_a_run_that_begins_anew_in_the_same_folder_hides_the_one_before(tmp_path: Path) -> None:
    train(TensorBoard(tmp_path), run_facts(), wers=(0.9, 0.8), status=INTERRUPTED)
    train(TensorBoard(tmp_path), run_facts(), wers=(0.4,))
    assert curves(tmp_path)["val/wer"] == [(3, pytest.approx(0.4))]


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(Ds2profError, match=r"^tensorboard: this package is not installed"):
        TensorBoard(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CaptureError, match="cannot make this folder"):
        TensorBoard(tmp_path / "file" / "folder")
