"""Whole or nothing, seen from outside: signals, a killed ds2prof, a full disk, closed pipes, two captures at once."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ds2prof.measurements import read_sidecar, temporary_path
from tests.bench.support import EXTENSIONS, Bench, bench_in, names, orphans, wait_for

WAITING = 'echo begun; touch "$1"; sleep 300'
"""A program that waits; $1 is there once it does."""
SCATTERED = 'setsid sleep 300 & touch "$1"; sleep 300'
"""The same, with a child in a session of its own."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = bench_in(tmp_path)
    yield made
    made.clean_up()


def waiting(bench: Bench, name: str, root: Path, program: str = WAITING, **options: object) -> subprocess.Popen[bytes]:
    """A capture of a program that waits, once it does."""
    ready = bench.folder / "ready"
    words = ["bash", "-c", program, "_", str(ready)]
    if name == "torch":
        words = [*bench.training("wait", "--ready", str(ready)), "--device", "cpu"]
    output = str(bench.measurements / f"mine.{EXTENSIONS[name]}")
    process = bench.start("run", name, "-o", output, "--", *words, root=root, **options)
    wait_for(ready.exists)
    assert orphans(process.pid)
    return process


@pytest.mark.parametrize(
    ("name", "signum"),
    [*((name, signum) for name in EXTENSIONS for signum in (signal.SIGINT, signal.SIGTERM)), ("nsys", signal.SIGHUP)],
)
def test_a_signal_ends_all_and_leaves_the_log(name: str, signum: int, bench: Bench, root: Path) -> None:
    process = waiting(bench, name, root)
    process.send_signal(signum)
    left = bench.left_by(process)
    assert left.code == 128 + signum
    assert f"{signal.Signals(signum).name} ended it early; no measurement was written" in left.message
    assert "Traceback" not in left.message or name == "torch"  # Python's own, of the program
    assert (left.files, left.temporary, left.orphans) == ({f"mine.{EXTENSIONS[name]}.log"}, set(), [])


@pytest.mark.parametrize("name", ["nsight", "nsys"])
def test_ctrl_c_in_a_terminal_which_reaches_the_whole_group_ends_all(name: str, bench: Bench, root: Path) -> None:
    process = waiting(bench, name, root, start_new_session=True)
    os.killpg(process.pid, signal.SIGINT)
    left = bench.left_by(process)
    assert (left.code, left.files, left.orphans) == (130, {f"mine.{EXTENSIONS[name]}.log"}, [])


def test_ctrl_c_a_second_and_a_third_time_presses_harder(bench: Bench, root: Path) -> None:
    ready = bench.folder / "ready"
    deaf = 'trap "" INT TERM; touch "$1"; while :; do sleep 0.05; done'
    output = str(bench.measurements / "mine.csv")
    process = bench.start("run", "nsight", "-o", output, "--", "bash", "-c", deaf, "_", str(ready), root=root)
    wait_for(ready.exists)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(0.3)
        except subprocess.TimeoutExpired:
            continue
        break
    left = bench.left_by(process)
    assert (left.code, left.files, left.temporary, left.orphans) == (130, {"mine.csv.log"}, set(), [])


@pytest.mark.parametrize("name", EXTENSIONS)
def test_killing_ds2prof_ends_the_capture_and_the_next_one_clears_up(name: str, bench: Bench, root: Path) -> None:
    process = waiting(bench, name, root, SCATTERED)
    process.kill()
    left = bench.left_by(process)
    wait_for(lambda: not orphans(process.pid))
    hidden = names(bench.measurements)
    assert left.code == -signal.SIGKILL
    assert all(each.startswith(".mine.") and ".partial" in each for each in hidden)
    assert hidden
    again = bench.capture(name, bench.training())
    assert (again.code, again.files) == (0, {f"mine.{EXTENSIONS[name]}", f"mine.{EXTENSIONS[name]}.meta.json"})


def test_files_of_captures_that_live_or_ran_elsewhere_are_left_alone(bench: Bench) -> None:
    bench.measurements.mkdir()
    mine = temporary_path(bench.measurements / "other.csv")
    elsewhere = mine.with_name(".other.00000000-999999.partial.csv")
    strangers = mine.with_name(".notes.partial")
    for path in (mine, elsewhere, strangers):
        path.write_text("")
    assert bench.capture("nsight", ["true"]).code == 0
    assert {mine.name, elsewhere.name, strangers.name} <= names(bench.measurements)


@pytest.mark.parametrize("name", ["nsight", "nsys"])
def test_a_second_capture_of_the_same_name_is_refused_while_the_first_runs(name: str, bench: Bench, root: Path) -> None:
    first = waiting(bench, name, root)
    ran = bench.folder / "ran"
    second = bench.capture(name, ["touch", str(ran)])
    assert second.code == 1
    assert f"is being written by another capture (process {first.pid})" in second.message
    assert not ran.exists()
    other = bench.capture(name, ["true"], path=bench.measurements / f"other.{EXTENSIONS[name]}")
    assert other.code == 0
    first.send_signal(signal.SIGINT)
    assert bench.left_by(first).code == 130
    assert f"other.{EXTENSIONS[name]}" in names(bench.measurements)


def test_a_capture_that_another_overtook_replaces_nothing(bench: Bench) -> None:
    path = bench.measurements / "mine.csv"
    left = bench.capture("nsight", ["bash", "-c", 'echo precious >"$1"', "_", str(path)])
    assert left.code == 1
    assert "exists already" in left.message
    assert path.read_text() == "precious\n"
    assert left.files == {"mine.csv", "mine.csv.log"}


def test_a_reader_that_goes_away_does_not_end_the_capture(bench: Bench, root: Path) -> None:
    output = bench.measurements / "mine.csv"
    program = ["bash", "-c", "for i in {1..2000}; do echo line $i; done; sleep 0.2; echo last"]
    process = bench.start("run", "nsight", "-o", str(output), "--", *program, root=root)
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    process.stdout = None
    left = bench.left_by(process)
    assert (left.code, left.orphans) == (0, [])
    assert "Exception" not in left.message
    assert left.files == {"mine.csv", "mine.csv.meta.json"}


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_standard_streams_do_no_harm(closed: str, bench: Bench, root: Path) -> None:
    output = bench.measurements / "mine.csv"
    words = [sys.executable, "-m", "ds2prof", "run", "nsight", "-o", str(output), "--", "echo", "hello"]
    environ = {**bench.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        ["bash", "-c", f'"$@" {closed}', "_", *words], env=environ, cwd=bench.folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert names(bench.measurements) == {"mine.csv", "mine.csv.meta.json"}


FULL = """
set -eu
mkdir -p "$folder"
mount -t tmpfs -o size=64g none "$folder" 2>/dev/null || { echo "cannot mount" >&2; exit 77; }
eval "$before"
set +e
"$@"
code=$?
ls -A "$folder" >"$list"
exit $code
"""


def on_a_small_disk(bench: Bench, root: Path, name: str, fake: str, *, before: str = ":") -> tuple[int, str, set[str]]:
    """Exit code, words and files of a capture to a small disk, in a namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("the tool unshare is missing")
    listed = bench.folder / "listed"
    output = bench.measurements / f"mine.{EXTENSIONS[name]}"
    environ = {
        **bench.environ,
        "PYTHONPATH": str(root),
        "FAKE": fake,
        "folder": str(bench.measurements),
        "list": str(listed),
        "before": before,
    }
    shrink = 'echo hello; mount -o remount,size=256k "$folder"'
    words = [sys.executable, "-m", "ds2prof", "run", name, "-o", str(output), "--", "bash", "-c", shrink]
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", FULL, "_", *words],
        env=environ,
        cwd=bench.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if not listed.exists():
        pytest.skip("no tool to mount a small disk with here (unshare)")
    return done.returncode, done.stderr, set(listed.read_text().split())


@pytest.mark.parametrize("name", ["nsight", "nsys", "nvprof"])
def test_a_disk_that_fills_up_leaves_no_half_file_and_is_named(name: str, bench: Bench, root: Path) -> None:
    code, said, files = on_a_small_disk(bench, root, name, "full")
    assert code == 1
    assert f"the disk that holds {bench.measurements} is full" in said
    assert "Traceback" not in said
    assert files <= {f"mine.{EXTENSIONS[name]}.log", f"mine.{EXTENSIONS[name]}.meta.json"}
    assert f"mine.{EXTENSIONS[name]}.log" in files


def test_a_disk_that_is_full_before_the_start_is_said_and_nothing_starts(bench: Bench, root: Path) -> None:
    before = 'mount -o remount,size=256k "$folder"; head -c 8M /dev/zero >"$folder/ballast" 2>/dev/null || true'
    code, said, files = on_a_small_disk(bench, root, "nsight", "", before=before)
    assert code == 1
    assert re.search(r"disk is full|0 B are free in", said)
    assert files == {"ballast"}


def test_a_sidecar_that_cannot_be_written_means_no_measurement(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def fail(path: Path, *arguments: object, **options: object) -> int:
        if ".meta.json" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", fail)
    left = bench.capture("nsight", ["true"])
    assert left.code == 1
    assert "mine.csv.meta.json: cannot be written: No space left on device" in left.message
    assert left.files == {"mine.csv.log"}


def test_a_measurement_that_cannot_be_put_in_place_leaves_no_sidecar(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ds2prof.capture.delivery.place", fail)
    left = bench.capture("nsight", ["true"])
    assert left.code == 1
    assert "mine.csv: cannot be put in place: No space left on device" in left.message
    assert left.files == {"mine.csv.log"}


def test_a_signal_while_the_measurement_is_put_in_place_finds_it_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ds2prof.capture import delivery

    write = delivery.write_sidecar

    def interrupted(path: Path, facts: dict[str, object]) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        return write(path, facts)

    monkeypatch.setattr(delivery, "write_sidecar", interrupted)
    left = bench.capture("nsight", ["true"])
    assert left.code == 130
    assert "is whole" in left.message
    assert left.files == {"mine.csv", "mine.csv.meta.json"}
    assert read_sidecar(bench.measurements / "mine.csv") is not None


def test_a_signal_while_a_report_is_imported_ends_the_importer_and_keeps_the_log(bench: Bench, root: Path) -> None:
    del root
    from dataclasses import replace

    from ds2prof.capture.launchers import launcher
    from tests.launch_support import executable

    nsys = launcher("nsys")
    assert nsys.importer is not None
    executable(bench.folder / nsys.importer.tool, "#!/bin/bash\nkill -INT $PPID\nexec sleep 300\n")
    declared = replace(nsys, importer=replace(nsys.importer, hides_in=(str(bench.folder),)))
    left = bench.capture("nsys", ["true"], "raw", declared=declared)
    assert left.code == 130
    assert left.message.count("no measurement was written") == 1
    assert left.files == {"mine.nsys-rep.log"}


def test_the_progress_of_a_long_capture_is_one_line_on_a_terminal(bench: Bench, root: Path) -> None:
    controller, terminal = pty.openpty()
    output = bench.measurements / "mine.csv"
    process = bench.start(
        "run", "nsight", "-o", str(output), "--", "sleep", "3.2", fake="slow", root=root, stderr=terminal
    )
    os.close(terminal)
    said = b""
    while process.poll() is None or b"captured in" not in said:
        try:
            piece = os.read(controller, 4096)
        except OSError:  # the other end is closed
            break
        said += piece
    os.close(controller)
    assert process.wait(30) == 0
    lines = [line for line in said.replace(b"\x1b[K", b"").split(b"\r") if b"launches" in line]
    assert lines
    assert b"nsight: " in lines[0]
    assert b"1 of 3 launches, 8 passes" in lines[0]
    assert b"33% of the window" in lines[0]
