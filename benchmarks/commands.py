"""Whole commands against what bounds them: `import click`, counting newlines, and the ancestor's algorithm.

    python benchmarks/commands.py                     all of it (minutes: the ancestor's command alone takes one or two)
    python benchmarks/commands.py --only start size   leave the ancestor out

Every figure is the wall time of a process from its start to its end, the interpreter's included; only the newlines are
timed within one, around reading and counting. The commands of a comparison take turns, so that a slow minute of the
machine hits all of them; a first turn fills the caches and is not counted. Peak memory is that of all processes of a
command together (shared pages counted once), watched in a run of its own, or the largest process's own where the
watcher missed that. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
SMALL = HERE.parent / "tests" / "golden" / "ncu_csv" / "three_launches" / "input.csv"
PYTHON = sys.executable
DS2PROF = str(Path(sysconfig.get_path("scripts")) / "ds2prof")
WATCH_S = 0.005

COUNT_NEWLINES = """
import sys, time
started, count = time.perf_counter(), 0
with open(sys.argv[1], "rb", buffering=0) as stream:
    while chunk := stream.read(1 << 20):
        count += chunk.count(b"\\n")
print(time.perf_counter() - started)
"""


class Command(NamedTuple):
    """A command to be timed; ``prints_seconds`` if it does that itself."""

    label: str
    words: Sequence[str | Path]
    prints_seconds: bool = False


class Comparison(NamedTuple):
    """Commands side by side; the ratios are to the first."""

    name: str
    size: str
    commands: Sequence[Command]
    repeat: int


def environment() -> dict[str, str]:
    """The environment of a user: with bytecode caches."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: Command) -> float:
    """How long the command takes."""
    started = time.perf_counter()
    done = subprocess.run(command.words, capture_output=True, text=True, check=True, env=environment())
    taken = time.perf_counter() - started
    return float(done.stdout) if command.prints_seconds else taken


def peak_mib(command: Command) -> float:
    """The most memory that all processes of the command held at one time, or that the largest of them ever did."""
    process = subprocess.Popen(command.words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    peak_kib = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return max(peak_kib, usage.ru_maxrss) / 1024
        peak_kib = max(peak_kib, sum(held_kib(pid) for pid in family(process.pid)))
        time.sleep(WATCH_S)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in family(int(child)))]


def held_kib(pid: int) -> int:
    """The memory of a process, a page shared by several being divided among them; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def generated(name: str, *size: str) -> Path:
    """The Nsight Compute CSV of that name, made if it is not there yet."""
    path = DATA / name
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        subprocess.run([PYTHON, HERE / "generate_ncu_csv.py", *size, "--output", partial], check=True)
        partial.replace(path)
    return path


def start(repeat: int) -> Comparison:
    """The start of the command."""
    commands = (
        Command("python -c 'import click'", [PYTHON, "-c", "import click"]),
        Command("python -c 'import numpy'", [PYTHON, "-c", "import numpy"]),
        Command("ds2prof --version", [DS2PROF, "--version"]),
        Command("ds2prof parse", [DS2PROF, "parse", SMALL]),
    )
    return Comparison("start", f"{SMALL.stat().st_size:,} bytes", commands, 4 * repeat)


def size(repeat: int) -> Comparison:
    """A large file."""
    path = generated("ncu-csv_500mb.csv", "--mb", "500")
    one_core = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), DS2PROF, "parse", path]
    commands = (
        Command("counting newlines", [PYTHON, "-c", COUNT_NEWLINES, path], prints_seconds=True),
        Command("ds2prof parse", [DS2PROF, "parse", path]),
        Command("ds2prof parse, one core", one_core),
    )
    return Comparison("ncu CSV", f"{path.stat().st_size / 1e6:.0f} MB", commands, repeat)


def ancestor(repeat: int) -> Comparison:
    """The ancestor's algorithm, whose work grows with the square of the launches; once suffices."""
    path = generated("ncu-csv_20000.csv", "--launches", "20000")
    commands = (
        Command("the ancestor's algorithm", [PYTHON, HERE / "ancestor.py", path]),
        Command("ds2prof parse --format tbd", [DS2PROF, "parse", "--format", "tbd", path]),
    )
    return Comparison("core utilization", "20,000 launches", commands, min(repeat, 3))


COMPARISONS = {"start": start, "size": size, "ancestor": ancestor}


def rows(comparison: Comparison) -> list[str]:
    """The table's rows for one comparison."""
    taken: dict[str, list[float]] = {command.label: [] for command in comparison.commands}
    for turn in range(comparison.repeat + 1):
        for command in comparison.commands:
            if turn or comparison.name != "core utilization":
                found = seconds(command)
                if turn:
                    taken[command.label].append(found)
    first = statistics.median(taken[comparison.commands[0].label])
    lines = []
    for command in comparison.commands:
        times = sorted(taken[command.label])
        middle = statistics.median(times)
        ratio = middle / first if middle >= first else first / middle
        shown = f"{ratio:.2f}" if middle >= first else f"1/{ratio:.0f}"
        lines.append(
            f"| {comparison.name} | {comparison.size} | {command.label} | {middle:.3f} | {times[0]:.3f} to "
            f"{times[-1]:.3f} | {shown} | {peak_mib(command):.0f} |"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--repeat", type=int, default=5, help="turns (four times as many of the small file)")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| comparison | size | command | s | least to most | times the first | peak MiB, all processes |")
    print("|---|---|---|---|---|---|---|")
    for name in options.only:
        for line in rows(COMPARISONS[name](options.repeat)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
