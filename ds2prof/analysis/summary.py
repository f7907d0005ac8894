"""A profile at a glance: how busy the device was, what costs most, its pipes, and what to ask next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.analysis import (
    core,
    findings,
    kernels,
    ledger,
    ledger_sets,
    losses,
    memory,
    questions,
    sampled_core,
    samples,
    sums,
    throughput,
    totals,
)
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.losses import Loss
from ds2prof.analysis.roofline import tables as roofline
from ds2prof.devices import vendor_of
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

BY: Final = "summary"
TIMELINE, COUNTERS, SUMS, CALLS = "timeline", "counters", "sums", "calls"
HOST, READINGS, LOG, MEMORY = "host", "readings", "log", "memory"
TABLES: Final = tuple(
    dict.fromkeys(
        (
            *questions.tables_for(None),
            *questions.tables_for(ledger.BY),
            *questions.tables_for("phase"),
            *roofline.TABLES,
            *samples.TABLES,
        )
    )
)
_NEXT: Final = 3
_ITERATED: Final = {TIMELINE: ledger.BY, SUMS: ledger.BY, HOST: "phase"}
"""The question whose totals hold what repeated iterations say."""


@dataclass(frozen=True)
class Ask:
    """A question to the same file that is worth asking next: ``--by``, ``--per``, and why."""

    by: str
    why: str
    per: str | None = None


@dataclass(frozen=True)
class Summary:
    """What one profile comes to.

    Attributes:
        kind: timeline, counters, sums, calls, host, readings, log or memory: what the file can tell at all.
        totals: as of :func:`.questions.totals_of`.
        ledger: the window by cause, of a timeline.
        losses: what costs most, the dearest first (all of them).
        classes, names: the time of kernels or operators by class and by name, where there are any.
        readings: each metric of a sampler's file.
        pipes: utilization of the pipes, from counters or samples; None where the file has neither.
        asks: what to ask of this file next; each is answered by it.
        missing: what the file cannot tell.
        notes: what qualifies the numbers.
        vendor: who made the devices that worked, None where their names do not tell.
    """

    kind: str
    totals: Mapping[str, Any]
    ledger: Answer | None
    losses: tuple[Loss, ...]
    classes: Answer | None
    names: Answer | None
    readings: Answer | None
    pipes: Answer | None
    asks: tuple[Ask, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    vendor: str | None = None


def summary(profile: Profile) -> Summary:
    """The profile at a glance; what it cannot tell is named rather than left out."""
    profile.require(*TABLES)
    kind = kind_of(profile)
    account = _asked(lambda: ledger.idle_ledger(profile)) if kind in (TIMELINE, SUMS) else None
    found_totals = questions.totals_of(profile, _ITERATED.get(kind) if account is not None or kind == HOST else None)
    found = _losses(profile, kind, found_totals)
    has_kernels = kind in (TIMELINE, COUNTERS, SUMS, HOST)
    classes, names = (
        _asked(lambda by=by: kernels.kernel_times(profile, by)) if has_kernels else None for by in ("class", "name")
    )
    readings = samples.metrics(profile, each_core=False) if kind == READINGS else None
    pipes = _pipes(profile)
    return Summary(
        *(kind, found_totals, account, tuple(found), classes, names, readings, pipes),
        asks=tuple(_asks(profile, kind, found, pipes))[:_NEXT],
        missing=tuple(_missing(profile, kind, pipes)),
        notes=_notes(account, readings, pipes),
        vendor=vendor(profile),
    )


def vendor(profile: Profile) -> str | None:
    """Who made the devices; the maker of the tool where they have no names."""
    names = [str(name) for name in profile.table("devices")["name"].tolist() if name]
    made = [maker for maker in map(vendor_of, names) if maker is not None]
    return made[0] if made else ("amd" if profile.meta.tool.startswith("rocprof") else None)


def kind_of(profile: Profile) -> str:
    """What the file can tell: the sort of summary that it gets."""
    kernels_table = profile.table("kernels")
    if throughput.is_run_log(profile):
        return LOG
    if memory.has_memory(profile):
        return MEMORY
    if samples.has_samples(profile):
        return READINGS
    if profile.meta.domain == "cpu":
        return HOST if len(profile.table("ops")) else CALLS
    if profile.meta.times == "replay" or (len(kernels_table) and core.has_counters(profile)):
        return COUNTERS
    if not totals.launches(kernels_table) and not len(profile.table("copies")):
        return CALLS
    try:
        ledger_sets.check_times(profile)
    except MissingDataError:
        return SUMS
    return TIMELINE


def _asked(question: Any) -> Answer | None:
    """The answer; None where the file lacks what it takes."""
    try:
        answer: Answer = question()
    except MissingDataError:
        return None
    return answer


def _losses(profile: Profile, kind: str, found_totals: Mapping[str, Any]) -> list[Loss]:
    if kind == TIMELINE:
        return losses.of_timeline(profile)
    if kind in (COUNTERS, SUMS):
        return losses.of_counters(profile)
    if kind == HOST:
        return losses.of_host(profile)
    if kind == READINGS:
        return losses.of_readings(profile)
    if kind == MEMORY:
        return losses.of_memory(profile)
    return losses.of_log(found_totals) if kind == LOG else []


def _pipes(profile: Profile) -> Answer | None:
    """Utilization of the pipes while kernels ran by counters, else over real time by samples."""
    if len(profile.table("kernels")) and core.has_counters(profile):
        return core.core_utilization(profile)
    return sampled_core.sampled_utilization(profile) if sampled_core.has_pipe_samples(profile) else None


_WHY: Final = {
    "idle": (ledger.BY, "all causes of idle time, to the nanosecond"),
    "roof": (roofline.GAIN, "which kernels have most to gain below their roofs"),
    "unit": ("name", "every kernel beside the units that it uses"),
    "kernel": ("name", "every kernel and its time"),
    "operator": ("name", "every operator and its time"),
    "readings": (questions.METRIC, "every metric that was read"),
    "padding": ("iteration", "each iteration with its padding"),
    "memory": (memory.BY, "every moment of the iteration with the highest peak"),
}


def _asks(profile: Profile, kind: str, found: list[Loss], pipes: Answer | None) -> list[Ask]:
    """What to ask next: about the dearest losses first, then what the file has besides."""
    asks: dict[str, Ask] = {}
    for loss in found[:3]:
        by, why = _WHY[loss.kind]
        asks.setdefault(by, _split(profile, why) if by == ledger.BY else Ask(by, why))
    if kind == TIMELINE and any(loss.name == "exposed_communication" for loss in found[:3]):
        asks.setdefault("rank", Ask("rank", "communication and waiting; give the files of all ranks"))
    if pipes is not None and kind in (TIMELINE, COUNTERS):
        asks.setdefault("core", Ask("core", "the pipes, with the metric that stands for each"))
    if kind == CALLS:
        asks.update({by: Ask(by, f"the {by} table: all that this file holds") for by in _held(profile)})
    if kind in (TIMELINE, SUMS, COUNTERS):
        asks.setdefault("name", Ask("name", "every kernel and its time"))
    if kind == LOG:
        asks.setdefault("iteration", Ask("iteration", "each iteration"))
    if kind == HOST:
        asks.update({by: Ask(by, f"the same time by {by}") for by in ("phase", "layer") if _has(profile, by)})
        asks.setdefault("class", Ask("class", "the same time by class of operator"))
    if kind == MEMORY:
        asks.setdefault("layer", Ask("layer", "which layers hold it"))
    if kind == READINGS and not asks:
        asks[questions.METRIC] = Ask(*_WHY["readings"])
    return list(asks.values())


def _split(profile: Profile, why: str) -> Ask:
    """The ledger, by phase or iteration where the file tells them."""
    per = next((key for key in ("phase", "iteration") if _has(profile, key)), None)
    return Ask(ledger.BY, why if per is None else f"which {per} loses it, and to what", per)


def _has(profile: Profile, key: str) -> bool:
    if profile.meta.domain == "cpu":
        return _asked(lambda: questions.answers(profile, key)[0]) is not None
    return bool(belonging(profile, key).keys)


def _held(profile: Profile) -> list[str]:
    return [by for by, name in sums.TABLE_OF.items() if len(profile.table(name))]


def _missing(profile: Profile, kind: str, pipes: Answer | None) -> list[str]:
    """What the file cannot tell, a line each."""
    lacking = []
    if kind == COUNTERS and profile.meta.times == "replay":
        lacking.append("busy share and idle time: launches were replayed to read counters; a timeline tells them")
    if kind == SUMS:
        lacking.append("busy share and idle time: the file has sums, not the time of each launch")
    if kind == CALLS:
        lacking.append("kernels: no launches in this file; was the window open while work was launched?")
        if not _held(profile):
            lacking.append("anything else: neither calls nor ranges, operators or readings")
    if kind == HOST:
        lacking.append("busy share: a run without a GPU; all times are of host operators")
    if kind == READINGS:
        lacking.append("which kernels ran, and why the device was idle: readings know of no launches")
    if kind == LOG:
        lacking.append("busy share, kernels, idle time: a log of iterations; a capture tells them")
    if kind == MEMORY:
        lacking.append("time: a log of memory; a capture tells it")
    if pipes is None and kind in (TIMELINE, COUNTERS, SUMS):
        lacking.append("pipes: neither counters nor samples of any in this file")
    return lacking


def _notes(*answers: Answer | None) -> tuple[str, ...]:
    """What qualifies the answers, the ledger's causes in words left out: they stand among the losses."""
    causes = tuple(f"{cause}: {words}" for cause, words in findings.WORDS.items())
    told = [note for answer in answers if answer is not None for note in answer.notes]
    return tuple(dict.fromkeys(note for note in told if not note.startswith(causes)))
