"""Public speech corpora: where they are had, what is published of their archives, and how they are laid out here.

The digests are facts that others have published: the MD5 of LibriSpeech's archives stand in the ``md5sum.txt`` of its
own site, the SHA-256 of LibriSpeech's and TED-LIUM's in torchaudio's data sets (seen there in 2026). For AN4, VoxForge
and Common Voice nothing is published; see :mod:`ds2prof.speech.fetching` for what is done instead.

Laid out, each corpus is ``<target>/<split>/{wav,txt}/NAME.{wav,txt}`` with one manifest a split, under the names that
deepspeech.pytorch and its descendants have for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ds2prof.errors import UsageError
from ds2prof.speech.corpora_pieces import (
    Piece,
    an4_pieces,
    common_voice_pieces,
    librispeech_pieces,
    tedlium_pieces,
    voxforge_pieces,
)
from ds2prof.speech.fetching import Source
from ds2prof.speech.fetching_checks import Digests

_OPENSLR: Final = (
    "https://www.openslr.org/resources",
    "https://us.openslr.org/resources",
    "https://openslr.elda.org/resources",
    "https://openslr.magicdatatech.com/resources",
)


@dataclass(frozen=True)
class Archive:
    """One archive of a corpus.

    Attributes:
        subset: What it is called on the command line.
        name: The file's name, at every mirror.
        digests: What is published of its contents.
        mirrors: The folders that it lies in, where that are not its corpus's.
    """

    subset: str
    name: str
    digests: Digests
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A corpus and its archives.

    Attributes:
        name: On the command line.
        title: For reading.
        mirrors: The folders that the archives lie in, in the order in which they are tried.
        archives: All of them; empty where an index lists them.
        standard: The subsets that are taken where none is named.
        index: The mirrors' own pages list the archives (VoxForge has one for each recording session).
        prefix: What its manifests begin with.
        pieces: Reads an unpacked archive.
        by_hand: Why it cannot be fetched without the user's own account; None where it can.
    """

    name: str
    title: str
    mirrors: tuple[str, ...]
    archives: tuple[Archive, ...]
    standard: tuple[str, ...]
    prefix: str
    pieces: Callable[[Path], Iterator[Piece]]
    index: bool = False
    by_hand: str | None = None

    def chosen(self, subsets: tuple[str, ...]) -> tuple[Archive, ...]:
        """The archives of those subsets; the standard ones where none is named.

        Raises:
            UsageError: there is no such subset.
        """
        names = [name.removesuffix(".tar.gz") for name in subsets or self.standard]
        known = {archive.subset: archive for archive in self.archives}
        for name in names:
            if name not in known:
                raise UsageError(f"--subset {name}: {self.title} has no such part; it has {', '.join(known) or 'none'}")
        return tuple(known[name] for name in dict.fromkeys(names))

    def source(self, archive: Archive, mirrors: tuple[str, ...]) -> Source:
        """Where an archive is had: at the user's mirrors first, then at the known ones."""
        urls = [at_mirror(mirror, archive.name) for mirror in (*mirrors, *(archive.mirrors or self.mirrors))]
        return Source(archive.name, tuple(dict.fromkeys(urls)), archive.digests)

    def manifest_name(self, split: str) -> str:
        """What the split's manifest is called: as the ancestors called it."""
        return f"{split}_manifest.csv" if split.startswith("cv-") else f"{self.prefix}_{split}_manifest.csv"


def is_training(split: str) -> bool:
    """Whether utterances that are too short or too long are left out of the split's manifest."""
    return split in ("train", "cv-valid-train")


def at_mirror(mirror: str, name: str) -> str:
    """The archive's address at a mirror, which is a folder, or the archive itself."""
    return mirror if mirror.split("?")[0].rsplit("/", 1)[-1] == name else f"{mirror.rstrip('/')}/{quote(name)}"


def _openslr(number: int) -> tuple[str, ...]:
    return tuple(f"{mirror}/{number}" for mirror in _OPENSLR)


_LIBRISPEECH: Final = (
    (
        "train-clean-100",
        "2a93770f6d5c6c964bc36631d331a522",
        "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    ),
    (
        "train-clean-360",
        "c0e676e450a7ff2f54aeade5171606fa",
        "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    ),
    (
        "train-other-500",
        "d1a0fd59409feb2c614ce4d30c387708",
        "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
    ),
    (
        "dev-clean",
        "42e2234ba48799c1f50f24a7926300a1",
        "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    ),
    (
        "dev-other",
        "c8d0bcc9cca99d4f8b62fcc847357931",
        "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    ),
    (
        "test-clean",
        "32fa31d27d2e1cad72775fee3f4849a9",
        "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    ),
    (
        "test-other",
        "fb5a50374b501bb3bac4815ee91d3135",
        "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    ),
)

CORPORA: Final = {
    "librispeech": Corpus(
        name="librispeech",
        title="LibriSpeech",
        mirrors=_openslr(12),
        archives=tuple(
            Archive(subset, f"{subset}.tar.gz", Digests(sha256, md5)) for subset, md5, sha256 in _LIBRISPEECH
        ),
        standard=tuple(subset for subset, _, _ in _LIBRISPEECH),
        prefix="libri",
        pieces=librispeech_pieces,
    ),
    "an4": Corpus(
        name="an4",
        title="AN4",
        mirrors=("http://www.speech.cs.cmu.edu/databases/an4",),
        archives=(
            Archive("raw", "an4_raw.bigendian.tar.gz", Digests()),
            Archive("sphere", "an4_sphere.tar.gz", Digests()),
        ),
        standard=("raw",),
        prefix="an4",
        pieces=an4_pieces,
    ),
    "tedlium": Corpus(
        name="tedlium",
        title="TED-LIUM",
        mirrors=(),
        archives=(
            Archive(
                "release2",
                "TEDLIUM_release2.tar.gz",
                Digests("93281b5fcaaae5c88671c9d000b443cb3c7ea3499ad12010b3934ca41a7b9c58"),
                _openslr(19),
            ),
            Archive(
                "release1",
                "TEDLIUM_release1.tar.gz",
                Digests("30301975fd8c5cac4040c261c0852f57cfa8adbbad2ce78e77e4986957445f27"),
                _openslr(7),
            ),
            Archive(
                "release3",
                "TEDLIUM_release-3.tgz",
                Digests("ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb"),
                _openslr(51),
            ),
        ),
        standard=("release2",),
        prefix="ted",
        pieces=tedlium_pieces,
    ),
    "voxforge": Corpus(
        name="voxforge",
        title="VoxForge",
        mirrors=("http://www.repository.voxforge1.org/downloads/SpeechCorpus/Trunk/Audio/Main/16kHz_16bit",),
        archives=(),
        standard=(),
        prefix="voxforge",
        pieces=voxforge_pieces,
        index=True,
    ),
    "common-voice": Corpus(
        name="common-voice",
        title="Common Voice",
        mirrors=(),
        archives=(),
        standard=(),
        prefix="commonvoice",
        pieces=common_voice_pieces,
        by_hand="is given out to people who agree to its terms",
    ),
}
"""Name -> corpus."""
