"""Throughput of a run: samples, audio and padded seconds per second, outside any profiler, warm-up excluded.

Our own run log has the stretch between two fences, from which the rates are computed; the logs and results of other
systems state rates or have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.uncertainty.iterations import notes
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

TABLES: Final = ("iterations",)
OWN_TOOL: Final = "ds2prof train"
_FLOP: Final = ("model_flop", "hardware_flop")
_COLUMNS: Final = ("iteration", "wall_ns", "samples", "audio_s", "padded_s", "loss", "skipped")


def is_run_log(profile: Profile) -> bool:
    """Whether the profile is a log of iterations (and not what a profiler saw)."""
    return profile.meta.tool == OWN_TOOL or len(profile.table("iterations")) > 0


def has_rates(profile: Profile) -> bool:
    """Whether the profile is of a run whose rates can be known: our own log, or one that states them."""
    return profile.meta.tool == OWN_TOOL or "rates" in profile.meta.facts


def iterations(profile: Profile) -> Answer:
    """The iterations of a run log, a row each; the notes say what they have in common, and which are odd."""
    table = profile.table("iterations")
    if not len(table):
        raise MissingDataError(f"{profile.meta.file}: no iteration was written to this run log")
    names = [*_COLUMNS, *(name for name in _FLOP if name in table)]
    return Answer("iteration", {name: table[name].tolist() for name in names}, notes(profile))


def log_totals(profile: Profile) -> dict[str, Any]:
    """How many iterations a log has, and the sum of their times; None where one of them is not known."""
    wall = profile.table("iterations")["wall_ns"]
    known = bool(len(wall)) and bool(wall.present.all())
    return {"iterations": len(wall), "wall_ns": int(wall.values.sum()) if known else None}


def throughput(profile: Profile) -> dict[str, float | None]:
    """Rates over the stretch between the two fences; None where the log was cut off before its closing line.

    None as well where a profiler looked on: that is no rate of the training.

    ``audio_s_per_s`` counts the utterances' own seconds, ``padded_s_per_s`` those that the padding adds to as well.
    Rates that a log or a result of another system states are given as it states them.
    """
    keys = ("samples", "audio_s", "padded_s")
    stated: Mapping[str, Any] = profile.meta.facts.get("rates") or {}
    if stated:
        return {f"{key}_per_s": stated.get(f"{key}_per_s") for key in keys}
    stretch: Mapping[str, Any] = profile.meta.facts.get("stretch") or {}
    wall_ns = stretch.get("wall_ns")
    known = isinstance(wall_ns, int) and wall_ns > 0 and profile.meta.facts.get("profiler") is None
    return {
        f"{key}_per_s": stretch[key] * units.NS_PER_S / wall_ns
        if known and isinstance(stretch.get(key), (int, float))
        else None
        for key in keys
    }
