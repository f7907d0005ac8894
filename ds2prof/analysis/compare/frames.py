"""Which iterations of several runs correspond: by their number, else by the padded length of their input.

How long an iteration takes follows from its input before all else. Where the runs saw the same inputs, comparing like
with like takes that out of the noise; where they saw others, a difference may be the inputs' and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ds2prof.analysis.compare.decisions import LEAST_ITERATIONS, Sample
from ds2prof.analysis.intervals import FloatArray
from ds2prof.tables import IntArray

How = Literal["number", "length", "none", "single"]
_LEAST_SHARE: Final = 0.5
_LENGTH_DIGITS: Final = 6


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity of one run, by iteration.

    Attributes:
        sample: its parts and wholes, a row an iteration.
        keys: the iterations' numbers; None where the one row is of the whole file.
        lengths: padded seconds of a sample in each; NaN where unknown.
    """

    sample: Sample
    keys: tuple[str | int, ...] | None = None
    lengths: FloatArray | None = None

    def take(self, rows: IntArray) -> Series:
        """Those iterations alone."""
        wholes = None if self.sample.wholes is None else self.sample.wholes[rows]
        keys = None if self.keys is None else tuple(self.keys[row] for row in rows.tolist())
        lengths = None if self.lengths is None else self.lengths[rows]
        return Series(Sample(self.sample.parts[rows], wholes), keys, lengths)


@dataclass(frozen=True)
class Frame:
    """How the iterations of all runs correspond.

    Attributes:
        how: by ``number`` or ``length``; ``none`` where they do not; ``single`` where the runs have no iterations.
        count: how many iterations of each run are compared, where they correspond.
        of: how many the shortest run has.
    """

    how: How
    count: int = 0
    of: int = 0

    @property
    def is_paired(self) -> bool:
        """Whether the k-th iteration of each run is of the same input."""
        return self.how in ("number", "length")

    def said(self) -> str:
        """In words; empty where there is nothing to say."""
        if self.how == "none":
            return "iterations do not correspond: the sides have neither numbers nor input lengths in common"
        if self.how == "single":
            return ""
        of = f" of {self.of}" if self.count < self.of else ""
        some = f"{self.count}{of} iteration{'' if self.count == self.of == 1 else 's'}"
        by = "by their number" if self.how == "number" else "by the padded length of their input"
        return f"{some} of each run, paired {by}"


def framed(base: Sequence[Series], new: Sequence[Series]) -> tuple[Frame, list[Sample], list[Sample]]:
    """(how the iterations correspond, the samples of the base, those of the new): the same iterations of each.

    By number, where at least 8 or half of the shortest run's are in all runs and no two of one number have different
    lengths; else by length, each as often as all runs have it; else all iterations of each, unpaired.
    """
    runs = [*base, *new]
    if any(run.keys is None for run in runs):
        return Frame("single"), [run.sample for run in base], [run.sample for run in new]
    shortest = min(len(run.sample) for run in runs)
    for how, find in (("number", _by_number), ("length", _by_length)):
        rows = find(runs)
        if rows is not None and len(rows[0]) >= max(1, min(LEAST_ITERATIONS, _LEAST_SHARE * shortest)):
            taken = [run.take(each).sample for run, each in zip(runs, rows, strict=True)]
            return Frame(how, len(rows[0]), shortest), taken[: len(base)], taken[len(base) :]  # type: ignore[arg-type]
    return Frame("none", of=shortest), [run.sample for run in base], [run.sample for run in new]


def _by_number(runs: Sequence[Series]) -> list[IntArray] | None:
    """The rows of each run whose number all have; None where one of a number had another input."""
    places = [{key: row for row, key in enumerate(run.keys or ())} for run in runs]
    shared = [key for key in places[0] if all(key in place for place in places[1:])]
    rows = [np.array([place[key] for key in shared], dtype=np.int64) for place in places]
    lengths = [run.lengths[row] for run, row in zip(runs, rows, strict=True) if run.lengths is not None]
    if len(lengths) > 1 and shared:
        first = lengths[0]
        for other in lengths[1:]:
            both = np.isfinite(first) & np.isfinite(other)
            if (np.round(first[both], _LENGTH_DIGITS) != np.round(other[both], _LENGTH_DIGITS)).any():
                return None
    return rows


def _by_length(runs: Sequence[Series]) -> list[IntArray] | None:
    """The rows of each run, in the order of length: each length as often as all have it. None where one has none."""
    if any(run.lengths is None or not np.isfinite(run.lengths).all() for run in runs):
        return None
    texts = [np.round(run.lengths, _LENGTH_DIGITS).tolist() for run in runs if run.lengths is not None]
    shared = Counter(texts[0])
    for text in texts[1:]:
        shared &= Counter(text)
    found = []
    for text in texts:
        left = dict(shared)
        rows = []
        for row, length in enumerate(text):
            if left.get(length, 0):
                left[length] -= 1
                rows.append((length, row))
        found.append(np.array([row for _, row in sorted(rows)], dtype=np.int64))
    order = np.argsort(found[-1], kind="stable")  # the pairs in the order of time of the last run
    return [rows[order] for rows in found]
