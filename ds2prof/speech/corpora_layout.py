"""Pieces of a corpus as ``<target>/<split>/{wav,txt}``: 16-bit WAV files of one rate and a text file for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from ds2prof.errors import Ds2profError, ReadError
from ds2prof.speech.audio import Samples, duration_s, read_samples, resampled, write_wav
from ds2prof.speech.corpora import Corpus, is_training
from ds2prof.speech.corpora_pieces import AN4_RAW_HZ, Piece
from ds2prof.speech.corpus_folders import utterances_in
from ds2prof.speech.manifests import by_duration, measured, pruned, write_manifest

_TOGETHER: Final = 256
_WORKERS: Final = min(8, os.cpu_count() or 1)
"""Threads: reading and resampling leave Python's lock."""


@dataclass(frozen=True)
class LaidOut:
    """What became of an archive's pieces.

    Attributes:
        splits: Split -> utterances of this archive in it.
        faults: Pieces that could not be read or say nothing, a line each.
    """

    splits: dict[str, int]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """A manifest that was written.

    Attributes:
        path: Where it lies.
        utterances: How many it names.
        pruned: How many of the split are too short or too long for it.
        dur_s: How long its utterances are together.
    """

    path: Path
    utterances: int
    pruned: int
    dur_s: float


def lay_out(
    pieces: Iterable[Piece], target: Path, *, sample_rate_hz: int, show: Callable[[int], None] | None = None
) -> LaidOut:
    """What became of the pieces; those that an earlier run has laid out are not read again.

    Args:
        pieces: Of one archive.
        target: The corpus's folder.
        sample_rate_hz: The rate of the WAV files.
        show: Is told how many are done.

    Raises:
        Ds2profError: a package is missing that it takes.
        OSError: they cannot be written.
    """
    splits: dict[str, int] = {}
    faults: list[str] = []
    seen: set[tuple[str, str]] = set()
    done = 0
    with ThreadPoolExecutor(_WORKERS) as workers:
        waiting = iter(pieces)
        while given := list(islice(waiting, _TOGETHER)):
            some = _new(given, seen, faults)
            for split in {piece.split for piece in some}:
                for kind in ("wav", "txt"):
                    (target / split / kind).mkdir(parents=True, exist_ok=True)
            written = workers.map(lambda piece: _write(piece, target, sample_rate_hz), some)
            for piece, fault in zip(some, written, strict=True):
                if fault is None:
                    splits[piece.split] = splits.get(piece.split, 0) + 1
                else:
                    faults.append(fault)
            done += len(given)
            if show is not None:
                show(done)
    return LaidOut(splits, tuple(faults))


def _new(pieces: list[Piece], seen: set[tuple[str, str]], faults: list[str]) -> list[Piece]:
    """The pieces whose names are new; two of one name would take the same file."""
    new = []
    for piece in pieces:
        if (piece.split, piece.name) in seen:
            faults.append(f"{piece.name}: is there twice in {piece.split}; the second is left out")
        else:
            seen.add((piece.split, piece.name))
            new.append(piece)
    return new


def write_manifests(
    corpus: Corpus,
    target: Path,
    *,
    folder: Path,
    min_s: float | None,
    max_s: float | None,
    absolute: bool,
    show: Callable[[int, int], None] | None = None,
) -> Iterator[Manifest]:
    """The manifest of each split that lies in the target, shortest utterance first; training splits are pruned.

    Raises:
        Ds2profError: one cannot be written, or would be empty.
    """
    for split in sorted(each.parent.name for each in target.glob("*/wav") if each.is_dir()):
        found, faults = measured(utterances_in(target / split).utterances, progress=show)
        if faults:
            raise ReadError(f"{faults[0]}{f' (and {len(faults) - 1} more)' if len(faults) > 1 else ''}")
        kept = pruned(found, min_s=min_s, max_s=max_s) if is_training(split) else found
        if not kept:
            raise Ds2profError(
                f"{target / split}: none of its {len(found)} utterances is from {min_s} to {max_s} s long; "
                "give other --min-duration and --max-duration"
            )
        path = folder / corpus.manifest_name(split)
        write_manifest(path, by_duration(kept), absolute=absolute)
        yield Manifest(path, len(kept), len(found) - len(kept), sum(each.dur_s or 0.0 for each in kept))


def _write(piece: Piece, target: Path, sample_rate_hz: int) -> str | None:
    """None, or why the piece is left out."""
    wav = target / piece.split / "wav" / f"{piece.name}.wav"
    txt = target / piece.split / "txt" / f"{piece.name}.txt"
    if wav.is_file() and txt.is_file():
        return None
    if not piece.text:
        return f"{piece.audio.name}: nothing is said in it"
    try:
        samples = _samples(piece, sample_rate_hz)
    except ReadError as error:
        return str(error)
    partial = wav.with_name(f".{wav.name}.partial")
    _write_text(txt, piece.text)
    partial.unlink(missing_ok=True)  # never through a link that lies there
    write_wav(partial, samples, sample_rate_hz)
    partial.replace(wav)  # last: where it is, all is
    return None


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _samples(piece: Piece, sample_rate_hz: int) -> Samples:
    if piece.audio.suffix == ".raw":
        integers = np.fromfile(piece.audio, ">i2")
        if not len(integers):
            raise ReadError(f"{piece.audio}: holds no sound")
        return resampled((integers / np.float32(32768)).astype(np.float32), AN4_RAW_HZ, sample_rate_hz)
    if piece.length_s is not None and piece.start_s >= duration_s(piece.audio):
        raise ReadError(f"{piece.audio.name}: ends before {piece.name} begins, at {piece.start_s} s")
    return read_samples(piece.audio, sample_rate_hz, start_s=piece.start_s, length_s=piece.length_s)
