"""Throughput of a run log: samples, audio and padded seconds per second, outside any profiler, warm-up excluded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

TABLES: Final = ("iterations",)
_COLUMNS: Final = ("iteration", "wall_ns", "samples", "audio_s", "padded_s", "loss", "skipped")


def is_run_log(profile: Profile) -> bool:
    """Whether the profile is a run log (and not what a profiler saw)."""
    return profile.meta.tool == "ds2prof train"


def iterations(profile: Profile) -> Answer:
    """The iterations of a run log, a row each."""
    table = profile.table("iterations")
    if not len(table):
        raise MissingDataError(f"{profile.meta.file}: no iteration was written to this run log")
    return Answer("iteration", {name: table[name].tolist() for name in _COLUMNS})


def throughput(profile: Profile) -> dict[str, float | None]:
    """Rates over the stretch between the two fences; None where the log was cut off before its closing line.

    ``audio_s_per_s`` counts the utterances' own seconds, ``padded_s_per_s`` those that the padding adds to as well.
    """
    stretch: Mapping[str, Any] = profile.meta.facts.get("stretch") or {}
    wall_ns = stretch.get("wall_ns")
    keys = ("samples", "audio_s", "padded_s")
    known = isinstance(wall_ns, int) and wall_ns > 0
    return {
        f"{key}_per_s": stretch[key] * units.NS_PER_S / wall_ns
        if known and isinstance(stretch.get(key), (int, float))
        else None
        for key in keys
    }
