"""Readings of GPUs while the program runs: one source after the other is tried until one tells something.

A source is a child, so that a driver that hangs does not hang the sampler. One that says nothing for long, or ends, is
replaced: before its first reading by the next one, after that by itself, a few times. The program notices none of it.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ds2prof.sampling import gpu_sources
from ds2prof.sampling.gpu_fields import Reading, Slow, quick_rows
from ds2prof.sampling.gpu_sources import Again, Device, Said, Source
from ds2prof.sampling.program import tie_to_parent
from ds2prof.sampling.rows import Row, fact

_NS_PER_S: Final = 1_000_000_000
_CHUNK_BYTES: Final = 1 << 16
_MAX_LINE_BYTES: Final = 1 << 14
_SAID_CHARACTERS: Final = 100


@dataclass(frozen=True)
class Patience:
    """How long is waited for a source, and how often it is tried again."""

    silence_s: float = 20.0
    """A driver without persistence mode takes seconds for the first answer."""
    restarts: int = 3
    again_s: float = 2.0


PATIENCE: Final = Patience()


class Gpus:
    """The source that tells, and what it has told.

    Args:
        sources: those to be tried, in this order.
        period_ms: time between two readings.
        environ: what they are started in.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        period_ms: int,
        environ: Mapping[str, str] = os.environ,
        patience: Patience = PATIENCE,
    ) -> None:
        self._waiting = list(sources)
        self._period_ms = period_ms
        self._environ = environ
        self._patience = patience
        self._source: Source | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._named: Source | None = None
        self._is_told = False
        self._rest = b""
        self._said = ""
        self._heard_ns = 0
        self._again_ns: int | None = None
        self._restarts = patience.restarts
        self._slow = Slow()
        self.file: int | None = None
        """What is to be watched for something to read; None while no source runs."""
        self.readings = 0
        self.complaints: list[str] = []
        """Why there are no readings, or none any more."""
        self._next()

    @property
    def process(self) -> int | None:
        """The child's id."""
        return None if self._child is None else self._child.pid

    def _next(self) -> None:
        """Starts the next source that is here."""
        while self._waiting and self.file is None:
            self._source = self._waiting.pop(0)
            self._start()

    def _start(self) -> None:
        """Starts the source, again or for the first time."""
        assert self._source is not None
        self._again_ns, self._said = None, ""
        command = self._source.command(self._period_ms)
        if not command:
            self.complaints.append(f"{self._source.name}: not on this machine")
            return
        # Towards a pipe a program may hold back its lines until there are many; towards a terminal it does not.
        ours, theirs = pty.openpty() if self._source.terminal else os.pipe()
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs if self._source.terminal else subprocess.DEVNULL,
                env=self._source.environ(self._environ),
                start_new_session=True,
                preexec_fn=tie_to_parent(signal.SIGKILL),
            )
        except OSError as error:
            os.close(ours)
            self.complaints.append(f"{self._source.name}: cannot be started: {error.strerror}")
            return
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        self.file, self._rest, self._heard_ns = ours, b"", time.monotonic_ns()

    def read(self) -> list[Row]:
        """What the source has printed since the last call."""
        if self.file is None:
            return []
        try:
            new = os.read(self.file, _CHUNK_BYTES)
        except BlockingIOError:
            return []
        except OSError:  # a terminal whose other end was closed
            new = b""
        if not new:
            self._ended()
            return []
        self._heard_ns = time.monotonic_ns()
        *lines, self._rest = (self._rest + new)[-_CHUNK_BYTES:].split(b"\n")
        self._rest = self._rest[-_MAX_LINE_BYTES:]
        return [row for line in lines for row in self._rows(line.decode("utf-8", "replace").strip())]

    def _rows(self, line: str) -> list[Row]:
        assert self._source is not None
        found: list[Row] = []
        for said in self._source.read(line, gpu_sources.now_ns()):
            if isinstance(said, Reading):
                self.readings += 1
                self._slow.add(said)
                found += quick_rows(said)
            elif isinstance(said, Device):
                found += self._described(said)
            elif isinstance(said, Again):
                self._again_ns = time.monotonic_ns()
            elif isinstance(said, Said):
                self._said = said.text
        return found

    def _described(self, device: Device) -> list[Row]:
        """Facts of a device that the source names for the first time."""
        assert self._source is not None
        at = gpu_sources.now_ns()
        if device.entity is not None:
            return [fact("gpu.slice", device.entity, start_ns=at, device=device.index)]
        source, self._named = [] if self._named is self._source else [self._source.name], self._source
        return [
            *(fact("gpu.source", name, start_ns=at) for name in source),
            fact("gpu.name", device.name, start_ns=at, device=device.index),
            fact("gpu.uuid", device.uuid, start_ns=at, device=device.index),
            *([] if device.memory_bytes is None else [_memory(device, at)]),
        ]

    def slow_rows(self, now_ns: int) -> list[Row]:
        """What was gathered since the last call."""
        return list(self._slow.rows(now_ns))

    def tend(self) -> None:
        """Replaces a source that has been silent for too long, and starts one again whose time has come."""
        now_ns = time.monotonic_ns()
        if self.file is not None and now_ns - self._heard_ns > self._patience.silence_s * _NS_PER_S:
            self._said = f"nothing for {self._patience.silence_s:.0f} s"
            self._ended()
        elif self.file is None and self._again_ns is not None and now_ns >= self._again_ns:
            self._start()

    def _ended(self) -> None:
        """Lets go of a source that has ended, and finds another."""
        self._stop()
        if self._again_ns is not None:  # it was asked for something that it does not know
            return
        assert self._source is not None
        said = self._said.partition(". ")[0][:_SAID_CHARACTERS].rstrip(". ") or "ended without a word"
        self.complaints.append(f"{self._source.name}: {said}")
        if not self.readings:
            self._next()
        elif self._restarts:
            self._restarts -= 1
            self._again_ns = time.monotonic_ns() + int(self._patience.again_s * _NS_PER_S)

    def _stop(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None
        if self._child is not None:
            self._child.kill()  # it holds nothing that could be lost
            with suppress(subprocess.TimeoutExpired):  # one that the driver holds does not die
                self._child.wait(0.5)
            self._child = None

    def news(self) -> list[str]:
        """What the user should know: that there are no readings, or none any more. It is said once."""
        if self._is_told or not self.complaints or self.file is not None or self._again_ns is not None:
            return []
        self._is_told = True
        why = "; ".join(self.complaints)
        if self.readings:
            return [f"the readings of the GPUs end here ({why})"]
        return [f"no GPU is sampled ({why}); the host alone is"]

    def finish(self) -> None:
        """Takes note that nothing more will be read."""
        if not self.readings and self._child is not None and self._source is not None:
            self.complaints.append(f"{self._source.name}: the program ended before its first reading")

    def close(self) -> None:
        """Ends the source."""
        self._again_ns = None
        self._waiting.clear()
        self._stop()


def _memory(device: Device, start_ns: int) -> Row:
    return fact("gpu.memory_bytes", device.memory_bytes, start_ns=start_ns, device=device.index)
