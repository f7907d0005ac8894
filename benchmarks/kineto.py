"""How fast PyTorch traces are read, against reading the bytes alone and against decoding them with msgspec alone.

Each measurement runs in a process of its own, for the sake of its peak memory; the methods take turns, so that a
disturbance of the machine meets all of them. Times leave out starting Python and importing. Files are generated once,
into ``benchmarks/data``.

    python benchmarks/kineto.py --mb 10 100 500 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import generate_kineto

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
sys.path.insert(0, str(HERE.parent))

READ_BYTES = 1 << 20
GPU = ("kernels", "copies")
LAUNCHES = (*GPU, "api", "ranges")
ALL = (*LAUNCHES, "ops")


def read_bytes(path: Path) -> int:
    """Read the file, a MiB at a time, and do nothing with it."""
    with path.open("rb") as stream:
        return sum(len(data) for data in iter(lambda: stream.read(READ_BYTES), b""))


def decode_alone(path: Path) -> int:
    """Decode the file in chunks with msgspec into the fields that a sum over kernels needs; gives their number."""
    import msgspec

    class Event(msgspec.Struct, gc=False):
        cat: str = ""
        name: str = ""
        ts: float = 0.0
        dur: float = 0.0

    decoder = msgspec.json.Decoder(list[Event])
    separator, kernels = b"\n  },\n  {", 0
    with path.open("rb") as stream:
        buffer = stream.read(READ_BYTES)
        buffer = buffer[buffer.index(b'"traceEvents": [') + len(b'"traceEvents": [') :]
        while data := stream.read(READ_BYTES):
            buffer += data
            cut = buffer.rindex(separator) + len(b"\n  }")
            kernels += sum(event.cat == "kernel" for event in decoder.decode(b"[" + buffer[:cut] + b"]"))
            buffer = buffer[cut + 1 :]
    last = buffer[: buffer.rindex(b"\n  ],")]
    return kernels + sum(event.cat == "kernel" for event in decoder.decode(b"[" + last + b"]"))


def reader(*tables: str) -> Callable[[Path], int]:
    def run(path: Path) -> int:
        from ds2prof.parsers import read

        return len(read(path, tables=tables).table("kernels"))

    return run


METHODS: dict[str, Callable[[Path], int]] = {
    "reading the bytes": read_bytes,
    "msgspec alone": decode_alone,
    "+".join(GPU): reader(*GPU),
    "+".join(LAUNCHES): reader(*LAUNCHES),
    "+".join(ALL): reader(*ALL),
}


def measure(method: str, path: Path) -> None:
    """Run one method once, and print seconds, peak memory and what it counted, as JSON."""
    import msgspec  # noqa: F401  imported by both, and not to be timed

    import ds2prof.parsers.kineto_result  # noqa: F401

    start = time.perf_counter()
    counted = METHODS[method](path)
    seconds = time.perf_counter() - start
    rss_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "rss_mb": rss_kib * 1024 / 1e6, "counted": counted}))


def measured(method: str, path: Path) -> dict[str, float]:
    command = [sys.executable, str(HERE / "kineto.py"), "--child", method, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def trace_of(size_mb: float) -> Path:
    path = DATA / f"kineto_{size_mb:g}mb.json"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        generate_kineto.write(path, generate_kineto.steps_of(int(size_mb * 1e6)))
    return path


def compare(path: Path, rounds: int) -> None:
    """Measure every method ``rounds`` times in turn, and print a table."""
    measured("reading the bytes", path)  # brings the file into the page cache
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for _ in range(rounds):
        for method in METHODS:
            found[method].append(measured(method, path))
    kernels = {run["counted"] for method, runs in found.items() if method != "reading the bytes" for run in runs}
    assert len(kernels) == 1, f"methods disagree on the number of kernels: {kernels}"
    size_mb = path.stat().st_size / 1e6
    reading_s = statistics.median(run["seconds"] for run in found["reading the bytes"])
    print(f"\n{path.name}: {size_mb:.1f} MB, {int(kernels.pop())} kernels, {rounds} rounds")
    print(f"{'method':36} {'MB/s':>7} {'(min - max)':>17} {'x reading':>10} {'peak MB':>8}")
    for method, runs in found.items():
        seconds = sorted(run["seconds"] for run in runs)
        median_s = statistics.median(seconds)
        spread = f"({size_mb / seconds[-1]:.0f} - {size_mb / seconds[0]:.0f})"
        peak_mb = max(run["rss_mb"] for run in runs)
        print(f"{method:36} {size_mb / median_s:7.0f} {spread:>17} {median_s / reading_s:10.1f} {peak_mb:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, nargs="+", default=[10, 100, 500], help="sizes of the files")
    parser.add_argument("--rounds", type=int, default=5, help="how often each method runs")
    parser.add_argument("--child", nargs=2, metavar=("METHOD", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child[0], Path(options.child[1]))
        return
    for size_mb in options.mb:
        compare(trace_of(size_mb), options.rounds)


if __name__ == "__main__":
    main()
