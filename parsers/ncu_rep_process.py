"""Runs NVIDIA's library over a report in processes of its own, and takes in what they answer.

The library is native code that a damaged report can crash, so it is never loaded here: ``ncu_rep_child`` runs in an
isolated interpreter with bounds on time, memory and output, and its answer, which a hostile report may have shaped, is
checked like any other input. Results are shared out over the processor's cores.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Final

import msgspec
import numpy as np
import numpy.typing as npt

from ds2prof.errors import ReadError
from ds2prof.parsers.ncu_rep_container import Container

MODULE: Final = "ncu_report"
_PROGRAM: Final = Path(__file__).with_name("ncu_rep_child.py")
_MIN_RESULTS: Final = 48
"""A process more is started for each so many results: starting one and loading the report takes as long as these."""

_MAX_PROCESSES: Final = 8
_SHARED_BYTES: Final = 100 << 20
"""The report's size times the processes: each loads all of it, which takes about twelve times its size in memory."""

_SECONDS: Final = 30.0
_SECONDS_PER_RESULT: Final = 0.25
_SECONDS_PER_MB: Final = 0.5
_MEMORY_BYTES: Final = 2 << 30
_MEMORY_PER_BYTE: Final = 40
_ANSWER_BYTES: Final = 256 << 20
_ANSWER_PER_BYTE: Final = 16
_MAX_FACTS_BYTES: Final = 256 << 20

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class RuleFacts(msgspec.Struct, array_like=True, frozen=True):
    """What a rule says: the kinds of message and speedup are the library's numbers."""

    name: str
    section: str
    kind: int
    text: str
    speedup_kind: int
    percent: float | None


class SeriesFacts(msgspec.Struct, array_like=True, frozen=True):
    """A series: how many readings, and whether each has a time."""

    name: str
    unit: str
    count: int
    has_times: bool


class ResultFacts(msgspec.Struct, frozen=True):
    """What the library says of one result; see ``ncu_rep_child``."""

    results: int | None = None
    error: str | None = None
    layout: int = 0
    is_expected: bool = True
    kind: str | None = None
    name: str = ""
    mangled: str = ""
    device: float | None = None
    metrics: list[str] | None = None
    units: list[str] | None = None
    attributes: dict[str, str] | None = None
    rules: list[RuleFacts] = []
    started: list[tuple[str, str]] = []
    pushed: list[tuple[str, str]] = []
    series: list[SeriesFacts] = []


@dataclass(frozen=True)
class Wanted:
    """What is asked of the library.

    Attributes:
        parts: out of "rules", "nvtx", "samples".
        only: the metrics; none for all.
    """

    parts: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Answered:
    """One result, as the library has it: facts, a value for each metric of its layout, and its series."""

    facts: ResultFacts
    metrics: Sequence[str]
    units: Sequence[str]
    values: FloatArray
    series: Sequence[tuple[SeriesFacts, FloatArray, IntArray | None]]


def library_folder() -> Path | None:
    """The folder that the library can be imported from; None where it is not installed."""
    try:
        spec = importlib.util.find_spec(MODULE)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    origin = Path(spec.origin)
    return origin.parent.parent if spec.submodule_search_locations else origin.parent


def answers(path: Path, name: str, container: Container, *, library: Path, wanted: Wanted) -> Iterator[Answered]:
    """The results of the report in order, as the library has them.

    Raises:
        ReadError: the library refuses the report, crashes on it, or takes longer or more memory than it ever should.
    """
    count = len(container.results)
    shares = _shares(count, container.size_bytes)
    limit_s = _SECONDS + _SECONDS_PER_RESULT * count + _SECONDS_PER_MB * container.size_bytes / 1e6
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in shares]
        tasks = [_task(path, container, share, limit_s, library=library, wanted=wanted) for share in shares]
        started = [_start(task, file) for task, file in zip(tasks, files, strict=True)]
        stack.callback(_end, started)
        deadline = time.monotonic() + limit_s
        for process, file in zip(started, files, strict=True):
            _wait(process, name, deadline=deadline, limit_s=limit_s)
            file.seek(0)
            yield from _frames(file, name, process)


def _shares(count: int, size_bytes: int) -> list[range]:
    """Successive results for each process; one process has them all where the report is large."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    affordable = _SHARED_BYTES // max(1, size_bytes)
    processes = max(1, min(cores, _MAX_PROCESSES, count // _MIN_RESULTS, affordable))
    edges = [count * place // processes for place in range(processes + 1)]
    return [range(first, stop) for first, stop in pairwise(edges)]


def _task(path: Path, container: Container, share: range, limit_s: float, *, library: Path, wanted: Wanted) -> bytes:
    task = {
        "path": str(path.resolve()),
        "library": str(library),
        "first": share.start,
        "stop": share.stop,
        "results": [[result.metrics, result.name] for result in container.results],
        "sets": container.sets,
        "wanted": wanted.parts,
        "only": wanted.only,
        "memory_bytes": _MEMORY_BYTES + _MEMORY_PER_BYTE * container.size_bytes,
        "seconds": math.ceil(limit_s),
        "answer_bytes": _ANSWER_BYTES + _ANSWER_PER_BYTE * container.size_bytes,
    }
    return json.dumps(task).encode()


def _start(task: bytes, answer: IO[bytes]) -> subprocess.Popen[bytes]:
    """The child at work on the task, its answer going into the file."""
    with tempfile.TemporaryFile() as question:
        question.write(task)
        question.seek(0)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM)], stdin=question, stdout=answer, stderr=subprocess.DEVNULL
        )


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], name: str, *, deadline: float, limit_s: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ReadError(
            f"{name}: NVIDIA's ncu-report library did not finish within {limit_s:.0f} s; is the report damaged?"
        ) from None


def _frames(file: IO[bytes], name: str, process: subprocess.Popen[bytes]) -> Iterator[Answered]:
    decoder = msgspec.json.Decoder(ResultFacts)
    known: dict[tuple[int, float | None], tuple[Sequence[str], Sequence[str]]] = {}
    try:
        while True:
            head = file.read(8)
            if not head:
                break
            sizes = np.frombuffer(head, dtype="<u4").astype(np.int64)
            if int(sizes[0]) > _MAX_FACTS_BYTES:
                raise ValueError
            facts = decoder.decode(file.read(int(sizes[0])))
            numbers = file.read(8 * int(sizes[1]))
            if facts.error is not None:
                raise ReadError(f"{name}: NVIDIA's ncu-report library cannot read it: {_one_line(facts.error)}")
            if facts.results is None:
                yield _answered(facts, numbers, known)
    except (ValueError, KeyError, msgspec.DecodeError):
        if process.returncode == 0:
            raise ReadError(f"{name}: NVIDIA's ncu-report library gave no sound answer; is it damaged?") from None
    if process.returncode != 0:
        raise ReadError(
            f"{name}: NVIDIA's ncu-report library {_how_it_ended(process.returncode)} on this report; is it damaged?"
        )


def _answered(
    facts: ResultFacts, numbers: bytes, known: dict[tuple[int, float | None], tuple[Sequence[str], Sequence[str]]]
) -> Answered:
    key = (facts.layout, facts.device)
    if facts.metrics is not None and facts.units is not None:
        known[key] = facts.metrics, facts.units
    metrics, units = known[key]
    at = len(metrics)
    values = np.frombuffer(numbers, dtype=np.float64, count=at) if at else np.zeros(0)
    series = []
    for one in facts.series:
        readings = np.frombuffer(numbers, dtype=np.float64, count=one.count, offset=8 * at) if one.count else values[:0]
        at += one.count
        times = None
        if one.has_times and one.count:
            times = np.frombuffer(numbers, dtype=np.int64, count=one.count, offset=8 * at)
            at += one.count
        series.append((one, readings, times))
    if 8 * at != len(numbers) or len(units) != len(metrics):
        raise ValueError
    return Answered(facts, metrics, units, values, series)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed (signal {-code})"


def _one_line(text: str) -> str:
    return " ".join(text.split())
