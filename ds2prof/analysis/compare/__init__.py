"""Two sides compared, each of one or several runs: what changed, how sure that is, and whether limits were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.analysis.compare.breakdown import BY, By
from ds2prof.analysis.compare.changes import Table, keys_of, table
from ds2prof.analysis.compare.comparability import Differing, differing
from ds2prof.analysis.compare.figures import Number, numbers
from ds2prof.analysis.compare.gates import Gate, Outcome, gate_of, outcomes
from ds2prof.analysis.compare.runs import (
    NOUNS,
    Part,
    Run,
    batch_size_of,
    facts_of,
    part_of,
    runs_of,
    sides_kind,
    tables,
)
from ds2prof.analysis.compare.wording import verdict
from ds2prof.errors import MissingDataError, UsageError

__all__ = ["BY", "By", "Comparison", "Gate", "Part", "comparison", "gate_of", "part_of", "tables"]
_DEFAULT_KEYS: Final[tuple[By, ...]] = ("ledger", "phase", "name")


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        base, new: the runs of each side.
        numbers: those of whole runs.
        tables: what changed, by each key that was asked for.
        outcomes: what became of each gate.
        differing: what else differs between the sides.
        warnings: what qualifies all of it, a line each.
        verdict: a paragraph in words.
    """

    base: tuple[Run, ...]
    new: tuple[Run, ...]
    numbers: tuple[Number, ...]
    tables: tuple[Table, ...]
    outcomes: tuple[Outcome, ...]
    differing: tuple[Differing, ...]
    warnings: tuple[str, ...]
    verdict: str

    def is_broken(self, *, strict: bool = False) -> bool:
        """Whether a gate is broken beyond the noise; with ``strict``, or cannot be known."""
        return any(one.status == "broken" or (strict and one.status == "unknown") for one in self.outcomes)

    def facts(self) -> dict[str, Any]:
        """What documents hold besides rows."""
        return {
            "base": [facts_of(run) for run in self.base],
            "new": [facts_of(run) for run in self.new],
            "verdict": self.verdict,
            "gates": [one.as_dict() for one in self.outcomes],
            "numbers": [one.as_dict() for one in self.numbers],
        }


def comparison(
    base: Sequence[Part],
    new: Sequence[Part],
    *,
    by: Sequence[By] | None = None,
    gates: Sequence[Gate] = (),
    batch_size: int | None = None,
) -> Comparison:
    """The comparison of two sides, of what :func:`part_of` gave for each of their files.

    Args:
        base: the parts of the one side's files; the ranks of a run become one run.
        new: those of the other's.
        by: keys of the tables; None for the ledger, phases and names, those that there are.
        gates: limits.
        batch_size: compare the runs of this batch size alone.

    Raises:
        MissingDataError: a side holds nothing to compare, or not what ``by`` asks for.
        UsageError: a side holds runs of several batch sizes.
    """
    sides = [runs_of(_of_batch(parts, batch_size, name)) for parts, name in ((base, "BASE"), (new, "NEW"))]
    kind = sides_kind(*sides)
    left = [run for side in sides for run in side if run.kind != kind]
    base_runs, new_runs = ([run for run in side if run.kind == kind] for side in sides)
    for runs, name in ((base_runs, "BASE"), (new_runs, "NEW")):
        _one_batch(runs, name)
    keys = [key for key in _DEFAULT_KEYS if key in keys_of(base_runs, new_runs)] if by is None else list(by)
    found = tuple(table(base_runs, new_runs, key) for key in keys)
    judged = tuple(outcomes(base_runs, new_runs, gates))
    facts = tuple(differing(base_runs, new_runs))
    shown = tuple(numbers(base_runs, new_runs, gates))
    counts = len(base_runs), len(new_runs)
    for_words = found if by is None else (*found, *_beside(base_runs, new_runs, found))
    if len({part.window_source for run in (*base_runs, *new_runs) for part in run.parts}) > 1:
        for_words = tuple(one for one in for_words if one.unit != "window" or one.answer.by != "ledger")
    return Comparison(
        tuple(base_runs),
        tuple(new_runs),
        shown,
        found,
        judged,
        facts,
        (*(one.said() for one in facts), *_warnings(base_runs, new_runs, left)),
        verdict(shown, for_words, judged, counts=counts),
    )


def _beside(base: Sequence[Run], new: Sequence[Run], found: Sequence[Table]) -> list[Table]:
    """The ledger for the paragraph, where it was not asked for itself."""
    asked = {one.answer.by for one in found}
    return [table(base, new, "ledger")] if "ledger" not in asked and "ledger" in keys_of(base, new) else []


def _of_batch(parts: Sequence[Part], batch_size: int | None, side: str) -> list[Part]:
    found = [part for part in parts if batch_size is None or batch_size_of(part.meta) == batch_size]
    if not found:
        raise MissingDataError(f"{side}: no run of batch size {batch_size} in it")
    return [part for part in found if part.kind != "samples"] or _nothing(side)


def _nothing(side: str) -> list[Part]:
    raise MissingDataError(f"{side}: holds sampled readings alone; give timelines, captures of counters or run logs")


def _one_batch(runs: Sequence[Run], side: str) -> None:
    sizes = sorted({size for run in runs for part in run.parts if (size := batch_size_of(part.meta)) is not None})
    if len(sizes) > 1:
        told = ", ".join(map(str, sizes))
        raise UsageError(f"{side}: runs of batch sizes {told}, which are no repetitions; choose with --batch-size N")


def _warnings(base: Sequence[Run], new: Sequence[Run], left: Sequence[Run]) -> list[str]:
    lines = []
    if left:
        kinds = " and ".join(sorted({NOUNS[run.kind] for run in left}))
        lines.append(f"{len(left)} {kinds} left out: {NOUNS[base[0].kind]} are compared")
    same = {part.meta.file for run in base for part in run.parts} & {
        part.meta.file for run in new for part in run.parts
    }
    if same:
        lines.append(f"{sorted(same)[0]}: is on both sides")
    parts = [part for run in (*base, *new) for part in run.parts]
    for part in parts:
        file = part.meta.file  # which some warnings begin with already, a line of it behind
        lines += [line if line.startswith(f"{file}:") else f"{file}: {line}" for line in part.warnings]
    return list(dict.fromkeys(lines))
