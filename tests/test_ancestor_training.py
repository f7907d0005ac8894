"""The benchmark against the ancestor's structure: both compute the same, and its table says what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from benchmarks import ancestor_training as benchmark
from benchmarks.ancestor_step import ancestor_lengths
from ds2prof.train.presets import PRESETS
from ds2prof.train.workload import Workload, assemble
from tests.train_support import NANO, host


def small(**changes: Any) -> Workload:
    """The structure of ``tbd``, a few features wide."""
    model = PRESETS["tbd"].model
    convolutions = tuple(replace(each, channels=2) for each in model.convolutions)
    preset = replace(NANO, model=replace(model, convolutions=convolutions, hidden=8, recurrent_layers=2))
    return assemble(preset, host(), batches=benchmark.NoBatches(), precision="fp32", seed=1, **changes)


def test_the_loop_over_the_utterances_gives_what_the_mask_gives_in_values_gradients_and_statistics() -> None:
    batch = benchmark.batch_of(3, 50, host())
    found = []
    for which in (False, True):
        work = small()
        model = work.model.double()
        wide = replace(batch, spect_BFT=batch.spect_BFT.double())
        counts = torch.tensor(model.output_frames(batch.frame_counts))
        ancestors = benchmark.AncestorFrontEnd(model)
        act_BCFT = ancestors(wide.spect_BFT, counts) if which else benchmark.our_front_end(model, wide)
        act_BCFT.square().sum().backward()
        gradients = [parameter.grad for parameter in model.conv.parameters()]
        found.append([act_BCFT.detach(), *gradients, *model.conv.buffers()])
    for ours, ancestors in zip(*found, strict=True):
        assert torch.allclose(ours.double(), ancestors.double(), rtol=1e-9, atol=1e-9)


def test_the_lengths_by_division_are_those_by_whole_numbers() -> None:
    model = small().model
    lengths = list(range(1, 400))
    assert ancestor_lengths(torch.tensor(lengths), model).tolist() == model.output_frames(lengths)


def test_a_step_of_either_moves_the_weights_alike() -> None:
    moved = []
    for name in ("ours", "ancestor"):
        work = small()
        getattr(benchmark.steps(work, benchmark.batch_of(3, 60, host())), name)()
        moved.append(list(work.model.parameters()))
    before = list(small().model.parameters())
    assert not any(torch.equal(one, other) for one, other in zip(moved[0], before, strict=True))
    for one, other in zip(*moved, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_two_that_compute_something_else_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    work, batch = small(), benchmark.batch_of(3, 60, host())
    benchmark.compare(work, batch)
    monkeypatch.setattr(benchmark.AncestorFrontEnd, "_masked", lambda _self, act_BCFT, _count_B: act_BCFT)
    with pytest.raises(SystemExit, match="front ends differ"):
        benchmark.compare(work, batch)


@pytest.mark.parametrize(
    ("turns", "interval"), [(1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (18, (5, 14))]
)
def test_the_interval_of_a_median_leaves_out_what_tosses_of_a_coin_allow(turns: int, interval: tuple[int, int]) -> None:
    times_ms = [float(turn) for turn in range(1, turns + 1)]
    row = benchmark.Row("step", "fp32", 4, ours_ms=[1.0] * turns, ancestor_ms=times_ms[::-1])
    assert row.interval() == interval
    assert row.facts()["ratio"] == (turns + 1) / 2


@pytest.mark.parametrize(("until_s", "turns"), [(math.inf, 9), (0.0, 6)])
def test_a_row_has_fewer_turns_where_time_is_short_but_six(until_s: float, turns: int) -> None:
    side = benchmark.Side(lambda: None, lambda: None)
    taken = benchmark.measure(host(), side, turns=9, times=1, until_s=until_s)
    assert {name: len(each) for name, each in taken.items()} == {"ours_ms": turns, "ancestor_ms": turns}


def test_a_row_that_will_not_fit_is_known_by_the_one_before() -> None:
    clock = benchmark.Clock(1, [4, 8, 32])
    assert clock.has_room("step", "fp32", size=4)
    clock.took("step", "fp32", size=4, turn_s=2.0)
    assert clock.has_room("step", "fp32", size=8)
    assert not clock.has_room("step", "fp32", size=32)
    assert clock.has_room("front end", "fp32", size=32)


def test_rows_that_are_left_out_are_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(benchmark.PRESETS, "tbd", small().preset)
    words = ["--batches", "2", "3", "--parts", "front end", "--frames", "40", "--repeat", "2", "--least-ms", "0"]
    for minutes, kept in (("10", 2), ("0", 0)):
        monkeypatch.setattr("sys.argv", ["ancestor_training.py", *words, "--minutes", minutes])
        benchmark.main()
        told = capsys.readouterr()
        assert told.out.count("| front end | fp32 |") == kept
        assert told.err.count("left out") == 2 - kept
