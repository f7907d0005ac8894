"""Word and character error rates: how far what was heard is from what was said.

Three rates go by the same three letters, and differ:

* ``wer``: the errors of all utterances over the words of all references. A long utterance weighs more than a short one.
* ``mean_utterance_wer``: the mean of the utterances' own rates. MLPerf's DeepSpeech2 reference calls this one "WER".
* ``cer``: the same as ``wer`` for characters, the single spaces between words included. ``cer_without_spaces`` leaves
  them out on both sides, as the TBD suite and MLPerf's reference do.

Text is split at white space, and nothing else is done to it: case and punctuation count. An error is a substitution, an
insertion or a deletion; their least number is unique, how it divides among the three is not: it is that of one shortest
edit, RapidFuzz's.

An utterance whose reference is empty adds its insertions to the corpus' rates and nothing to what they are divided by.
It has no rate of its own, so the mean leaves it out, and ``empty_references`` counts it. Where no reference has a word
at all there is no rate.

Counts are whole numbers that are added up, so that the sum over processes is the same in any order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from typing import Any, Final

from ds2prof.errors import Ds2profError


@dataclass(frozen=True)
class Edits:
    """What it takes to make a reference out of a hypothesis, in words or in characters.

    Attributes:
        reference: Words (or characters) of the reference.
        substitutions: Heard as another.
        insertions: Heard and not said.
        deletions: Said and not heard.
    """

    reference: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    def __add__(self, other: Edits) -> Edits:
        return Edits(
            self.reference + other.reference,
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
        )

    @property
    def errors(self) -> int:
        """The edit distance."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float | None:
        """Errors over what was said; above 1 where more was heard than said. None where nothing was said."""
        return self.errors / self.reference if self.reference else None


@dataclass(frozen=True)
class ErrorCounts:
    """The errors of some utterances, from which all rates follow.

    Attributes:
        words: Edits of words.
        characters: Edits of characters, single spaces between words included.
        letters: Edits of characters without any space.
        utterances: How many there are.
        exact: How many were understood without an error.
        by_length: Words of a reference -> (utterances with as many, word errors in them); what the mean is made from.
    """

    words: Edits = Edits()
    characters: Edits = Edits()
    letters: Edits = Edits()
    utterances: int = 0
    exact: int = 0
    by_length: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        lengths = sorted(self.by_length.keys() | other.by_length.keys())
        return ErrorCounts(
            self.words + other.words,
            self.characters + other.characters,
            self.letters + other.letters,
            self.utterances + other.utterances,
            self.exact + other.exact,
            {length: _added(self.by_length.get(length), other.by_length.get(length)) for length in lengths},
        )

    @property
    def wer(self) -> float | None:
        """Word errors of the corpus over its words."""
        return self.words.rate

    @property
    def cer(self) -> float | None:
        """Character errors of the corpus over its characters, spaces included."""
        return self.characters.rate

    @property
    def cer_without_spaces(self) -> float | None:
        """Character errors over characters, no space counted: the CER of the TBD suite and of MLPerf's reference."""
        return self.letters.rate

    @property
    def mean_utterance_wer(self) -> float | None:
        """The mean of the utterances' word error rates, over those whose reference has a word."""
        rated = self.utterances - self.empty_references
        if rated == 0:
            return None
        return math.fsum(errors / length for length, (_, errors) in self.by_length.items() if length) / rated

    @property
    def empty_references(self) -> int:
        """Utterances in which nothing was said."""
        return self.by_length.get(0, (0, 0))[0]


def edits(reference: Sequence[Any], hypothesis: Sequence[Any]) -> Edits:
    """A least number of edits that leads from what was said to what was heard.

    Raises:
        Ds2profError: RapidFuzz is not installed.
    """
    kinds = Counter(operation.tag for operation in _levenshtein().editops(reference, hypothesis))
    return Edits(len(reference), kinds["replace"], kinds["insert"], kinds["delete"])


def utterance_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """The errors of one utterance."""
    said, heard = reference.split(), hypothesis.split()
    words = edits(said, heard)
    return ErrorCounts(
        words=words,
        characters=edits(" ".join(said), " ".join(heard)),
        letters=edits("".join(said), "".join(heard)),
        utterances=1,
        exact=int(words.errors == 0),
        by_length={len(said): (1, words.errors)},
    )


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """The counts of all of them together; their order does not matter."""
    return reduce(lambda left, right: left + right, counts, ErrorCounts())


def rates(counts: ErrorCounts) -> dict[str, Any]:
    """The rates and the counts behind them under their names, as a report or a JSON document holds them."""
    return {
        **{name: getattr(counts, name) for name in RATES},
        "utterances": counts.utterances,
        "exact_utterances": counts.exact,
        "empty_references": counts.empty_references,
        "words": counts.words.reference,
        "word_substitutions": counts.words.substitutions,
        "word_insertions": counts.words.insertions,
        "word_deletions": counts.words.deletions,
        "characters": counts.characters.reference,
        "character_errors": counts.characters.errors,
    }


RATES: Final = {
    "wer": "word errors / words, over the whole corpus",
    "mean_utterance_wer": "mean of the utterances' own rates (MLPerf's DeepSpeech2)",
    "cer": "character errors / characters, spaces counted",
    "cer_without_spaces": "the same, no space counted (TBD, MLPerf)",
}
"""Rate -> what it is."""


def _added(left: tuple[int, int] | None, right: tuple[int, int] | None) -> tuple[int, int]:
    (left_utterances, left_errors), (right_utterances, right_errors) = left or (0, 0), right or (0, 0)
    return left_utterances + right_utterances, left_errors + right_errors


def _levenshtein() -> Any:
    try:
        return import_module("rapidfuzz.distance.Levenshtein")
    except ModuleNotFoundError:
        raise Ds2profError(
            'rapidfuzz: this package counts the errors and is not installed; pip install "ds2prof[speech]" brings it'
        ) from None
