from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from click.testing import CliRunner, Result

import train_profiling
from ds2prof.analysis import questions
from ds2prof.errors import UsageError
from ds2prof.parsers import read
from ds2prof.train.capture import Capture
from ds2prof.train.costs import TimedCapture
from ds2prof.train.settings import Options, Settings, resolve
from tests.train_support import host, nano_settings, nano_workload, train_nano

COSTS = ("prepare_ns", "start_ns", "stop_ns")


class NotedCapture(Capture):
    def __init__(self) -> None:
        self.done: list[str] = []

    def prepare(self) -> None:
        self.done.append("prepare")

    def start(self) -> None:
        self.done.append("start")

    def stop(self) -> None:
        self.done.append("stop")


def decide(**options: object) -> Settings:
    return resolve(Options(**options), on_gpu=False, environ={}, folder=Path("m"))  # type: ignore[arg-type]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(train_profiling.main, ["--device", "cpu", *map(str, arguments)])


def test_each_step_of_a_capture_is_timed_by_itself() -> None:
    noted, clock = NotedCapture(), iter([0, 5, 100, 107, 1000, 1900])
    capture = TimedCapture(noted, clock_ns=lambda: next(clock))
    capture.prepare()
    capture.start()
    capture.stop()
    assert noted.done == ["prepare", "start", "stop"]
    assert capture.costs_ns() == {"prepare_ns": 5, "start_ns": 7, "stop_ns": 900}


def test_a_capture_that_never_started_has_no_cost_of_starting() -> None:
    capture = TimedCapture(NotedCapture(), clock_ns=itertools.count().__next__)
    capture.prepare()
    assert capture.costs_ns() == {"prepare_ns": 1, "start_ns": None, "stop_ns": None}


def test_without_a_capture_there_is_no_cost() -> None:
    capture = TimedCapture(Capture())
    capture.prepare()
    capture.start()
    capture.stop()
    assert set(capture.costs_ns().values()) == {None}


def test_the_loop_drives_a_timed_capture_as_any_other() -> None:
    settings, noted = nano_settings(profiler="torch"), NotedCapture()
    capture = TimedCapture(noted)
    train_nano(settings, nano_workload(settings, host()), capture)
    assert noted.done == ["prepare", "start", "stop"]
    assert all(cost is not None for cost in capture.costs_ns().values())


@pytest.mark.parametrize("profiler", ["torch", "external"])
def test_a_run_log_beside_a_profiler_is_a_file_of_its_own(profiler: str) -> None:
    settings = decide(profiler=profiler, run_log=Path("log.jsonl"))
    assert settings.run_log == Path("log.jsonl")
    assert settings.output == (Path("m/torch_bs4.json.gz") if profiler == "torch" else None)


def test_a_profiler_keeps_no_run_log_unless_told_to() -> None:
    assert decide(profiler="torch").run_log is None


@pytest.mark.parametrize("option", ["output", "run_log"])
def test_without_a_profiler_the_run_log_is_the_output_whichever_names_it(option: str) -> None:
    settings = decide(**{option: Path("log.jsonl")})
    assert (settings.output, settings.run_log) == (Path("log.jsonl"), Path("log.jsonl"))


@pytest.mark.parametrize(
    "options",
    [
        {"run_log": Path("a"), "output": Path("b")},
        {"run_log": Path("a"), "output": Path("a"), "profiler": "torch"},
    ],
)
def test_two_names_that_contradict_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--run-log"):
        decide(**options)


def test_a_run_log_that_is_there_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("precious")
    result = invoke("--profiler", "torch", "--output", tmp_path / "t.json.gz", "--run-log", tmp_path / "log.jsonl")
    assert result.exit_code == 1
    assert "log.jsonl: exists already" in result.stderr
    assert (tmp_path / "log.jsonl").read_text() == "precious"


@pytest.mark.parametrize("profiler", ["torch", "external"])
def test_a_run_log_beside_a_profiler_names_it_and_is_no_throughput(profiler: str, tmp_path: Path) -> None:

    log = tmp_path / "log.jsonl"
    output = ("--output", tmp_path / "t.json.gz") if profiler == "torch" else ()
    window = ("--profile-start", 1, "--profile-stop", 3)
    result = invoke("--batch-size", 1, "--profiler", profiler, *window, *output, "--run-log", log)
    assert result.exit_code == 0, result.output
    assert "samples/s" not in result.output
    header, *rows, last = map(json.loads, log.read_text().splitlines())
    assert (header["profiler"], header["window"]) == (profiler, {"start": 1, "stop": 3})
    assert all(isinstance(header[name], int) for name in COSTS)
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert last["stretch"]["wall_ns"] == sum(row["wall_ns"] for row in rows[1:])

    profile = read(log)
    assert [warning.partition(": ")[2] for warning in profile.warnings] == [
        "a profiler looked on, which takes time itself; no throughput is read from it"
    ]
    totals = questions.totals_of(profile)
    assert {totals[f"{what}_per_s"] for what in ("samples", "audio_s", "padded_s")} == {None}


def test_a_run_log_without_a_profiler_names_none(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert invoke("--batch-size", 1, "--iterations", 2, "--run-log", log).exit_code == 0
    header = json.loads(log.read_text().splitlines()[0])
    assert {header[name] for name in ("profiler", *COSTS)} == {None}
    assert questions.totals_of(read(log))["samples_per_s"] > 0
