"""A PyTorch trace read by ds2prof, by its peer HolisticTraceAnalysis, and by msgspec alone: seconds and peak memory.

    python benchmarks/peers_kineto.py                                      ds2prof against msgspec, 227, 454 and 908 MB
    python benchmarks/peers_kineto.py --hta VENV/bin/python --peer-mb 100  and HTA on files up to 100 MB
    python benchmarks/peers_kineto.py --sizes 2000 --methods ds2prof       a large trace, for its memory

HTA needs an environment of its own: ``python -m venv VENV; VENV/bin/pip install HolisticTraceAnalysis==0.5.0
"pandas<3"``. It is timed around ``TraceAnalysis(trace_files=...)``, ds2prof around reading the tables kernels, copies,
api and ranges, msgspec around decoding every event of the same bytes in chunks, with ``ts`` and ``dur`` kept as they
are written, and keeping nothing. All after the imports, each in a process of its own, in turns, files in the page
cache; the peak memory is the whole process's. ``gz`` reads the same trace packed at level 6, with isal and without.

454 MB hold 1.75 million events. A run beyond ``--limit`` seconds is ended and shown as "more than".
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import readers

TABLES = ("kernels", "copies", "api", "ranges")
PEER = "HTA"
GZ_LEVEL = 6
HTA_SCRIPT = """
import json, logging, resource, sys, time, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from hta.trace_analysis import TraceAnalysis
path = sys.argv[1]
used, started = time.process_time(), time.perf_counter()
analysis = TraceAnalysis(trace_files={0: path.rpartition("/")[2]}, trace_dir=path.rpartition("/")[0])
seconds, used = time.perf_counter() - started, time.process_time() - used
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
rows = len(analysis.t.get_trace(0))
print(json.dumps({"seconds": seconds, "cpu_s": used, "rss_mib": peak / 1024, "rows": rows}))
"""


@dataclass(frozen=True)
class Figures:
    """One measurement; ``is_limit`` where the run was ended after so many seconds."""

    seconds: float
    cpu_s: float = float("nan")
    rss_mib: float = float("nan")
    rows: int = 0
    is_limit: bool = False


def ds2prof(path: Path) -> int:
    """Read the four tables; gives how many rows they have."""
    from ds2prof.parsers import read

    profile = read(path, tables=TABLES)
    return sum(len(profile.table(name)) for name in TABLES)


def ds2prof_without_isal(path: Path) -> int:
    """The same with Python's own gzip."""
    sys.modules["isal"] = None  # type: ignore[assignment]
    return ds2prof(path)


METHODS: dict[str, tuple[Callable[[Path], int], str]] = {
    "msgspec": (readers.msgspec_chunks, "json"),
    "ds2prof": (ds2prof, "json"),
    "ds2prof gz, isal": (ds2prof, "json.gz"),
    "ds2prof gz, no isal": (ds2prof_without_isal, "json.gz"),
}
"""Method -> (what is timed, extension of the file that it reads)."""


def measured(method: str, path: Path) -> dict[str, float]:
    """Seconds, rows and peak memory of one method, in this process."""
    import msgspec  # noqa: F401  what the methods import is not what is measured
    import numpy as np  # noqa: F401

    import ds2prof.parsers.kineto_result
    import ds2prof.parsers.torch_kineto  # noqa: F401

    used, started = time.process_time(), time.perf_counter()
    rows = METHODS[method][0](path)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "cpu_s": used, "rows": rows, "rss_mib": peak / 1024}


def in_own_process(method: str, path: Path, *, hta: str | None, limit_s: float) -> Figures:
    """The figures of one method from a fresh process."""
    command = [sys.executable, __file__, "--one", method, str(path)]
    if method == PEER:
        assert hta is not None
        command = [hta, "-c", HTA_SCRIPT, str(path)]
    environ = {**os.environ, "PYTHONPATH": "" if method == PEER else str(readers.HERE.parent)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Figures(limit_s, is_limit=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Figures(found["seconds"], found["cpu_s"], found["rss_mib"], int(found["rows"]))


def packed(path: Path) -> Path:
    """The same trace as gzip, made if it is not there yet."""
    target = path.with_name(path.name + ".gz")
    if not target.exists():
        partial = target.with_suffix(".partial")
        with path.open("rb") as plain, gzip.open(partial, "wb", GZ_LEVEL) as stream:
            shutil.copyfileobj(plain, stream, 1 << 20)
        partial.replace(target)
    return target


def rows(mb: int, methods: Sequence[str], options: argparse.Namespace) -> list[str]:
    """The table's rows for one size."""
    plain = readers.generated("kineto", mb)
    paths = {name: packed(plain) if name != PEER and METHODS[name][1].endswith("gz") else plain for name in methods}
    for path in set(paths.values()):
        readers.read(path)
    taken: dict[str, list[Figures]] = {method: [] for method in methods}
    for turn in range(options.repeat):
        for method in methods:
            if method != PEER or turn < options.peer_repeat:
                taken[method].append(in_own_process(method, paths[method], hta=options.hta, limit_s=options.limit))
    size_mb = plain.stat().st_size / 1e6
    return [row(method, taken, size_mb) for method in methods]


def row(method: str, taken: dict[str, list[Figures]], size_mb: float) -> str:
    """One row: median, spread, rate, ratios, peak."""
    figures = taken[method]
    seconds = sorted(one.seconds for one in figures)
    middle = statistics.median(seconds)
    more = "> " if any(one.is_limit for one in figures) else ""
    ratios = [
        f"{more}{middle / statistics.median(one.seconds for one in taken[base]):.2f}" if base in taken else ""
        for base in ("msgspec", "ds2prof")
    ]
    peak = "" if more else f"{max(one.rss_mib for one in figures):.0f}"
    least_cpu = "" if more else f"{min(one.cpu_s for one in figures):.2f}"
    spread = f"{seconds[0]:.2f} to {seconds[-1]:.2f}"
    return (
        f"| {size_mb:.0f} | {method} | {more}{middle:.2f} | {spread} | {least_cpu} | {len(figures)} "
        f"| {size_mb / middle:.0f} | {ratios[0]} | {ratios[1]} | {peak} | {figures[0].rows or ''} |"
    )


def machine(hta: str | None) -> str:
    """The machine and the versions, for the line above the table."""
    found = [f"Python {platform.python_version()}"]
    for package in ("numpy", "msgspec", "isal"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    if hta is not None:
        script = "from importlib.metadata import version as v; print(v('HolisticTraceAnalysis'), v('pandas'))"
        done = subprocess.run([hta, "-c", script], capture_output=True, text=True, check=True)
        number, pandas = done.stdout.split()
        found.append(f"HTA {number} with pandas {pandas}")
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), cpu)
    return f"{cpu}, {os.cpu_count()} cores; {', '.join(found)}; load at start {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[227, 454, 908], help="in MB")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--hta", metavar="PYTHON", help="interpreter of the environment that holds HTA")
    parser.add_argument("--peer-repeat", type=int, default=1)
    parser.add_argument("--peer-mb", type=int, default=454, help="the largest size that HTA is given")
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS", help="of one run")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one[0], Path(options.one[1]))))
        return
    print(machine(options.hta) + "\n")
    print("| MB | method | s | least to most | least CPU s | runs | MB/s | x msgspec | x ds2prof | peak MiB | rows |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for mb in options.sizes:
        peers = [PEER] if options.hta and mb <= options.peer_mb else []
        for line in rows(mb, [*options.methods, *peers], options):
            print(line, flush=True)


if __name__ == "__main__":
    main()
