"""The first screen: how busy the device was, what costs most, how much of the pipes was used, what to look at next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import join as joins
from ds2prof.analysis import losses
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.estimates import answer as estimate
from ds2prof.analysis.join import Joined
from ds2prof.analysis.summary import COUNTERS, HOST, LOG, MEMORY, READINGS, SUMS, TIMELINE
from ds2prof.errors import Ds2profError
from ds2prof.report.advice import advice_on
from ds2prof.report.html.cells import fact, grid, named, of_window, text_of, total_text
from ds2prof.report.html.model import Fact, Grid, Loss, Verdict
from ds2prof.report.html.together import Told
from ds2prof.report.html.words import NOUNS, how_counters

_LOSSES: Final = 3
_ORDER: Final = (TIMELINE, COUNTERS, SUMS, HOST, READINGS, LOG, MEMORY)
_LOSSES_TITLES: Final[Mapping[str, str]] = {MEMORY: "Largest parts of the peak", HOST: "Longest operators"}


def subject(told: Sequence[Told]) -> Told:
    """The file that the verdict is about: the first timeline, else what tells most."""
    return min(told, key=lambda each: _ORDER.index(each.found.kind) if each.found.kind in _ORDER else len(_ORDER))


def verdict(told: Sequence[Told], joined: Sequence[tuple[Told, Told, Joined]]) -> Verdict:
    """The first screen of the page."""
    one = subject(told)
    of_join = next((each for timeline, _, each in joined if timeline is one), None)
    pipes, title = _pipes(told, one, of_join)
    cards = _cards(one.found.losses[:_LOSSES])
    return Verdict(
        headline=_headline(one),
        about="" if len(told) == 1 else f"This screen is about {one.name}; the other files are below.",
        busy=_busy(one),
        facts=_facts(one),
        losses_title=_losses_title(one),
        losses=cards,
        no_losses="" if cards else _no_losses(one),
        pipes=pipes,
        no_pipes="" if pipes is not None else _no_pipes(one),
        pipes_title=title,
        advice=_advice(one, has_pipes=of_join is not None or one.found.pipes is not None),
    )


def _losses_title(one: Told) -> str:
    """What the list is called: nothing is known to be lost where only times are known."""
    if one.found.losses and one.found.losses[0].kind == "kernel":
        return "Longest kernels"
    title = _LOSSES_TITLES.get(one.found.kind, "Largest losses")
    devices = len(one.found.totals.get("devices") or ())
    return f"{title}, summed over {devices} devices" if one.found.kind == TIMELINE and devices > 1 else title


def _busy(one: Told) -> Fact | None:
    share = one.found.totals.get("gpu_compute_utilization")
    return None if share is None else fact("gpu_compute_utilization", share, label="GPU busy")


def _headline(one: Told) -> str:
    kind, totals = one.found.kind, one.found.totals
    if kind == TIMELINE:
        busy = text_of("gpu_compute_utilization", totals["gpu_compute_utilization"])
        first = one.found.losses[0] if one.found.losses else None
        most = "" if first is None else f"; the largest loss: {_title(first)}"
        return f"The GPU was busy for {busy} of the window{most}."
    if kind == COUNTERS:
        pipes = (
            [] if one.found.pipes is None else [row for row in one.found.pipes.rows() if row["utilization"] is not None]
        )
        if not pipes:
            return "Counters of replayed launches; none of a pipe among them."
        top = max(pipes, key=lambda row: row["utilization"])
        reached = text_of("utilization", top["utilization"])
        return f"While kernels ran, {top['pipe']} was the busiest pipe: {reached} of its peak."
    if kind == LOG and totals.get("samples_per_s") is not None:
        return f"The training made {text_of('samples_per_s', totals['samples_per_s'])} samples a second."
    if kind == MEMORY and totals.get("peak_bytes") is not None:
        return f"At its peak the device held {units.format_bytes(totals['peak_bytes'])}."
    return {
        SUMS: "Sums of kernels' times: what took longest, but not when.",
        HOST: "A run without a GPU: host operators and their times.",
        READINGS: "Readings of a sampler: how the machine was used, but not by what.",
        LOG: "A log of iterations: how fast the training went.",
        MEMORY: "Memory: what the device must hold at its peak.",
    }.get(kind, "No device work in this file.")


_SHOWN: Final = (
    ("window_ns", "Window"),
    ("window_busy_ns", "Busy in it"),
    ("step_ns", "Mean step"),
    ("samples_per_s", "Samples/s"),
    ("audio_s_per_s", "Audio s/s"),
    ("kernel_dur_ns", "Kernel time"),
    ("launches", "Launches"),
    ("peak_bytes", "Peak memory"),
    ("mfu", "MFU"),
)


def _facts(one: Told) -> list[Fact]:
    totals = one.found.totals
    made = []
    for name, label in _SHOWN:
        if totals.get(name) is not None:
            text = f"{totals[name]:,}" if name == "launches" else total_text(name, totals)
            made.append(Fact(label, text, name, totals[name], fact(name, 0).term))
    return made


def _title(loss: losses.Loss) -> str:
    if loss.kind == "idle":
        return NOUNS.get(loss.name, loss.name)
    name = named(loss.name, limit=90)
    return f"{name} kernels below their roof" if loss.kind == "roof" else name


def _cards(found: Sequence[losses.Loss]) -> list[Loss]:
    """The losses as cards; the same advice stands below the first of them alone."""
    cards = [_card(loss) for loss in found]
    advice = [card.advice for card in cards]
    return [card if card.advice not in advice[:place] else replace(card, advice="") for place, card in enumerate(cards)]


def _card(loss: losses.Loss) -> Loss:
    share = Fact(f"of the {loss.of}", text_of("share", loss.share), "share", loss.share)
    where = "; ".join(named(line, limit=300) for line in loss.details[:2])
    words = f"{loss.words[:1].upper()}{named(loss.words, limit=300)[1:]}"
    return Loss(loss.name, _title(loss), _cost(loss), share, f"{words}; {where}" if where else words, advice_on(loss))


def _cost(loss: losses.Loss) -> Fact | None:
    """What it costs in bytes or time; None where only its share is known."""
    if loss.cost_bytes is not None:
        return Fact("cost", units.format_bytes(loss.cost_bytes), "cost_bytes", loss.cost_bytes)
    return None if loss.cost_ns is None else fact("cost_ns", loss.cost_ns, label="cost")


def _no_losses(one: Told) -> str:
    return next(iter(one.found.missing), "nothing stands out in this file")


# ---- pipes


def _pipes(told: Sequence[Told], one: Told, joined: Joined | None) -> tuple[Grid | None, str]:
    """The pipes that are known best, and what the numbers are."""
    if joined is not None:
        rows = joins.table(joined, "core")
        window = [row for row in range(len(rows)) if rows.columns["stretch"][row] == "window"]
        kept = Answer("core", {name: [values[row] for row in window] for name, values in rows.columns.items()})
        return _pipe_grid(kept, ("pipe", "utilization", "effective_utilization", "coverage")), "Pipes in the real run"
    if one.found.pipes is not None:
        return _pipe_grid(one.found.pipes, ("pipe", "utilization", "effective_utilization", "coverage")), "Pipes"
    other = next((each for each in told if each.found.pipes is not None), None)
    if other is not None:
        title = f"Pipes, by {named(other.name, limit=60)}"
        return _pipe_grid(other.found.pipes, ("pipe", "utilization", "effective_utilization", "coverage")), title
    try:
        answer = estimate(one.profile, "occupancy")
    except Ds2profError:
        return None, "Pipes"
    shown = of_window(answer)
    columns = ("device", "est_sm_efficiency", "est_achieved_occupancy", "coverage")
    if not len(shown):
        return None, "Pipes"
    caption = "Estimates from grids and times, not readings"
    return grid("verdict-pipes", caption, shown, columns=columns, bars=columns[1:3]), "Pipes: estimates only"


def _pipe_grid(answer: Answer | None, columns: Sequence[str]) -> Grid:
    assert answer is not None
    devices = list(dict.fromkeys(answer.columns["device"]))
    shown: Any = ("device", *columns) if len(devices) > 1 else columns
    caption = "Share of each pipe's own peak"
    bars = ("utilization", "effective_utilization")
    return grid("verdict-pipes", caption, answer, columns=shown, key="pipe", bars=bars, bounded=True)


def _no_pipes(one: Told) -> str:
    if one.found.kind in (TIMELINE, COUNTERS, SUMS):
        return f"No counters of the pipes in this file: {how_counters(one.found.vendor)}."
    return "This kind of file knows nothing of pipes."


# ---- what next


def _advice(one: Told, *, has_pipes: bool) -> list[str]:
    """What to look at next: what the file itself answers, then what another capture would add."""
    name = "FILE"
    lines = []
    for ask in one.found.asks:
        per = "" if ask.per is None else f" --per {ask.per}"
        lines.append(f"ds2prof parse {name} --by {ask.by}{per}: {ask.why}")
    if one.found.kind == TIMELINE and not has_pipes:
        lines.append(f"Pipes are not known: {how_counters(one.found.vendor)}")
    if one.found.kind == COUNTERS:
        lines.append(
            "Busy share and idle time are not known: capture a timeline (ds2prof run nsys -- COMMAND) and give both"
        )
    return lines
