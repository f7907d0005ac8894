"""What ``make proof-train`` kills and compares with, tried on a program that stands in for a training run."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import proof_runs

STEPS, EVERY = 60, 5
STAND_IN = """
import json, pathlib, sys, time
folder, kills = pathlib.Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(exist_ok=True)
with (folder / "starts").open("a") as starts:
    starts.write("x")
step = max([int(path.stem.partition("_step")[2]) for path in folder.glob("epoch*.pt")], default=0)
print(f"resumed from {folder}: epoch 1, {step} iterations done" if step else "begins", flush=True)
while step < 60:
    time.sleep(0.005)
    step += 1
    if step % 5 == 0:
        (folder / f"epoch0000_step{step:08d}.pt").touch()
    if step == 50 and (folder / "starts").stat().st_size <= kills:
        time.sleep(60)  # who is to be killed waits for it, however slow the machine is
rows = [{"step": {"iteration": each, "loss": each / 7}} for each in range(60)]
rows += [{"evaluation": {"wer": 0.5, "timing": {"wall_s": 1.0}}}]
(folder / "history.jsonl").write_text("\\n".join(map(json.dumps, rows)))
"""


def command(folder: Path, program: str = STAND_IN, *, kills: int = 0) -> list[str]:
    return [sys.executable, "-c", program, str(folder), str(kills)]


def killed(folder: Path, *, seed: int, program: str = STAND_IN) -> tuple[proof_runs.Run, list[int]]:
    return proof_runs.killed(
        command(folder, program, kills=2),
        folder,
        kills=2,
        chance=random.Random(seed),
        steps=STEPS,
        step_s=0.005,
        checkpoint_every=EVERY,
    )


def test_a_run_is_killed_as_often_as_asked_and_gone_on_with_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run, at = killed(folder, seed=3)
    said = proof_runs.log_of(folder).read_text()
    assert [EVERY <= at[0] < STEPS // 3, STEPS // 3 <= at[1] < 2 * STEPS // 3] == [True, True]
    assert said.count("begins") == 1
    assert said.count("resumed from") == 2
    assert len(run.curve()) == STEPS


def test_the_moments_follow_from_the_chance(tmp_path: Path) -> None:
    assert killed(tmp_path / "one", seed=1)[1] == killed(tmp_path / "other", seed=1)[1]


def test_a_run_that_ends_by_itself_cannot_be_killed(tmp_path: Path) -> None:
    with pytest.raises(proof_runs.ProofError, match="ended by itself, with exit code 4: no luck"):
        killed(tmp_path / "run", seed=1, program="import sys; print('no luck'); sys.exit(4)")


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(proof_runs.ProofError, match="run: exit code 1: ZeroDivisionError"):
        proof_runs.left_alone(command(tmp_path / "run", "1 / 0"), tmp_path / "run")


def test_what_a_run_before_left_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "epoch0000_step00000060.pt").touch()
    proof_runs.left_alone(command(folder), folder)
    assert "begins" in proof_runs.log_of(folder).read_text()


def test_times_are_not_compared_and_rates_are(tmp_path: Path) -> None:
    run = proof_runs.left_alone(command(tmp_path / "run"), tmp_path / "run")
    assert run.of("evaluation") == [{"wer": 0.5}]
    assert run.wers() == [0.5]
    assert run.wall_s > 60 * 0.005


def test_tensors_are_compared_bit_for_bit() -> None:
    torch = pytest.importorskip("torch", reason="the package torch makes the tensors")
    weights = torch.tensor([1.0, float("nan"), 0.0])
    other = weights.clone()
    assert proof_runs.same({"w": [weights, 3]}, {"w": [other, 3]})
    other[0] = torch.nextafter(other[0], torch.tensor(2.0))
    assert not proof_runs.same({"w": [weights, 3]}, {"w": [other, 3]})


def test_a_negative_zero_and_another_type_are_not_the_same() -> None:
    torch = pytest.importorskip("torch", reason="the package torch makes the tensors")
    assert not proof_runs.same(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not proof_runs.same(torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64))
    assert not proof_runs.same({"lr": 1}, {"lr": 1.0})
    assert not proof_runs.same({"a": 1}, {"a": 1, "b": 2})
