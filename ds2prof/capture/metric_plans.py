"""What to ask Nsight Compute for on a chip: names that exist there, what each one means, and what the chip lacks.

A plan is made for the chips that a GPU can be (one, where its name decides) and for what is wanted; it holds names
that all of those chips have, and says for every other wanted quantity why it is not there. An installed ncu may be
older than the table: :meth:`MetricPlan.cut_to` leaves what that ncu lists, with the next best name where there is one.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from ds2prof.counters import ELAPSED_SHARE, PIPES, PREFERENCE, SUBSET_OF, UNKNOWN_CHIP_PIPES, collected
from ds2prof.devices import chips_of
from ds2prof.errors import CaptureError, UsageError
from ds2prof.machine import Machine
from ds2prof.metrics.quantities import ALWAYS, PIPE_MEANINGS, WANTS, Option, Quantity
from ds2prof.metrics.table import AVAILABILITY, CHIPS

_QUERY_LIMIT_S: Final = 60
_LISTED: Final = re.compile(r"(?m)^([a-z][a-z0-9]*__\w+)(?=\s|$)")
_MANY: Final = 6


class Planned(NamedTuple):
    """One metric of a plan."""

    metric: str
    quantity: str
    meaning: str
    """What the quantity is."""
    note: str = ""
    """What this metric is to it."""


class Absent(NamedTuple):
    """A wanted quantity that the plan does not hold, or not in full, and why."""

    quantity: str
    reason: str


class Dropped(NamedTuple):
    """A metric that the chips have and the tool does not list, and what stands in for it, if anything does."""

    metric: str
    instead: str | None


@dataclass(frozen=True)
class MetricPlan:
    """Which metrics to collect, and what is missing from what was wanted."""

    chips: tuple[str, ...]
    """The chips that it is for, oldest first; none where the chip is not known."""
    want: tuple[str, ...]
    lines: tuple[Planned, ...]
    absent: tuple[Absent, ...]
    dropped: tuple[Dropped, ...] = ()
    """What fell out because the tool does not list it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The full names for ``ncu --metrics``, each once."""
        return tuple(dict.fromkeys(line.metric for line in self.lines))

    def cut_to(self, listed: Collection[str] | None) -> MetricPlan:
        """The plan as far as a tool lists its metrics: the next best name where the best is not, else it falls out.

        Args:
            listed: the base names that the tool lists; None where it does not say, and nothing is cut.

        Raises:
            CaptureError: nothing of what is wanted is left.
        """
        if listed is None:
            return self
        known = frozenset(listed)
        lines, absent = _planned(self.chips, self.want, known)
        return _checked(MetricPlan(self.chips, self.want, lines, absent, _dropped(self.lines, lines)))


def plan_for(chips: Collection[str], want: Sequence[str] = ("core",)) -> MetricPlan:
    """The plan of ``want`` for a GPU that is one of ``chips``: only names that all of them have.

    Without chips (an unknown one): only names that all known chips have.

    Raises:
        UsageError: a chip or a want that does not exist.
        CaptureError: the chips have nothing of what is wanted.
    """
    strangers = sorted(set(chips) - set(CHIPS))
    if strangers:
        raise UsageError(f"{strangers[0]}: no chip whose metrics are known; there are {' '.join(CHIPS)}")
    for word in want:
        if word not in WANTS:
            raise UsageError(f"{word}: nothing that can be wanted of the counters; there are {', '.join(WANTS)}")
    ordered = tuple(chip for chip in CHIPS if chip in set(chips))
    wanted = tuple(dict.fromkeys(want)) or ("core",)
    lines, absent = _planned(ordered, wanted, None)
    return _checked(MetricPlan(ordered, wanted, lines, absent))


def chips_here(machine: Machine) -> frozenset[str]:
    """The chips that the GPUs here can be; none where one of them is unknown, so that only safe metrics are asked."""
    of_each = [chips_of(gpu.compute_capability, gpu.name) for gpu in machine.gpus]
    return frozenset(chip for chips in of_each for chip in chips) if all(of_each) else frozenset()


@lru_cache(maxsize=64)
def listed_metrics(tool: str, chip: str | None) -> frozenset[str] | None:
    """The base names that an Nsight Compute lists for a chip, or for the GPUs of this machine where none is named.

    None where it does not know the chip or does not say.
    """
    of_chip = ("--chips", chip.lower()) if chip is not None else ()
    return parse_listing(_said(tool, "--query-metrics", *of_chip))


def listed_for(tool: str, chips: Collection[str]) -> frozenset[str] | None:
    """The base names that an Nsight Compute lists for all of the chips, those left out that it does not know.

    Without chips: for the GPUs of this machine. None where it knows none of them.
    """
    if not chips:
        return listed_metrics(tool, None)
    lists = [listed for chip in sorted(chips) if (listed := listed_metrics(tool, chip)) is not None]
    return frozenset.intersection(*lists) if lists else None


def parse_listing(text: str) -> frozenset[str] | None:
    """The base names in what ``ncu --query-metrics`` prints: the first word of each line that begins with one.

    None where there is none, as for a chip that this ncu does not know.
    """
    return frozenset(_LISTED.findall(text)) or None


def _said(tool: str, *arguments: str) -> str:
    """What a tool prints; nothing where it fails."""
    try:
        done = subprocess.run(
            [tool, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_QUERY_LIMIT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def _checked(made: MetricPlan) -> MetricPlan:
    always = {quantity.name for quantity in ALWAYS}
    if all(line.quantity in always for line in made.lines):
        where = " or ".join(made.chips[:_MANY]) or "every known chip"
        lost = "this ncu lists" if made.dropped else "there is"
        raise CaptureError(f"{where}: {lost} no metric for {', '.join(made.want)}; {_briefly(made.absent)}")
    return made


def _dropped(before: Sequence[Planned], after: Sequence[Planned]) -> tuple[Dropped, ...]:
    """The metrics that fell out of a plan; what came in for the same quantity stands in, one for one."""
    old, new = {line.metric for line in before}, {line.metric for line in after}
    came = {line.quantity: [each.metric for each in after if each.quantity == line.quantity] for line in after}
    fresh = {quantity: [metric for metric in metrics if metric not in old] for quantity, metrics in came.items()}
    found = {}
    for line in before:
        if line.metric not in new and line.metric not in found:
            others = fresh.get(line.quantity, [])
            found[line.metric] = Dropped(line.metric, others.pop(0) if others else None)
    return tuple(found.values())


def _briefly(absent: Sequence[Absent]) -> str:
    return f"{absent[0].quantity}: {absent[0].reason}" if absent else "want something else"


def _planned(
    chips: tuple[str, ...], want: Sequence[str], listed: frozenset[str] | None
) -> tuple[tuple[Planned, ...], tuple[Absent, ...]]:
    """The lines of a plan, each quantity once, and what is absent from it."""
    lines: dict[tuple[str, str], Planned] = {}
    absent: dict[str, Absent] = {}
    for found in _resolved(chips, want, listed):
        if isinstance(found, Planned):
            lines.setdefault((found.quantity, found.metric), found)
        else:
            absent.setdefault(found.quantity, found)
    return tuple(lines.values()), tuple(absent.values())


def _resolved(chips: tuple[str, ...], want: Sequence[str], listed: frozenset[str] | None) -> Iterator[Planned | Absent]:
    for quantity in ALWAYS:
        yield from _of_quantity(quantity, chips, listed)
    for word in want:
        if word == "core":
            yield from _pipes(chips, listed)
        for quantity in WANTS[word]:
            yield from _of_quantity(quantity, chips, listed)


def _pipes(chips: tuple[str, ...], listed: frozenset[str] | None) -> Iterator[Planned | Absent]:
    """The canonical pipes: the metric that is read, and the ancestor's beside it where it is another."""
    for pipe in PIPES if chips else UNKNOWN_CHIP_PIPES:
        bases = collected(pipe, chips, listed=listed)
        meaning = f"{PIPE_MEANINGS[pipe]}: share of the pipe's own peak rate, over elapsed cycles"
        for place, base in enumerate(bases):
            yield Planned(f"{base}.avg.{ELAPSED_SHARE}", pipe, meaning, _pipe_note(pipe, base, is_read=place == 0))
        if not bases:
            here = collected(pipe, chips)
            options = tuple(Option(base, AVAILABILITY[base]) for base in PREFERENCE[pipe])
            yield Absent(pipe, _unlisted(here) if here else _why(options, chips))
    if not chips:
        for pipe in (pipe for pipe in PIPES if pipe not in UNKNOWN_CHIP_PIPES):
            yield Absent(pipe, "left out, since the chip is not known")


def _pipe_note(pipe: str, base: str, *, is_read: bool) -> str:
    if not is_read:
        return "by instructions, for the ancestor's lines alone"
    rate = "by cycles" if "cycles" in base else "by instructions"
    return f"{rate}; a part of {SUBSET_OF[base]}: never add the two" if base in SUBSET_OF else rate


def _of_quantity(
    quantity: Quantity, chips: tuple[str, ...], listed: frozenset[str] | None
) -> Iterator[Planned | Absent]:
    everywhere = chips or CHIPS
    needed = [option for option in quantity.options if not set(everywhere).isdisjoint(option.chips)]
    held = [option for option in needed if set(everywhere) <= set(option.chips)]
    usable = [option for option in held if listed is None or option.base in listed]
    for option in usable[:1] if quantity.rule == "first" else usable:
        yield Planned(option.metric, quantity.name, quantity.meaning, option.note)
    if not needed:
        yield Absent(quantity.name, _why(quantity.options, chips, said=quantity.absent))
    elif not held:
        yield Absent(quantity.name, _why(quantity.options, chips))
    elif not usable:
        yield Absent(quantity.name, _unlisted(option.base for option in held))
    elif quantity.rule == "sum" and len(usable) < len(needed):
        missing = ", ".join(option.base for option in needed if option not in usable)
        why = "this ncu does not list" if len(held) == len(needed) else "not all of the chips have"
        yield Absent(quantity.name, f"incomplete: {why} {missing}")


def _unlisted(bases: Iterable[str]) -> str:
    return f"this ncu does not list {', '.join(bases)}"


def _why(options: Sequence[Option], chips: tuple[str, ...], *, said: str = "") -> str:
    """Why none of the options is in a plan for the chips."""
    having = [chip for chip in CHIPS if any(chip in option.chips for option in options)]
    if set(chips or CHIPS) <= set(having):
        return "no one name that all of these chips have; name one chip"
    if said and set(chips).isdisjoint(having):
        return f"not on this chip: {said}"
    if not set(chips or CHIPS).isdisjoint(having):
        return f"not on all of these chips: only {' '.join(chip for chip in chips or CHIPS if chip in having)} have it"
    if len(having) > len(CHIPS) // 2:
        lacking = [chip for chip in CHIPS if chip not in having]
        return f"not on this chip: all have it but {' '.join(lacking)}"
    return f"not on this chip: only {' '.join(having)} have it"
