"""Manifests: three forms, their paths and durations, folders, and what is said about broken ones."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import MissingDataError, ReadError, UsageError
from ds2prof.speech import corpus_folders, manifests, threads
from ds2prof.speech.alphabet import GRAPHEMES
from ds2prof.speech.corpus_folders import utterances_in
from ds2prof.speech.corpus_stats import stats_of
from ds2prof.speech.manifests import (
    FORMS,
    Utterance,
    by_duration,
    durations_of,
    measured,
    merged,
    pruned,
    read_manifest,
    write_manifest,
)
from tests.speech_support import corpus


@pytest.fixture
def utterances(tmp_path):
    return corpus(tmp_path, 6)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_back_what_was_written(tmp_path, utterances, form, absolute):
    write_manifest(tmp_path / "m", utterances, form=form, absolute=absolute)
    found = read_manifest(tmp_path / "m")
    assert [each.audio for each in found] == [each.audio for each in utterances]
    assert [each.spoken() for each in found] == [each.spoken() for each in utterances]
    lost = form == "csv-two-columns"
    assert [each.dur_s for each in found] == [None if lost else each.dur_s for each in utterances]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0/\r\n"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
entries = st.lists(st.tuples(names, st.text(max_size=20), st.floats(1e-3, 1e4)), min_size=1, max_size=5)


@given(entries, st.sampled_from(["csv", "json", "rnnt"]))
@settings(max_examples=60, deadline=None)
def test_any_name_and_duration_survives_writing_and_reading(tmp_path_factory, listed, form):
    folder = tmp_path_factory.mktemp("names")
    written = [Utterance(folder / name, folder / f"{name}.txt", text=text, dur_s=dur_s) for name, text, dur_s in listed]
    write_manifest(folder / "manifest", written, form=form)
    found = read_manifest(folder / "manifest")
    assert [(each.audio, each.dur_s) for each in found] == [(each.audio, each.dur_s) for each in written]
    if form == "rnnt":
        assert [each.text for each in found] == [each.text for each in written]


@pytest.mark.parametrize("name", ["[a].wav", "{a}.wav", " [a.wav", "\ufeffa.wav", "'a.wav"])
def test_a_first_name_that_looks_like_another_form_is_not_taken_for_it(tmp_path, name):
    write_manifest(tmp_path / "m.csv", [Utterance(tmp_path / name, tmp_path / f"{name}.txt")])
    assert read_manifest(tmp_path / "m.csv") == [Utterance(tmp_path / name, tmp_path / f"{name}.txt")]


@pytest.mark.parametrize(("form", "name"), [("csv", "a\r"), ("csv", "a\nb"), ("csv-two-columns", "a,b")])
def test_a_name_at_which_a_line_would_be_cut_is_refused(tmp_path, form, name):
    with pytest.raises(UsageError, match="rename the file, or take the form json") as caught:
        write_manifest(tmp_path / "m", [Utterance(tmp_path / name, tmp_path / "a.txt")], form=form)
    assert "\n" not in str(caught.value)
    write_manifest(tmp_path / "m", [Utterance(tmp_path / name, tmp_path / "a.txt")], form="json")
    assert read_manifest(tmp_path / "m")[0].audio == tmp_path / name


def test_two_columns_are_what_the_ancestor_reads(tmp_path, utterances):
    write_manifest(tmp_path / "m.csv", utterances, form="csv-two-columns", absolute=True)
    for line, utterance in zip((tmp_path / "m.csv").read_text().splitlines(), utterances, strict=True):
        assert line.strip().split(",") == [str(utterance.audio), str(utterance.transcript)]


def test_the_ancestors_own_json_is_read(tmp_path, utterances):
    document = {
        "root_path": str(tmp_path),
        "samples": [{"wav_path": "wav/u00.wav", "transcript_path": "txt/u00.txt"}],
    }
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "m.json").write_text(json.dumps(document))
    assert read_manifest(tmp_path / "elsewhere" / "m.json") == [
        Utterance(utterances[0].audio, utterances[0].transcript)
    ]


def test_nvidias_list_means_the_last_of_its_files(tmp_path):
    entry = {
        "transcript": "hello",
        "files": [{"fname": "slow.wav", "speed": 0.9}, {"fname": "plain.wav"}],
        "original_duration": 2.5,
        "original_num_samples": 40_000,
    }
    (tmp_path / "m").write_text(json.dumps([entry]))
    assert read_manifest(tmp_path / "m") == [Utterance(tmp_path / "plain.wav", text="hello", dur_s=2.5)]


def test_a_corpus_can_be_moved_with_its_manifest(tmp_path):
    utterances = corpus(tmp_path / "here", 3)
    write_manifest(tmp_path / "here" / "m.csv", utterances)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert all(each.audio.is_file() for each in read_manifest(tmp_path / "there" / "m.csv"))


def test_a_path_outside_the_manifests_folder_is_absolute(tmp_path, utterances):
    (tmp_path / "lists").mkdir()
    write_manifest(tmp_path / "lists" / "m.csv", utterances[:1])
    row = next(csv.reader((tmp_path / "lists" / "m.csv").read_text().splitlines()))
    assert row[:2] == [str(utterances[0].audio), str(utterances[0].transcript)]


def test_a_json_name_takes_the_form_that_can_hold_the_transcripts(tmp_path, utterances):
    write_manifest(tmp_path / "files.json", utterances)
    write_manifest(tmp_path / "inline.json", [Utterance(utterances[0].audio, text="hi")])
    assert isinstance(json.loads((tmp_path / "files.json").read_text()), dict)
    assert isinstance(json.loads((tmp_path / "inline.json").read_text()), list)


@pytest.mark.parametrize("form", ["csv", "csv-two-columns", "json"])
def test_a_transcript_without_a_file_needs_the_form_rnnt(tmp_path, form):
    with pytest.raises(UsageError, match="lies in no file of its own"):
        write_manifest(tmp_path / "m", [Utterance(tmp_path / "a.wav", text="hi")], form=form)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("", "m", "names no utterance"),
        ("a.wav,a.txt\nb.wav\n", "m:2", "this has 1 field$"),
        ("a.wav,a.txt,1,2\n", "m:1", "this has 4 fields"),
        ("a.wav,a.txt\n  \n,b.txt\n", "m:3", "a line is AUDIO,TRANSCRIPT .* and this leaves one empty"),
        ("a.wav,a.txt,long\n", "m:1", "'long' is no duration"),
        ("a.wav,a.txt,-1\n", "m:1", "'-1' is no duration"),
        ("a.wav,a.txt,nan\n", "m:1", "no duration"),
        ("a.wav,a.txt,inf\n", "m:1", "no duration"),
        ('a.wav,"a.txt\n', "m:", "is not CSV"),
        ("b.wav,b.txt\na\0.wav,a.txt\n", "m:2", "zero byte"),
        ('{"samples": [{"wav_path": "\\u0000", "transcript_path": "b"}]}', "m: sample 0", "zero byte"),
        ('{"samples": [}', "m:1", "is not JSON"),
        ('{"samples": 3}', "m", "a manifest in JSON is"),
        ('{"root_path": 3, "samples": []}', "m", "a manifest in JSON is"),
        ('{"samples": []}', "m", "names no utterance"),
        ('{"samples": [{"wav_path": "a", "transcript_path": "b"}, 7]}', "m: sample 1", "is not an object"),
        ('{"samples": [{"wav_path": "a"}]}', "m: sample 0", "has no transcript_path"),
        ('{"samples": [{"wav_path": "a", "transcript_path": "b", "duration_s": true}]}', "m: sample 0", "no duration"),
        ('[{"files": []}]', "m: entry 0", "is not"),
        ('[{"files": [{"fname": "a"}]}]', "m: entry 0", "has no transcript"),
        ('[{"transcript": "a", "files": [{}]}]', "m: entry 0", "has no fname"),
        ("[7]", "m: entry 0", "is not"),
        ("[" * 100_000, "m", "nested too deeply|is not JSON"),
    ],
)
def test_a_broken_manifest_is_refused_in_one_line_with_the_place(tmp_path, text, where, reason):
    (tmp_path / "m").write_text(text)
    with pytest.raises(ReadError, match=reason) as caught:
        read_manifest(tmp_path / "m")
    assert str(caught.value).startswith(f"{tmp_path}/{where}")
    assert "\n" not in str(caught.value)


def test_bytes_and_absent_files_are_no_manifest(tmp_path):
    (tmp_path / "m").write_bytes(b"\xff\xfe\x00")
    for name, reason in (
        ("m", "zero byte; a manifest is text in UTF-8"),
        ("absent", "cannot read this manifest"),
        (".", "cannot read"),
    ):
        with pytest.raises(ReadError, match=reason):
            read_manifest(tmp_path / name)


def test_a_name_that_is_no_utf_8_passes_through(tmp_path):
    named = os.fsdecode(b"caf\xe9.wav")
    for form in ("csv", "json", "rnnt"):
        write_manifest(tmp_path / form, [Utterance(tmp_path / named, tmp_path / "a.txt", text="A")], form=form)
        assert read_manifest(tmp_path / form)[0].audio == tmp_path / named


def test_half_a_character_is_refused(tmp_path):
    (tmp_path / "m").write_text('[{"transcript": "\\ud800", "files": [{"fname": "a"}]}]')
    with pytest.raises(ReadError, match="entry 0: its transcript holds half a character"):
        read_manifest(tmp_path / "m")


valid = st.sampled_from(
    [
        "a.wav,a.txt,1.5\nb.wav,b.txt\n",
        '{"root_path": ".", "samples": [{"wav_path": "a", "transcript_path": "b", "duration_s": 1.5}]}',
        '[{"transcript": "a", "files": [{"fname": "b"}], "original_duration": 1.5}]',
    ]
)


@given(valid, st.data())
@settings(max_examples=150, deadline=None)
def test_a_manifest_spoilt_anywhere_is_read_or_refused_in_one_line(tmp_path_factory, text, data):
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=4))
        if not raw:
            break
    path = tmp_path_factory.getbasetemp() / "spoilt"
    path.write_bytes(raw)
    try:
        found = read_manifest(path)
    except ReadError as error:
        found, reason = [], str(error)
    else:
        reason = ""
    assert bool(found) != bool(reason)
    assert "\n" not in reason
    assert all(each.dur_s is None or 0 < each.dur_s < float("inf") for each in found)


def test_durations_that_are_known_are_not_read_again(tmp_path, utterances, monkeypatch):
    looked_at = []
    monkeypatch.setattr(manifests, "duration_s", lambda path: looked_at.append(path) or 1.0)
    unknown = Utterance(utterances[0].audio, utterances[0].transcript)
    assert durations_of([unknown, *utterances[1:]]) == [1.0, *(each.dur_s for each in utterances[1:])]
    assert looked_at == [utterances[0].audio]


def test_where_all_durations_are_known_no_threads_are_started(utterances, monkeypatch):
    monkeypatch.setattr(threads, "ThreadPoolExecutor", None)
    assert durations_of(utterances) == [each.dur_s for each in utterances]


def test_what_cannot_be_measured_is_named_and_the_rest_is_kept_in_order(tmp_path, utterances):
    (tmp_path / "wav" / "u01.wav").write_bytes(b"rubbish")
    bare = [Utterance(each.audio, each.transcript) for each in utterances]
    told = []
    found, faults = measured(bare, progress=lambda done, of: told.append((done, of)))
    assert found == [each for each in utterances if each.audio.name != "u01.wav"]
    assert len(faults) == 1
    assert "u01.wav" in faults[0]
    assert told == [(done, 6) for done in range(1, 7)]
    with pytest.raises(ReadError, match=r"u01\.wav"):
        durations_of(bare)


def test_sorting_and_pruning_go_by_duration_with_both_limits_included(utterances):
    durations = sorted(each.dur_s for each in utterances)
    assert [each.dur_s for each in by_duration(utterances)] == durations
    kept = pruned(utterances, min_s=durations[1], max_s=durations[-2])
    assert sorted(each.dur_s for each in kept) == durations[1:-1]


def test_merging_takes_each_sound_once_from_the_first_that_names_it(tmp_path, utterances):
    again = Utterance(tmp_path / "wav" / ".." / "wav" / "u00.wav", text="other words")
    kept, repeated = merged([utterances[:4], [again, *utterances[2:]]])
    assert kept == utterances
    assert repeated == 3


def test_a_transcript_that_is_no_text_is_refused(tmp_path, utterances):
    (tmp_path / "txt" / "u00.txt").write_bytes(b"\xff")
    with pytest.raises(ReadError, match="is not UTF-8 text"):
        utterances[0].spoken()
    (tmp_path / "txt" / "u00.txt").unlink()
    with pytest.raises(ReadError, match="cannot read this transcript"):
        utterances[0].spoken()
    (tmp_path / "txt" / "u01.txt").write_bytes(b"A" * (1 << 21))
    with pytest.raises(ReadError, match="too long"):
        utterances[1].spoken()
    with pytest.raises(MissingDataError, match="has no transcript"):
        Utterance(tmp_path / "a.wav").spoken()


def test_a_folder_of_wav_and_txt_is_found_with_its_transcripts(tmp_path, utterances):
    found = utterances_in(tmp_path)
    assert [(each.audio, each.transcript) for each in found.utterances] == [
        (each.audio, each.transcript) for each in utterances
    ]
    assert found.without_transcript == []


def test_librispeechs_own_layout_is_found(tmp_path):
    chapter = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "121123"
    chapter.mkdir(parents=True)
    for number in range(2):
        (chapter / f"84-121123-000{number}.flac").write_bytes(b"")
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO ON\n84-121123-0001 BUT IN LESS THAN\n")
    found = utterances_in(tmp_path)
    assert [each.text for each in found.utterances] == ["GO ON", "BUT IN LESS THAN"]


def test_sounds_beside_their_transcripts_and_sounds_without_are_told_apart(tmp_path):
    for name in ("a.wav", "b.MP3", "c.ogg", "readme.md"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b.txt").write_text("B")
    found = utterances_in(tmp_path)
    assert found.utterances == [Utterance(tmp_path / "b.MP3", tmp_path / "b.txt")]
    assert found.without_transcript == [tmp_path / "a.wav", tmp_path / "c.ogg"]


def test_linked_folders_are_looked_into_and_one_that_leads_back_is_refused(tmp_path):
    listed = corpus(tmp_path / "elsewhere", 2)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "part").symlink_to(tmp_path / "elsewhere")
    found = utterances_in(tmp_path / "here").utterances
    assert [each.audio.name for each in found] == [each.audio.name for each in listed]
    assert all(each.audio.is_relative_to(tmp_path / "here") for each in found)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "here")
    with pytest.raises(ReadError, match="back: is a link to a folder that it lies in"):
        utterances_in(tmp_path / "here")


@pytest.mark.parametrize(("name", "reason"), [("absent", "is no folder"), (".", "holds no sound")])
def test_a_folder_without_speech_is_refused(tmp_path, name, reason):
    with pytest.raises(MissingDataError, match=reason):
        utterances_in(tmp_path / name)


def test_a_line_of_transcripts_without_words_is_refused_with_its_number(tmp_path):
    (tmp_path / "1-2.trans.txt").write_text("1-2-0 YES\n1-2-1\n")
    with pytest.raises(ReadError, match=r"1-2\.trans\.txt:2: .* no words"):
        utterances_in(tmp_path)


def test_transcripts_are_cut_at_line_breaks_alone_and_at_any_white_space_behind_the_name(tmp_path):
    for number in range(2):
        (tmp_path / f"1-2-{number}.flac").write_bytes(b"")
    (tmp_path / "1-2.trans.txt").write_bytes("1-2-0\tYES\u2028AND NO\r\n1-2-1 GO\n".encode())
    assert [each.text for each in utterances_in(tmp_path).utterances] == ["YES\u2028AND NO", "GO"]


def test_transcripts_of_no_end_are_refused_and_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_folders, "_LONGEST_BYTES", 20)
    (tmp_path / "1-2.trans.txt").write_text("1-2-0 YES\n1-2-1 NO MORE\n")
    with pytest.raises(ReadError, match="too long"):
        utterances_in(tmp_path)


def test_the_figures_of_a_corpus_are_counted():
    listed = [
        Utterance(Path("a"), text="It's 9 café", dur_s=0.5),
        Utterance(Path("b"), text="it's", dur_s=2.25),
        Utterance(Path("c"), text="99", dur_s=2.75),
    ]
    stats = stats_of(listed, GRAPHEMES)
    assert (stats.utterances, stats.total_s, stats.min_s, stats.median_s, stats.max_s) == (3, 5.5, 0.5, 2.25, 2.75)
    assert stats.by_second == {0: 1, 2: 2}
    assert (stats.words, stats.distinct_words, stats.labels) == (3, 2, len("IT'S CAF") + len("IT'S"))
    assert stats.max_labels_per_s == len("IT'S CAF") / 0.5
    assert (stats.unknown, stats.with_unknown, stats.empty) == ({"9": 3, "É": 1}, 2, 1)
