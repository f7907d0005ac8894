"""One file answered: what ``ds2prof parse`` does for each, in this process or in another.

What comes back is small and plain, so that it can be sent: answers and totals, never the profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ds2prof.errors import Ds2profError, MissingDataError, ReadError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ds2prof.analysis.answers import Answer
    from ds2prof.analysis.ranks import Lane
    from ds2prof.analysis.uncertainty.beside import Lengths
    from ds2prof.analysis.uncertainty.clocks import Readings
    from ds2prof.analysis.windows import TimeWindow
    from ds2prof.parsers.sources import Progress
    from ds2prof.tables import Meta, Profile

_HEAD_BYTES: Final = 1 << 16
RUN_KEYS: Final = ("rank", "collective", "straggler")
"""What is asked of all files together, as one run of several ranks."""


@dataclass(frozen=True)
class Question:
    """What is asked of each file: ``--by``, ``--format``, ``--per``; and what lies beside them all."""

    by: str | None
    form: str
    per: Any = None
    lengths: Sequence[Lengths] = ()
    """What run logs among the files tell of padded lengths."""

    @property
    def is_of_run(self) -> bool:
        """Whether the files are asked together."""
        return self.by in RUN_KEYS


@dataclass(frozen=True)
class Result:
    """One profile, answered; for a question to a whole run, its lanes."""

    meta: Meta
    warnings: tuple[str, ...]
    devices: Sequence[str]
    answers: Sequence[Answer] = ()
    totals: dict[str, Any] = field(default_factory=dict)
    tbd_lines: Sequence[tuple[str, float | None]] = ()
    lanes: Sequence[Lane] = ()
    window: TimeWindow | None = None
    readings: Readings | None = None
    """What a sampler's file tells of clocks."""


@dataclass(frozen=True)
class Part:
    """What one path gave: a result for each profile, why the rest gave none, and what was lost of those on reading."""

    results: Sequence[Result]
    failures: Sequence[Ds2profError]
    warnings: Sequence[str] = ()


def part_of(file: str, *, question: Question, progress: Progress | None = None) -> Part:
    """The profiles behind one path, answered; one bad file does not cost the others."""
    results: list[Result] = []
    failures: list[Ds2profError] = []
    warnings: list[str] = []
    for profile in _profiles(file, question, progress=progress, failures=failures):
        try:
            results.append(_answered(profile, question))
        except (MissingDataError, ReadError) as error:
            failures.append(error)
            warnings += profile.warnings  # what is missing may be what was cut off
        except OSError as error:
            failures.append(_unreadable(profile.meta.file, error))
    return Part(results, failures, warnings)


def _unreadable(file: str, error: OSError) -> ReadError:
    """What a disk or a network that fails while a file is being read comes to: that file's failure, and no other's."""
    return ReadError(f"{file}: cannot be read: {error.strerror or error}")


def parts_on(
    files: Sequence[str], question: Question, *, where: str, workers: int | None, done: Callable[[int], None]
) -> list[Part]:
    """The parts of all files, each a task on Dask; ``done`` is told after each.

    Raises:
        UsageError: standard input is among the files: other processes cannot read it.
    """
    from ds2prof.cli.cluster import LOCAL, cluster, mapped

    if "-" in files:
        raise UsageError("--dask: other processes cannot read standard input; name a file, or drop --dask")
    tasks = list(files) if where == LOCAL else [str(Path(file).resolve()) for file in files]
    with cluster(where, workers=None if where != LOCAL else min(workers or len(tasks), len(tasks))) as client:
        found = mapped(client, partial(part_of, question=question), tasks, done=done)
    return [Part((), (each,)) if isinstance(each, Ds2profError) else each for each in found]


def each_file(paths: Sequence[str]) -> list[str]:
    """The paths, a folder replaced by the measurements in it; one without any stays, for its reader to refuse."""
    from ds2prof.measurements import is_measurement
    from ds2prof.parsers.sources import natural_key

    files: list[str] = []
    for path in paths:
        found: list[str] = []
        if path and path != "-" and Path(path).is_dir():
            with suppress(OSError):  # its reader says what is wrong
                inside = sorted(Path(path).iterdir(), key=lambda each: natural_key(each.name))
                found = [str(each) for each in inside if is_measurement(each)]
        files += found or [path]
    return files


def _profiles(
    file: str, question: Question, *, progress: Progress | None, failures: list[Ds2profError]
) -> Iterator[Profile]:
    from ds2prof.analysis import questions
    from ds2prof.parsers import read_all

    tables = questions.tables_for("core" if question.form == "tbd" else question.by)
    try:
        yield from read_all(file, tables=tables, progress=progress, refused=failures.append)
    except ReadError as error:
        failures.append(error)
    except OSError as error:
        failures.append(_unreadable(file, error))


def _answered(profile: Profile, question: Question) -> Result:
    from ds2prof.analysis import core, questions, ranks

    if question.is_of_run:
        return Result(profile.meta, profile.warnings, (), lanes=ranks.lanes_of(profile))
    if question.form == "tbd":
        return Result(profile.meta, profile.warnings, (), tbd_lines=core.tbd_lines(profile))
    log = _laid_beside(profile, question.lengths)
    found = questions.answers(profile, question.by, screens=question.form == "table", per=question.per)
    if log is not None:
        found[0] = replace(found[0], notes=(*found[0].notes, f"padded lengths of the iterations: {log}"))
    totals = questions.totals_of(profile, question.by)
    result = Result(profile.meta, profile.warnings, devices_of(profile), found, totals)
    return _with_times(result, profile)


def _laid_beside(profile: Profile, lengths: Sequence[Lengths]) -> str | None:
    """The run log whose padded lengths the profile's iterations were given; None where none fits."""
    if not lengths:
        return None
    from ds2prof.analysis.uncertainty.beside import lay_beside

    return lay_beside(profile, lengths)


def lengths_beside(paths: Sequence[str], by: str | None) -> tuple[Lengths, ...]:
    """What the run logs among several files tell of padded lengths, where the answer is of iterations."""
    from ds2prof.analysis import questions
    from ds2prof.parsers import parser, read

    files = [file for file in each_file(paths) if file != "-" and Path(file).is_file()]
    if len(files) < 2 or not questions.is_of_iterations(by):
        return ()
    from ds2prof.analysis.uncertainty.beside import TABLES, lengths_of

    found = []
    for file in files:
        with suppress(OSError, ReadError):  # whoever answers it says what is wrong
            with Path(file).open("rb") as stream:
                is_log = parser("ds2prof_run").sniff(stream.read(_HEAD_BYTES))
            found += [lengths_of(read(file, tables=TABLES))] if is_log else []
    return tuple(found)


def _with_times(result: Result, profile: Profile) -> Result:
    """The result with what lets a sampler's file be laid beside a timeline."""
    from ds2prof.analysis import samples
    from ds2prof.analysis.uncertainty.clocks import readings_of
    from ds2prof.analysis.windows import time_window

    if samples.has_samples(profile):
        return replace(result, readings=readings_of(profile))
    timed = profile.meta.clock == "unix" and result.totals.get("window_ns") is not None
    return replace(result, window=time_window(profile)) if timed else result


def with_clocks(results: Sequence[Result]) -> list[Result]:
    """The results; those of timelines with what a sampler's file among them tells of the clock in their window."""
    readings = [result.readings for result in results if result.readings is not None]
    return [_with_clocks(result, readings) for result in results]


def _with_clocks(result: Result, readings: Sequence[Readings]) -> Result:
    from ds2prof.analysis.uncertainty.clocks import clocks_beside

    if result.window is None or not result.answers:
        return result
    found = (clocks_beside(result.meta, result.window, each).devices for each in readings)
    clocks = next((devices for devices in found if devices), ())
    if not clocks:
        return result
    first, *others = result.answers
    noted = replace(first, notes=(*first.notes, *(clock.said() for clock in clocks)))
    totals = {**result.totals, "sm_clocks": [clock.as_dict() for clock in clocks]}
    return replace(result, answers=[noted, *others], totals=totals)


def devices_of(profile: Profile) -> list[str]:
    """The names of the devices, those that did work first of all."""
    from ds2prof.analysis import totals

    devices = profile.table("devices")
    used = totals.devices_of(profile.table("kernels"))
    rows = zip(devices["device"].tolist(), devices["name"].tolist(), strict=True)
    return [f"{device} {name}" for device, name in rows if name and (device in used or not used)]
