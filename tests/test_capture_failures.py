"""Whole or nothing: for each way in which a capture fails, what is said, what is left on the disk, and who lives on.

The profilers are stand-ins (``tests/bench/tools``) that behave as NVIDIA's do in each of these failures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ds2prof.capture import delivery
from ds2prof.capture.job import Asked
from ds2prof.capture.launchers import Launcher, launcher
from ds2prof.capture.opening import opening
from ds2prof.measurements import read_sidecar
from tests.bench.support import EXTENSIONS, NVIDIA, QUICK, TOOLS, Bench, Left, bench_in
from tests.launch_support import executable
from tests.test_checks import a_python


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = bench_in(tmp_path)
    yield made
    made.clean_up()


def nothing_but_the_log(left: Left, name: str, *also: str) -> None:
    """No measurement, no temporary file, no process; one line; the log."""
    assert left.code == 1, left.message
    assert "\n" not in left.message
    assert left.files == {f"mine.{EXTENSIONS[name]}.log", *also}
    assert left.temporary == set()
    assert left.orphans == []


def whole(left: Left, name: str) -> None:
    assert (left.code, left.message) == (0, "")
    assert left.files == {f"mine.{EXTENSIONS[name]}", f"mine.{EXTENSIONS[name]}.meta.json"}
    assert left.temporary == set()
    assert left.orphans == []


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_capture_that_succeeds_leaves_the_measurement_its_sidecar_and_nothing_else(name: str, bench: Bench) -> None:
    whole(bench.capture(name, bench.training()), name)


@pytest.mark.parametrize("name", EXTENSIONS)
@pytest.mark.parametrize(
    ("what", "said", "code"),
    [
        ("exit", "ended with exit code 3", 3),
        ("raise", "the loss is nan", 1),
        ("vanish", "ended with exit code 4", 4),
        ("segfault", "SIGSEGV", 139),
        ("out of memory", "SIGKILL", 137),
    ],
)
def test_a_crash_of_the_program_is_named_and_leaves_its_exit_code(
    name: str, what: str, said: str, code: int, bench: Bench
) -> None:
    left = bench.capture(name, bench.training(what))
    nothing_but_the_log(left, name, f"mine.{EXTENSIONS[name]}.meta.json")
    assert said in left.message
    assert "training" in (bench.measurements / f"mine.{EXTENSIONS[name]}.log").read_text()
    facts = json.loads((bench.measurements / f"mine.{EXTENSIONS[name]}.meta.json").read_text())
    by_signal = code - 128 if name == "nsight" and code > 128 else code  # ncu tells it so
    assert facts["exit_code"] == by_signal


@pytest.mark.parametrize("name", NVIDIA)
@pytest.mark.parametrize(("fake", "said"), [("crash", "SIGSEGV"), ("killed", "SIGKILL")])
def test_a_crash_of_the_profiler_leaves_no_half_file(name: str, fake: str, said: str, bench: Bench) -> None:
    left = bench.capture(name, ["true"], fake)
    nothing_but_the_log(left, name, f"mine.{EXTENSIONS[name]}.meta.json")
    assert said in left.message


@pytest.mark.parametrize("name", ["nsight", "smi"])
def test_where_nothing_was_printed_the_log_says_so(name: str, bench: Bench) -> None:
    left = bench.capture(name, ["bash", "-c", "kill -KILL $$"] if name == "smi" else ["true"], "killed")
    assert left.code == 1
    log = (bench.measurements / f"mine.{EXTENSIONS[name]}.log").read_text()
    assert log == "[ds2prof: neither the program nor the profiler printed anything]\n"


@pytest.mark.parametrize("name", NVIDIA)
def test_a_profiler_that_does_not_end_after_the_program_is_ended(name: str, bench: Bench) -> None:
    left = bench.capture(name, ["true"], "hang")
    nothing_but_the_log(left, name, f"mine.{EXTENSIONS[name]}.meta.json")
    assert "it did not end after the program had, wrote nothing more and was ended" in left.message


@pytest.mark.parametrize("name", NVIDIA)
def test_a_program_that_takes_longer_than_a_profiler_may_idle_is_waited_for(name: str, bench: Bench) -> None:
    patience = replace(QUICK, after_program_s=0.3)
    whole(bench.capture(name, ["sleep", "1"], patience=patience), name)


@pytest.mark.parametrize("name", NVIDIA)
def test_an_agent_left_spinning_that_ignores_sigterm_is_ended_and_named(name: str, bench: Bench) -> None:
    left = bench.capture(name, ["true"], "agent")
    whole(left, name)
    assert left.captured is not None
    assert any(each.startswith("bash (") for each in left.captured.leftovers)


@pytest.mark.parametrize("name", NVIDIA)
def test_a_program_that_closes_its_output_and_goes_to_the_background_is_ended(name: str, bench: Bench) -> None:
    left = bench.capture(name, bench.training("detach"))
    whole(left, name)
    assert left.captured is not None
    assert len(left.captured.leftovers) == 1


@pytest.mark.parametrize("name", NVIDIA)
@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("all", "(used no GPU|nothing to record)"),
        ("api", "cudaProfilerStart"),
        ("3:5", "the window 3:5 never opened"),
        ("nvtx:step@mine", "no range nvtx:step@mine was seen"),
    ],
)
def test_a_profiler_that_ends_well_without_data_is_explained_by_what_was_to_open_the_window(
    name: str, window: str, said: str, bench: Bench
) -> None:
    if name == "nvprof" and window.startswith("nvtx"):
        return  # refused: it cannot be opened so
    left = bench.capture(name, ["echo", "hello"], "empty", asked=Asked(opening=opening(window)))
    nothing_but_the_log(left, name)
    assert re.search(f"it ended well but wrote no data: .*{said}", left.message)
    assert "hello" in (bench.measurements / f"mine.{EXTENSIONS[name]}.log").read_text()


@pytest.mark.parametrize(("name", "fake"), [("nsight", "nothing"), ("nsys", "zero")])
def test_an_empty_file_is_no_data(name: str, fake: str, bench: Bench) -> None:
    left = bench.capture(name, ["true"], fake)
    nothing_but_the_log(left, name)
    assert "wrote no data" in left.message


@pytest.mark.parametrize(
    ("name", "said"), [("nsight", "breaks off in the middle of a line"), ("nvprof", "its journal")]
)
def test_a_file_that_is_cut_short_does_not_count_though_all_ended_well(name: str, said: str, bench: Bench) -> None:
    left = bench.capture(name, ["true"], "cut")
    nothing_but_the_log(left, name)
    assert said in left.message


def test_a_report_that_is_cut_short_does_not_count(bench: Bench) -> None:
    path = bench.measurements / "mine.ncu-rep"
    left = bench.capture("nsight", ["true"], "cut", path=path)
    assert left.code == 1
    assert "is cut short" in left.message
    assert left.files == {"mine.ncu-rep.log"}


def test_a_whole_report_counts(bench: Bench) -> None:
    left = bench.capture("nsight", ["true"], path=bench.measurements / "mine.ncu-rep")
    assert left.files == {"mine.ncu-rep", "mine.ncu-rep.meta.json"}


@pytest.mark.parametrize(
    ("name", "fake", "said"),
    [
        ("nsight", "forbidden", "NVreg_RestrictProfilingToAdminUsers=0"),
        ("nsight", "forbidden-printed", "NVreg_RestrictProfilingToAdminUsers=0"),
        ("nsight", "forbidden-vgpu", "virtual GPU"),
        ("nsight", "metric", "lacks a metric"),
        ("nsight", "unsupported", "does not know this GPU"),
        ("nsight", "driver", "driver is too old"),
        ("nsight", "busy", "dcgmi profile --pause"),
        ("nsight", "lock", "TMPDIR"),
        ("nsys", "lost", "lost its own agent"),
        ("nvprof", "internal", "failed within"),
        ("nvprof", "profiling", "failed within"),
        ("nvprof", "forbidden", "administrators"),
    ],
)
def test_what_a_tool_says_of_its_failure_is_explained(name: str, fake: str, said: str, bench: Bench) -> None:
    left = bench.capture(name, ["true"], fake)
    also = set() if fake in ("forbidden", "unsupported") else {f"mine.{EXTENSIONS[name]}.meta.json"}
    nothing_but_the_log(left, name, *also)
    assert said in left.message
    said_by_tool = {"nsight": "==ERROR==", "nsys": "Connection", "nvprof": "=="}[name]
    assert said_by_tool in (bench.measurements / f"mine.{EXTENSIONS[name]}.log").read_text()


@pytest.mark.parametrize("name", NVIDIA)
def test_an_option_that_this_version_does_not_know_is_named_as_the_reason(name: str, bench: Bench) -> None:
    words = ("--tool-of-tomorrow=1",) if name == "nsys" else ("--tool-of-tomorrow", "1")
    left = bench.capture(name, ["true"], "old", asked=Asked(options=words))
    nothing_but_the_log(left, name, f"mine.{EXTENSIONS[name]}.meta.json")
    assert "does not know an option" in left.message


def test_an_old_ncu_is_not_given_what_it_does_not_know(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "old")  # its help is asked for in our own environment
    (bench.folder / "old").symlink_to(TOOLS)
    bench.environ["PATH"] = f"{bench.folder / 'old'}:{bench.environ['PATH']}"
    whole(bench.capture("nsight", ["true"], "old"), "nsight")


def with_importer(bench: Bench, text: str | None) -> Launcher:
    nsys = launcher("nsys")
    assert nsys.importer is not None
    folder = bench.folder / "host"
    folder.mkdir()
    if text is not None:
        executable(folder / nsys.importer.tool, f"#!/usr/bin/env bash\n{text}\n")
    return replace(nsys, importer=replace(nsys.importer, hides_in=(str(folder),)))


def test_an_importer_that_lies_elsewhere_is_found(bench: Bench) -> None:
    whole(bench.capture("nsys", ["true"], "raw", declared=with_importer(bench, 'cat "$2" >"$4"')), "nsys")


@pytest.mark.parametrize(
    ("importer", "said"),
    [
        (None, "is not on this machine"),
        ("exit 1", "failed"),
        ("echo half >$4; kill -SEGV $$", "failed"),
        ("sleep 300", "did not end"),
    ],
)
def test_without_a_working_importer_the_stream_is_kept_with_the_command_that_imports_it(
    importer: str | None, said: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_IMPORT_LIMIT_S", 0.5)
    left = bench.capture("nsys", ["true"], "raw", declared=with_importer(bench, importer))
    nothing_but_the_log(left, "nsys", "mine.qdstrm")
    assert said in left.message
    assert "QdstrmImporter -i mine.qdstrm -o mine.nsys-rep" in left.message


def test_a_program_that_nsys_ends_with_the_window_gives_a_whole_measurement_and_a_note(bench: Bench) -> None:
    over = bench.folder / "over"
    bench.environ["WINDOW_OVER"] = str(over)
    left = bench.capture("nsys", ["bash", "-c", 'touch "$1"; exec sleep 300', "_", str(over)], "kills")
    whole(left, "nsys")
    assert left.captured is not None
    assert "ended the program at the window's end" in left.captured.notes[0]
    facts = read_sidecar(bench.measurements / "mine.nsys-rep")
    assert facts is not None
    assert facts["exit_code"] == 143


def test_an_nvtx_package_that_this_nsys_does_not_see_is_named(bench: Bench) -> None:
    python = a_python(bench.folder, nvtx="0.2.14")
    asked = Asked(opening=opening("nvtx:step"))
    left = bench.capture("nsys", [python, "-c", ""], "empty", asked=asked)
    nothing_but_the_log(left, "nsys")
    assert "records no range of the nvtx package 0.2.14" in left.message
    assert "pip install 'nvtx<=0.2.11'" in left.message


def test_a_program_that_is_terminated_by_others_is_no_end_of_the_window(bench: Bench) -> None:
    left = bench.capture("nsys", ["bash", "-c", "kill -TERM $$"])
    nothing_but_the_log(left, "nsys", "mine.nsys-rep.meta.json")
    assert "SIGTERM" in left.message


def test_very_much_output_is_kept_at_both_ends_of_the_log(bench: Bench) -> None:
    left = bench.capture("nsight", [*bench.training("talk")], "empty")
    nothing_but_the_log(left, "nsight")
    log = (bench.measurements / "mine.csv.log").read_bytes()
    assert len(log) <= (16 << 20) + 4096
    assert log.startswith(b"training\nline 0 ")
    assert b"line 399999 " in log
    assert b"bytes of output are left out here]" in log
    assert left.shown.count("\n") == 400_001


@pytest.mark.parametrize("name", NVIDIA)
def test_a_measurement_that_is_there_is_refused_before_anything_starts(name: str, bench: Bench) -> None:
    bench.measurements.mkdir()
    path = bench.measurements / f"mine.{EXTENSIONS[name]}"
    path.write_text("precious")
    ran = bench.folder / "ran"
    left = bench.capture(name, ["touch", str(ran)])
    assert left.code == 1
    assert "exists already" in left.message
    assert (path.read_text(), ran.exists(), left.files) == ("precious", False, {path.name})


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_the_measurements_name_is_refused(force: bool, bench: Bench) -> None:
    path = bench.measurements / "mine.csv"
    path.mkdir(parents=True)
    left = bench.capture("nsight", ["true"], force=force)
    assert left.code == 1
    assert "mine.csv: is a folder" in left.message
    assert left.files == {"mine.csv"}


def test_a_name_that_leaves_no_room_for_the_sidecars_is_refused_before_anything_starts(bench: Bench) -> None:
    ran = bench.folder / "ran"
    path = bench.measurements / f"{'n' * 245}.csv"
    left = bench.capture("nsight", ["touch", str(ran)], path=path)
    assert left.code == 1
    assert "this name is too long here" in left.message
    assert (ran.exists(), left.files) == (False, set())


def test_a_folder_that_is_a_file_is_one_line(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    left = bench.capture("nsight", ["true"], path=bench.folder / "file" / "mine.csv")
    assert left.code == 1
    assert "cannot be written to" in left.message


def test_a_tool_that_cannot_be_executed_is_one_line(bench: Bench) -> None:
    folder = bench.folder / "broken"
    folder.mkdir()
    executable(folder / "ncu", "#!/no/such/interpreter\n")
    bench.environ["PATH"] = f"{folder}:{bench.environ['PATH']}"
    left = bench.capture("nsight", ["true"])
    nothing_but_the_log(left, "nsight", "mine.csv.meta.json")
    assert "ended with exit code" in left.message
