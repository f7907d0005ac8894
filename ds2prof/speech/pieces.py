"""Pieces of words as symbols: a sentencepiece model, trained on a manifest's transcripts, for RNN-T.

Text is lower case with single spaces, as in NVIDIA's RNN-T, whose model has 1,023 pieces of the unigram kind. Piece 0
stands for what the model does not know and is never a label here: such characters are left out, and counted by
:meth:`Pieces.unknown`. The blank is not one of the model's: it comes after the last piece.

A small corpus does not hold 1,023 pieces worth having. Then the model has fewer, and the numbers up to the size that
was asked for stay unused, so that the network's size does not depend on the corpus.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ds2prof.errors import Ds2profError, MissingDataError, ReadError, UsageError
from ds2prof.measurements import written_whole

DEFAULT_PIECES: Final = 1023
_UNKNOWN: Final = 0
_SPACE: Final = "\u2581"
"""How sentencepiece writes a space."""
_LARGEST_MODEL_BYTES: Final = 1 << 27


class Pieces:
    """A sentencepiece model as symbols.

    ``held`` is how many pieces the model has, ``count`` how many the network has symbols for.

    Args:
        model: The model's bytes, as ``spm_train`` writes them.
        count: Symbols besides the blank; None is as many as the model has.
        where: What the model is called in errors.

    Raises:
        ReadError: these bytes are no model.
        UsageError: the model has more than ``count`` pieces.
        Ds2profError: sentencepiece is not installed.
    """

    def __init__(self, model: bytes, *, count: int | None = None, where: str = "model of pieces") -> None:
        self.model = model
        self._processor = _processor(model, where)
        self.held = int(self._processor.get_piece_size())
        if count is not None and self.held > count:
            raise UsageError(
                f"{where}: has {self.held} pieces and the network has {count} symbols for them; train it smaller"
            )
        self.count = self.held if count is None else count

    def __reduce__(self) -> tuple[Any, ...]:
        """How a worker process gets its own."""
        return _rebuilt, (self.model, self.count)

    @property
    def size(self) -> int:
        """How many symbols there are, the blank included."""
        return self.count + 1

    @property
    def blank(self) -> int:
        """The number of the blank: the last."""
        return self.count

    @cached_property
    def _characters(self) -> frozenset[str]:
        """The characters that some piece holds, and the space."""
        pieces = (self._processor.id_to_piece(number) for number in range(self.held) if number != _UNKNOWN)
        return frozenset("".join(pieces).replace(_SPACE, " ")) | {" "}

    def normalized(self, text: str) -> str:
        """The text in lower case, characters that the model lacks left out, runs of white space one space."""
        return " ".join("".join(each for each in _folded(text) if each in self._characters).split())

    def encode(self, text: str) -> NDArray[np.int64]:
        """The pieces of ``normalized(text)``; what that leaves out, :meth:`unknown` counts."""
        numbers = np.array(self._processor.encode(self.normalized(text)), dtype=np.int64)
        known: NDArray[np.int64] = numbers[numbers != _UNKNOWN]
        return known

    def decode(self, labels: Iterable[int]) -> str:
        """The text of some pieces; blanks and unused numbers count for nothing."""
        text: str = self._processor.decode([int(label) for label in labels if _UNKNOWN < label < self.held])
        return text

    def unknown(self, text: str) -> Counter[str]:
        """The characters of a text that the model lacks, with how often each occurs."""
        return Counter(each for each in _folded(text) if each not in self._characters)


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _rebuilt(model: bytes, count: int) -> Pieces:
    return Pieces(model, count=count)


def read_pieces(path: Path, *, count: int | None = None) -> Pieces:
    """The model in a file.

    Raises:
        ReadError: it cannot be read as one.
        UsageError: the model has more than ``count`` pieces.
    """
    try:
        with path.open("rb") as file:
            model = file.read(_LARGEST_MODEL_BYTES)
    except OSError as error:
        raise ReadError(f"{path}: cannot read this model of pieces: {error.strerror}") from None
    return Pieces(model, count=count, where=str(path))


def write_pieces(path: Path, pieces: Pieces) -> None:
    """Writes the model, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_bytes(pieces.model)


def trained(texts: Sequence[str], *, count: int = DEFAULT_PIECES) -> Pieces:
    """A model of at most ``count`` pieces for these transcripts; equal texts give equal models.

    Raises:
        MissingDataError: there are no words in the transcripts.
        UsageError: ``count`` is too small for the characters in them.
        Ds2profError: sentencepiece is not installed.
    """
    lines = [line for line in map(_folded, texts) if line]
    if not lines:
        raise MissingDataError("the transcripts hold no words to train pieces on")
    trainer = _sentencepiece().SentencePieceTrainer
    model = io.BytesIO()
    try:
        trainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=count,
            model_type="unigram",
            character_coverage=1.0,
            normalization_rule_name="identity",
            hard_vocab_limit=False,
            unk_id=_UNKNOWN,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            shuffle_input_sentence=False,
            max_sentence_length=1 << 20,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UsageError(_refusal(str(error), count)) from None
    return Pieces(model.getvalue(), count=count)


def _refusal(reason: str, count: int) -> str:
    """Why sentencepiece would not, in one line."""
    least = re.search(r"smaller than required_chars\.?\s*(?:\d+ vs )?(\d+)", reason)
    if "required_chars" in reason:
        needs = f": they hold {least[1]} characters" if least else ""
        return f"{count} pieces: too few for the characters of these transcripts{needs}; take more"
    return f"{count} pieces: sentencepiece refuses: {' '.join(reason.split())[-160:]}"


def _processor(model: bytes, where: str) -> Any:
    processor = _sentencepiece().SentencePieceProcessor()
    try:
        loaded = bool(model) and processor.LoadFromSerializedProto(model)
    except (RuntimeError, OSError):
        loaded = False
    if not loaded:
        raise ReadError(f"{where}: is no sentencepiece model")
    return processor


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise Ds2profError(
            'sentencepiece: this package is not installed, and pieces of words take it; pip install "ds2prof[speech]"'
        ) from None
    return sentencepiece
