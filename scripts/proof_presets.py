#!/usr/bin/env python3
"""Proves that every preset trains under a profiler: three iterations of each, captured and read back.

    python scripts/proof_presets.py [PRESET...]      all of them where none is named

For each preset one line: its parameters, the seconds of the run, and the iterations that its trace holds. Exits with
1 if a run fails or a trace does not hold exactly iterations 1 to 3 and all seven phases, with 2 if there is no such
preset. Utterances are one second long: the largest networks then take seconds a step on a host, and what PyTorch's
profiler makes of its memory (docs/TRAINING.md) stays within a few gigabytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ds2prof.train.presets import PRESETS  # noqa: E402  # the checkout's, wherever this is started

ITERATIONS = ["1", "2", "3"]
PHASES = ["data", "h2d", "forward", "loss", "backward", "clip", "optimizer"]


def main(names: list[str]) -> int:
    """The exit code, with a line printed for each preset."""
    if unknown := [name for name in names if name not in PRESETS]:
        print(f"{', '.join(unknown)}: no such preset; take any of {', '.join(PRESETS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or list(PRESETS):
        started_s = time.monotonic()
        why = trained(name)
        took_s = time.monotonic() - started_s
        print(f"{name:16} {parameters(name):>12} parameters  {took_s:6.1f} s  {why or 'iterations 1 2 3'}", flush=True)
        failed += why is not None
    return min(failed, 1)


def trained(name: str) -> str | None:
    """Nothing if three iterations of the preset were captured; else what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        trace = str(Path(folder) / "trace.json.gz")
        window = ("--profile-start", "1", "--profile-stop", "4", "--profiler", "torch", "--output", trace)
        size = ("--batch-size", "2", "--frames", str(1_000 // PRESETS[name].features.frame_ms), "--labels", "12")
        done = python("train_profiling.py", "--preset", name, *size, *window)
        if done.returncode < 0:
            return f"ended by signal {-done.returncode}" + (", as when memory is out" if done.returncode == -9 else "")
        if done.returncode:
            return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        iterations = [str(row["iteration"]) for row in rows(trace, "iteration")]
        phases = {str(row["phase"]) for row in rows(trace, "phase")}
    if iterations != ITERATIONS:
        return f"the trace holds iterations {iterations}"
    return None if phases >= set(PHASES) else f"the trace lacks phases {sorted(set(PHASES) - phases)}"


def rows(trace: str, key: str) -> list[dict[str, Any]]:
    """The rows of the trace's table by ``key``."""
    done = python("-m", "ds2prof", "parse", trace, "--by", key, "--format", "json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"] if done.returncode == 0 else []
    return found


def parameters(name: str) -> str:
    """The preset's size, as the training script prints it."""
    said = python("train_profiling.py", "--preset", name, "--iterations", "0").stdout
    return said.partition(": ")[2].partition(" ")[0] or "?"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A finished run of this Python in the checkout.

    What PyTorch's profiler keeps lies between freed gradients of the recurrent weights, so that the heap grows by
    gigabytes; large blocks that are mapped one by one do not leave such holes (docs/TRAINING.md).
    """
    environ = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(8 << 20)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
