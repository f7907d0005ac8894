"""Who gets how much of the time. Parts take turns, each with a share of what is left, by weight.

What a part leaves unused falls to those behind it. A step begins only if the time that is left to its part covers what
it is known to take: by what was learned of it, else by the longest step of its part so far. One that can measure more
or less is told how long it has. What was put off for want of time, and what was stopped, has a second turn at the end,
with all that is left then.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from ds2prof.capture.outcome import last_words, tail
from ds2prof.errors import Ds2profError
from ds2prof.measurements import read_sidecar, temporary_path, write_sidecar
from ds2prof.units import NS_PER_S
from gpu_campaign.plan import RECORDS, Done, Learned, Part, PartDone, Step
from gpu_campaign.running import GRACE, Ended, Grace, Limits, Told, run

_CLOSING_SHARE: Final = 0.03
"""Of the whole time, for packing and writing down."""
_STOPPING_SHARE: Final = 0.02
"""Of the whole time, for a step to end in when all time is up."""
_LEAST_SHARE: Final = 0.01
"""Of the whole time: with less, no step is begun."""
_RETRY_FACTOR: Final = 1.5
"""What a step was stopped after, times this, must be left for a second try."""
_PARTIAL: Final = ".*.partial*"
"""How files are named in which something is still being written (:func:`ds2prof.measurements.temporary_path`)."""
_NOT_WRITTEN: Final = re.compile(r"^ds2prof: |; no measurement was written, .*$")
"""What a failed capture says of its log, which is a record here."""
_LOG_HEAD_BYTES: Final = 128 << 10
_LOG_TAIL_BYTES: Final = 384 << 10


@dataclass(frozen=True)
class Setting:
    """Where and for how long a campaign runs."""

    root: Path
    """The checkout, where commands are run."""
    work: Path
    """Where results are written."""
    environ: Mapping[str, str]
    total_s: float
    started_s: float
    """On the monotonic clock."""
    grace: Grace = GRACE

    @property
    def deadline_s(self) -> float:
        """When the last step must have ended."""
        return self.started_s + self.total_s * (1 - _CLOSING_SHARE)

    def left_s(self) -> float:
        """What is left for steps."""
        return self.deadline_s - self.total_s * _STOPPING_SHARE - time.monotonic()


def carried_out(
    parts: Sequence[Part], setting: Setting, *, learned: Learned, told: Told, ended: Callable[[PartDone], None]
) -> list[PartDone]:
    """What became of each part; ``ended`` is told as each ends, and again where a second turn changed one."""
    done = [PartDone(part) for part in parts]
    for at, each in enumerate(done):
        weights = sum(other.weight for other in parts[at:] if other.skipped is None)
        each.share_s = setting.left_s() * each.part.weight / weights if each.part.skipped is None else 0.0
        until_s = time.monotonic() + each.share_s
        for step in each.part.steps if each.part.skipped is None else ():
            left_s = min(until_s - time.monotonic(), setting.left_s())
            each.steps.append(step_done(step, each, setting, left_s=left_s, learned=learned, told=told))
        ended(each)
    for each, at in list(_late(done)):
        if told.signum is None and setting.left_s() > _least_s(setting):
            again = _second_turn(each, at, setting, learned=learned, told=told)
            if again is not None:
                each.steps[at] = again
                ended(each)
    return done


def _late(done: Sequence[PartDone]) -> Iterator[tuple[PartDone, int]]:
    """The steps that more time would help; those not yet begun before those that were stopped, which may hang again."""
    for status in ("skipped", "failed"):
        for each in done:
            for at, step in enumerate(each.steps):
                if step.late and step.status == status:
                    yield each, at


def _second_turn(each: PartDone, at: int, setting: Setting, *, learned: Learned, told: Told) -> Done | None:
    """What became of a step at its second turn; None where it still does not fit."""
    before, step = each.steps[at], each.part.steps[at]
    left_s = setting.left_s()
    if before.status == "failed" and left_s < _RETRY_FACTOR * (before.limit_s or 0):
        return None
    again = step_done(step, each, setting, left_s=left_s, learned=learned, told=told)
    return None if again.status == "skipped" else again


def _least_s(setting: Setting) -> float:
    return setting.total_s * _LEAST_SHARE


def step_done(step: Step, each: PartDone, setting: Setting, *, left_s: float, learned: Learned, told: Told) -> Done:
    """What became of a step; it is skipped where something speaks against it or the time does not suffice."""
    if told.signum is not None:
        return Done(step.name, "skipped", "the campaign was ended before", command=step.command)
    against = step.unless(learned)
    if against is not None:
        return Done(step.name, "skipped", against, command=step.command)
    expected_s = step.expects_s(learned) or _longest_s(each)
    if left_s < max(expected_s, _least_s(setting)):
        about = f", and it takes about {expected_s:.0f} s" if expected_s > max(left_s, 0) else ""
        reason = f"{max(left_s, 0):.0f} s were left for it{about}"
        return Done(step.name, "skipped", reason, command=step.command, late=True)
    step = step.within(left_s)
    try:
        done = _run(step, setting, limit_s=left_s, told=told)
        if done.status == "delivered" and step.sidecar_of is not None:
            done = replace(done, files=(*done.files, *_sidecar(step, setting.work)))
    except (OSError, Ds2profError) as error:  # a full disk, most likely: what was written before is still there
        return Done(step.name, "failed", f"its files cannot be written: {error}", command=step.command)
    return replace(done, note=_lesson(step, learned, done))


def _lesson(step: Step, learned: Learned, done: Done) -> str | None:
    """What a step's end teaches; nothing where its files are not as they should be: their readers will say so."""
    try:
        return step.learn(learned, done)
    except (OSError, ValueError, LookupError, ArithmeticError):
        return None


def _longest_s(each: PartDone) -> float:
    """What the longest step of a part took that ended well; 0 where none did."""
    return max((done.dur_ns / NS_PER_S for done in each.steps if done.status == "delivered"), default=0.0)


def _run(step: Step, setting: Setting, *, limit_s: float, told: Told) -> Done:
    """A step run to its end. Its files count only if it ended well; what it left of them otherwise goes."""
    work, log_name = setting.work, f"{RECORDS}/{step.name}.log"
    for name in (log_name, *step.files):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
    limits = Limits(time_s=limit_s, end_s=setting.deadline_s, grace=setting.grace)
    with ExitStack() as stack:
        log = stack.enter_context((work / log_name).open("wb", buffering=0))
        stdout, partial = _stdout(step, work, stack)
        ended = run(
            step.command,
            cwd=setting.root,
            environ={**setting.environ, **dict(step.environ)},
            log=log,
            stdout=stdout,
            limits=limits,
            told=told,
        )
    if partial is not None and step.stdout is not None:
        _settle(partial, work / step.stdout, kept=ended.exit_code == 0)
    reason = _why_failed(step, ended, work, work / log_name)
    if reason is not None:
        _clear((*step.files, *step.besides), work)
    logs = [name for name in (log_name, *_moved_logs(step, work)) if _shortened(work / name)]
    return Done(
        step.name,
        "delivered" if reason is None else "failed",
        reason,
        command=step.command,
        exit_code=ended.exit_code,
        dur_ns=ended.dur_ns,
        limit_s=limit_s,
        files=_present((*step.files, *step.besides), work) if reason is None else (),
        logs=tuple(logs),
        leftovers=ended.leftovers,
        late=bool(ended.stopped) and told.signum is None,
    )


def _stdout(step: Step, work: Path, stack: ExitStack) -> tuple[BinaryIO | None, Path | None]:
    """The file that standard output goes to while the step runs."""
    if step.stdout is None:
        return None, None
    partial = temporary_path(work / step.stdout)
    return stack.enter_context(partial.open("wb")), partial


def _settle(partial: Path, path: Path, *, kept: bool) -> None:
    """Puts what was printed in its place, or away."""
    if kept and partial.stat().st_size:
        partial.replace(path)
    else:
        partial.unlink()


def _moved_logs(step: Step, work: Path) -> tuple[str, ...]:
    """The logs that a failed capture left beside its measurement's place; they are records now."""
    moved = []
    for name in step.files:
        log = work / f"{name}.log"
        if log.is_file():
            moved.append(f"{RECORDS}/{log.name}")
            log.replace(work / moved[-1])
    return tuple(moved)


def _why_failed(step: Step, ended: Ended, work: Path, log: Path) -> str | None:
    """Why a step did not deliver; None where it did."""
    said = _NOT_WRITTEN.sub("", last_words(tail(log).replace(f"{work}/", "")))
    if ended.stopped is not None:
        return f"{ended.stopped}{f'; its last words: {said}' if said else ''}"
    if ended.exit_code != 0:
        return f"exit code {ended.exit_code}{f': {said}' if said else ''}"
    missing = [name for name in step.files if not (work / name).is_file()]
    return f"it ended well but did not write {', '.join(missing)}" if missing else None


def _present(names: Sequence[str], work: Path) -> tuple[str, ...]:
    """The files, each followed by its sidecar where there is one."""
    found = [other for name in names for other in (name, f"{name}.meta.json")]
    return tuple(name for name in found if (work / name).is_file())


def _clear(names: Sequence[str], work: Path) -> None:
    """Removes what a step was to write, and what it was writing under other names when it was killed."""
    for name in names:
        for other in (name, f"{name}.meta.json"):
            (work / other).unlink(missing_ok=True)
    for folder in {(work / name).parent for name in names}:
        for path in folder.glob(_PARTIAL):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _sidecar(step: Step, work: Path) -> tuple[str, ...]:
    """The sidecar of a file that was made from another, with what is known of that one."""
    facts = read_sidecar(work / step.sidecar_of) if step.sidecar_of else None
    if facts is None:
        return ()
    told = {name: value for name, value in facts.items() if name != "schema"}
    write_sidecar(work / step.files[0], {**told, "made_from": Path(step.sidecar_of or "").name})
    return (f"{step.files[0]}.meta.json",)


def _shortened(log: Path) -> bool:
    """Whether a log holds anything; the middle of a long one is cut out, and one that is empty goes."""
    size_bytes = log.stat().st_size
    if size_bytes == 0:
        log.unlink()
        return False
    cut = size_bytes - _LOG_HEAD_BYTES - _LOG_TAIL_BYTES
    if cut > 0:
        partial = temporary_path(log)
        with log.open("rb") as long, partial.open("wb") as short:
            short.write(long.read(_LOG_HEAD_BYTES))
            short.write(f"\n[... {cut} bytes left out ...]\n".encode())
            long.seek(-_LOG_TAIL_BYTES, os.SEEK_END)
            shutil.copyfileobj(long, short)
        partial.replace(log)
    return True
