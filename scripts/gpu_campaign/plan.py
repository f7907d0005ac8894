"""What a campaign is made of: parts of steps, each step one command, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

Status = Literal["delivered", "failed", "skipped"]

RECORDS: Final = "records"
"""The folder of logs, checks and sidecars: what is read by people."""
MEASUREMENTS: Final = "measurements"
"""The folder of what ``ds2prof parse`` reads by itself."""
REPORTS: Final = "reports"
"""The folder of what NVIDIA's own tools or libraries are needed for."""


@dataclass
class Learned:
    """What earlier steps tell of later ones."""

    startup_s: dict[int, float] = field(default_factory=dict)
    """Batch size -> how long a run up to and with the window takes without counters."""
    launches: dict[int, float] = field(default_factory=dict)
    """Batch size -> kernel launches for each frame of a batch's longest utterance."""
    counters_s: float | None = None
    """What one launch costs under Nsight Compute with the core metrics."""
    no_counters: str | None = None
    """Why hardware counters cannot be read here."""


@dataclass(frozen=True)
class Done:
    """What became of a step."""

    name: str
    status: Status
    reason: str | None = None
    """Why it failed or was not run."""
    note: str | None = None
    """Its result in a few words."""
    command: tuple[str, ...] = ()
    exit_code: int | None = None
    dur_ns: int = 0
    limit_s: float | None = None
    files: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    """Processes that it left running and that were ended."""
    late: bool = False
    """Whether it was not run, or stopped, for want of time: more time would help."""


def _no_reason(_learned: Learned) -> str | None:
    return None


def _no_estimate(_learned: Learned) -> float | None:
    return None


def _no_words(_time_s: float) -> tuple[str, ...]:
    return ()


def _no_lesson(_learned: Learned, _done: Done) -> str | None:
    return None


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: what its log is named by; no two steps of a campaign share one.
        command: what is run.
        files: what it must have written, relative to the working folder.
        besides: what it may write besides.
        priority: of its files when not all fit, 0 before 1.
        stdout: the file that its standard output goes to; None: to the log.
        sidecar_of: the file whose sidecar also tells how this step's file came to be.
        unless: why it is not to be run, asked when its turn comes; None where nothing speaks against it.
        expects_s: how long it will take, as far as that can be told by then.
        learn: what its end teaches; gives its result in a few words.
        environ: variables of its own.
        cut: words added to the command that fit it into so many seconds, of one that can measure more or less.
    """

    name: str
    command: tuple[str, ...]
    files: tuple[str, ...] = ()
    priority: int = 5
    besides: tuple[str, ...] = ()
    stdout: str | None = None
    sidecar_of: str | None = None
    unless: Callable[[Learned], str | None] = _no_reason
    expects_s: Callable[[Learned], float | None] = _no_estimate
    learn: Callable[[Learned, Done], str | None] = _no_lesson
    environ: tuple[tuple[str, str], ...] = ()
    cut: Callable[[float], tuple[str, ...]] = _no_words

    def within(self, time_s: float) -> Step:
        """The step, its command cut to ``time_s``."""
        return replace(self, command=(*self.command, *self.cut(time_s)))


@dataclass(frozen=True)
class Part:
    """Steps that answer one question, most valuable first.

    Attributes:
        name: what ``--parts`` calls it.
        title: what it is, for people.
        weight: its share of the time that is left when its turn comes, against those of the parts behind it.
        steps: what is run.
        skipped: why none of it can be run here.
    """

    name: str
    title: str
    weight: float
    steps: tuple[Step, ...] = ()
    skipped: str | None = None


@dataclass
class PartDone:
    """What became of a part."""

    part: Part
    share_s: float = 0.0
    steps: list[Done] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """Failed if one of its steps did; skipped if none was run."""
        found = {done.status for done in self.steps}
        if "failed" in found:
            return "failed"
        return "delivered" if "delivered" in found else "skipped"

    @property
    def reason(self) -> str | None:
        """Why it was skipped, or the first reason why one of its steps failed."""
        wanted = "skipped" if self.status == "skipped" else "failed"
        return self.part.skipped or next((done.reason for done in self.steps if done.status == wanted), None)

    @property
    def dur_ns(self) -> int:
        """What its steps took together."""
        return sum(done.dur_ns for done in self.steps)

    @property
    def files(self) -> tuple[str, ...]:
        """All that its steps wrote and that is kept."""
        return tuple(name for done in self.steps for name in done.files)

    def facts(self) -> dict[str, Any]:
        """The part as campaign.json holds it."""
        return {
            "name": self.part.name,
            "title": self.part.title,
            "status": self.status,
            "reason": self.reason,
            "share_s": round(self.share_s, 1),
            "dur_ns": self.dur_ns,
            "steps": [_step_facts(done) for done in self.steps],
        }


def _step_facts(done: Done) -> dict[str, Any]:
    facts = asdict(done)
    del facts["late"]
    facts["limit_s"] = None if done.limit_s is None else round(done.limit_s, 1)
    return facts


def counted(dones: list[Done]) -> str:
    """``3 delivered, 1 skipped``: the steps by what became of them."""
    statuses = [done.status for done in dones]
    kinds: tuple[Status, ...] = ("delivered", "failed", "skipped")
    return ", ".join(f"{statuses.count(kind)} {kind}" for kind in kinds if kind in statuses)
