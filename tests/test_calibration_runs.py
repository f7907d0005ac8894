from __future__ import annotations

import gzip
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
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.calibration import Counts, Timed
from ds2prof.calibration import counts as calibration_counts
from ds2prof.calibration.counts import counted_plainly
from ds2prof.calibration.runs import (
    MODES,
    Done,
    Mode,
    ProgramRuns,
    counted,
    measured,
    rotated,
    run_log_in,
    timed,
    training_command,
    workplace,
)
from ds2prof.capture.job import Asked
from ds2prof.capture.launchers import LAUNCHERS, launcher
from ds2prof.cli import calibrate
from ds2prof.cli.calibrate import command, possible, split, usable
from ds2prof.config import Window
from ds2prof.errors import CaptureError, ExistsError, ReadError, UsageError
from ds2prof.launch import Echo, InterruptedCaptureError, capture, plan
from ds2prof.machine import Machine, find_machine
from ds2prof.measurements import read_sidecar
from tests.conftest import ROOT
from tests.kineto_support import event, kernel, op
from tests.launch_support import NEW, NO_GPU, QUICK

TORCH, DETAIL, NSYS = Mode("torch", "torch"), Mode("torch-detail", "torch", detail=True), Mode("nsys", "nsys")

# Stands in for the training script: its iterations take what it says they took, 1,000 ns more each under torch's
# profiler and 5,000 ns more in detail, and a run that comes later is slower by 7 ns: that is the drift.
TRAINING = """
import gzip, json, os, sys, time
words = sys.argv[1:]
value = lambda name: words[words.index(name) + 1] if name in words else None
if os.environ.get("FAIL") in words:
    print("out of luck", flush=True)
    sys.exit(3)
if "SLEEP" in os.environ:
    open(os.environ["SLEEP"], "w").close()
    time.sleep(60)
profiler, start, stop = value("--profiler"), int(value("--profile-start")), int(value("--profile-stop"))
log = value("--output") if profiler == "none" else value("--run-log")
cost = 0 if profiler == "none" else 5000 if "--detail" in words else 1000
if profiler == "torch":
    gzip.open(value("--output"), "wt").write("trace")
    facts = {"schema": "ds2prof-meta/1", "tool": "torch.profiler", "tool_version": "2", "preset": value("--preset")}
    open(value("--output") + ".meta.json", "w").write(json.dumps(facts))
header = {"schema": "ds2prof-run/1", "preset": value("--preset"), "batch_size": int(value("--batch-size") or 4),
          "precision": "fp32", "device": "cpu", "device_name": "a processor", "torch_version": "2",
          "prepare_ns": None if profiler == "none" else 30, "start_ns": None if profiler == "none" else 4,
          "stop_ns": None if profiler == "none" else 900}
rows = [{"iteration": n, "wall_ns": 10**6 + 10**4 * n + (cost if start <= n < stop else 10**9)} for n in range(stop)]
open(log, "w").write("".join(json.dumps(row) + "\\n" for row in [header, *rows, {"stretch": {}}]))
"""


class FakeRun:
    """Runs that took what is said, and a note of which there were."""

    def __init__(self, *, fails=(), walls=100):
        self.begun = []
        self.fails = dict(fails)
        self.walls = walls

    def __call__(self, mode):
        self.begun.append(mode and mode.name)
        error = self.fails.get((mode and mode.name, self.begun.count(mode and mode.name)))
        if error is not None:
            raise error
        return Done(Timed({1: self.walls}, self.walls), {"preset": "tiny"}, Path("trace"))


def go(run, modes=(TORCH, NSYS), *, repeats=3):
    said = []
    found = measured(
        modes,
        run,
        repeats=repeats,
        describe=lambda done: {"of": done.facts["preset"]},
        before=lambda mode, repeat: said.append((mode and mode.name, repeat)),
    )
    return found, said


@given(st.lists(st.integers(), min_size=1, unique=True), st.integers(0, 100))
def test_an_order_that_moves_on_keeps_everybody_and_their_neighbours(items, by):
    turned = rotated(items, by)
    assert sorted(turned) == sorted(items)
    assert turned[0] == items[by % len(items)]
    assert rotated(turned, len(items) - by % len(items)) == tuple(items)


def test_each_repeat_runs_everything_once_in_an_order_that_moves_on():
    run = FakeRun()
    found, said = go(run)
    assert run.begun == [None, "torch", "nsys", "torch", "nsys", None, "nsys", None, "torch"]
    assert said == list(zip(run.begun, [0] * 3 + [1] * 3 + [2] * 3, strict=True))
    assert [len(each.runs) for each in (found.baseline, *found.modes)] == [3, 3, 3]
    assert found.modes[0].identity == {"of": "tiny"}
    assert found.facts == {"preset": "tiny"}


@pytest.mark.parametrize("error", [CaptureError("torch: full"), UsageError("torch: full")])
def test_a_mode_that_fails_once_is_left_out_with_its_reason(error):
    run = FakeRun(fails={("torch", 2): error})
    found, _ = go(run)
    assert run.begun.count("torch") == 2
    assert (found.modes[0].runs, found.modes[0].reason) == ((), "full")
    assert len(found.modes[1].runs) == 3


def test_a_run_without_a_profiler_that_fails_ends_it():
    with pytest.raises(CaptureError, match="broken"):
        go(FakeRun(fails={(None, 2): CaptureError("broken")}))


def test_a_signal_ends_it_whichever_mode_was_running():
    run = FakeRun(fails={("torch", 1): InterruptedCaptureError("x", signum=2)})
    with pytest.raises(InterruptedCaptureError):
        go(run)
    assert run.begun == [None, "torch"]


def test_what_is_counted_is_counted_in_a_run_of_its_own():
    run = FakeRun()
    assert counted(run, lambda path: Counts(operators={1: len(str(path))})).operators == {1: 5}
    assert run.begun == ["torch"]


def test_without_a_trace_nothing_is_counted_and_the_machine_is_warm_all_the_same():
    run = FakeRun(fails={("torch", 1): CaptureError("no torch")})
    found = counted(run, lambda _: pytest.fail("there is no trace"))
    assert (found.operators, found.launches) == (None, None)
    assert found.reason == "operators and launches were not counted: no torch"
    assert run.begun == ["torch", None]


def run_log(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def iteration(number, wall_ns=10):
    return {"iteration": number, "wall_ns": wall_ns}


def test_a_run_is_timed_by_the_iterations_of_its_window(tmp_path):
    header = {"schema": "x", "prepare_ns": 30, "start_ns": 4, "stop_ns": 900}
    path = run_log(tmp_path / "r", header, *(iteration(n, 10 + n) for n in range(5)), {"stretch": {"wall_ns": 1}})
    assert timed(path, Window(2, 4), run_ns=77) == Timed({2: 12, 3: 13}, 77, start_ns=34, stop_ns=900)


def test_what_a_program_does_not_note_is_unknown(tmp_path):
    path = run_log(tmp_path / "r", {"prepare_ns": 30, "start_ns": None, "stop_ns": "x"}, iteration(0))
    found = timed(path, Window(0, 1), run_ns=1)
    assert (found.start_ns, found.stop_ns) == (None, None)


@pytest.mark.parametrize("rows", [[], [iteration(1)], [iteration(1), iteration(2, 0)], [iteration(1), iteration(3)]])
def test_a_log_without_all_iterations_of_the_window_is_refused(rows, tmp_path):
    with pytest.raises(CaptureError, match="no times of the iterations 1 to 2; it has to take 3"):
        timed(run_log(tmp_path / "r", {}, *rows), Window(1, 3), run_ns=1)


@pytest.mark.parametrize("content", [None, "", "x", "3\n", "[]\n[]\n", '{}\n{"iteration": 1}\n', "{}\n7\n"])
def test_what_is_no_run_log_is_refused(content, tmp_path):
    path = tmp_path / "r"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CaptureError, match="wrote no log"):
        run_log_in(path)


def test_the_workplace_is_gone_afterwards_even_if_it_ends_badly(tmp_path):
    def fail():
        with workplace(tmp_path / "m") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "trace").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_between_two_runs_leaves_nothing(signum, code, tmp_path):
    def wait():
        with workplace(tmp_path):
            os.kill(os.getpid(), signum)
            time.sleep(5)

    with pytest.raises(InterruptedCaptureError, match="nothing was written") as caught:
        wait()
    assert caught.value.exit_code == code
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptureError, match="cannot be written to"), workplace(tmp_path / "file" / "m"):
        pytest.fail("there is no such folder")


@pytest.fixture
def training(tmp_path):
    script = tmp_path / "train_profiling.py"
    script.write_text(TRAINING)
    return [sys.executable, str(script), "--preset", "tiny", "--batch-size", "4"]


def runs_of(training, tmp_path, **environ):
    inside = tmp_path / "inside"
    inside.mkdir()
    window = Window(2, 5)
    return ProgramRuns(
        training_command(training, window=window),
        window,
        inside,
        tmp_path / "calibration",
        NO_GPU,
        environ={**os.environ, **environ},
        patience=QUICK,
    )


def test_a_run_without_a_profiler_takes_what_its_log_says(training, tmp_path):
    found = runs_of(training, tmp_path)(None)
    assert found.timed.walls_ns == {2: 1_020_000, 3: 1_030_000, 4: 1_040_000}
    assert (found.timed.start_ns, found.timed.stop_ns) == (None, None)
    assert found.timed.run_ns > 0
    assert (found.facts["preset"], found.captured) == ("tiny", None)


@pytest.mark.parametrize(("mode", "cost"), [(TORCH, 1000), (DETAIL, 5000)])
def test_a_run_under_a_profiler_takes_what_its_log_says(mode, cost, training, tmp_path):
    found = runs_of(training, tmp_path)(mode)
    assert found.timed.walls_ns[2] == 1_020_000 + cost
    assert (found.timed.start_ns, found.timed.stop_ns) == (34, 900)
    assert found.facts["tool_version"] == "2"
    assert found.captured is not None
    assert gzip.decompress(found.captured.read_bytes()) == b"trace"


def test_the_environment_cannot_move_the_window(training, tmp_path):
    runs = runs_of(training, tmp_path, DS2PROF_PROFILE_START="0", DS2PROF_PROFILE_STOP="1")
    assert list(runs(TORCH).timed.walls_ns) == [2, 3, 4]


@pytest.mark.parametrize(("mode", "kept"), [(None, "calibration_none.log"), (TORCH, "calibration_torch.log")])
def test_a_run_that_fails_leaves_its_output_beside_the_calibration(mode, kept, training, tmp_path):
    runs = runs_of(training, tmp_path, FAIL="--preset")
    with pytest.raises(CaptureError, match=r"exit code 3 \(out of luck\)") as caught:
        runs(mode)
    assert str(tmp_path / kept) in str(caught.value)
    assert "inside" not in str(caught.value)
    assert (tmp_path / kept).read_text() == "out of luck\n"


def test_a_run_that_fails_and_says_nothing_names_no_log_and_leaves_none(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    runs = ProgramRuns(("false",), Window(2, 5), inside, tmp_path / "calibration", NO_GPU, patience=QUICK)
    with pytest.raises(CaptureError) as caught:
        runs(None)
    assert str(caught.value) == "without a profiler, the program ended with exit code 1"
    assert list(tmp_path.iterdir()) == [inside]


def invoke(*words, environ=None):
    return CliRunner().invoke(command, [str(word) for word in words], env=environ, catch_exceptions=False)


def test_the_cost_that_was_put_in_comes_out_exactly(training, tmp_path):
    target = tmp_path / "m" / "calibration.json"
    words = ["torch", "torch-detail", "--repeats", "2", "--iterations", "3", "-o", target, "--format", "json"]
    result = invoke(*words, "--", *training)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == json.loads(target.read_text())
    assert [(row["mode"], row["per_iteration_ns"]["value"]) for row in found["modes"]] == [
        ("torch", 1000),
        ("torch-detail", 5000),
    ]
    assert found["modes"][0]["identity"]["tool_version"] == "2"
    assert (found["window"], found["batch_size"], found["repeats"]) == ({"start": 10, "stop": 13}, 4, 2)
    assert found["counts"]["operators"] is None
    assert "operators and launches were not counted" in found["counts"]["reason"]
    assert list(target.parent.iterdir()) == [target]
    assert "[7/7] repeat 2 of 2" in result.stderr


@pytest.mark.parametrize(
    ("mode", "size", "cost"),
    [("torch", "4", 1000), ("torch-detail", "4", None), ("torch", "8", None)],
)
def test_a_capture_beside_a_calibration_is_told_its_cost(mode, size, cost, training, tmp_path):
    target = tmp_path / "m" / "calibration.json"
    invoke("torch", "--repeats", "1", "--iterations", "2", "-o", target, "--", *training)
    runs = runs_of([*training[:-1], size], tmp_path)
    chosen = next(each for each in MODES if each.name == mode)
    program = (*runs.program, "--run-log", str(tmp_path / "log.jsonl"))
    output = target.parent / f"{mode}_bs{size}.json.gz"
    planned = plan(launcher("torch"), program, output=output, asked=Asked(detail=chosen.detail))
    with Path(os.devnull).open("wb") as nowhere:
        capture(planned, machine=usable(find_machine()), echo=Echo(nowhere, nowhere), patience=QUICK)
    told = (read_sidecar(output) or {})["calibrated_overhead_ns"]
    assert (told and told["per_iteration_ns"] and told["per_iteration_ns"]["value"]) == cost
    assert (told is None) is (mode == "torch-detail")


def test_the_warm_up_is_as_long_as_asked(training, tmp_path):
    target = tmp_path / "calibration.json"
    words = ["torch", "--repeats", "1", "--iterations", "2", "--warmup", "3", "-o", target, "--format", "json"]
    found = json.loads(invoke(*words, "--", *training).stdout)
    assert found["window"] == {"start": 3, "stop": 5}
    assert sorted(found["runs"][0]["walls_ns"]) == ["3", "4"]


def test_the_table_is_printed_and_can_be_printed_again(training, tmp_path):
    target = tmp_path / "calibration.json"
    result = invoke("torch", "--repeats", "1", "--iterations", "2", "-o", target, "--", *training)
    assert re.search(r"(?m)^torch +\+1\.000 us +- +\+0\.1 % +- +-$", result.stdout)
    assert invoke("--show", "-o", target).stdout == result.stdout


def test_the_folder_of_measurements_is_that_of_the_environment(training, tmp_path):
    environ = {"DS2PROF_MEASUREMENTS": str(tmp_path / "mine")}
    result = invoke("torch", "--repeats", "1", "--iterations", "1", "--", *training, environ=environ)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "mine" / "calibration.json").exists()


def test_a_mode_that_fails_is_a_row_with_its_reason(training, tmp_path):
    words = ["torch", "torch-detail", "--repeats", "1", "--iterations", "1", "-o", tmp_path / "calibration.json"]
    result = invoke(*words, "--", *training, environ={"FAIL": "--detail"})
    assert result.exit_code == 0, result.output
    assert "torch-detail: the program ended with exit code 3 (out of luck)" in result.stdout
    assert (tmp_path / "calibration_torch-detail.log").exists()


def test_a_calibration_that_is_there_is_not_replaced_unless_told(training, tmp_path):
    target = tmp_path / "calibration.json"
    target.write_text("precious")
    words = ["torch", "--repeats", "1", "--iterations", "1", "-o", target]
    with pytest.raises(ExistsError, match="--force"):
        invoke(*words, "--", *training)
    assert target.read_text() == "precious"
    assert invoke(*words, "--force", "--", *training).exit_code == 0
    assert json.loads(target.read_text())["schema"] == "ds2prof-calibration/1"


def test_without_a_calibration_there_is_nothing_to_show(tmp_path):
    with pytest.raises(ReadError, match="cannot be read"):
        invoke("--show", "-o", tmp_path / "calibration.json")


def test_when_training_fails_nothing_is_written_but_the_log(training, tmp_path):
    target = tmp_path / "m" / "calibration.json"
    with pytest.raises(CaptureError, match="without a profiler, the program ended with exit code 3"):
        invoke("torch", "--repeats", "1", "-o", target, "--", *training, environ={"FAIL": "--preset"})
    assert {path.name for path in target.parent.iterdir()} == {"calibration_none.log", "calibration_torch.log"}


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_and_nobody_behind(signum, code, training, tmp_path):
    asleep, target = tmp_path / "asleep", tmp_path / "m" / "calibration.json"
    words = [sys.executable, "-m", "ds2prof", "calibrate", "torch", "-o", str(target), "--", *training]
    environ = {**os.environ, "SLEEP": str(asleep), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not asleep.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.splitlines()[-1].endswith("ended it early; nothing was written")
    assert list(target.parent.iterdir()) == []
    assert not alive(str(training[1]))


def alive(word):
    """Whether a process that runs has that word in its command."""
    commands = (path for path in Path("/proc").glob("[0-9]*/cmdline"))
    found = []
    for path in commands:
        try:
            found.append(word.encode() in path.read_bytes().split(b"\0"))
        except OSError:
            continue
    return any(found)


def test_modes_come_first_and_a_command_behind_them():
    words = ("torch", "nsys", "torch", sys.executable, "mine.py", "torch")
    assert split(words) == ((TORCH, NSYS), (sys.executable, "mine.py", "torch"))
    assert split(()) == ((), ())


@pytest.mark.parametrize("words", [("torhc",), ("torch", "no-such-program", "mine.py")])
def test_what_is_neither_a_mode_nor_a_program_is_refused(words):
    with pytest.raises(UsageError, match=r"is neither a mode \(torch, torch-detail, nsys.*\) nor a program"):
        split(words)


def test_what_replays_has_no_cost_to_be_measured(tmp_path):
    chosen, skipped = possible((TORCH, Mode("nsight", "nsight")), NO_GPU, program=("true",), folder=tmp_path)
    assert chosen == (TORCH,)
    assert (skipped[0].mode, skipped[0].reason[:24]) == ("nsight", "not defined under replay")
    with pytest.raises(CaptureError, match="nothing to measure: nsight: not defined under replay"):
        possible((Mode("nsight", "nsight"),), NO_GPU, program=("true",), folder=tmp_path)


def test_without_names_every_mode_is_measured_or_has_a_reason(tmp_path):
    chosen, skipped = possible((), Machine(cpu="a processor"), program=("true",), folder=tmp_path)
    assert {mode.name for mode in chosen} | {each.mode for each in skipped} == {mode.name for mode in MODES}
    assert TORCH in chosen
    assert all(each.reason for each in skipped)


def test_every_launcher_is_a_mode():
    assert {mode.launcher for mode in MODES} == set(LAUNCHERS)


@pytest.mark.parametrize(
    "word", ["--profiler", "--output=x", "--profile-start", "--run-log", "--detail", "--iterations", "--window"]
)
def test_options_that_are_decided_here_are_refused_in_the_command(word, training, tmp_path):
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        invoke("torch", "-o", tmp_path / "calibration.json", "--", *training, word, "1")
    assert not (tmp_path / "calibration.json").exists()


@pytest.mark.parametrize("option", ["--batch-size", "--preset"])
def test_a_command_says_its_workload_itself(option, training, tmp_path):
    with pytest.raises(UsageError, match=f"{option}: stands behind --"):
        invoke("torch", option, "4", "-o", tmp_path / "calibration.json", "--", *training)


@pytest.mark.parametrize(("gpu", "preset"), [(False, "tiny"), (True, "tbd")])
def test_the_training_that_is_run_follows_the_machine(gpu, preset):
    machine = NEW if gpu else NO_GPU
    found = calibrate.timed_program((), machine, batch_size=None, preset=None, window=Window(10, 30))
    assert found[2:] == ("--preset", preset, "--batch-size", "4", "--profile-start", "10", "--profile-stop", "30")


def test_a_torch_built_for_the_cpu_uses_no_gpu(monkeypatch):
    monkeypatch.setattr(calibrate, "package_version", lambda _: "2.13.0+cpu")
    assert calibrate.usable(NEW).gpus == ()
    monkeypatch.setattr(calibrate, "package_version", lambda _: "2.13.0+cu130")
    assert calibrate.usable(NEW) == NEW


def gpu_trace(path, *, calls=((100.5, 1), (105.25, 2), (210, 3), (230, 4)), iterations=((7, 100, 90), (8, 200, 100))):
    """A trace as Kineto writes it: operators on two threads, calls, and what they gave the device to do."""
    events = [
        *(
            event("user_annotation", f"ds2prof:iteration:{number}", start, dur, pid=50, tid=51)
            for number, start, dur in iterations
        ),
        event("user_annotation", "ds2prof:phase:forward", 100, 500, pid=50, tid=51),
        *(op(ts=ts, dur=1.5, **{"External id": at}) for at, ts in enumerate((99.999, 100, 150, 195, 299.875, 300))),
        *(
            event("cuda_runtime", "cudaLaunchKernel", ts, 2, pid=50, tid=52, args={"correlation": number})
            for ts, number in calls
        ),
        event("cuda_runtime", "cudaEventQuery", 160, 2, pid=50, tid=52, args={"correlation": 9}),
        *(kernel(ts=400 + at, correlation=number) for at, number in enumerate((1, 1, 2))),
        event("gpu_memcpy", "Memcpy HtoD", 500, 2, args={"device": 0, "stream": 7, "correlation": 3, "bytes": 4}),
    ]
    with gzip.open(path, "wt") as stream:
        json.dump({"schemaVersion": 1, "traceEvents": events}, stream)
    return path


def test_what_an_iteration_has_is_counted_the_same_with_the_parser_and_without(tmp_path):
    pytest.importorskip("msgspec")
    trace = gpu_trace(tmp_path / "torch.json.gz")
    found = calibrate.counts_in(trace)
    assert found == Counts(operators={7: 2, 8: 1}, launches={7: 2, 8: 1}, reason=None)
    assert counted_plainly(trace) == found


def test_without_the_parsers_package_operators_are_counted_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert calibrate.counts_in(gpu_trace(tmp_path / "torch.json.gz")).operators == {7: 2, 8: 1}


@pytest.mark.parametrize(
    ("without", "reason"),
    [({"calls": ()}, "the trace has no launches"), ({"iterations": ()}, None)],
)
def test_what_a_trace_lacks_is_not_counted(without, reason, tmp_path):
    trace = gpu_trace(tmp_path / "torch.json.gz", **without)
    for found in (calibrate.counts_in(trace), counted_plainly(trace)):
        assert found.launches is None
        assert found.reason == reason or (reason is None and found.reason)


@pytest.mark.parametrize(
    "content",
    [b"x", gzip.compress(b"{"), gzip.compress(b"[]"), gzip.compress(b"{}")[:-9]],
    ids=["text", "cut", "list", "short"],
)
def test_a_trace_that_cannot_be_read_is_no_reason_to_stop(content, tmp_path):
    trace = tmp_path / "torch.json.gz"
    trace.write_bytes(content)
    for found in (calibrate.counts_in(trace), counted_plainly(trace)):
        assert (found.operators, found.launches) == (None, None)
        assert "operators and launches were not counted" in found.reason


def test_a_trace_that_is_too_long_for_memory_is_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration_counts, "MAX_TRACE_BYTES", 100)
    assert "too long" in counted_plainly(gpu_trace(tmp_path / "torch.json.gz")).reason


def test_progress_estimates_what_is_left(capsys):
    progress = calibrate.Progress(4, 2, started_s=time.monotonic() - 100)
    progress.step("warms up")
    progress.step("torch", 1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "[1/4] warms up"
    assert second.startswith("[2/4] repeat 2 of 2: torch, about 5 min left")
