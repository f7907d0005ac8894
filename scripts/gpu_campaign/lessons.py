"""What the results of a step say: a few words for the summary, and what later steps can be planned by.

Nothing here needs more than the standard library: the machine that measures need not be able to analyse.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ds2prof.capture.outcome import last_words, tail
from ds2prof.units import NS_PER_S
from gpu_campaign.plan import Done, Learned

_KERNEL_EVENT: Final = re.compile(rb'"cat": ?"kernel"')
_CHUNK_BYTES: Final = 1 << 20
_LAUNCH_ROW: Final = re.compile(rb'(?m)^"\d+",')
_COMPARED: Final = re.compile(r"(?m)^\|(?:[^|\n]*\|){5} ([\d.]+) \| ([\d.]+) to ([\d.]+) \|")
"""Of a row: the ratio, and where its interval begins and ends."""
_NO_COUNTERS: Final = (
    "read hardware counters",
    "ERR_NVGPUCTRPERM",
    "LibraryNotLoaded",
    "Profiling is not supported on device",
)
"""What is printed where counters cannot be read at all, so that further captures would fail alike."""

Lesson = Callable[[Learned, Done], str | None]


def throughput(path: Path) -> Lesson:
    """How fast the run whose log is ``path`` was."""

    def learn(_learned: Learned, done: Done) -> str | None:
        if done.status != "delivered":
            return None
        stretch = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["stretch"]
        wall_s = stretch["wall_ns"] / NS_PER_S
        return f"{stretch['samples'] / wall_s:.1f} samples/s, {stretch['audio_s'] / wall_s:.1f} audio s/s"

    return learn


def trace(path: Path, *, batch_size: int, frames: int | None) -> Lesson:
    """How many kernels a trace holds, and with that how many a frame of the longest utterance costs.

    Args:
        path: The trace.
        batch_size: Of the run.
        frames: Of the longest utterances of the window's batches, summed; None where unknown.
    """

    def learn(learned: Learned, done: Done) -> str | None:
        if done.status != "delivered":
            return None
        learned.startup_s[batch_size] = done.dur_ns / NS_PER_S
        kernels = kernels_in(path)
        if kernels and frames:
            learned.launches[batch_size] = kernels / frames
        return f"{kernels:,} kernels" if kernels else None

    return learn


def kernels(path: Path) -> Lesson:
    """How many kernels a trace holds, and nothing for later steps: it is of another workload."""

    def learn(_learned: Learned, done: Done) -> str | None:
        count = kernels_in(path) if done.status == "delivered" else 0
        return f"{count:,} kernels" if count else None

    return learn


def comparison(log: Path) -> Lesson:
    """What the rows of the comparison with the ancestor say, those too of one that was stopped."""

    def learn(_learned: Learned, _done: Done) -> str | None:
        rows = [[float(text) for text in row] for row in _COMPARED.findall(log.read_text(encoding="utf-8"))]
        if not rows:
            return None
        ratios = [ratio for ratio, _, _ in rows]
        faster = sum(low > 1 for _, low, _ in rows)
        return (
            f"the ancestor takes {min(ratios):.2f} to {max(ratios):.2f} times as long; "
            f"ours is faster beyond its interval in {faster} of {len(rows)}"
        )

    return learn


def deepmark(path: Path) -> Lesson:
    """The batch size and the rate of a DeepMark measurement."""

    def learn(_learned: Learned, done: Done) -> str | None:
        if done.status != "delivered":
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        largest = (found["search"].get("largest") or {}).get("batch_size")
        besides = f", largest {largest}" if largest else ""
        return f"batch {found['batch_size']}{besides}: {found['audio_s_per_s']:.1f} audio s/s by the {found['clock']}"

    return learn


def latency(path: Path) -> Lesson:
    """The median latency at each batch size."""

    def learn(_learned: Learned, done: Done) -> str | None:
        if done.status != "delivered":
            return None
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        known = [(row["batch_size"], row["p50_ms"]) for row in rows if row["p50_ms"] is not None]
        return ", ".join(f"batch {size}: median {median_ms:.1f} ms" for size, median_ms in known) or None

    return learn


def bandwidth(path: Path) -> Lesson:
    """The bus bandwidth at the largest size."""

    def learn(_learned: Learned, done: Done) -> str | None:
        if done.status != "delivered":
            return None
        row = max(json.loads(path.read_text(encoding="utf-8"))["rows"], key=lambda each: each["size_bytes"])
        return f"{row['bus_bytes_per_s'] / 1e9:.1f} GB/s on the bus at {row['size_bytes']:,} bytes"

    return learn


def kernels_in(path: Path) -> int:
    """How many kernels a gzipped trace has rows of; of a damaged one, those before the damage."""
    count, rest = 0, b""
    try:
        with gzip.open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                held = rest + chunk
                found = list(_KERNEL_EVENT.finditer(held))
                count += len(found)
                rest = held[max(found[-1].end() if found else 0, len(held) - 32) :]
    except (OSError, EOFError, zlib.error):
        pass
    return count


def counters(path: Path, log: Path, *, batch_size: int) -> Lesson:
    """What a launch costs under Nsight Compute, or that its counters cannot be read here."""

    def learn(learned: Learned, done: Done) -> str | None:
        if done.status != "delivered":
            printed = tail(log)
            if any(text in printed for text in _NO_COUNTERS):
                learned.no_counters = f"hardware counters cannot be read here: {last_words(printed)}"
            return None
        rows = launches_in(path)
        if rows == 0:
            return None
        whole_s = done.dur_ns / NS_PER_S
        replay_s = max(whole_s - learned.startup_s.get(batch_size, 0.0), whole_s / 10)
        learned.counters_s = replay_s / rows
        return f"{rows:,} launches, {1000 * learned.counters_s:.1f} ms each"

    return learn


def launches_in(path: Path) -> int:
    """How many launches a CSV of Nsight Compute has rows of."""
    return len(_LAUNCH_ROW.findall(path.read_bytes())) if path.suffix == ".csv" else 0


def tests(log: Path) -> Lesson:
    """The last line that pytest prints: how many passed, failed and were skipped."""

    def learn(_learned: Learned, _done: Done) -> str | None:
        found = re.findall(r"(?m)^=* ?((?:\d+ (?:passed|failed|skipped|errors?|deselected),? ?)+.*?) ?=*$", tail(log))
        return found[-1] if found else None

    return learn
