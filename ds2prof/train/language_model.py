"""Language models of words or of letters, as KenLM keeps them: ``.arpa``, ``.arpa.gz`` or KenLM's own binary.

A model is of letters where everything in it but ``<s>``, ``</s>`` and ``<unk>`` is a single character, with one of
``|``, ``<space>`` or U+2581 for the space; else it is of words. An ARPA file says so itself. A binary does not list
what it knows: with a lexicon beside it, it is of words, and without one of letters.

With a model of words only words are found that are in its lexicon: a file with one word in a line, or the ARPA file's
own unigrams. Words that the alphabet cannot spell are left out. Case is the alphabet's: a model in lower case serves an
alphabet of capitals.
"""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TextIO

from ds2prof.errors import Ds2profError, ReadError, UsageError

SPACES: Final = ("|", "<space>", "\u2581")
_UNKNOWN: Final = "<unk>"
_SPECIAL: Final = {_UNKNOWN, "<s>", "</s>", "<UNK>", "<S>", "</S>"}
_MOST_WORDS: Final = 5_000_000
_LONGEST_LINE: Final = 4096
_BINARY: Final = b"mmap lm http"


@dataclass(frozen=True)
class LanguageModel:
    """A model's file and what it is a model of.

    Attributes:
        path: What KenLM opens.
        words: Each word as the model has it -> its symbols; None for a model of letters.
        tokens: For a model of letters, the model's name of each symbol; those it lacks are ``<unk>``.
    """

    path: Path
    words: dict[str, tuple[int, ...]] | None
    tokens: tuple[str, ...]


def read_language_model(path: Path, letters: Sequence[str], *, lexicon: Path | None = None) -> LanguageModel:
    """The model in a file, for an alphabet.

    Args:
        path: The model.
        letters: The alphabet's characters by symbol; symbol 0 is the blank.
        lexicon: One word in a line, where the model is of words.

    Raises:
        ReadError: one of the files cannot be read as what it should be.
        UsageError: the model does not go with the alphabet.
    """
    if any(len(letter) != 1 for letter in letters):
        raise UsageError(
            f"--lm {path}: beam search here spells with single characters; this model's symbols are longer"
        )
    known = None if _is_binary(path) else _unigrams(path)
    listed = known if lexicon is None else _words_of(lexicon)
    if lexicon is None and (known is None or all(len(word) == 1 or word in SPACES for word in known)):
        return LanguageModel(path, None, _tokens(path, letters, known))
    spelled = _spelled(listed or [], letters)
    if not spelled:
        raise UsageError(f"{lexicon or path}: not one of its words can be spelled with {''.join(letters[1:])!r}")
    return LanguageModel(path, spelled, ())


def open_kenlm(path: Path, entries: Sequence[str]) -> Any:
    """KenLM's model for the decoder, which calls ``entries`` by their numbers.

    Raises:
        ReadError: KenLM cannot read the file.
    """
    kenlm = require("flashlight.lib.text.decoder.kenlm")
    dictionary = require("flashlight.lib.text.dictionary").Dictionary()
    for entry in entries:
        dictionary.add_entry(entry)
    try:
        with _quiet():
            return kenlm.KenLM(str(path), dictionary)
    except (RuntimeError, ValueError) as error:
        raise ReadError(f"{path}: KenLM cannot read this model: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What KenLM says, without where in its own source it says so."""
    return " ".join(re.sub(r"^.* threw \w+\.\s", "", str(error), flags=re.DOTALL).split())[:200]


def require(module: str) -> Any:
    """A module of flashlight-text or KenLM.

    Raises:
        Ds2profError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise Ds2profError(
            "flashlight-text, kenlm: these packages do the beam search and are not installed; "
            'pip install "ds2prof[decode]"'
        ) from None


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_BINARY)) == _BINARY
    except OSError as error:
        raise ReadError(f"{path}: cannot read this language model: {error.strerror}") from None


def _unigrams(path: Path) -> list[str]:
    """The words of an ARPA file, special ones left out.

    Raises:
        ReadError: it is none.
    """
    found: list[str] = []
    inside = False
    for line in _lines(path):
        if line.startswith("\\"):
            if inside:
                break
            inside = line.startswith("\\1-grams:")
        elif inside and line.strip():
            fields = line.split()
            if len(fields) < 2:
                raise ReadError(f"{path}: a line of its 1-grams has no word; is it cut off?")
            found.append(fields[1])
    if not found:
        raise ReadError(f"{path}: is no language model: neither KenLM's binary nor an ARPA file with 1-grams")
    return [word for word in found if word not in _SPECIAL]


def _words_of(lexicon: Path) -> list[str]:
    """The first word of each line."""
    found = [line.split()[0] for line in _lines(lexicon) if line.strip()]
    if not found:
        raise ReadError(f"{lexicon}: holds no words; a lexicon has one in each line")
    return [word for word in found if word not in _SPECIAL]


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, packed or not, as far as it can be a model of words.

    Raises:
        ReadError: it cannot.
    """
    try:
        with _opened(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), "")):
                if number > _MOST_WORDS:
                    raise ReadError(
                        f"{path}: has more than {_MOST_WORDS:,} words; give a --lexicon of those that matter"
                    )
                yield line
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ReadError(f"{path}: cannot be read as text: {getattr(error, 'strerror', None) or error}") from None


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _tokens(path: Path, letters: Sequence[str], known: list[str] | None) -> tuple[str, ...]:
    """The name that a model of letters has for each symbol."""
    names = set(known) if known is not None else _known_by_kenlm(path, letters)
    space = next((name for name in SPACES if name in names), None)
    if space is None and " " in letters:
        raise UsageError(
            f"{path}: a model of letters with no name for the space ({', '.join(SPACES)}); if it is one of words, "
            "give --lexicon with one word in a line"
        )
    fold = _folding(letters)
    by_letter = {fold(name): name for name in sorted(names) if len(name) == 1}
    by_letter[" "] = space or _UNKNOWN
    return tuple(by_letter.get(letter, _UNKNOWN) if number else _UNKNOWN for number, letter in enumerate(letters))


def _folding(letters: Sequence[str]) -> Callable[[str], str]:
    """What brings a word of a model into the case of the alphabet, where that has one case alone."""
    if not any(letter.islower() for letter in letters):
        return str.upper
    return str if any(letter.isupper() for letter in letters) else str.lower


def _known_by_kenlm(path: Path, letters: Sequence[str]) -> set[str]:
    """Which of the names that matter a binary model knows."""
    with _quiet():
        try:
            model = require("kenlm").Model(str(path))
        except (OSError, RuntimeError) as error:
            raise ReadError(f"{path}: KenLM cannot read this model: {_reason(error)}") from None
    asked = {each for letter in letters for each in (letter, letter.lower())} | set(SPACES)
    return {name for name in asked if name in model}


def _spelled(listed: Sequence[str], letters: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Word -> symbols, of the words that can be spelled."""
    numbers = {letter: number for number, letter in enumerate(letters) if number and letter != " "}
    fold = _folding(letters)
    found = {}
    for word in listed:
        folded = fold(word)
        if all(each in numbers for each in folded):
            found[word] = tuple(numbers[each] for each in folded)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """A context in which KenLM, which draws a progress bar on standard error by itself, is not heard."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
