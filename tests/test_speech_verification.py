"""Hash lists: what counts is bytes and paths; what differs is named."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time

import pytest

from ds2prof.errors import MissingDataError, ReadError
from ds2prof.speech.manifests import Utterance, measured
from ds2prof.speech.threads import in_threads
from ds2prof.speech.verification import (
    HASHES_NAME,
    compared,
    differences,
    hash_lines,
    hashes_of,
    read_hashes,
    unreadable,
    write_hashes,
)
from tests.speech_support import corpus


@pytest.fixture
def folder(tmp_path):
    corpus(tmp_path / "corpus", 3)
    return tmp_path / "corpus"


def test_hashes_do_not_depend_on_times_owners_or_the_order_of_creation(folder, tmp_path):
    copy = tmp_path / "copy"
    for path in sorted((each for each in folder.rglob("*") if each.is_file()), reverse=True):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        os.utime(target, (1, 1))
        target.chmod(0o600)
    assert hash_lines(hashes_of(copy)) == hash_lines(hashes_of(folder))


def test_the_list_is_sorted_and_what_sha256sum_writes(folder):
    if shutil.which("sha256sum") is None:
        pytest.skip("the tool sha256sum is not here")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    done = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True)
    assert hash_lines(hashes_of(folder)) == done.stdout


def test_a_list_is_read_as_it_was_written(folder, tmp_path):
    hashes = hashes_of(folder)
    write_hashes(tmp_path / "list", hashes)
    assert read_hashes(tmp_path / "list") == hashes
    assert hashes_of(folder, leave_out=[folder / "wav" / "u00.wav"]).keys() == hashes.keys() - {"wav/u00.wav"}


def test_missing_changed_and_extra_files_are_told_apart(folder):
    listed = hashes_of(folder)
    (folder / "wav" / "u00.wav").unlink()
    with (folder / "wav" / "u01.wav").open("r+b") as file:
        file.seek(100)
        file.write(b"\x55")
    (folder / "new").write_text("")
    found = differences(listed, hashes_of(folder))
    assert (found.missing, found.changed, found.extra) == (("wav/u00.wav",), ("wav/u01.wav",), ("new",))
    assert found.same == len(listed) - 2
    assert not found.none


def test_an_untouched_folder_has_no_differences(folder):
    listed = hashes_of(folder)
    assert differences(listed, hashes_of(folder)).none


GOOD = "0" * 64


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lists no files"),
        (f"{GOOD}  a\nrubbish\n", ":2: is not 'SHA256  PATH'"),
        (f"{GOOD[1:]}  a\n", ":1: is not"),
        (f"{GOOD}  a\n{GOOD}  ./a\n", ":2: a is listed twice"),
        (f"{GOOD}  ../a\n", ":1: ../a lies outside"),
        (f"{GOOD}  /etc/passwd\n", ":1: /etc/passwd lies outside"),
    ],
)
def test_a_broken_list_is_refused_with_its_line(tmp_path, text, reason):
    (tmp_path / "list").write_text(text)
    with pytest.raises(ReadError) as caught:
        read_hashes(tmp_path / "list")
    assert reason in str(caught.value)


def test_a_folder_without_files_has_no_hashes(tmp_path):
    with pytest.raises(MissingDataError, match="holds no files"):
        hashes_of(tmp_path)
    with pytest.raises(MissingDataError, match="is no folder"):
        hashes_of(tmp_path / "absent")


def test_progress_counts_every_file(folder):
    told = []
    count = len(hashes_of(folder, progress=lambda done, of: told.append((done, of))))
    assert told == [(done, count) for done in range(1, count + 1)]


def test_what_is_wrong_with_each_utterance_is_said(tmp_path):
    utterances = corpus(tmp_path / "c", 5)
    utterances[0].audio.unlink()
    utterances[1].transcript.write_text(" \n")
    utterances[2] = Utterance(utterances[2].audio, utterances[2].transcript, dur_s=9.0)
    utterances[3].transcript.unlink()
    faults = list(unreadable(utterances))
    assert [fault.split(": ", 1)[1].split(",")[0] for fault in faults] == [
        "there is no such file",
        "its transcript is empty",
        "the manifest says 9.000 s",
        "cannot read this transcript: No such file or directory",
    ]


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_wav_file_that_is_cut_off_is_named_though_its_manifest_agrees(tmp_path, share):
    utterance = corpus(tmp_path / "c", 1)[0]
    raw = utterance.audio.read_bytes()
    utterance.audio.write_bytes(raw[: int(len(raw) * share)])
    shorter = measured([Utterance(utterance.audio, utterance.transcript)])[0]
    (fault,) = unreadable(shorter)
    assert "is cut off: its header says 0.300 s, and" in fault


def test_a_folder_that_cannot_be_looked_into_is_no_empty_one(folder, monkeypatch):
    def refused(where):
        raise PermissionError(13, "Permission denied", str(where))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ReadError, match="corpus: cannot be read: Permission denied"):
        hashes_of(folder)


def test_the_folders_own_list_is_in_no_list(folder, tmp_path):
    before = hashes_of(folder)
    write_hashes(folder / HASHES_NAME, before)
    assert hashes_of(folder) == before
    write_hashes(tmp_path / "list", before)
    assert compared(folder, tmp_path / "list").none
    write_hashes(tmp_path / "list", {**before, HASHES_NAME: GOOD})
    assert compared(folder, tmp_path / "list").changed == (HASHES_NAME,)


def test_files_in_linked_folders_count(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_text("A")
    (folder / "part").symlink_to(tmp_path / "elsewhere")
    listed = hashes_of(folder)
    assert listed["part/a"] == hashlib.sha256(b"A").hexdigest()
    (tmp_path / "elsewhere" / "a").write_text("B")
    assert differences(listed, hashes_of(folder)).changed == ("part/a",)


def test_what_cannot_be_read_is_one_of_the_differences_and_no_list_is_made_of_it(folder, tmp_path):
    write_hashes(tmp_path / "list", hashes_of(folder))
    (folder / "wav" / "u00.wav").unlink()
    (folder / "wav" / "u00.wav").symlink_to("nowhere")
    (folder / "txt" / "u00.txt").unlink()
    os.mkfifo(folder / "txt" / "u00.txt")
    found = compared(folder, tmp_path / "list")
    assert found.unreadable == ("txt/u00.txt", "wav/u00.wav")
    assert (found.missing, found.changed, found.extra, found.same, found.listed) == ((), (), (), 4, 6)
    with pytest.raises(ReadError, match="no regular file"):
        hashes_of(folder)


def test_a_folder_that_is_empty_now_misses_everything(folder, tmp_path):
    write_hashes(tmp_path / "list", hashes_of(folder))
    shutil.rmtree(folder)
    folder.mkdir()
    assert len(compared(folder, tmp_path / "list").missing) == 6


NAMES = [
    "a\\b",
    "a\nb",
    "a\rb",
    "a\\nb",
    "a\u2028b",
    "a\x85b",
    "a\x0bb",
    "a\x1cb",
    " a ",
    "*a",
    os.fsdecode(b"caf\xe9"),
]


def test_names_of_any_characters_are_listed_as_sha256sum_does_and_read_again(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(os.fsencode(name))
    write_hashes(tmp_path / "list", hashes_of(folder))
    assert read_hashes(tmp_path / "list").keys() == set(NAMES)
    assert compared(folder, tmp_path / "list").none
    if shutil.which("sha256sum") is None:
        pytest.skip("the tool sha256sum is not here")
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", str(tmp_path / "list")], cwd=folder, check=True)


def test_a_list_with_capitals_line_ends_of_windows_and_blank_lines_is_read(tmp_path):
    (tmp_path / "list").write_bytes(f"\ufeff{'AB' * 32} *a b\r\n\r\n{GOOD}  ./c\r\n".encode())
    assert read_hashes(tmp_path / "list") == {"a b": "ab" * 32, "c": GOOD}


def test_work_that_is_left_early_is_not_done_to_the_end():
    done = []

    def slow(number):
        done.append(number)
        time.sleep(0.002)
        return number

    results = in_threads(slow, range(1_000), threads=2)
    assert next(results) == 0
    results.close()
    assert len(done) < 1_000


def test_no_more_items_are_taken_than_a_few_for_each_thread():
    taken = []
    results = in_threads(str, (taken.append(number) or number for number in range(3_000)), threads=2)
    assert next(results) == "0"
    assert len(taken) < 1_000
    assert sum(1 for _ in results) == 2_999
