"""Exports of Nsight Systems: ds2prof against ``nsys stats`` and against SQLite itself on the same file.

    python benchmarks/sqlite_exports.py                      2.5 and 5 million kernels
    python benchmarks/sqlite_exports.py --kernels 100000     a quick look

Every method is a process of its own, timed from outside: start, imports and printing are in it. The methods take turns.
``kernels + busy`` reads the kernel table, sums it by name and takes the union of busy time; ``ds2prof parse`` is the
command with all it prints, which takes launch calls and ranges into account as well; ``sqlite scan`` lets SQLite sum
three columns and does nothing else; ``nsys stats`` sums by kernel (and its median and deviation), without busy time.
Prints a Markdown table: median, least and most of the repetitions, peak memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DATA = HERE / "data"
BUSY = """
import sys
import numpy as np
from ds2prof.analysis.groups import summed
from ds2prof.analysis.intervals import union_ns
from ds2prof.analysis.windows import ends_ns
from ds2prof.parsers import read
kernels = read(sys.argv[1], tables=("kernels",)).table("kernels")
names, dur_ns = kernels["name"], kernels.ints("dur_ns")
calls = np.bincount(names.values, minlength=len(names.categories))
sums_ns = summed(names.values, dur_ns, len(names.categories))
print(len(kernels), union_ns(kernels.ints("start_ns"), ends_ns(kernels)), calls.sum(), sums_ns.sum())
"""
SCAN = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro&immutable=1", uri=True)
print(connection.execute("SELECT sum(start), sum(end), sum(demangledName) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone())
"""
READ = """
import sys
with open(sys.argv[1], "rb", buffering=0) as stream:
    while stream.read(1 << 20):
        pass
"""


def commands(path: Path, kernels: int) -> dict[str, list[str]]:
    """The methods, as command lines."""
    python = sys.executable
    found = {
        "reading": [python, "-c", READ, str(path)],
        "sqlite scan": [python, "-c", SCAN, str(path)],
        "kernels + busy": [python, "-c", BUSY, str(path)],
        "ds2prof parse": [python, "-m", "ds2prof", "parse", str(path)],
    }
    nsys = shutil.which("nsys")
    if nsys:
        found["nsys stats"] = [nsys, "stats", "-q", "-r", "gpukernsum", "-f", "csv", str(path)]
    return found


def timed(command: list[str]) -> tuple[float, float]:
    """(seconds, peak MiB of the largest process) of one run."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ, cwd=DATA)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"failed: {' '.join(command)[:200]}")
    return seconds, usage.ru_maxrss / 1024


def generated(kernels: int) -> Path:
    """The export with so many kernels, made if it is not there yet."""
    path = DATA / f"nsys_{kernels}.sqlite"
    if not path.exists():
        partial = path.with_suffix(".partial")
        command = [
            sys.executable,
            str(HERE / "generate_nsys_sqlite.py"),
            "--kernels",
            str(kernels),
            "--output",
            partial,
        ]
        subprocess.run(command, check=True, stdout=sys.stderr)
        partial.replace(path)
    return path


def nsys_version() -> str:
    """What the installed nsys calls itself."""
    nsys = shutil.which("nsys")
    if nsys is None:
        return "no nsys"
    text = subprocess.run([nsys, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d{4}\.[\d.]+", text)
    return f"nsys {found[0] if found else '?'}"


def rows(kernels: int, repeat: int) -> list[str]:
    """The table's rows for one file."""
    path = generated(kernels)
    methods = commands(path, kernels)
    timed(methods["reading"])
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(repeat):
        for name, command in methods.items():
            taken[name].append(timed(command))
    peer = statistics.median(seconds for seconds, _ in taken.get("nsys stats", [])) if "nsys stats" in taken else None
    lines = []
    for name, figures in taken.items():
        seconds = sorted(seconds for seconds, _ in figures)
        middle = statistics.median(seconds)
        against = f"{peer / middle:.1f}" if peer else "-"
        lines.append(
            f"| {kernels:,} | {path.stat().st_size / 1e6:.0f} | {name} | {middle:.2f} | {seconds[0]:.2f} to "
            f"{seconds[-1]:.2f} | {against} | {max(peak for _, peak in figures):.0f} |"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, nargs="+", default=[2_500_000, 5_000_000])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {nsys_version()}, {os.cpu_count()} "
        f"cores, medians of {options.repeat}\n"
    )
    print("| kernels | MB | method | s | least to most | times faster than nsys stats | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for kernels in options.kernels:
        for line in rows(kernels, options.repeat):
            print(line, flush=True)


if __name__ == "__main__":
    main()
