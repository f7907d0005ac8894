"""Padded lengths from a run log, laid beside a timeline of the same training: a timeline has none of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.analysis.attribution import ranges_of_kind
from ds2prof.analysis.belonging import labels, ordered_keys
from ds2prof.analysis.uncertainty.iterations import lay_lengths, padded_of
from ds2prof.tables import Profile

TABLES: Final = ("iterations",)
_SAME: Final = ("preset", "batch_size", "precision", "seed")
"""What two runs must not contradict each other in, to have iterations of the same lengths."""


@dataclass(frozen=True)
class Lengths:
    """What one run log tells.

    Attributes:
        file: its name.
        rank: of which process it is; None where it does not say.
        told: what it says of the training.
        padded: iteration -> padded seconds of a sample.
    """

    file: str
    rank: int | None
    told: Mapping[str, Any]
    padded: Mapping[int, float]


def lengths_of(log: Profile) -> Lengths:
    """The padded lengths in a run log."""
    meta = log.require(*TABLES).meta
    told = {name: meta.facts[name] for name in _SAME if meta.facts.get(name) is not None}
    return Lengths(meta.file, meta.rank, told, padded_of(log))


def lay_beside(profile: Profile, logs: Sequence[Lengths]) -> str | None:
    """The file whose lengths the timeline's iterations are given; None where none fits, or more than one.

    A log fits that has a length for each iteration of the timeline and contradicts nothing that the timeline's sidecar
    says of the training. To be asked before anything else about the iterations. Blind spot: two trainings of which
    nothing is told are taken for one.
    """
    keys = _iterations(profile) if logs else ()
    if not keys:
        return None
    fitting = [log for log in logs if all(key in log.padded for key in keys) and not _contradicts(log, profile)]
    if len(fitting) != 1:
        return None
    lay_lengths(profile, fitting[0].padded)
    return fitting[0].file


def _iterations(profile: Profile) -> Sequence[str | int]:
    """The iterations of a timeline; nothing for a run log and for replayed launches."""
    profile.require("ranges", "iterations")
    rows = ranges_of_kind(profile, "iteration")
    if len(profile.table("iterations")) or profile.meta.times == "replay" or not len(rows):
        return ()
    return labels(ordered_keys(profile.table("ranges").take(rows), "iteration")[0], "iteration")


def _contradicts(log: Lengths, profile: Profile) -> bool:
    """Whether the two are of different trainings or ranks, as far as both tell."""
    run = profile.meta.run or {}
    pairs = [(log.told.get(name), run.get(name)) for name in _SAME]
    pairs.append((log.rank, profile.meta.rank))
    return any(ours is not None and theirs is not None and ours != theirs for ours, theirs in pairs)
