"""What a corpus is made of, as text for a terminal."""

from __future__ import annotations

import unicodedata

from ds2prof.speech.corpus_stats import CorpusStats

_BAR_COLUMNS = 40
_MOST_CHARACTERS = 20


def corpus_text(stats: CorpusStats) -> str:
    """The figures of a corpus, with a histogram of lengths by the second."""
    per_s = stats.labels / stats.total_s
    lines = [
        f"utterances  {stats.utterances:,}",
        f"duration    {stats.total_s:,.1f} s ({stats.total_s / 3600:.2f} h), "
        f"{stats.min_s:.2f} to {stats.max_s:.2f} s, median {stats.median_s:.2f} s",
        f"words       {stats.words:,}, {stats.distinct_words:,} different ones",
        f"labels      {stats.labels:,}, {per_s:.1f} a second, {stats.max_labels_per_s:.1f} at most",
    ]
    if stats.empty:
        lines.append(f"empty       {stats.empty:,} utterances in which no label is left")
    lines.append(f"no symbol   {_unknown(stats)}")
    return "\n".join([*lines, "", *_histogram(stats.by_second)])


def _unknown(stats: CorpusStats) -> str:
    """The characters that are left out."""
    if not stats.unknown:
        return "none: every character has one"
    listed = list(stats.unknown.items())
    shown = ", ".join(f"{_named(each)} {count:,}" for each, count in listed[:_MOST_CHARACTERS])
    more = f", and {len(listed) - _MOST_CHARACTERS:,} others" if len(listed) > _MOST_CHARACTERS else ""
    total = sum(stats.unknown.values())
    return f"{total:,} characters in {stats.with_unknown:,} utterances are left out: {shown}{more}"


def _named(character: str) -> str:
    """The character as it can be shown; what a terminal might obey or hide goes by its number."""
    shown = character.isprintable() and unicodedata.category(character)[0] not in "MCZ"
    return f"{character!r}" if shown else f"U+{ord(character):04X}"


def _histogram(by_second: dict[int, int]) -> list[str]:
    """A line for each second from the shortest to the longest, empty ones included."""
    first, last = min(by_second), max(by_second)
    step = max(1, -(-(last - first + 1) // _BAR_COLUMNS))
    bins = {at: sum(by_second.get(second, 0) for second in range(at, at + step)) for at in range(first, last + 1, step)}
    most = max(bins.values())
    digits, width = len(str(last + step)), len(f"{most:,}")
    scale = _BAR_COLUMNS / most
    return [
        f"{at:>{digits}} to {at + step:>{digits}} s  {count:>{width},}  {'#' * round(scale * count)}".rstrip()
        for at, count in bins.items()
    ]
