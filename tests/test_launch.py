"""Captures with stand-ins for NVIDIA's tools: scripts that behave as the real ones do, without a GPU."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds2prof.capture.injection import work_in
from ds2prof.capture.job import Plan
from ds2prof.capture.launchers import Launcher, launcher
from ds2prof.capture.processes import Patience, handling, run
from ds2prof.capture.provenance import DEFAULT_PRECISION
from ds2prof.counters import core_metrics
from ds2prof.errors import CaptureError, ExistsError, UsageError
from ds2prof.launch import Captured, Echo, capture, command_line, plan
from ds2prof.machine import Machine
from ds2prof.measurements import SIDECAR_SCHEMA, read_sidecar, temporary_path
from tests.launch_support import (
    H200,
    NEW,
    NO_GPU,
    OLD,
    QUICK,
    SMI,
    TOOLS,
    TRAINING,
    executable,
    stand_ins,
)

ODD_WORDS = ["two words", "100%", "it's", '"quoted"', "a,b", "$HOME", "é", "*", "", "back\\slash"]


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH begins with the stand-ins."""
    return stand_ins(tmp_path / "stand ins")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder for measurements, with a space and a percent sign in its name."""
    return tmp_path / "my 100% measurements"


def captured(
    name: str,
    program: list[str],
    *,
    path: Path,
    environ: dict[str, str],
    machine: Machine = OLD,
    force: bool = False,
    declared: Launcher | None = None,
) -> tuple[Captured, str]:
    """What a capture left, and what the program printed meanwhile."""
    shown = BytesIO()
    planned = plan(declared or launcher(name), program, output=path)
    echo = Echo(shown, shown)
    left = capture(planned, machine=machine, echo=echo, environ=environ, force=force, patience=QUICK)
    return left, shown.getvalue().decode()


def received(environ: dict[str, str]) -> list[str]:
    return Path(environ["FAKE_ARGV"]).read_bytes().decode().split("\0")[:-1]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.mark.parametrize("name", ["nsys", "nvprof"])
def test_the_work_of_the_window_that_the_program_tells_is_in_the_sidecar(
    name: str, tools: dict[str, str], output: Path, tmp_path: Path
) -> None:
    path = output / f"mine.{launcher(name).extension}"
    script = tmp_path / "told.sh"
    script.write_text("""echo 'work 77 {"iterations": 2, "model_flop": 7}' >>"$DS2PROF_STATUS" """)
    captured(name, ["bash", str(script)], path=path, environ=tools)
    facts = read_sidecar(path)
    assert facts is not None
    assert facts["work"] == {"iterations": 2, "model_flop": 7}


@pytest.mark.parametrize("told", ["work 1 {}\nwork 2 {}\n", "work 1 {\n", "work 1\n", "work 1 [2]\n", "step 1 2\n"])
def test_work_that_is_of_several_processes_or_not_whole_is_not_taken(told: str, tmp_path: Path) -> None:
    (tmp_path / "status").write_text(told)
    assert work_in(tmp_path / "status") == {}
    assert work_in(tmp_path / "none") == {}


def test_work_is_found_behind_a_long_list_of_steps(tmp_path: Path) -> None:
    steps = "".join(f"step 1 {number}\n" for number in range(150_000))
    (tmp_path / "status").write_text(steps + 'work 1 {"samples": 3}\n')
    assert work_in(tmp_path / "status") == {"work": {"samples": 3}}


@pytest.mark.parametrize(("name", "extension"), [("nsight", "csv"), ("nsys", "nsys-rep"), ("nvprof", "nvvp")])
def test_a_capture_leaves_the_measurement_and_its_sidecar_and_nothing_else(
    name: str, extension: str, tools: dict[str, str], output: Path
) -> None:
    path = output / f"mine.{extension}"
    left, shown = captured(name, ["echo", "hello"], path=path, environ=tools)
    assert left.paths == (path,)
    assert names(output) == {path.name, f"{path.name}.meta.json"}
    assert "hello" in shown


def test_the_sidecar_says_how_the_measurement_came_to_be(tools: dict[str, str], output: Path, tmp_path: Path) -> None:
    script = tmp_path / "train_profiling.py"
    script.write_text(TRAINING)
    program = [sys.executable, str(script), "--preset", "tbd", "--batch-size", "8", "--profile-start", "10"]
    path = output / "nsight_bs8.csv"
    captured("nsight", [*program, "--profile-stop", "11"], path=path, environ=tools)
    facts = read_sidecar(path)
    assert facts is not None
    assert facts["schema"] == SIDECAR_SCHEMA
    assert facts["tool"] == "ncu"
    assert facts["tool_version"] == "2022.3.0.0"
    assert shlex.split(facts["command"])[-2:] == ["--profiler", "external"]
    assert str(path) in facts["command"]
    assert (facts["preset"], facts["batch_size"], facts["precision"]) == ("tbd", 8, DEFAULT_PRECISION)
    assert facts["window"] == {"start": 10, "stop": 11}
    assert facts["devices"][0]["name"] == "Tesla V100-SXM2-16GB"
    assert facts["versions"]["driver"] == "470.1"
    assert set(facts["clocks"]) == {"before", "after"}
    assert facts["started_utc"].endswith("Z")
    assert facts["dur_ns"] > 0
    assert facts["exit_code"] == 0
    assert facts["tag"] is None
    assert "commit" in facts


def test_facts_that_only_the_program_can_know_come_from_its_own_sidecar(output: Path, tmp_path: Path) -> None:
    script = tmp_path / "train_profiling.py"
    script.write_text(TRAINING)
    path = output / "torch_bs4.json.gz"
    program = [sys.executable, str(script), "--batch-size", "4"]
    captured("torch", program, path=path, environ=dict(os.environ), machine=NO_GPU)
    facts = read_sidecar(path)
    assert facts is not None
    assert (facts["tool"], facts["precision"], facts["versions"]["cudnn"]) == ("torch.profiler", "bf16", "9")
    assert facts["exit_code"] == 0
    assert names(output) == {path.name, f"{path.name}.meta.json"}


@pytest.mark.parametrize(("name", "extension"), [("nsight", "csv"), ("nsys", "nsys-rep"), ("nvprof", "nvvp")])
def test_the_printed_command_is_what_the_tool_receives(
    name: str, extension: str, tools: dict[str, str], output: Path
) -> None:
    path = output / f"mine.{extension}"
    planned = plan(launcher(name), ["true", *ODD_WORDS], output=path)
    printed = shlex.split(command_line(planned, machine=OLD, environ=tools))
    capture(planned, machine=OLD, echo=Echo(BytesIO(), BytesIO()), environ=tools, patience=QUICK)
    tool = next(at for at, word in enumerate(printed) if Path(word).name in TOOLS)
    own = [word.replace(temporary_path(Path("mine.x")).name[:-1], "mine.") for word in received(tools)]
    assert own == printed[tool + 1 :]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_a_pasted_command_passes_every_argument_on_unchanged(
    words: list[str], tools: dict[str, str], output: Path
) -> None:
    output.mkdir(exist_ok=True)
    planned = plan(launcher("nsight"), ["true", *words], output=output / "pasted.csv")
    line = command_line(planned, machine=OLD, environ=tools)
    subprocess.run(["bash", "-c", line], env=tools, check=True)
    own = received(tools)
    assert own[own.index("true") + 1 :] == words


def test_nsight_asks_for_the_pipes_of_the_chip_that_is_here(tools: dict[str, str], output: Path) -> None:
    captured("nsight", ["true"], path=output / "a.csv", environ=tools, machine=NEW)
    own = received(tools)
    assert own[own.index("--metrics") + 1].split(",") == list(core_metrics("GH100"))


def test_nsight_asks_an_unknown_chip_for_what_all_have(tools: dict[str, str], output: Path) -> None:
    unknown = replace(NEW, gpus=(replace(H200, name="NVIDIA Z1", compute_capability="99.0"),))
    captured("nsight", ["true"], path=output / "a.csv", environ=tools, machine=unknown)
    own = received(tools)
    assert own[own.index("--metrics") + 1].split(",") == list(core_metrics(None))


def test_the_tool_of_old_gets_its_own_spelling(tools: dict[str, str], output: Path) -> None:
    old = replace(launcher("nsight"), tools=("nv-nsight-cu-cli",))
    captured("nsight", ["true"], path=output / "a.csv", environ=tools, declared=old)
    assert "--units" in received(tools)
    assert "--print-units" not in received(tools)


@pytest.mark.parametrize(("name", "extension"), [("nsight", "csv"), ("nsys", "nsys-rep"), ("nvprof", "nvvp")])
def test_ending_well_without_data_is_an_error_that_says_why(
    name: str, extension: str, tools: dict[str, str], output: Path
) -> None:
    path = output / f"mine.{extension}"
    environ = {**tools, "FAKE": "empty", "FAKE_PROCESSES": ""}
    with pytest.raises(CaptureError, match=r"wrote no data: (the program used no GPU|there was nothing)") as error:
        captured(name, ["echo", "hello"], path=path, environ=environ)
    assert "\n" not in str(error.value)
    assert names(output) == {f"{path.name}.log"}
    assert "hello" in (output / f"{path.name}.log").read_text()


@pytest.mark.parametrize(
    ("name", "extension", "who"),
    [("nsight", "csv", "the program"), ("nsys", "nsys-rep", "nsys or the program"), ("nvprof", "nvvp", "the program")],
)
def test_a_program_that_fails_is_named_with_its_own_code(
    name: str, extension: str, who: str, tools: dict[str, str], output: Path
) -> None:
    path = output / f"mine.{extension}"
    with pytest.raises(CaptureError, match=rf"{name}: {who} ended with exit code 3 \(out of luck\)") as error:
        captured(name, ["bash", "-c", "echo out of luck; exit 3"], path=path, environ=tools)
    assert error.value.exit_code == 1
    assert names(output) == {f"{path.name}.log", f"{path.name}.meta.json"}
    facts = json.loads((output / f"{path.name}.meta.json").read_text())
    assert facts["exit_code"] == 3


def test_a_program_that_a_signal_ended_is_named_with_the_signal(tools: dict[str, str], output: Path) -> None:
    with pytest.raises(CaptureError, match=r"was ended by SIGKILL \(exit code 137\)"):
        captured("nsight", ["bash", "-c", "kill -KILL $$"], path=output / "a.csv", environ=tools)


def test_forbidden_counters_are_explained_with_what_to_do(tools: dict[str, str], output: Path) -> None:
    with pytest.raises(CaptureError, match="NVreg_RestrictProfilingToAdminUsers=0"):
        captured("nsight", ["true"], path=output / "a.csv", environ={**tools, "FAKE": "forbidden"})
    assert "ERR_NVGPUCTRPERM" in (output / "a.csv.log").read_text()


def test_a_missing_tool_is_one_line_and_leaves_nothing(output: Path, tmp_path: Path) -> None:
    nowhere = replace(launcher("nsight"), hides_in=())
    with pytest.raises(CaptureError, match="nsight: ncu or nv-nsight-cu-cli is not on this machine; install") as error:
        captured("nsight", ["true"], path=output / "a.csv", environ={"PATH": str(tmp_path)}, declared=nowhere)
    assert "\n" not in str(error.value)
    assert not output.exists()


def test_a_missing_gpu_is_one_line_and_leaves_nothing(tools: dict[str, str], output: Path) -> None:
    with pytest.raises(CaptureError, match="nsight: no NVIDIA GPU is visible here"):
        captured("nsight", ["true"], path=output / "a.csv", environ=tools, machine=NO_GPU)
    assert not output.exists()


def test_a_missing_program_is_one_line_and_leaves_nothing(tools: dict[str, str], output: Path) -> None:
    with pytest.raises(CaptureError, match="no-such-program: no such program"):
        captured("nsight", ["no-such-program"], path=output / "a.csv", environ=tools)
    assert not output.exists()


def test_a_folder_that_cannot_be_made_is_one_line(tools: dict[str, str], tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("")
    with pytest.raises(CaptureError, match="file/sub: cannot be written to"):
        captured("nsight", ["true"], path=tmp_path / "file" / "sub" / "a.csv", environ=tools)


def test_an_existing_measurement_is_refused_before_anything_starts(tools: dict[str, str], output: Path) -> None:
    output.mkdir()
    path = output / "a.csv"
    path.write_text("precious")
    with pytest.raises(ExistsError, match="--force"):
        captured("nsight", ["true"], path=path, environ=tools)
    assert path.read_text() == "precious"
    assert not Path(tools["FAKE_ARGV"]).exists()


def test_force_replaces_a_measurement_and_its_sidecar(tools: dict[str, str], output: Path) -> None:
    path = output / "a.csv"
    captured("nsight", ["echo", "first"], path=path, environ=tools)
    captured("nsight", ["echo", "second"], path=path, environ=tools, force=True)
    facts = read_sidecar(path)
    assert facts is not None
    assert "second" in facts["command"]


def test_a_forced_capture_that_fails_leaves_the_old_measurement_alone(tools: dict[str, str], output: Path) -> None:
    path = output / "a.csv"
    captured("nsight", ["true"], path=path, environ=tools)
    before = path.read_bytes(), read_sidecar(path)
    with pytest.raises(CaptureError):
        captured("nsight", ["false"], path=path, environ=tools, force=True)
    assert (path.read_bytes(), read_sidecar(path)) == before
    assert names(output) == {"a.csv", "a.csv.meta.json", "a.csv.log"}


def test_a_success_takes_the_log_of_an_earlier_failure_away(tools: dict[str, str], output: Path) -> None:
    path = output / "a.csv"
    with pytest.raises(CaptureError):
        captured("nsight", ["false"], path=path, environ=tools)
    captured("nsight", ["true"], path=path, environ=tools)
    assert names(output) == {"a.csv", "a.csv.meta.json"}


def test_several_processes_under_nvprof_give_a_file_each(tools: dict[str, str], output: Path) -> None:
    environ = {**tools, "FAKE_PROCESSES": "77 78"}
    left, _ = captured("nvprof", ["true"], path=output / "profile_1_bs4.nvvp", environ=environ)
    assert [path.name for path in left.paths] == ["profile_1_bs4_p77.nvvp", "profile_1_bs4_p78.nvvp"]
    assert all(read_sidecar(path) for path in left.paths)


def with_importer(folder: Path, text: str) -> Launcher:
    nsys = launcher("nsys")
    assert nsys.importer is not None
    folder.mkdir()
    executable(folder / nsys.importer.tool, f"#!/usr/bin/env bash\n{text}\n")
    return replace(nsys, importer=replace(nsys.importer, hides_in=(str(folder),)))


def test_what_nsys_leaves_unimported_is_imported(tools: dict[str, str], output: Path, tmp_path: Path) -> None:
    declared = with_importer(tmp_path / "host", 'cat "$2" >"$4"')
    path = output / "nsys_bs4.nsys-rep"
    captured("nsys", ["true"], path=path, environ={**tools, "FAKE": "raw"}, declared=declared)
    assert path.read_text() == "raw\n"
    assert names(output) == {path.name, f"{path.name}.meta.json"}


@pytest.mark.parametrize("importer", ["exit 1", None])
def test_what_cannot_be_imported_is_kept_with_the_command_that_does_it(
    importer: str | None, tools: dict[str, str], output: Path, tmp_path: Path
) -> None:
    declared = with_importer(tmp_path / "host", importer or "")
    if importer is None:
        next((tmp_path / "host").iterdir()).unlink()
    path = output / "nsys_bs4.nsys-rep"
    with pytest.raises(CaptureError, match=r"QdstrmImporter -i nsys_bs4.qdstrm -o nsys_bs4.nsys-rep"):
        captured("nsys", ["true"], path=path, environ={**tools, "FAKE": "raw"}, declared=declared)
    assert (output / "nsys_bs4.qdstrm").read_text() == "raw\n"
    assert not path.exists()


def test_a_process_left_running_is_ended_and_named(tools: dict[str, str], output: Path) -> None:
    program = ["bash", "-c", 'setsid sleep 300 & echo $! >"$1"; exit', "_", str(output.with_suffix(".pid"))]
    left, _ = captured("nsight", program, path=output / "a.csv", environ=tools)
    pid = output.with_suffix(".pid").read_text().strip()
    assert left.leftovers == (f"sleep ({pid})",)
    assert not alive(int(pid))


def test_a_process_that_ignores_sigterm_is_ended_all_the_same(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; echo $BASHPID >$1; while :; do sleep 0.05; done"
    program = ["bash", "-c", f"setsid bash -c '{stubborn.replace(chr(39), chr(34))}' _ $1 & sleep 0.3", "_"]
    patience = Patience(after_end_s=0.1, after_term_s=0.3)
    with (tmp_path / "log").open("wb") as log:
        finished = run(
            [*program, str(tmp_path / "pid")],
            environ=os.environ,
            log=log,
            stdout=BytesIO(),
            stderr=BytesIO(),
            patience=patience,
        )
    assert len(finished.leftovers) >= 1
    assert not alive(int((tmp_path / "pid").read_text()))


def test_output_that_nobody_reads_any_more_goes_to_the_log_all_the_same(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as gone, (tmp_path / "log").open("wb") as log:
        finished = run(["echo", "hello"], environ=os.environ, log=log, stdout=gone, stderr=gone, patience=QUICK)
    assert finished.exit_code == 0
    assert (tmp_path / "log").read_text() == "hello\n"


@pytest.mark.parametrize(("disposition", "heard"), [(signal.SIG_DFL, [signal.SIGHUP]), (signal.SIG_IGN, [])])
def test_a_hangup_is_heard_unless_it_is_ignored(disposition: signal.Handlers, heard: list[int]) -> None:
    received: list[int] = []
    former = signal.signal(signal.SIGHUP, disposition)
    try:
        with handling(lambda signum, _frame: received.append(signum)):
            os.kill(os.getpid(), signal.SIGHUP)
        assert received == heard
        assert signal.getsignal(signal.SIGHUP) == disposition
    finally:
        signal.signal(signal.SIGHUP, former)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def start(tools: dict[str, str], root: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``ds2prof`` in a process of its own, where the stand-ins and one GPU are to be found."""
    folder = Path(tools["PATH"].split(":")[0])
    executable(folder / "nvidia-smi", SMI)
    started: list[subprocess.Popen[str]] = []

    def starter(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ds2prof", *arguments]
        environ = {**tools, "PYTHONPATH": str(root)}
        environ.pop("CUDA_VISIBLE_DEVICES", None)
        started.append(
            subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        return started[-1]

    yield starter
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_capture_leaves_a_log_no_measurement_and_no_process(
    signum: int, code: int, start: Callable[..., subprocess.Popen[str]], output: Path, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    program = "trap '' INT; setsid sleep 300 & echo $! >$1.new; trap - INT; mv $1.new $1; sleep 300"
    process = start("run", "nsight", "-o", str(output / "a.csv"), "--", "bash", "-c", program, "_", str(pids))
    wait_for(pids.exists)
    process.send_signal(signum)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"{signal.Signals(signum).name} ended it early; no measurement was written" in said
    assert names(output) == {"a.csv.log"}
    assert not alive(int(pids.read_text()))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "it never came to that"
        time.sleep(0.02)


def test_the_command_streams_the_program_and_says_what_it_wrote(
    start: Callable[..., subprocess.Popen[str]], output: Path
) -> None:
    process = start("run", "nsight", "-o", str(output / "a.csv"), "--", "echo", "hello")
    printed, said = process.communicate(timeout=30)
    assert (process.returncode, printed) == (0, "hello\n")
    assert str(output / "a.csv") in said
    facts = read_sidecar(output / "a.csv")
    assert facts is not None
    assert facts["clocks"]["before"] == facts["clocks"]["after"]
    assert facts["clocks"]["before"][0]["sm_clock_hz"] == 1_980_000_000
    assert facts["clocks"]["before"][0]["max_sm_clock_hz"] is None


def test_a_dry_run_prints_the_command_and_writes_nothing(
    start: Callable[..., subprocess.Popen[str]], output: Path
) -> None:
    process = start("run", "nsight", "--dry-run", "-o", str(output / "a.csv"), "--", "echo", "two words")
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert shlex.split(printed)[-2:] == ["echo", "two words"]
    assert not output.exists()


def test_auto_says_what_it_takes_why_and_what_to_try_next(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    path = str(tmp_path / "torch_bs4.json.gz")
    process = start("run", "auto", "--dry-run", "-o", path, "--", "python", "train_profiling.py", "--batch-size", "4")
    printed, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said.startswith("auto: torch: ")
    assert shlex.split(printed)[-2:] == ["--output", path]


def test_a_command_without_a_batch_size_needs_a_name_for_its_file(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start("run", "nsys", "--", "python", "train_profiling.py")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "-o FILE.nsys-rep is needed" in said


def test_options_that_contradict_the_profiler_are_refused() -> None:
    with pytest.raises(UsageError, match="--profiler none: contradicts nsight"):
        plan(launcher("nsight"), ["python", "train_profiling.py", "--profiler", "none"], output=Path("a.csv"))


def test_a_file_name_that_does_not_suit_the_profiler_is_refused() -> None:
    with pytest.raises(UsageError, match=r"nsys writes \.nsys-rep files"):
        plan(launcher("nsys"), ["true"], output=Path("a.csv"))


def test_a_plan_for_another_program_adds_nothing_to_it() -> None:
    planned = plan(launcher("nsight"), ["python", "other.py"], output=Path("a.csv"))
    assert planned == Plan(launcher("nsight"), ("python", "other.py"), Path("a.csv"))
