"""Sentences from a small grammar, each with a number, so that no sentence is ever drawn twice.

A pattern is a row of word classes; a sentence is one word of each. A pattern's sentences are numbered as the digits of
a clock are: the last word runs fastest. Drawing distinct numbers is drawing distinct sentences, and no two patterns
have a sentence in common. So two draws that share no number share no transcript, which :func:`draw` is built on.
"""

from __future__ import annotations

import math
import random
from typing import Final

from ds2prof.errors import UsageError

_CLASSES: Final = {
    "action": "bring carry close count drop find fix hide hold lift move open paint pull push send show take turn wash "
    "watch",
    "thing": "apple basket bottle box bridge button candle chair cup door engine garden hammer kitchen ladder lamp "
    "letter mirror paper pencil picture river rope shovel spoon table ticket tower wagon window",
    "person": "anna boris clara david emma frank grace henry julia martin nora oscar peter susan victor",
    "does": "buys keeps likes makes needs sees sells wants",
    "place": "above behind beside inside near outside under",
    "time": "always later never now soon today tomorrow tonight",
    "number": "one two three four five six seven eight nine ten",
    "colour": "black blue brown green orange purple red silver white yellow",
    "look": "big broken clean empty heavy little long new old round short small",
    "the": "the",
    "and": "and",
}
CLASSES: Final = {name: tuple(words.split()) for name, words in _CLASSES.items()}
"""Class -> its words, 123 in all; no word is in two classes."""

PATTERNS: Final = (
    ("action", "the", "colour", "thing"),
    ("person", "does", "the", "look", "thing"),
    ("action", "number", "look", "colour", "thing"),
    ("person", "and", "person", "action", "time"),
    ("thing", "place", "the", "thing"),
    ("action", "the", "thing", "time"),
    ("person", "does", "number", "colour", "thing"),
)
"""The sentences that there are."""

WORDS: Final = frozenset(word for words in CLASSES.values() for word in words)
"""All words that can be said."""


def sentences_of(pattern: tuple[str, ...]) -> int:
    """How many sentences a pattern has."""
    return math.prod(len(CLASSES[name]) for name in pattern)


def sentence(pattern: tuple[str, ...], number: int) -> str:
    """Sentence ``number`` of a pattern, from 0."""
    words: list[str] = []
    for name in reversed(pattern):
        number, which = divmod(number, len(CLASSES[name]))
        words.append(CLASSES[name][which])
    assert number == 0, "the pattern has fewer sentences"
    return " ".join(reversed(words))


MOST_SENTENCES: Final = min(map(sentences_of, PATTERNS)) * len(PATTERNS)
"""How many can be drawn, as many of each pattern."""


def draw(count: int, rng: random.Random) -> list[str]:
    """``count`` distinct sentences in random order, equally many of each pattern but for the remainder.

    Raises:
        UsageError: there are not so many.
    """
    if count > MOST_SENTENCES:
        raise UsageError(f"{count} utterances: the grammar has {MOST_SENTENCES} different sentences; take fewer")
    drawn: list[str] = []
    for which, pattern in enumerate(PATTERNS):
        share = len(range(which, count, len(PATTERNS)))
        drawn += [sentence(pattern, number) for number in rng.sample(range(sentences_of(pattern)), share)]
    rng.shuffle(drawn)
    return drawn
