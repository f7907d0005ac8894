"""How much of a window has been handed out, counted in operators, and that counting changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from ds2prof.config import Window
from ds2prof.inject.progress import OperatorProgress
from ds2prof.train.capture import ExternalProfiler, operator_progress


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0  # a line for each operator
        return self.now_s


def trained(progress: OperatorProgress | None, *, start: int, stop: int) -> list[float]:
    """The losses of a small training whose iterations are all alike."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for iteration in range(stop):
        if progress is not None and iteration == start - 1:
            progress.rehearse()
        if progress is not None and iteration == start:
            progress.open()
        loss = model(torch.ones(3, 4)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    if progress is not None:
        progress.close()
    return losses


def test_equal_iterations_are_counted_up_to_the_total(tmp_path: Path) -> None:
    status = tmp_path / "status"
    trained(OperatorProgress(str(status), 3, clock_s=Clock()), start=2, stop=5)
    lines = [line.split() for line in status.read_text().splitlines()]
    assert {tuple(line[:2]) for line in lines} == {("ops", str(os.getpid()))}
    done = [int(line[2]) for line in lines]
    totals = {int(line[3]) for line in lines}
    assert done == sorted(done)
    assert (done[0], {done[-1]}) == (0, totals)
    assert len(lines) > 3


def test_counting_changes_no_loss(tmp_path: Path) -> None:
    counted = trained(OperatorProgress(str(tmp_path / "status"), 3), start=2, stop=5)
    assert counted == trained(None, start=2, stop=5)


def test_lines_come_half_a_second_apart_at_most(tmp_path: Path) -> None:
    status = tmp_path / "status"
    trained(OperatorProgress(str(status), 3, clock_s=lambda: 0.0), start=2, stop=5)
    assert len(status.read_text().splitlines()) == 2  # the first and the last


def test_a_window_without_an_iteration_before_it_is_not_counted(tmp_path: Path) -> None:
    status = tmp_path / "status"
    progress = OperatorProgress(str(status), 1)
    progress.open()
    progress.close()
    assert not status.exists()


def test_a_status_file_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    missing = OperatorProgress(str(tmp_path / "no" / "folder"), 3)
    assert len(trained(missing, start=2, stop=5)) == 5


class NoDevice:
    def start_profiler(self) -> None:
        pass

    def stop_profiler(self) -> None:
        pass


@pytest.mark.parametrize(("asked", "lines"), [("1", True), ("", False)])
def test_our_training_counts_where_the_launcher_asks_for_it(
    asked: str, lines: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status"
    monkeypatch.setenv("DS2PROF_STATUS", str(status))
    monkeypatch.setenv("DS2PROF_COUNT_OPS", asked)
    profiler = ExternalProfiler(NoDevice(), operator_progress(Window(1, 2)))
    profiler.prepare()
    torch.ones(3).add(1)
    profiler.start()
    torch.ones(3).add(1)
    profiler.stop()
    assert status.exists() == lines
    assert not lines or status.read_text().splitlines()[-1] == f"ops {os.getpid()} 2 2"


def test_a_window_from_the_first_iteration_on_has_nothing_to_count_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS2PROF_STATUS", "status")
    monkeypatch.setenv("DS2PROF_COUNT_OPS", "1")
    assert operator_progress(Window(0, 1)) is None
