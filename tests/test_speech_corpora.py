"""Each public corpus, from a mirror to its manifests, on small archives in its true layout."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import wave
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="the package soundfile is not installed")
pytest.importorskip("soxr", reason="the package soxr is not installed")

from ds2prof.cli import main
from ds2prof.errors import Ds2profError, ReadError, UsageError
from ds2prof.speech import corpora
from ds2prof.speech.corpora import CORPORA, at_mirror
from ds2prof.speech.corpora_download import Choice, Steps, download
from ds2prof.speech.corpora_pieces import (
    an4_pieces,
    common_voice_pieces,
    librispeech_pieces,
    spoken_words,
    tedlium_pieces,
    voxforge_pieces,
)
from ds2prof.speech.fetching import Manner
from ds2prof.speech.fetching_checks import Digests, digests_of
from ds2prof.speech.manifests import read_manifest
from ds2prof.speech.unpacking import unpack
from tests.download_support import (
    TALK,
    File,
    an4_archive,
    common_voice_archive,
    common_voice_first_archive,
    drops_after,
    librispeech_archive,
    put,
    serving,
    slowly,
    sound,
    status,
    tar_of,
    tedlium_archive,
    tone,
    voxforge_archive,
)

QUICK = Manner(tries=2, timeout_s=5.0, reserve_bytes=0, sleep=lambda pause_s: None)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def site():
    with serving() as site:
        yield site


def local(name: str, mirror: str, archives: dict[str, bytes] | None = None):
    """The corpus with one mirror, and the digests of these archives instead of the published ones."""
    corpus = replace(CORPORA[name], mirrors=(mirror,))
    if archives is None:
        return corpus
    found = {archive.subset: archive for archive in corpus.archives}
    chosen = tuple(
        replace(found[subset], digests=Digests(_sha256(content)), mirrors=()) for subset, content in archives.items()
    )
    return replace(corpus, archives=chosen, standard=tuple(archives))


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def samples_of(path: Path) -> tuple[int, np.ndarray]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


def texts_in(target: Path) -> dict[str, str]:
    """Text of every utterance that has its sound, by split and name."""
    found = {str(path.relative_to(target)): path.read_text() for path in sorted(target.glob("*/txt/*.txt"))}
    for name in found:
        assert (target / name.replace("/txt/", "/wav/").replace(".txt", ".wav")).is_file()
    return {name.replace("/txt/", ":").removesuffix(".txt"): text for name, text in found.items()}


def ds2prof(*arguments: str, ends: int = 0) -> None:
    with pytest.raises(SystemExit) if ends else nullcontext() as caught:
        main(["data", "download", *arguments])
    assert not ends or caught.value.code == ends


# --- the registry ---


def test_the_digests_are_those_that_are_published():
    published = {archive.name: archive.digests for corpus in CORPORA.values() for archive in corpus.archives}
    # The MD5 of LibriSpeech's own md5sum.txt, typed again from it; lengths of the rest are checked below.
    assert {name: digests.md5 for name, digests in published.items() if digests.md5} == {
        "dev-clean.tar.gz": "42e2234ba48799c1f50f24a7926300a1",
        "dev-other.tar.gz": "c8d0bcc9cca99d4f8b62fcc847357931",
        "test-clean.tar.gz": "32fa31d27d2e1cad72775fee3f4849a9",
        "test-other.tar.gz": "fb5a50374b501bb3bac4815ee91d3135",
        "train-clean-100.tar.gz": "2a93770f6d5c6c964bc36631d331a522",
        "train-clean-360.tar.gz": "c0e676e450a7ff2f54aeade5171606fa",
        "train-other-500.tar.gz": "d1a0fd59409feb2c614ce4d30c387708",
    }
    known = [digests.sha256 for digests in published.values() if digests.sha256]
    assert len(set(known)) == len(known) == 10
    assert all(len(digest) == 64 and int(digest, 16) for digest in known)


def test_the_commands_names_are_the_registrys():
    from ds2prof.cli.data_download import CORPUS_NAMES

    assert tuple(CORPORA) == CORPUS_NAMES
    assert all(name == corpus.name for name, corpus in CORPORA.items())


def test_manifests_have_the_ancestors_names():
    names = {
        "librispeech": ("train", "val", "test_clean", "test_other"),
        "an4": ("train", "val"),
        "tedlium": ("train", "val", "test"),
        "voxforge": ("train",),
        "common-voice": ("cv-valid-train", "cv-valid-dev", "cv-valid-test", "train"),
    }
    assert [CORPORA[name].manifest_name(split) for name, splits in names.items() for split in splits] == [
        "libri_train_manifest.csv",
        "libri_val_manifest.csv",
        "libri_test_clean_manifest.csv",
        "libri_test_other_manifest.csv",
        "an4_train_manifest.csv",
        "an4_val_manifest.csv",
        "ted_train_manifest.csv",
        "ted_val_manifest.csv",
        "ted_test_manifest.csv",
        "voxforge_train_manifest.csv",
        "cv-valid-train_manifest.csv",
        "cv-valid-dev_manifest.csv",
        "cv-valid-test_manifest.csv",
        "commonvoice_train_manifest.csv",
    ]


def test_every_known_mirror_can_be_fetched_from():
    from ds2prof.speech.fetching_http import check_url

    for corpus in CORPORA.values():
        for archive in corpus.archives:
            source = corpus.source(archive, ("http://mine/x/",))
            assert source.urls[0] == f"http://mine/x/{archive.name}"
            assert len(source.urls) > 1
            for url in source.urls:
                check_url(url)


def test_a_mirror_is_a_folder_or_the_archive_itself():
    assert at_mirror("https://a/b", "x.tgz") == at_mirror("https://a/b/", "x.tgz") == "https://a/b/x.tgz"
    assert at_mirror("https://a/b/x.tgz", "x.tgz") == "https://a/b/x.tgz"
    assert at_mirror("https://a/b/x.tgz?key=1/2", "x.tgz") == "https://a/b/x.tgz?key=1/2"


def test_the_ancestors_file_names_are_subsets_too():
    assert [each.subset for each in CORPORA["librispeech"].chosen(("dev-clean.tar.gz", "dev-clean"))] == ["dev-clean"]
    with pytest.raises(UsageError, match="it has train-clean-100"):
        CORPORA["librispeech"].chosen(("train",))


# --- layouts ---


def unpacked(tmp_path: Path, content: bytes) -> Path:
    return unpack(put(tmp_path / "x", content), tmp_path / "unpacked").folder


@pytest.mark.parametrize(
    ("part", "split"),
    [
        ("train-clean-360", "train"),
        ("train-other-500", "train"),
        ("dev-other", "val"),
        ("test-clean", "test_clean"),
        ("test-other", "test_other"),
    ],
)
def test_librispeech_parts_go_to_the_ancestors_splits(tmp_path, part, split):
    pieces = list(librispeech_pieces(unpacked(tmp_path, librispeech_archive(part))))
    assert [(piece.split, piece.name, piece.text) for piece in pieces] == [
        (split, "84-121123-0000", "GO DO YOU HEAR"),
        (split, "84-121123-0001", "BUT IN LESS THAN FIVE MINUTES"),
        (split, "84-121123-0002", "AND YOU"),
    ]


@pytest.mark.parametrize("kind", ["raw", "sph"])
def test_an4_transcriptions_lose_their_marks(tmp_path, kind):
    pieces = list(an4_pieces(unpacked(tmp_path, an4_archive(kind))))
    assert [(piece.split, piece.name, piece.text) for piece in pieces] == [
        ("train", "an251-fash-b", "YES"),
        ("train", "an253-fash-b", "GO"),
        ("val", "an406-fcaw-b", "RUBOUT G M E F THREE NINE"),
    ]


@pytest.mark.parametrize("release", [1, 2, 3])
def test_tedlium_talks_are_cut_into_segments(tmp_path, release):
    pieces = list(tedlium_pieces(unpacked(tmp_path, tedlium_archive(release))))
    assert [piece.split for piece in pieces] == ["train", "train", "val", "val", "test", "test"]
    assert [(piece.name, piece.text, piece.start_s, piece.length_s) for piece in pieces[:2]] == [
        ("AlGore_2009_2", "IT'S THE CLIMATE CRISIS", 1.5, 2.75),
        ("AlGore_2009_3", "THANK YOU", 5.0, 2.0),
    ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("i 'm you 're", "i'm you're"),
        ("<sil> so [NOISE] what(3)", "so what"),
        ("the 'nineties", "the'nineties"),
        ("rock 'n' roll", "rock'n' roll"),
        ("caf\u00e9", "cafe\u0301"),
        ("<unk>", ""),
    ],
)
def test_marks_of_tedlium_are_not_spoken(written, said):
    assert spoken_words(written) == said


@pytest.mark.parametrize("line", ["a 1 a x 2 <o> word", "a 1 a 5 2 <o> word", "a 1 a nan 2 <o> w", "a 1 a -1 2 <o> w"])
def test_a_segment_without_a_true_time_is_named(tmp_path, line):
    folder = unpacked(tmp_path, tar_of({"TEDLIUM_release2/train/stm/a.stm": line.encode()}))
    with pytest.raises(ReadError, match=r"a\.stm:1: "):
        list(tedlium_pieces(folder))


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_voxforge_recordings_without_a_prompt_are_left_out(tmp_path, kind):
    pieces = list(voxforge_pieces(unpacked(tmp_path, voxforge_archive("ralf-20080902-xyz", kind=kind))))
    assert [(piece.split, piece.name, piece.text) for piece in pieces] == [
        ("train", "ralf-20080902-xyz_a0001", "AUTHOR OF THE DANGER TRAIL"),
        ("train", "ralf-20080902-xyz_a0002", "NOT AT THIS"),
    ]


def test_common_voice_tables_keep_their_quotation_marks(tmp_path):
    pieces = list(common_voice_pieces(unpacked(tmp_path, common_voice_archive())))
    assert [(piece.split, piece.name, piece.text) for piece in pieces] == [
        (split, f"common_voice_en_{number}", 'SHE SAID "NO", TWICE.')
        for number, split in enumerate(("train", "dev", "test"))
    ]
    assert all(piece.audio.is_file() for piece in pieces)


def test_the_first_common_voice_has_the_ancestors_splits(tmp_path):
    pieces = list(common_voice_pieces(unpacked(tmp_path, common_voice_first_archive())))
    assert {(piece.split, piece.text) for piece in pieces} == {
        (split, "LEARN TO RECOGNIZE OMENS") for split in ("cv-valid-train", "cv-valid-dev", "cv-valid-test")
    }
    assert all(piece.audio.is_file() for piece in pieces)


def test_a_quoted_sentence_may_go_over_lines(tmp_path):
    put(tmp_path / "cv_corpus_v1/cv-valid-dev.csv", b'filename,text\ncv-valid-dev/a.mp3,"one,\ntwo"\n')
    assert [piece.text for piece in common_voice_pieces(tmp_path)] == ["ONE, TWO"]


@pytest.mark.parametrize("path", ["../../../../etc/passwd.mp3", "/etc/passwd.mp3", "a/" * 600 + "b", "a" * 300])
def test_a_table_that_points_out_of_the_corpus_is_refused(tmp_path, path):
    folder = unpacked(tmp_path, tar_of({"en/train.tsv": f"path\tsentence\n{path}\tx\n".encode()}))
    with pytest.raises(ReadError, match="names no file of the corpus"):
        list(common_voice_pieces(folder))


@pytest.mark.parametrize("read", [librispeech_pieces, an4_pieces, tedlium_pieces, common_voice_pieces])
def test_another_archive_is_named_as_such(tmp_path, read):
    with pytest.raises(Ds2profError, match="in it"):
        list(read(unpacked(tmp_path, tar_of({"holiday.jpg": b"1"}))))


# --- from the mirror to the manifests ---


def test_a_corpus_is_fetched_verified_laid_out_and_tidied_up(site, tmp_path):
    content = librispeech_archive()
    site.files["/dev-clean.tar.gz"] = File(content, faults=[drops_after(1000)])
    corpus = local("librispeech", site.url, {"dev-clean": content})
    summary = download(corpus, tmp_path, Choice(), manner=QUICK)
    assert summary.done["dev-clean.tar.gz"].splits == {"val": 3}
    assert texts_in(tmp_path)["val:84-121123-0001"] == "BUT IN LESS THAN FIVE MINUTES"
    assert list((tmp_path / "archives").iterdir()) == []
    rate_hz, heard = samples_of(tmp_path / "val/wav/84-121123-0001.wav")
    assert rate_hz == 16_000
    np.testing.assert_allclose(heard / 32768, tone(2), atol=1 / 16384)


def test_a_second_run_fetches_and_converts_nothing(site, tmp_path):
    content = librispeech_archive()
    site.files["/dev-clean.tar.gz"] = File(content)
    corpus = local("librispeech", site.url, {"dev-clean": content})
    download(corpus, tmp_path, Choice(), manner=QUICK)
    asked = len(site.asked)
    assert download(corpus, tmp_path, Choice(), manner=QUICK).before == ["dev-clean.tar.gz"]
    assert len(site.asked) == asked


def test_an_end_while_laying_out_costs_no_second_download(site, tmp_path):
    content = librispeech_archive()
    site.files["/dev-clean.tar.gz"] = File(content)
    corpus = local("librispeech", site.url, {"dev-clean": content})

    def interrupt(name, utterances):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(corpus, tmp_path, Choice(), manner=QUICK, steps=Steps(laid_out=interrupt))
    assert not (tmp_path / ".laid-out").exists()
    assert download(corpus, tmp_path, Choice(), manner=QUICK).done["dev-clean.tar.gz"].splits == {"val": 3}
    assert len(site.asked) == 1


def test_a_half_unpacked_archive_is_not_taken_for_whole(site, tmp_path):
    content = librispeech_archive()
    site.files["/dev-clean.tar.gz"] = File(content)
    put(tmp_path / "archives/dev-clean.tar.gz.unpacked.unpacking/LibriSpeech/dev-clean/1/2/3.flac", b"half")
    corpus = local("librispeech", site.url, {"dev-clean": content})
    assert download(corpus, tmp_path, Choice(), manner=QUICK).done["dev-clean.tar.gz"].splits == {"val": 3}


def test_a_wrong_archive_is_not_unpacked(site, tmp_path):
    site.files["/dev-clean.tar.gz"] = File(librispeech_archive("dev-other"))
    corpus = local("librispeech", site.url, {"dev-clean": librispeech_archive()})
    summary = download(corpus, tmp_path, Choice(), manner=QUICK)
    assert "published is" in summary.failed["dev-clean.tar.gz"]
    assert texts_in(tmp_path) == {}


def test_another_rate_in_the_same_folder_is_a_usage_error(site, tmp_path):
    site.files["/an4_raw.bigendian.tar.gz"] = File(an4_archive())
    corpus = local("an4", site.url)
    download(corpus, tmp_path, Choice(), manner=QUICK)
    with pytest.raises(UsageError, match="at 16000 Hz"):
        download(corpus, tmp_path, Choice(sample_rate_hz=8000), manner=QUICK)


def test_another_rate_is_resampled(site, tmp_path):
    site.files["/an4_raw.bigendian.tar.gz"] = File(an4_archive())
    download(local("an4", site.url), tmp_path, Choice(sample_rate_hz=8000), manner=QUICK)
    rate_hz, heard = samples_of(tmp_path / "train/wav/an251-fash-b.wav")
    assert (rate_hz, len(heard)) == (8000, 16_000)
    middle = slice(1000, -1000)
    np.testing.assert_allclose((heard / 32768)[middle], tone(2, 8000)[middle], atol=2e-3)


def test_raw_and_sphere_an4_sound_the_same(site, tmp_path):
    site.files["/an4_raw.bigendian.tar.gz"] = File(an4_archive("raw"))
    site.files["/an4_sphere.tar.gz"] = File(an4_archive("sph"))
    for subset in ("raw", "sphere"):
        download(local("an4", site.url), tmp_path / subset, Choice(subsets=(subset,)), manner=QUICK)
    raw, sphere = (samples_of(tmp_path / subset / "train/wav/an251-fash-b.wav") for subset in ("raw", "sphere"))
    np.testing.assert_array_equal(raw[1], sphere[1])


def test_segments_of_a_talk_are_cut_where_the_stm_says(site, tmp_path):
    content = tedlium_archive()
    site.files["/TEDLIUM_release2.tar.gz"] = File(content)
    download(local("tedlium", site.url, {"release2": content}), tmp_path, Choice(), manner=QUICK)
    _, heard = samples_of(tmp_path / "train/wav/AlGore_2009_2.wav")
    np.testing.assert_allclose(heard / 32768, TALK[24_000:68_000], atol=1 / 16384)


def test_a_segment_behind_the_end_of_its_talk_is_left_out_and_told(site, tmp_path):
    line = b"a 1 a %s <o> word\n"
    stm = line % b"1.0 2.5" + line % b"10.0 11.0" + line % b"700.0 710.0"
    members = {}
    for place in ("train", "dev", "test"):
        members[f"TEDLIUM_release2/{place}/stm/a.stm"] = stm
        members[f"TEDLIUM_release2/{place}/sph/a.sph"] = sound(TALK, 16_000, "NIST")
    archive = put(tmp_path / "ted.tar.gz", tar_of(members))
    laid = download(CORPORA["tedlium"], tmp_path / "ted", Choice(archive=archive), manner=QUICK).done["ted.tar.gz"]
    assert laid.splits == {"train": 1, "val": 1, "test": 1}
    assert laid.faults[:2] == ("a.sph: ends before a_1 begins, at 10.0 s", "a.sph: ends before a_2 begins, at 700.0 s")


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "x" * 201, "\u00e9" * 101, "a\nb", "a\x1b[31m"])
def test_names_that_no_file_should_have_are_refused(tmp_path, name):
    rows = f'filename,text\n"cv-valid-train/{name}.mp3",hello\n'.encode()
    folder = put(tmp_path / "cv_corpus_v1/cv-valid-train.csv", rows).parent.parent
    if name == "a/b":
        assert next(common_voice_pieces(folder)).name == "b"
        return
    with pytest.raises(ReadError):
        list(common_voice_pieces(folder))


def test_a_clip_that_cannot_be_read_is_left_out_and_told(tmp_path):
    content = tar_of(
        {
            "en/train.tsv": b"path\tsentence\na.mp3\tgood one\nb.mp3\tbroken\nc.mp3\t \nd.mp3\tgone\n",
            "en/clips/a.mp3": sound(tone(2.0, 48_000), 48_000, "MP3"),
            "en/clips/b.mp3": b"no sound at all",
            "en/clips/c.mp3": sound(tone(2.0, 48_000), 48_000, "MP3"),
        }
    )
    archive = put(tmp_path / "cv.tar.gz", content)
    laid = download(CORPORA["common-voice"], tmp_path / "cv", Choice(archive=archive), manner=QUICK).done["cv.tar.gz"]
    assert laid.splits == {"train": 1}
    assert len(laid.faults) == 3
    assert "nothing is said" in laid.faults[1]
    assert archive.exists()


def test_voxforge_goes_on_past_broken_archives_and_names_them(site, tmp_path):
    names = ["anna-1", "bert-2", "carl-3", "dora-4"]
    links = "".join(f'<a href="{name}.tgz">{name}</a>' for name in names)
    site.files["/vf/"] = File(f'<a href="../">up</a><a href="/etc/x.tgz">{links}'.encode(), kind="text/html")
    site.files["/vf/anna-1.tgz"] = File(voxforge_archive("anna-1"))
    site.files["/vf/bert-2.tgz"] = File(voxforge_archive("bert-2")[:-100])
    site.files["/vf/carl-3.tgz"] = File(b"", faults=[status(500)] * 9)
    site.files["/vf/dora-4.tgz"] = File(voxforge_archive("dora-4", kind="flac"))
    summary = download(local("voxforge", f"{site.url}/vf"), tmp_path, Choice(), manner=QUICK)
    assert set(summary.done) == {"anna-1.tgz", "dora-4.tgz"}
    assert set(summary.failed) == {"bert-2.tgz", "carl-3.tgz"}
    assert set(texts_in(tmp_path)) == {f"train:{name}_a000{n}" for name in ("anna-1", "dora-4") for n in (1, 2)}

    site.files["/vf/bert-2.tgz"].body = voxforge_archive("bert-2")
    again = download(local("voxforge", f"{site.url}/vf"), tmp_path, Choice(), manner=QUICK)
    assert (set(again.done), len(again.before), set(again.failed)) == ({"bert-2.tgz"}, 2, {"carl-3.tgz"})


def test_a_server_that_is_gone_is_not_asked_for_every_archive(site, tmp_path):
    links = "".join(f'<a href="a-{number:03d}.tgz">' for number in range(90))
    site.files["/vf/"] = File(links.encode(), kind="text/html")
    site.files["/vf/a-003.tgz"] = File(voxforge_archive("a-003"))
    summary = download(local("voxforge", f"{site.url}/vf"), tmp_path, Choice(), manner=QUICK)
    assert (len(summary.done), len(summary.failed), summary.not_tried) == (1, 23, 66)


def test_two_runs_into_one_folder_do_not_mix(site, tmp_path):
    site.files["/an4_raw.bigendian.tar.gz"] = File(an4_archive())
    corpus, refused = local("an4", site.url), []

    def second(name, utterances):
        with pytest.raises(Ds2profError, match="another process") as caught:
            download(corpus, tmp_path, Choice(), manner=QUICK)
        refused.append(caught.value)

    assert download(corpus, tmp_path, Choice(), manner=QUICK, steps=Steps(laid_out=second)).done
    assert len(refused) == 1


def test_a_page_that_lists_nothing_is_named(site, tmp_path):
    site.files["/vf/"] = File(b"<html>moved</html>", kind="text/html")
    with pytest.raises(ReadError, match="lists no archives"):
        download(local("voxforge", f"{site.url}/vf"), tmp_path, Choice(), manner=QUICK)


def test_a_given_archive_is_held_to_its_published_digest(tmp_path):
    archive = put(tmp_path / "dev-clean.tar.gz", librispeech_archive())
    summary = download(CORPORA["librispeech"], tmp_path / "libri", Choice(archive=archive), manner=QUICK)
    assert "its SHA-256 is" in summary.failed["dev-clean.tar.gz"]
    assert archive.exists()


def test_a_given_archive_of_another_name_is_held_to_the_named_subset(tmp_path):
    archive = put(tmp_path / "mine.tar.gz", librispeech_archive())
    choice = Choice(archive=archive, subsets=("dev-clean",))
    summary = download(CORPORA["librispeech"], tmp_path / "libri", choice, manner=QUICK)
    assert "its SHA-256 is" in summary.failed["mine.tar.gz"]


# --- the command ---


def test_the_command_prints_what_is_there_and_writes_manifests(site, tmp_path, capsys):
    site.files["/an4_raw.bigendian.tar.gz"] = File(an4_archive())
    target = tmp_path / "an4"
    ds2prof("an4", "--target-dir", str(target), "--mirror", site.url)
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        "an4_raw.bigendian.tar.gz: utterances: 2 in train, 1 in val",
        f"{target}/an4_train_manifest.csv: 2 utterances, 0.00 h",
        f"{target}/an4_val_manifest.csv: 1 utterances, 0.00 h",
    ]
    listed = read_manifest(target / "an4_train_manifest.csv")
    assert [(each.spoken(), each.dur_s) for each in listed] == [("YES", 2.0), ("GO", 2.0)]
    assert (target / "archives" / "an4_raw.bigendian.tar.gz.sha256").is_file()


def test_training_utterances_that_are_too_short_or_too_long_are_left_out(site, tmp_path, capsys, monkeypatch):
    content = librispeech_archive("train-clean-100")
    site.files["/train-clean-100.tar.gz"] = File(content)
    monkeypatch.setitem(corpora.CORPORA, "librispeech", local("librispeech", site.url, {"train-clean-100": content}))
    ds2prof("librispeech", "--target-dir", str(tmp_path), "--min-duration", "1.5", "--max-duration", "2.5")
    assert "1 utterances, 0.00 h, 2 too short or too long left out" in capsys.readouterr().out


def test_the_command_says_what_went_wrong_on_the_way_and_ends_with_1(site, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(corpora.CORPORA, "voxforge", local("voxforge", f"{site.url}/vf"))
    site.files["/vf/"] = File(b'<a href="a-1.tgz"></a><a href="b-2.tgz"></a>', kind="text/html")
    site.files["/vf/b-2.tgz"] = File(voxforge_archive("b-2"))
    ds2prof("voxforge", "--target-dir", str(tmp_path), "--limit", "1", ends=1)
    said = capsys.readouterr()
    assert "a-1.tgz: FAILED: " in said.out
    assert f"ds2prof: {site.url}/vf/a-1.tgz: answers with HTTP status 404" in said.err


def test_common_voice_says_how_it_is_had(tmp_path, capsys):
    ds2prof("common-voice", "--target-dir", str(tmp_path), ends=2)
    assert "--archive FILE" in capsys.readouterr().err


def test_an_archive_in_hand_needs_no_network(tmp_path, capsys):
    archive = put(tmp_path / "cv-corpus.tar.gz", common_voice_archive())
    ds2prof("common-voice", "--target-dir", str(tmp_path / "cv"), "--archive", str(archive))
    assert "commonvoice_train_manifest.csv: 1 utterances" in capsys.readouterr().out
    rate_hz, heard = samples_of(tmp_path / "cv/train/wav/common_voice_en_0.wav")
    assert rate_hz == 16_000
    assert len(heard) / rate_hz == pytest.approx(2.0, abs=0.1)


def test_absolute_paths_are_written_where_they_are_asked_for(tmp_path, capsys):
    archive = put(tmp_path / "an4_sphere.tar.gz", an4_archive("sph"))
    where = tmp_path / "manifests"
    ds2prof(
        *("an4", "--target-dir", str(tmp_path / "an4"), "--archive", str(archive), "--absolute"),
        *("--manifest-dir", str(where)),
    )
    assert (where / "an4_val_manifest.csv").read_text().startswith(f"{tmp_path}/an4/val/wav/an406-fcaw-b.wav,")


@pytest.mark.parametrize(
    "arguments",
    [
        ("an4", "--min-duration", "5", "--max-duration", "2"),
        ("an4", "--subset", "flac"),
        ("an4", "--mirror", "ftp://x/"),
        ("voxforge", "--subset", "one"),
        ("librispeech", "--limit", "3"),
        ("common-voice", "--subset", "en", "--mirror", "http://localhost/x.tar.gz"),
    ],
)
def test_contradictions_are_usage_errors(tmp_path, arguments, capsys):
    ds2prof(*arguments, "--target-dir", str(tmp_path / "t"), ends=2)
    assert capsys.readouterr().err.startswith("ds2prof: ")


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(site, tmp_path):
    content = an4_archive() + bytes(2_000_000)  # gzip lets zeros stand behind its end
    file = File(content, faults=[slowly(20_000)])
    site.files["/an4_raw.bigendian.tar.gz"] = file
    arguments = ["an4", "--target-dir", str(tmp_path), "--mirror", site.url]
    command = [sys.executable, "-m", "ds2prof", "data", "download", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        part = tmp_path / "archives/an4_raw.bigendian.tar.gz.part"
        while process.poll() is None and not (part.exists() and part.stat().st_size > 100_000):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert (process.returncode, said) == (130, "ds2prof: interrupted; the same command goes on from here\n")
    size = part.stat().st_size
    assert 0 < size < len(content)
    ds2prof(*arguments)
    assert site.ranges("/an4_raw.bigendian.tar.gz")[-1] == f"bytes={size}-"


def test_progress_is_a_line_with_bytes_rate_and_time_to_come():
    from ds2prof.cli.data_download import transfer_line
    from ds2prof.speech.fetching import Transfer

    assert transfer_line(Transfer("a.tgz", 250_000_000, 1_000_000_000, 2_000_000.0)) == (
        "a.tgz: 250.0 MB of 1.0 GB (25 %), 2.0 MB/s, 0:06:15 to go"
    )
    assert transfer_line(Transfer("a.tgz", 5_000, None, None)) == "a.tgz: 5.0 kB"


def test_names_in_an_archive_cannot_command_the_terminal(tmp_path, capsys):
    archive = put(tmp_path / "x.tar.gz", tar_of({"../\x1b[31m": b"1"}))
    ds2prof("an4", "--target-dir", str(tmp_path / "t"), "--archive", str(archive), ends=1)
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "lies outside of its folder" in said.out


def test_the_note_of_what_is_laid_out_says_what_and_at_which_rate(site, tmp_path):
    site.files["/an4_raw.bigendian.tar.gz"] = File(an4_archive())
    download(local("an4", site.url), tmp_path, Choice(keep_archives=True), manner=QUICK)
    note = json.loads((tmp_path / ".laid-out/an4_raw.bigendian.tar.gz.json").read_text())
    assert note == {"sample_rate_hz": 16000, "splits": {"train": 2, "val": 1}, "faults": 0} | {
        "archive_bytes": len(an4_archive())
    }
    kept = tmp_path / "archives/an4_raw.bigendian.tar.gz"
    assert digests_of(kept).sha256 == _sha256(an4_archive())


def test_another_archive_of_the_same_name_is_not_taken_for_the_first(tmp_path):
    folders = [put(tmp_path / kind / "mine.tar.gz", an4_archive(kind)) for kind in ("raw", "sph")]
    download(CORPORA["an4"], tmp_path / "t", Choice(archive=folders[0]), manner=QUICK)
    assert download(CORPORA["an4"], tmp_path / "t", Choice(archive=folders[0]), manner=QUICK).before == ["mine.tar.gz"]
    with pytest.raises(UsageError, match="rename this one"):
        download(CORPORA["an4"], tmp_path / "t", Choice(archive=folders[1]), manner=QUICK)


def test_what_an_ended_run_unpacked_of_another_archive_is_not_used(tmp_path):
    def interrupt(name, utterances):
        raise KeyboardInterrupt

    archive = put(tmp_path / "mine.tar.gz", voxforge_archive("anna-1"))
    with pytest.raises(KeyboardInterrupt):
        download(CORPORA["voxforge"], tmp_path / "t", Choice(archive=archive), steps=Steps(laid_out=interrupt))
    put(archive, voxforge_archive("bert-2"))
    assert download(CORPORA["voxforge"], tmp_path / "t", Choice(archive=archive)).done["mine.tar.gz"].splits
    assert "train:bert-2_a0001" in texts_in(tmp_path / "t")
    assert list((tmp_path / "t" / "archives").iterdir()) == []


def test_two_utterances_of_one_name_are_not_counted_twice(tmp_path):
    rows = b"path\tsentence\n" + b"a.mp3\tgood one\n" * 3
    content = tar_of({"en/train.tsv": rows, "en/clips/a.mp3": sound(tone(2.0, 48_000), 48_000, "MP3")})
    archive = put(tmp_path / "cv.tar.gz", content)
    laid = download(CORPORA["common-voice"], tmp_path / "cv", Choice(archive=archive), manner=QUICK).done["cv.tar.gz"]
    assert laid.splits == {"train": 1}
    assert laid.faults == ("a: is there twice in train; the second is left out",) * 2


def test_odd_names_on_a_page_neither_end_the_run_nor_reach_the_disk(site, tmp_path):
    links = ["a%20b-1.tgz", "c%0A%1b[31m.tgz", f"{'x' * 240}.tgz", "..%2fup.tgz", ".tgz"]
    site.files["/vf/"] = File("".join(f'<a href="{link}">' for link in links).encode(), kind="text/html")
    site.files["/vf/a%20b-1.tgz"] = File(voxforge_archive("anna-1"))
    summary = download(local("voxforge", f"{site.url}/vf"), tmp_path, Choice(), manner=QUICK)
    assert (list(summary.done), summary.failed) == (["a b-1.tgz"], {})
    assert list((tmp_path / "archives").iterdir()) == [tmp_path / "archives/a b-1.tgz.sha256"]


def test_a_table_of_an_odd_name_makes_no_split(tmp_path):
    put(tmp_path / "c/cv-valid-\x1b[31m.csv", b"filename,text\na.mp3,hello\n")
    with pytest.raises(Ds2profError, match="there are neither"):
        list(common_voice_pieces(tmp_path))


def test_an_address_of_common_voice_is_taken_as_it_is(site, tmp_path):
    site.files["/signed/cv-corpus.tar.gz?key=a/b"] = File(common_voice_archive())
    choice = Choice(mirrors=(f"{site.url}/signed/cv-corpus.tar.gz?key=a/b",))
    summary = download(CORPORA["common-voice"], tmp_path, choice, manner=QUICK)
    assert summary.done["cv-corpus.tar.gz"].splits == {"train": 1, "dev": 1, "test": 1}
