"""The corpus that eSpeak NG speaks: its sentences, which are all different, and its files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from ds2prof.cli.data_speak import command
from ds2prof.errors import Ds2profError, ExistsError, UsageError
from ds2prof.measurements import temporary_path
from ds2prof.speech import spoken, spoken_plan
from ds2prof.speech.audio import read_samples, sound_of
from ds2prof.speech.manifests import read_manifest
from ds2prof.speech.sentences import CLASSES, MOST_SENTENCES, PATTERNS, WORDS, draw, sentence, sentences_of
from ds2prof.speech.spoken import PROGRAM, SAMPLE_RATE_HZ, speak
from ds2prof.speech.spoken_plan import VOICES, SpokenConfig, lines_of, shared_transcripts

needs_espeak = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"the tool {PROGRAM} is not installed")
pytest.importorskip("soxr", reason="the package soxr brings speech to 16 kHz")

SMALL = SpokenConfig(utterances=9, held_out=3)


def test_there_are_over_a_hundred_words_and_none_is_in_two_classes() -> None:
    assert len(WORDS) == sum(len(words) for words in CLASSES.values()) == 123


def test_the_words_are_letters_alone() -> None:
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_the_numbers_of_a_pattern_are_its_sentences_one_by_one() -> None:
    pattern = ("thing", "place", "the", "thing")
    assert len({sentence(pattern, number) for number in range(sentences_of(pattern))}) == 30 * 7 * 30


def test_a_number_beyond_a_pattern_is_no_sentence_of_it() -> None:
    with pytest.raises(AssertionError):
        sentence(PATTERNS[0], sentences_of(PATTERNS[0]))


def test_no_two_patterns_have_a_sentence_in_common() -> None:
    assert len(set(PATTERNS)) == len(PATTERNS)  # no word is in two classes, so words say which pattern it is


def test_everything_that_can_be_drawn_is_different() -> None:
    import random

    assert len(set(draw(MOST_SENTENCES, random.Random(3)))) == MOST_SENTENCES


def test_more_than_there_is_to_say_is_refused() -> None:
    with pytest.raises(UsageError, match=f"the grammar has {MOST_SENTENCES} different sentences"):
        lines_of(SpokenConfig(utterances=MOST_SENTENCES, held_out=1))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_transcript_of_the_held_out_utterances_occurs_in_training(seed: int) -> None:
    lines = lines_of(SpokenConfig(seed=seed))
    held_out = {line.text for line in lines if line.part == "val"}
    trained = {line.text for line in lines if line.part == "train"}
    assert (len(held_out), len(trained)) == (200, 3000)
    assert not held_out & trained


def test_a_transcript_in_both_parts_is_found() -> None:
    lines = lines_of(SMALL)
    twice = replace(lines[0], part="train", number=10)
    assert shared_transcripts([*lines, twice]) == {lines[0].text}


def test_training_has_every_word_and_the_four_voices_equally_often() -> None:
    trained = [line for line in lines_of(SpokenConfig()) if line.part == "train"]
    assert {word for line in trained for word in line.text.split()} == WORDS
    assert [sum(line.voice == voice for line in trained) for voice in VOICES] == [750] * 4


def test_speeds_and_pitches_vary() -> None:
    lines = lines_of(SpokenConfig())
    assert {line.speed_wpm for line in lines} == set(spoken_plan.SPEEDS_WPM)
    assert {line.pitch for line in lines} == set(spoken_plan.PITCHES)


def test_the_seed_decides_what_is_said() -> None:
    assert lines_of(SMALL) == lines_of(SMALL)
    assert lines_of(SMALL) != lines_of(replace(SMALL, seed=2))


@pytest.mark.parametrize("voices", [(), ("en-us", "en-us"), ("-w/tmp/x",), ("en us",)])
def test_voices_that_are_none_are_refused(voices: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--voices"):
        SpokenConfig(voices=voices)


def test_without_espeak_one_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Ds2profError, match=r"^espeak-ng: is not installed; .*apt-get install espeak-ng"):
        speak(tmp_path / "corpus", SMALL)
    assert not (tmp_path / "corpus").exists()


def sums(folder: Path) -> dict[str, str]:
    """Name -> hash of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> spoken.Spoken:
    """A small corpus, spoken once."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"the tool {PROGRAM} is not installed")
    return speak(tmp_path_factory.mktemp("spoken") / "corpus", SMALL)


def test_the_files_are_speech_of_16_khz_with_their_text(corpus: spoken.Spoken) -> None:
    for part, count in (("train", 9), ("val", 3)):
        utterances = read_manifest(corpus.manifests[part])
        texts = {line.text.upper() for line in lines_of(SMALL) if line.part == part}
        assert len(utterances) == corpus.counts[part] == count
        assert {utterance.spoken() for utterance in utterances} == texts
        for utterance in utterances:
            sound = sound_of(utterance.audio)
            assert (sound.sample_rate_hz, sound.channels) == (16_000, 1)
            assert utterance.dur_s == sound.dur_s


def test_the_manifests_are_sorted_by_duration_and_hold_their_sum(corpus: spoken.Spoken) -> None:
    durations = [utterance.dur_s or 0.0 for utterance in read_manifest(corpus.manifests["train"])]
    assert durations == sorted(durations)
    assert corpus.durations_s["train"] == pytest.approx(sum(durations))


def test_there_is_sound_at_both_ends_but_for_20_ms(corpus: spoken.Spoken) -> None:
    for utterance in read_manifest(corpus.manifests["train"]):
        samples = read_samples(utterance.audio, SAMPLE_RATE_HZ)
        assert abs(samples[: SAMPLE_RATE_HZ // 50 + 1]).max() > 0.0029  # 16-bit integers are 0.00003 apart
        assert abs(samples[-SAMPLE_RATE_HZ // 50 - 1 :]).max() > 0.0029


def test_every_utterance_leaves_ctc_frames_enough(corpus: spoken.Spoken) -> None:
    for utterance in read_manifest(corpus.manifests["train"]):
        text = utterance.spoken()
        needed = len(text) + sum(one == other for one, other in pairwise(text))
        frames = 1 + sound_of(utterance.audio).frames // 160
        assert (frames - 1) // 2 + 1 >= needed, text


def test_the_same_settings_make_the_same_bytes_however_many_speak_at_once(
    corpus: spoken.Spoken, tmp_path: Path
) -> None:
    speak(tmp_path / "again", SMALL, jobs=1)
    assert sums(tmp_path / "again") == sums(corpus.folder)


def test_a_corpus_that_was_cut_short_is_gone_on_with(corpus: spoken.Spoken, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(corpus.folder, folder)
    (folder / "train" / "wav" / "00004.wav").unlink()
    (folder / "val_manifest.csv").unlink()
    assert speak(folder, SMALL).kept == 11
    assert sums(folder) == sums(corpus.folder)


def test_progress_is_told_after_each(corpus: spoken.Spoken) -> None:
    told: list[tuple[int, int]] = []
    speak(corpus.folder, SMALL, progress=lambda done, of: told.append((done, of)))
    assert told == [(done, 12) for done in range(1, 13)]


def test_a_corpus_of_other_settings_is_not_touched(corpus: spoken.Spoken) -> None:
    before = sums(corpus.folder)
    with pytest.raises(ExistsError, match="spoken from other settings"):
        speak(corpus.folder, replace(SMALL, seed=9))
    assert sums(corpus.folder) == before


@needs_espeak
def test_a_folder_of_something_else_is_not_spoken_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ExistsError, match="is not empty"):
        speak(tmp_path, SMALL)
    assert list(sums(tmp_path)) == ["mine.txt"]


@needs_espeak
def test_a_voice_that_espeak_does_not_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Ds2profError, match=r"cannot speak as nobody: .*--voices=en") as caught:
        speak(tmp_path / "corpus", replace(SMALL, voices=("nobody",)))
    assert "\n" not in str(caught.value)


@needs_espeak
def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    arguments = ["--target-dir", str(tmp_path / "s"), "--utterances", "4", "--held-out", "2"]
    result = CliRunner().invoke(command, [*arguments, "--voices", "en-us, en-gb"], catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.partition(": ")[2].partition(",")[0] for line in lines[:2]] == ["4 utterances", "2 utterances"]
    assert lines[2].endswith("2 voices, no transcript in both")


@needs_espeak
def test_what_a_killed_speaker_left_half_written_is_removed(corpus: spoken.Spoken) -> None:
    whole = corpus.folder / "train" / "wav" / "00001.wav"
    half = temporary_path(whole)
    half = half.with_name(half.name.replace(f"-{os.getpid()}.", f"-{_ended_process()}."))
    half.write_bytes(whole.read_bytes()[:100])
    speak(corpus.folder, SMALL)
    assert not half.exists()


def _ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid
