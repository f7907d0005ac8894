from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from hypothesis import given
from hypothesis import strategies as st

from ds2prof.config import Window
from ds2prof.train.progress import Progress
from ds2prof.train.runlog import RunLog, throughput_lines, write_run_log
from ds2prof.train.speech import Batch
from ds2prof.units import NS_PER_S
from tests.train_support import host


def batch_of(*frame_counts: int) -> Batch:
    return Batch(
        torch.zeros(len(frame_counts), 1, max(frame_counts)),
        frames_B=torch.tensor(frame_counts),
        labels=torch.ones(1, dtype=torch.int64),
        frame_counts=frame_counts,
        label_counts=(1,) * len(frame_counts),
    )


def log_of(times_ns: list[int], *, fences: tuple[int, ...], losses: list[float] | None = None) -> RunLog:
    """A log of batches of 2 s and 1 s of speech; a fence ends the iterations numbered in ``fences``."""
    clock = iter(times_ns)
    iterations = len(times_ns) - len(fences)
    log = RunLog(host(), iterations, clock_ns=lambda: next(clock))
    for iteration in range(iterations):
        log.begin()
        log.keep(batch_of(200, 100), torch.tensor(1.0 if losses is None else losses[iteration]))
        if iteration in fences:
            log.end()
    return log


def test_an_iteration_lasts_until_the_next_one_starts() -> None:
    log = log_of([0, 10, 30, 60], fences=(2,))
    assert [row["wall_ns"] for row in log.rows()] == [10, 20, 30]


def test_a_fence_ends_an_iteration_and_what_comes_after_it_belongs_to_none() -> None:
    log = log_of([0, 10, 25, 1000, 1007], fences=(1, 2))
    assert [row["wall_ns"] for row in log.rows()] == [10, 15, 7]


@given(st.lists(st.integers(0, 10**12), min_size=3, max_size=30).map(sorted))
def test_the_stretch_lasts_from_its_first_start_to_its_fence_exactly(times_ns: list[int]) -> None:
    last = len(times_ns) - 2
    stretch = log_of(times_ns, fences=(last,)).stretch(Window(1, last + 1))
    assert stretch["wall_ns"] == times_ns[-1] - times_ns[1]


def test_the_stretch_counts_its_own_speech() -> None:
    stretch = log_of([0, 10, 30, 60], fences=(2,)).stretch(Window(1, 3))
    assert stretch == {"first": 1, "stop": 3, "wall_ns": 50, "samples": 4, "audio_s": 6.0, "padded_s": 8.0}


def test_the_file_is_a_header_the_iterations_and_the_stretch(tmp_path: Path) -> None:
    path = tmp_path / "run_bs2.jsonl"
    write_run_log(path, {"preset": "nano"}, log=log_of([0, 10, 30], fences=(1,)), window=Window(0, 2))
    header, first, second, last = map(json.loads, path.read_text().splitlines())
    assert header == {"schema": "ds2prof-run/1", "preset": "nano"}
    assert first == {
        "iteration": 0,
        "wall_ns": 10,
        "samples": 2,
        "audio_s": 3.0,
        "padded_s": 4.0,
        "loss": 1.0,
        "skipped": False,
    }
    assert second["iteration"] == 1
    assert list(last) == ["stretch"]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_null(loss: float) -> None:
    rows = log_of([0, 10, 30], fences=(1,), losses=[loss, 2.5]).rows()
    assert [row["loss"] for row in rows] == [None, 2.5]


def test_the_summary_divides_by_the_fenced_time() -> None:
    lines = throughput_lines(log_of([0, NS_PER_S, 3 * NS_PER_S], fences=(1,)), Window(1, 2))
    assert lines[0] == "iteration 1, between two fences: 2.000 s"
    assert [line.split()[-1] for line in lines[1:4]] == ["1.00", "1.50", "2.00"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress_text(stream: io.StringIO, *, step_ns: int) -> str:
    clock = itertools.count(step=step_ns)
    progress = Progress(stream, 4, clock_ns=lambda: next(clock))
    for iteration in range(4):
        progress.step(iteration)
    progress.done()
    return stream.getvalue()


def test_a_pipe_gets_a_line_now_and_then() -> None:
    assert progress_text(io.StringIO(), step_ns=5 * NS_PER_S) == "iteration 1 of 4\niteration 3 of 4\n"


def test_a_terminal_is_rewritten_in_place_and_left_clean() -> None:
    text = progress_text(Terminal(), step_ns=NS_PER_S)
    assert "\n" not in text
    assert text.count("\r") == 5
    assert text.endswith("\r\x1b[K")


class Counted:
    """A network of one layer: 10 FLOP a frame, of the longest where padding counts; twice that backward."""

    def flop(self, frame_counts: tuple[int, ...], label_counts: tuple[int, ...], *, padded: bool) -> dict[str, int]:
        frames = max(frame_counts) * len(frame_counts) if padded else sum(frame_counts)
        return {"layer": 10 * frames}

    def backward_flop(
        self, frame_counts: tuple[int, ...], label_counts: tuple[int, ...], *, padded: bool
    ) -> dict[str, int]:
        return {"layer": 2 * self.flop(frame_counts, label_counts, padded=padded)["layer"]}


def test_a_log_that_knows_its_network_tells_the_flop_of_each_iteration_and_of_the_stretch() -> None:
    log = log_of([0, 10, 30, 60], fences=(2,))
    log.count_flop(Counted())
    assert [(row["model_flop"], row["hardware_flop"]) for row in log.rows()] == [(9000, 12000)] * 3
    stretch = log.stretch(Window(1, 3))
    assert (stretch["model_flop"], stretch["hardware_flop"]) == (18000, 24000)


def test_a_log_that_knows_no_network_tells_no_flop() -> None:
    log = log_of([0, 10], fences=(0,))
    assert "model_flop" not in log.rows()[0]
    assert "model_flop" not in log.stretch(Window(0, 1))


def test_the_flop_of_a_log_are_read_back(tmp_path: Path) -> None:
    from ds2prof.parsers import read_all

    log = log_of([0, 10, 30], fences=(1,))
    log.count_flop(Counted())
    path = tmp_path / "run_bs2.jsonl"
    write_run_log(path, {"preset": "nano"}, log=log, window=Window(0, 2))
    (profile,) = read_all(str(path), tables=("iterations",), progress=None, refused=lambda error: None)
    assert profile.table("iterations")["model_flop"].tolist() == [9000, 9000]
    assert profile.meta.facts["stretch"]["hardware_flop"] == 24000
