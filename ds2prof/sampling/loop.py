"""One run of a program, sampled from its start to its end: who is read when, and what is written."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import ds2prof
from ds2prof.sampling import host
from ds2prof.sampling.cores import Cores
from ds2prof.sampling.gpu_sources import sources
from ds2prof.sampling.gpus import Gpus
from ds2prof.sampling.marks import Marks
from ds2prof.sampling.pace import Pace, thread_ns
from ds2prof.sampling.program import NOT_FOUND, NOT_RUNNABLE, Ended, Program, signals
from ds2prof.sampling.rows import MEAN, Row, Writer, fact
from ds2prof.sampling.tree import Tree

ENV_STATUS: Final = "DS2PROF_STATUS"
_NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
_SLOW_NS: Final = _NS_PER_S
_FIND_NS: Final = _NS_PER_S // 2
_EACH_CORE_NS: Final = 5 * _NS_PER_MS
"""Rows of cores come at most every 5 ms for one, or 0.6 s for 128: a bound to the size of the file."""


@dataclass(frozen=True)
class Settings:
    """What is wanted."""

    output: Path
    command: tuple[str, ...]
    period_ms: int
    gpu: str = "auto"


def run(settings: Settings, *, environ: Mapping[str, str] = os.environ) -> int:
    """The program's exit code, once it has ended and the file is written; 1 where only the samples failed."""
    try:
        writer = Writer(settings.output)
    except OSError as error:
        return _complain(f"{settings.output}: cannot be written to: {error.strerror}", code=1)
    started: list[Program] = []

    def receive(signum: int, frame: FrameType | None) -> None:
        for program in started:
            program.receive(signum, frame)

    with signals(receive) as wake, _status(settings, environ) as status:
        try:
            started.append(Program(settings.command, environ={**environ, ENV_STATUS: str(status)}))
        except OSError as error:
            writer.close()
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
            return _complain(f"{settings.command[0]}: cannot be started: {error.strerror}", code=code)
        sampled = _sampled(_Run(settings, started[0], writer, Marks(status), environ), wake)
        ended = started[0].end()
    return ended.exit_code or (0 if sampled else 1)


@dataclass(frozen=True)
class _Run:
    """A program that runs, and where its samples go."""

    settings: Settings
    program: Program
    writer: Writer
    marks: Marks
    environ: Mapping[str, str]


def _sampled(running: _Run, wake: int) -> bool:
    """Whether sampling went well, once the program has ended or it did not."""
    try:
        with closing(_Sampler(running)) as sampler:
            sampler.until_end(wake)
            sampler.finish()
    except (OSError, ValueError, ArithmeticError) as error:  # must not cost the program its run
        _complain(f"cannot go on ({type(error).__name__}: {error}); the program does")
        running.writer.close()
        return False
    lost = running.writer.error
    if lost is not None:
        _complain(f"cannot write the samples: {lost.strerror}; they are not whole")
    return lost is None


def _complain(text: str, *, code: int = 0) -> int:
    with suppress(OSError, ValueError):
        print(f"ds2prof: sampler: {text}", file=sys.stderr, flush=True)
    return code


@contextmanager
def _status(settings: Settings, environ: Mapping[str, str]) -> Iterator[Path]:
    """The file that the program leaves its marks in: the one named already, else one beside the output."""
    named = environ.get(ENV_STATUS)
    if named:
        yield Path(named)
        return
    path = settings.output.with_name(f"{settings.output.name}.status").absolute()
    with suppress(OSError):
        path.write_bytes(b"")
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink()


def _name(command: Sequence[str]) -> str:
    """The program's name: what ``env`` starts, where the command begins with that."""
    words = iter(command)
    first = next(words)
    if Path(first).name == "env":
        first = next((word for word in words if "=" not in word and word[:1] != "-"), first)
    return Path(first).name


@dataclass
class _Task:
    """Something that is read at its own pace: ``take(start_ns, mono_ns)`` gives its rows."""

    pace: Pace
    take: Callable[[int, int], Sequence[Row]]
    at_marks: bool = False
    """Whether it is read at a mark as well, so that no period reaches over the edge of the window."""


class _Sampler:
    """Everything that is read beside one program."""

    def __init__(self, running: _Run) -> None:
        settings = running.settings
        period_ns = settings.period_ms * _NS_PER_MS
        self._program, self._writer, self._marks = running.program, running.writer, running.marks
        self._cores = Cores()
        self._tree = Tree(self._program.id)
        self._tree.begin(time.time_ns(), time.monotonic_ns())
        self._gpus = Gpus(sources(settings.gpu, running.environ), period_ms=settings.period_ms, environ=running.environ)
        self._each_core = Pace(max(period_ns, self._cores.count * _EACH_CORE_NS))
        self._now_ns, self._forced = 0, False
        self._own = _Own(self._gpus)
        self._tasks = (
            _Task(Pace(_FIND_NS), self._find),
            _Task(Pace(period_ns), self._host, at_marks=True),
            _Task(Pace(period_ns), self._tree.rows, at_marks=True),
            _Task(Pace(max(period_ns, _SLOW_NS)), self._tree.thread_rows, at_marks=True),
            _Task(Pace(max(period_ns, _SLOW_NS)), self._gathered, at_marks=True),
            _Task(Pace(max(period_ns, _SLOW_NS)), host.Quota().rows, at_marks=True),
            _Task(Pace(max(period_ns, _SLOW_NS)), lambda start_ns, _: self._tree.census_rows(start_ns)),
            _Task(Pace(max(period_ns, _SLOW_NS)), lambda start_ns, _: host.rows(start_ns)),
            _Task(Pace(_SLOW_NS), self._own.rows),
            _Task(Pace(_SLOW_NS), self._flush),
        )
        self._look_for_marks = Pace(period_ns)
        self._writer.add(self._facts(settings, running.environ))

    def _facts(self, settings: Settings, environ: Mapping[str, str]) -> list[Row]:
        at = time.time_ns()
        found = [
            fact("sampler.version", ds2prof.__version__, start_ns=at),
            fact("sampler.period_ns", settings.period_ms * _NS_PER_MS, start_ns=at),
            fact("host.name", os.uname().nodename, start_ns=at),
            fact("program.name", _name(settings.command), start_ns=at),
            fact("program.process", self._program.id, start_ns=at),
            *host.facts(at, cores=self._cores.count),
        ]
        rank = environ.get("RANK", "")
        if rank.isdecimal() and environ.get("WORLD_SIZE", "1") not in ("", "1"):
            found.append(fact("program.rank", int(rank), start_ns=at))
        return found

    def until_end(self, wake: int) -> None:
        """Returns when the program has ended; until then everything is read when it is due."""
        while not self._program.has_ended():
            now_ns = time.monotonic_ns()
            forced = self._look_for_marks.is_due(now_ns) and self._new_marks(now_ns)
            self._take_due(now_ns, forced=forced)
            self._gpus.tend()
            for news in self._gpus.news():
                _complain(news)
            self._wait(wake)

    def finish(self) -> None:
        """Reads everything once more, and says how the program ended."""
        now_ns = time.monotonic_ns()
        self._new_marks(now_ns)
        self._take_due(now_ns, forced=True)
        self._gpus.finish()
        self._writer.add(self._closing(self._program.end()))

    def _wait(self, wake: int) -> None:
        """Returns when something is due, a signal came, or a GPU's reading is there; the latter is taken."""
        due_ns = min(self._look_for_marks.due_ns, *(task.pace.due_ns for task in self._tasks))
        files = [file for file in (wake, self._gpus.file) if file is not None]
        ready, _, _ = select.select(files, [], [], max(0, due_ns - time.monotonic_ns()) / _NS_PER_S)
        if wake in ready:
            with suppress(BlockingIOError):
                os.read(wake, 4096)
        if self._gpus.file in ready:
            self._writer.add(self._gpus.read())

    def _new_marks(self, now_ns: int) -> bool:
        """Whether the program has opened or closed its window since the last look."""
        began_ns = thread_ns()
        rows = self._marks.rows()
        self._look_for_marks.done(now_ns, cost_ns=thread_ns() - began_ns)
        self._writer.add(rows)
        return bool(rows)

    def _take_due(self, now_ns: int, *, forced: bool) -> None:
        """Reads what is due; with ``forced`` also what must not reach over the edge of the window.

        All paces count from one moment, so that what is due together is read in one go.
        """
        self._now_ns, self._forced = now_ns, forced
        for task in self._tasks:
            if task.pace.is_due(now_ns) or (forced and task.at_marks):
                began_ns = thread_ns()
                self._writer.add(task.take(time.time_ns(), time.monotonic_ns()))
                if task.pace.is_due(now_ns):
                    task.pace.done(now_ns, cost_ns=thread_ns() - began_ns)

    def _find(self, _start_ns: int, _mono_ns: int) -> Sequence[Row]:
        self._tree.find()
        return ()

    def _host(self, start_ns: int, mono_ns: int) -> Sequence[Row]:
        each = self._each_core.is_due(self._now_ns)
        began_ns = thread_ns()
        rows = self._cores.rows(start_ns, mono_ns, each=each or self._forced)
        if each:
            self._each_core.done(self._now_ns, cost_ns=thread_ns() - began_ns)
        return rows

    def _gathered(self, start_ns: int, _mono_ns: int) -> Sequence[Row]:
        return self._gpus.slow_rows(start_ns)

    def _flush(self, _start_ns: int, _mono_ns: int) -> Sequence[Row]:
        self._writer.flush()
        return ()

    def _closing(self, ended: Ended) -> list[Row]:
        """What is known only at the end; the last of it says that the file is whole."""
        at = time.time_ns()
        return [
            fact("program.cpu_s", ended.cpu_s, start_ns=at),
            fact("program.max_resident_bytes", ended.max_resident_kib << 10, start_ns=at),
            fact("program.exit_code", ended.exit_code, start_ns=at),
            *(fact("gpu.trouble", text, start_ns=at) for text in self._gpus.complaints),
            fact("gpu.readings", self._gpus.readings, start_ns=at),
            fact("sampler.end", 1, start_ns=at),
        ]

    def close(self) -> None:
        """Lets go of everything, and writes the rest."""
        self._gpus.close()
        self._tree.close()
        self._cores.close()
        self._writer.close()


class _Own:
    """What sampling itself takes: of this process, and of the child that reads GPUs."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._spent_ns = 0
        self._child: tuple[int | None, int] = (None, 0)
        self._mono_ns: int | None = None
        self._start_ns = 0

    def rows(self, start_ns: int, mono_ns: int) -> list[Row]:
        """How many cores it took since the last call."""
        spent_ns, child = time.process_time_ns(), (self._gpus.process, _run_ns(self._gpus.process))
        took_ns = spent_ns - self._spent_ns
        if child[0] == self._child[0]:
            took_ns += child[1] - self._child[1]
        begin_ns, begin_mono_ns = self._start_ns, self._mono_ns
        self._spent_ns, self._child, self._start_ns, self._mono_ns = spent_ns, child, start_ns, mono_ns
        if begin_mono_ns is None or mono_ns <= begin_mono_ns:
            return []
        period_ns = mono_ns - begin_mono_ns
        return [Row("sampler.cpu", "cores", max(0, took_ns) / period_ns, begin_ns, period_ns, aggregation=MEAN)]


def _run_ns(process: int | None) -> int:
    """How long the first thread of a process has run; 0 where that is not told."""
    if process is None:
        return 0
    try:
        cells = Path(f"/proc/{process}/schedstat").read_bytes().split()
    except OSError:
        return 0
    return int(cells[0]) if cells and cells[0].isdigit() else 0
