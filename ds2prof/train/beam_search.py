"""Beam search for CTC by flashlight-text, with or without a language model.

A text's probability is the sum over all paths that say it (``log_add`` of flashlight, not its maximum), and the search
keeps the ``width`` best beginnings after each frame. What is maximized, in natural logarithms, is

    log P(text | sound) + alpha * log P(text) + beta * (words of it, or letters with a model of letters)

with the ancestors' defaults alpha 0.8, beta 1, width 10, the 40 best symbols of a frame, those beyond a cumulative
probability of 1.0 left out. KenLM counts in decimal logarithms and flashlight passes them on as they are, so its weight
is alpha times ln 10 here; a model's end-of-sentence probability is part of P(text).

flashlight keeps a text that ends in a blank apart from the same text that does not; here the two are added, so with a
beam wide enough the score is exact.

With a model of words, each word is spelled with a space behind it, and one more frame, of which the space is certain,
closes the last one: else two words could touch. What cannot be spelled is not found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ds2prof.errors import UsageError
from ds2prof.train.decoding import Decoded, log_probabilities, read_off
from ds2prof.train.language_model import LanguageModel, open_kenlm, require
from ds2prof.train.objective import BLANK

_IMPOSSIBLE: Final = -1e4
"""The logarithm of a probability that no path survives; finite, since an infinite one spoils sums."""
_THRESHOLD: Final = 1e3
"""What is so far behind the best is dropped: the impossible, and nothing else."""


@dataclass(frozen=True)
class BeamConfig:
    """How wide the search is and what the language model weighs.

    Attributes:
        alpha: Weight of the language model's natural logarithm.
        beta: Added for each word, or for each letter with a model of letters.
        width: Beginnings kept after each frame.
        top_symbols: The likeliest symbols of a frame that are tried.
        cutoff_probability: Symbols are tried until they hold so much of a frame's probability; 1 leaves none out.
    """

    alpha: float = 0.8
    beta: float = 1.0
    width: int = 10
    top_symbols: int = 40
    cutoff_probability: float = 1.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.top_symbols < 1:
            raise UsageError(f"--beam-width {self.width}, --top-symbols {self.top_symbols}: take 1 or more")
        if not 0 < self.cutoff_probability <= 1:
            raise UsageError(f"--cutoff-probability {self.cutoff_probability}: take more than 0 and 1 at most")


class BeamSearch:
    """Beam search over CTC's output.

    Args:
        letters: The alphabet's characters by symbol; symbol 0 is the blank.
        config: The search.
        language_model: None searches by sound alone; alpha and beta are then without effect.

    Raises:
        Ds2profError: flashlight-text is not installed.
        ReadError: KenLM cannot read the model.
        UsageError: the alphabet has no space, which a model of words needs.
    """

    def __init__(
        self, letters: Sequence[str], config: BeamConfig | None = None, *, language_model: LanguageModel | None = None
    ) -> None:
        self._config = config or BeamConfig()
        self._space = letters.index(" ") if " " in letters else None
        self._by_words = language_model is not None and language_model.words is not None
        if self._by_words and self._space is None:
            raise UsageError("--lm: a model of words takes an alphabet with a space")
        self._letters = tuple(letters)
        self._tree: Any = None
        if language_model is None:
            self._model = require("flashlight.lib.text.decoder").ZeroLM()
        elif language_model.words is not None:
            self._model = open_kenlm(language_model.path, ["<unk>", *language_model.words])
            self._tree = _spellings(language_model.words, self._model, letters=len(letters), space=self._space)
        else:
            self._model = open_kenlm(language_model.path, _distinct(language_model.tokens))
        self._has_model = language_model is not None
        self._decoder = self._made()

    def reweighted(self, *, alpha: float, beta: float) -> BeamSearch:
        """The same search with other weights; the model is not read again."""
        other = copy(self)
        other._config = replace(self._config, alpha=alpha, beta=beta)
        other._decoder = other._made()
        return other

    def __call__(self, logits_TBV: Tensor, counts: Sequence[int]) -> list[Decoded]:
        """The best text of each utterance."""
        return [self.search(log_probs_TV) for log_probs_TV in log_probabilities(logits_TBV, counts)]

    def search(self, log_probs_TV: NDArray[np.float32]) -> Decoded:
        """The best text of one utterance, given the logarithm of each symbol's probability in each frame."""
        frames = len(log_probs_TV)
        if frames == 0:
            return Decoded((), score=0.0)
        emissions_TV = _cut(log_probs_TV, self._config.cutoff_probability)
        if self._by_words:
            closing_V = np.full((1, emissions_TV.shape[1]), _IMPOSSIBLE, np.float32)
            closing_V[0, self._space] = 0.0
            emissions_TV = np.concatenate([emissions_TV, closing_V])
        emissions_TV = np.ascontiguousarray(emissions_TV, np.float32)
        found = self._decoder.decode(emissions_TV.ctypes.data, *emissions_TV.shape)
        return self._best(found, frames)

    def _best(self, found: Sequence[Any], frames: int) -> Decoded:
        """The text whose paths together score best, with the best of them for its offsets."""
        scores: dict[tuple[int, ...], float] = {}
        paths: dict[tuple[int, ...], Sequence[int]] = {}
        for hypothesis in found:  # best first
            path = hypothesis.tokens[1 : frames + 1]
            text = _text(path, space=self._space if self._by_words else None)
            paths.setdefault(text, path)
            scores[text] = float(np.logaddexp(scores.get(text, -math.inf), hypothesis.score))
        best = max(scores, key=scores.__getitem__)
        return read_off(paths[best], score=scores[best])

    def _made(self) -> Any:
        """The decoder for the model and the weights."""
        if self._tree is not None:
            return self._spelling()
        weight = self._config.alpha * math.log(10)
        if not self._has_model or not self._config.beta:
            return self._free(self._model, weight=weight)
        # flashlight has a bonus for words alone. The decoder does not hold on to what is Python's.
        self._kept = _weighted(self._model, weight, bonus=self._config.beta)
        return self._free(self._kept, weight=1.0)

    def _free(self, model: Any, *, weight: float) -> Any:
        """The decoder without a lexicon.

        Its "silence" is the blank here: with the space for it, a text that begins with one would lose it.
        """
        flashlight = require("flashlight.lib.text.decoder")
        options = flashlight.LexiconFreeDecoderOptions(
            self._config.width,
            min(self._config.top_symbols, len(self._letters)),
            _THRESHOLD,
            weight,
            0.0,
            True,
            flashlight.CriterionType.CTC,
        )
        return flashlight.LexiconFreeDecoder(options, model, BLANK, BLANK, [])

    def _spelling(self) -> Any:
        """The decoder along the lexicon's tree of spellings."""
        flashlight = require("flashlight.lib.text.decoder")
        options = flashlight.LexiconDecoderOptions(
            self._config.width,
            min(self._config.top_symbols, len(self._letters)),
            _THRESHOLD,
            self._config.alpha * math.log(10),
            self._config.beta,
            -math.inf,
            0.0,
            True,
            flashlight.CriterionType.CTC,
        )
        return flashlight.LexiconDecoder(options, self._tree, self._model, self._space, BLANK, 0, [], False)


def _spellings(words: Mapping[str, Sequence[int]], model: Any, *, letters: int, space: int | None) -> Any:
    """The tree of the words' spellings, each with a space behind it."""
    flashlight = require("flashlight.lib.text.decoder")
    tree = flashlight.Trie(letters, BLANK)
    start = model.start(False)
    for number, symbols in enumerate(words.values(), 1):
        _, score = model.score(start, number)
        tree.insert([*symbols, space], number, score)
    tree.smear(flashlight.SmearingMode.MAX)  # a beginning is worth its best word: fewer good ones are lost early
    return tree


def _text(path: Sequence[int], *, space: int | None) -> tuple[int, ...]:
    """What a path says; with a model of words, spaces at the ends are none."""
    symbols = [symbol for symbol, _ in groupby(path) if symbol != BLANK]
    if space is None:
        return tuple(symbols)
    joined: list[int] = []
    for symbol in symbols:
        if symbol != space or (joined and joined[-1] != space):
            joined.append(symbol)
    return tuple(joined[:-1] if joined and joined[-1] == space else joined)


def _cut(log_probs_TV: NDArray[np.float32], probability: float) -> NDArray[np.float32]:
    """The emissions, of each frame those symbols alone that together hold ``probability``, the likeliest first."""
    finite_TV = np.maximum(log_probs_TV, np.float32(_IMPOSSIBLE))
    if probability >= 1:
        return finite_TV
    order_TV = np.argsort(-finite_TV, axis=1, kind="stable")
    sorted_TV = np.exp(np.take_along_axis(finite_TV, order_TV, axis=1).astype(np.float64))
    before_TV = np.cumsum(sorted_TV, axis=1) - sorted_TV  # held by the likelier ones
    beyond_TV = np.zeros(finite_TV.shape, bool)
    np.put_along_axis(beyond_TV, order_TV, before_TV >= probability, axis=1)
    return np.where(beyond_TV, np.float32(_IMPOSSIBLE), finite_TV)


def _distinct(tokens: Sequence[str]) -> list[str]:
    """The tokens, told apart where several are unknown: a dictionary holds each entry once."""
    return [f"<unknown {number}>" if token == "<unk>" else token for number, token in enumerate(tokens)]  # noqa: S105


def _weighted(model: Any, weight: float, *, bonus: float) -> Any:
    """The model, its scores times ``weight``, each token worth ``bonus`` more."""
    base: Any = require("flashlight.lib.text.decoder").LM

    class Weighted(base):  # type: ignore[misc]
        """A model that asks another one. flashlight calls it for each token it tries, so it is Python's speed."""

        def __init__(self) -> None:
            base.__init__(self)

        def start(self, start_with_nothing: bool) -> Any:
            return model.start(start_with_nothing)

        def score(self, state: Any, token: int) -> tuple[Any, float]:
            after, score = model.score(state, token)
            return after, weight * score + bonus

        def finish(self, state: Any) -> tuple[Any, float]:
            after, score = model.finish(state)
            return after, weight * score

    return Weighted()
