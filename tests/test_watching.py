"""The progress of a long capture: what is read from Nsight Compute's messages and from the program's status file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from ds2prof.capture.boundedlog import BoundedLog
from ds2prof.capture.watching import Growing, Launches, Watcher, expected_launches
from ds2prof.capture.wholeness import damage
from ds2prof.cli.progress import Progress

BROKEN_BY_A_WARNING = (
    b'==PROF== Profiling "nvkernel__Z15calculate_forceP..." - 0 (1/4): 0%\n'
    b"==WARNING== Backing up device memory in system memory. Kernel replay might be slow.\n"
    b"....50%....100% - 8 passes\n"
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def launches(text: bytes) -> Launches:
    counted = Launches()
    for line in text.splitlines():
        counted.read(line)
    return counted


@pytest.mark.parametrize(
    ("text", "done", "passes", "total"),
    [
        (b'==PROF== Profiling "add_kernel": 0%....50%....100% - 18 passes', 1, 18, None),
        (b'==PROF== Profiling "k" - 0: 0%....50%....100% - 1 pass', 1, 1, None),
        (b'==PROF== Profiling "k" - 1 (2/4): 0%....50%....100% - 8 passes', 1, 8, 4),
        (b'==PROF== Profiling "k" - 0: 0%....50%', 0, 0, None),
        (b"program says 100% - 3 things, 50% - 2 passes to go", 0, 0, None),
        (BROKEN_BY_A_WARNING, 1, 8, 4),
        (b"==PROF== Connected to process 7 (/usr/bin/python)", 0, 0, None),
    ],
)
def test_launches_and_passes_are_counted_in_the_words_of_each_version(
    text: bytes, done: int, passes: int, total: int | None
) -> None:
    counted = launches(text)
    assert (counted.done, counted.passes, counted.total) == (done, passes, total)


def test_application_replay_counts_the_launches_of_each_run() -> None:
    text = b"".join(
        b'==PROF== Profiling "k" - %d: Application replay pass %d\n' % (at, run) for run in (1, 2) for at in range(3)
    )
    counted = launches(text[: text.rindex(b"==PROF==")])
    assert (counted.application_pass, counted.done, counted.passes) == (2, 2, 5)


def test_the_real_log_of_a_profiled_program_is_counted_whole(corpus: Path) -> None:
    path = next((corpus / "ncu-log").glob("*ParaCodex*"))
    counted = launches(path.read_bytes())
    assert (counted.done, counted.passes, counted.total) == (4, 32, 4)


def watcher(tmp_path: Path, clock: Clock, *, expected: int | None = None) -> Watcher:
    return Watcher("nsight", tmp_path / "status", messages=tmp_path / "log", expected=expected, clock_s=clock)


def test_the_estimate_goes_by_the_launches_that_the_tool_announces(tmp_path: Path) -> None:
    clock = Clock()
    watched = watcher(tmp_path, clock)
    (tmp_path / "log").write_bytes(b'==PROF== Profiling "k" - 0 (1/4): 0%')
    watched.look()
    clock.now_s = 60.0
    with (tmp_path / "log").open("ab") as log:
        log.write(b'....100% - 8 passes\n==PROF== Profiling "gemm" - 1 (2/4): 0%....50%')
    watched.look()
    assert watched.line() == (
        "nsight: 1 min 00 s, 1 of 4 launches, 8 passes, 0.0167 launches/s, 25% of the window, about 3 min 00 s left, "
        "at gemm (50 %)"
    )


def test_the_estimate_goes_by_the_options_where_the_tool_is_silent(tmp_path: Path) -> None:
    clock = Clock()
    watched = watcher(tmp_path, clock, expected=10)
    (tmp_path / "log").write_bytes(b'==PROF== Profiling "k" - 0: 0%')
    watched.look()
    clock.now_s = 10.0
    with (tmp_path / "log").open("ab") as log:
        log.write(b"....100% - 8 passes\n")
    watched.look()
    assert "1 of 10 launches" in watched.line()
    assert "10% of the window, about 1 min 30 s left" in watched.line()


def test_the_estimate_goes_by_the_operators_where_nobody_knows_the_launches(tmp_path: Path) -> None:
    clock = Clock()
    watched = watcher(tmp_path, clock)
    (tmp_path / "log").write_bytes(b'==PROF== Profiling "k" - 0: 0%')
    watched.look()
    clock.now_s = 30.0
    with (tmp_path / "log").open("ab") as log:
        log.write(b"....100% - 8 passes\n")
    (tmp_path / "status").write_text("open 7 10 1\nops 7 250 1000\n")
    watched.look()
    assert "1 launches, 8 passes" in watched.line()
    assert "25% of the window, about 1 min 30 s left" in watched.line()


def test_without_anything_to_go_by_there_is_no_estimate(tmp_path: Path) -> None:
    clock = Clock()
    watched = watcher(tmp_path, clock)
    (tmp_path / "log").write_bytes(b'==PROF== Profiling "k" - 0: 0%....100% - 8 passes\n')
    watched.look()
    clock.now_s = 30.0
    assert "left" not in watched.line()


def test_a_timeline_tells_its_steps_and_whether_the_window_is_open(tmp_path: Path) -> None:
    clock = Clock()
    watched = Watcher("nsys", tmp_path / "status", clock_s=clock)
    assert watched.line() == "nsys: 0 s"
    (tmp_path / "status").write_text("step 7 3\nopen 7 4 99\nstep 7 11\nnonsense\nops 7 1\n")
    clock.now_s = 3700.0
    watched.look()
    assert watched.line() == "nsys: 1 h 01 min, 12 steps, the window is open"


def test_a_growing_file_gives_each_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    growing = Growing(path)
    assert growing.lines() == []
    path.write_bytes(b"one\ntw")
    assert growing.lines() == [b"one"]
    with path.open("ab") as log:
        log.write(b"o\nthree")
    assert (growing.lines(), growing.unfinished) == ([b"two"], b"three")
    path.write_bytes(b"cut")
    assert growing.lines() == []


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--launch-count", "50"), 50),
        (("-c", "3"), 3),
        (("--launch-count=7",), 7),
        (("--launch-count", "many"), None),
        (("--launch-count",), None),
        ((), None),
    ],
)
def test_the_number_of_launches_asked_for_is_read_from_the_options(options: tuple[str, ...], count: int | None) -> None:
    assert expected_launches(options) == count


class Terminal(BytesIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_rewritten_and_makes_way_for_the_program() -> None:
    clock, terminal = Clock(), Terminal()
    progress = Progress(terminal, clock_s=clock, columns=lambda: 30)
    out = progress.beside(terminal)
    progress.show(lambda: "too early")
    clock.now_s = 3.0
    progress.show(lambda: "a line that is longer than the terminal is wide")
    out.write(b"loss 3")
    clock.now_s = 6.0
    progress.show(lambda: "in the middle of a line of the program")
    out.write(b"\n")
    clock.now_s = 9.0
    progress.show(lambda: "on\x1b[2Jward")
    progress.done()
    clear = b"\r\x1b[K"
    said = clear + b"a line that is longer than th" + clear + b"loss 3\n" + clear + b"on?[2Jward" + clear
    assert terminal.getvalue() == said


def test_progress_in_a_pipe_is_a_line_every_half_minute() -> None:
    clock, pipe = Clock(), BytesIO()
    progress = Progress(pipe, clock_s=clock)
    for clock.now_s in range(0, 91, 10):
        progress.show(lambda: f"at {clock.now_s}")
    progress.done()
    assert pipe.getvalue() == b"at 30\nat 60\nat 90\n"


def log_of(lines: list[bytes], path: Path, *, limit_bytes: int, kept_bytes: int) -> bytes:
    with path.open("w+b", buffering=0) as file:
        log = BoundedLog(file, limit_bytes=limit_bytes, kept_bytes=kept_bytes)
        for line in lines:
            log.write(line)
            assert path.stat().st_size <= limit_bytes
    return path.read_bytes()


def test_a_log_that_stays_short_is_left_alone(tmp_path: Path) -> None:
    lines = [b"%d\n" % number for number in range(10)]
    assert log_of(lines, tmp_path / "log", limit_bytes=1000, kept_bytes=100) == b"".join(lines)


def test_a_log_that_grows_long_loses_its_middle_and_says_how_much(tmp_path: Path) -> None:
    lines = [b"line %d\n" % number for number in range(5000)]
    log = log_of(lines, tmp_path / "log", limit_bytes=4000, kept_bytes=1000)
    head, tail = log.split(b"\n[ds2prof: ")
    count, tail = tail.split(b" bytes of output are left out here]\n")
    whole = b"".join(lines)
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) > 900
    assert len(tail) > 900
    assert len(head) + int(count) + len(tail) == len(whole)


def test_a_log_of_one_endless_line_is_bounded_too(tmp_path: Path) -> None:
    log = log_of([b"x" * 100] * 500, tmp_path / "log", limit_bytes=4000, kept_bytes=1000)
    assert b"bytes of output are left out here]" in log


def test_real_files_are_whole_and_their_beginnings_are_not(corpus: Path, tmp_path: Path) -> None:
    found = [
        path for ending in ("*.ncu-rep", "*.nvvp") for path in sorted(corpus.rglob(ending)) if _is_of_its_kind(path)
    ]
    assert found
    for path in found:
        assert damage(path) is None, path
        cut = tmp_path / path.name
        with path.open("rb") as stream:
            cut.write_bytes(stream.read(path.stat().st_size - 100))
        assert damage(cut) is not None, path


def _is_of_its_kind(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(16)
    return head.startswith(b"NVR\0" if path.name.endswith(".ncu-rep") else b"SQLite format 3\0")
