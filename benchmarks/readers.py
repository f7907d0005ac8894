"""Both readers against reading the bytes alone: seconds, ratio and peak memory, as files grow.

    python benchmarks/readers.py                        10, 100 and 500 MB of each format
    python benchmarks/readers.py --sizes 10 --repeat 3  a quick look

Each measurement is a process of its own: the seconds are taken inside it, after the imports, around reading and nothing
else, as the mean of as many passes as 0.3 s hold; the peak memory is the process's whole (Python and its libraries
included). One warm-up fills the file cache. The methods take turns, so that a slow minute of the machine hits all of
them. Prints a Markdown table: median, least and most of the repetitions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
CHUNK_BYTES = 1 << 20
LEAST_S = 0.3
"""So long a method is repeated within its process; a file of 10 MB would else measure how a process warms up."""
FORMATS = {
    "ncu-csv": ("generate_ncu_csv.py", "csv", ("read", "newlines", "ds2prof")),
    "kineto": ("generate_kineto.py", "json", ("read", "msgspec", "ds2prof kernels", "ds2prof all")),
}
"""Format -> (generator, extension, methods); the first method is what the ratios are to."""


def read(path: Path) -> int:
    """Read the bytes, and nothing else."""
    size = 0
    chunk = bytearray(CHUNK_BYTES)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(chunk):
            size += count
    return size


def newlines(path: Path) -> int:
    """Count the lines."""
    count = 0
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            count += chunk.count(b"\n")
    return count


def msgspec_chunks(path: Path) -> int:
    """Decode every event of a Kineto trace with msgspec, a megabyte at a time, and keep nothing: the parsing floor."""
    import msgspec

    texts = [(name, str, "") for name in ("ph", "cat", "name")]
    numbers = [(name, msgspec.Raw, msgspec.Raw()) for name in ("ts", "dur")]
    decoder = msgspec.json.Decoder(list[msgspec.defstruct("Event", [*texts, *numbers], gc=False)])  # type: ignore[misc]
    separator = b"\n  },\n  {"
    count = 0
    with path.open("rb", buffering=0) as stream:
        rest = stream.read(CHUNK_BYTES)
        rest = rest[rest.index(b'"traceEvents": [') + len(b'"traceEvents": [') :]
        while chunk := stream.read(CHUNK_BYTES):
            rest += chunk
            cut = rest.rfind(separator)
            if cut >= 0:
                count += len(decoder.decode(b"[" + rest[: cut + 4] + b"]"))
                rest = rest[cut + 5 :]
    return count


def ds2prof_reader(*tables: str) -> Callable[[Path], int]:
    """Read into a profile with these tables."""

    def reader(path: Path) -> int:
        from ds2prof.parsers import read as read_profile

        return len(read_profile(path, tables=tables).table("kernels"))

    return reader


METHODS: dict[str, Callable[[Path], int]] = {
    "read": read,
    "newlines": newlines,
    "msgspec": msgspec_chunks,
    "ds2prof": ds2prof_reader("kernels", "counters"),
    "ds2prof kernels": ds2prof_reader("kernels", "copies"),
    "ds2prof all": ds2prof_reader("kernels", "copies", "api", "ops", "ranges"),
}


def measured(method: str, path: Path) -> dict[str, float]:
    """Seconds and peak memory of one method, in this process."""
    import msgspec  # noqa: F401  what the methods import is not what is measured
    import numpy as np  # noqa: F401

    import ds2prof.parsers.kineto_result
    import ds2prof.parsers.ncu_csv
    import ds2prof.parsers.torch_kineto  # noqa: F401

    passes = 0
    started = time.perf_counter()
    while passes == 0 or time.perf_counter() - started < LEAST_S:
        METHODS[method](path)
        passes += 1
    seconds = (time.perf_counter() - started) / passes
    return {"seconds": seconds, "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def in_own_process(method: str, path: Path) -> dict[str, float]:
    """The same, in a fresh process."""
    environ = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, __file__, "--one", method, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def generated(form: str, mb: int) -> Path:
    """The file of that format and size, made if it is not there yet."""
    generator, extension, _ = FORMATS[form]
    path = DATA / f"{form}_{mb}mb.{extension}"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        subprocess.run([sys.executable, HERE / generator, "--mb", str(mb), "--output", partial], check=True)
        partial.replace(path)
    return path


def rows(form: str, mb: int, repeat: int) -> list[str]:
    """The table's rows for one file."""
    path = generated(form, mb)
    methods = FORMATS[form][2]
    read(path)
    taken: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    for _ in range(repeat):
        for method in methods:
            taken[method].append(in_own_process(method, path))
    size_mb = path.stat().st_size / 1e6
    floor = statistics.median(figures["seconds"] for figures in taken[methods[0]])
    lines = []
    for method in methods:
        seconds = sorted(figures["seconds"] for figures in taken[method])
        middle = statistics.median(seconds)
        peak = max(figures["rss_mib"] for figures in taken[method])
        lines.append(
            f"| {form} | {size_mb:.0f} | {method} | {middle:.3f} | {seconds[0]:.3f} to {seconds[-1]:.3f} "
            f"| {size_mb / middle:.0f} | {middle / floor:.1f} | {peak:.0f} |"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 500], help="in MB")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one[0], Path(options.one[1]))))
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {options.repeat}\n")
    print("| format | MB | method | s | least to most | MB/s | times reading | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for form in options.formats:
        for mb in options.sizes:
            for line in rows(form, mb, options.repeat):
                print(line, flush=True)


if __name__ == "__main__":
    main()
