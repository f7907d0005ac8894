"""``ds2prof data``: what the commands write, say and return."""

from __future__ import annotations

import csv
import io
import json
import re
from types import SimpleNamespace

import pytest

from ds2prof.cli import COMMANDS as ALL
from ds2prof.cli import main
from ds2prof.cli.data import COMMANDS
from ds2prof.speech.augment_config import AUGMENTS
from ds2prof.speech.feature_config import FEATURES
from ds2prof.speech.manifests import FORMS
from ds2prof.speech.orders import ORDERS
from ds2prof.train.presets import PRESETS
from tests.speech_support import corpus


@pytest.fixture
def folder(tmp_path):
    corpus(tmp_path / "corpus", 6)
    return tmp_path / "corpus"


@pytest.fixture
def data(capsys):
    def run(*words):
        """Exit code, standard output and standard error of ``ds2prof data WORDS``."""
        code = 0
        try:
            main(["data", *map(str, words)])
        except SystemExit as ending:
            code = ending.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def rows(path):
    return list(csv.reader(path.read_text().splitlines()))


def test_the_group_is_one_of_the_commands_and_lists_its_own(data):
    assert "data" in ALL
    code, out, _ = data("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself_with_an_example(data, name):
    code, out, _ = data(name, "--help")
    assert code == 0
    assert f"ds2prof data {name}" in out


@pytest.mark.parametrize("name", ["manifest", "merge", "stats", "hash", "verify", "pieces"])
def test_help_fits_a_terminal_of_80_columns(data, name):
    assert max(map(len, data(name, "--help")[1].splitlines())) <= 80


def test_a_manifest_lists_a_folder_shortest_first_with_durations(data, folder):
    code, out, err = data("manifest", folder, "-o", folder / "all.csv")
    assert (code, out) == (0, "")
    assert "6 utterances" in err
    listed = rows(folder / "all.csv")
    assert len(listed) == 6
    durations = [float(row[2]) for row in listed]
    assert durations == sorted(durations)
    assert all((folder / row[0]).is_file() and (folder / row[1]).is_file() for row in listed)


def test_a_manifest_is_pruned_by_duration(data, folder):
    code, _, err = data("manifest", folder, "-o", folder / "m.csv", "--min-duration", 0.4, "--max-duration", 0.6)
    assert code == 0
    assert "3 utterances, 1.5 s; 3 too short or too long" in err
    assert [float(row[2]) for row in rows(folder / "m.csv")] == pytest.approx([0.4, 0.5, 0.6])


def test_sounds_without_a_transcript_and_broken_ones_are_named_and_left_out(data, folder):
    (folder / "txt" / "u00.txt").unlink()
    (folder / "wav" / "u01.wav").write_bytes(b"rubbish")
    code, _, err = data("manifest", folder, "-o", folder / "m.csv")
    assert code == 0
    assert "u00.wav: has no transcript and is left out" in err
    assert "u01.wav: cannot be read as sound" in err
    assert "4 utterances" in err
    assert "1 could not be read" in err


@pytest.mark.parametrize(("terminal", "told"), [(True, 10), (False, 12)])
def test_a_terminal_gets_the_first_faults_and_a_file_all_of_them(data, tmp_path, monkeypatch, terminal, told):
    corpus(tmp_path / "corpus", 13)
    for number in range(12):
        (tmp_path / "corpus" / "wav" / f"u{number:02}.wav").write_bytes(b"rubbish")
    stderr = SimpleNamespace(isatty=lambda: terminal, write=len, flush=lambda: None)
    monkeypatch.setattr("ds2prof.capture.processes.standard_streams", lambda: (stderr, stderr))
    _, _, err = data("manifest", tmp_path / "corpus", "-o", tmp_path / "m.csv")
    assert err.count("cannot be read as sound") == told
    assert ("and 2 more like these; 2> FILE keeps them all" in err) == terminal


def test_a_manifest_that_is_there_is_replaced_by_force_alone(data, folder):
    (folder / "m.csv").write_text("mine")
    code, _, err = data("manifest", folder, "-o", folder / "m.csv")
    assert code == 1
    assert "exists already; --force replaces it" in err
    assert (folder / "m.csv").read_text() == "mine"
    assert data("manifest", folder, "-o", folder / "m.csv", "--force")[0] == 0
    assert len(rows(folder / "m.csv")) == 6


def test_a_corpus_of_which_nothing_can_be_read_gives_no_manifest(data, folder):
    for path in (folder / "wav").iterdir():
        path.write_bytes(b"rubbish")
    code, _, err = data("manifest", folder, "-o", folder / "m.csv")
    assert code == 1
    assert "m.csv: would be empty: none of 6 sounds can be read" in err
    assert not (folder / "m.csv").exists()


def test_limits_that_leave_nothing_write_nothing(data, folder):
    for words, reason in (
        (("--min-duration", 5), "none of 6 utterances has such a duration"),
        (("--min-duration", 5, "--max-duration", 1), "is more than --max-duration 1"),
    ):
        code, _, err = data("manifest", folder, "-o", folder / "m.csv", *words)
        assert code == 2
        assert reason in err
        assert not (folder / "m.csv").exists()


def test_merging_mixes_forms_and_takes_each_sound_once(data, folder, tmp_path):
    data("manifest", folder, "-o", folder / "short.csv", "--max-duration", 0.5)
    data("manifest", folder, "-o", folder / "long.json", "--min-duration", 0.5, "--form", "rnnt")
    code, _, err = data("merge", folder / "short.csv", folder / "long.json", "-o", tmp_path / "all.json", "--unsorted")
    assert code == 0
    assert "1 utterances had been named before" in err
    listed = json.loads((tmp_path / "all.json").read_text())
    assert len(listed) == 6
    assert listed[0]["transcript"]
    assert listed[0]["files"][0]["fname"].startswith("corpus/wav/")


def test_a_manifest_is_converted_for_the_ancestors(data, folder, tmp_path):
    data("manifest", folder, "-o", folder / "m.csv")
    assert (
        data("merge", folder / "m.csv", "-o", tmp_path / "old.csv", "--form", "csv-two-columns", "--absolute")[0] == 0
    )
    for line in (tmp_path / "old.csv").read_text().splitlines():
        audio, transcript = line.split(",")
        assert audio.startswith(str(folder))
        assert transcript.startswith(str(folder))


def test_stats_count_hours_lengths_and_characters_without_a_symbol(data, folder):
    (folder / "txt" / "u00.txt").write_text("NO 9\u2014")
    data("manifest", folder, "-o", folder / "m.csv")
    code, out, _ = data("stats", folder / "m.csv")
    assert code == 0
    assert "utterances  6" in out
    assert "2 characters in 1 utterances are left out: '9' 1, '\u2014' 1" in out
    assert "0 to 1 s  6  ####" in out
    code, out, _ = data("stats", folder / "m.csv", "--format", "json")
    found = json.loads(out)
    assert (found["schema"], found["utterances"], found["by_second"]) == ("ds2prof-corpus/1", 6, {"0": 6})
    assert found["total_s"] == pytest.approx(3.3)


def test_a_character_that_steers_a_terminal_goes_by_its_number(data, folder):
    (folder / "txt" / "u00.txt").write_bytes(b"NO \x1b[31m")
    data("manifest", folder, "-o", folder / "m.csv")
    _, out, _ = data("stats", folder / "m.csv")
    assert "\x1b" not in out
    assert "U+001B 1" in out


def test_labels_of_ones_own_and_pieces_contradict_each_other(data, folder):
    data("manifest", folder, "-o", folder / "m.csv")
    (folder / "labels.json").write_text('["_", "O", "N", "E"]')
    code, out, _ = data("stats", folder / "m.csv", "--labels", folder / "labels.json", "--format", "json")
    assert code == 0
    assert set(json.loads(out)["unknown"]) >= {"T", "W", " "}
    assert data("stats", folder / "m.csv", "--labels", "x", "--pieces", "y")[0] == 2


def test_a_corpus_is_verified_against_its_hashes(data, folder):
    assert data("hash", folder)[0] == 0
    code, out, err = data("verify", folder)
    assert (code, out) == (0, "")
    assert "all 12 files are as listed" in err
    (folder / "txt" / "u00.txt").write_text("OTHER")
    (folder / "txt" / "u01.txt").unlink()
    (folder / "new").write_text("")
    code, out, err = data("verify", folder)
    assert code == 1
    assert out.splitlines() == ["missing  txt/u01.txt", "changed  txt/u00.txt", "extra  new"]
    assert "1 missing, 1 changed, 1 extra; 10 of 12 files are as listed" in err


def test_a_file_that_cannot_be_read_is_told_with_the_other_differences(data, folder):
    data("hash", folder)
    (folder / "txt" / "u00.txt").unlink()
    (folder / "txt" / "u00.txt").symlink_to("nowhere")
    code, out, err = data("verify", folder)
    assert (code, out) == (1, "unreadable  txt/u00.txt\n")
    assert "0 missing, 0 changed, 1 unreadable, 0 extra; 11 of 12 files are as listed" in err


def test_on_a_terminal_a_fault_takes_the_place_of_the_progress(data, folder, monkeypatch):
    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("ds2prof.capture.processes.standard_streams", lambda: (io.BytesIO(), terminal))
    monkeypatch.setattr("ds2prof.cli.progress._BEGINNING_S", 0.0)
    monkeypatch.setattr("ds2prof.cli.progress._TERMINAL_PERIOD_S", 0.0)
    data("manifest", folder, "-o", folder / "m.csv")
    (folder / "wav" / "u03.wav").write_bytes(b"rubbish")
    monkeypatch.setattr("click.echo", lambda line, **_: terminal.write(line.encode() + b"\n"))
    data("verify", folder / "m.csv")
    written = terminal.getvalue().decode()
    assert re.search(r"sounds: \d of 6", written)
    assert re.search(r"\r\x1b\[K[^\r\n]*u03\.wav: cannot be read as sound", written)


def test_hashes_go_to_standard_output_and_to_a_file_of_ones_choice(data, folder, tmp_path):
    _, out, _ = data("hash", folder, "-o", "-")
    data("hash", folder, "-o", tmp_path / "list")
    assert (tmp_path / "list").read_text() == out
    assert not (folder / "SHA256SUMS").exists()
    assert data("verify", folder, "--hashes", tmp_path / "list")[0] == 0
    assert data("hash", folder, "-o", tmp_path / "list")[0] == 1


def test_a_manifests_sounds_are_decoded_and_faults_listed(data, folder):
    data("manifest", folder, "-o", folder / "m.csv")
    code, _, err = data("verify", folder / "m.csv")
    assert code == 0
    assert "all 6 utterances can be read" in err
    (folder / "wav" / "u03.wav").write_bytes(b"rubbish")
    code, out, err = data("verify", folder / "m.csv")
    assert code == 1
    assert out.count("\n") == 1
    assert "u03.wav: cannot be read as sound" in out
    assert "1 of 6 utterances are not as they should be" in err


@pytest.mark.parametrize(
    ("words", "code"), [(("verify", "absent.csv"), 1), (("verify", "m.csv", "--hashes", "x"), 2), (("verify", "."), 2)]
)
def test_what_cannot_be_verified_is_refused(data, folder, monkeypatch, words, code):
    monkeypatch.chdir(folder)
    data("manifest", folder, "-o", "m.csv")
    found, out, err = data(*words)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1


def test_pieces_are_trained_on_a_manifest_and_read_by_stats(data, folder):
    pytest.importorskip("sentencepiece")
    data("manifest", folder, "-o", folder / "m.csv")
    code, _, err = data("pieces", folder / "m.csv", "-o", folder / "p.model")
    assert code == 0
    assert "for the transcripts give no more of 1,023" in err
    code, out, _ = data("stats", folder / "m.csv", "--pieces", folder / "p.model", "--format", "json")
    assert code == 0
    assert json.loads(out)["unknown"] == {}
    assert data("pieces", folder / "m.csv", "-o", folder / "p.model")[0] == 1


@pytest.mark.parametrize("names", [COMMANDS, FORMS, ORDERS, AUGMENTS, FEATURES], ids=len)
def test_the_document_names_every_choice(root, names):
    text = (root / "docs" / "DATA.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text and f"ds2prof data {name}" not in text] == []


def test_every_preset_asks_for_an_order_that_there_is():
    assert {preset.order for preset in PRESETS.values()} <= set(ORDERS)
