"""The processes of a DeepMark measurement: one for each card, each with a limit on its memory. Needs no PyTorch.

Every measurement, a probe or the whole pass, is made by fresh processes: what does not fit dies alone, and no
measurement finds the memory that another one left behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.deepmark_plan import Minibatch

_ROOT: Final = Path(__file__).resolve().parents[2]
_DIED_OF_MEMORY: Final = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)
"""What ends a process that its memory ran out under: the kernel's own doing, and native code's."""
_SAID_OF_MEMORY: Final = (
    "bad_alloc",
    "memoryerror",
    "cannot allocate memory",
    "failed to map segment",
    "can't start new",
)
"""What its last words say, in small letters, where its memory was too little for even its libraries."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured, batch size apart.

    Attributes:
        preset: Name of the workload.
        device: As ``--device`` names it; ``cpu`` where it is the host.
        precision: What it computes in.
        seed: Decides weights and contents.
        memory_limit_bytes: What one process may use: of the host's memory, or of the device's; None for all.
    """

    preset: str
    device: str
    precision: str
    seed: int
    memory_limit_bytes: int | None


class DoesNotFit(Exception):  # noqa: N818  # an outcome that is looked for, not an error
    """A measurement's memory ran out. The message says how."""


class TookTooLong(Exception):  # noqa: N818
    """A measurement was ended because its time was up."""


@dataclass(frozen=True)
class Timed:
    """What the cards measured.

    Attributes:
        rows: (forward, backward, all) in nanoseconds for each minibatch: of the card that took longest for it.
        facts: What the first card says of itself: ``parameters, device, versions, events``.
        peak_bytes: The most memory that one card used; None where unknown.
        reserved_bytes: The most that its allocator took; None where unknown.
    """

    rows: list[tuple[int, int, int]]
    facts: dict[str, Any]
    peak_bytes: int | None
    reserved_bytes: int | None


def measure(
    setting: Setting,
    batches: Sequence[Minibatch],
    *,
    warmup: Sequence[Minibatch],
    max_s: float | None = None,
    timeout_s: float | None = None,
    said: Callable[[int], None] = lambda done: None,
) -> Timed:
    """The times of the minibatches, measured in a process for each card.

    Args:
        setting: On what.
        batches: What is timed, in order.
        warmup: What is computed before.
        max_s: No minibatch but the first is begun after this time.
        timeout_s: The processes are ended after this time.
        said: Told now and then how many minibatches are done.

    Raises:
        DoesNotFit: the memory ran out.
        TookTooLong: the time was up.
        Ds2profError: it cannot be measured here.
    """
    cards = len(batches[0].parts)
    environ = _environment(cards)
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                _Child(_request(setting, batches, warmup=warmup, card=card, max_s=max_s), environ, card)
            )
            for card in range(cards)
        ]
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        answers = _answers(children, deadline_s, said)
    return _together(answers)


def _request(
    setting: Setting, batches: Sequence[Minibatch], *, warmup: Sequence[Minibatch], card: int, max_s: float | None
) -> dict[str, Any]:
    """What one card's process is asked for."""
    return {
        **asdict(setting),
        "warmup": [batch.parts[card] for batch in warmup],
        "parts": [batch.parts[card] for batch in batches],
        "together": [all(count for _, count in batch.parts) for batch in batches],
        "max_s": max_s,
    }


def _environment(cards: int) -> dict[str, str]:
    """What all processes of a measurement find in their environment."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    environ = {"GOMP_SPINCOUNT": "1000", **own, "PYTHONPATH": path}
    if cards == 1:
        return environ
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "OMP_NUM_THREADS": str(max(cores // cards, 1)),
        **environ,
        "WORLD_SIZE": str(cards),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Child:
    """A process of :mod:`ds2prof.train.deepmark_child`, ended when this context is left."""

    def __init__(self, request: dict[str, Any], environ: dict[str, str], card: int) -> None:
        self._request = request
        self._environ = {**environ, "RANK": str(card), "LOCAL_RANK": str(card)} if "WORLD_SIZE" in environ else environ
        self.last: dict[str, Any] = {}
        self.done = 0

    def __enter__(self) -> _Child:
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ds2prof.train.deepmark_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environ,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        """Hands the request over and keeps what is answered."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(self._request) + "\n")
            stdin.flush()  # and stays open: its end tells the process that nobody waits any more
        except BrokenPipeError:
            return  # it died at once; how is in its exit code
        for line in stdout:
            if not line.startswith("{"):
                continue  # a library that prints
            answer = json.loads(line)
            if "done" in answer:
                self.done = int(answer["done"])
            else:
                self.last = answer

    def ended(self) -> bool:
        """Whether the process is no more and all it said has been read."""
        if self.process.poll() is None:
            return False
        self._reader.join(10)
        return True

    def complaint(self) -> str:
        """The last line that it wrote to standard error."""
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else f"exit code {self.process.returncode}"

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what it never read
                    stream.close()
        self._errors.close()


def _answers(children: Sequence[_Child], deadline_s: float | None, said: Callable[[int], None]) -> list[dict[str, Any]]:
    """What each process answered, once all have; as soon as one fails, how."""
    told = 0
    while True:
        ended = [child for child in children if child.ended()]
        for child in sorted(ended, key=_orphaned):
            _refuse(child)
        if len(ended) == len(children):
            return [child.last["result"] for child in children]
        if deadline_s is not None and time.monotonic() > deadline_s:
            raise TookTooLong
        if children[0].done != told:
            told = children[0].done
            said(told)
        time.sleep(0.02)


def _orphaned(child: _Child) -> bool:
    """Whether a process ended because another one had: its own words would hide the cause."""
    return "result" not in child.last and "onnection" in child.complaint()


def _refuse(child: _Child) -> None:
    """Nothing, if the process that has ended answered with a result.

    Raises:
        DoesNotFit: its memory ran out.
        Ds2profError: it failed in another way.
    """
    if "result" in child.last:
        return
    if "exhausted" in child.last:
        raise DoesNotFit(child.last["exhausted"])
    if "error" in child.last:
        kind = UsageError if child.last.get("code") == UsageError.exit_code else Ds2profError
        raise kind(child.last["error"])
    code = child.process.returncode
    if code < 0 and -code in _DIED_OF_MEMORY:
        raise DoesNotFit(f"ended by {signal.Signals(-code).name}")
    complaint = child.complaint()
    if any(words in complaint.lower() for words in _SAID_OF_MEMORY):
        raise DoesNotFit("out of memory")
    raise Ds2profError(f"a process of the benchmark failed: {complaint}")


def _together(answers: Sequence[dict[str, Any]]) -> Timed:
    """The cards' answers as one: each minibatch as the slowest card had it."""
    rows = [
        max(each, key=lambda row: row[0] + row[1]) for each in zip(*(answer["rows"] for answer in answers), strict=True)
    ]
    facts = {key: answers[0][key] for key in ("parameters", "device", "versions", "events")}
    peaks, reserved = (
        [answer[key] for answer in answers if answer[key] is not None] for key in ("peak_bytes", "reserved_bytes")
    )
    return Timed([tuple(row) for row in rows], facts, max(peaks, default=None), max(reserved, default=None))
