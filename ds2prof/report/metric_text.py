"""Metric plans and the canonical pipe table as text and documents."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ds2prof.capture.metric_passes import Count
from ds2prof.capture.metric_plans import MetricPlan
from ds2prof.counters import ELAPSED_SHARE, PIPES, SUBSET_OF, TBD_PIPES, bases
from ds2prof.metrics.flop import flop_weights
from ds2prof.metrics.table import CHIPS, DEPRECATED, SOURCE

WIDTH: Final = 80
_INDENT: Final = "  "


def plan_text(plan: MetricPlan, counts: Mapping[str, Count], *, tool: str | None = None, width: int = WIDTH) -> str:
    """What a plan asks for, what it lacks and how many passes it takes, for people.

    Args:
        plan: the plan.
        counts: chip -> its passes.
        tool: the Nsight Compute that the plan was cut to; None where it was to none.
        width: the columns to fill.
    """
    lines = [f"{', '.join(plan.want)} for {chips_text(plan.chips)}: {passes_text(plan, counts)}", ""]
    for quantity, meaning in dict.fromkeys((line.quantity, line.meaning) for line in plan.lines):
        lines += textwrap.wrap(f"{quantity}: {meaning}", width, subsequent_indent=_INDENT)
        of_it = [line for line in plan.lines if line.quantity == quantity]
        lines += [f"{_INDENT * 2}{line.metric}{f'  {line.note}' if line.note else ''}" for line in of_it]
    if plan.absent:
        lines += ["", "wanted, but not there:"]
        lines += [line for each in plan.absent for line in _wrapped(f"{each.quantity}: {each.reason}", width)]
    if plan.dropped:
        lines += ["", f"fell out, since {tool or 'this ncu'} does not list it:"]
        lines += [
            f"{_INDENT}{metric}{f'{chr(10)}{_INDENT * 2}{instead} stands in' if instead else ''}"
            for metric, instead in plan.dropped
        ]
    return "\n".join(lines)


def chips_text(chips: Sequence[str]) -> str:
    """The chips of a plan, in words."""
    if not chips:
        return "an unknown chip (names that all known chips have)"
    return chips[0] if len(chips) == 1 else f"{' or '.join(chips)} (names that all of them have)"


def passes_text(plan: MetricPlan, counts: Mapping[str, Count]) -> str:
    """How many metrics and passes, and who says so."""
    size = f"{len(plan.names)} metrics"
    if not counts:
        return f"{size}; how many passes they take is not known: pip install 'ds2prof[passes]' tells"
    numbers = sorted({count.passes for count in counts.values()})
    sources = " and ".join(sorted({count.source for count in counts.values()}))
    text = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    unknown = [chip for chip in plan.chips if chip not in counts]
    rest = f"; not known for {' '.join(unknown)}" if unknown else ""
    return f"{size}, {text} {'pass' if numbers == [1] else 'passes'} a launch by {sources} (ncu may add some){rest}"


def plan_document(plan: MetricPlan, counts: Mapping[str, Count]) -> dict[str, Any]:
    """A plan as JSON: names for the tool, and all that the text says."""
    return {
        "schema": "ds2prof-metric-plan/1",
        "chips": list(plan.chips),
        "want": list(plan.want),
        "names": list(plan.names),
        "metrics": [
            {**line._asdict(), "flop_per_count": _flop(plan, line.quantity, line.metric)} for line in plan.lines
        ],
        "absent": [each._asdict() for each in plan.absent],
        "dropped": [each._asdict() for each in plan.dropped],
        "passes": {chip: count._asdict() for chip, count in counts.items()},
    }


def pipe_rows(chips: Sequence[str] = CHIPS) -> Iterator[dict[str, Any]]:
    """The canonical pipe table, a row for each chip, pipe and metric; ``order`` 1 is the one that is read."""
    for chip in chips:
        for pipe in PIPES:
            for order, base in enumerate(bases(pipe, chip=chip), start=1):
                yield {"chip": chip, "pipe": pipe, "order": order, "metric": base, "note": _note(pipe, base, chip)}


def table_text(chips: Sequence[str] = CHIPS, *, width: int = WIDTH) -> str:
    """The canonical pipe table for a terminal: chips that have the same metrics in one block."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for chip in chips:
        alike.setdefault(tuple(_block(chip)), []).append(chip)
    head = f"Canonical pipes and their metrics, the best first, each as NAME.avg.{ELAPSED_SHARE}. Source: {SOURCE}."
    lines = textwrap.wrap(head, width)
    for block, having in alike.items():
        lines += ["", *textwrap.wrap(" ".join(having), width), *block]
    return "\n".join(lines)


def _block(chip: str) -> Iterator[str]:
    for pipe in PIPES:
        found = bases(pipe, chip=chip)
        if not found:
            yield f"{_INDENT}{pipe:<7} not on this chip"
        for place, base in enumerate(found):
            note = _note(pipe, base, chip)
            yield f"{_INDENT}{pipe if place == 0 else '':<7} {base}{f'  {note}' if note else ''}"


def _note(pipe: str, base: str, chip: str) -> str:
    notes = [
        f"a part of {SUBSET_OF[base]}" if base in SUBSET_OF else "",
        "deprecated" if chip in DEPRECATED.get(base, ()) else "",
        "ancestor's" if base in TBD_PIPES.get("sfu" if pipe == "xu" else pipe, ()) else "",
    ]
    return ", ".join(note for note in notes if note)


def _flop(plan: MetricPlan, quantity: str, metric: str) -> int | None:
    kind = quantity.removesuffix("_flop")
    if kind == quantity or len(plan.chips) != 1:
        return None
    return flop_weights(kind, plan.chips[0]).get(metric.partition(".")[0])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT * 2,
        break_long_words=False,
        break_on_hyphens=False,
    )
