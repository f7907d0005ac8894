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
