"""A public corpus, from its mirrors to its manifests. Whatever ends it, the next run goes on from there.

In the target lie ``archives/`` (archives, parts of archives and what is being unpacked), ``.laid-out/<archive>.json``
for each archive that needs nothing more, ``<split>/{wav,txt}/`` and the manifests::

    {"sample_rate_hz": 16000, "splits": {"val": 2703}, "faults": 0, "archive_bytes": 337926286}
"""

from __future__ import annotations

import errno
import glob
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from ds2prof.errors import Ds2profError, ReadError, UsageError
from ds2prof.measurements import written_whole
from ds2prof.speech.corpora import Archive, Corpus
from ds2prof.speech.corpora_layout import LaidOut, lay_out
from ds2prof.speech.fetching import Manner, NoRoomError, alone, fetch, fetch_text, verify_given
from ds2prof.speech.fetching_checks import Digests
from ds2prof.speech.unpacking import unpack
from ds2prof.speech.unpacking_folder import Limits
from ds2prof.units import format_bytes

_LINK: Final = re.compile(r"""href\s*=\s*["']([^"'<>/?#]{1,250}\.(?:tgz|tar\.gz))["']""", re.IGNORECASE)
_FILE: Final = re.compile(r"[^/\\.][^/\\]*")
_LARGEST_INDEX_BYTES: Final = 1 << 25
_MOST_IN_A_ROW: Final = 20
"""So many archives that fail one behind the other are no accident: the rest would fail too, after as many waits."""
_ROOM: Final = 3
"""Free space to unpack and lay out an archive, in sizes of the archive: FLAC becomes twice as large as WAV."""


@dataclass(frozen=True)
class Choice:
    """What of a corpus is wanted, and from where.

    Attributes:
        subsets: Its parts; none is the standard ones.
        mirrors: The user's own, tried before the known ones.
        archive: A file that the user has; nothing is fetched then.
        sample_rate_hz: The rate of the WAV files.
        keep_archives: Archives stay after they have been laid out.
        limit: Of an index, only so many archives; None is all.
    """

    subsets: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    archive: Path | None = None
    sample_rate_hz: int = 16_000
    keep_archives: bool = False
    limit: int | None = None


@dataclass(frozen=True)
class Steps:
    """Who is told what is going on. Each is called often and may do nothing."""

    say: Callable[[str], None] = lambda line: None
    unpacked: Callable[[str, int, int], None] = lambda name, files, size_bytes: None
    laid_out: Callable[[str, int], None] = lambda name, utterances: None


@dataclass
class Summary:
    """What became of each archive.

    Attributes:
        done: Archive -> what was laid out of it now.
        before: Archives that an earlier run had laid out.
        failed: Archive -> why it is not there.
        not_tried: How many were given up because too many before them had failed.
    """

    done: dict[str, LaidOut] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_tried: int = 0


def download(
    corpus: Corpus, target: Path, choice: Choice, *, manner: Manner | None = None, steps: Steps | None = None
) -> Summary:
    """What became of the archives of the corpus, each of which was fetched, verified, unpacked and laid out.

    One that fails does not keep the others from being tried.

    Raises:
        UsageError: there is no such part, or nothing to fetch from.
        Ds2profError: the disk is full, or the index of the archives cannot be had.
    """
    manner, steps = manner or Manner(), steps or Steps()
    archives = _archives(corpus, choice, manner)
    summary = Summary()
    in_a_row = 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        with alone(target):
            for number, archive in enumerate(archives):
                if in_a_row == _MOST_IN_A_ROW:
                    summary.not_tried = len(archives) - number
                    break
                there = _tried(
                    corpus, archive, target=target, choice=choice, summary=summary, manner=manner, steps=steps
                )
                in_a_row = 0 if there else in_a_row + 1
    except OSError as error:
        raise Ds2profError(_disk_fault(target, error)) from None
    return summary


def _tried(
    corpus: Corpus,
    archive: Archive,
    *,
    target: Path,
    choice: Choice,
    summary: Summary,
    manner: Manner,
    steps: Steps,
) -> bool:
    """Whether the archive is there now; the summary says what became of it."""
    if _laid_out(target, archive, choice):
        summary.before.append(archive.name)
        return True
    try:
        summary.done[archive.name] = _one(corpus, archive, target=target, choice=choice, manner=manner, steps=steps)
    except (UsageError, NoRoomError):
        raise
    except Ds2profError as error:
        summary.failed[archive.name] = str(error)
        return False
    return True


def _archives(corpus: Corpus, choice: Choice, manner: Manner) -> tuple[Archive, ...]:
    if choice.archive is not None:
        return (_given(corpus, choice.archive, choice.subsets),)
    if choice.limit is not None and not corpus.index:
        raise UsageError(f"--limit: {corpus.title} is no list of archives; leave it out, or name parts with --subset")
    if corpus.index:
        if choice.subsets:
            raise UsageError(f"--subset: {corpus.title} has no parts; --limit N takes the first N of its archives")
        return _listed(corpus, choice, manner)
    if corpus.archives:
        return corpus.chosen(choice.subsets)
    if choice.subsets:
        raise UsageError(f"--subset: {corpus.title} has no parts that are known here; give one archive at a time")
    if not choice.mirrors:
        raise UsageError(
            f"{corpus.title} {corpus.by_hand}, so it cannot be fetched from here; fetch the archive with a browser and "
            "give it with --archive FILE, or the address that you were given with --mirror URL"
        )
    names = [mirror.split("?")[0].rsplit("/", 1)[-1] for mirror in choice.mirrors]
    if len(set(names)) != 1 or not re.fullmatch(r"[A-Za-z0-9_][\w.-]*\.(?:tar\.gz|tgz|tar|zip)", names[0]):
        raise UsageError(f"--mirror: give the address of one archive of {corpus.title}, one that ends with .tar.gz")
    return (Archive("all", names[0], Digests()),)


def _given(corpus: Corpus, path: Path, subsets: tuple[str, ...]) -> Archive:
    """The archive that the user has, with its digest where its name or the named subset tells which one it is."""
    known = {archive.name: archive for archive in corpus.archives}
    if subsets:
        chosen = corpus.chosen(subsets)
        if len(chosen) != 1:
            raise UsageError("--archive: is one file; name one --subset with it, or none")
        return replace(chosen[0], name=path.name)
    return replace(known[path.name]) if path.name in known else Archive("given", path.name, Digests())


def _listed(corpus: Corpus, choice: Choice, manner: Manner) -> tuple[Archive, ...]:
    """The archives that a mirror's page lists, in the order of their names."""
    mirrors = (*choice.mirrors, *corpus.mirrors)
    page = fetch_text(tuple(f"{mirror.rstrip('/')}/" for mirror in mirrors), _LARGEST_INDEX_BYTES, manner=manner)
    names = sorted({unquote(found) for found in _LINK.findall(page)})
    names = [name for name in names if name.isprintable() and _FILE.fullmatch(name) and len(name.encode()) <= 200]
    if not names:
        raise ReadError(f"{mirrors[0]}: lists no archives (.tgz); is it a folder of {corpus.title}?")
    return tuple(Archive(name, name, Digests()) for name in names[: choice.limit])


def _one(corpus: Corpus, archive: Archive, *, target: Path, choice: Choice, manner: Manner, steps: Steps) -> LaidOut:
    """What was laid out of one archive; what it took on the way is removed."""
    folder = target / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    if choice.archive is not None:
        path = choice.archive
        unpacked = _own_folder(folder, archive.name, verify_given(path, archive.digests))
    else:
        path = fetch(corpus.source(archive, choice.mirrors), folder, manner=manner)
        unpacked = folder / f"{archive.name}.unpacked"
    if not unpacked.is_dir():
        _check_room(path, target)
        out = unpack(
            path, unpacked, limits=Limits(), show=lambda files, size: steps.unpacked(archive.name, files, size)
        )
        if out.left_out_count:
            steps.say(f"{archive.name}: {out.left_out_count} links in it lead to no file of it and were left out")
    laid = lay_out(
        corpus.pieces(unpacked),
        target,
        sample_rate_hz=choice.sample_rate_hz,
        show=lambda utterances: steps.laid_out(archive.name, utterances),
    )
    if not laid.splits:
        shutil.rmtree(unpacked)
        first = f": {laid.faults[0]}" if laid.faults else ""
        raise ReadError(f"{archive.name}: no utterance of {corpus.title} was found in it{first}")
    _note(target, archive, laid, sample_rate_hz=choice.sample_rate_hz, size_bytes=path.stat().st_size)
    shutil.rmtree(unpacked)
    if choice.archive is None and not choice.keep_archives:
        path.unlink()
    return laid


def _own_folder(folder: Path, name: str, sha256: str) -> Path:
    """Where the user's archive is unpacked: what an ended run unpacked of another one of that name is removed."""
    own = folder / f"{name}.{sha256[:16]}.unpacked"
    for other in folder.glob(f"{glob.escape(name)}.{'[0-9a-f]' * 16}.unpacked"):
        if other != own:
            shutil.rmtree(other)
    return own


def _laid_out(target: Path, archive: Archive, choice: Choice) -> bool:
    """Whether the archive needs nothing more.

    Raises:
        UsageError: it was laid out at another rate, or the user gives another one of its name now.
    """
    try:
        found = json.loads(_note_path(target, archive).read_text(encoding="utf-8"))
        splits, rate_hz, size_bytes = dict(found["splits"]), int(found["sample_rate_hz"]), int(found["archive_bytes"])
    except (OSError, ValueError, TypeError, KeyError):
        return False
    if choice.archive is not None and choice.archive.stat().st_size != size_bytes:
        raise UsageError(
            f"{choice.archive}: another archive of that name was laid out in {target}; rename this one, or give "
            "another --target-dir"
        )
    if rate_hz != choice.sample_rate_hz:
        raise UsageError(
            f"{target}: {archive.name} lies there at {rate_hz} Hz; give --sample-rate {rate_hz} or another --target-dir"
        )
    return all((target / split / "wav").is_dir() for split in splits)


def _note(target: Path, archive: Archive, laid: LaidOut, *, sample_rate_hz: int, size_bytes: int) -> None:
    about = {
        "sample_rate_hz": sample_rate_hz,
        "splits": laid.splits,
        "faults": len(laid.faults),
        "archive_bytes": size_bytes,
    }
    path = _note_path(target, archive)
    path.parent.mkdir(exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(json.dumps(about) + "\n", encoding="utf-8")


def _note_path(target: Path, archive: Archive) -> Path:
    return target / ".laid-out" / f"{archive.name}.json"


def _check_room(archive: Path, target: Path) -> None:
    free, needed = shutil.disk_usage(target).free, _ROOM * archive.stat().st_size
    if free < needed:
        raise NoRoomError(
            f"{target}: {format_bytes(free)} are free, and {archive.name} takes about {format_bytes(needed)} until it "
            "is laid out; make room, or give another --target-dir"
        )


def _disk_fault(target: Path, error: OSError) -> str:
    full = "; what is there stays, and the same command goes on from it" if error.errno == errno.ENOSPC else ""
    return f"{error.filename or target}: {error.strerror or error}{full}"
