"""DeepMark's protocol as a list of minibatches: which utterances, in what order, on which card. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ds2prof.speech.synthetic import Group

Part = tuple[int, int]
"""(number of the first utterance, how many): consecutive utterances of one length."""


@dataclass(frozen=True)
class Minibatch:
    """What all cards compute together.

    Attributes:
        frames: The length of its utterances in frames.
        parts: What each card has of it; with fewer utterances than cards, some have none.
    """

    frames: int
    parts: tuple[Part, ...]

    @property
    def samples(self) -> int:
        """Utterances of it, all cards."""
        return sum(count for _, count in self.parts)


def minibatches(groups: Sequence[Group], batch_size: int, *, cards: int = 1) -> list[Minibatch]:
    """The minibatches of an epoch: ascending in length, no two lengths in one, each length's remainder a batch itself.

    Args:
        groups: The utterances of each length, shortest first.
        batch_size: Utterances of a card.
        cards: How many work together; a batch that does not divide evenly gives the first ones one more.
    """
    found = []
    for group in groups:
        whole = batch_size * cards
        for start in range(0, group.utterances, whole):
            samples = min(whole, group.utterances - start)
            found.append(Minibatch(group.frames, _shared(group.first + start, samples, cards)))
    return found


def _shared(first: int, samples: int, cards: int) -> tuple[Part, ...]:
    """The utterances from ``first`` on, shared out among the cards."""
    counts = [samples // cards + (card < samples % cards) for card in range(cards)]
    return tuple((first + sum(counts[:card]), count) for card, count in enumerate(counts))


def warm_up(batches: Sequence[Minibatch]) -> list[Minibatch]:
    """What is computed before anything is timed: the batch with most frames, so memory grows no more, and the first."""
    largest = max(batches, key=lambda batch: batch.frames * batch.samples)
    return [largest, batches[0]]
