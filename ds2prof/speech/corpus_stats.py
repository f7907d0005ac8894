"""What a corpus is made of: hours, lengths, and characters that the symbols lack."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.speech.alphabet import Symbols
from ds2prof.speech.manifests import Utterance

SCHEMA: Final = "ds2prof-corpus/1"


@dataclass(frozen=True)
class CorpusStats:
    """What a corpus is made of.

    Attributes:
        utterances: How many there are.
        total_s: How long they are together.
        min_s: The shortest.
        median_s: Half of them are no longer.
        max_s: The longest.
        by_second: Second -> utterances of at least that and less than one more.
        words: Words in all transcripts.
        distinct_words: Different ones, as the symbols write them.
        labels: Labels of all transcripts.
        max_labels_per_s: Of the utterance that is spoken fastest. A network that gives fewer frames a second cannot
            learn it by CTC.
        unknown: Character -> how often the transcripts have it and the symbols lack it.
        with_unknown: Utterances with such characters.
        empty: Utterances in which no label is left.
    """

    utterances: int
    total_s: float
    min_s: float
    median_s: float
    max_s: float
    by_second: dict[int, int]
    words: int
    distinct_words: int
    labels: int
    max_labels_per_s: float
    unknown: dict[str, int]
    with_unknown: int
    empty: int

    def document(self) -> dict[str, Any]:
        """The figures as JSON has them."""
        return {"schema": SCHEMA, **vars(self), "by_second": {str(at): n for at, n in self.by_second.items()}}


def stats_of(
    utterances: Sequence[Utterance], symbols: Symbols, *, progress: Callable[[int, int], None] | None = None
) -> CorpusStats:
    """The figures of some utterances, whose durations must be known.

    Raises:
        ReadError: a transcript cannot be read.
    """
    durations = [utterance.dur_s for utterance in utterances if utterance.dur_s is not None]
    assert 0 < len(durations) == len(utterances)
    unknown: Counter[str] = Counter()
    distinct: set[str] = set()
    words = labels = with_unknown = empty = 0
    fastest_per_s = 0.0
    for done, (utterance, dur_s) in enumerate(zip(utterances, durations, strict=True), start=1):
        written, count, lacking = _said(utterance.spoken(), symbols)
        unknown.update(lacking)
        with_unknown += bool(lacking)
        distinct.update(written)
        words += len(written)
        labels += count
        fastest_per_s = max(fastest_per_s, count / dur_s)
        empty += not count
        if progress is not None:
            progress(done, len(utterances))
    return CorpusStats(
        utterances=len(utterances),
        total_s=sum(durations),
        min_s=min(durations),
        median_s=statistics.median(durations),
        max_s=max(durations),
        by_second=dict(sorted(Counter(int(dur_s) for dur_s in durations).items())),
        words=words,
        distinct_words=len(distinct),
        labels=labels,
        max_labels_per_s=fastest_per_s,
        unknown=dict(unknown.most_common()),
        with_unknown=with_unknown,
        empty=empty,
    )


def _said(spoken: str, symbols: Symbols) -> tuple[list[str], int, Counter[str]]:
    """The words of a transcript as the symbols write them, how many labels it has, and what has no symbol."""
    return symbols.normalized(spoken).split(), len(symbols.encode(spoken)), symbols.unknown(spoken)
