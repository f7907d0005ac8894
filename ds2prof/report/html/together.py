"""What several files tell only together: side by side, joined, by batch size, as ranks of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.analysis import join as joins
from ds2prof.analysis import ranks
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.join import Joined
from ds2prof.analysis.summary import COUNTERS, LOG, MEMORY, READINGS, TIMELINE, Summary
from ds2prof.errors import Ds2profError
from ds2prof.report.html import charts
from ds2prof.report.html.cells import fact, grid, named, said, without_lone
from ds2prof.report.html.model import Fact, Figure, Grid, Section
from ds2prof.tables import Profile

_JOIN_COLUMNS: Final = ("stretch", "device", "pipe", "utilization", "effective_utilization", "coverage", "matched",
                        "extrapolated", "launches", "metric")  # fmt: skip
_MOST_KEYS: Final = 60
_OVERVIEW: Final = ("name", "tool", "batch_size", "precision", "gpu_compute_utilization", "window_ns", "window_source",
                    "step_ns", "samples_per_s", "audio_s_per_s", "peak_bytes")  # fmt: skip
_RANK: Final = ("rank", "device", "window_ns", "window_source", "steps", "step_ns", "compute_ns", "communication_ns",
                "overlap", "exposed_communication_ns", "exposed_copy_ns", "idle_ns", "wait_ns", "caused_wait_ns",
                "clock_error_ns")  # fmt: skip
_STRAGGLER: Final = ("straggler", "waiting", "calls", "wait_ns", "wait_error_ns", "longest_wait_ns", "longest_in",
                     "longest_collective", "longest_iteration")  # fmt: skip


@dataclass(frozen=True)
class Told:
    """One file: its profile, what it comes to, and what it is called on the page."""

    profile: Profile
    found: Summary
    name: str


def batch_size(profile: Profile) -> int | None:
    """The batch size that the sidecar or the log states; None where neither does."""
    for facts in (profile.meta.run or {}, profile.meta.facts):
        value = facts.get("batch_size")
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _longest_window_ns(totals: Mapping[str, Any]) -> int | None:
    """The window of the device that has the longest: the total is the sum over devices."""
    windows = [each["window_ns"] for each in totals.get("devices") or () if each.get("window_ns") is not None]
    return max(windows, default=totals.get("window_ns"))


def overview(told: Sequence[Told], ident: str) -> Section | None:
    """All files in one table; None for a single one."""
    if len(told) < 2:
        return None
    rows = [
        {
            **each.found.totals,
            "name": each.name,
            "tool": each.profile.meta.tool,
            "batch_size": batch_size(each.profile),
            "precision": (each.profile.meta.run or {}).get("precision"),
            "window_ns": _longest_window_ns(each.found.totals),
        }
        for each in told
    ]
    answer = Answer("name", {name: [row.get(name) for row in rows] for name in _OVERVIEW})
    made = grid(f"{ident}-table", "What each file comes to", answer, columns=_OVERVIEW)
    notes = []
    sources = {row["window_source"] for row in rows if row.get("window_source")}
    if len(sources) > 1:
        notes.append(f"windows are from different sources ({', '.join(sorted(sources))}): do not compare busy shares")
    terms = ("gpu_compute_utilization", "window", "step_ns", "throughput")
    return Section(ident, "Files side by side", grids=[made], notes=notes, terms=terms)


# ---- joined


def joined_of(told: Sequence[Told], *, sm_clock_hz: float | None) -> tuple[list[tuple[Told, Told, Joined]], list[str]]:
    """(timeline, counters, their join) of those that belong together, and why others could not be joined.

    A timeline and a counters file belong together where they are the only ones, or the only ones of their batch size.
    """
    made: list[tuple[Told, Told, Joined]] = []
    why: list[str] = []
    sampler = next((each.profile for each in told if each.found.kind == READINGS), None)
    for timeline, counted in _pairs(told):
        try:
            found = joins.join(timeline.profile, counted.profile, sm_clock_hz=sm_clock_hz, sampler=sampler)
        except Ds2profError as error:
            reason = str(error).removeprefix(f"{timeline.profile.meta.file}: ")
            why.append(f"{timeline.name} and {counted.name} were not joined: {reason}")
            continue
        made.append((timeline, counted, found))
    return made, why


def _pairs(told: Sequence[Told]) -> list[tuple[Told, Told]]:
    timelines = [each for each in told if each.found.kind == TIMELINE]
    counted = [each for each in told if each.found.kind == COUNTERS]
    if len(timelines) == 1 and len(counted) == 1:
        return [(timelines[0], counted[0])]
    made = []
    for batch in sorted({batch_size(each.profile) or 0 for each in counted} - {0}):
        one = [each for each in timelines if batch_size(each.profile) == batch]
        other = [each for each in counted if batch_size(each.profile) == batch]
        if len(one) == 1 and len(other) == 1:
            made.append((one[0], other[0]))
    return made


def join_section(timeline: Told, counted: Told, joined: Joined, ident: str, *, label: str = "") -> Section:
    """Utilization in the real run: counters put on the launches of a timeline; ``label`` tells several apart."""
    core = joins.table(joined, "core")
    grids: list[Grid] = [
        grid(
            f"{ident}-core",
            "Each pipe: while busy, and effective, idle time included; bounds below",
            without_lone(core, "device"),
            columns=_JOIN_COLUMNS,
            key="pipe",
            bars=("utilization", "effective_utilization"),
            bounded=True,
        )
    ]
    lines = list(core.notes)
    for by in ("phase", "layer", "class"):
        try:
            answer = joins.table(joined, by)
        except Ds2profError as error:
            lines.append(str(error).removeprefix(f"{timeline.profile.meta.file}: ").partition(";")[0])
            continue
        pipes = [name for name in answer.columns if f"{name}_low" in answer.columns]
        columns = [name for name in answer.columns if not name.endswith(("_low", "_high"))]
        made = grid(
            f"{ident}-{by}", f"By {by}: each pipe's share of its own peak while busy; bounds below", answer,
            columns=columns, key=by if by in columns else columns[0], bars=pipes, top=_MOST_KEYS, bounded=True,
            nothing=f"(outside any {by})",
        )  # fmt: skip
        grids.append(made)
        lines += answer.notes
    lead = f"Counters of {counted.name} put on the launches of {timeline.name}: work survives replay, rates do not."
    notes = said(list(dict.fromkeys(lines)))
    terms = ("utilization", "effective_utilization", "matched", "coverage")
    title = f"Core utilization in the real run{label}"
    return Section(ident, title, lead=lead, grids=grids, notes=notes, terms=terms)


# ---- by batch size


def sweep(told: Sequence[Told], joined: Sequence[tuple[Told, Told, Joined]], ident: str) -> Section | None:
    """What grows with the batch, where files of several batch sizes were given; None else."""
    by_batch: dict[int, list[Told]] = {}
    for each in told:
        batch = batch_size(each.profile)
        if batch is not None:
            by_batch.setdefault(batch, []).append(each)
    if len(by_batch) < 2:
        return None
    rows = [_sweep_row(batch, by_batch[batch], joined) for batch in sorted(by_batch)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    answer = Answer("batch_size", {name: [row.get(name) for row in rows] for name in names})
    shares = {
        name: answer.columns[name] for name in names if name not in _NO_SHARES and any(_known(answer.columns[name]))
    }
    figures: list[Figure] = []
    if shares:
        labels = {name: "GPU busy" if name == "gpu_compute_utilization" else name for name in shares}
        lines = {labels[name]: list(values) for name, values in shares.items()}
        figures.append(charts.sweep_lines(f"{ident}-lines", sorted(by_batch), lines))
    made = grid(f"{ident}-table", "One row for each batch size", answer, columns=names)
    terms = ("batch_size", "gpu_compute_utilization", "utilization", "throughput", "step_ns")
    return Section(ident, "By batch size", figures=figures, grids=[made], notes=_mixed(told), terms=terms)


_NO_SHARES: Final = ("batch_size", "window_ns", "step_ns", "samples_per_s", "audio_s_per_s", "padded_s_per_s",
                     "peak_bytes")  # fmt: skip


def _known(values: Sequence[Any]) -> list[bool]:
    return [value is not None for value in values]


def _sweep_row(batch: int, files: Sequence[Told], joined: Sequence[tuple[Told, Told, Joined]]) -> dict[str, Any]:
    """The figures of one batch size: each from the one kind of file that tells it best."""
    row: dict[str, Any] = {"batch_size": batch}
    for kind, names in (
        (TIMELINE, ("gpu_compute_utilization", "step_ns")),
        (LOG, ("samples_per_s", "audio_s_per_s", "padded_s_per_s")),
        (MEMORY, ("peak_bytes",)),
    ):
        totals: Mapping[str, Any] = next((each.found.totals for each in files if each.found.kind == kind), {})
        row.update({name: totals.get(name) for name in names})
    pipes = next((each.found.pipes for each in files if each.found.pipes is not None), None)
    if pipes is not None:
        lowest = min((device for device in pipes.columns["device"] if device is not None), default=None)
        for each in pipes.rows():
            if each["device"] == lowest:
                row[each["pipe"]] = each["utilization"] if each["utilization"] is not None else None
    return row


def _mixed(told: Sequence[Told]) -> list[str]:
    """What else differs between the files, so that a row is not only its batch."""
    notes = []
    for name in ("preset", "precision"):
        found = {str(run[name]) for each in told if (run := each.profile.meta.run or {}).get(name) is not None}
        if len(found) > 1:
            notes.append(f"the files differ in more than their batch: {name} is {', '.join(sorted(found))}")
    repeated = [batch_size(each.profile) for each in told if each.found.kind == TIMELINE]
    if len(set(repeated)) < len(repeated):
        notes.append("several timelines have the same batch size: the first of them stands for it")
    return notes


# ---- ranks


def rank_section(told: Sequence[Told], ident: str) -> Section | None:
    """The ranks of a run, where several files (or devices) are parts of one; None else."""
    parts = [each for each in told if each.found.kind == TIMELINE]
    if len(parts) < 2 or len({each.profile.meta.rank for each in parts} - {None}) < 2:
        return None
    try:
        run = ranks.run_of([lane for each in parts for lane in ranks.lanes_of(each.profile)])
        by_rank, straggler = ranks.answer(run, "rank"), ranks.answer(run, "straggler")
    except Ds2profError as error:
        return Section(ident, "Ranks", missing=named(str(error), limit=600), terms=("wait_ns", "overlap"))
    totals = ranks.run_totals(run)
    whose = "Each rank in its own window; a step is the median one, on the device"
    grids = [grid(f"{ident}-table", whose, by_rank, columns=_RANK)]
    if len(straggler):
        caption = "Who came last, and who waited for it"
        grids.append(grid(f"{ident}-straggler", caption, straggler, columns=_STRAGGLER))
    facts: list[Fact] = [
        fact(name, totals[name])
        for name in ("communication_ns", "exposed_communication_ns", "overlap", "wait_ns", "clock_error_ns")
        if totals.get(name) is not None
    ]
    notes = said(list(dict.fromkeys((*by_rank.notes, *straggler.notes))))
    lead = "Communication, exposed communication and waits are sums over all ranks."
    terms = ("wait_ns", "overlap", "ledger")
    return Section(ident, "Ranks", lead=lead, facts=facts, grids=grids, notes=notes, terms=terms)
