"""The symbols that CTC speaks: DeepSpeech2's 29 and how text becomes labels and back.

Symbol 0 is the blank of CTC, written ``_``; 1 is the apostrophe, 2 to 27 are A to Z and 28 is the space. This is the
order of the ``labels.json`` that comes with deepspeech.pytorch, so labels made here mean the same there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ds2prof.errors import ReadError

_LONGEST_LABELS_BYTES: Final = 1 << 20


class Symbols(Protocol):
    """What turns transcripts into labels: an alphabet of letters or a model of pieces of words."""

    @property
    def size(self) -> int:
        """How many symbols there are, the blank included."""

    @property
    def blank(self) -> int:
        """The number of the blank."""

    def normalized(self, text: str) -> str:
        """The text as it is compared with what was recognized: nothing in it that cannot be encoded."""

    def encode(self, text: str) -> NDArray[np.int64]:
        """The labels of a text; never the blank."""

    def decode(self, labels: Iterable[int]) -> str:
        """The text of some labels; blanks count for nothing."""

    def unknown(self, text: str) -> Counter[str]:
        """The characters of a text that no symbol stands for, with how often each occurs."""


@dataclass(frozen=True)
class Alphabet:
    """An alphabet of single characters.

    Attributes:
        symbols: The characters by their number; the first stands for the blank and never for itself.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        """Sees to it that text and labels answer to each other."""
        assert 1 < len(self.symbols) == len(set(self.symbols))
        assert all(len(symbol) == 1 for symbol in self.symbols)

    @property
    def size(self) -> int:
        """How many symbols there are, the blank included."""
        return len(self.symbols)

    @property
    def blank(self) -> int:
        """The number of the blank: 0."""
        return 0

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        """Character -> label; the blank is none."""
        return {symbol: number for number, symbol in enumerate(self.symbols) if number}

    @cached_property
    def _upper(self) -> bool:
        """Whether its letters are capitals alone, so that lower-case text is meant as upper-case text."""
        return not any(symbol.islower() for symbol in self.symbols)

    def _folded(self, text: str) -> str:
        """The text in the case of the alphabet, each run of white space one space, none at the ends."""
        return " ".join((text.upper() if self._upper else text).split())

    def normalized(self, text: str) -> str:
        """The text in the alphabet's case, characters that it lacks left out, runs of white space one space."""
        return " ".join("".join(each for each in self._folded(text) if each in self._numbers).split())

    def encode(self, text: str) -> NDArray[np.int64]:
        """The labels of ``normalized(text)``; what that leaves out, :meth:`unknown` counts."""
        numbers = self._numbers
        return np.array([numbers[each] for each in self.normalized(text)], dtype=np.int64)

    def decode(self, labels: Iterable[int]) -> str:
        """The text of some labels; blanks count for nothing."""
        return "".join(self.symbols[label] for label in labels if label)

    def unknown(self, text: str) -> Counter[str]:
        """The characters of a text that the alphabet lacks, with how often each occurs."""
        return Counter(each for each in self._folded(text) if each not in self._numbers)


GRAPHEMES: Final = Alphabet(("_", "'", *(chr(code) for code in range(ord("A"), ord("Z") + 1)), " "))
"""The 29 symbols of DeepSpeech2."""


def read_labels(path: Path) -> Alphabet:
    """The alphabet in a ``labels.json``: a list of single characters, the blank first.

    Raises:
        ReadError: the file is something else.
    """
    try:
        with path.open("rb") as file:
            listed = json.loads(file.read(_LONGEST_LABELS_BYTES))
    except OSError as error:
        raise ReadError(f"{path}: cannot read these labels: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ReadError(f"{path}: is not JSON; labels are a list of characters, the blank first") from None
    if not isinstance(listed, list) or len(listed) < 2:
        raise ReadError(f'{path}: labels are a list of characters, the blank first: ["_", "\'", "A", ...]')
    for number, symbol in enumerate(listed):
        if not isinstance(symbol, str) or len(symbol) != 1:
            raise ReadError(f"{path}: label {number} is {str(symbol)[:20]!r}; each label is one character")
    if len(set(listed)) != len(listed):
        raise ReadError(f"{path}: holds the same label twice; each stands for itself once")
    return Alphabet(tuple(listed))
