"""The idle ledger, layers, phases and kernels of millions of launches, against reading the kernels alone.

    python benchmarks/ledger_5m.py                        1, 2.5 and 5 million kernels with launch calls and ranges
    python benchmarks/ledger_5m.py --kernels 100000       a quick look

The file is an SQLite export of Nsight Systems (``generate_nsys_sqlite.py --ranges training``). Every figure is of a
process of its own, timed from opening the file to the last answer, imports left out and the file in the page cache; the
methods take turns. ``kernels alone`` reads names, starts and durations of the kernel table. ``all`` reads the same file
and answers by ledger, layer, phase and name, with the totals. Prints a Markdown table: medians of the time that passed
and of the processor's time (which other programs on the machine disturb less), the ratio of the two methods in each,
the processor's time for each million of launches, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DATA = HERE / "data"
READ_KERNELS = """
    kernels = read(sys.argv[1], tables=("kernels",)).table("kernels")
    made = [len(kernels["name"]), int(kernels.ints("start_ns")[-1]), int(kernels.ints("dur_ns").sum())]
"""
ALL = """
    profile = read(sys.argv[1], tables=("kernels", "copies", "api", "ranges", "spans", "overhead"))
    made = [len(answer) for by in BY for answer in answers(profile, by)]
    made.append(totals_of(profile)["launches"])
"""
SCRIPT = """
import json, resource, sys, time
from ds2prof.analysis.questions import answers, totals_of
from ds2prof.parsers import nsys_sqlite, read
started, used = time.perf_counter(), time.process_time()
BY = {by}
if True:{body}
seconds, used = time.perf_counter() - started, time.process_time() - used
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"seconds": seconds, "cpu_s": used, "peak_mib": peak, "made": made}}))
"""
BY = ("ledger", "layer", "phase", "name")


def measured(body: str, path: Path, by: tuple[str, ...] = BY) -> dict[str, float]:
    """Seconds and peak MiB of one process."""
    command = [sys.executable, "-c", SCRIPT.format(body=body, by=by), str(path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=DATA)
    if done.returncode:
        raise SystemExit(f"failed on {path.name}: {done.stderr[-800:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def generated(kernels: int) -> Path:
    """The export with so many kernels, made if it is not there yet."""
    path = DATA / f"nsys_training_{kernels}.sqlite"
    if not path.exists():
        partial = path.with_suffix(".partial")
        command = [sys.executable, str(HERE / "generate_nsys_sqlite.py"), "--ranges", "training"]
        command += ["--kernels", str(kernels), "--output", str(partial)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        partial.replace(path)
    return path


def row(kernels: int, repeat: int, *, each: bool) -> list[str]:
    """The table's lines for one file."""
    path = generated(kernels)
    parts = {"all": (ALL, BY), **({f"by {by}": (ALL, (by,)) for by in BY} if each else {})}
    alone: list[dict[str, float]] = []
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in parts}
    measured(READ_KERNELS, path)
    for _ in range(repeat):
        alone.append(measured(READ_KERNELS, path))
        for name, (body, by) in parts.items():
            taken[name].append(measured(body, path, by))
    lines = []
    for name, figures in taken.items():
        cells = [f"{kernels:,}", f"{path.stat().st_size / 1e6:.0f}", name]
        for key in ("seconds", "cpu_s"):
            base, whole = (statistics.median(figure[key] for figure in those) for those in (alone, figures))
            cells += [f"{base:.2f}", f"{whole:.2f}", f"{whole / base:.1f}"]
        cells.append(f"{whole / kernels * 1e6:.2f}")
        peak = max(figure["peak_mib"] for figure in figures)
        lines.append(f"| {' | '.join(cells)} | {peak:.0f} |")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, nargs="+", default=[1_000_000, 2_500_000, 5_000_000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--each", action="store_true", help="each question by itself too")
    options = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {options.repeat}\n")
    columns = ["kernels", "MB", "answers", "kernels alone, s", "answers, s", "times", "kernels alone, CPU s"]
    columns += ["answers, CPU s", "times", "CPU s per million", "peak MiB"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for kernels in options.kernels:
        for line in row(kernels, options.repeat, each=options.each):
            print(line, flush=True)


if __name__ == "__main__":
    main()
